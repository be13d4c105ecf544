//! The steps of the demo, each with figures measured on the way.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rpp_runtime::{SessionState, SnapshotStreamStatus};
use serde::Deserialize;
use serde_json::json;

use super::{
    files, many,
    node::{Node, config_file, finish, finish_json},
};
use crate::cli::{
    human,
    output::{self, Busy},
    status,
};

/// Chunk sizes to try, so that even a very fast machine can be interrupted half-way.
const CHUNK_SIZES: [u64; 3] = [65_536, 32_768, 16_384];
/// The consumer makes groups of this size durable and acknowledges them. They are small, so that there are many.
const ACK_BYTES: u64 = 4 << 20;
/// The consumer is killed when this percentage is durable.
const KILL_BETWEEN: std::ops::RangeInclusive<u64> = 30..=70;
/// The demo gives up if the session does not change for this long.
const STALL: Duration = Duration::from_secs(120);

/// What `publish --json` prints.
#[derive(Deserialize)]
pub(super) struct Published {
    pub(super) root: String,
    pub(super) bytes: u64,
    genesis: String,
}

/// The state of the consumer when it was killed.
struct Crash {
    session: u64,
    durable: u64,
    total: u64,
    chunk_size: u64,
    after: Duration,
}

/// Runs the whole demo.
pub(super) async fn tell(folder: &Path, input: Option<&Path>, size: u64) -> anyhow::Result<()> {
    let input = prepare(folder, input, size)?;
    let provider_folder = folder.join("provider");
    let published = publish(&provider_folder, &input).await?;
    let provider = Node::start(&provider_folder, &[]).await?;
    output::line(&format!("2. The provider runs and offers it\n   peer    {}", provider.address()?))?;
    let (consumer_folder, crash) = stream_until_the_crash(folder, &provider, &published).await?;
    let asked_before = chunk_requests(&provider).await?;
    let (consumer, finished, took) = resume(&consumer_folder, &published, &crash).await?;
    let asked = chunk_requests(&provider).await?;
    tell_resumed(&crash, &finished, took, asked_before, asked)?;
    verify(folder, &consumer_folder, &input, &published, &finished).await?;
    let third = many::tell(folder, &published, crash.chunk_size, &provider, consumer).await?;
    third.stop().await?;
    provider.stop().await?;
    output::line("   The nodes that are left ended by themselves on SIGTERM, exit code 0.")
}

fn prepare(folder: &Path, input: Option<&Path>, size: u64) -> anyhow::Result<PathBuf> {
    if let Some(input) = input {
        ensure!(input.is_dir(), "{} is not a directory", input.display());
        return Ok(std::path::absolute(input)?);
    }
    let made = folder.join("state");
    files::generate(&made, size).context("cannot write the directory to publish")?;
    Ok(made)
}

async fn publish(folder: &Path, input: &Path) -> anyhow::Result<Published> {
    let summary = files::summarise(input)?;
    finish(&["init".as_ref(), "--publisher".as_ref(), "--dir".as_ref(), folder.as_ref()]).await?;
    let busy = Busy::with("publishing: reading, hashing, proving");
    let begun = Instant::now();
    let config = config_file(folder);
    let published: Published = finish_json(&[
        "publish".as_ref(),
        "--json".as_ref(),
        "--config".as_ref(),
        config.as_ref(),
        "--height".as_ref(),
        "1".as_ref(),
        input.as_ref(),
    ])
    .await?;
    drop(busy);
    output::line(&format!(
        "1. Published a directory: {} in {} and {}, in {} with its proof\n   root    {}\n   genesis {}   \
         all that the consumer is told to trust",
        human::bytes(summary.bytes),
        human::count(summary.files, "file"),
        human::count(summary.folders, "folder"),
        human::duration(begun.elapsed()),
        published.root,
        published.genesis,
    ))?;
    Ok(published)
}

/// Streams with smaller and smaller chunks until a consumer could be killed half-way.
async fn stream_until_the_crash(
    folder: &Path,
    provider: &Node,
    published: &Published,
) -> anyhow::Result<(PathBuf, Crash)> {
    let busy = Busy::with("streaming, until it is killed half-way");
    for (attempt, chunk_size) in CHUNK_SIZES.into_iter().enumerate() {
        let place = folder.join(format!("consumer-{}", attempt + 1));
        finish(&["init".as_ref(), "--dir".as_ref(), place.as_ref()]).await?;
        let consumer = Node::start(&place, &consumer_flags(published)).await?;
        let refused = consumer.api.status_without_token("/p2p/snapshots").await?;
        ensure!(refused == hyper::StatusCode::UNAUTHORIZED, "without its token the control plane answered {refused}");
        let begun = Instant::now();
        let request = json!({ "peer": provider.address()?, "chunk_size": chunk_size });
        let session = consumer.api.start(&request).await?.session.get();
        if let Some((durable, total)) = half_way(&consumer, session).await? {
            consumer.kill().await?;
            let crash = Crash { session, durable, total, chunk_size, after: begun.elapsed() };
            drop(busy);
            tell_crash(&crash)?;
            return Ok((place, crash));
        }
        consumer.stop().await?;
    }
    bail!("this machine streams too fast to be caught half-way: try `rpp-node demo --size 1024`")
}

pub(super) fn consumer_flags(published: &Published) -> Vec<String> {
    vec![format!("--trust-genesis={}", published.genesis), format!("--snapshots-ack-bytes={ACK_BYTES}")]
}

/// Waits until enough is durable. `None` if the session ended too early to be interrupted.
async fn half_way(consumer: &Node, session: u64) -> anyhow::Result<Option<(u64, u64)>> {
    let seen = wait(consumer, session, |status| {
        let total = status.total_bytes?;
        let percent = status.bytes_durable.saturating_mul(100) / total.max(1);
        let over = status.state == SessionState::Complete || percent > *KILL_BETWEEN.end();
        (over || percent >= *KILL_BETWEEN.start()).then_some((over, status.bytes_durable, total))
    });
    let (over, durable, total) = seen.await?;
    Ok((!over).then_some((durable, total)))
}

fn tell_crash(crash: &Crash) -> anyhow::Result<()> {
    output::line(&format!(
        "3. The consumer was told over HTTP to stream it (without the token: 401), in chunks of {}\n   SIGKILL after {}: \
         {} of {} were durable, {}, {} on average from the first request on",
        human::bytes(crash.chunk_size),
        human::duration(crash.after),
        human::bytes(crash.durable),
        human::bytes(crash.total),
        human::percent(crash.durable, crash.total),
        human::rate(crash.durable, crash.after),
    ))
}

/// Starts the killed consumer again and waits until its session is verified.
async fn resume(
    folder: &Path,
    published: &Published,
    crash: &Crash,
) -> anyhow::Result<(Node, SnapshotStreamStatus, Duration)> {
    let _busy = Busy::with("started again: resuming");
    let begun = Instant::now();
    let consumer = Node::start(folder, &consumer_flags(published)).await?;
    let first = consumer.api.session(crash.session).await.context("the session did not survive the crash")?;
    ensure!(
        first.bytes_durable >= crash.durable,
        "the consumer lost durable bytes: {} before the crash, {} after",
        crash.durable,
        first.bytes_durable
    );
    let finished =
        wait(&consumer, crash.session, |status| (status.state == SessionState::Complete).then(|| status.clone()))
            .await?;
    ensure!(finished.verified, "the session is complete, but not verified");
    Ok((consumer, finished, begun.elapsed()))
}

fn tell_resumed(
    crash: &Crash,
    finished: &SnapshotStreamStatus,
    took: Duration,
    before: u64,
    asked: u64,
) -> anyhow::Result<()> {
    let chunks = finished.total_chunks.context("a complete session knows its chunks")?;
    let again = asked.saturating_sub(chunks);
    let group = (ACK_BYTES / crash.chunk_size).max(1);
    output::line(&format!(
        "4. Started again, it went on by itself and was complete after {}\n   the payload has {}; the \
         provider was asked for {before} before the crash and for {} after it",
        human::duration(took),
        human::count(chunks, "chunk"),
        asked.saturating_sub(before),
    ))?;
    output::line(&match again {
        0 => "   so not one came twice".to_owned(),
        again => format!(
            "   so {again} came twice: what was on its way or not yet durable when it died ({} of {})",
            human::bytes(again * crash.chunk_size),
            human::bytes(crash.total),
        ),
    })?;
    // A crash may lose one group that is being written and one that is being fetched, but not more.
    ensure!(again <= 4 * group, "{again} chunks came twice, more than a crash explains");
    Ok(())
}

async fn verify(
    folder: &Path,
    consumer: &Path,
    input: &Path,
    published: &Published,
    finished: &SnapshotStreamStatus,
) -> anyhow::Result<()> {
    let root = finished.root.context("a complete session knows its root")?.to_string();
    ensure!(root == published.root, "the consumer has root {root}, the provider published {}", published.root);
    ensure!(finished.total_bytes == Some(published.bytes), "the sizes differ");
    let busy = Busy::with("verifying offline, unpacking, comparing");
    let config = config_file(consumer);
    let begun = Instant::now();
    let trust = format!("--trust-genesis={}", published.genesis);
    finish(&["verify".as_ref(), "--config".as_ref(), config.as_ref(), trust.as_ref(), root.as_ref()]).await?;
    let checked = begun.elapsed();
    let unpacked = folder.join("unpacked");
    finish(&["unpack".as_ref(), "--config".as_ref(), config.as_ref(), root.as_ref(), unpacked.as_ref()]).await?;
    let same = files::compare(input, &unpacked)?;
    drop(busy);
    output::line(&format!(
        "5. Checked offline in {}: payload, chain, proof and signature lead back to the genesis\n   unpacked and compared \
         with what was published: {}, {}, {}, {}, all equal byte by byte",
        human::duration(checked),
        human::count(same.files, "file"),
        human::count(same.folders, "folder"),
        human::count(same.links, "link"),
        human::bytes(same.bytes),
    ))
}

/// Polls a session until `enough` returns a value.
pub(super) async fn wait<T>(
    node: &Node,
    session: u64,
    enough: impl Fn(&SnapshotStreamStatus) -> Option<T>,
) -> anyhow::Result<T> {
    let mut last = (0, Instant::now());
    loop {
        let status = node.api.session(session).await?;
        if let Some(found) = enough(&status) {
            return Ok(found);
        }
        ensure!(status.state != SessionState::Failed, "the session failed: {}", status::explain(&status));
        let moved = status.bytes_received + status.bytes_durable;
        if moved != last.0 {
            last = (moved, Instant::now());
        }
        ensure!(last.1.elapsed() < STALL, "the session does not move: {}", status::line(&status));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The number of chunk requests that a provider has received, by its own metrics.
async fn chunk_requests(provider: &Node) -> anyhow::Result<u64> {
    let text = provider.api.get("/metrics").await?;
    let text = std::str::from_utf8(&text).context("the metrics are not text")?;
    let lines = text.lines().filter(|line| {
        line.starts_with("rpp_snapshot_requests_total{")
            && line.contains("direction=\"received\"")
            && line.contains("kind=\"chunk\"")
    });
    let counts = lines.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
    let counts: Vec<u64> = counts.collect::<Result<_, _>>().context("a count of chunk requests is not a number")?;
    ensure!(!counts.is_empty(), "the provider counts no chunk requests");
    Ok(counts.iter().sum())
}
