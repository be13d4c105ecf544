//! The contenders, and one transfer by each.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Options, Transfer,
    node::{Folder, Node, wanted, within},
    process::{Process, Usage},
};

/// Where the providers run; consumers run where this process does.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) provider_namespace: Option<String>,
    pub(crate) address: IpAddr,
}

impl Place {
    pub(crate) fn local() -> Self {
        Self { provider_namespace: None, address: Ipv4Addr::LOCALHOST.into() }
    }
}

/// The figures of one transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// From the request until everything is there (and durable, except with iroh-blobs, which does not report that).
    pub(crate) total: Duration,
    /// From the first byte on.
    pub(crate) streamed: Duration,
    /// Processor seconds of both sides, of the whole and of the streaming part.
    pub(crate) cpu: f64,
    pub(crate) cpu_streamed: f64,
    pub(crate) provider_mib: f64,
    pub(crate) consumer_mib: f64,
}

/// A way to transfer the payload: its provider is running.
pub(crate) struct Contender {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Node { provider: usize, chunk_size: u64, protocol: String },
    Role { consumer: &'static str, provider: Process, said: String },
}

/// All contenders of a case, and the nodes that several of them share.
pub(crate) struct Field {
    pub(crate) contenders: Vec<Contender>,
    nodes: Vec<Serving>,
    folder: PathBuf,
    made: usize,
}

/// A provider that is a node.
pub(crate) struct Serving {
    binary: PathBuf,
    _folder: Folder,
    node: Node,
    genesis: String,
}

impl Serving {
    /// Publishes the payload at height 1 and serves it.
    pub(crate) fn start(binary: &Path, path: PathBuf, payload: &Path, place: &Place) -> Result<Self> {
        let folder = Folder::make(binary, path, None)?;
        let published = folder.publish(payload, 1)?;
        let genesis = published.genesis()?.to_owned();
        let node = folder.run(place.address, place.provider_namespace.as_deref(), &[])?;
        Ok(Self { binary: binary.to_owned(), _folder: folder, node, genesis })
    }

    /// A fresh consumer's folder.
    pub(crate) fn consumer(&self, path: PathBuf) -> Result<Folder> {
        Folder::make(&self.binary, path, Some(&self.genesis))
    }

    pub(crate) fn address(&self) -> &str {
        &self.node.address
    }

    pub(crate) fn usage(&self) -> Usage {
        self.node.process.usage()
    }
}

impl Field {
    /// Starts all providers for `payload`.
    pub(crate) fn set_up(
        options: &Options,
        transfer: &Transfer,
        place: &Place,
        folder: &Path,
        payload: &Path,
    ) -> Result<Self> {
        let mut field = Self { contenders: Vec::new(), nodes: Vec::new(), folder: folder.to_owned(), made: 0 };
        let binaries = [("rpp", Some(&options.node)), ("earlier rpp", options.against.as_ref())];
        for (name, binary) in binaries {
            let Some(binary) = binary else { continue };
            let mut planned = Vec::new();
            for protocol in &transfer.protocols {
                for kib in &transfer.chunk_kib {
                    planned.push((format!("{name}, {protocol}, {kib} KiB chunks"), protocol.clone(), kib * 1024));
                }
            }
            planned.retain(|(name, ..)| is_wanted(options, name));
            if planned.is_empty() {
                continue;
            }
            let provider = field.nodes.len();
            let path = folder.join(format!("provider-{provider}"));
            field.nodes.push(Serving::start(binary, path, payload, place)?);
            field.contenders.extend(planned.into_iter().map(|(name, protocol, chunk_size)| Contender {
                name,
                kind: Kind::Node { provider, chunk_size, protocol },
            }));
        }
        field.role(options, place, "iroh-blobs 0.104", "iroh-consumer", |command, address| {
            command.arg("iroh-provider").arg(folder.join("iroh-provider")).arg(payload).arg(address);
        })?;
        field.role(options, place, "TLS 1.3 over TCP", "tls-consumer", |command, address| {
            command.arg("tls-provider").arg(payload).arg(address);
        })?;
        ensure!(!field.contenders.is_empty(), "no contender has such a name");
        Ok(field)
    }

    fn role(
        &mut self,
        options: &Options,
        place: &Place,
        name: &str,
        consumer: &'static str,
        arguments: impl FnOnce(&mut Command, String),
    ) -> Result<()> {
        if !is_wanted(options, name) {
            return Ok(());
        }
        let mut command = Command::new(std::env::current_exe()?);
        arguments(&mut command, place.address.to_string());
        let mut provider = Process::start(within(place.provider_namespace.as_deref(), command))?;
        let said = provider.line()?;
        self.contenders.push(Contender { name: name.to_owned(), kind: Kind::Role { consumer, provider, said } });
        Ok(())
    }

    /// One transfer to a fresh consumer, whose files are removed again.
    pub(crate) fn run(&mut self, contender: usize) -> Result<Sample> {
        self.made += 1;
        let path = self.folder.join(format!("consumer-{}", self.made));
        let sample = match &self.contenders[contender].kind {
            Kind::Node { provider, chunk_size, protocol } => {
                transfer(&self.nodes[*provider], &path, *chunk_size, protocol)
            }
            Kind::Role { consumer, provider, said } => play(consumer, provider, said, &path),
        };
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        let sample = sample.with_context(|| self.contenders[contender].name.clone())?;
        removed?;
        Ok(sample)
    }
}

fn is_wanted(options: &Options, name: &str) -> bool {
    options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
}

fn transfer(serving: &Serving, path: &Path, chunk_size: u64, protocol: &str) -> Result<Sample> {
    let folder = serving.consumer(path.to_owned())?;
    let flag = format!("--snapshots-protocol={protocol}");
    let node = folder.run(Ipv4Addr::LOCALHOST.into(), None, &[&flag])?;
    let (provider, consumer) = (serving.usage(), node.process.usage());
    let course = node.fetch(&wanted(serving.address(), chunk_size, 1))?;
    let (provider_end, consumer_end) = (serving.usage(), node.process.usage());
    let got = course.status["chunk_size"].as_u64();
    ensure!(got == Some(chunk_size), "the chunks were not of the size that was asked for: {}", course.status);
    Ok(Sample {
        total: course.total,
        streamed: course.streamed,
        cpu: (provider_end - provider) + (consumer_end - consumer),
        // The provider does nothing before the first chunk that counts.
        cpu_streamed: (provider_end - provider) + (consumer_end - course.before),
        provider_mib: provider_end.peak_mib,
        consumer_mib: consumer_end.peak_mib,
    })
}

fn play(consumer: &str, provider: &Process, said: &str, path: &Path) -> Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(consumer).arg(path);
    let mut process = Process::start(command)?;
    ensure!(process.line()? == "ready", "an unknown first line");
    let (before_provider, before) = (provider.usage(), process.usage());
    process.tell(said)?;
    let answer = process.line()?;
    let (after_provider, after) = (provider.usage(), process.usage());
    let (total, streamed) = answer.split_once(' ').context("an unknown answer")?;
    let cpu = (after_provider - before_provider) + (after - before);
    Ok(Sample {
        total: Duration::from_secs_f64(total.parse()?),
        streamed: Duration::from_secs_f64(streamed.parse()?),
        cpu,
        cpu_streamed: cpu,
        provider_mib: after_provider.peak_mib,
        consumer_mib: after.peak_mib,
    })
}
