//! The policy of one consumer session, pure: what happened goes in with the time, what to do comes out.
//!
//! ```text
//! connect -> plan (or resume) -> updates, in order -> authority -> storage -> chunks, in order -> place
//! ```
//!
//! * **Authority first.** No chunk is asked for before signatures, chain and proof are checked.
//! * **Order at the disk.** Verify, write, make durable, record, acknowledge; each has its own counter. An ack never says
//!   more than what is durable and recorded.
//! * **One request in flight.** The next chunk is asked for while earlier ones are being written, as long as what is
//!   verified and not yet durable fits the window. An ack takes its turn before the next chunk.
//! * **Recovery by itself.** What may pass is backed off and resumed; a session that the provider lost, or whose plan it
//!   changed, is planned anew once, with the same root and height; everything else fails with the reason.
//! * **A slow line is asked for less.** A chunk that did not come in time, or twice not to its end, is asked for in smaller
//!   chunks: the same snapshot is planned anew with them, and what is durable stays.
//! * **Only what this process verified counts.** What was on the disk before is hashed again by the driver while new chunks
//!   come; what does not hold is asked for again. Nothing is put in its place before all of it counts. So it is with the
//!   proof: where the driver knows the tip from an earlier check, chunks come while the proof is checked again.
//! * **A provider that cannot record goes on serving.** An ack that is refused as `busy` or `internal` is sent again later;
//!   chunks are asked for meanwhile.
//! * **The last ack is a courtesy.** When every byte is durable the payload goes into its place even if the provider is
//!   gone before it mirrors the last ack.
//!
//! A session joins two machines that do not know each other: what a root needs (its download: plan, authority, window,
//! storage) and what a peer gives (its link: dial, opening, back-off, acks, requests). The states of each are drawn where they
//! are defined. The download says what it wants and how much of it may come, the link says that to the peer: over
//! `/rpp/snapshots/1.0.0` as one request at a time.
//!
//! The machine has no clock and does no I/O. It is never stuck: at every moment there is an action to take, an answer to
//! come, a timeout to wait for, or it is over. The driver's loop:
//!
//! ```text
//! loop {
//!     while let Some(action) = session.poll_action(now) { start(action) }
//!     wait for an answer (then call its handle_*) or for session.poll_timeout() (then call handle_timeout)
//! }
//! ```
//!
//! What a driver tells is either the answer to something that was asked, or comes late: asked for, and given up since. A late
//! answer changes nothing. An answer to nothing at all is [`Unexpected`]: a fault of the driver, or of the session.

mod status;
mod types;
mod unexpected;

use std::{path::PathBuf, sync::Arc, time::Instant};

use libp2p::PeerId;

pub use self::{
    types::{Action, ExplicitResume, Failure, Options, Saved, Storage, View, Waiting},
    unexpected::{Input, Unexpected},
};
pub use crate::link::Grant;
use crate::{
    authority::AuthorityError,
    download::{Download, Refused, Taken},
    error::{NotSent, RequestFailure, SnapshotProtocolError, Violation},
    exchange::{Exchange, Verified, VerifiedChunk},
    limits::MAX_UNVERIFIED_BYTES,
    link::{InFlight, Link, Trouble},
    messages::{Plan, SnapshotsRequest, Update},
    status::FailureCode,
    stream::Protocol,
    text,
    types::{Hash, RequestId, SnapshotSessionId},
};

/// One session of a consumer with one provider.
#[derive(Debug)]
pub struct Session {
    link: Link,
    download: Download,
    course: Course,
    /// What it is recovering from.
    trouble: Option<(FailureCode, String)>,
}

/// Whether a session goes on.
///
/// ```text
///   Running ──> Complete     the payload is in its place, and nobody is left to be told
///      └──────> Failed       the provider, the operator or the disk ended it
/// ```
#[derive(Debug)]
enum Course {
    Running,
    Complete,
    Failed { failure: Failure, since: Instant },
}

impl Session {
    /// A new session.
    #[must_use]
    pub fn new(session: SnapshotSessionId, peer: PeerId, options: Options, now: Instant) -> Self {
        Self {
            download: Download::new(&options, now),
            link: Link::new(session, peer, options, None, now),
            course: Course::Running,
            trouble: None,
        }
    }

    /// A session that an earlier process ran, or that failed and is tried again. It continues after what is confirmed,
    /// and its authority is checked again. Explicit offsets are put into the first `resume`; if that names another
    /// plan, the session fails at once.
    #[must_use]
    pub fn restore(
        session: SnapshotSessionId,
        peer: PeerId,
        options: Options,
        saved: Saved,
        explicit: Option<ExplicitResume>,
        now: Instant,
    ) -> Self {
        let plan_id = saved.plan.plan_id;
        let mut restored = Self {
            download: Download::restore(&options, saved, now),
            link: Link::new(session, peer, options, explicit, now),
            course: Course::Running,
            trouble: None,
        };
        if let Some(explicit) = explicit.filter(|explicit| explicit.plan_id != plan_id) {
            let message = format!("session {session} streams plan {plan_id}, not {}", explicit.plan_id);
            restored.fail(now, FailureCode::ResumeMismatch, message, false);
        }
        restored
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SnapshotSessionId {
        self.link.session()
    }

    /// The provider.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.link.peer()
    }

    /// The accepted plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.download.plan()
    }

    /// The verified updates of the plan, from the first on.
    #[must_use]
    pub fn updates(&self) -> Option<&Arc<Vec<Update>>> {
        self.download.updates()
    }

    /// Whether a request is in flight.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.link.in_flight().is_some()
    }

    /// Whether the session is complete or failed, so that it wants nothing any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.course, Course::Running)
    }

    /// The next thing to do; `None` if there is nothing now. Finished local work comes first, then requests.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.is_over() {
            return None;
        }
        if let Some(action) = self.download.poll_action(now, self.link.hold()) {
            return Some(action);
        }
        let demand = self.download.demand();
        if let Some(grant) = self.link.poll_grant(&demand, |update| self.download.previous(update)) {
            return Some(Action::Grant(grant));
        }
        if let Some(request) = self.link.poll_request(now, &demand) {
            return Some(Action::Request(self.exchange(request)));
        }
        if self.link.poll_connect(now, &demand) {
            return Some(Action::Connect);
        }
        // The provider is told first, if it can be.
        let is_told = self.link.in_flight().is_none() && !self.link.can_ack(&demand);
        if is_told { self.download.place_action(now) } else { None }
    }

    /// When `handle_timeout` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        [self.download.poll_timeout(), self.link.poll_timeout()].into_iter().flatten().min()
    }

    fn exchange(&self, request: SnapshotsRequest) -> Exchange {
        let previous = match &request {
            SnapshotsRequest::LightClientUpdate { update_index, .. } => self.download.previous(*update_index),
            _ => None,
        };
        Exchange::new(request, self.download.plan().cloned(), previous)
    }

    /// A connection to the peer was established.
    pub fn handle_connected(&mut self, _now: Instant) {
        self.link.connected();
    }

    /// The last connection to the peer was closed. A request in flight ends by its own failure.
    pub fn handle_disconnected(&mut self, now: Instant, reason: &str) {
        if !self.is_over() {
            let trouble = self.link.disconnected(now, reason, &self.download.demand());
            self.bear(now, trouble);
        }
    }

    /// The peer could not be dialled.
    pub fn handle_dial_failed(&mut self, now: Instant, reason: &str) {
        if !self.is_over() {
            let trouble = self.link.dial_failed(now, reason);
            self.bear(now, trouble);
        }
    }

    /// What became of the request that was wanted: it is in flight under this id, or nothing was sent.
    ///
    /// # Errors
    /// No request was wanted, or it was sent already.
    pub fn handle_sent(&mut self, now: Instant, sent: Result<RequestId, NotSent>) -> Result<(), Unexpected> {
        if let Some((request, failure)) = self.link.handle_sent(sent)? {
            self.lose(now, &request, &failure);
        }
        Ok(())
    }

    /// Request `id` was answered, and its answer checked. Nothing happens when another request is in flight by now.
    ///
    /// # Errors
    /// That is not what the request can be answered with.
    pub fn handle_verified(&mut self, now: Instant, id: RequestId, verified: Verified) -> Result<(), Unexpected> {
        let Some(ended) = self.link.end(id) else { return Ok(()) };
        if self.is_over() {
            return Ok(());
        }
        if !ended.is_answered_by(&verified) {
            return Err(Unexpected { input: Input::Verified });
        }
        match verified {
            Verified::Plan(plan) => self.accept_plan(now, plan.into()),
            Verified::Chunk(chunk) => self.accept_chunk(now, chunk),
            Verified::Update { index, update } => self.accept_update(now, index, *update)?,
            Verified::Resumed { .. } => self.link.resumed(now),
            Verified::Acked { kind, index } => {
                if self.link.acked(kind, index) {
                    self.trouble = None;
                }
            }
            Verified::Refused { code, message } => {
                let trouble = self.link.refused(now, &ended.request, code, &message, &self.download.demand());
                self.bear(now, trouble);
            }
        }
        self.settle();
        Ok(())
    }

    /// The answer to request `id`, which is told next, came by this version of the protocol. Without this it is 1.0.0.
    pub fn handle_protocol(&mut self, id: RequestId, protocol: Protocol) {
        self.link.carried_by(id, protocol);
    }

    /// Something came on the stream that request `id` opened, and was checked. Nothing happens when that is not the session's
    /// stream any more.
    ///
    /// # Errors
    /// That is not what comes on a stream.
    pub fn handle_streamed(&mut self, now: Instant, id: RequestId, verified: Verified) -> Result<(), Unexpected> {
        if self.is_over() || !self.link.came_on(id, now, &verified) {
            return Ok(());
        }
        match verified {
            Verified::Chunk(chunk) => self.accept_chunk(now, chunk),
            Verified::Update { index, update } => {
                // One that was on the way when the updates were wanted anew is not the next one.
                let _ = self.accept_update(now, index, *update);
            }
            _ => return Err(Unexpected { input: Input::Verified }),
        }
        self.settle();
        Ok(())
    }

    /// The stream that request `id` opened is over; a violation is told by [`Self::handle_violation`].
    pub fn handle_stream_ended(&mut self, now: Instant, id: RequestId, error: &SnapshotProtocolError) {
        if self.is_over() || !self.link.is_stream(id) {
            return;
        }
        let trouble = self.link.stream_ended(now, error, &self.download.demand());
        if self.link.is_to_shrink() {
            self.download.close_place();
        }
        self.bear(now, trouble);
    }

    fn accept_plan(&mut self, now: Instant, plan: Arc<Plan>) {
        let may_shrink = self.link.planned(now);
        if self.download.accept_plan(plan, may_shrink).is_err() {
            // The check of the answer refuses this already.
            let message = format!("{} answered with another snapshot than the session's", self.peer());
            self.fail(now, FailureCode::Provider, message, true);
        }
    }

    fn accept_chunk(&mut self, now: Instant, chunk: VerifiedChunk) {
        let (index, bytes) = (chunk.index, chunk.bytes.len() as u64);
        let is_taken = self.download.accept_chunk(now, chunk);
        self.link.chunk_came(index, bytes, is_taken);
        if is_taken {
            self.trouble = None;
        }
    }

    fn accept_update(&mut self, now: Instant, index: u64, update: Update) -> Result<(), Unexpected> {
        match self.download.accept_update(now, index, update) {
            Taken::Yes => {
                self.link.update_came(index);
                self.trouble = None;
            }
            Taken::No => return Err(Unexpected { input: Input::Verified }),
            Taken::TooLarge => {
                let bound = MAX_UNVERIFIED_BYTES >> 20;
                let peer = self.peer();
                let message =
                    format!("the updates of {peer} take more than {bound} MiB before their chain is verified");
                self.fail(now, FailureCode::Provider, message, true);
            }
        }
        Ok(())
    }

    /// Request `id` got no answer.
    pub fn handle_request_failed(&mut self, now: Instant, id: RequestId, failure: &RequestFailure) {
        if let Some(ended) = self.link.end(id) {
            self.lose(now, &ended, failure);
        }
    }

    fn lose(&mut self, now: Instant, ended: &InFlight, failure: &RequestFailure) {
        if self.is_over() {
            return;
        }
        let trouble = self.link.failed(now, ended, failure, &self.download.demand());
        if self.link.is_to_shrink() {
            // What is verified is made durable first, because it counts in the chunks of the present plan.
            self.download.close_place();
        }
        self.bear(now, trouble);
    }

    /// The answer to request `id` broke the protocol. The session is over, and the provider is not trusted again.
    pub fn handle_violation(&mut self, now: Instant, id: RequestId, violation: &Violation) {
        if (self.link.end(id).is_none() && !self.link.is_stream(id)) || self.is_over() {
            return;
        }
        let (code, distrust) = match violation {
            Violation::Chunk { received, .. } => {
                self.link.lie_came(*received);
                (FailureCode::Checksum, true)
            }
            // The anchor on this side may be wrong.
            Violation::Plan(error) if error.is_about_trust() => (FailureCode::Authentication, false),
            Violation::Update { .. } => (FailureCode::Proof, true),
            Violation::Authority(_) => (FailureCode::Authentication, true),
            _ => (FailureCode::Provider, true),
        };
        self.fail(now, code, format!("{} broke the protocol: {violation}", self.peer()), distrust);
    }

    /// The provider broke the protocol in another session for the same payload, so it is refused here as well.
    pub fn handle_distrust(&mut self, now: Instant, message: &str) {
        self.link.give_up();
        self.fail(now, FailureCode::Provider, message.to_owned(), true);
    }

    /// The authority over the plan was checked.
    ///
    /// # Errors
    /// No check is under way.
    pub fn handle_authority(&mut self, now: Instant, result: Result<(), AuthorityError>) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        let authority = self.download.handle_authority(result)?;
        self.judge(now, authority);
        Ok(())
    }

    /// Signatures and chain of the plan hold, and this node verified its proof before: chunks may come. The proof is being
    /// checked again, and nothing is called verified before [`Self::handle_proof`] says that it holds.
    ///
    /// # Errors
    /// No check is under way.
    pub fn handle_known_chain(&mut self, now: Instant) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        self.download.handle_known_chain(now)
    }

    /// The proof of a known chain was checked again; of another plan than the present one it says nothing.
    ///
    /// # Errors
    /// The chain of this plan is not known.
    pub fn handle_proof(
        &mut self,
        now: Instant,
        plan_id: &Hash,
        result: Result<(), AuthorityError>,
    ) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        let authority = self.download.handle_proof(plan_id, result)?;
        self.judge(now, authority);
        Ok(())
    }

    /// The check of the chain, or of its proof, came to no end on this machine: it says neither yes nor no, and nothing of the
    /// provider. The session ends, because nobody would answer it any more; a resume checks again.
    ///
    /// # Errors
    /// No check is under way.
    pub fn handle_unsettled(&mut self, now: Instant, reason: &str) -> Result<(), Unexpected> {
        if !self.is_over() && self.download.handle_unsettled()? {
            let reason = text::escape(reason);
            let message = format!("this node could not finish checking the chain and its proof: {reason}");
            self.fail(now, FailureCode::Proof, message, false);
        }
        Ok(())
    }

    fn judge(&mut self, now: Instant, authority: Result<(), Refused>) {
        match authority {
            Ok(()) => self.settle(),
            Err(Refused::Kept(error)) => {
                let cause = format!("what this node had kept of the chain does not hold and is fetched again: {error}");
                self.trouble = Some((FailureCode::Storage, text::escape(&cause)));
            }
            Err(Refused::Sent(error)) => {
                let (code, distrust) = match error {
                    AuthorityError::Signatures(_) | AuthorityError::Authentication { .. } => {
                        (FailureCode::Authentication, true)
                    }
                    AuthorityError::Chain { .. } | AuthorityError::Proof { .. } => (FailureCode::Proof, true),
                    AuthorityError::Stale { .. } => (FailureCode::Stale, false),
                    AuthorityError::Equivocation { .. } => (FailureCode::Equivocation, false),
                };
                self.fail(now, code, format!("the plan of {} is refused: {error}", self.peer()), distrust);
            }
        }
    }

    /// What became of the partial payload: the answer to `OpenStorage`, or trouble with a write, a sync or placing, or with
    /// any other of the session's files. After trouble, whatever else was outstanding is dropped by the driver and asked for
    /// again.
    ///
    /// # Errors
    /// No place was to be opened.
    pub fn handle_storage(&mut self, now: Instant, storage: Storage) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        if let Err(failed) = self.download.handle_storage(now, storage)? {
            self.fail(now, FailureCode::Storage, failed.0, false);
        }
        self.settle();
        Ok(())
    }

    /// Every chunk up to `index` was written; not durable yet.
    ///
    /// # Errors
    /// It was not handed out.
    pub fn handle_written(&mut self, now: Instant, index: u64) -> Result<(), Unexpected> {
        if self.is_over() { Ok(()) } else { self.download.handle_written(now, index) }
    }

    /// The first `chunks` chunks are durable and recorded.
    ///
    /// # Errors
    /// So many were neither there nor handed out.
    pub fn handle_durable(&mut self, now: Instant, chunks: u64) -> Result<(), Unexpected> {
        self.download.handle_durable(now, chunks)
    }

    /// Of what was on the disk before, the first `checked` bytes were hashed by now. The `missing` chunks do not hold; the
    /// driver hashes on when they are repaired.
    ///
    /// # Errors
    /// There was nothing to be hashed.
    pub fn handle_rechecked(&mut self, _now: Instant, checked: u64, missing: &[u64]) -> Result<(), Unexpected> {
        self.settled(|download| download.handle_rechecked(checked, missing))
    }

    /// The chunks of the last [`Action::Repair`] are written and durable.
    ///
    /// # Errors
    /// None were to be repaired.
    pub fn handle_repaired(&mut self, _now: Instant) -> Result<(), Unexpected> {
        self.settled(Download::handle_repaired)
    }

    /// The payload is in its place.
    ///
    /// # Errors
    /// It was not to be put there.
    pub fn handle_placed(&mut self, _now: Instant, path: PathBuf) -> Result<(), Unexpected> {
        self.settled(|download| download.handle_placed(path))
    }

    fn settled(&mut self, tell: impl FnOnce(&mut Download) -> Result<(), Unexpected>) -> Result<(), Unexpected> {
        if !self.is_over() {
            tell(&mut self.download)?;
            self.settle();
        }
        Ok(())
    }

    /// How many bytes of payload a second this and all other sessions share; `None`: as fast as it goes. Under a limit nothing
    /// comes that was not granted by [`allow`](Self::allow).
    pub fn limit_rate(&mut self, limit: Option<u64>) {
        self.download.limit_rate(limit);
    }

    /// How many bytes of payload the session would take next under its limit; `None` while it would take none. Ask after each
    /// round of actions.
    pub fn thirst(&mut self, now: Instant) -> Option<u64> {
        let is_reached = !self.is_over() && self.link.obstacle(&self.download.demand()).is_none();
        if is_reached { self.download.thirst(now) } else { None }
    }

    /// So many bytes more may come; see [`thirst`](Self::thirst).
    pub fn allow(&mut self, bytes: u64) {
        self.download.allow(bytes);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.link.timeout(now);
        self.download.handle_timeout(now);
    }

    /// The operator (or something that knows of a change) wants the session to go on. Ends a back-off or a pause at
    /// once; otherwise changes nothing.
    pub fn retry_now(&mut self, _now: Instant) {
        self.link.retry_now();
        self.download.retry_now();
    }

    /// What went wrong with the peer: it passes, or the session is over.
    fn bear(&mut self, now: Instant, trouble: Option<Trouble>) {
        match trouble {
            Some(Trouble::Passing(code, cause)) => self.trouble = Some((code, cause)),
            Some(Trouble::Final(failure)) => self.end(now, failure),
            None => {}
        }
        self.settle();
    }

    fn fail(&mut self, now: Instant, code: FailureCode, message: String, distrust: bool) {
        self.end(now, Failure { code, message, distrust });
    }

    fn end(&mut self, now: Instant, failure: Failure) {
        if !self.is_over() {
            self.course = Course::Failed { failure, since: now };
            self.download.close();
        }
    }

    /// Completes the session when the payload is in its place and no ack remains to be sent.
    fn settle(&mut self) {
        let is_done = self.download.is_finished() && self.link.in_flight().is_none();
        if is_done && !self.is_over() && !self.link.can_ack(&self.download.demand()) {
            self.course = Course::Complete;
        }
    }
}
