//! The rules, without I/O.
//!
//! ```text
//!             arrive               establish                    settle
//! (a socket) ───────> being made ────────────> made and quiet ────────────> closing
//!     │                   │                        │    ^                      ^
//!     │ refused: share,   │ time is up,            v    │ its session ends     │
//!     │ rate              │ a broken handshake   in use (a session, or ours)   │ closed by either side
//!     v                   v                        └───────────────────────────┴──> gone
//! ```
//!
//! **Being made.** A peer that connects has not proved its identity yet, so only its address is known. A source may
//! have at most [`ConnectionRules::handshakes_per_source`] handshakes in progress, and no more than a quarter of the
//! free places. So one source never takes the last places. TCP and QUIC have separate places, because a datagram's
//! sender can be forged: a forger can at most keep another address from using QUIC.
//!
//! **Made.** All established connections may stay while there are free places. Otherwise the connection that has been
//! quiet for longest is closed, of the source that has most. A source with a quarter of all connections makes room
//! among its own. Peers that the operator has configured, and peers of this node's sessions, are never refused and
//! never closed.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm::ConnectionId};
use rpp_p2p::provider::Source;

use super::report::{RefusalLog, RefusalSummary};

use crate::limits::{
    CONNECTION_BURST, CONNECTION_IDLE, CONNECTION_QUIET, CONNECTIONS_PER_SECOND, HANDSHAKE_TIME, MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_SOURCE, MAX_OVER, MAX_RATES,
};

/// Bounds on inbound connections; the defaults are those of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRules {
    /// Inbound handshakes at once over TCP, and as many over QUIC.
    pub handshakes: usize,
    /// The most of these from one source: an IPv4 address, or a /64 of IPv6.
    pub handshakes_per_source: usize,
    /// Connections that one source may begin at once.
    pub burst: u32,
    /// Connections that one source may begin in a second after that.
    pub per_second: u32,
    /// Time for an inbound handshake.
    pub handshake_time: Duration,
    /// A connection without streams closes after this long.
    pub idle: Duration,
    /// A connection without a session closes after this long, whatever streams its peer opens.
    pub quiet: Duration,
    /// Time between two pings.
    pub ping: Duration,
}

impl Default for ConnectionRules {
    fn default() -> Self {
        Self {
            handshakes: MAX_HANDSHAKES,
            handshakes_per_source: MAX_HANDSHAKES_PER_SOURCE,
            burst: CONNECTION_BURST,
            per_second: CONNECTIONS_PER_SECOND,
            handshake_time: HANDSHAKE_TIME,
            idle: CONNECTION_IDLE,
            quiet: CONNECTION_QUIET,
            ping: Duration::from_secs(15),
        }
    }
}

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    Tcp,
    Quic,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum ConnectionRefusal {
    #[error("this address has its share of the connections that are being made")]
    HandshakesOfSource,
    #[error("too many connections are being made")]
    Handshakes,
    #[error("this address makes connections too fast")]
    Rate,
    #[error("this peer has as many connections as it may")]
    Peer,
    #[error("there are too many connections")]
    Total,
}

impl ConnectionRefusal {
    pub(crate) const ALL: [Self; 5] = [Self::HandshakesOfSource, Self::Handshakes, Self::Rate, Self::Peer, Self::Total];

    /// The label of the metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HandshakesOfSource => "handshakes_of_address",
            Self::Handshakes => "handshakes",
            Self::Rate => "rate",
            Self::Peer => "peer",
            Self::Total => "total",
        }
    }
}

/// Why a connection was closed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Closed {
    /// It had no session, and another connection needed its place.
    GaveWay,
    /// It had no session for too long.
    Idle,
}

impl Closed {
    pub(crate) const ALL: [Self; 2] = [Self::GaveWay, Self::Idle];

    /// The label of the metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GaveWay => "gave_way",
            Self::Idle => "idle",
        }
    }
}

/// For metrics: the present numbers, and the counts since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) being_made: usize,
    pub(crate) made: usize,
    pub(crate) closing: usize,
    pub(crate) sources: usize,
    pub(crate) of_busiest_source: usize,
    pub(crate) refused: HashMap<ConnectionRefusal, u64>,
    pub(crate) closed: HashMap<Closed, u64>,
}

/// All connections of a node, and the rules between them.
#[derive(Debug)]
pub(crate) struct Doors {
    rules: ConnectionRules,
    max: usize,
    max_per_peer: usize,
    /// At most [`ConnectionRules::handshakes`] of each kind.
    being_made: HashMap<ConnectionId, (Source, Wire)>,
    /// At most `max` and [`MAX_OVER`], plus those that this node dialled.
    made: HashMap<ConnectionId, Made>,
    rates: HashMap<(Source, Wire), Rate>,
    /// Configured peers, and peers with sessions; as of the last [`Doors::settle`].
    in_use: HashSet<PeerId>,
    to_close: VecDeque<(PeerId, ConnectionId)>,
    /// A connection arrived when there was no free place.
    crowded: bool,
    report: RefusalLog,
    refused: HashMap<ConnectionRefusal, u64>,
    closed: HashMap<Closed, u64>,
}

#[derive(Debug)]
struct Made {
    peer: PeerId,
    source: Source,
    /// Whether the peer made the connection.
    inbound: bool,
    closing: bool,
    /// When its last session ended.
    quiet_since: Instant,
}

/// A token bucket that fills with [`ConnectionRules::per_second`] up to [`ConnectionRules::burst`].
#[derive(Debug)]
struct Rate {
    left: u32,
    counted: Instant,
}

impl Doors {
    pub(crate) fn new(rules: ConnectionRules, max: usize, max_per_peer: usize) -> Self {
        Self {
            rules,
            max,
            max_per_peer,
            being_made: HashMap::new(),
            made: HashMap::new(),
            rates: HashMap::new(),
            in_use: HashSet::new(),
            to_close: VecDeque::new(),
            crowded: false,
            report: RefusalLog::default(),
            refused: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    /// A connection arrives; only its address is known.
    pub(crate) fn arrive(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        source: Source,
        wire: Wire,
    ) -> Result<(), ConnectionRefusal> {
        let of_wire = self.being_made.values().filter(|(_, other)| *other == wire).count();
        let of_source = self.being_made.values().filter(|other| **other == (source, wire)).count();
        let free = self.rules.handshakes.saturating_sub(of_wire);
        let share = self.rules.handshakes_per_source.min(free / 4).max(1);
        let verdict = if free == 0 {
            Err(ConnectionRefusal::Handshakes)
        } else if of_source >= share {
            Err(ConnectionRefusal::HandshakesOfSource)
        } else {
            self.take_turn(now, source, wire)
        };
        match verdict {
            Ok(()) => {
                self.being_made.insert(connection, (source, wire));
                Ok(())
            }
            Err(refusal) => Err(self.refuse(now, refusal, source)),
        }
    }

    /// A peer has made a connection and proved its identity. If there are too many, [`Self::settle`] chooses which one
    /// to close.
    pub(crate) fn establish(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        source: Source,
        peer: PeerId,
    ) -> Result<(), ConnectionRefusal> {
        self.being_made.remove(&connection);
        if self.made.values().filter(|made| made.peer == peer && !made.closing).count() >= self.max_per_peer {
            return Err(self.refuse(now, ConnectionRefusal::Peer, source));
        }
        if !self.in_use.contains(&peer) && self.made.len() >= self.max + MAX_OVER {
            return Err(self.refuse(now, ConnectionRefusal::Total, source));
        }
        self.put(now, connection, source, peer, true);
        Ok(())
    }

    /// This node has made a connection; it does so only to peers that it needs.
    pub(crate) fn established_ours(&mut self, now: Instant, connection: ConnectionId, source: Source, peer: PeerId) {
        self.put(now, connection, source, peer, false);
    }

    fn put(&mut self, now: Instant, connection: ConnectionId, source: Source, peer: PeerId, inbound: bool) {
        self.made.insert(connection, Made { peer, source, inbound, closing: false, quiet_since: now });
        let staying = self.made.values().filter(|made| !made.closing);
        let (all, of_source) = staying.fold((0, 0), |(all, of_source), made| {
            (all + 1, of_source + usize::from(made.inbound && made.source == source))
        });
        self.crowded |= all > self.max || of_source > self.share();
    }

    /// A connection was closed, or failed.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.being_made.remove(&connection);
        self.made.remove(&connection);
    }

    /// Whether a connection arrived when there was no free place, so that [`Self::settle`] must be called at once.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Makes room, and closes connections that were quiet for too long. Call it regularly. `in_use`: peers that are
    /// configured, or that have a session in either direction.
    pub(crate) fn settle(&mut self, now: Instant, in_use: HashSet<PeerId>) {
        self.in_use = in_use;
        self.crowded = false;
        for made in self.made.values_mut().filter(|made| self.in_use.contains(&made.peer)) {
            made.quiet_since = now;
        }
        let idle = |made: &Made| now.saturating_duration_since(made.quiet_since) >= self.rules.quiet;
        let over: Vec<_> =
            self.made.iter().filter(|(_, made)| !made.closing && idle(made)).map(|(id, _)| *id).collect();
        for connection in over {
            self.give_up(now, connection, Closed::Idle);
        }
        while let Some(connection) = self.one_too_many() {
            self.give_up(now, connection, Closed::GaveWay);
        }
    }

    /// The next connection to close.
    pub(crate) fn poll_close(&mut self) -> Option<(PeerId, ConnectionId)> {
        self.to_close.pop_front()
    }

    /// What to report about refused connections, at most once a minute.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<RefusalSummary> {
        self.report.poll(now)
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut sources: HashMap<Source, usize> = HashMap::new();
        for made in self.made.values() {
            *sources.entry(made.source).or_default() += 1;
        }
        let closing = self.made.values().filter(|made| made.closing).count();
        Counts {
            being_made: self.being_made.len(),
            made: self.made.len() - closing,
            closing,
            sources: sources.len(),
            of_busiest_source: sources.into_values().max().unwrap_or(0),
            refused: self.refused.clone(),
            closed: self.closed.clone(),
        }
    }

    /// The most inbound connections from one source.
    fn share(&self) -> usize {
        (self.max / 4).max(self.max_per_peer)
    }

    /// The connection to close: of a source above its share, or any if there are too many in all. A new connection is
    /// quiet as well, so it is closed itself if all others are in use.
    fn one_too_many(&self) -> Option<ConnectionId> {
        let staying = || self.made.iter().filter(|(_, made)| !made.closing);
        let mut crowds: HashMap<Source, usize> = HashMap::new();
        for (_, made) in staying().filter(|(_, made)| made.inbound && !self.in_use.contains(&made.peer)) {
            *crowds.entry(made.source).or_default() += 1;
        }
        let crowd = |made: &Made| crowds.get(&made.source).copied().unwrap_or(0);
        let too_many = staying().count() > self.max;
        staying()
            .filter(|(_, made)| !self.in_use.contains(&made.peer))
            .filter(|(_, made)| too_many || made.inbound && crowd(made) > self.share())
            .min_by_key(|(id, made)| (Reverse(crowd(made)), made.quiet_since, **id))
            .map(|(id, _)| *id)
    }

    fn give_up(&mut self, now: Instant, connection: ConnectionId, why: Closed) {
        let Some(made) = self.made.get_mut(&connection) else { return };
        made.closing = true;
        self.to_close.push_back((made.peer, connection));
        *self.closed.entry(why).or_default() += 1;
        if why == Closed::GaveWay {
            self.report.gave_way(now, made.source);
        }
    }

    fn refuse(&mut self, now: Instant, refusal: ConnectionRefusal, source: Source) -> ConnectionRefusal {
        *self.refused.entry(refusal).or_default() += 1;
        self.report.refused(now, source);
        refusal
    }

    fn take_turn(&mut self, now: Instant, source: Source, wire: Wire) -> Result<(), ConnectionRefusal> {
        let ConnectionRules { burst, per_second, .. } = self.rules;
        if !self.rates.contains_key(&(source, wire)) && self.rates.len() >= MAX_RATES {
            self.rates.retain(|_, rate| rate.refill(now, burst, per_second) < burst);
            if self.rates.len() >= MAX_RATES {
                return Ok(());
            }
        }
        let rate = self.rates.entry((source, wire)).or_insert(Rate { left: burst, counted: now });
        rate.left = rate.refill(now, burst, per_second);
        rate.left = rate.left.checked_sub(1).ok_or(ConnectionRefusal::Rate)?;
        Ok(())
    }
}

impl Rate {
    /// The tokens in the bucket now.
    fn refill(&mut self, now: Instant, burst: u32, per_second: u32) -> u32 {
        let millis = now.saturating_duration_since(self.counted).as_millis();
        let more = u32::try_from(millis * u128::from(per_second) / 1000).unwrap_or(u32::MAX);
        if more > 0 {
            self.counted = now;
            self.left = self.left.saturating_add(more).min(burst);
        }
        self.left
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
