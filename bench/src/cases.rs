//! Transfers: alone, beside other work, over a link, many at once, after a restart, of a hole, and of nothing.

use std::{
    fs::{self, File},
    io::Write as _,
    net::Ipv4Addr,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    Options, Transfer,
    contender::{Field, Place, Serving},
    node::{Folder, Node, received, wanted},
    process::Process,
    report::Report,
};

const MIB: u64 = 1024 * 1024;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// Time between two progress lines of a case that takes minutes.
const TELL: Duration = Duration::from_secs(10);
/// Time between two polls of a session after a restart.
const LOOK: Duration = Duration::from_millis(5);

/// Runs every contender in turn, for the requested number of repetitions.
pub(crate) fn transfer(options: &Options, case: &str, transfer: &Transfer, place: &Place, others: usize) -> Result<()> {
    let folder = tempfile::tempdir_in(&options.dir)?;
    let payload = folder.path().join("payload");
    make_payload(&payload, transfer.mib)?;
    let mut field = Field::set_up(options, transfer, place, folder.path(), &payload)?;
    let _others: Vec<_> = (0..others).map(|_| burn()).collect::<Result<_>>()?;
    let columns = ["MB/s in all", "MB/s streaming", "CPU s/GiB", "CPU s/GiB streaming", "provider MiB", "consumer MiB"];
    let mut report = Report::new(options, format!("{case}: {} MiB", transfer.mib), &columns);
    for repetition in 1..=options.repetitions {
        for contender in 0..field.contenders.len() {
            let sample = field.run(contender)?;
            let (name, of) = (&field.contenders[contender].name, options.repetitions);
            eprintln!("{case}: {name}, {repetition} of {of}: {:.0} MB/s in all", rate(transfer.mib, sample.total));
            let gib = transfer.mib as f64 / 1024.0;
            report.add(
                &field.contenders[contender].name,
                vec![
                    rate(transfer.mib, sample.total),
                    rate(transfer.mib, sample.streamed),
                    sample.cpu / gib,
                    sample.cpu_streamed / gib,
                    sample.provider_mib,
                    sample.consumer_mib,
                ],
            );
        }
    }
    report.print(options);
    Ok(())
}

/// One download, then `count` at once.
pub(crate) fn many(options: &Options, mib: u64, count: usize, place: &Place) -> Result<()> {
    let columns =
        ["MB/s in all", "MB/s streaming", "slowest of mean", "s until all complete", "provider MiB", "consumer MiB"];
    let mut report = Report::new(options, format!("many: {mib} MiB each, from one provider"), &columns);
    for (name, binary) in binaries(options) {
        let folder = tempfile::tempdir_in(&options.dir)?;
        let payload = folder.path().join("payload");
        make_payload(&payload, mib)?;
        let serving = Serving::start(binary, folder.path().join("provider"), &payload, place)?;
        for repetition in 1..=options.repetitions {
            for at_once in [1, count] {
                let figures = at_once_from(&serving, folder.path(), mib, at_once)?;
                let of = options.repetitions;
                eprintln!("many: {name}, {at_once} at once, {repetition} of {of}: {:.0} MB/s in all", figures[0]);
                report.add(&format!("{name}, {at_once} at once"), figures);
            }
        }
    }
    report.print(options);
    Ok(())
}

fn at_once_from(serving: &Serving, folder: &Path, mib: u64, count: usize) -> Result<Vec<f64>> {
    let made: Vec<_> = (0..count)
        .map(|index| {
            let consumer = serving.consumer(folder.join(format!("consumer-{index}")))?;
            let node = consumer.run(Ipv4Addr::LOCALHOST.into(), None, &[])?;
            Ok((consumer, node))
        })
        .collect::<Result<_>>()?;
    // For each, the time when it began to stream and the time when it was complete.
    let courses: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = made
            .iter()
            .map(|(_, node)| {
                scope.spawn(move || {
                    let course = node.fetch(&wanted(serving.address(), MIB, 1))?;
                    let end = Instant::now();
                    Ok::<_, anyhow::Error>((end - course.streamed, end, course.total, node.process.usage().peak_mib))
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a download panicked"))).collect()
    });
    let courses = courses.into_iter().collect::<Result<Vec<_>>>()?;
    let asked = courses.iter().map(|(_, ended, total, _)| *ended - *total).min().context("no download")?;
    let begun = courses.iter().map(|(begun, ..)| *begun).min().context("no download")?;
    let ended = courses.iter().map(|(_, ended, ..)| *ended).max().context("no download")?;
    let rates: Vec<_> = courses.iter().map(|(begun, ended, ..)| rate(mib, *ended - *begun)).collect();
    let mean = rates.iter().sum::<f64>() / count as f64;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let total = courses.iter().map(|(_, _, total, _)| total.as_secs_f64()).fold(0.0, f64::max);
    let peak = courses.iter().map(|(.., peak)| *peak).fold(0.0, f64::max);
    for (consumer, node) in made {
        drop(node);
        fs::remove_dir_all(&consumer.path)?;
    }
    // Together, from the first request or the first byte of any of them until the last one is complete.
    let [in_all, streaming] = [asked, begun].map(|since| rate(mib * count as u64, ended - since));
    Ok(vec![in_all, streaming, slowest / mean, total, serving.usage().peak_mib, peak])
}

/// A consumer is killed at half of the payload and started again.
pub(crate) fn restart(options: &Options, mib: u64) -> Result<()> {
    let columns = [
        "s until ready",
        "s until the first new chunk",
        "MiB durable at the start",
        "MiB fetched twice",
        "s until complete",
    ];
    let mut report = Report::new(options, format!("restart: {mib} MiB, killed at half"), &columns);
    let folder = tempfile::tempdir_in(&options.dir)?;
    let payload = folder.path().join("payload");
    make_payload(&payload, mib)?;
    for (name, binary) in binaries(options) {
        let serving = Serving::start(binary, folder.path().join(name), &payload, &Place::local())?;
        for _ in 0..options.repetitions {
            let consumer = serving.consumer(folder.path().join("consumer"))?;
            let figures = killed_at_half(&serving, &consumer, mib * MIB)?;
            report.add(name, figures);
            fs::remove_dir_all(&consumer.path)?;
        }
    }
    report.print(options);
    Ok(())
}

fn killed_at_half(serving: &Serving, consumer: &Folder, bytes: u64) -> Result<Vec<f64>> {
    let run = || consumer.run(Ipv4Addr::LOCALHOST.into(), None, &[]);
    let node = run()?;
    let session = node.start(&wanted(serving.address(), MIB, 1))?;
    let killed = loop {
        let status = node.status(session)?;
        ensure!(status["state"] != "failed" && status["state"] != "complete", "killed too late: {status}");
        if received(&status) >= bytes / 2 {
            break received(&status);
        }
        thread::sleep(LOOK);
    };
    drop(node);
    let begun = Instant::now();
    let node = run()?;
    let ready = begun.elapsed();
    let first = wait(&node, session, |status| received(status) > 0)?;
    let first_after = begun.elapsed();
    let durable = first["bytes_durable"].as_u64().unwrap_or(0);
    let last = wait(&node, session, |status| status["state"] == "complete")?;
    // All bytes that both processes fetched, except those that were in flight to the first one when it was killed.
    let fetched =
        killed.max(durable) + received(&last).saturating_sub(if received(&last) >= bytes { durable } else { 0 });
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    Ok(vec![
        ready.as_secs_f64(),
        first_after.as_secs_f64(),
        mib(durable),
        mib(fetched.saturating_sub(bytes)),
        begun.elapsed().as_secs_f64(),
    ])
}

fn wait(node: &Node, session: u64, is_there: impl Fn(&serde_json::Value) -> bool) -> Result<serde_json::Value> {
    loop {
        let status = node.status(session)?;
        if is_there(&status) {
            return Ok(status);
        }
        ensure!(status["state"] != "failed", "the session failed: {status}");
        thread::sleep(LOOK);
    }
}

/// A payload that is one hole: large for every buffer, and no load on the disk.
pub(crate) fn sparse(options: &Options, gib: u64) -> Result<()> {
    let columns = ["publish MiB", "s to publish", "provider MiB", "consumer MiB", "MB/s in all"];
    let mut report = Report::new(options, format!("sparse: {gib} GiB"), &columns);
    let folder = tempfile::tempdir_in(&options.dir)?;
    let payload = folder.path().join("payload");
    File::create(&payload)?.set_len(gib * 1024 * MIB)?;
    for (name, binary) in binaries(options) {
        let publisher = Folder::make(binary, folder.path().join(format!("provider {name}")), None)?;
        let published = publisher.publish(&payload, 1)?;
        let (peak, seconds) = (published.peak_mib, published.stored.as_secs_f64());
        eprintln!("sparse: {name} has stored {gib} GiB after {seconds:.0} s, with {peak:.0} MiB at most");
        let provider = publisher.run(Ipv4Addr::LOCALHOST.into(), None, &[])?;
        let consumer =
            Folder::make(binary, folder.path().join(format!("consumer {name}")), Some(published.genesis()?))?;
        let node = consumer.run(Ipv4Addr::LOCALHOST.into(), None, &[])?;
        let begun = Instant::now();
        let mut told = begun;
        let course = node.fetch_shown(&wanted(&provider.address, MIB, 1), |status| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let (seconds, came) = (begun.elapsed().as_secs(), received(status) as f64 / GIB);
                let peaks = [&provider, &node].map(|node| node.process.usage().peak_mib);
                eprintln!("sparse: {name}, {seconds} s: {came:.1} GiB came; {:.0} and {:.0} MiB", peaks[0], peaks[1]);
            }
        })?;
        report.add(
            name,
            vec![
                published.peak_mib,
                published.stored.as_secs_f64(),
                provider.process.usage().peak_mib,
                node.process.usage().peak_mib,
                rate(gib * 1024, course.total),
            ],
        );
    }
    report.print(options);
    Ok(())
}

/// Two payloads of one byte, one after the other, by a fresh consumer: the time is that of the check of the proof.
pub(crate) fn proof(options: &Options) -> Result<()> {
    let columns = ["s for the first", "s for a later one", "CPU s of the first", "consumer MiB"];
    let mut report =
        Report::new(options, "proof: from the request until a payload of one byte is there".to_owned(), &columns);
    for (name, binary) in binaries(options) {
        let folder = tempfile::tempdir_in(&options.dir)?;
        let publisher = Folder::make(binary, folder.path().join("provider"), None)?;
        let mut genesis = String::new();
        for height in 1..=2_u8 {
            let payload = folder.path().join("payload");
            fs::write(&payload, [height])?;
            genesis = publisher.publish(&payload, height.into())?.genesis()?.to_owned();
        }
        let provider = publisher.run(Ipv4Addr::LOCALHOST.into(), None, &[])?;
        for _ in 0..options.repetitions {
            let consumer = Folder::make(binary, folder.path().join("consumer"), Some(&genesis))?;
            let node = consumer.run(Ipv4Addr::LOCALHOST.into(), None, &[])?;
            let before = node.process.usage();
            let first = node.fetch(&wanted(&provider.address, MIB, 1))?;
            let after = node.process.usage();
            let later = node.fetch(&wanted(&provider.address, MIB, 2))?;
            let peak = node.process.usage().peak_mib;
            report.add(name, vec![first.total.as_secs_f64(), later.total.as_secs_f64(), after - before, peak]);
            drop(node);
            fs::remove_dir_all(&consumer.path)?;
        }
    }
    report.print(options);
    Ok(())
}

pub(crate) fn binaries(options: &Options) -> Vec<(&'static str, &Path)> {
    let earlier = options.against.as_deref().map(|binary| ("earlier rpp", binary));
    [("rpp", options.node.as_path())].into_iter().chain(earlier).collect()
}

/// MB/s.
fn rate(mib: u64, time: Duration) -> f64 {
    (mib * MIB) as f64 / 1e6 / time.as_secs_f64()
}

/// Bytes that nothing can compress, in the page cache.
fn make_payload(path: &Path, mib: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut noise = blake3::Hasher::new_derive_key("rpp bench").finalize_xof();
    let mut block = vec![0; MIB as usize];
    for _ in 0..mib {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

fn burn() -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("burn");
    Process::start(command)
}
