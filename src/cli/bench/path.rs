//! A session that drops every chunk after it was verified.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    futures::StreamExt as _,
    identity::Keypair,
    multiaddr, noise, ping,
    swarm::{DialError, NetworkBehaviour, SwarmEvent},
    tcp,
};
use rpp_p2p::{
    Acknowledged, ArtefactKind, ChunkData, Exchange, Hash, PipelineError, Plan, PlanOffer, PlanRequest, PlanWishes,
    Protocol, Protocols, Resumed, SnapshotProvider, SnapshotSessionId, SnapshotsRequest, TrustAnchor, Update, Verified,
    consumer::Grant,
    error::Unavailable,
    snapshots::{self, Event, RequestId},
    stream::Wanted,
    transport::{Tls, Yamux},
};
use rpp_runtime::config;
use serde::Serialize;

use super::usage;
use crate::limits::{BENCH_CONNECT, BENCH_GOODBYE, BENCH_PING};

/// Time between two pings.
const PING: Duration = Duration::from_millis(500);

/// What to measure.
pub(super) struct Bench {
    pub(super) wishes: PlanWishes,
    /// Stops after this many bytes,
    pub(super) bytes: u64,
    /// or after this time.
    pub(super) time: Duration,
    /// Largest number of bytes in flight.
    pub(super) window: u64,
    pub(super) protocol: config::Protocol,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) peer: String,
    pub(super) protocol: &'static str,
    pub(super) root: Hash,
    pub(super) height: u64,
    pub(super) chunk_size: u64,
    pub(super) window: u64,
    /// Payload bytes after the first chunk that arrived and were verified.
    pub(super) bytes: u64,
    /// From the first chunk to the last one.
    pub(super) seconds: f64,
    pub(super) bytes_per_second: u64,
    pub(super) connect_ms: f64,
    /// From the request for a plan to the first chunk.
    pub(super) first_chunk_ms: f64,
    /// The round trip before anything else was sent.
    pub(super) round_trip_ms: Option<f64>,
    /// The median round trip while the payload arrived.
    pub(super) round_trip_under_load_ms: Option<f64>,
    pub(super) cpu_seconds_per_gib: f64,
    pub(super) peak_memory_bytes: u64,
}

impl Measured {
    /// What the operator could change.
    pub(super) fn advice(&self) -> Option<String> {
        if self.protocol == rpp_p2p::PROTOCOL_V1 {
            return Some(
                "1.0.0 waits for each chunk: larger chunks are faster, and 2.0.0 is where both sides have it"
                    .to_owned(),
            );
        }
        // At most one window passes in each round trip.
        let limit = self.window as f64 * 1000.0 / self.round_trip_ms.filter(|time| *time > 0.0)?;
        let is_close = self.bytes_per_second as f64 > 0.8 * limit;
        is_close.then(|| "the window limits this path: try a larger [snapshots] window".to_owned())
    }
}

#[derive(NetworkBehaviour)]
struct Measuring {
    snapshots: snapshots::Behaviour<Nothing>,
    ping: ping::Behaviour,
}

/// Connects, measures, and ends the session.
///
/// # Errors
/// The peer is not reached, refuses, or breaks the protocol.
pub(super) async fn measure(
    identity: Keypair,
    trust: &TrustAnchor,
    address: &Multiaddr,
    bench: &Bench,
) -> anyhow::Result<Measured> {
    let peer = peer_of(address).context("the address names no peer")?;
    let protocols = match bench.protocol {
        config::Protocol::V1 => Protocols::V1,
        config::Protocol::V2 => Protocols::V2,
        _ => Protocols::Auto,
    };
    let protocol = snapshots::Config::default().with_trust(trust.clone()).with_protocols(protocols);
    let swarm = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::new(), (Tls::new, noise::Config::new), Yamux::default)?
        .with_quic()
        .with_dns()?
        .with_behaviour(|_| Measuring {
            snapshots: snapshots::Behaviour::new(Arc::new(Nothing), protocol),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING)),
        })?
        .build();
    let session = SnapshotSessionId::new(rand::random_range(1..1 << 53)).context("no session id")?;
    let mut run = Run { swarm, peer, session, idle: None, loaded: Vec::new() };
    let connect = run.connect(address).await?;
    let _ = tokio::time::timeout(BENCH_PING, run.first_ping()).await;
    let mut course = run.course(bench).await?;
    course.connect_ms = milliseconds(connect);
    let _ = tokio::time::timeout(BENCH_GOODBYE, run.end()).await;
    Ok(course)
}

fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| match part {
        multiaddr::Protocol::P2p(peer) => Some(peer),
        _ => None,
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The last cause says what happened; the others say only where.
fn explain(error: &DialError) -> String {
    let text = match error {
        DialError::Transport(tried) => tried.iter().map(|(_, error)| innermost(error)).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    };
    rpp_p2p::text::escape(&text)
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

struct Run {
    swarm: Swarm<Measuring>,
    peer: PeerId,
    session: SnapshotSessionId,
    /// The first round trip.
    idle: Option<Duration>,
    /// The later ones.
    loaded: Vec<Duration>,
}

impl Run {
    /// Waits for the next event of the session, and records pings meanwhile.
    async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(MeasuringEvent::Snapshots(event)) => return Ok(event),
                SwarmEvent::Behaviour(MeasuringEvent::Ping(ping)) => self.pinged(&ping),
                SwarmEvent::ConnectionClosed { num_established: 0, cause, .. } => {
                    let cause = cause.map_or("closed by the peer".to_owned(), |cause| cause.to_string());
                    bail!("the connection was lost: {}", rpp_p2p::text::escape(&cause));
                }
                _ => {}
            }
        }
    }

    fn pinged(&mut self, ping: &ping::Event) {
        match ping.result {
            Ok(time) if self.idle.is_none() => self.idle = Some(time),
            Ok(time) => self.loaded.push(time),
            Err(_) => {}
        }
    }

    async fn connect(&mut self, address: &Multiaddr) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.swarm.dial(address.clone()).with_context(|| format!("{address} cannot be dialled"))?;
        let connected = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                    SwarmEvent::OutgoingConnectionError { error, .. } => {
                        bail!("no connection to {address}: {}", explain(&error))
                    }
                    _ => {}
                }
            }
        };
        let within = tokio::time::timeout(BENCH_CONNECT, connected).await;
        within.with_context(|| format!("no connection to {address} within {} s", BENCH_CONNECT.as_secs()))??;
        Ok(begun.elapsed())
    }

    async fn first_ping(&mut self) {
        while self.idle.is_none() {
            if let SwarmEvent::Behaviour(MeasuringEvent::Ping(ping)) = self.swarm.select_next_some().await {
                match ping.result {
                    Ok(time) => self.idle = Some(time),
                    // The peer answers no pings.
                    Err(_) => return,
                }
            }
        }
    }

    async fn course(&mut self, bench: &Bench) -> anyhow::Result<Measured> {
        let begun = Instant::now();
        let session_id = self.session;
        self.request(SnapshotsRequest::Plan { session_id, wishes: bench.wishes }, None)?;
        let (plan, opened, protocol) = loop {
            match self.event().await? {
                Event::Verified { verified: Verified::Plan(plan), request_id, protocol, .. } => {
                    break (Arc::<Plan>::from(plan), request_id, protocol);
                }
                Event::Error { error, .. } | Event::StreamEnded { error, .. } => {
                    bail!("the peer gave no plan: {error}")
                }
                _ => {}
            }
        };
        let window = bench.window.max(plan.chunk_size);
        let mut flow = Flow { plan: Arc::clone(&plan), opened, protocol, window, granted: 0, received: 0, chunks: 0 };
        self.ask(&mut flow)?;
        let mut first = None;
        let mut cpu = usage::cpu_seconds();
        let deadline = tokio::time::sleep(bench.time);
        tokio::pin!(deadline);
        while flow.chunks < plan.total_chunks && flow.received < bench.bytes {
            let event = tokio::select! {
                event = self.event() => event?,
                () = &mut deadline => break,
            };
            let (Event::Verified { verified, .. } | Event::Streamed { verified, .. }) = event else {
                match event {
                    Event::Error { error, .. } | Event::StreamEnded { error, .. } => {
                        bail!("after {} bytes: {error}", flow.received)
                    }
                    _ => continue,
                }
            };
            let Verified::Chunk(chunk) = verified else { continue };
            flow.received += chunk.bytes.len() as u64;
            flow.chunks += 1;
            if first.is_none() {
                // The time before the first chunk is measured separately.
                first = Some((Instant::now(), flow.received));
                cpu = usage::cpu_seconds();
                self.loaded.clear();
            }
            self.ask(&mut flow)?;
        }
        let Some((since, before)) = first else { bail!("no chunk came within {} s", bench.time.as_secs()) };
        let (seconds, cpu) = (since.elapsed().as_secs_f64(), usage::cpu_seconds() - cpu);
        let bytes = flow.received - before;
        self.loaded.sort_unstable();
        Ok(Measured {
            peer: self.peer.to_string(),
            protocol: protocol.as_str(),
            root: plan.snapshot.checkpoint.state_root,
            height: plan.snapshot.checkpoint.height,
            chunk_size: plan.chunk_size,
            window,
            bytes,
            seconds,
            bytes_per_second: if bytes == 0 { 0 } else { (bytes as f64 / seconds.max(1e-9)) as u64 },
            connect_ms: 0.0,
            first_chunk_ms: milliseconds(since - begun),
            round_trip_ms: self.idle.map(milliseconds),
            round_trip_under_load_ms: self.loaded.get(self.loaded.len() / 2).copied().map(milliseconds),
            cpu_seconds_per_gib: cpu / (bytes.max(1) as f64 / (1_u64 << 30) as f64),
            peak_memory_bytes: usage::peak_memory_bytes(),
        })
    }

    /// Sends the requests that are allowed now.
    fn ask(&mut self, flow: &mut Flow) -> anyhow::Result<()> {
        if flow.protocol == Protocol::V1 {
            let request = SnapshotsRequest::Chunk { session_id: self.session, chunk_index: flow.chunks };
            return match flow.chunks < flow.plan.total_chunks {
                true => self.request(request, Some(Arc::clone(&flow.plan))),
                false => Ok(()),
            };
        }
        let Some((want, credit)) = flow.grant() else { return Ok(()) };
        let grant = Grant::new(self.session, flow.opened, Arc::clone(&flow.plan), want, Some(credit));
        let peer = self.peer;
        self.swarm.behaviour_mut().snapshots.grant(peer, grant);
        Ok(())
    }

    /// Tells the peer that nothing more is wanted.
    async fn end(&mut self) {
        let request = SnapshotsRequest::Error { session_id: self.session, message: "measured".to_owned() };
        if self.request(request, None).is_err() {
            // A chunk is in flight: the peer learns of the end when the connection closes.
            return;
        }
        while let Ok(event) = self.event().await {
            if matches!(event, Event::Cancelled { .. } | Event::StreamEnded { .. } | Event::Error { .. }) {
                return;
            }
        }
    }

    fn request(&mut self, request: SnapshotsRequest, plan: Option<Arc<Plan>>) -> anyhow::Result<()> {
        let exchange = Exchange::new(request, plan, None);
        let sent = self.swarm.behaviour_mut().snapshots.request(self.peer, exchange);
        sent.map(drop).context("a request could not be sent")
    }
}

/// The progress of the session.
struct Flow {
    plan: Arc<Plan>,
    /// The request that opened the session.
    opened: RequestId,
    protocol: Protocol,
    window: u64,
    granted: u64,
    received: u64,
    chunks: u64,
}

impl Flow {
    /// What to tell the peer: at first the wanted ranges, then new credit whenever a good part of the window has
    /// arrived.
    fn grant(&mut self) -> Option<(Option<Wanted>, u64)> {
        let all = 0..self.plan.total_chunks;
        let want = (self.granted == 0).then(|| Wanted { chunks: std::iter::once(all).collect(), updates: 0..0 });
        let credit = self.received + self.window;
        if want.is_none() && credit < self.granted + (self.window / 4).max(1) {
            return None;
        }
        self.granted = credit;
        Some((want, credit))
    }
}

/// A provider that serves nothing.
struct Nothing;

impl SnapshotProvider for Nothing {
    fn plan(&self, _: PeerId, _: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        Err(Unavailable::Own("this process measures and serves nothing").into())
    }

    fn chunk(&self, _: PeerId, session: SnapshotSessionId, _: u64) -> Result<ChunkData, PipelineError> {
        Err(PipelineError::unknown_session(session))
    }

    fn update(&self, _: PeerId, session: SnapshotSessionId, _: u64) -> Result<Update, PipelineError> {
        Err(PipelineError::unknown_session(session))
    }

    fn resume_session(
        &self,
        _: PeerId,
        session: SnapshotSessionId,
        _: Hash,
        _: u64,
        _: u64,
    ) -> Result<Resumed, PipelineError> {
        Err(PipelineError::unknown_session(session))
    }

    fn acknowledge(
        &self,
        _: PeerId,
        session: SnapshotSessionId,
        _: ArtefactKind,
        _: u64,
    ) -> Result<Acknowledged, PipelineError> {
        Err(PipelineError::unknown_session(session))
    }

    fn cancel(&self, _: PeerId, _: SnapshotSessionId) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(bytes_per_second: u64) -> Measured {
        Measured {
            peer: String::new(),
            protocol: rpp_p2p::PROTOCOL_V2,
            root: Hash([0; 32]),
            height: 1,
            chunk_size: 1 << 20,
            window: 16 << 20,
            bytes: 0,
            seconds: 0.0,
            bytes_per_second,
            connect_ms: 0.0,
            first_chunk_ms: 0.0,
            round_trip_ms: Some(100.0),
            round_trip_under_load_ms: None,
            cpu_seconds_per_gib: 0.0,
            peak_memory_bytes: 0,
        }
    }

    #[test]
    fn a_window_that_limits_the_path_is_named() {
        // 16 MiB in 100 ms are 168 MB/s.
        assert!(measured(160_000_000).advice().is_some_and(|advice| advice.contains("window")));
        assert_eq!(measured(50_000_000).advice(), None);
        let old = Measured { protocol: rpp_p2p::PROTOCOL_V1, ..measured(1) };
        assert!(old.advice().is_some_and(|advice| advice.contains("1.0.0")));
    }
}
