//! Peers' requests: admitted to a slot, given room among the bytes under way, served on a blocking thread.
//!
//! ```text
//! arrived ──> unreadable, or no slot ──────────────────> answered with `invalid` or `busy`
//!    └──> admitted ──> waits for room ──(5 s)──> `busy`
//!                          └──> job: provider asked, answer encoded ──> written ──> sent
//! ```
//!
//! A request is in flight, and its room taken, until its answer is written or its stream is gone. What a job makes for a
//! stream that is gone is dropped.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use libp2p::{
    PeerId,
    request_response::{self, InboundFailure, InboundRequestId, ResponseChannel},
};
use tokio::time::Sleep;

use super::{
    config::Config,
    event::{Event, Outcome, RequestId, RequestKind},
    observer::{Activity, Ended, Job, Observer},
    reply::{self, Effect, Reply, index_of},
    size,
    work::{Done, Pool},
};
use crate::{
    codec::{Codec, ResponseFrame},
    error::SnapshotProtocolError,
    json::DecodeError,
    limits::{MAX_CHUNK_SIZE, MAX_LOOSE_CANCELS},
    messages::{ErrorCode, SnapshotsRequest},
    provider::{Outcome as SlotOutcome, Room, RoomWait, SessionKey, Slots, SnapshotProvider, Ticket},
    types::SnapshotSessionId,
};

/// Where answers go.
type Wire = request_response::Behaviour<Codec>;

/// The provider's half of the behaviour.
pub(super) struct Inbound<P> {
    provider: Arc<P>,
    observer: Arc<dyn Observer>,
    max_response: usize,
    slot_idle: Duration,
    slots: Slots,
    room: Room,
    /// Chunk size of the sessions that have a slot: what their chunks need as room.
    chunk_sizes: HashMap<SessionKey, u64>,
    /// Arrived and not ended: at most the streams of all connections.
    calls: HashMap<RequestId, Call>,
    ids: HashMap<InboundRequestId, RequestId>,
    /// Admitted and waiting for room: at most one per slot.
    waiting: HashMap<SessionKey, (RequestId, SnapshotsRequest)>,
    /// Cancels of sessions that found no slot; at most [`MAX_LOOSE_CANCELS`].
    loose_cancels: usize,
    jobs: Pool<Reply>,
    next_id: u64,
    failures: u64,
    next_expiry: Option<Instant>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

struct Call {
    activity: Activity,
    /// `None` once the answer is handed over or the stream is gone.
    channel: Option<ResponseChannel<ResponseFrame>>,
    /// Its session's request in flight, unless it was refused or is a loose cancel.
    ticket: Option<Ticket>,
    holds_room: bool,
    loose: bool,
    /// A job runs, or is queued, for it.
    running: bool,
    gone: bool,
    outcome: Outcome,
    effect: Effect,
    error: Option<SnapshotProtocolError>,
    request_bytes: usize,
    response_bytes: usize,
    since: Instant,
}

impl<P: SnapshotProvider> Inbound<P> {
    pub(super) fn new(provider: Arc<P>, config: &Config) -> Self {
        Self {
            provider,
            observer: Arc::clone(&config.observer),
            max_response: config.max_response_bytes,
            slot_idle: config.slots.idle,
            slots: Slots::new(config.slots),
            room: Room::new(config.room),
            chunk_sizes: HashMap::new(),
            calls: HashMap::new(),
            ids: HashMap::new(),
            waiting: HashMap::new(),
            loose_cancels: 0,
            jobs: Pool::new(Job::Provide, config.max_provider_jobs, Arc::clone(&config.observer)),
            next_id: 1,
            failures: 0,
            next_expiry: None,
            timer: None,
        }
    }

    pub(super) fn provider(&self) -> &Arc<P> {
        &self.provider
    }

    pub(super) fn in_flight(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn jobs(&self) -> (usize, usize) {
        (self.jobs.queued(), self.jobs.running())
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// A request arrived.
    pub(super) fn handle_request(
        &mut self,
        wire: &mut Wire,
        peer: PeerId,
        inbound: InboundRequestId,
        (request_bytes, request): (usize, Result<SnapshotsRequest, DecodeError>),
        channel: ResponseChannel<ResponseFrame>,
    ) {
        let readable = request.as_ref().ok();
        let activity = Activity {
            id: RequestId(self.next_id),
            peer,
            session: readable.map_or(SnapshotSessionId::UNREADABLE, SnapshotsRequest::session_id),
            kind: readable.map(RequestKind::of),
            index: readable.and_then(index_of),
        };
        self.next_id += 1;
        self.ids.insert(inbound, activity.id);
        self.calls.insert(activity.id, Call::new(activity, request_bytes, channel));
        self.observer.response_started(&activity);
        match request {
            Ok(request) => self.admit(wire, activity, request),
            Err(error) => {
                let reason = format!("the request cannot be read: {error}");
                self.refuse(wire, activity.id, ErrorCode::Invalid, &reason);
                if let Some(call) = self.calls.get_mut(&activity.id) {
                    call.error = Some(SnapshotProtocolError::Inbound { reason });
                }
            }
        }
    }

    /// The answer is written.
    pub(super) fn handle_sent(&mut self, inbound: InboundRequestId, events: &mut VecDeque<Event>) {
        if let Some(id) = self.ids.remove(&inbound) {
            self.end(id, events);
        }
    }

    /// The answer will not reach the peer.
    pub(super) fn handle_failure(
        &mut self,
        inbound: InboundRequestId,
        failure: &InboundFailure,
        events: &mut VecDeque<Event>,
    ) {
        self.failures += 1;
        let Some(id) = self.ids.remove(&inbound) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.gone = true;
        call.channel = None;
        call.outcome = Outcome::Lost;
        call.error = Some(SnapshotProtocolError::Inbound { reason: failure.to_string() });
        if call.running && !self.jobs.withdraw(&call.activity) {
            // The provider is at work on it: the session stays in flight until it is done.
            return;
        }
        self.end(id, events);
    }

    /// The next thing that is due: a job that ended, or a wait that did.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire, events: &mut VecDeque<Event>) -> Poll<()> {
        if let Poll::Ready(done) = self.jobs.poll(cx) {
            self.handle_done(wire, done, events);
            return Poll::Ready(());
        }
        if self.poll_room(wire) {
            return Poll::Ready(());
        }
        self.poll_timer(cx)
    }

    fn admit(&mut self, wire: &mut Wire, activity: Activity, request: SnapshotsRequest) {
        let Activity { id, peer, session, .. } = activity;
        match self.slots.admit(Instant::now(), peer, session) {
            Ok(ticket) => {
                self.update(id, |call| call.ticket = Some(ticket));
                self.make_room(activity, request);
            }
            Err(_) if self.is_loose_cancel(&activity) => {
                self.loose_cancels += 1;
                self.update(id, |call| call.loose = true);
                self.start(activity, request);
            }
            Err(busy) => self.refuse(wire, id, busy.code(), &busy.to_string()),
        }
    }

    /// A cancel is answered `cancelled` even when there is no slot for it.
    fn is_loose_cancel(&self, activity: &Activity) -> bool {
        activity.kind == Some(RequestKind::Cancel)
            && !self.slots.contains(activity.peer, activity.session)
            && self.loose_cancels < MAX_LOOSE_CANCELS
    }

    /// Answers that may be large wait for room; the others are bounded by the slots.
    fn make_room(&mut self, activity: Activity, request: SnapshotsRequest) {
        let key = (activity.peer, activity.session);
        let kind = RequestKind::of(&request);
        if matches!(kind, RequestKind::Resume | RequestKind::Ack | RequestKind::Cancel) {
            return self.start(activity, request);
        }
        let chunk_size = self.chunk_sizes.get(&key).copied().unwrap_or(MAX_CHUNK_SIZE);
        self.update(activity.id, |call| call.holds_room = true);
        match self.room.ask(Instant::now(), key, size::response(kind, chunk_size)) {
            RoomWait::Granted => self.start(activity, request),
            RoomWait::Waiting => drop(self.waiting.insert(key, (activity.id, request))),
        }
    }

    /// Serves the next that found room, or refuses the next that waited too long; whether there was one.
    fn poll_room(&mut self, wire: &mut Wire) -> bool {
        let Some((key, granted)) = self.room.poll(Instant::now()) else { return false };
        let Some((id, request)) = self.waiting.remove(&key) else { return true };
        let Some(activity) = self.calls.get(&id).map(|call| call.activity) else { return true };
        if granted {
            self.start(activity, request);
        } else {
            self.refuse(wire, id, ErrorCode::Busy, "too many response bytes are under way; retry later");
        }
        true
    }

    fn start(&mut self, activity: Activity, request: SnapshotsRequest) {
        self.update(activity.id, |call| call.running = true);
        let (provider, max_response) = (Arc::clone(&self.provider), self.max_response);
        self.jobs.push(activity, move || reply::answer(provider.as_ref(), activity.peer, request, max_response));
    }

    fn handle_done(&mut self, wire: &mut Wire, (activity, result): Done<Reply>, events: &mut VecDeque<Event>) {
        let reply = result.unwrap_or_else(|error| {
            tracing::error!(peer = %activity.peer, session = %activity.session, %error, "the provider did not answer");
            reply::refusal(activity.session, ErrorCode::Internal, "the provider failed", Effect::Keep)
        });
        if let Effect::Open { chunk_size } = reply.effect {
            self.remember(&activity, chunk_size);
        }
        let Some(call) = self.calls.get_mut(&activity.id) else { return };
        call.running = false;
        call.effect = reply.effect;
        if call.gone {
            return self.end(activity.id, events);
        }
        self.respond(wire, activity.id, reply);
    }

    fn remember(&mut self, activity: &Activity, chunk_size: u64) {
        let slots = &self.slots;
        self.chunk_sizes.retain(|(peer, session), _| slots.contains(*peer, *session));
        if slots.contains(activity.peer, activity.session) {
            self.chunk_sizes.insert((activity.peer, activity.session), chunk_size);
        }
    }

    fn refuse(&mut self, wire: &mut Wire, id: RequestId, code: ErrorCode, words: &str) {
        let Some(call) = self.calls.get(&id) else { return };
        let reply = reply::refusal(call.activity.session, code, words, Effect::Keep);
        self.respond(wire, id, reply);
    }

    fn respond(&mut self, wire: &mut Wire, id: RequestId, reply: Reply) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(channel) = call.channel.take() else { return };
        call.outcome = reply.outcome;
        call.response_bytes = reply.body.len();
        // When the stream is gone already, its failure event ends the call.
        let _ = wire.send_response(channel, ResponseFrame::Whole(reply.body));
    }

    /// Lets go of all that the request held.
    fn end(&mut self, id: RequestId, events: &mut VecDeque<Event>) {
        let Some(call) = self.calls.remove(&id) else { return };
        let Activity { peer, session, kind, .. } = call.activity;
        let now = Instant::now();
        if call.holds_room {
            self.room.leave((peer, session));
            self.waiting.remove(&(peer, session));
        }
        if call.loose {
            self.loose_cancels = self.loose_cancels.saturating_sub(1);
        }
        if let Some(ticket) = call.ticket {
            let outcome = if call.effect == Effect::Free { SlotOutcome::Free } else { SlotOutcome::Keep };
            self.slots.release(now, ticket, outcome);
            self.next_expiry.get_or_insert(now + self.slot_idle);
        }
        let elapsed = call.since.elapsed();
        let ended = Ended {
            outcome: call.outcome,
            request_bytes: call.request_bytes,
            response_bytes: call.response_bytes,
            elapsed,
        };
        self.observer.response_finished(&call.activity, &ended);
        events.push_back(Event::Inbound {
            peer,
            session,
            request_id: id,
            kind,
            outcome: call.outcome,
            bytes: call.response_bytes,
            elapsed,
            error: call.error,
        });
    }

    fn update(&mut self, id: RequestId, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(&id) {
            change(call);
        }
    }

    /// Wakes for the end of a wait for room and for idle slots.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = [self.room.poll_timeout(), self.next_expiry].into_iter().flatten().min();
        let Some(due) = due else {
            self.timer = None;
            return Poll::Pending;
        };
        let now = Instant::now();
        if due > now {
            let (_, sleep) = match self.timer.take() {
                Some(timer) if timer.0 == due => self.timer.insert(timer),
                _ if tokio::runtime::Handle::try_current().is_err() => return Poll::Pending,
                _ => self.timer.insert((due, Box::pin(tokio::time::sleep_until(due.into())))),
            };
            if sleep.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.timer = None;
        if self.next_expiry.is_some_and(|expiry| expiry <= now) {
            self.slots.expire(now);
            self.next_expiry = (!self.slots.is_empty()).then(|| now + self.slot_idle);
        }
        Poll::Ready(())
    }
}

impl Call {
    fn new(activity: Activity, request_bytes: usize, channel: ResponseChannel<ResponseFrame>) -> Self {
        Self {
            activity,
            channel: Some(channel),
            ticket: None,
            holds_room: false,
            loose: false,
            running: false,
            gone: false,
            outcome: Outcome::Lost,
            effect: Effect::Keep,
            error: None,
            request_bytes,
            response_bytes: 0,
            since: Instant::now(),
        }
    }
}
