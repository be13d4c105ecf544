//! Everything about one peer: the connection, the open session with it, answers, acks, and the recovery from failures.
//! Pure, and without knowledge of the disk: its download's [`Demand`] says what to ask for.
//!
//! A link sends [`Intent`]s, whatever the transport. Over `/rpp/snapshots/1.0.0`, [`requests`] turns them into one
//! request at a time; a stream sends them as they are.

mod backoff;
mod due;
mod intent;
mod recovery;
mod requests;
mod setback;
mod slow;
mod status;
mod stream;
mod window;

use std::time::{Duration, Instant};

use libp2p::PeerId;

pub use self::stream::Grant;
pub(crate) use self::{backoff::Backoff, intent::Intent, requests::InFlight, setback::Setback};
use self::{intent::Said, requests::Requests, stream::LinkStream, window::PathWindow};
use crate::{
    consumer::{ExplicitResume, Failure, Input, Options, Unexpected},
    download::{Demand, Hold},
    error::{NotSent, RequestFailure, StreamFailure},
    messages::{ArtefactKind, Plan, PlanWishes, SnapshotsRequest},
    status::FailureCode,
    stream::Protocol,
    tree::chunk_range,
    types::{RequestId, SnapshotSessionId},
};

/// One wire session with one peer.
#[derive(Debug)]
pub(crate) struct Link {
    session: SnapshotSessionId,
    peer: PeerId,
    options: Options,
    started: Instant,
    state: LinkState,
    opening: Opening,
    /// The session was planned again because the peer had lost it, and no chunk has arrived since.
    has_planned_anew: bool,
    backoff: Backoff,
    acks: Acks,
    said: Said,
    requests: Requests,
    /// The stream that carries the session while it is open; `None`: requests.
    stream: Option<LinkStream>,
    /// How many bytes of it may be in flight.
    window: PathWindow,
    /// The version of the protocol that carried the last opening.
    protocol: Option<Protocol>,
    /// Which version carries the answer to which request.
    carried: Option<(RequestId, Protocol)>,
    /// Chunks that failed in transit since the last one that arrived.
    failed_chunks: u32,
    /// Payload bytes that arrived, including wasted ones.
    received: u64,
    /// Payload bytes that arrived and could not be used.
    wasted: u64,
    /// The failure from which it is recovering.
    trouble: Option<Setback>,
}

/// The state of a link.
///
/// ```text
///          needed             connected         plan or resume is accepted
///   Down ─────────> Dialing ────────────> Up ────────────────────────────────> Open
///    ^ ^               │ failed          ^ │ refused or lost                     │
///    │ │               v                 │ v                                     │
///    │ └───────── BackingOff ────────────┘ <──── refused, lost, disconnected ────┘
///    │   time, or a connection
///    └── disconnected, and not needed
/// ```
///
/// A request may be in flight in any state: if its connection was lost, its own failure is reported later.
#[derive(Debug)]
enum LinkState {
    /// No connection.
    Down,
    Dialing {
        since: Instant,
    },
    /// Connected; the peer has not accepted `plan` or `resume` since the last failure.
    Up,
    /// The peer streams to us.
    Open {
        /// How many attempts the opening took.
        tries: u32,
    },
    /// A failure that may pass.
    BackingOff(Retry),
}

/// A back-off; the connection may be lost and made again meanwhile.
#[derive(Debug)]
struct Retry {
    at: Instant,
    since: Instant,
    cause: Setback,
    connection: Connection,
    /// A connection that the other side makes ends the back-off.
    for_connection: bool,
    /// Nothing failed, but the driver asks nothing of the peer before `at`.
    is_barred: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Down,
    Dialing { since: Instant },
    Up,
}

impl From<Connection> for LinkState {
    fn from(connection: Connection) -> Self {
        match connection {
            Connection::Down => Self::Down,
            Connection::Dialing { since } => Self::Dialing { since },
            Connection::Up => Self::Up,
        }
    }
}

impl LinkState {
    fn connection(&self) -> Connection {
        match self {
            Self::Down => Connection::Down,
            Self::Dialing { since } => Connection::Dialing { since: *since },
            Self::Up | Self::Open { .. } => Connection::Up,
            Self::BackingOff(retry) => retry.connection,
        }
    }
}

/// How the session is opened next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// By `plan` when there is none yet, else by `resume` from the download's own markers.
    Usual,
    /// By `resume`, with the offsets that an operator named.
    Named(ExplicitResume),
    /// By `plan`, because the peer has lost the session.
    Anew,
    /// By `plan`, for chunks of this size.
    Smaller(u64),
}

/// The markers that the peer has recorded.
#[derive(Debug, Default)]
struct Acks {
    chunks: u64,
    updates: u64,
    /// It did not accept the last one.
    given_up: bool,
    /// It could not record one. The next one is not sent before this time.
    after: Option<Instant>,
}

/// The effect of a failure on a link.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The link goes on, and recovers from this failure.
    Passing(Setback),
    /// The link has ended.
    Final(Failure),
}

impl Trouble {
    fn end(code: FailureCode, message: String) -> Option<Self> {
        Some(Self::Final(Failure { code, message, distrust: false }))
    }
}

impl Link {
    /// A link that is not connected. `named`: offsets that an operator requires.
    pub(crate) fn new(
        session: SnapshotSessionId,
        peer: PeerId,
        options: Options,
        named: Option<ExplicitResume>,
        now: Instant,
    ) -> Self {
        Self {
            session,
            peer,
            started: now,
            state: LinkState::Down,
            opening: named.map_or(Opening::Usual, Opening::Named),
            has_planned_anew: false,
            backoff: Backoff::new(options.give_up_after, options.seed),
            acks: Acks::default(),
            said: Said::default(),
            requests: Requests::default(),
            stream: None,
            window: PathWindow::new(now, options.window),
            protocol: None,
            carried: None,
            failed_chunks: 0,
            received: 0,
            wasted: 0,
            trouble: None,
            options,
        }
    }

    pub(crate) fn session(&self) -> SnapshotSessionId {
        self.session
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    pub(crate) fn in_flight(&self) -> Option<&InFlight> {
        self.requests.in_flight()
    }

    /// The peer streams to us.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open { .. })
    }

    pub(crate) fn is_backing_off(&self) -> bool {
        matches!(self.state, LinkState::BackingOff(_))
    }

    /// The version of the protocol that carried the last opening.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Payload bytes of chunks that may arrive without a further request: the rest of the credit, or the one chunk that
    /// was asked for.
    pub(crate) fn under_way(&self, plan: &Plan) -> u64 {
        let size = |range: &std::ops::Range<u64>| {
            let total = plan.snapshot.checkpoint.payload_bytes;
            let start = chunk_range(total, plan.chunk_size, range.start).start;
            chunk_range(total, plan.chunk_size, range.end).start - start
        };
        if self.is_streaming() {
            return self.said.want().chunks.iter().map(size).sum::<u64>().min(self.said.left());
        }
        let asked = self.in_flight().filter(|_| self.is_open()).map(|request| &request.request);
        match asked {
            Some(SnapshotsRequest::Chunk { chunk_index, .. }) => size(&(*chunk_index..chunk_index + 1)),
            _ => 0,
        }
    }

    /// The round trip to the peer was measured.
    pub(crate) fn round_trip(&mut self, now: Instant, time: Duration) {
        self.window.measured(now, time);
    }

    /// Payload bytes that may be in flight or wait for the disk, while the session is carried by a stream.
    pub(crate) fn window(&self, plan: &Plan) -> Option<u64> {
        self.is_streaming().then(|| self.window.bytes(plan.chunk_size))
    }

    /// Payload bytes that arrived, and how many of them could not be used.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.received, self.wasted)
    }

    /// A request was returned to be sent, and the driver has not reported the result yet.
    pub(crate) fn has_unsent(&self) -> bool {
        self.in_flight().is_some_and(|request| request.id.is_none())
    }

    /// The failure from which it is recovering.
    pub(crate) fn trouble(&self) -> Option<&Setback> {
        self.trouble.as_ref()
    }

    pub(crate) fn note_trouble(&mut self, setback: Setback) {
        self.trouble = Some(setback);
    }

    /// Sets the wishes for the next plan.
    pub(crate) fn set_wishes(&mut self, wishes: PlanWishes) {
        self.options.wishes = wishes;
    }

    /// The session is opened again before anything else is asked for.
    pub(crate) fn reopen(&mut self) {
        if self.is_open() {
            self.state = LinkState::Up;
        }
    }

    /// What the download must not start before the next opening is answered.
    pub(crate) fn hold(&self) -> Hold {
        match self.opening {
            Opening::Usual => Hold::Nothing,
            Opening::Named(_) => Hold::Authority,
            Opening::Anew | Opening::Smaller(_) => Hold::Plan,
        }
    }

    /// Whether the peer will be asked for smaller chunks next.
    pub(crate) fn is_to_shrink(&self) -> bool {
        matches!(self.opening, Opening::Smaller(_))
    }

    /// Whether the peer is needed.
    pub(crate) fn is_needed(&self, demand: &Demand) -> bool {
        self.opening != Opening::Usual || demand.is_needed
    }

    /// The next request to make, when none is in flight.
    pub(crate) fn poll_request(&mut self, now: Instant, demand: &Demand) -> Option<SnapshotsRequest> {
        if self.requests.in_flight().is_some() {
            return None;
        }
        if self.is_streaming() {
            let message = self.message_due(demand)?;
            self.requests.start(now, message.clone());
            return Some(message);
        }
        let request = loop {
            match self.poll_intent(demand) {
                Some(intent) => {
                    if let Some(request) = self.requests.hear(intent) {
                        break request;
                    }
                }
                None if matches!(self.state, LinkState::Open { .. }) => {
                    break self.requests.wanted(self.session, demand.plan.as_deref(), demand.budget)?;
                }
                None => return None,
            }
        };
        self.requests.start(now, request.clone());
        Some(request)
    }

    /// The next intent for the peer. Must not be called before the last message is answered.
    fn poll_intent(&mut self, demand: &Demand) -> Option<Intent> {
        let message = self.message_due(demand);
        self.said.next(&self.state, message, demand, demand.budget, 1)
    }

    /// Whether to dial the peer now.
    pub(crate) fn poll_connect(&mut self, now: Instant, demand: &Demand) -> bool {
        let dials = matches!(self.state, LinkState::Down) && self.is_needed(demand);
        if dials {
            self.state = LinkState::Dialing { since: now };
        }
        dials
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let retry = match &self.state {
            LinkState::BackingOff(retry) => Some(retry.at),
            _ => None,
        };
        [retry, self.acks.after].into_iter().flatten().min()
    }

    /// The result of sending the wanted request. `Some`: nothing was sent.
    pub(crate) fn handle_sent(
        &mut self,
        sent: Result<RequestId, NotSent>,
    ) -> Result<Option<(InFlight, RequestFailure)>, Unexpected> {
        let unexpected = Unexpected { input: Input::Sent };
        match sent {
            Ok(id) => self.requests.sent(id).then_some(None).ok_or(unexpected),
            Err(not_sent) => {
                let request = self.requests.end(None).ok_or(unexpected)?;
                Ok(Some((request, StreamFailure::NotSent(not_sent).into())))
            }
        }
    }

    /// Removes and returns the request in flight if this is its id.
    pub(crate) fn end(&mut self, id: RequestId) -> Option<InFlight> {
        self.requests.end(Some(id))
    }

    /// Gives up the request in flight.
    pub(crate) fn give_up(&mut self) {
        self.requests.give_up();
    }

    /// The peer has planned the session. Returns whether the plan may have smaller chunks than the one before.
    pub(crate) fn planned(&mut self, now: Instant) -> bool {
        let may_shrink = self.is_to_shrink();
        self.opening = Opening::Usual;
        // The peer has a new record.
        (self.acks.chunks, self.acks.updates) = (0, 0);
        self.open(now);
        may_shrink
    }

    /// The peer goes on with the session.
    pub(crate) fn resumed(&mut self, now: Instant) {
        if matches!(self.opening, Opening::Named(_)) {
            self.opening = Opening::Usual;
        }
        self.open(now);
    }

    /// If the connection has been lost since, the session is resumed on the next one.
    fn open(&mut self, now: Instant) {
        if matches!(self.state, LinkState::Up) {
            self.state = LinkState::Open { tries: self.backoff.tries() + 1 };
            self.said = Said::default();
            self.requests.reset();
            let (id, protocol) = self.carried.take().map_or((None, Protocol::V1), |(id, by)| (Some(id), by));
            self.protocol = Some(protocol);
            self.window.reopen(now);
            self.stream = id.filter(|_| protocol == Protocol::V2).map(|id| LinkStream::new(id, now));
        }
    }

    /// A chunk arrived; `is_taken`: it can be used.
    pub(crate) fn chunk_came(&mut self, index: u64, bytes: u64, is_taken: bool) {
        self.received = self.received.saturating_add(bytes);
        self.said.chunk_came(index, bytes);
        if is_taken {
            self.has_planned_anew = false;
            self.failed_chunks = 0;
            self.trouble = None;
            self.backoff.reset();
        } else {
            self.wasted = self.wasted.saturating_add(bytes);
        }
    }

    /// An update arrived that can be used.
    pub(crate) fn update_came(&mut self, index: u64) {
        self.said.update_came(index);
        self.backoff.reset();
    }

    /// Payload bytes arrived that do not verify.
    pub(crate) fn lie_came(&mut self, bytes: u64) {
        self.received = self.received.saturating_add(bytes);
        self.wasted = self.wasted.saturating_add(bytes);
    }

    /// The peer has recorded an ack. `true`: it had failed to record acks, and keeps up again.
    pub(crate) fn acked(&mut self, kind: ArtefactKind, index: u64) -> bool {
        let count = index.saturating_add(1);
        match kind {
            ArtefactKind::Plan => {}
            ArtefactKind::Chunk => {
                self.acks.chunks = self.acks.chunks.max(count);
                self.backoff.reset();
                return true;
            }
            ArtefactKind::LightClientUpdate => self.acks.updates = self.acks.updates.max(count),
        }
        false
    }
}

#[cfg(test)]
mod tests;
