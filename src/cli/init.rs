//! `init`: a commented configuration, an identity, a token, and a publisher's key. Existing files are kept.

use std::{
    fs::{self, DirBuilder},
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rpp_p2p::Hash;
use rpp_proofs::{Commitment, Genesis};
use rpp_runtime::{
    Config,
    config::{Overrides, Publisher},
    keys,
};
use serde::Serialize;

use super::output;

/// The commented configuration with every default.
const TEMPLATE: &str = include_str!("../../config/node.toml");

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node init --dir provider --publisher
  rpp-node init --dir consumer --genesis 5d0c...   trust this genesis; publish and init --publisher print it

Files that exist are kept as they are.")]
pub(crate) struct InitArgs {
    /// The folder for the configuration, made when absent.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Make a publisher's key too, and print the genesis commitment that consumers trust.
    #[arg(long)]
    publisher: bool,
    /// Write this genesis commitment into a new configuration as the one to trust.
    #[arg(long, value_name = "HEX")]
    genesis: Option<Commitment>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Done {
    config: PathBuf,
    peer_id: String,
    identity: PathBuf,
    token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<PublisherKey>,
    /// The files above that this run created.
    created: Vec<PathBuf>,
}

#[derive(Serialize)]
struct PublisherKey {
    key_file: PathBuf,
    publisher: Hash,
    genesis: Hash,
}

pub(crate) fn run(args: &InitArgs) -> anyhow::Result<()> {
    let done = initialise(args)?;
    if args.json {
        return output::json(&done);
    }
    output::line(&describe(&done))
}

fn initialise(args: &InitArgs) -> anyhow::Result<Done> {
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the folder {}", args.dir.display()))?;
    let file = args.dir.join("node.toml");
    let mut created = Vec::new();
    if write_template(&file, args.genesis)? {
        created.push(file.clone());
    } else if args.genesis.is_some() {
        anyhow::bail!("{} exists already and is kept: set `genesis` under [trust] in it yourself", file.display());
    }
    let effective = Config::load(&file, &Overrides::from_env()).context("the configuration is not usable")?;
    let config = &effective.config;
    make_private_folder(&config.data_dir)?;
    let identity = config.data_dir.join("identity.key");
    let pair = noting(&mut created, &identity, || keys::load_or_create_identity(&identity))?;
    let token_file = &config.rpc.token_file;
    noting(&mut created, token_file, || match token_file.exists() {
        true => keys::load_token(None, token_file).map(drop),
        false => keys::create_token(token_file),
    })?;
    let publisher = args.publisher.then(|| publisher_key(&config.publisher, &mut created)).transpose()?;
    Ok(Done {
        config: effective.file.clone(),
        peer_id: pair.public().to_peer_id().to_string(),
        identity,
        token_file: token_file.clone(),
        publisher,
        created,
    })
}

/// Runs `make`, and records the file if it did not exist before.
fn noting<T, E>(created: &mut Vec<PathBuf>, file: &Path, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let existed = file.exists();
    let made = make()?;
    if !existed {
        created.push(file.to_owned());
    }
    Ok(made)
}

fn publisher_key(config: &Publisher, created: &mut Vec<PathBuf>) -> anyhow::Result<PublisherKey> {
    let signer = noting(created, &config.key_file, || keys::load_or_create_publisher(&config.key_file))?;
    let genesis = Genesis::new(config.chain_id.clone(), vec![signer.public()], 1)
        .context("the publisher's key and chain_id make no genesis")?;
    Ok(PublisherKey {
        key_file: config.key_file.clone(),
        publisher: signer.public().into(),
        genesis: genesis.commitment().to_bytes().into(),
    })
}

/// `false` when the file exists already.
fn write_template(path: &Path, genesis: Option<Commitment>) -> anyhow::Result<bool> {
    let text = match genesis {
        Some(genesis) => TEMPLATE.replace("\ngenesis = \"\"\n", &format!("\ngenesis = \"{genesis}\"\n")),
        None => TEMPLATE.to_owned(),
    };
    match fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

fn make_private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data folder {}", path.display()))
}

fn describe(done: &Done) -> String {
    let mut lines = Vec::new();
    for (name, path) in [
        ("configuration", Some(&done.config)),
        ("identity", Some(&done.identity)),
        ("token", Some(&done.token_file)),
        ("publisher's key", done.publisher.as_ref().map(|publisher| &publisher.key_file)),
    ] {
        let Some(path) = path else { continue };
        let how =
            if done.created.iter().any(|made| made.ends_with(path) || path.ends_with(made)) { "made" } else { "kept" };
        lines.push(format!("{name:<16} {} ({how})", path.display()));
    }
    lines.push(format!("{:<16} {}", "peer id", done.peer_id));
    if let Some(publisher) = &done.publisher {
        lines.push(format!("{:<16} {}", "publisher", publisher.publisher));
        lines.push(format!("{:<16} {}   consumers set it under [trust]", "genesis", publisher.genesis));
    }
    lines.push(format!("next: rpp-node run --config {}", done.config.display()));
    lines.join("\n")
}
