//! SIGTERM and SIGINT end a long-running command; SIGHUP makes it reload what it can.
//!
//! Whoever starts a command often sends it one stop twice: `timeout` signals the process and then its group, and Ctrl-C reaches
//! a process from the terminal and from the program that started it. So a stop that follows another within [`ONE_STOP`] is
//! that same one.

use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::limits::ONE_STOP;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The three signals; they are caught as soon as this exists.
pub(crate) struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
    /// The last stop that was told.
    stopped: Option<Instant>,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
            stopped: None,
        })
    }

    /// Waits for any of them. A stop that was sent twice comes once.
    pub(crate) async fn next(&mut self) -> Asked {
        loop {
            let asked = tokio::select! {
                _ = self.term.recv() => told("SIGTERM", Asked::Stop),
                _ = self.int.recv() => told("SIGINT", Asked::Stop),
                _ = self.hup.recv() => told("SIGHUP", Asked::Reload),
            };
            if asked == Asked::Reload || is_new_stop(&mut self.stopped, Instant::now()) {
                return asked;
            }
        }
    }

    /// Waits for one that ends the command.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

fn told(name: &str, asked: Asked) -> Asked {
    tracing::info!("{name}");
    asked
}

/// Whether a stop is not the last one once more. If it is not, it is the last one from now on.
fn is_new_stop(last: &mut Option<Instant>, now: Instant) -> bool {
    let is_new = last.is_none_or(|last| now.saturating_duration_since(last) >= ONE_STOP);
    if is_new {
        *last = Some(now);
    }
    is_new
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stop_that_soon_follows_another_is_the_same_one() {
        let (start, mut last) = (Instant::now(), None);
        let soon = ONE_STOP - Duration::from_millis(1);
        assert!(is_new_stop(&mut last, start));
        assert!(!is_new_stop(&mut last, start));
        assert!(!is_new_stop(&mut last, start + soon));
        assert!(is_new_stop(&mut last, start + ONE_STOP), "counted from the first one");
        assert!(!is_new_stop(&mut last, start + ONE_STOP + soon));
    }
}
