//! The status of a session: its state, what it waits for, and what the operator can do.

use std::time::{Duration, Instant};

use super::{Course, Session, View, Waiting, types::Failure};
use crate::{
    download::Phase,
    status::{FailureCode, SessionState, WaitKind},
};

impl Session {
    /// Everything the session can say about itself at this moment.
    #[must_use]
    pub fn view(&self) -> View {
        let mut view = View {
            session: self.id(),
            peer: self.peer(),
            state: self.state(),
            waiting: self.waiting(),
            failure: match &self.course {
                Course::Failed { failure, .. } => Some(failure.clone()),
                Course::Running | Course::Complete => None,
            },
            trouble: self.trouble.clone(),
            verified: matches!(self.course, Course::Complete),
            protocol: None,
            plan: None,
            verified_chunks: 0,
            verified_updates: 0,
            last_update_height: None,
            confirmed_chunks: 0,
            confirmed_updates: 0,
            bytes_received: 0,
            bytes_wasted: 0,
            bytes_verified: 0,
            bytes_rechecked: 0,
            bytes_to_recheck: 0,
            bytes_damaged: 0,
            bytes_written: 0,
            bytes_durable: 0,
            payload_path: None,
            failed_tries: 0,
            tries: 0,
            progressed: self.download.progressed(),
        };
        self.link.tell(&mut view);
        self.download.tell(&mut view);
        view
    }

    /// The state of the session; [`view`](Self::view) has everything.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match self.course {
            Course::Failed { .. } => return SessionState::Failed,
            Course::Complete => return SessionState::Complete,
            Course::Running => {}
        }
        let phase = self.download.phase();
        match phase {
            Phase::Paused => return SessionState::Paused,
            Phase::Verifying => return SessionState::Verifying,
            Phase::Streaming | Phase::Waiting => {}
        }
        self.link.obstacle(&self.download.demand()).unwrap_or(match phase {
            Phase::Streaming => SessionState::Streaming,
            _ => SessionState::Verifying,
        })
    }

    /// That the limit by the byte keeps the next chunk from being asked for: not while one is under way, nor without the peer.
    fn held_back(&self) -> Option<Waiting> {
        let is_reached = self.link.in_flight().is_none() && self.link.obstacle(&self.download.demand()).is_none();
        self.download.held_back().filter(|_| is_reached)
    }

    fn waiting(&self) -> Option<Waiting> {
        match &self.course {
            Course::Failed { failure, since } => {
                let reason = advice(failure);
                let (what, since) = (WaitKind::Operator, *since);
                return Some(Waiting { what, index: None, session: None, since, reason, retry_at: None });
            }
            Course::Complete => return None,
            Course::Running => {}
        }
        self.download
            .waiting_on_this_side()
            .or_else(|| self.held_back())
            .or_else(|| self.link.waiting(&self.download.demand()))
            .or_else(|| self.download.waiting_on_the_rest())
    }
}

/// What the operator of a failed session can do.
fn advice(failure: &Failure) -> String {
    let kept = "what is verified is kept";
    match failure.code {
        _ if failure.distrust => {
            format!(
                "the provider broke the protocol and is refused for this payload: start a session with another peer, or a new \
                 one with this peer when you trust it again; {kept}"
            )
        }
        FailureCode::Network => format!("resume this session when the provider is reachable; {kept}"),
        FailureCode::Authentication => {
            "check [trust] against what the chain's publisher announced, or that this node may consume there".to_owned()
        }
        FailureCode::ResumeMismatch => {
            format!("resume without explicit offsets, or start a new session for the same root; {kept}")
        }
        FailureCode::Storage => format!("look at the disk and the node's log, then resume this session; {kept}"),
        FailureCode::Stale => "ask a peer whose tip is newer than this node's head".to_owned(),
        FailureCode::Equivocation => {
            "the publishers signed two histories: ask them which one holds before you consume anything".to_owned()
        }
        FailureCode::Provider | FailureCode::Checksum | FailureCode::Proof | FailureCode::Cancelled => {
            format!("start a session with another peer, or resume this one when the cause is gone; {kept}")
        }
    }
}

impl Waiting {
    /// The time since the wait began.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
