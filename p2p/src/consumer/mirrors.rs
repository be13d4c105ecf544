//! What happens with mirrors.

use std::time::Instant;

use super::{
    Input, MirrorFailure, MirrorId, Session, Unexpected,
    sources::{LinkKind, Out},
    types::Failure,
};
use crate::{download::Taken, exchange::VerifiedChunk, mirror::MirrorPlan};

impl Session {
    /// A mirror's manifest was read and checked.
    ///
    /// # Errors
    /// It was not asked for.
    pub fn handle_mirror_plan(&mut self, now: Instant, mirror: MirrorId, plan: MirrorPlan) -> Result<(), Unexpected> {
        let Some((number, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        if !link.planned() {
            return Err(Unexpected { input: Input::Mirror });
        }
        if self.is_over() {
            return Ok(());
        }
        self.touch();
        let MirrorPlan { plan, updates } = plan;
        let plan_id = plan.plan_id;
        self.accept_plan(now, number, plan);
        let leads = self.sources.lead == Some(number);
        let is_present = self.download.plan().is_some_and(|present| present.plan_id == plan_id);
        if leads && is_present && self.download.wants_updates() {
            let next = self.download.updates().map_or(0, |updates| updates.len());
            for (index, update) in (0..).zip(updates).skip(next) {
                if self.take_update(now, index, update) == Taken::TooLarge {
                    self.refuse_updates(now, number);
                    break;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// The next chunk of a mirror's read was checked.
    ///
    /// # Errors
    /// It was not to be read next.
    pub fn handle_mirror_chunk(
        &mut self,
        now: Instant,
        mirror: MirrorId,
        chunk: VerifiedChunk,
    ) -> Result<(), Unexpected> {
        let Some((number, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        if !link.takes(now, chunk.index) {
            return Err(Unexpected { input: Input::Mirror });
        }
        if self.is_over() {
            return Ok(());
        }
        self.touch();
        let bytes = chunk.bytes.len() as u64;
        let is_taken = self.take_chunk(now, number, chunk);
        if let Some((_, link)) = self.sources.mirror_mut(mirror) {
            link.chunk_came(bytes, is_taken);
        }
        self.settle();
        Ok(())
    }

    /// A mirror's read is over.
    ///
    /// # Errors
    /// None was under way.
    pub fn handle_mirror_read(&mut self, _now: Instant, mirror: MirrorId) -> Result<(), Unexpected> {
        let Some((_, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        let was_reading = link.read();
        self.touch();
        if was_reading { Ok(()) } else { Err(Unexpected { input: Input::Mirror }) }
    }

    /// A mirror did not do its job.
    ///
    /// # Errors
    /// It had none.
    pub fn handle_mirror_failed(
        &mut self,
        now: Instant,
        mirror: MirrorId,
        failure: MirrorFailure,
    ) -> Result<(), Unexpected> {
        let Some((number, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        if !link.is_busy() {
            return Err(Unexpected { input: Input::Mirror });
        }
        if self.is_over() {
            return Ok(());
        }
        self.touch();
        match failure {
            MirrorFailure::Passing { reason, retry_after } => {
                let others = self.sources.iter().any(|(other, delivery)| other != number && delivery.is_open());
                let Some((_, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
                if let Some(Out { failure, .. }) = link.back_off(now, &reason, retry_after) {
                    self.put_out(now, number, failure, false);
                } else if !others {
                    self.trouble = link.trouble().cloned();
                }
            }
            MirrorFailure::Refused { code, reason } => {
                let message = format!("a mirror cannot serve this: {reason}");
                self.put_out(now, number, Failure { code, message, distrust: false }, false);
            }
            MirrorFailure::Lied(violation) => {
                if let crate::error::Violation::Chunk { received, .. } = &violation
                    && let Some(LinkKind::Mirror(link)) =
                        self.sources.get_mut(number).map(|delivery| &mut delivery.kind)
                {
                    link.lie_came(*received);
                }
                self.cut_off(now, number, &violation);
            }
        }
        Ok(())
    }
}
