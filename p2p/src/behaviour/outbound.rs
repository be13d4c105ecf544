//! Our own requests: one in flight for each session. Each answer is checked before it is reported: chunks and small
//! answers on the connection's task, everything else on a blocking thread, nothing on the swarm's task.

mod streams;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    PeerId,
    core::upgrade::NegotiationError,
    request_response::{self, OutboundFailure, OutboundRequestId},
    swarm::DialError,
};

pub(super) use self::streams::StreamCommand;
use self::streams::{Carrier, OutStreams};
use super::{
    config::Config,
    estimate,
    event::{Event, Outcome, RequestId, RequestKind},
    observer::{Activity, Ended, Job, Observer, RequestIds},
    pool::{Done, Failed, Pool},
};
use crate::{
    PROTOCOL_V1,
    by_hand::ByHand,
    codec::verify::{self, CheckFailed, Checked},
    codec::{Codec, RequestFrame, ResponseFrame, Seen, is_end},
    error::{Cause, NotSent, RequestFailure, SnapshotProtocolError, StreamFailure, TooSlow, Unfit, Violation},
    exchange::{Exchange, Expectation, Rules, Verified},
    json,
    messages::{ErrorCode, SnapshotsRequest},
    pace::Stall,
    stream::Protocol,
    stream_tags, text,
    types::SnapshotSessionId,
};

/// A session belongs to two peers: its key is the other peer and the id.
type Key = (PeerId, SnapshotSessionId);

/// The consumer's half of the behaviour.
pub(super) struct Outbound {
    rules: Rules,
    max_sessions: usize,
    max_per_peer: usize,
    observer: Arc<dyn Observer>,
    /// Bounded by `max_sessions`. An entry is removed by a violation, a confirmed cancel or `forget`.
    sessions: HashMap<Key, OpenSession>,
    /// Sent and not answered. At most one for each session; including abandoned ones, at most `max_sessions`.
    sent: HashMap<OutboundRequestId, Sent>,
    /// Answered and being checked.
    checking: HashMap<RequestId, Checking>,
    checks: Pool<Checked>,
    /// Why dialling failed. Kept from the swarm's event until the requests that waited for the dial fail.
    dial_failures: HashMap<PeerId, Cause>,
    streams: OutStreams,
    request_ids: RequestIds,
}

#[derive(Default)]
struct OpenSession {
    in_flight: Option<RequestId>,
    by_hand: Option<ByHand>,
    carrier: Carrier,
}

struct Sent {
    activity: Activity,
    expectation: Expectation,
    request_bytes: usize,
    /// The bytes of the answer that have arrived.
    seen: Seen,
    since: Instant,
}

struct Checking {
    request_bytes: usize,
    response_bytes: usize,
    since: Instant,
}

impl Outbound {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rules: Rules { trust: Arc::clone(&config.trust), bounds: config.plan_bounds },
            max_sessions: config.max_sessions,
            max_per_peer: config.max_streams_per_connection,
            observer: Arc::clone(&config.observer),
            sessions: HashMap::new(),
            sent: HashMap::new(),
            checking: HashMap::new(),
            checks: Pool::new(Job::Check, config.max_checks, Arc::clone(&config.observer)),
            dial_failures: HashMap::new(),
            streams: OutStreams::new(config.protocols),
            request_ids: RequestIds::default(),
        }
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.sent.len() + self.checking.len() + self.streams.messages()
    }

    pub(super) fn checks(&self) -> (usize, usize) {
        (self.checks.queued(), self.checks.running())
    }

    /// The plan and markers of a session that is driven by hand.
    pub(super) fn by_hand(&self, peer: PeerId, session: SnapshotSessionId) -> Option<&ByHand> {
        self.sessions.get(&(peer, session))?.by_hand.as_ref()
    }

    /// From now on the session, which is open, is driven by hand: from these markers, or from those that it had.
    pub(super) fn keep_by_hand(&mut self, peer: PeerId, session: SnapshotSessionId, markers: Option<ByHand>) {
        if let Some(session) = self.sessions.get_mut(&(peer, session)) {
            match markers {
                Some(markers) => session.by_hand = Some(markers),
                None => drop(session.by_hand.get_or_insert_default()),
            }
        }
    }

    /// Whether the session has a request in flight; `None` if it is unknown.
    pub(super) fn is_busy(&self, peer: PeerId, session: SnapshotSessionId) -> Option<bool> {
        self.sessions.get(&(peer, session)).map(|session| session.in_flight.is_some())
    }

    /// Sends a request. A plan or a resume opens its session on our side unless it is open. `may_stream`: use a stream
    /// if the peer supports that protocol.
    pub(super) fn send(
        &mut self,
        inner: &mut request_response::Behaviour<Codec>,
        peer: PeerId,
        exchange: Exchange,
        may_stream: bool,
    ) -> Result<RequestId, NotSent> {
        let request = exchange.request();
        let (id, kind) = (request.session_id(), RequestKind::of(request));
        match self.sessions.get(&(peer, id)) {
            Some(session) if session.in_flight.is_some() => return Err(NotSent::Busy),
            Some(_) => {}
            None if !matches!(kind, RequestKind::Plan | RequestKind::Resume) => {
                return Err(NotSent::UnknownSession(id));
            }
            None if self.sessions.len() >= self.max_sessions => {
                return Err(Unfit::TooManySessions { open: self.sessions.len(), max: self.max_sessions }.into());
            }
            None => {}
        }
        exchange.fits()?;
        if let Some(id) = self.send_on_stream(peer, &exchange, may_stream)? {
            return Ok(id);
        }
        let under_way = self.sent.values().filter(|sent| sent.activity.peer == peer).count();
        if under_way >= self.max_per_peer || self.sent.len() >= self.max_sessions {
            return Err(NotSent::Busy);
        }
        let activity = self.begin(Protocol::V1, peer, request);
        self.send_request(inner, activity, exchange);
        Ok(activity.id)
    }

    /// A request of an open session is in flight from now on.
    fn begin(&mut self, protocol: Protocol, peer: PeerId, request: &SnapshotsRequest) -> Activity {
        let activity = Activity::of(protocol, self.request_ids.next(), peer, Some(request));
        self.sessions.entry((peer, activity.session)).or_default().in_flight = Some(activity.id);
        self.observer.request_started(&activity);
        activity
    }

    fn send_request(&mut self, inner: &mut request_response::Behaviour<Codec>, activity: Activity, exchange: Exchange) {
        let (request, peer) = (exchange.request(), activity.peer);
        let kind = RequestKind::of(request);
        if matches!(kind, RequestKind::Plan | RequestKind::Resume)
            && let Some(session) = self.sessions.get_mut(&(peer, activity.session))
        {
            session.carrier = Carrier::Requests;
        }
        let chunk_size = exchange.plan().map_or(0, |plan| plan.chunk_size);
        let body = json::encode_request(request);
        let (request_bytes, tags) = (body.len(), stream_tags::of(request));
        let expectation = exchange.expecting(&self.rules);
        // Answers that are checked about as quickly as they are read.
        let checked_there =
            matches!(kind, RequestKind::Chunk | RequestKind::Ack).then(|| Box::new(expectation.clone()));
        let expected_response = estimate::response(kind, chunk_size);
        let seen = Seen::default();
        let frame =
            RequestFrame::Outgoing { body, expected_response, tags, expectation: checked_there, seen: seen.clone() };
        let sent = Sent { activity, expectation, request_bytes, seen, since: Instant::now() };
        self.sent.insert(inner.send_request(&peer, frame), sent);
    }

    /// Ends the session on our side. What is in flight is abandoned, and its answer is ignored.
    pub(super) fn forget(&mut self, peer: PeerId, session: SnapshotSessionId) {
        if let Some(session) = self.sessions.remove(&(peer, session)) {
            self.close_stream(session.carrier);
        }
    }

    /// A response arrived. It is already checked, or is checked on a blocking thread now.
    pub(super) fn handle_response(
        &mut self,
        request: OutboundRequestId,
        frame: ResponseFrame,
        events: &mut VecDeque<Event>,
    ) {
        let Some(Sent { activity, expectation, request_bytes, since, .. }) = self.sent.remove(&request) else { return };
        self.dial_failures.remove(&activity.peer);
        let response_bytes = match &frame {
            ResponseFrame::Whole(body) => body.len(),
            ResponseFrame::Oversize { seen, .. } => *seen,
            ResponseFrame::Checked { bytes, .. } => *bytes,
        };
        let checking = Checking { request_bytes, response_bytes, since };
        if !self.is_in_flight(&activity) {
            return self.finished(&activity, &checking, Outcome::Abandoned);
        }
        self.checking.insert(activity.id, checking);
        let checked = match frame {
            ResponseFrame::Whole(body) => {
                return self.checks.push(activity, move || verify::check(body, None, expectation));
            }
            ResponseFrame::Oversize { seen, bound } => verify::oversize(seen, bound),
            ResponseFrame::Checked { checked, .. } => checked,
        };
        self.handle_checked((activity, Ok(checked)), events);
    }

    /// The requests that wait for this dial will fail next.
    pub(super) fn note_dial_failure(&mut self, peer: PeerId, error: &DialError) {
        if self.sent.values().any(|sent| sent.activity.peer == peer) {
            self.dial_failures.insert(peer, Cause::told(error));
        }
    }

    /// No response will come.
    pub(super) fn handle_failure(
        &mut self,
        request: OutboundRequestId,
        failure: OutboundFailure,
        events: &mut VecDeque<Event>,
    ) {
        let Some(Sent { activity, request_bytes, seen, since, .. }) = self.sent.remove(&request) else { return };
        let response_bytes = usize::try_from(seen.bytes()).unwrap_or(usize::MAX);
        let checking = Checking { request_bytes, response_bytes, since };
        let failure = match failure {
            OutboundFailure::DialFailure => {
                let reason = self.dial_failures.get(&activity.peer).cloned();
                RequestFailure::Dial { reason: reason.unwrap_or_else(dialling_failed) }
            }
            other => failed(other, received(&activity, response_bytes)),
        };
        if !self.sent.values().any(|sent| sent.activity.peer == activity.peer) {
            self.dial_failures.remove(&activity.peer);
        }
        self.lost(&activity, &checking, failure, events);
    }

    /// The next check that ended; its events are appended to `events`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, events: &mut VecDeque<Event>) -> Poll<()> {
        self.checks.poll(cx).map(|done| self.handle_checked(done, events))
    }

    fn handle_checked(&mut self, (activity, result): Done<Checked>, events: &mut VecDeque<Event>) {
        let Some(checking) = self.checking.remove(&activity.id) else { return };
        match result {
            Ok(Checked(Ok(verified))) => self.verified(&activity, &checking, Protocol::V1, verified, events),
            Ok(Checked(Err(CheckFailed::Cut))) => {
                let received = received(&activity, checking.response_bytes);
                self.lost(&activity, &checking, RequestFailure::ConnectionClosed { received }, events);
            }
            Ok(Checked(Err(CheckFailed::Violation(violation)))) => {
                self.violated(&activity, &checking, violation, events);
            }
            Ok(Checked(Err(CheckFailed::Panicked(reason)))) | Err(Failed::Panicked(reason)) => {
                tracing::error!(peer = %activity.peer, session = %activity.session, %reason, "checking a response panicked");
                let failure = StreamFailure::Panicked(reason).into();
                self.lost(&activity, &checking, failure, events);
            }
            Err(Failed::NoRuntime) => {
                self.lost(&activity, &checking, StreamFailure::NoRuntime.into(), events);
            }
        }
    }

    fn verified(
        &mut self,
        activity: &Activity,
        checking: &Checking,
        protocol: Protocol,
        verified: Verified,
        events: &mut VecDeque<Event>,
    ) {
        let Some(session) = self.end_flight(activity) else {
            return self.finished(activity, checking, Outcome::Abandoned);
        };
        if let Some(by_hand) = &mut session.by_hand {
            by_hand.verified(&verified);
        }
        let Activity { id: request_id, peer, session, kind, .. } = *activity;
        let outcome = match &verified {
            Verified::Refused { code, .. } => Outcome::Refused(*code),
            _ => Outcome::Served,
        };
        self.finished(activity, checking, outcome);
        events.push_back(match verified {
            Verified::Refused { code: ErrorCode::Cancelled, .. } if kind == Some(RequestKind::Cancel) => {
                self.forget(peer, session);
                Event::Cancelled { peer, session, request_id }
            }
            Verified::Refused { code, message } => {
                let error = SnapshotProtocolError::Provider { code, message: text::cut(&message).to_owned() };
                Event::Error { peer, session, request_id: Some(request_id), error }
            }
            verified => {
                let (bytes, elapsed) = (checking.response_bytes, checking.since.elapsed());
                Event::Verified { peer, session, request_id, protocol, verified, bytes, elapsed }
            }
        });
    }

    fn violated(
        &mut self,
        activity: &Activity,
        checking: &Checking,
        violation: Violation,
        events: &mut VecDeque<Event>,
    ) {
        if self.end_flight(activity).is_none() {
            return self.finished(activity, checking, Outcome::Abandoned);
        }
        self.forget(activity.peer, activity.session);
        self.finished(activity, checking, Outcome::Violation);
        events.push_back(error(activity, SnapshotProtocolError::Remote(violation)));
    }

    fn lost(
        &mut self,
        activity: &Activity,
        checking: &Checking,
        failure: RequestFailure,
        events: &mut VecDeque<Event>,
    ) {
        if self.end_flight(activity).is_none() {
            return self.finished(activity, checking, Outcome::Abandoned);
        }
        self.finished(activity, checking, Outcome::Lost);
        events.push_back(error(activity, SnapshotProtocolError::Outbound(failure)));
    }

    fn is_in_flight(&self, activity: &Activity) -> bool {
        self.sessions.get(&(activity.peer, activity.session)).is_some_and(|it| it.in_flight == Some(activity.id))
    }

    /// The session of this request; `None` if it was forgotten meanwhile.
    fn end_flight(&mut self, activity: &Activity) -> Option<&mut OpenSession> {
        let session = self.sessions.get_mut(&(activity.peer, activity.session))?;
        session.in_flight.take_if(|id| *id == activity.id)?;
        Some(session)
    }

    fn finished(&self, activity: &Activity, checking: &Checking, outcome: Outcome) {
        let ended = Ended {
            outcome,
            request_bytes: checking.request_bytes,
            response_bytes: checking.response_bytes,
            elapsed: checking.since.elapsed(),
        };
        self.observer.request_finished(activity, &ended);
    }
}

fn error(activity: &Activity, error: SnapshotProtocolError) -> Event {
    Event::Error { peer: activity.peer, session: activity.session, request_id: Some(activity.id), error }
}

fn dialling_failed() -> Cause {
    Cause::told("dialling failed")
}

fn failed(failure: OutboundFailure, received: u64) -> RequestFailure {
    match failure {
        OutboundFailure::DialFailure => RequestFailure::Dial { reason: dialling_failed() },
        OutboundFailure::Timeout => RequestFailure::Timeout { reason: TooSlow::Whole, received },
        OutboundFailure::ConnectionClosed => RequestFailure::ConnectionClosed { received },
        OutboundFailure::UnsupportedProtocols => RequestFailure::Unsupported { protocol: PROTOCOL_V1 },
        OutboundFailure::Io(error) if is_refused_protocol(&error) => {
            RequestFailure::Unsupported { protocol: PROTOCOL_V1 }
        }
        OutboundFailure::Io(error) if is_end(&error) => RequestFailure::ConnectionClosed { received },
        OutboundFailure::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Stall>()) {
            Some(stall) => RequestFailure::Timeout { reason: (*stall).into(), received },
            None => StreamFailure::Transport(Cause::new(error)).into(),
        },
    }
}

/// Estimates how much of a chunk is in so many bytes of its answer: nearly all of them are base64.
fn received(activity: &Activity, response_bytes: usize) -> u64 {
    match activity.kind {
        Some(RequestKind::Chunk) => response_bytes as u64 / 4 * 3,
        _ => 0,
    }
}

/// With `V1Lazy` the refusal of a protocol becomes visible when the answer is read.
pub(super) fn is_refused_protocol(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<NegotiationError>())
        .is_some_and(|inner| matches!(inner, NegotiationError::Failed))
}
