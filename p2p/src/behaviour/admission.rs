//! Decides which of the peers' requests are served now, which wait, and which are refused. Pure: no I/O, time is an
//! argument.
//!
//! ```text
//! arrive ──> slot ──> budget ────────────> Serve
//!   │         │         └── none yet ──> Wait ──> Serve, or Refuse(busy) when its time is up
//!   │         ├── none yet ──> Wait ──> budget, or Refuse(busy) when its time is up
//!   │         └── the session's last answer is handed over and not yet known to be written ──> Wait ──> as if it arrived
//!   │                      (a chunk waits for the limit by the byte before the budget, for as long as that takes)
//!   └── the session has a request in flight, or too many wait ──> Refuse(busy)
//! ```
//!
//! The last kind of wait is not the peer's fault: with two connections, its next request may arrive before our own
//! notice that the last answer was written.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{
    estimate,
    event::{RequestId, RequestKind},
    observer::Activity,
};
use crate::{
    error::{Full, PipelineError},
    limits::{HANDOVER_WAIT, MAX_CHUNK_SIZE, MAX_LOOSE_CANCELS},
    messages::SnapshotsRequest,
    provider::{Asked, Budget, BudgetLimits, BudgetWait, SessionKey, SlotLimits, SlotOutcome, Slots, Source, Ticket},
    rate::Shares,
};

/// Slots and byte budget of a provider, and the requests that wait for them.
pub(super) struct Admission {
    slots: Slots,
    budget: Budget,
    idle: Duration,
    /// The chunk size of the sessions that have a slot; it determines what their chunks take of the byte budget.
    chunk_sizes: HashMap<SessionKey, u64>,
    /// Each session's request in flight: at most one per slot.
    serving: HashMap<SessionKey, Serving>,
    /// Requests that wait for a slot; [`Slots`] bounds their number.
    queued: HashMap<SessionKey, (Source, Activity, SnapshotsRequest)>,
    /// Requests that wait for the byte budget: at most one for each slot.
    waiting: HashMap<SessionKey, (Activity, SnapshotsRequest)>,
    /// Limits by the byte. A request that waits for them holds nothing of the budget.
    rates: Shares<SessionKey, PeerId>,
    /// Requests that wait for those limits: at most one for each slot.
    throttled: HashMap<SessionKey, (Source, Activity, SnapshotsRequest)>,
    /// Requests that wait for the end of the session's last request: at most one for each slot.
    parked: HashMap<SessionKey, Parked>,
    /// Cancels of sessions without a slot; at most [`MAX_LOOSE_CANCELS`].
    loose: HashSet<RequestId>,
    next_expiry: Option<Instant>,
}

struct Serving {
    id: RequestId,
    ticket: Ticket,
    handed_over: bool,
}

struct Parked {
    source: Source,
    activity: Activity,
    request: SnapshotsRequest,
    until: Instant,
}

/// The decision about a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Ask the provider.
    Serve(SnapshotsRequest),
    /// Wait: [`Admission::poll`] returns it later.
    Wait,
    /// Answer with this refusal.
    Refuse(PipelineError),
}

impl Admission {
    pub(super) fn new(slots: SlotLimits, budget: BudgetLimits) -> Self {
        Self {
            slots: Slots::new(slots),
            budget: Budget::new(budget),
            // At least 1 ms, so that a timer is never due again at once.
            idle: slots.idle.max(Duration::from_millis(1)),
            chunk_sizes: HashMap::new(),
            serving: HashMap::new(),
            queued: HashMap::new(),
            waiting: HashMap::new(),
            rates: Shares::default(),
            throttled: HashMap::new(),
            parked: HashMap::new(),
            loose: HashSet::new(),
            next_expiry: None,
        }
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes of chunks a second, in all and to each peer; 0: no limit.
    pub(super) fn set_rates(&mut self, now: Instant, total: u64, per_peer: u64) {
        self.rates.set_rates(now, total, per_peer);
    }

    /// Whether chunks are limited by the byte. If so, each chunk is admitted separately.
    pub(super) fn is_limited(&self) -> bool {
        self.rates.is_limited()
    }

    /// A readable request arrived.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        source: Source,
        activity: Activity,
        request: SnapshotsRequest,
    ) -> Verdict {
        let key = (activity.peer, activity.session);
        match self.serving.get(&key) {
            Some(serving) if serving.handed_over && !self.parked.contains_key(&key) => {
                self.parked.insert(key, Parked { source, activity, request, until: now + HANDOVER_WAIT });
                Verdict::Wait
            }
            _ => self.admit(now, source, activity, request),
        }
    }

    /// The answer to a request was handed over for writing.
    pub(super) fn handed_over(&mut self, activity: &Activity) {
        if let Some(serving) = self.serving.get_mut(&(activity.peer, activity.session))
            && serving.id == activity.id
        {
            serving.handed_over = true;
        }
    }

    /// The session streams chunks of this size from now on.
    pub(super) fn opened(&mut self, activity: &Activity, chunk_size: u64) {
        let slots = &self.slots;
        self.chunk_sizes.retain(|(peer, session), _| slots.contains(*peer, *session));
        if slots.contains(activity.peer, activity.session) {
            self.chunk_sizes.insert((activity.peer, activity.session), chunk_size);
        }
    }

    /// Changes the bytes that a request holds of the byte budget; `false`: it gets no more now.
    pub(super) fn resize(&mut self, activity: &Activity, bytes: usize) -> bool {
        let key = (activity.peer, activity.session);
        self.serving.get(&key).is_some_and(|serving| serving.id == activity.id) && self.budget.resize(key, bytes)
    }

    /// The chunk size of the session, if it has a slot.
    pub(super) fn chunk_size(&self, key: SessionKey) -> Option<u64> {
        self.chunk_sizes.get(&key).copied()
    }

    /// A request has ended in some way, and what it held is freed. `free`: its session no longer needs a slot.
    pub(super) fn end(&mut self, now: Instant, activity: &Activity, free: bool) {
        let key = (activity.peer, activity.session);
        self.loose.remove(&activity.id);
        if self.parked.get(&key).is_some_and(|parked| parked.activity.id == activity.id) {
            self.parked.remove(&key);
        }
        if self.queued.get(&key).is_some_and(|(_, queued, _)| queued.id == activity.id) {
            self.queued.remove(&key);
            self.slots.leave(key);
        }
        if self.serving.get(&key).is_none_or(|serving| serving.id != activity.id) {
            return;
        }
        self.waiting.remove(&key);
        self.throttled.remove(&key);
        self.rates.leave(key);
        self.budget.leave(key);
        if let Some(Serving { ticket, .. }) = self.serving.remove(&key) {
            self.slots.release(now, ticket, if free { SlotOutcome::Free } else { SlotOutcome::Keep });
            self.next_expiry.get_or_insert(now + self.idle);
        }
    }

    /// The next request whose wait is over.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Activity, Verdict)> {
        self.expire(now);
        while let Some((key, _)) = self.rates.poll(now) {
            let Some((source, activity, request)) = self.throttled.remove(&key) else { continue };
            let verdict = self.ask_budget(now, source, activity, request);
            return Some((activity, verdict));
        }
        while let Some((key, granted)) = self.budget.poll(now) {
            let Some((activity, request)) = self.waiting.remove(&key) else { continue };
            let verdict = if granted { Verdict::Serve(request) } else { Verdict::Refuse(over_budget()) };
            return Some((activity, verdict));
        }
        while let Some((key, ended)) = self.slots.poll(now) {
            let Some((source, activity, request)) = self.queued.remove(&key) else {
                if let Ok(ticket) = ended {
                    self.slots.release(now, ticket, SlotOutcome::Free);
                }
                continue;
            };
            let verdict = match ended {
                Ok(ticket) => self.begin(now, source, ticket, activity, request),
                Err(busy) => Verdict::Refuse(busy),
            };
            return Some((activity, verdict));
        }
        let over = |(key, parked): (&SessionKey, &Parked)| {
            (parked.until <= now || !self.serving.contains_key(key)).then_some(*key)
        };
        let key = self.parked.iter().find_map(over)?;
        let Parked { source, activity, request, .. } = self.parked.remove(&key)?;
        Some((activity, self.admit(now, source, activity, request)))
    }

    /// When [`poll`](Self::poll) must be called at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let parked = self.parked.values().map(|parked| parked.until).min();
        [self.budget.poll_timeout(), self.slots.poll_timeout(), self.rates.poll_timeout(), parked, self.next_expiry]
            .into_iter()
            .flatten()
            .min()
    }

    fn admit(&mut self, now: Instant, source: Source, activity: Activity, request: SnapshotsRequest) -> Verdict {
        let Activity { peer, session, .. } = activity;
        // A cancel neither waits nor takes a slot from another session.
        if !self.slots.contains(peer, session) && self.may_cancel_loosely((peer, session), &request) {
            self.loose.insert(activity.id);
            return Verdict::Serve(request);
        }
        match self.slots.ask(now, source, peer, session) {
            Ok(Asked::Granted(ticket)) => self.begin(now, source, ticket, activity, request),
            Ok(Asked::Waiting) => {
                self.queued.insert((peer, session), (source, activity, request));
                Verdict::Wait
            }
            Err(busy) => Verdict::Refuse(busy),
        }
    }

    /// The request has its session's slot.
    fn begin(
        &mut self,
        now: Instant,
        source: Source,
        ticket: Ticket,
        activity: Activity,
        request: SnapshotsRequest,
    ) -> Verdict {
        let key = ticket.key();
        self.serving.insert(key, Serving { id: activity.id, ticket, handed_over: false });
        if self.rates.is_limited() && RequestKind::of(&request) == RequestKind::Chunk {
            let bytes = self.chunk_sizes.get(&key).copied().unwrap_or(MAX_CHUNK_SIZE);
            self.rates.ask(key, key.0, bytes);
            self.throttled.insert(key, (source, activity, request));
            return Verdict::Wait;
        }
        self.ask_budget(now, source, activity, request)
    }

    /// A cancel is answered `cancelled` even if no slot is free for it.
    fn may_cancel_loosely(&self, key: SessionKey, request: &SnapshotsRequest) -> bool {
        RequestKind::of(request) == RequestKind::Cancel
            && !self.serving.contains_key(&key)
            && self.loose.len() < MAX_LOOSE_CANCELS
    }

    /// Answers that may be large wait for the byte budget; the slots bound the others.
    fn ask_budget(&mut self, now: Instant, source: Source, activity: Activity, request: SnapshotsRequest) -> Verdict {
        let key = (activity.peer, activity.session);
        let kind = RequestKind::of(&request);
        if matches!(kind, RequestKind::Resume | RequestKind::Ack | RequestKind::Cancel) {
            return Verdict::Serve(request);
        }
        let chunk_size = self.chunk_sizes.get(&key).copied().unwrap_or(MAX_CHUNK_SIZE);
        match self.budget.ask(now, source, key, estimate::response(kind, chunk_size)) {
            BudgetWait::Granted => Verdict::Serve(request),
            BudgetWait::Waiting => {
                self.waiting.insert(key, (activity, request));
                Verdict::Wait
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.next_expiry.is_some_and(|expiry| expiry <= now) {
            self.slots.expire(now);
            self.next_expiry = (!self.slots.is_empty()).then(|| now + self.idle);
        }
    }
}

fn over_budget() -> PipelineError {
    Full::ResponseBytes.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{stream::Protocol, types::SnapshotSessionId};

    fn here() -> Source {
        Source::of_ip(Ipv4Addr::LOCALHOST.into())
    }

    fn chunk(id: u64, peer: PeerId) -> (Activity, SnapshotsRequest) {
        let session = SnapshotSessionId::new(7).unwrap();
        let (kind, index, protocol) = (Some(RequestKind::Chunk), Some(id), Protocol::V1);
        let activity = Activity { id: RequestId(id), peer, session, kind, index, protocol };
        (activity, SnapshotsRequest::Chunk { session_id: session, chunk_index: id })
    }

    #[test]
    fn the_next_request_may_overtake_our_word_of_the_last_one() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut admission = Admission::new(SlotLimits::default(), BudgetLimits::default());
        let [(first, one), (second, two), (third, three)] = [1, 2, 3].map(|id| chunk(id, peer));
        assert!(matches!(admission.arrive(now, here(), first, one), Verdict::Serve(_)));
        assert!(matches!(admission.arrive(now, here(), second, two.clone()), Verdict::Refuse(_)), "it is being served");
        admission.handed_over(&first);
        assert!(matches!(admission.arrive(now, here(), second, two), Verdict::Wait));
        assert!(matches!(admission.arrive(now, here(), third, three), Verdict::Refuse(_)), "only one may wait");
        assert!(admission.poll(now).is_none());
        admission.end(now, &first, false);
        assert!(matches!(admission.poll(now), Some((activity, Verdict::Serve(_))) if activity == second));
        admission.end(now, &second, true);
        assert_eq!((admission.slots.len(), admission.budget.under_way()), (0, 0));
    }

    #[test]
    fn a_chunk_waits_for_the_limit_by_the_byte_and_is_never_busy_for_it() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut admission = Admission::new(SlotLimits::default(), BudgetLimits::default());
        admission.set_rates(now, MAX_CHUNK_SIZE / 60, 0);
        let mut asked = now;
        for id in 1..=3 {
            let (activity, request) = chunk(id, peer);
            assert!(matches!(admission.arrive(asked, here(), activity, request), Verdict::Wait));
            assert_eq!(admission.budget.under_way(), 0, "it holds nothing meanwhile");
            // The first request is served at once, each further one a minute after the one before. That is far longer
            // than a wait for the budget may take.
            let due = admission.rates.poll_timeout().unwrap_or(asked).max(asked);
            if id > 1 {
                assert!(due > asked + Duration::from_secs(59), "{:?}", due - asked);
                assert!(admission.poll(due - Duration::from_millis(1)).is_none());
            }
            assert!(matches!(admission.poll(due), Some((served, Verdict::Serve(_))) if served == activity));
            admission.end(due, &activity, false);
            asked = due;
        }
        // A peer that disconnects does not wait any more.
        let (activity, request) = chunk(4, peer);
        assert!(matches!(admission.arrive(asked, here(), activity, request), Verdict::Wait));
        admission.end(asked, &activity, true);
        assert!(admission.throttled.is_empty() && admission.rates.poll_timeout().is_none());
    }

    #[test]
    fn a_peer_that_does_not_read_its_answer_gets_no_second_one() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut admission = Admission::new(SlotLimits::default(), BudgetLimits::default());
        let [(first, one), (second, two)] = [1, 2].map(|id| chunk(id, peer));
        assert!(matches!(admission.arrive(now, here(), first, one), Verdict::Serve(_)));
        admission.handed_over(&first);
        assert!(matches!(admission.arrive(now, here(), second, two), Verdict::Wait));
        assert_eq!(admission.poll_timeout(), Some(now + HANDOVER_WAIT));
        assert!(matches!(admission.poll(now + HANDOVER_WAIT), Some((_, Verdict::Refuse(_)))));
        admission.end(now, &second, false);
        assert!(admission.serving.contains_key(&(peer, first.session)), "the first is still in flight");
        admission.end(now, &first, false);
        assert!(admission.serving.is_empty() && admission.parked.is_empty());
    }

    #[test]
    fn an_end_of_a_refused_request_frees_nothing_of_the_one_in_flight() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut admission = Admission::new(SlotLimits::default(), BudgetLimits::default());
        let [(first, one), (second, two)] = [1, 2].map(|id| chunk(id, peer));
        assert!(matches!(admission.arrive(now, here(), first, one), Verdict::Serve(_)));
        assert!(matches!(admission.arrive(now, here(), second, two), Verdict::Refuse(_)));
        admission.end(now, &second, true);
        assert_eq!(admission.slots.serving(), 1);
        assert!(admission.budget.under_way() > 0);
    }
}
