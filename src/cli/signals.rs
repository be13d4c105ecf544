//! SIGTERM and SIGINT end a long-running command; SIGHUP makes it reload what it can.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

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
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => told("SIGTERM", Asked::Stop),
            _ = self.int.recv() => told("SIGINT", Asked::Stop),
            _ = self.hup.recv() => told("SIGHUP", Asked::Reload),
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
