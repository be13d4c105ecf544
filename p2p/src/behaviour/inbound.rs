//! Requests of peers: they get a slot and a share of the byte budget, and are served on a blocking thread.
//!
//! ```text
//! arrived ──> unreadable, or no slot ──────────────────> answered with `invalid` or `busy`
//!    └──> admitted ──> waits for bytes ─(5 s)──> `busy`
//!                          └──> job: provider asked, answer encoded ──> written ──> sent
//! ```
//!
//! Chunks that follow on each other are read ahead (`read_ahead`), so their requests are answered at once.
//!
//! A request is in flight, and its bytes count against the budget, until its answer is written or its stream has
//! failed. A job's result for a stream that has failed is dropped. If no job answers a request in time, its stream is
//! dropped, too: by then its consumer has abandoned it.

mod streams;

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

pub(super) use self::streams::StreamKey;
use self::streams::Streams;
use super::{
    admission::{Admission, Verdict},
    config::Config,
    estimate,
    event::{Event, Outcome, RequestId, RequestKind},
    observer::{Activity, Ended, Job, Observer, RequestIds, Unobserved},
    pool::{Done, Pool, Watch},
    read_ahead::ReadAhead,
    serve::{self, Answer, Effect},
};
use crate::{
    codec::{Codec, ResponseFrame},
    error::{Cause, SnapshotProtocolError, Unserved},
    json::DecodeError,
    messages::{ErrorCode, SnapshotsRequest},
    provider::{Budget, SessionKey, Slots, SnapshotProvider, Source},
    stream::Protocol,
};

/// Where answers go.
type Wire = request_response::Behaviour<Codec>;

/// The provider's half of the behaviour.
pub(super) struct Inbound<P> {
    provider: Arc<P>,
    observer: Arc<dyn Observer>,
    max_response: usize,
    admission: Admission,
    /// Requests that have arrived and not ended: at most the streams of all connections.
    calls: HashMap<RequestId, Call>,
    ids: HashMap<InboundRequestId, RequestId>,
    /// The deadline of each answer, in order of arrival. Some of them are answered already: at most as many as are not,
    /// and a few more.
    due: VecDeque<(Instant, InboundRequestId)>,
    answer_within: Duration,
    jobs: Pool<Answer>,
    read_ahead: ReadAhead,
    read_ahead_jobs: Pool<()>,
    streams: Streams,
    request_ids: RequestIds,
    failures: u64,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

struct Call {
    activity: Activity,
    source: Source,
    /// `None` once the answer is handed over or the stream has failed.
    channel: Option<ResponseChannel<ResponseFrame>>,
    /// Whether a job for it runs or is queued.
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
            admission: Admission::new(config.slots, config.budget),
            calls: HashMap::new(),
            ids: HashMap::new(),
            due: VecDeque::new(),
            answer_within: config.pace.idle,
            jobs: Pool::new(Job::Provide, config.max_provider_jobs, Arc::clone(&config.observer)),
            read_ahead: ReadAhead::default(),
            // The job itself reports each chunk to the observer.
            read_ahead_jobs: Pool::new(Job::Provide, config.max_provider_jobs, Arc::new(Unobserved)),
            streams: Streams::new(streams::pool(config)),
            request_ids: RequestIds::default(),
            failures: 0,
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
        let (queued, running) = self.streams.jobs();
        (
            self.jobs.queued() + self.read_ahead_jobs.queued() + queued,
            self.jobs.running() + self.read_ahead_jobs.running() + running,
        )
    }

    /// Streams that peers opened.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn read_ahead_bytes(&self) -> usize {
        self.read_ahead.bytes()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn slots(&self) -> &Slots {
        self.admission.slots()
    }

    /// Bytes of chunks a second, in all and to each peer; 0: no limit.
    pub(super) fn set_rates(&mut self, total: u64, per_peer: u64) {
        self.admission.set_rates(Instant::now(), total, per_peer);
    }

    pub(super) fn budget(&self) -> &Budget {
        self.admission.budget()
    }

    /// A request arrived.
    pub(super) fn handle_request(
        &mut self,
        wire: &mut Wire,
        (peer, source): (PeerId, Source),
        inbound: InboundRequestId,
        (request_bytes, request): (usize, Result<SnapshotsRequest, DecodeError>),
        channel: ResponseChannel<ResponseFrame>,
    ) {
        let readable = request.as_ref().ok();
        let activity = Activity::of(Protocol::V1, self.request_ids.next(), peer, readable);
        self.ids.insert(inbound, activity.id);
        if self.due.len() > 2 * self.ids.len() + 64 {
            self.due.retain(|(_, inbound)| self.ids.contains_key(inbound));
        }
        self.due.push_back((Instant::now() + self.answer_within, inbound));
        self.calls.insert(activity.id, Call::new(activity, source, request_bytes, channel));
        self.observer.response_started(&activity);
        match request {
            Ok(request) => {
                let verdict = self.admission.arrive(Instant::now(), source, activity, request);
                self.follow(wire, activity, verdict);
            }
            Err(error) => {
                let failure = Unserved::from(error);
                self.refuse(wire, activity.id, ErrorCode::Invalid, &failure.to_string());
                if let Some(call) = self.calls.get_mut(&activity.id) {
                    call.error = Some(failure.into());
                }
            }
        }
    }

    /// The answer was written.
    pub(super) fn handle_sent(&mut self, inbound: InboundRequestId, events: &mut VecDeque<Event>) {
        if let Some(id) = self.ids.remove(&inbound) {
            self.end(id, events);
        }
    }

    /// The answer cannot reach the peer.
    pub(super) fn handle_failure(
        &mut self,
        inbound: InboundRequestId,
        failure: &InboundFailure,
        events: &mut VecDeque<Event>,
    ) {
        let id = self.ids.remove(&inbound);
        if id.is_none() && matches!(failure, InboundFailure::ResponseOmission) {
            return; // It is overdue, and was counted as that.
        }
        self.failures += 1;
        if let Some(id) = id {
            self.lose(id, Unserved::Lost(Cause::told(failure)), events);
        }
    }

    /// Drops the streams of requests that nobody answered in time.
    fn drop_overdue(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        while let Some((_, inbound)) = self.due.front().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_front();
            let waiting = |id: &&RequestId| self.calls.get(*id).is_some_and(|call| call.channel.is_some());
            let Some(id) = self.ids.get(&inbound).filter(waiting).copied() else { continue };
            self.ids.remove(&inbound);
            self.failures += 1;
            self.lose(id, Unserved::Unanswered(self.answer_within), events);
        }
        // Answered entries at the front say nothing about the next deadline.
        while self.due.front().is_some_and(|(_, inbound)| !self.ids.contains_key(inbound)) {
            self.due.pop_front();
        }
    }

    fn lose(&mut self, id: RequestId, failure: Unserved, events: &mut VecDeque<Event>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.gone = true;
        call.channel = None;
        call.outcome = Outcome::Lost;
        call.error = Some(failure.into());
        if call.running && !self.jobs.withdraw(&call.activity) {
            // The provider is still working on it, so the session stays in flight until it is done.
            return;
        }
        self.end(id, events);
    }

    /// The next thing that is due: a job that ended, or a wait that is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &mut Wire, events: &mut VecDeque<Event>) -> Poll<()> {
        if let Poll::Ready(done) = self.jobs.poll(cx) {
            self.handle_done(wire, done, events);
            return Poll::Ready(());
        }
        if let Poll::Ready((about, _)) = self.read_ahead_jobs.poll(cx) {
            // If the provider failed, it will fail again when the request itself is served, and report that.
            if let Some((activity, request)) = self.read_ahead.made((about.peer, about.session)) {
                self.start(wire, activity, request);
            }
            return Poll::Ready(());
        }
        if let Some((activity, request)) = self.read_ahead.poll(cx) {
            self.start(wire, activity, request);
            return Poll::Ready(());
        }
        if let Poll::Ready(made) = self.streams.poll(cx) {
            self.handle_made(made, events);
            return Poll::Ready(());
        }
        if let Some((activity, verdict)) = self.admission.poll(Instant::now()) {
            if self.streams.is_of(activity.id) {
                self.stream_verdict(activity, verdict, events);
            } else {
                self.follow(wire, activity, verdict);
            }
            return Poll::Ready(());
        }
        self.drop_overdue(Instant::now(), events);
        if !events.is_empty() {
            return Poll::Ready(());
        }
        self.poll_timer(cx)
    }

    fn follow(&mut self, wire: &mut Wire, activity: Activity, verdict: Verdict) {
        match verdict {
            Verdict::Serve(request) => self.start(wire, activity, request),
            Verdict::Wait => {}
            Verdict::Refuse(refusal) => self.refuse(wire, activity.id, refusal.code(), &refusal.to_string()),
        }
    }

    fn start(&mut self, wire: &mut Wire, activity: Activity, request: SnapshotsRequest) {
        let Some(call) = self.calls.get_mut(&activity.id) else { return };
        let key = (activity.peer, activity.session);
        if let SnapshotsRequest::Chunk { chunk_index, .. } = request
            && let Some(answer) = self.read_ahead.take(Instant::now(), key, chunk_index)
        {
            return self.respond(wire, activity.id, answer);
        }
        let request = match self.read_ahead.wait(key, activity, request) {
            Ok(job) => return self.observer.response_waits(&activity, &job),
            Err(request) => request,
        };
        if matches!(activity.kind, Some(RequestKind::Plan | RequestKind::Resume | RequestKind::Cancel)) {
            self.read_ahead.forget(key);
        }
        call.running = true;
        let (provider, max_response) = (Arc::clone(&self.provider), self.max_response);
        let from = (activity.peer, call.source);
        self.jobs.push(activity, move || serve::serve(provider.as_ref(), from, request, max_response));
    }

    fn handle_done(&mut self, wire: &mut Wire, (activity, result): Done<Answer>, events: &mut VecDeque<Event>) {
        let answer = result.unwrap_or_else(|error| {
            tracing::error!(peer = %activity.peer, session = %activity.session, %error, "the provider did not answer");
            let opens = matches!(activity.kind, Some(RequestKind::Plan | RequestKind::Resume));
            let effect = if opens { Effect::Free } else { Effect::Keep };
            serve::refusal(activity.session, ErrorCode::Internal, "the provider failed", effect)
        });
        if let Effect::Open { chunk_size, .. } = answer.effect {
            self.admission.opened(&activity, chunk_size);
        }
        let Some(call) = self.calls.get_mut(&activity.id) else { return };
        call.running = false;
        call.effect = answer.effect;
        if call.gone {
            return self.end(activity.id, events);
        }
        self.respond(wire, activity.id, answer);
    }

    fn refuse(&mut self, wire: &mut Wire, id: RequestId, code: ErrorCode, words: &str) {
        let Some(call) = self.calls.get(&id) else { return };
        let answer = serve::refusal(call.activity.session, code, words, Effect::Keep);
        self.respond(wire, id, answer);
    }

    fn respond(&mut self, wire: &mut Wire, id: RequestId, answer: Answer) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(channel) = call.channel.take() else { return };
        let activity = call.activity;
        call.outcome = answer.outcome;
        call.response_bytes = answer.body.len();
        match call.effect {
            // The peer's next request may arrive before our notice that this answer was written. It must find the slot
            // free.
            Effect::Free => self.admission.end(Instant::now(), &call.activity, true),
            Effect::Keep | Effect::Open { .. } => self.admission.handed_over(&call.activity),
        }
        // If the stream has failed already, its failure event ends the call.
        let _ = wire.send_response(channel, ResponseFrame::Whole(answer.body));
        match (answer.effect, activity) {
            (Effect::Free, Activity { peer, session, .. }) => self.read_ahead.forget((peer, session)),
            (Effect::Keep, Activity { peer, session, kind: Some(RequestKind::Chunk), index: Some(index), .. })
                if answer.outcome == Outcome::Served =>
            {
                self.start_read_ahead((peer, session), index);
            }
            _ => {}
        }
    }

    /// Prefetches what is likely to be asked for after this chunk, unless requests are waiting for a thread.
    fn start_read_ahead(&mut self, key: SessionKey, served: u64) {
        let Some(chunk_size) = self.admission.chunk_size(key) else { return };
        let each = estimate::response(RequestKind::Chunk, chunk_size);
        let Some(chunks) = self.read_ahead.served(Instant::now(), key, served, each) else { return };
        if self.jobs.queued() > 0 {
            return;
        }
        let (id, (peer, session)) = (self.request_ids.next(), key);
        let (kind, index, protocol) = (Some(RequestKind::Chunk), Some(chunks.start), Protocol::V1);
        let about = Activity { id, peer, session, kind, index, protocol };
        let ready = self.read_ahead.begin(key, about, usize::try_from(chunks.end - chunks.start).unwrap_or(0));
        let (provider, max_response) = (Arc::clone(&self.provider), self.max_response);
        let observer = Arc::clone(&self.observer);
        self.read_ahead_jobs.push(about, move || {
            for index in chunks.take_while(|_| ready.is_wanted()) {
                let _watch =
                    Watch::begin(Job::Provide, Activity { index: Some(index), ..about }, Arc::clone(&observer));
                match serve::chunk(provider.as_ref(), peer, session, index, max_response) {
                    Some(answer) => ready.push(answer),
                    None => break,
                }
            }
        });
    }

    /// Releases everything that the request held.
    fn end(&mut self, id: RequestId, events: &mut VecDeque<Event>) {
        let Some(call) = self.calls.remove(&id) else { return };
        let Activity { peer, session, kind, .. } = call.activity;
        self.admission.end(Instant::now(), &call.activity, call.effect == Effect::Free);
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

    /// Wakes the task when the admission has something to do.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.read_ahead.expire(Instant::now());
        let overdue = self.due.front().map(|(due, _)| *due);
        let due = [self.admission.poll_timeout(), self.read_ahead.poll_timeout(), overdue].into_iter().flatten().min();
        let Some(due) = due else {
            self.timer = None;
            return Poll::Pending;
        };
        if due > Instant::now() {
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
        Poll::Ready(())
    }
}

impl Call {
    fn new(activity: Activity, source: Source, request_bytes: usize, channel: ResponseChannel<ResponseFrame>) -> Self {
        Self {
            activity,
            source,
            channel: Some(channel),
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
