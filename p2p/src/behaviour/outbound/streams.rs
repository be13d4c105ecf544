//! Our own streams (`/rpp/snapshots/2.0.0`): one for each session, opened with its plan or resume. Everything that
//! arrives is checked on the connection's task.
//!
//! A peer that refuses the protocol gets a request of 1.0.0 instead, and further sessions with it use 1.0.0 at once
//! until it is disconnected. Nothing else leads to 1.0.0.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use libp2p::{
    PeerId, request_response,
    swarm::{ConnectionId, DialError},
};

use super::{Checking, Event, Key, Outbound, Outcome, RequestId, RequestKind, error};
use crate::{
    behaviour::{
        observer::Activity,
        streams::{Ending, FromProvider, Outlet, Say, StreamId, StreamOpening},
    },
    codec::Codec,
    consumer::Grant,
    error::{Cause, NotSent, RequestFailure, SnapshotProtocolError, StreamFailure},
    exchange::{Exchange, Verified},
    json,
    messages::Plan,
    stream::{Came, Protocol, Protocols, Wanted},
    text,
    tree::chunk_range,
};

/// What carries the messages of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Carrier {
    #[default]
    Requests,
    /// This stream, which may have ended.
    Stream(StreamId),
}

/// A command that the behaviour carries out for a stream.
pub(in crate::behaviour) enum StreamCommand {
    Open { connection: ConnectionId, opening: Box<StreamOpening> },
    Dial(PeerId),
}

pub(super) struct OutStreams {
    protocols: Protocols,
    /// Connected peers that refused the protocol.
    without: HashSet<PeerId>,
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    streams: HashMap<StreamId, OutStream>,
    commands: VecDeque<StreamCommand>,
    next_id: u64,
}

struct OutStream {
    key: Key,
    /// `None` while its peer is dialled.
    connection: Option<ConnectionId>,
    outlet: Outlet<Say>,
    /// Payload bytes of the arriving chunk that have been received.
    unfinished: Arc<AtomicU64>,
    opened_by: RequestId,
    is_open: bool,
    /// The message that is not answered yet.
    message: Option<(Activity, Exchange, Checking)>,
    wanted: Wanted,
    plan: Option<Arc<Plan>>,
    granted: u64,
    received: u64,
    /// The chunk or update that is expected next. The observer sees it as a request in flight.
    next: Option<(Activity, Instant)>,
}

impl OutStreams {
    pub(super) fn new(protocols: Protocols) -> Self {
        Self {
            protocols,
            without: HashSet::new(),
            connections: HashMap::new(),
            streams: HashMap::new(),
            commands: VecDeque::new(),
            next_id: 1,
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.streams.values().filter(|stream| stream.message.is_some()).count()
    }

    fn speaks(&self, peer: &PeerId) -> bool {
        self.protocols.has_v2() && !(self.protocols.has_v1() && self.without.contains(peer))
    }
}

impl Outbound {
    pub(in crate::behaviour) fn streams_open(&self) -> usize {
        self.streams.streams.len()
    }

    pub(in crate::behaviour) fn next_command(&mut self) -> Option<StreamCommand> {
        self.streams.commands.pop_front()
    }

    /// This side has finished with the session's stream, if it has one.
    pub(super) fn close_stream(&mut self, carrier: Carrier) {
        let Carrier::Stream(id) = carrier else { return };
        // The stream's end is not reported.
        let Some(stream) = self.streams.streams.remove(&id) else { return };
        stream.outlet.close();
        self.came_to_nothing(stream.next);
        if let Some((activity, _, checking)) = stream.message {
            self.finished(&activity, &checking, Outcome::Abandoned);
        }
    }

    /// Sends a request on the session's stream, or on a new one. `None`: send it as a request of 1.0.0.
    pub(super) fn send_on_stream(
        &mut self,
        peer: PeerId,
        exchange: &Exchange,
        may_stream: bool,
    ) -> Result<Option<RequestId>, NotSent> {
        let request = exchange.request();
        let key = (peer, request.session_id());
        let opens = matches!(RequestKind::of(request), RequestKind::Plan | RequestKind::Resume);
        let carrier = self.sessions.get(&key).map(|session| session.carrier).unwrap_or_default();
        if opens {
            self.close_stream(carrier);
            if let Some(session) = self.sessions.get_mut(&key) {
                session.carrier = Carrier::Requests;
            }
            if !may_stream || !self.streams.speaks(&peer) {
                return Ok(None);
            }
            if self.streams.streams.values().filter(|stream| stream.key.0 == peer).count() >= self.max_per_peer {
                return Err(NotSent::Busy);
            }
            return Ok(Some(self.open(peer, exchange.clone())));
        }
        let Carrier::Stream(id) = carrier else { return Ok(None) };
        if self.streams.streams.get(&id).is_none_or(|stream| stream.outlet.is_closed()) {
            // The stream has ended, and its event will be delivered soon.
            return Err(NotSent::Busy);
        }
        let activity = self.begin(Protocol::V2, peer, request);
        if let Some(stream) = self.streams.streams.get_mut(&id) {
            stream.say(activity, exchange.clone());
        }
        Ok(Some(activity.id))
    }

    fn open(&mut self, peer: PeerId, exchange: Exchange) -> RequestId {
        let activity = self.begin(Protocol::V2, peer, exchange.request());
        let key = (peer, activity.session);
        let id = StreamId(self.streams.next_id);
        self.streams.next_id += 1;
        let connection = self.streams.connections.get(&peer).and_then(|all| all.first()).copied();
        let mut stream = OutStream {
            key,
            connection,
            outlet: Outlet::default(),
            unfinished: Arc::default(),
            opened_by: activity.id,
            is_open: false,
            message: None,
            wanted: Wanted::default(),
            plan: None,
            granted: 0,
            received: 0,
            next: None,
        };
        stream.say(activity, exchange);
        self.streams.streams.insert(id, stream);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.carrier = Carrier::Stream(id);
        }
        match connection {
            Some(connection) => self.open_on(id, connection),
            None => self.streams.commands.push_back(StreamCommand::Dial(peer)),
        }
        activity.id
    }

    fn open_on(&mut self, id: StreamId, connection: ConnectionId) {
        let Some(stream) = self.streams.streams.get_mut(&id) else { return };
        stream.connection = Some(connection);
        let (peer, session) = stream.key;
        let (rules, outlet, unfinished) = (self.rules.clone(), stream.outlet.clone(), Arc::clone(&stream.unfinished));
        let opening = Box::new(StreamOpening { id, peer, session, rules, outlet, unfinished });
        self.streams.commands.push_back(StreamCommand::Open { connection, opening });
    }

    /// Sends wants and credit.
    pub(in crate::behaviour) fn grant(&mut self, peer: PeerId, grant: Grant) {
        let Grant { session, request_id, plan, want, credit, previous } = grant;
        let carrier = self.sessions.get(&(peer, session)).map(|session| session.carrier);
        let Some(Carrier::Stream(id)) = carrier else { return };
        let stream = self.streams.streams.get_mut(&id).filter(|stream| stream.opened_by == request_id);
        let Some(stream) = stream else { return };
        stream.granted = credit.unwrap_or(stream.granted);
        if let Some(wanted) = &want {
            stream.wanted = wanted.clone();
            stream.plan = Some(Arc::clone(&plan));
        }
        let want = want.map(|wanted| Say::Want { plan, wanted, previous });
        stream.outlet.push(want.into_iter().chain(credit.map(Say::Credit)));
        self.expect_next(id);
    }

    /// Reports the chunk or update that is expected next to the observer.
    fn expect_next(&mut self, id: StreamId) {
        let Some(stream) = self.streams.streams.get_mut(&id) else { return };
        let next = stream.expected();
        if stream.next.as_ref().map(|(activity, _)| (activity.kind, activity.index)) == next {
            return;
        }
        let before = stream.next.take();
        if let Some((kind, index)) = next {
            let (peer, session) = stream.key;
            let (id, protocol) = (self.request_ids.next(), Protocol::V2);
            let activity = Activity { id, peer, session, kind, index, protocol };
            self.observer.request_started(&activity);
            stream.next = Some((activity, Instant::now()));
        }
        self.came_to_nothing(before);
    }

    fn came_to_nothing(&self, next: Option<(Activity, Instant)>) {
        if let Some((activity, since)) = next {
            let checking = Checking { request_bytes: 0, response_bytes: 0, since };
            self.finished(&activity, &checking, Outcome::Abandoned);
        }
    }

    pub(in crate::behaviour) fn handle_connected(&mut self, peer: PeerId, connection: ConnectionId) {
        self.streams.connections.entry(peer).or_default().push(connection);
        let waiting = |stream: &OutStream| stream.key.0 == peer && stream.connection.is_none();
        let ids: Vec<_> =
            self.streams.streams.iter().filter(|(_, stream)| waiting(stream)).map(|(id, _)| *id).collect();
        for id in ids {
            self.open_on(id, connection);
        }
    }

    pub(in crate::behaviour) fn handle_connection_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        events: &mut VecDeque<Event>,
    ) {
        if let Some(all) = self.streams.connections.get_mut(&peer) {
            all.retain(|one| *one != connection);
            if all.is_empty() {
                self.streams.connections.remove(&peer);
                self.streams.without.remove(&peer);
            }
        }
        let closed = |stream: &OutStream| {
            let received = stream.unfinished.load(Ordering::Relaxed);
            (stream.connection == Some(connection)).then_some(RequestFailure::ConnectionClosed { received })
        };
        self.end_streams(closed, events);
    }

    /// The streams that wait for this dial cannot be opened.
    pub(in crate::behaviour) fn handle_dial_failure(
        &mut self,
        peer: PeerId,
        error: &DialError,
        events: &mut VecDeque<Event>,
    ) {
        // A dial that something else started continues.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let reason = Cause::told(error);
        let waiting = |stream: &OutStream| {
            let waits = stream.key.0 == peer && stream.connection.is_none();
            waits.then(|| RequestFailure::Dial { reason: reason.clone() })
        };
        self.end_streams(waiting, events);
    }

    fn end_streams(&mut self, why: impl Fn(&OutStream) -> Option<RequestFailure>, events: &mut VecDeque<Event>) {
        let ended: Vec<_> = self.streams.streams.iter().filter_map(|(id, stream)| Some((*id, why(stream)?))).collect();
        for (id, failure) in ended {
            self.stream_ended(id, SnapshotProtocolError::Outbound(failure), events);
        }
    }

    /// Something happened on a stream.
    pub(in crate::behaviour) fn handle_received(
        &mut self,
        inner: &mut request_response::Behaviour<Codec>,
        id: StreamId,
        received: FromProvider,
        events: &mut VecDeque<Event>,
    ) {
        let Some(stream) = self.streams.streams.get_mut(&id) else { return };
        match received {
            FromProvider::Came(Came::Answer(verified, bytes)) => self.answered(id, verified, bytes, events),
            FromProvider::Came(Came::Artefact(verified, bytes)) => {
                let (key, request_id) = (stream.key, stream.opened_by);
                self.streamed(id, &verified, bytes);
                let (peer, session) = key;
                events.push_back(Event::Streamed { peer, session, request_id, verified, bytes });
            }
            FromProvider::Came(Came::Refused { code, message }) => {
                let message = text::cut(&message).to_owned();
                self.stream_ended(id, SnapshotProtocolError::Provider { code, message }, events);
            }
            FromProvider::Ended(Ending::Closed) => {}
            FromProvider::Ended(Ending::Unsupported) => self.unsupported(inner, id, events),
            FromProvider::Ended(Ending::Violation(violation)) => {
                self.stream_ended(id, SnapshotProtocolError::Remote(violation), events);
            }
            FromProvider::Ended(Ending::Failure(failure)) => {
                self.stream_ended(id, SnapshotProtocolError::Outbound(failure), events);
            }
        }
    }

    /// Reports what arrived to the observer.
    fn streamed(&mut self, id: StreamId, verified: &Verified, bytes: usize) {
        let Some(stream) = self.streams.streams.get_mut(&id) else { return };
        let (kind, index) = match verified {
            Verified::Update { index, .. } => (RequestKind::LightClientUpdate, *index),
            Verified::Chunk(chunk) => {
                stream.received += chunk.bytes.len() as u64;
                (RequestKind::Chunk, chunk.index)
            }
            _ => return,
        };
        stream.came(kind, index);
        let is_next =
            |(activity, _): &mut (Activity, Instant)| (activity.kind, activity.index) == (Some(kind), Some(index));
        let (activity, since) = stream.next.take_if(is_next).unwrap_or_else(|| {
            let (peer, session) = stream.key;
            let (id, kind, index) = (self.request_ids.next(), Some(kind), Some(index));
            let activity = Activity { id, peer, session, kind, index, protocol: Protocol::V2 };
            self.observer.request_started(&activity);
            (activity, Instant::now())
        });
        let checking = Checking { request_bytes: 0, response_bytes: bytes, since };
        self.finished(&activity, &checking, Outcome::Served);
        self.expect_next(id);
    }

    fn answered(&mut self, id: StreamId, verified: Verified, bytes: usize, events: &mut VecDeque<Event>) {
        let Some(stream) = self.streams.streams.get_mut(&id) else { return };
        let Some((activity, _, mut checking)) = stream.message.take() else { return };
        let opens = matches!(activity.kind, Some(RequestKind::Plan | RequestKind::Resume));
        checking.response_bytes = bytes;
        if opens && !matches!(verified, Verified::Refused { .. }) {
            stream.is_open = true;
        } else if opens {
            // A later message opens a stream of its own.
            self.close_stream(Carrier::Stream(id));
        }
        self.verified(&activity, &checking, Protocol::V2, verified, events);
    }

    /// The peer does not support the protocol: the message that would have opened the stream is sent as a request
    /// instead.
    fn unsupported(
        &mut self,
        inner: &mut request_response::Behaviour<Codec>,
        id: StreamId,
        events: &mut VecDeque<Event>,
    ) {
        let Some(stream) = self.streams.streams.get(&id) else { return };
        let peer = stream.key.0;
        if !self.streams.protocols.has_v1() {
            let failure = RequestFailure::Unsupported { protocol: crate::PROTOCOL_V2 };
            return self.stream_ended(id, SnapshotProtocolError::Outbound(failure), events);
        }
        if self.streams.connections.contains_key(&peer) {
            self.streams.without.insert(peer);
        }
        let Some(OutStream { message: Some((activity, exchange, _)), .. }) = self.streams.streams.remove(&id) else {
            return;
        };
        self.send_request(inner, activity, exchange);
    }

    fn stream_ended(&mut self, id: StreamId, failed: SnapshotProtocolError, events: &mut VecDeque<Event>) {
        let Some(stream) = self.streams.streams.remove(&id) else { return };
        stream.outlet.abandon();
        self.came_to_nothing(stream.next);
        let ((peer, session), request_id) = (stream.key, stream.opened_by);
        let is_violation = matches!(failed, SnapshotProtocolError::Remote(_));
        if let Some((activity, _, checking)) = stream.message {
            let outcome = if is_violation { Outcome::Violation } else { Outcome::Lost };
            self.finished(&activity, &checking, outcome);
            if self.end_flight(&activity).is_some() && !(is_violation && stream.is_open) {
                let cause = match &failed {
                    SnapshotProtocolError::Remote(violation) => SnapshotProtocolError::Remote(violation.clone()),
                    SnapshotProtocolError::Outbound(failure) => SnapshotProtocolError::Outbound(failure.clone()),
                    other => SnapshotProtocolError::Outbound(StreamFailure::Together(Cause::told(other)).into()),
                };
                events.push_back(error(&activity, cause));
            }
        }
        if is_violation {
            self.sessions.remove(&(peer, session));
        }
        if stream.is_open {
            events.push_back(Event::StreamEnded { peer, session, request_id, error: failed });
        }
    }
}

impl OutStream {
    /// Kind and index of what is expected next, if anything may arrive.
    fn expected(&self) -> Option<(Option<RequestKind>, Option<u64>)> {
        if !self.wanted.updates.is_empty() {
            return Some((Some(RequestKind::LightClientUpdate), Some(self.wanted.updates.start)));
        }
        let (index, plan) = (self.wanted.chunks.first()?.start, self.plan.as_ref()?);
        let range = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, index);
        let fits = self.received + (range.end - range.start) <= self.granted;
        fits.then_some((Some(RequestKind::Chunk), Some(index)))
    }

    /// What arrived is not expected any more. On a stream it is the first item, unless the wants have changed.
    fn came(&mut self, kind: RequestKind, index: u64) {
        if kind == RequestKind::LightClientUpdate {
            self.wanted.updates.start = self.wanted.updates.start.max(index + 1).min(self.wanted.updates.end);
            return;
        }
        if let Some(first) = self.wanted.chunks.first_mut().filter(|range| range.contains(&index)) {
            first.start = index + 1;
            if first.is_empty() {
                self.wanted.chunks.remove(0);
            }
        }
    }

    fn say(&mut self, activity: Activity, exchange: Exchange) {
        let request_bytes = json::encode_request(exchange.request()).len();
        self.outlet.push([Say::Message(Box::new(exchange.clone()))]);
        self.message = Some((activity, exchange, Checking { request_bytes, response_bytes: 0, since: Instant::now() }));
    }
}
