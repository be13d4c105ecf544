//! Events on this machine: checks of authority, and the disk.

use std::{path::PathBuf, time::Instant};

use super::{Failure, Fault, Session, Storage, Unexpected, is_offence, name};
use crate::{
    authority::AuthorityError,
    download::{Download, Refused},
    have::Have,
    link::Setback,
    status::FailureCode,
    text,
    types::Hash,
};

impl Session {
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

    /// Signatures and chain of the plan are valid, and this node verified its proof earlier: chunks may arrive. The
    /// proof is being checked again. Nothing is called verified before [`Self::handle_proof`] reports success.
    ///
    /// # Errors
    /// No check is under way.
    pub fn handle_known_chain(&mut self, now: Instant) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        self.download.handle_known_chain(now)?;
        self.fix();
        self.touch();
        Ok(())
    }

    /// The proof of a known chain was checked again. Ignored if the plan has changed since.
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

    /// The check of the chain, or of its proof, did not finish on this machine, which shows nothing about the provider.
    /// The session ends, because nothing would end its wait. A resume checks again.
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
        self.touch();
        match authority {
            Ok(()) => {
                self.fix();
                self.settle();
            }
            Err(Refused::Kept(error)) => {
                self.trouble = Some(Setback::Kept(error));
            }
            Err(Refused::Sent(error)) => self.refuse_plan(now, error),
        }
    }

    /// The leader's plan has no authority here.
    fn refuse_plan(&mut self, now: Instant, error: AuthorityError) {
        let (code, distrust) = match error {
            AuthorityError::Signatures(_) | AuthorityError::Authentication { .. } => {
                (FailureCode::Authentication, true)
            }
            AuthorityError::Chain { .. } => (FailureCode::Proof, true),
            AuthorityError::Proof { ref reason } => (FailureCode::Proof, !reason.is_local()),
            AuthorityError::Stale { .. } => (FailureCode::Stale, false),
            AuthorityError::Equivocation { .. } => (FailureCode::Equivocation, false),
        };
        let message = format!("the plan of {} is refused: {error}", self.lead_name());
        let failure = Failure { code, message, distrust };
        // That is the publishers' offence, whichever source delivers it.
        let is_publishers = matches!(error, AuthorityError::Equivocation { .. });
        let Some(number) = self.sources.lead.filter(|_| !is_publishers) else { return self.end(now, failure) };
        let is_banned = is_offence(&error);
        if is_banned {
            self.blame(number, Fault::Authority(error));
        }
        self.put_out(now, number, failure, is_banned);
    }

    fn lead_name(&self) -> String {
        self.sources.leading().map_or_else(|| "a source that is gone".to_owned(), |lead| name(&lead.source()))
    }

    /// The state of the partial payload: the answer to `OpenStorage`, or a failure of a write, a sync, placing, or
    /// another file of the session. After a failure the driver drops everything else that was outstanding, and the
    /// session asks for it again.
    ///
    /// # Errors
    /// No place was to be opened.
    pub fn handle_storage(&mut self, now: Instant, storage: Storage) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        self.touch();
        if let Err(failed) = self.download.handle_storage(now, storage)? {
            self.fail(now, FailureCode::Storage, failed.to_string(), false);
        }
        self.use_early(now);
        self.fix();
        self.settle();
        Ok(())
    }

    /// Every chunk that was handed out up to this one was written; not durable yet.
    ///
    /// # Errors
    /// It was not handed out.
    pub fn handle_written(&mut self, now: Instant, index: u64) -> Result<(), Unexpected> {
        if self.is_over() { Ok(()) } else { self.download.handle_written(now, index) }
    }

    /// All of this is durable and recorded: what was there when the place was opened, and what was written since.
    ///
    /// # Errors
    /// Some of it was neither there nor handed out.
    pub fn handle_durable(&mut self, now: Instant, durable: &Have) -> Result<(), Unexpected> {
        self.touch();
        self.download.handle_durable(now, durable)
    }

    /// Bytes on the disk before the offset `checked` have been hashed. The `missing` chunks do not match; the driver
    /// continues to hash when they are repaired.
    ///
    /// # Errors
    /// There was nothing to be hashed.
    pub fn handle_rechecked(&mut self, _now: Instant, checked: u64, missing: &[u64]) -> Result<(), Unexpected> {
        self.settled(|download| download.handle_rechecked(checked, missing))
    }

    /// The chunks of the last [`Action::Repair`](super::Action::Repair) are written and durable.
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
            self.touch();
            tell(&mut self.download)?;
            self.settle();
        }
        Ok(())
    }
}
