//! What to say: the state, and what is waited for, with what the operator can do.

use std::{
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FailureCode, InFlight, Link, Pause, Session, State, StorageState, View, WaitKind, Waiting, Work, types::Failure,
};
use crate::{
    limits::REQUEST_IDLE,
    messages::{SnapshotsRequest, Update},
};

impl Session {
    /// Everything the session can say of itself, true now.
    #[must_use]
    pub fn view(&self) -> View {
        let work = self.work.as_ref();
        let window = work.map(|work| &work.window);
        let recheck = work.map(|work| &work.recheck);
        View {
            session: self.id,
            peer: self.peer,
            state: self.state(),
            waiting: self.waiting(),
            failure: self.failure.as_ref().map(|(failure, _)| failure.clone()),
            trouble: self.trouble.clone(),
            plan: work.map(|work| Arc::clone(&work.plan)),
            verified_chunks: work.map_or(0, Work::verified_chunks),
            verified_updates: self.verified_updates().len() as u64,
            last_update_height: self.verified_updates().last().map(|update| update.checkpoint.height),
            confirmed_chunks: self.confirmed_chunks,
            confirmed_updates: self.confirmed_updates,
            bytes_received: self.bytes_received,
            bytes_wasted: self.slow.wasted(),
            bytes_verified: work.map_or(0, Work::verified_bytes),
            bytes_rechecked: recheck.map_or(0, |recheck| recheck.checked_bytes()),
            bytes_to_recheck: recheck.map_or(0, |recheck| recheck.total_bytes()),
            bytes_damaged: recheck.map_or(0, |recheck| recheck.damaged_bytes()),
            bytes_written: window.map_or(0, |window| window.written_bytes()),
            bytes_durable: self.durable_bytes(),
            verified: self.complete,
            payload_path: self.placed.clone().filter(|_| self.complete),
            failed_tries: self.backoff.tries(),
            tries: if self.opened { self.tries } else { self.backoff.tries() + 1 },
            progressed: self.progressed,
        }
    }

    /// The last update carries the proof of the others: it counts when that is checked.
    fn verified_updates(&self) -> &[Update] {
        let Some(work) = &self.work else { return &[] };
        let is_unproven = !self.authority && !work.has_missing_updates();
        match work.updates.split_last() {
            Some((_, others)) if is_unproven => others,
            _ => &work.updates,
        }
    }

    /// Before the partial payload is open, what the record says of it.
    fn durable_bytes(&self) -> u64 {
        let Some(work) = &self.work else { return 0 };
        if work.window.is_open() || work.window.durable_chunks() > 0 {
            work.window.durable_bytes()
        } else {
            work.window.bytes(self.confirmed_chunks)
        }
    }

    /// Where the session stands; [`view`](Self::view) says all.
    #[must_use]
    pub fn state(&self) -> State {
        if self.failure.is_some() {
            return State::Failed;
        }
        if self.complete {
            return State::Complete;
        }
        match self.storage {
            StorageState::Paused { .. } => return State::Paused,
            StorageState::Checking(_) | StorageState::Opening(_) | StorageState::Placing(_) => return State::Verifying,
            StorageState::Closed | StorageState::Open | StorageState::Placed => {}
        }
        if self.retry.is_some() && self.needs_provider() {
            return State::BackingOff;
        }
        if !self.opened && self.needs_provider() {
            return if self.link == Link::Up { State::Planning } else { State::Connecting };
        }
        let is_streaming = self.storage == StorageState::Open && !self.is_only_checking();
        if is_streaming { State::Streaming } else { State::Verifying }
    }

    /// Every chunk is there and durable; what is left is to hash what was there before, or to check the proof.
    fn is_only_checking(&self) -> bool {
        self.work.as_ref().is_some_and(|work| {
            let is_checked = work.recheck.is_done() && self.proving.is_none();
            work.window.is_complete() && !work.recheck.has_missing() && !is_checked
        })
    }

    fn waiting(&self) -> Option<Waiting> {
        if let Some((failure, since)) = &self.failure {
            return Some(wait(WaitKind::Operator, *since, advice(failure)));
        }
        if self.complete {
            return None;
        }
        self.waiting_on_this_side()
            .or_else(|| self.waiting_on_provider())
            .or_else(|| self.waiting_on_disk())
            .or_else(|| self.waiting_on_checks())
    }

    fn waiting_on_this_side(&self) -> Option<Waiting> {
        Some(match &self.storage {
            StorageState::Paused { why: Pause::Held(session), since, recheck } => Waiting {
                session: Some(*session),
                retry_at: Some(*recheck),
                ..wait(
                    WaitKind::Session,
                    *since,
                    format!(
                        "session {session} of this node writes the same payload: this one goes on by itself when that one \
                         ends; cancel either to go on with the other"
                    ),
                )
            },
            StorageState::Paused { why: Pause::Full { needed, free }, since, recheck } => Waiting {
                retry_at: Some(*recheck),
                ..wait(
                    WaitKind::Disk,
                    *since,
                    format!(
                        "the disk is full: {needed} bytes are needed, {free} are free; make room, and the session goes on by \
                         itself"
                    ),
                )
            },
            StorageState::Paused { why: Pause::Unwritable(reason), since, recheck } => {
                Waiting { retry_at: Some(*recheck), ..wait(WaitKind::Disk, *since, reason.clone()) }
            }
            StorageState::Checking(since) => wait(
                WaitKind::Proof,
                *since,
                "signatures, commitment chain and recursive proof of the tip are being checked on this machine"
                    .to_owned(),
            ),
            StorageState::Opening(since) => wait(
                WaitKind::Disk,
                *since,
                "the partial payload is being opened, and what is already there is being checked".to_owned(),
            ),
            StorageState::Placing(since) => wait(
                WaitKind::Disk,
                *since,
                "every byte is verified and durable; the payload is being put in its place".to_owned(),
            ),
            StorageState::Closed | StorageState::Open | StorageState::Placed => return None,
        })
    }

    fn waiting_on_provider(&self) -> Option<Waiting> {
        // During a back-off a request in flight is one that a lost connection took along.
        if let Some(asked) = self.asked.as_ref().filter(|_| self.retry.is_none()) {
            return Some(self.waiting_on_answer(asked));
        }
        if !self.needs_provider() {
            return None;
        }
        let peer = self.peer;
        if let Some(retry) = &self.retry {
            let reason = format!(
                "try {} failed: {}; the next one comes by itself, or at once by a resume of this session; look at {peer} if it \
                 goes on",
                self.backoff.tries(),
                retry.cause
            );
            return Some(Waiting { retry_at: Some(retry.at), ..wait(WaitKind::Retry, retry.since, reason) });
        }
        let dialling = |since| {
            let reason = format!("connecting to {peer}; check its address and that it runs if this takes long");
            Some(wait(WaitKind::Connection, since, reason))
        };
        match self.link {
            Link::Dialing(since) => dialling(since),
            Link::Down => dialling(self.started),
            Link::Up => None,
        }
    }

    fn waiting_on_answer(&self, asked: &InFlight) -> Waiting {
        let (what, index, thing) = match &asked.request {
            SnapshotsRequest::Plan { .. } => (WaitKind::Plan, None, "a plan".to_owned()),
            SnapshotsRequest::Resume { chunk_index, update_index, .. } => {
                (WaitKind::Plan, None, format!("to go on at chunk {chunk_index} and update {update_index}"))
            }
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                (WaitKind::Chunk, Some(*chunk_index), format!("for chunk {chunk_index}"))
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                (WaitKind::LightClientUpdate, Some(*update_index), format!("for update {update_index}"))
            }
            SnapshotsRequest::Ack { index, .. } => {
                (WaitKind::Ack, Some(*index), format!("to record what is durable here, up to {index}"))
            }
            SnapshotsRequest::Error { .. } => (WaitKind::Ack, None, "to end the session".to_owned()),
        };
        let reason = format!(
            "asked {} {thing}, not answered yet; a request is given up after {} s without a byte and tried again",
            self.peer,
            REQUEST_IDLE.as_secs()
        );
        Waiting { index, ..wait(what, asked.since, reason) }
    }

    fn waiting_on_disk(&self) -> Option<Waiting> {
        let window = &self.work.as_ref()?.window;
        let since = window.busy_since()?;
        let pending = window.verified_bytes() - window.durable_bytes();
        let reason = format!("{pending} verified bytes are being made durable; a slow disk shows here");
        Some(wait(WaitKind::Disk, since, reason))
    }
}

impl Session {
    fn waiting_on_checks(&self) -> Option<Waiting> {
        let recheck = &self.work.as_ref()?.recheck;
        if let Some(since) = recheck.busy_since() {
            let (done, all) = (recheck.checked_bytes(), recheck.total_bytes());
            let reason = format!(
                "what was on the disk before this start is hashed again: {done} of {all} bytes are done, and nothing of it \
                 counts before"
            );
            return Some(wait(WaitKind::Disk, since, reason));
        }
        self.proving.map(|since| {
            let reason =
                "every byte is verified and durable; the recursive proof of the tip, which this node knows from \
                          before, is being checked again"
                    .to_owned();
            wait(WaitKind::Proof, since, reason)
        })
    }
}

impl Work {
    /// Chunks from the first on that this process verified.
    fn verified_chunks(&self) -> u64 {
        let verified = self.window.verified_chunks();
        self.recheck.first_doubtful(self.plan.chunk_size).map_or(verified, |doubtful| doubtful.min(verified))
    }

    /// Bytes that this process verified.
    fn verified_bytes(&self) -> u64 {
        let missing: u64 = self.recheck.missing().map(|index| self.window.size(index)).sum();
        self.window.verified_bytes().saturating_sub(self.recheck.unchecked_bytes() + missing)
    }
}

fn wait(what: WaitKind, since: Instant, reason: String) -> Waiting {
    Waiting { what, index: None, session: None, since, reason, retry_at: None }
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

macro_rules! words {
    ($kind:ident: $($variant:ident => $word:literal),+ $(,)?) => {
        impl $kind {
            /// The word of the status.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(State:
    Connecting => "connecting", Planning => "planning", Streaming => "streaming", Verifying => "verifying",
    BackingOff => "backing_off", Paused => "paused", Complete => "complete", Failed => "failed");
words!(WaitKind:
    Connection => "connection", Plan => "plan", Chunk => "chunk", LightClientUpdate => "light_client_update",
    Ack => "ack", Proof => "proof", Disk => "disk", Session => "session", Retry => "retry", Operator => "operator");
words!(FailureCode:
    Network => "network", Checksum => "checksum", Authentication => "authentication",
    ResumeMismatch => "resume_mismatch", Provider => "provider", Storage => "storage", Proof => "proof",
    Stale => "stale", Equivocation => "equivocation", Cancelled => "cancelled");

impl Waiting {
    /// Time since it began.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
