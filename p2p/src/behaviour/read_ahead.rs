//! Prefetches chunks before they are asked for. No I/O; time is an argument.
//!
//! A consumer asks for chunks in order, one at a time. While it checks one, the provider reads and encodes the next
//! ones, so the answer to the next request is ready. A *line* holds the prefetched answers of one session. Prefetched
//! answers, and those being made, are bounded in all and for each peer. They are dropped soon if nobody asks for them.
//! A failed prefetch is not an error: the request itself will report it.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

use super::{observer::Activity, serve::Answer};
use crate::{
    limits::{MAX_READ_AHEAD_BYTES, MAX_READ_AHEAD_BYTES_PER_PEER, READ_AHEAD_BATCH, READ_AHEAD_IDLE},
    messages::SnapshotsRequest,
    provider::SessionKey,
};

/// The prefetched answers by session. There is at most one line for each slot, and a line is dropped before its slot
/// is.
#[derive(Default)]
pub(super) struct ReadAhead {
    lines: HashMap<SessionKey, Line>,
    next_expiry: Option<Instant>,
}

struct Line {
    /// The chunk after the last one served.
    next: u64,
    /// Answers for `next` and the chunks after it.
    ready: Ready,
    making: Option<Making>,
    /// The session's request that waits for the job in progress.
    waiting: Option<(Activity, SnapshotsRequest)>,
    /// The last job made fewer answers than it should have: there are no more.
    ended: bool,
    /// Bytes reserved for one answer.
    each: usize,
    used: Instant,
}

/// A job in progress.
struct Making {
    about: Activity,
    count: usize,
}

/// The buffer in which a job puts its answers, in order.
#[derive(Clone, Default)]
pub(super) struct Ready(Arc<Mutex<Buffer>>);

#[derive(Default)]
struct Buffer {
    answers: VecDeque<Answer>,
    made: usize,
    /// The job should stop.
    stopped: bool,
    /// Set while a request waits.
    waker: Option<Waker>,
}

impl Ready {
    /// Whether the job should continue.
    pub(super) fn is_wanted(&self) -> bool {
        !self.buffer().stopped
    }

    /// Adds one answer.
    pub(super) fn push(&self, answer: Answer) {
        let mut buffer = self.buffer();
        buffer.made += 1;
        buffer.answers.push_back(answer);
        if let Some(waker) = buffer.waker.take() {
            drop(buffer);
            waker.wake();
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new(now: Instant, next: u64, each: usize) -> Self {
        let ready = Ready::default();
        Self { next, ready, making: None, waiting: None, ended: false, each, used: now }
    }

    /// The bytes of the answers in the buffer and of those that the job will still make.
    fn bytes(&self) -> usize {
        let buffer = self.ready.buffer();
        let to_come = self.making.as_ref().map_or(0, |making| making.count.saturating_sub(buffer.made));
        (buffer.answers.len() + to_come) * self.each
    }
}

impl ReadAhead {
    /// The prefetched answer to a request for this chunk. If there is none, answers prefetched for other chunks are
    /// dropped.
    pub(super) fn take(&mut self, now: Instant, key: SessionKey, index: u64) -> Option<Answer> {
        let line = self.lines.get_mut(&key)?;
        line.used = now;
        if line.next == index {
            return line.ready.buffer().answers.pop_front();
        }
        self.forget(key);
        None
    }

    /// Makes a request wait for its session's job, and returns the job: a provider is never called twice at once for
    /// one session. Returns the request if there is no job.
    pub(super) fn wait(
        &mut self,
        key: SessionKey,
        activity: Activity,
        request: SnapshotsRequest,
    ) -> Result<Activity, SnapshotsRequest> {
        let Some(line) = self.lines.get_mut(&key) else { return Err(request) };
        let Some(making) = &line.making else { return Err(request) };
        if !matches!(request, SnapshotsRequest::Chunk { .. }) {
            line.ready.buffer().stopped = true; // It waits for the chunk that is being made, and for no further one.
        }
        line.waiting = Some((activity, request));
        Ok(making.about)
    }

    /// The next waiting request whose answer is ready.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Option<(Activity, SnapshotsRequest)> {
        for line in self.lines.values_mut() {
            let Some((_, SnapshotsRequest::Chunk { chunk_index, .. })) = line.waiting else { continue };
            let mut buffer = line.ready.buffer();
            if chunk_index == line.next && !buffer.answers.is_empty() {
                return line.waiting.take();
            }
            buffer.waker = Some(cx.waker().clone());
        }
        None
    }

    /// A chunk was served whose answer may have `each` bytes. Returns the chunks to prefetch next: there are some if
    /// this chunk followed on the one before and the bounds allow it.
    pub(super) fn served(&mut self, now: Instant, key: SessionKey, index: u64, each: usize) -> Option<Range<u64>> {
        let next = index.checked_add(1)?;
        if self.lines.get(&key).is_some_and(|line| line.next != index) {
            self.forget(key);
        }
        let Some(line) = self.lines.get_mut(&key) else {
            self.lines.insert(key, Line::new(now, next, each));
            self.next_expiry.get_or_insert(now + READ_AHEAD_IDLE);
            return None;
        };
        (line.next, line.used) = (next, now);
        let batch = (READ_AHEAD_BATCH / each.max(1)).max(1);
        let ready = line.ready.buffer().answers.len();
        if line.ended || line.making.is_some() || ready > batch / 2 {
            return None;
        }
        let first = next.checked_add(ready as u64)?;
        let count = batch - ready;
        let fits = self.fits(key, count * each);
        fits.then(|| first..first.saturating_add(count as u64))
    }

    /// A job starts to make `count` answers for the session. Returns the buffer for them.
    pub(super) fn begin(&mut self, key: SessionKey, about: Activity, count: usize) -> Ready {
        let Some(line) = self.lines.get_mut(&key) else { return Ready::default() };
        line.making = Some(Making { about, count });
        let mut buffer = line.ready.buffer();
        (buffer.made, buffer.stopped) = (0, false);
        drop(buffer);
        line.ready.clone()
    }

    /// The session's job ended. Returns the request that still waits for it.
    pub(super) fn made(&mut self, key: SessionKey) -> Option<(Activity, SnapshotsRequest)> {
        let line = self.lines.get_mut(&key)?;
        let Making { count, .. } = line.making.take()?;
        let buffer = line.ready.buffer();
        line.ended = !buffer.stopped && buffer.made < count;
        drop(buffer);
        line.waiting.take()
    }

    /// The session starts anew, ends, or continues elsewhere.
    pub(super) fn forget(&mut self, key: SessionKey) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        if line.making.is_none() {
            self.lines.remove(&key);
            return;
        }
        // The job still holds this buffer; what it adds is never read.
        let mut buffer = line.ready.buffer();
        buffer.stopped = true;
        buffer.answers.clear();
        drop(buffer);
        line.ready = Ready::default();
        line.ready.buffer().stopped = true;
    }

    /// Drops prefetched answers that nobody asked for.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_expiry.is_some_and(|expiry| expiry <= now) {
            self.lines.retain(|_, line| line.making.is_some() || now < line.used + READ_AHEAD_IDLE);
            self.next_expiry = (!self.lines.is_empty()).then(|| now + READ_AHEAD_IDLE);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// The bytes of prefetched answers and of those being made.
    pub(super) fn bytes(&self) -> usize {
        self.lines.values().map(Line::bytes).sum()
    }

    fn fits(&self, key: SessionKey, bytes: usize) -> bool {
        let of_peer: usize =
            self.lines.iter().filter(|((peer, _), _)| *peer == key.0).map(|(_, line)| line.bytes()).sum();
        of_peer + bytes <= MAX_READ_AHEAD_BYTES_PER_PEER && self.bytes() + bytes <= MAX_READ_AHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;
    use crate::{
        behaviour::{
            event::{Outcome, RequestId, RequestKind},
            serve::Effect,
        },
        stream::Protocol,
        types::SnapshotSessionId,
    };

    const SMALL: usize = 50_000;
    const BATCH: u64 = (READ_AHEAD_BATCH / SMALL) as u64;

    fn key(session: u64) -> SessionKey {
        (PeerId::random(), SnapshotSessionId::new(session).unwrap())
    }

    fn about(key: SessionKey, index: u64) -> Activity {
        let kind = Some(RequestKind::Chunk);
        Activity { id: RequestId(index), peer: key.0, session: key.1, kind, index: Some(index), protocol: Protocol::V1 }
    }

    fn request(key: SessionKey, index: u64) -> SnapshotsRequest {
        SnapshotsRequest::Chunk { session_id: key.1, chunk_index: index }
    }

    fn fill(ready: &Ready, range: Range<u64>) {
        for index in range {
            let body = index.to_string().into_bytes();
            ready.push(Answer { body, outcome: Outcome::Served, effect: Effect::Keep });
        }
    }

    fn poll(read_ahead: &mut ReadAhead) -> Option<Activity> {
        let waker = futures::task::noop_waker();
        read_ahead.poll(&Context::from_waker(&waker)).map(|(activity, _)| activity)
    }

    fn body(answer: Option<Answer>) -> Option<String> {
        answer.map(|answer| String::from_utf8(answer.body).unwrap())
    }

    /// Serves two chunks in a row and makes the answers that are then prefetched.
    fn line(read_ahead: &mut ReadAhead, now: Instant, key: SessionKey) -> Range<u64> {
        assert_eq!(read_ahead.served(now, key, 6, SMALL), None, "one chunk is no order");
        let range = read_ahead.served(now, key, 7, SMALL).unwrap();
        let ready = read_ahead.begin(key, about(key, 8), (range.end - range.start) as usize);
        fill(&ready, range.clone());
        assert!(read_ahead.made(key).is_none());
        range
    }

    #[test]
    fn chunks_in_order_are_ready_before_they_are_asked_for() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        assert_eq!(line(&mut read_ahead, now, key), 8..8 + BATCH);
        for index in 8..8 + BATCH / 2 - 1 {
            assert_eq!(body(read_ahead.take(now, key, index)), Some(index.to_string()));
            assert_eq!(read_ahead.served(now, key, index, SMALL), None, "there is enough");
        }
        let index = 8 + BATCH / 2 - 1;
        assert!(read_ahead.take(now, key, index).is_some());
        assert_eq!(read_ahead.served(now, key, index, SMALL), Some(8 + BATCH..index + 1 + BATCH));
    }

    #[test]
    fn a_jump_and_a_new_beginning_drop_what_is_ready() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        line(&mut read_ahead, now, key);
        assert!(read_ahead.take(now, key, 9).is_none());
        assert_eq!((read_ahead.bytes(), read_ahead.lines.len()), (0, 0));
        line(&mut read_ahead, now, key);
        read_ahead.forget(key);
        assert!(read_ahead.take(now, key, 8).is_none());
        assert_eq!(read_ahead.bytes(), 0);
    }

    #[test]
    fn a_request_waits_for_its_chunk_and_not_for_those_after_it() {
        let (now, key, other, mut read_ahead) = (Instant::now(), key(1), key(2), ReadAhead::default());
        read_ahead.served(now, key, 0, SMALL);
        let range = read_ahead.served(now, key, 1, SMALL).unwrap();
        assert!(read_ahead.wait(key, about(key, 2), request(key, 2)).is_err(), "no job runs yet");
        let ready = read_ahead.begin(key, about(key, 99), range.count());
        assert!(read_ahead.take(now, key, 2).is_none());
        assert!(matches!(read_ahead.wait(key, about(key, 2), request(key, 2)), Ok(job) if job == about(key, 99)));
        assert!(read_ahead.wait(other, about(other, 2), request(other, 2)).is_err());
        assert!(poll(&mut read_ahead).is_none(), "it is not made yet");
        fill(&ready, 2..3);
        assert_eq!(poll(&mut read_ahead), Some(about(key, 2)));
        assert_eq!(body(read_ahead.take(now, key, 2)), Some("2".to_owned()));
        assert!(ready.is_wanted(), "those after it are still made");
    }

    #[test]
    fn a_request_of_another_kind_waits_for_the_end_of_the_job_and_asks_for_it() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        read_ahead.served(now, key, 0, SMALL);
        let range = read_ahead.served(now, key, 1, SMALL).unwrap();
        let ready = read_ahead.begin(key, about(key, 99), range.count());
        fill(&ready, 2..3);
        let ack = SnapshotsRequest::Ack { session_id: key.1, kind: crate::messages::ArtefactKind::Chunk, index: 1 };
        assert!(read_ahead.wait(key, about(key, 3), ack).is_ok());
        assert!(!ready.is_wanted());
        assert!(poll(&mut read_ahead).is_none(), "the provider is still at work for this session");
        assert_eq!(read_ahead.made(key).map(|(waited, _)| waited), Some(about(key, 3)));
        assert_eq!(body(read_ahead.take(now, key, 2)), Some("2".to_owned()), "what was made stays");
        assert!(read_ahead.served(now, key, 2, SMALL).is_some(), "it was stopped, not ended");
    }

    #[test]
    fn what_a_job_makes_for_a_session_that_went_another_way_is_dropped() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        read_ahead.served(now, key, 0, SMALL);
        let range = read_ahead.served(now, key, 1, SMALL).unwrap();
        let ready = read_ahead.begin(key, about(key, 2), range.count());
        read_ahead.forget(key);
        assert!(!ready.is_wanted());
        fill(&ready, 2..4);
        assert!(read_ahead.wait(key, about(key, 5), request(key, 5)).is_ok(), "it is still running");
        assert!(poll(&mut read_ahead).is_none());
        assert!(read_ahead.made(key).is_some());
        assert!(read_ahead.take(now, key, 2).is_none());
        assert_eq!(read_ahead.bytes(), 0);
    }

    #[test]
    fn it_holds_no_more_than_its_bounds() {
        let (now, mut read_ahead) = (Instant::now(), ReadAhead::default());
        let peer = PeerId::random();
        let large = MAX_READ_AHEAD_BYTES_PER_PEER / 2;
        let granted = |read_ahead: &mut ReadAhead, peer, session| {
            let key = (peer, SnapshotSessionId::new(session).unwrap());
            read_ahead.served(now, key, 0, large);
            let range = read_ahead.served(now, key, 1, large);
            if range.is_some() {
                read_ahead.begin(key, about(key, 2), 1);
            }
            range.is_some()
        };
        let of_one = (1..=4).filter(|session| granted(&mut read_ahead, peer, *session)).count();
        assert_eq!((of_one, read_ahead.bytes()), (2, MAX_READ_AHEAD_BYTES_PER_PEER));
        let of_all = (1..=8).filter(|session| granted(&mut read_ahead, PeerId::random(), *session)).count();
        assert_eq!((of_one + of_all) * large, MAX_READ_AHEAD_BYTES);
        assert_eq!(read_ahead.bytes(), MAX_READ_AHEAD_BYTES);
    }

    #[test]
    fn what_nobody_asks_for_is_let_go() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        line(&mut read_ahead, now, key);
        let due = read_ahead.poll_timeout().unwrap();
        assert_eq!(due, now + READ_AHEAD_IDLE);
        read_ahead.expire(due);
        assert_eq!((read_ahead.bytes(), read_ahead.poll_timeout()), (0, None));
    }

    #[test]
    fn it_stops_where_the_provider_has_no_more() {
        let (now, key, mut read_ahead) = (Instant::now(), key(1), ReadAhead::default());
        read_ahead.served(now, key, 0, SMALL);
        let range = read_ahead.served(now, key, 1, SMALL).unwrap();
        fill(&read_ahead.begin(key, about(key, 2), range.count()), 2..3);
        assert!(read_ahead.made(key).is_none());
        assert!(read_ahead.take(now, key, 2).is_some());
        assert_eq!(read_ahead.served(now, key, 2, SMALL), None);
    }
}
