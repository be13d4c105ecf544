//! The records of one connection and of one stream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use libp2p::{PeerId, swarm::ConnectionId};
use rpp_p2p::stream_tags::StreamTags;

use super::gauge::Gauges;
use crate::{
    limits::{MAX_CLOSED_STREAMS, MAX_CLOSED_STREAMS_PER_CONNECTION, MAX_STREAMS, MAX_STREAMS_PER_CONNECTION},
    proto::{Role, Status},
};

/// A new connection, as the transport reports it.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// The peer, authenticated.
    pub peer: PeerId,
    /// Our role.
    pub role: Role,
    /// `tcp`, `quic-v1` ...
    pub transport: String,
    /// Our own address, when known.
    pub local: Option<String>,
    /// The peer's address.
    pub remote: Option<String>,
    /// When it was opened on the wire.
    pub opened_ms: u64,
    /// The multiplexer's protocol name.
    pub multiplexer: String,
    /// The encryption's protocol name.
    pub encryption: String,
}

#[derive(Debug)]
pub(crate) struct ConnectionRecord {
    pub(crate) id: u64,
    pub(crate) wire_id: Bytes,
    pub(crate) about: NewConnection,
    pub(crate) peer_text: String,
    pub(crate) transport_id: Bytes,
    pub(crate) upgraded_ms: u64,
    /// 0: live.
    pub(crate) closed_ms: AtomicU64,
    pub(crate) closing: AtomicBool,
    /// 0: not measured.
    pub(crate) latency_ns: AtomicU64,
    pub(crate) gauges: Gauges,
    addresses: Mutex<Addresses>,
    streams: Mutex<Streams>,
    counts: Arc<StreamCounts>,
}

#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) local: Option<String>,
    pub(crate) remote: Option<String>,
    /// The swarm's id of the connection, once the swarm has it.
    pub(crate) swarm: Option<ConnectionId>,
}

/// Live and closed streams of all connections.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    pub(crate) live: AtomicUsize,
    pub(crate) closed: AtomicUsize,
}

#[derive(Debug, Default)]
struct Streams {
    live: BTreeMap<u64, Arc<StreamRecord>>,
    closed: VecDeque<Arc<StreamRecord>>,
}

impl ConnectionRecord {
    pub(crate) fn new(id: u64, about: NewConnection, now_ms: u64, counts: Arc<StreamCounts>) -> Self {
        Self {
            id,
            wire_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            peer_text: about.peer.to_base58(),
            transport_id: Bytes::copy_from_slice(about.transport.as_bytes()),
            upgraded_ms: now_ms,
            closed_ms: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            latency_ns: AtomicU64::new(0),
            gauges: Gauges::default(),
            addresses: Mutex::new(Addresses { local: about.local.clone(), remote: about.remote.clone(), swarm: None }),
            streams: Mutex::default(),
            counts,
            about,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match (self.closed_ms.load(Relaxed), self.closing.load(Relaxed)) {
            (0, false) => Status::Active,
            (0, true) => Status::Closing,
            _ => Status::Closed,
        }
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream, unless a bound is reached.
    pub(crate) fn add_stream(&self, stream: &Arc<StreamRecord>) {
        let mut streams = self.streams();
        if streams.live.len() < MAX_STREAMS_PER_CONNECTION && self.counts.live.load(Relaxed) < MAX_STREAMS {
            streams.live.insert(stream.id, Arc::clone(stream));
            self.counts.live.fetch_add(1, Relaxed);
        }
    }

    /// Marks a stream as closed. It is kept among the closed ones if `keep` is set.
    pub(crate) fn end_stream(&self, stream: &Arc<StreamRecord>, keep: bool) {
        let mut streams = self.streams();
        if streams.live.remove(&stream.id).is_none() {
            return;
        }
        self.counts.live.fetch_sub(1, Relaxed);
        if !keep {
            return;
        }
        if streams.closed.len() >= MAX_CLOSED_STREAMS_PER_CONNECTION
            || self.counts.closed.load(Relaxed) >= MAX_CLOSED_STREAMS
        {
            // There is no space in all: the oldest closed stream of this connection is dropped, or this one is not
            // kept.
            if streams.closed.pop_front().is_none() {
                return;
            }
            self.counts.closed.fetch_sub(1, Relaxed);
        }
        streams.closed.push_back(Arc::clone(stream));
        self.counts.closed.fetch_add(1, Relaxed);
    }

    /// Drops the streams that were closed before `horizon_ms`.
    pub(crate) fn forget_streams(&self, horizon_ms: u64) {
        let mut streams = self.streams();
        let before = streams.closed.len();
        streams.closed.retain(|stream| stream.closed_ms.load(Relaxed) >= horizon_ms);
        self.counts.closed.fetch_sub(before - streams.closed.len(), Relaxed);
        if streams.closed.capacity() > 4 * streams.closed.len() + 16 {
            streams.closed.shrink_to_fit();
        }
    }

    /// Live streams, then the closed ones.
    pub(crate) fn all_streams(&self) -> Vec<Arc<StreamRecord>> {
        let streams = self.streams();
        streams.live.values().chain(&streams.closed).map(Arc::clone).collect()
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        let streams = self.streams.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.counts.live.fetch_sub(streams.live.len(), Relaxed);
        self.counts.closed.fetch_sub(streams.closed.len(), Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct StreamRecord {
    pub(crate) id: u64,
    pub(crate) wire_id: Bytes,
    pub(crate) role: Role,
    pub(crate) opened_ms: u64,
    /// 0: live.
    pub(crate) closed_ms: AtomicU64,
    pub(crate) gauges: Gauges,
    status: AtomicU8,
    failed: AtomicBool,
    labels: Mutex<Labels>,
}

/// A stream's protocol and tags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) protocol: String,
    pub(crate) tags: Option<StreamTags>,
}

impl StreamRecord {
    pub(crate) fn new(id: u64, role: Role, now_ms: u64) -> Self {
        Self {
            id,
            wire_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            role,
            opened_ms: now_ms,
            closed_ms: AtomicU64::new(0),
            gauges: Gauges::default(),
            status: AtomicU8::new(Status::Opening as u8),
            failed: AtomicBool::new(false),
            labels: Mutex::default(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status::try_from(i32::from(self.status.load(Relaxed))).unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `agreed`: the protocol is settled, or will never be known.
    pub(crate) fn set_protocol(&self, protocol: Option<String>, agreed: bool) {
        if let Some(protocol) = protocol {
            self.labels().protocol = protocol;
        }
        if agreed {
            self.status.store(Status::Active as u8, Relaxed);
        }
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Relaxed);
    }

    pub(crate) fn end(&self, now_ms: u64) {
        let last = if self.failed.load(Relaxed) { Status::Error } else { Status::Closed };
        self.status.store(last as u8, Relaxed);
        self.closed_ms.store(now_ms.max(1), Relaxed);
    }
}
