//! The body of a mirror's answer as it arrives: not longer than it may be, and not slower.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use object_store::client::HttpError;
use rpp_p2p::snapshots::PaceLimits;
use tokio::time::Sleep;

use super::{http::failed, trouble::MirrorTrouble};
use crate::limits::MAX_MIRROR_ANSWER;

/// Into how many steps the shorter one of the two periods of the [`PaceLimits`] is divided.
const STEPS: u32 = 30;

/// The body of an answer. It ends with an error when it is too long, or when the mirror is too slow.
pub(super) struct Answer {
    body: Incoming,
    /// The number of bytes of a range.
    expected: Option<u64>,
    received: u64,
    waiting: AnswerWait,
    /// Wakes the reader at the end of a step.
    step: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    /// `expected`: the number of bytes, if it is a range.
    pub(super) fn new(body: Incoming, expected: Option<u64>, limits: PaceLimits) -> Self {
        Self { body, expected, received: 0, waiting: AnswerWait::new(limits), step: None }
    }

    fn count(&mut self, bytes: u64) -> Result<(), MirrorTrouble> {
        self.received = self.received.saturating_add(bytes);
        match (self.expected, self.received) {
            (Some(expected), received) if received > expected => Err(MirrorTrouble::Length { expected, received }),
            (_, received) if received > MAX_MIRROR_ANSWER => Err(MirrorTrouble::TooLong),
            _ => Ok(()),
        }
    }

    /// Waits for the next bytes. Ready when the mirror is too slow.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<MirrorTrouble> {
        loop {
            if let Err(trouble) = self.waiting.goes_on(Instant::now()) {
                return Poll::Ready(trouble);
            }
            let length = self.waiting.step;
            let step = self.step.get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
            ready!(step.as_mut().poll(cx));
            self.step = None;
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                let trouble = ready!(self.poll_wait(cx));
                return Poll::Ready(Some(Err(failed(trouble))));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(failed(MirrorTrouble::ClosedEarly)))),
            Poll::Ready(None) => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.waiting.ends(Instant::now(), bytes);
        Poll::Ready(Some(self.count(bytes).map(|()| frame).map_err(failed)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long a reader has waited for a mirror's bytes. Pure; time is an argument.
///
/// Only the time counts in which the reader waits. A reader that is held back by its own rate limit or its disk does
/// not ask for more, and the reader of an answer that is there already does not wait. Because a reader may go away while
/// it waits, it looks at least once a step, and between two looks at most one step counts.
#[derive(Debug)]
struct AnswerWait {
    limits: PaceLimits,
    step: Duration,
    /// When the reader last looked in vain. `None`: it does not wait.
    looked: Option<Instant>,
    /// Time without a byte.
    silent: Duration,
    /// The present period: the time in it, and the bytes.
    period: (Duration, u64),
}

impl AnswerWait {
    fn new(limits: PaceLimits) -> Self {
        let step = limits.idle.min(limits.over) / STEPS;
        Self { limits, step, looked: None, silent: Duration::ZERO, period: (Duration::ZERO, 0) }
    }

    /// No bytes are there yet.
    fn goes_on(&mut self, now: Instant) -> Result<(), MirrorTrouble> {
        self.add(now);
        self.looked = Some(now);
        let (waited, bytes) = self.period;
        let PaceLimits { idle, slowest, over, .. } = self.limits;
        if self.silent >= idle {
            return Err(MirrorTrouble::Slow { waited: idle });
        }
        if waited >= over {
            if bytes < self.limits.least() {
                return Err(MirrorTrouble::TooSlow { slowest, over });
            }
            self.period = (Duration::ZERO, 0);
        }
        Ok(())
    }

    /// Bytes are there.
    fn ends(&mut self, now: Instant, bytes: u64) {
        self.add(now);
        self.looked = None;
        if bytes > 0 {
            self.silent = Duration::ZERO;
            self.period.1 = self.period.1.saturating_add(bytes);
        }
    }

    fn add(&mut self, now: Instant) {
        if let Some(looked) = self.looked {
            let waited = now.saturating_duration_since(looked).min(self.step);
            self.silent += waited;
            self.period.0 += waited;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: u32 = 86_400;
    const SILENT: MirrorTrouble = MirrorTrouble::Slow { waited: Duration::from_secs(30) };
    const SLOW: MirrorTrouble = MirrorTrouble::TooSlow { slowest: 1024, over: Duration::from_secs(60) };

    /// The reader looks each second; 0 bytes: in vain. Returns when it gives up; at most a day later.
    fn run(bytes_in: impl Fn(u32) -> u64) -> (u32, Option<MirrorTrouble>) {
        let start = Instant::now();
        let mut waiting = AnswerWait::new(PaceLimits::default());
        for second in 0..=DAY {
            let now = start + SECOND * second;
            let bytes = bytes_in(second);
            if bytes > 0 {
                waiting.ends(now, bytes);
            }
            if let Err(trouble) = waiting.goes_on(now) {
                return (second, Some(trouble));
            }
        }
        (DAY, None)
    }

    #[test]
    fn a_mirror_that_is_silent_or_drips_is_given_up_in_time_and_the_slowest_rate_is_not() {
        assert_eq!(run(|_| 0), (30, Some(SILENT)));
        assert_eq!(run(|second| if second <= 100 { 4096 } else { 0 }), (130, Some(SILENT)));
        assert_eq!(run(|_| 1), (60, Some(SLOW)));
        assert_eq!(run(|_| 1025).1, None);
        assert_eq!(run(|second| if second % 25 == 0 { 128 * 1024 } else { 0 }).1, None);
        // Bytes that arrived quickly at first do not help later.
        let (second, trouble) = run(|second| if second <= 60 { 1 << 20 } else { 1 });
        assert!(second <= 181 && trouble == Some(SLOW), "{second} {trouble:?}");
    }

    #[test]
    fn time_in_which_this_node_holds_the_reader_back_is_not_the_mirrors() {
        let start = Instant::now();
        // Whenever the reader comes, once in ten minutes, some bytes are there.
        let mut waiting = AnswerWait::new(PaceLimits::default());
        for time in 0..1000 {
            let now = start + 600 * SECOND * time;
            waiting.ends(now, 100);
            assert_eq!(waiting.looked, None);
        }
        assert_eq!(waiting.period.0, Duration::ZERO);
        // It waits a little before it is held back: of the ten minutes, one step counts.
        let mut waiting = AnswerWait::new(PaceLimits::default());
        for time in 0..50 {
            let now = start + 600 * SECOND * time;
            waiting.ends(now, 100);
            assert_eq!(waiting.goes_on(now), Ok(()), "{time}");
        }
        assert_eq!(waiting.period.0, 49 * SECOND);
    }

    #[test]
    fn it_is_told_how_slow_it_was() {
        assert_eq!(SLOW.to_string(), "it sent less than 1 KiB/s over 60 s");
        assert!(SLOW.may_pass());
    }
}
