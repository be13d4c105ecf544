//! The interface of `futures-timer` 3 on tokio's timers. It replaces that crate in this workspace (`[patch]`).
//!
//! libp2p creates several timers for each request and drops nearly all of them unused. With `futures-timer` each of
//! them wakes a thread of its own. Here none does, because everything runs on tokio anyway.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};

/// Far enough away for a duration that no clock can hold.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Resolves once a duration has passed.
///
/// # Panics
/// When it is polled outside of a tokio runtime with time enabled.
#[derive(Debug)]
pub struct Delay {
    at: Instant,
    /// Created when it is first polled, because most are dropped before that.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Delay {
    /// Resolves in `duration` from now.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        Self { at: after(duration), sleep: None }
    }

    /// Makes it resolve in `duration` from now, even if it has resolved before.
    pub fn reset(&mut self, duration: Duration) {
        self.at = after(duration);
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(self.at.into());
        }
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at.into();
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut().poll(cx)
    }
}

fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_resolves_when_its_time_has_come_and_can_be_set_anew() {
        let (short, begun) = (Duration::from_millis(20), Instant::now());
        let mut delay = Delay::new(Duration::from_secs(3600));
        delay.reset(short);
        (&mut delay).await;
        assert!(begun.elapsed() >= short);
        let begun = Instant::now();
        delay.reset(short);
        delay.await;
        assert!(begun.elapsed() >= short);
    }

    #[tokio::test]
    async fn a_duration_beyond_all_clocks_is_no_panic() {
        let delay = Delay::new(Duration::MAX);
        tokio::select! {
            biased;
            () = delay => panic!("it resolved"),
            () = tokio::task::yield_now() => {}
        }
    }
}
