//! Events with mirrors.

use std::time::Instant;

use super::{
    Input, MirrorFailure, MirrorId, Session, Unexpected,
    mirror::JobState,
    sources::{LinkKind, Out},
    types::{Failure, MirrorJobId},
};
use crate::{download::Taken, exchange::VerifiedChunk, mirror::MirrorPlan, schedule::Number};

impl Session {
    /// The mirror of a job; `None` if the job was given up.
    fn mirror_at(&self, mirror: MirrorId, job: MirrorJobId) -> Result<Option<Number>, Unexpected> {
        let Some((number, link)) = self.sources.mirror(mirror).filter(|_| !self.is_over()) else { return Ok(None) };
        match link.job_state(job) {
            JobState::UnderWay => Ok(Some(number)),
            JobState::GivenUp => Ok(None),
            JobState::Unknown => Err(Unexpected { input: Input::Mirror }),
        }
    }

    /// A mirror's manifest was read and checked.
    ///
    /// # Errors
    /// It was not asked for.
    pub fn handle_mirror_plan(
        &mut self,
        now: Instant,
        mirror: MirrorId,
        job: MirrorJobId,
        plan: MirrorPlan,
    ) -> Result<(), Unexpected> {
        let Some(number) = self.mirror_at(mirror, job)? else { return Ok(()) };
        let leads = self.sources.lead == Some(number);
        let Some((_, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        if !link.is_planning() {
            return Err(Unexpected { input: Input::Mirror });
        }
        let MirrorPlan { plan, updates } = plan;
        if !leads && link.plans_as_before() && self.download.plan().is_some_and(|own| !super::serves(own, &plan)) {
            link.has_no_plan_yet();
            self.touch();
            return Ok(());
        }
        link.planned();
        self.touch();
        let plan_id = plan.plan_id;
        self.accept_plan(now, number, plan);
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
        job: MirrorJobId,
        chunk: VerifiedChunk,
    ) -> Result<(), Unexpected> {
        let Some(number) = self.mirror_at(mirror, job)? else { return Ok(()) };
        let Some((_, link)) = self.sources.mirror_mut(mirror) else { return Ok(()) };
        if !link.takes(now, job, chunk.index) {
            return Err(Unexpected { input: Input::Mirror });
        }
        if self.early.keeps(number, chunk.index) {
            link.received(chunk.bytes.len() as u64);
            self.schedule.came(now, number, chunk.bytes.len() as u64);
            self.touch();
            self.early.keep(number, chunk);
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
    pub fn handle_mirror_read(&mut self, mirror: MirrorId, job: MirrorJobId) -> Result<(), Unexpected> {
        if self.mirror_at(mirror, job)?.is_some()
            && let Some((_, link)) = self.sources.mirror_mut(mirror)
        {
            link.read(job);
            self.touch();
        }
        Ok(())
    }

    /// A mirror's job failed. Its other jobs are given up with it.
    ///
    /// # Errors
    /// It had no such job.
    pub fn handle_mirror_failed(
        &mut self,
        now: Instant,
        mirror: MirrorId,
        job: MirrorJobId,
        failure: MirrorFailure,
    ) -> Result<(), Unexpected> {
        let Some(number) = self.mirror_at(mirror, job)? else { return Ok(()) };
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
                let is_early = !self.is_fixed && self.sources.lead != Some(number);
                if let Some((_, link)) = self.sources.mirror_mut(mirror)
                    && link.is_planning()
                    && (is_early || link.plans_as_before())
                {
                    link.has_no_plan_yet();
                    return Ok(());
                }
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
