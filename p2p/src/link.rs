//! Everything about one peer: the connection, the open session with it, answers, acks, and the recovery from failures.
//! Pure, and without knowledge of the disk: its download's [`Demand`] says what to ask for.
//!
//! A link sends [`Intent`]s, whatever the transport. Over `/rpp/snapshots/1.0.0`, [`requests`] turns them into one
//! request at a time; a stream sends them as they are.

mod backoff;
mod intent;
mod recovery;
mod requests;
mod slow;
mod status;
mod stream;
mod window;

use std::time::{Duration, Instant};

use libp2p::PeerId;

pub use self::stream::Grant;
pub(crate) use self::{backoff::Backoff, intent::Intent, requests::InFlight};
use self::{intent::Said, requests::Requests, stream::LinkStream, window::PathWindow};
use crate::{
    consumer::{ExplicitResume, Failure, Input, Options, Unexpected},
    download::{Demand, Hold},
    error::{NotSent, RequestFailure, StreamFailure},
    limits::MIN_CHUNK_SIZE,
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
    trouble: Option<(FailureCode, String)>,
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
    cause: String,
    connection: Connection,
    /// A connection that the other side makes ends the back-off.
    for_connection: bool,
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
    Passing(FailureCode, String),
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
    pub(crate) fn trouble(&self) -> Option<&(FailureCode, String)> {
        self.trouble.as_ref()
    }

    pub(crate) fn note_trouble(&mut self, code: FailureCode, cause: String) {
        self.trouble = Some((code, cause));
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
                    break self.requests.wanted(self.session, demand.plan.as_deref(), demand.room)?;
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
        self.said.next(&self.state, message, demand, demand.room, 1)
    }

    /// The next message: it opens the session, or acknowledges.
    fn message_due(&self, demand: &Demand) -> Option<SnapshotsRequest> {
        match self.state {
            LinkState::Up => self.opening_message(demand),
            LinkState::Open { .. } => self.ack_due(demand).map(|(kind, index)| SnapshotsRequest::Ack {
                session_id: self.session,
                kind,
                index,
            }),
            _ => None,
        }
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

    /// `plan` or `resume`, when the peer is needed.
    fn opening_message(&self, demand: &Demand) -> Option<SnapshotsRequest> {
        if !self.is_needed(demand) {
            return None;
        }
        let Some(plan) = &demand.plan else { return Some(self.first_plan()) };
        let (session_id, present) = (self.session, plan.chunk_size);
        let (plan_id, chunk_index, update_index) = match self.opening {
            Opening::Usual => (plan.plan_id, demand.next.0, demand.next.1),
            Opening::Named(named) => (named.plan_id, named.chunk_index, named.update_index),
            // Not while this machine works on the present plan.
            Opening::Anew | Opening::Smaller(_) if demand.is_in_use => return None,
            // Nor while verified chunks of the present size wait to be written.
            Opening::Smaller(_) if !demand.is_written => return None,
            // The same snapshot continues in the same chunks, or in smaller ones. Otherwise only tip and updates may be
            // new.
            Opening::Anew | Opening::Smaller(_) => {
                let (chunk_size, least) = match self.opening {
                    Opening::Smaller(smaller) => {
                        (smaller, self.options.wishes.min_chunk_size.unwrap_or(MIN_CHUNK_SIZE).min(smaller))
                    }
                    _ => (present, present),
                };
                let wishes = PlanWishes {
                    chunk_size: Some(chunk_size),
                    min_chunk_size: Some(least),
                    max_chunk_size: Some(present),
                    root: Some(plan.snapshot.checkpoint.state_root),
                    height: Some(plan.snapshot.checkpoint.height),
                };
                return Some(SnapshotsRequest::Plan { session_id, wishes });
            }
        };
        Some(SnapshotsRequest::Resume { session_id, plan_id, chunk_index, update_index })
    }

    fn first_plan(&self) -> SnapshotsRequest {
        SnapshotsRequest::Plan { session_id: self.session, wishes: self.options.wishes }
    }

    /// The durable and recorded chunks or updates that are not acknowledged yet.
    fn ack_due(&self, demand: &Demand) -> Option<(ArtefactKind, u64)> {
        if self.acks.given_up || self.acks.after.is_some() {
            return None;
        }
        let due = |durable: Option<u64>, acked: u64| durable.filter(|durable| *durable > acked).map(|all| all - 1);
        due(demand.durable.updates, self.acks.updates)
            .map(|index| (ArtefactKind::LightClientUpdate, index))
            .or_else(|| due(demand.durable.chunks, self.acks.chunks).map(|index| (ArtefactKind::Chunk, index)))
    }

    /// Whether an ack is due and the peer can receive it.
    pub(crate) fn can_ack(&self, demand: &Demand) -> bool {
        matches!(self.state, LinkState::Open { .. }) && self.ack_due(demand).is_some()
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        download::Want,
        messages::{Checkpoint, GenesisDescriptor, PayloadFormat, Plan, SnapshotHeader},
        types::Hash,
    };

    /// Ten chunks of 16 KiB.
    fn plan() -> Arc<Plan> {
        let checkpoint = Checkpoint {
            step: 1,
            height: 1,
            block_hash: Hash::default(),
            state_root: Hash::default(),
            payload_bytes: 10 * CHUNK,
            commitment: Hash::default(),
        };
        Arc::new(Plan {
            plan_id: Hash::default(),
            proof: String::new(),
            genesis: GenesisDescriptor { chain_id: String::new(), publishers: Vec::new(), threshold: 1 },
            snapshot: SnapshotHeader { checkpoint, format: PayloadFormat::Raw },
            tip: checkpoint,
            chunk_size: CHUNK,
            total_chunks: 10,
            total_updates: 2,
        })
    }

    const CHUNK: u64 = 16 * 1024;

    fn demand(plan: Option<Arc<Plan>>) -> Demand {
        Demand { plan, ..Demand::without_plan() }
    }

    fn link() -> Link {
        let session = SnapshotSessionId::new(7).expect("a valid id");
        Link::new(session, PeerId::random(), Options::default(), None, Instant::now())
    }

    /// The intents for a stream: the link is driven without the requests of 1.0.0.
    #[test]
    fn each_thing_is_said_once_and_what_came_is_neither_wanted_nor_granted_any_more() {
        let (now, mut link) = (Instant::now(), link());
        let nothing = demand(None);
        assert!(link.poll_connect(now, &nothing) && !link.poll_connect(now, &nothing));
        assert_eq!(link.poll_intent(&nothing), None, "nobody hears it yet");
        link.connected();
        assert!(matches!(link.poll_intent(&nothing), Some(Intent::Message(SnapshotsRequest::Plan { .. }))));
        link.planned(now);

        let mut demand = demand(Some(plan()));
        demand.want.updates = 0..2;
        assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
        for index in 0..2 {
            assert_eq!(link.poll_intent(&demand), None);
            link.update_came(index);
            demand.want.without_update(index);
        }
        (demand.want.chunks, demand.room) = (std::iter::once(0..10).collect(), 4 * CHUNK);
        assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
        assert_eq!(link.poll_intent(&demand), Some(Intent::Credit(4 * CHUNK)));
        for index in 0..2 {
            link.chunk_came(index, CHUNK, true);
            demand.want.without_chunk(index);
            demand.room -= CHUNK;
            assert_eq!(link.poll_intent(&demand), None);
        }
        // Both are durable: an ack is sent first.
        (demand.room, demand.durable.chunks) = (4 * CHUNK, Some(2));
        let ack = link.poll_intent(&demand);
        assert!(matches!(ack, Some(Intent::Message(SnapshotsRequest::Ack { index: 1, .. }))), "{ack:?}");
        link.acked(ArtefactKind::Chunk, 1);
        assert_eq!(link.poll_intent(&demand), Some(Intent::Credit(6 * CHUNK)));
        // The disk is full: nothing is wanted, and the credit stays.
        let wanted = std::mem::take(&mut demand.want);
        demand.room = 0;
        assert_eq!(link.poll_intent(&demand), Some(Intent::Want(Want::default())));
        assert_eq!(link.poll_intent(&demand), None);
        (demand.want, demand.room) = (wanted, 4 * CHUNK);
        assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
        assert_eq!(link.poll_intent(&demand), None);
    }

    #[test]
    fn one_request_at_a_time_stays_within_the_credit() {
        let (now, mut link) = (Instant::now(), link());
        link.connected();
        let mut demand = demand(Some(plan()));
        let request = link.poll_request(now, &demand);
        assert!(
            matches!(request, Some(SnapshotsRequest::Resume { chunk_index: 0, update_index: 0, .. })),
            "{request:?}"
        );
        assert_eq!(link.poll_request(now, &demand), None, "one is in flight");
        assert!(matches!(link.handle_sent(Ok(RequestId::new(1))), Ok(None)));
        assert!(link.handle_sent(Ok(RequestId::new(2))).is_err(), "none is to be sent");
        assert!(link.end(RequestId::new(3)).is_none() && link.end(RequestId::new(1)).is_some());
        link.resumed(now);
        (demand.want.chunks, demand.room) = (vec![3..4, 7..10], 2 * CHUNK + 1);
        for (id, expected) in [(4, 3), (5, 7)] {
            let request = link.poll_request(now, &demand);
            let Some(SnapshotsRequest::Chunk { chunk_index, .. }) = request else { panic!("{request:?}") };
            assert_eq!(chunk_index, expected);
            assert!(link.handle_sent(Ok(RequestId::new(id))).is_ok() && link.end(RequestId::new(id)).is_some());
            link.chunk_came(chunk_index, CHUNK, true);
            demand.want.without_chunk(chunk_index);
            demand.room -= CHUNK;
        }
        assert_eq!(link.poll_request(now, &demand), None, "a byte is left");
        demand.room = CHUNK;
        assert!(matches!(link.poll_request(now, &demand), Some(SnapshotsRequest::Chunk { chunk_index: 8, .. })));
    }
}
