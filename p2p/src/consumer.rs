//! The policy of one consumer session, pure: what happened goes in with the time, what to do comes out.
//!
//! ```text
//! connect -> plan (or resume) -> updates, in order -> authority -> storage -> chunks, in order -> place
//! ```
//!
//! * **Authority first.** No chunk is asked for before signatures, chain and proof are checked.
//! * **Order at the disk.** verify, write, make durable, record, acknowledge; each has its own counter. An ack never says
//!   more than what is durable and recorded.
//! * **One request in flight.** The next chunk is asked for while earlier ones are being written, as long as what is
//!   verified and not yet durable fits the window. An ack takes its turn before the next chunk.
//! * **Recovery by itself.** See [`recover`](self) rules in `docs/protocol.md`: what may pass is backed off and resumed, a
//!   lost or changed plan is asked for once more, everything else fails with the reason.
//!
//! The machine has no clock and does no I/O. It is never stuck: at every moment there is an action to take, an answer to
//! come, a timeout to wait for, or it is over.

mod types;

use std::{path::PathBuf, time::Instant};

use libp2p::PeerId;

pub use types::{
    Action, ExplicitResume, Failure, FailureCode, Options, Saved, State, Storage, View, WaitKind, Waiting,
};

use crate::{
    authority::AuthorityError,
    error::{RequestFailure, Violation},
    exchange::Verified,
    types::SnapshotSessionId,
};

/// One session of a consumer with one provider.
#[derive(Debug)]
pub struct Session {}
#[allow(missing_docs, unused_variables, clippy::todo)] // bodies follow
impl Session {
    pub fn new(session: SnapshotSessionId, peer: PeerId, options: Options, now: Instant) -> Self { todo!() }
    pub fn restore(session: SnapshotSessionId, peer: PeerId, options: Options, saved: Saved, explicit: Option<ExplicitResume>, now: Instant) -> Self { todo!() }
    pub fn handle_connected(&mut self, now: Instant) { todo!() }
    pub fn handle_disconnected(&mut self, now: Instant, reason: &str) { todo!() }
    pub fn handle_dial_failed(&mut self, now: Instant, reason: &str) { todo!() }
    pub fn handle_verified(&mut self, now: Instant, verified: Verified) { todo!() }
    pub fn handle_request_failed(&mut self, now: Instant, failure: &RequestFailure) { todo!() }
    pub fn handle_violation(&mut self, now: Instant, violation: &Violation) { todo!() }
    pub fn handle_authority(&mut self, now: Instant, result: Result<(), AuthorityError>) { todo!() }
    pub fn handle_storage(&mut self, now: Instant, storage: Storage) { todo!() }
    pub fn handle_written(&mut self, now: Instant, index: u64) { todo!() }
    pub fn handle_durable(&mut self, now: Instant, chunks: u64) { todo!() }
    pub fn handle_placed(&mut self, now: Instant, path: PathBuf) { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) { todo!() }
    pub fn retry_now(&mut self, now: Instant) { todo!() }
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> { todo!() }
    pub fn poll_timeout(&self) -> Option<Instant> { todo!() }
    pub fn view(&self) -> View { todo!() }
}
