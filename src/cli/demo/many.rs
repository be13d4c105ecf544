//! The second act: one download from three providers and a mirror. One of the providers lies, one is throttled, and one is
//! killed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rpp_runtime::{SessionState, SnapshotStreamStatus, bans::Ban, status::SourceStatus};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    liar::Liar,
    node::{Node, config_file, finish},
    story::{Published, consumer_flags, wait},
};
use crate::cli::{
    human,
    output::{self, Busy},
};

/// Seconds that the throttled provider alone would need for the whole payload.
const SLOW: u64 = 20;
/// The same for the provider that is killed.
const QUICK: u64 = 4;
/// The percentage of durable bytes at which that provider is killed.
const KILL_FROM: u64 = 30;

/// Streams the snapshot to a third node. `provider` and `quick` have it; `quick` is killed half-way.
pub(super) async fn tell(
    folder: &Path,
    published: &Published,
    chunk_size: u64,
    provider: &Node,
    quick: Node,
) -> anyhow::Result<Node> {
    let copy = folder.join("mirror");
    mirror(folder, &copy.join("store"), &published.root).await?;
    let web = Web::start(copy.join("store")).await?;
    let liar = Liar::start(&copy, &published.root).await?;
    let (slow_rate, quick_rate) = (published.bytes / SLOW, published.bytes / QUICK);
    for (node, rate) in [(provider, slow_rate), (&quick, quick_rate)] {
        node.api.patch("/p2p/limits", &json!({ "upload_bytes_per_second": rate.max(1) })).await?;
    }
    let place = folder.join("many");
    finish(&["init".as_ref(), "--dir".as_ref(), place.as_ref()]).await?;
    let busy = Busy::with("streaming from three providers at once");
    let consumer = Node::start(&place, &consumer_flags(published)).await?;
    output::line(&format!(
        "6. A third node asks three providers for it at once: one sends {}/s at most, one {}/s, and one lies: a bit of each \
         chunk is another",
        human::bytes(slow_rate),
        human::bytes(quick_rate),
    ))?;
    let begun = Instant::now();
    let peers = [provider.address()?, quick.address()?, &liar.address];
    let session = consumer.api.start(&json!({ "peers": peers, "chunk_size": chunk_size })).await?.session.get();
    let (ban, after) = banned(&consumer, session, &liar, begun).await?;
    tell_ban(&ban, after)?;
    let quick_name = quick.said.peer_id.clone();
    let half = wait(&consumer, session, |status| {
        let percent = status.bytes_durable.saturating_mul(100) / status.total_bytes?.max(1);
        (percent >= KILL_FROM || status.state == SessionState::Complete).then(|| status.clone())
    });
    let half = half.await?;
    ensure!(half.state != SessionState::Complete, "it was complete before a provider could be killed");
    ensure!(of(&half, &quick_name).is_some_and(|source| source.bytes_verified > 0), "the quick provider gave nothing");
    quick.kill().await?;
    let total = half.total_bytes.unwrap_or(published.bytes);
    output::line(&format!(
        "   SIGKILL of the quick one at {}; the others went on, and a mirror was added: plain files over HTTP",
        human::percent(half.bytes_durable, total),
    ))?;
    consumer.api.post(&format!("/p2p/snapshots/{session}/sources"), &json!({ "mirror": web.url() })).await?;
    let finished = wait(&consumer, session, |status| (status.state == SessionState::Complete).then(|| status.clone()));
    let finished = finished.await?;
    let took = begun.elapsed();
    drop(busy);
    ensure!(finished.verified, "the session is complete, but not verified");
    let names = [
        (provider.said.peer_id.clone(), "the throttled provider"),
        (quick_name, "the provider that was killed"),
        (liar.peer.to_string(), "the provider that lied"),
        (web.url(), "the mirror"),
    ];
    tell_sources(&finished, &names, took)?;
    Ok(consumer)
}

/// Copies the files that a web server needs.
async fn mirror(folder: &Path, copy: &Path, root: &str) -> anyhow::Result<()> {
    let config = config_file(&folder.join("provider"));
    let url = format!("file://{}", copy.display());
    finish(&["mirror".as_ref(), "--config".as_ref(), config.as_ref(), url.as_ref(), root.as_ref()]).await?;
    Ok(())
}

/// Waits until the liar is banned.
async fn banned(consumer: &Node, session: u64, liar: &Liar, begun: Instant) -> anyhow::Result<(Ban, Duration)> {
    let name = liar.peer.to_string();
    let is_cut_off = |source: &SourceStatus| source.state == rpp_runtime::status::SourceState::Banned;
    let seen = wait(consumer, session, |status| {
        let cut_off = of(status, &name).is_some_and(is_cut_off);
        (cut_off || status.state == SessionState::Complete).then_some(())
    });
    seen.await?;
    let after = begun.elapsed();
    let bans: Vec<Ban> = consumer.api.decode(&consumer.api.get("/p2p/bans").await?)?;
    ensure!(bans.len() == 1, "{} sources are banned, and one lies", bans.len());
    let ban =
        bans.into_iter().next().filter(|ban| ban.source == name).context("another one is banned than the liar")?;
    Ok((ban, after))
}

fn tell_ban(ban: &Ban, after: Duration) -> anyhow::Result<()> {
    let why = ban.evidence.last().context("a ban has evidence")?;
    let index = why.evidence.index.context("the evidence names no chunk")?;
    output::line(&format!(
        "   the one that lies was banned after {}, for chunk {index}, which does not lead to the root; nothing of it was kept",
        human::duration(after),
    ))
}

fn of<'a>(status: &'a SnapshotStreamStatus, name: &str) -> Option<&'a SourceStatus> {
    status.sources.iter().find(|source| source.source == name)
}

fn tell_sources(finished: &SnapshotStreamStatus, names: &[(String, &str)], took: Duration) -> anyhow::Result<()> {
    output::line(&format!("7. Complete and verified after {}, by source:", human::duration(took)))?;
    let mut sum = 0;
    for (name, role) in names {
        let source = of(finished, name).with_context(|| format!("{role} is not among the sources"))?;
        sum += source.bytes_verified;
        output::line(&format!("   {:>9}  {role:<28}  {name}", human::bytes(source.bytes_verified)))?;
        let is_liar = role.contains("lied");
        ensure!(!is_liar || source.bytes_verified == 0, "bytes of the liar count as verified");
    }
    let total = finished.total_bytes.context("a complete session knows its size")?;
    ensure!(sum == total, "the sources gave {sum} bytes, and the payload has {total}");
    Ok(())
}

/// A static web server on loopback; ends when dropped.
struct Web {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(warp::serve(warp::fs::dir(folder)).incoming(listener).run());
        Ok(Self { address, task })
    }

    /// The URL, as the status shows it.
    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}
