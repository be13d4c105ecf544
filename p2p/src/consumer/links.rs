//! Events with peers: connections, answers, and failures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{Fault, Input, Session, Unexpected, is_offence, serves, sources::LinkKind, types::Failure};
use crate::{
    download::Taken,
    error::{NotSent, RequestFailure, SnapshotProtocolError, Violation},
    exchange::{Verified, VerifiedChunk},
    limits::MAX_UNVERIFIED_BYTES,
    link::{InFlight, Trouble},
    messages::{Plan, Update},
    plan::PlanError,
    schedule::Number,
    status::FailureCode,
    stream::Protocol,
    types::RequestId,
};

impl Session {
    /// A connection to this peer was established.
    pub fn handle_connected(&mut self, _now: Instant, peer: PeerId) {
        if let Some((_, link)) = self.sources.peer_mut(peer) {
            link.connected();
        }
    }

    /// The last connection to this peer was closed. A request in flight ends by its own failure.
    pub fn handle_disconnected(&mut self, now: Instant, peer: PeerId, reason: &str) {
        let Some(number) = self.sources.peer_mut(peer).map(|(number, _)| number).filter(|_| !self.is_over()) else {
            return;
        };
        // The peer may have been dialled before the payload was fixed.
        let is_needed = self.download.demand().is_needed;
        let demand = crate::download::Demand { is_needed, ..self.demand_of(number) };
        let trouble = self.sources.link_of_mut(number).and_then(|link| link.disconnected(now, reason, &demand));
        self.bear(now, number, trouble);
    }

    /// The round trip to this peer was measured. A stream's window follows it; before the first measurement, the
    /// configured window is used.
    pub fn handle_round_trip(&mut self, now: Instant, peer: PeerId, time: Duration) {
        if let Some((_, link)) = self.sources.peer_mut(peer) {
            link.round_trip(now, time);
        }
    }

    /// This peer could not be dialled.
    pub fn handle_dial_failed(&mut self, now: Instant, peer: PeerId, reason: &str) {
        let Some((number, link)) =
            self.sources.peer_mut(peer).filter(|_| matches!(self.course, super::Course::Running))
        else {
            return;
        };
        let trouble = link.dial_failed(now, reason);
        self.bear(now, number, trouble);
    }

    pub(super) fn demand_of(&self, number: Number) -> crate::download::Demand {
        self.sources.demand_of(number, &self.download.demand(), &self.schedule, self.is_fixed)
    }

    /// The result of sending the wanted request: it is in flight under this id, or nothing was sent.
    ///
    /// # Errors
    /// No request was wanted, or it was sent already.
    pub fn handle_sent(&mut self, now: Instant, sent: Result<RequestId, NotSent>) -> Result<(), Unexpected> {
        let unsent = self.sources.links().find(|(_, link)| link.has_unsent()).map(|(number, _)| number);
        let number = unsent.ok_or(Unexpected { input: Input::Sent })?;
        let Some(link) = self.sources.link_of_mut(number) else { return Ok(()) };
        if let Some((request, failure)) = link.handle_sent(sent)? {
            self.lose(now, number, &request, &failure);
        }
        Ok(())
    }

    /// Removes the request that is in flight under this id, and returns it with its source.
    fn end_request(&mut self, id: RequestId) -> Option<(Number, InFlight)> {
        self.sources.links_mut().find_map(|(number, link)| Some((number, link.end(id)?)))
    }

    /// Request `id` was answered, and its answer checked. Ignored if another request is in flight by now.
    ///
    /// # Errors
    /// This is not an answer to that request.
    pub fn handle_verified(&mut self, now: Instant, id: RequestId, verified: Verified) -> Result<(), Unexpected> {
        let Some((number, ended)) = self.end_request(id) else { return Ok(()) };
        if self.is_over() {
            return Ok(());
        }
        if !ended.is_answered_by(&verified) {
            return Err(Unexpected { input: Input::Verified });
        }
        self.touch();
        if let (Verified::Plan(_) | Verified::Resumed { .. }, Some(link)) =
            (&verified, self.sources.link_of_mut(number))
        {
            // Nothing else was in flight.
            link.round_trip(now, now.saturating_duration_since(ended.since));
        }
        match verified {
            Verified::Plan(plan) => self.accept_plan(now, number, plan.into()),
            Verified::Chunk(chunk) => self.accept_chunk(now, number, chunk),
            Verified::Update { index, update } => self.accept_update(now, number, index, *update)?,
            Verified::Resumed { .. } => {
                if let Some(link) = self.sources.link_of_mut(number) {
                    link.resumed(now);
                }
            }
            Verified::Acked { kind, index } => {
                if self.sources.link_of_mut(number).is_some_and(|link| link.acked(kind, index)) {
                    self.trouble = None;
                }
            }
            Verified::Refused { code, message } => {
                let demand = self.demand_of(number);
                let trouble = self
                    .sources
                    .link_of_mut(number)
                    .and_then(|link| link.refused(now, &ended.request, code, &message, &demand));
                self.bear(now, number, trouble);
            }
        }
        self.settle();
        Ok(())
    }

    /// The answer to request `id`, which is reported next, came over this version of the protocol. Without this call,
    /// 1.0.0 is assumed.
    pub fn handle_protocol(&mut self, id: RequestId, protocol: Protocol) {
        self.sources.links_mut().for_each(|(_, link)| link.carried_by(id, protocol));
    }

    /// Something arrived on the stream that request `id` opened, and was checked. Ignored if that is not a stream of
    /// any of its peers any more.
    ///
    /// # Errors
    /// This cannot arrive on a stream.
    pub fn handle_streamed(&mut self, now: Instant, id: RequestId, verified: Verified) -> Result<(), Unexpected> {
        if self.is_over() {
            return Ok(());
        }
        let came =
            self.sources.links_mut().find_map(|(number, link)| link.came_on(id, now, &verified).then_some(number));
        let Some(number) = came else { return Ok(()) };
        self.touch();
        match verified {
            Verified::Chunk(chunk) => self.accept_chunk(now, number, chunk),
            Verified::Update { index, update } => {
                // An update that was in flight when the updates were wanted again is not the next one.
                let _ = self.accept_update(now, number, index, *update);
            }
            _ => return Err(Unexpected { input: Input::Verified }),
        }
        self.settle();
        Ok(())
    }

    /// The stream that request `id` opened has ended; a violation is reported by [`Self::handle_violation`].
    pub fn handle_stream_ended(&mut self, now: Instant, id: RequestId, error: &SnapshotProtocolError) {
        let Some(number) = self.stream_of(id).filter(|_| !self.is_over()) else { return };
        let demand = self.demand_of(number);
        let Some(link) = self.sources.link_of_mut(number) else { return };
        let trouble = link.stream_ended(now, error, &demand);
        if link.is_to_shrink() && demand.may_shrink {
            self.download.close_place();
        }
        self.bear(now, number, trouble);
    }

    /// The source whose stream this request opened.
    fn stream_of(&self, id: RequestId) -> Option<Number> {
        self.sources.links().find(|(_, link)| link.is_stream(id)).map(|(number, _)| number)
    }

    /// A source has sent its plan.
    pub(super) fn accept_plan(&mut self, now: Instant, number: Number, plan: Arc<Plan>) {
        let may_shrink = self.sources.link_of_mut(number).is_some_and(|link| link.planned(now));
        let (leads, alone) = (self.sources.lead == Some(number), self.sources.alone() == Some(number));
        let gives_plan = leads && (alone || !self.is_fixed || self.download.wants_updates());
        let present = self.download.plan().cloned();
        let is_fit = match &present {
            _ if gives_plan => self.download.accept_plan(Arc::clone(&plan), may_shrink && alone).is_ok(),
            Some(present) if self.is_fixed => serves(&plan, present),
            // The plan is compared later, when there is one to compare it with.
            _ => true,
        };
        if !is_fit {
            let name = self.source_name(number);
            let message = format!("{name} answered with another snapshot than the session's");
            // If the leader was asked, the check of its answer refuses that already.
            self.put_out(now, number, Failure { code: FailureCode::Provider, message, distrust: gives_plan }, false);
            return;
        }
        if leads {
            self.lead_since = now;
        }
        let is_smaller = present.is_some_and(|present| present.chunk_size != plan.chunk_size) && gives_plan;
        if let Some(delivery) = self.sources.get_mut(number) {
            delivery.plan = Some(plan);
        }
        if is_smaller {
            self.tell_wishes();
        }
    }

    pub(super) fn source_name(&self, number: Number) -> String {
        self.sources.get(number).map_or_else(String::new, |delivery| super::name(&delivery.source()))
    }

    fn accept_chunk(&mut self, now: Instant, number: Number, chunk: VerifiedChunk) {
        let (index, bytes) = (chunk.index, chunk.bytes.len() as u64);
        let is_taken = self.take_chunk(now, number, chunk);
        if let Some(link) = self.sources.link_of_mut(number) {
            link.chunk_came(index, bytes, is_taken);
        }
    }

    /// Whether a chunk can be used.
    pub(super) fn take_chunk(&mut self, now: Instant, number: Number, chunk: VerifiedChunk) -> bool {
        let bytes = chunk.bytes.len() as u64;
        self.schedule.came(now, number, bytes);
        let is_taken = self.download.accept_chunk(now, chunk);
        if is_taken {
            self.trouble = None;
            if let Some(delivery) = self.sources.get_mut(number) {
                delivery.verified += bytes;
            }
        }
        is_taken
    }

    fn accept_update(&mut self, now: Instant, number: Number, index: u64, update: Update) -> Result<(), Unexpected> {
        if self.sources.lead != Some(number) {
            return Ok(()); // Another one leads since it was asked for.
        }
        match self.take_update(now, index, update) {
            Taken::Yes => {
                if let Some(link) = self.sources.link_of_mut(number) {
                    link.update_came(index);
                }
            }
            // It was asked for before another source led for a while.
            Taken::No if self.sources.had_many() => {}
            Taken::No => return Err(Unexpected { input: Input::Verified }),
            Taken::TooLarge => self.refuse_updates(now, number),
        }
        Ok(())
    }

    pub(super) fn take_update(&mut self, now: Instant, index: u64, update: Update) -> Taken {
        let taken = self.download.accept_update(now, index, update);
        if taken == Taken::Yes {
            (self.trouble, self.lead_since) = (None, now);
        }
        taken
    }

    pub(super) fn refuse_updates(&mut self, now: Instant, number: Number) {
        let (bound, name) = (MAX_UNVERIFIED_BYTES >> 20, self.source_name(number));
        let message = format!("the updates of {name} take more than {bound} MiB before their chain is verified");
        self.put_out(now, number, Failure { code: FailureCode::Provider, message, distrust: true }, false);
    }

    /// Request `id` got no answer.
    pub fn handle_request_failed(&mut self, now: Instant, id: RequestId, failure: &RequestFailure) {
        if let Some((number, ended)) = self.end_request(id) {
            self.lose(now, number, &ended, failure);
        }
    }

    fn lose(&mut self, now: Instant, number: Number, ended: &InFlight, failure: &RequestFailure) {
        if self.is_over() {
            return;
        }
        let demand = self.demand_of(number);
        let Some(link) = self.sources.link_of_mut(number) else { return };
        let trouble = link.failed(now, ended, failure, &demand);
        if link.is_to_shrink() && demand.may_shrink {
            // Verified chunks are made durable first, because their count refers to the present plan's chunks.
            self.download.close_place();
        }
        self.bear(now, number, trouble);
    }

    /// The answer to request `id` broke the protocol. Its source is not used or trusted any more; the session goes on
    /// with the others, if there are any.
    pub fn handle_violation(&mut self, now: Instant, id: RequestId, violation: &Violation) {
        let of_request = self.end_request(id).map(|(number, _)| number);
        let Some(number) = of_request.or_else(|| self.stream_of(id)).filter(|_| !self.is_over()) else { return };
        if let (Violation::Chunk { received, .. }, Some(link)) = (violation, self.sources.link_of_mut(number)) {
            link.lie_came(*received);
        }
        self.cut_off(now, number, violation);
    }

    /// A source broke the protocol, or has nothing that this session may use.
    pub(super) fn cut_off(&mut self, now: Instant, number: Number, violation: &Violation) {
        let is_banned = breaks_rules(violation);
        let (code, distrust) = match violation {
            Violation::Chunk { .. } => (FailureCode::Checksum, true),
            // This side's trust anchor may be wrong.
            Violation::Plan(error) if error.is_about_trust() => (FailureCode::Authentication, false),
            // A bound on this side may be wrong, too.
            Violation::Plan(_) if !is_banned => (FailureCode::Provider, false),
            Violation::Update { .. } => (FailureCode::Proof, true),
            Violation::Authority(_) => (FailureCode::Authentication, true),
            _ => (FailureCode::Provider, true),
        };
        let verdict = if is_banned { "broke the protocol" } else { "cannot serve this" };
        let message = format!("{} {verdict}: {violation}", self.source_name(number));
        if is_banned {
            self.blame(number, Fault::Violation(violation.clone()));
        }
        self.put_out(now, number, Failure { code, message, distrust }, is_banned);
    }

    /// This peer broke the protocol elsewhere, so it is refused here as well.
    pub fn handle_distrust(&mut self, now: Instant, peer: PeerId, message: &str) {
        let Some(number) = self.sources.peer_mut(peer).map(|(number, _)| number) else { return };
        if !self.is_over() {
            let failure = Failure { code: FailureCode::Provider, message: message.to_owned(), distrust: true };
            self.put_out(now, number, failure, true);
        }
    }

    /// Handles a failure with a peer: it may pass, or the peer is not used any more.
    pub(super) fn bear(&mut self, now: Instant, number: Number, trouble: Option<Trouble>) {
        self.touch();
        match trouble {
            Some(Trouble::Passing(setback)) => {
                let others = self.sources.iter().any(|(other, delivery)| other != number && delivery.is_open());
                if let Some(LinkKind::Peer(link)) = self.sources.get_mut(number).map(|delivery| &mut delivery.kind) {
                    link.note_trouble(setback.clone());
                }
                if !others {
                    self.trouble = Some(setback);
                }
            }
            Some(Trouble::Final(failure)) => self.put_out(now, number, failure, false),
            None => {}
        }
        self.settle();
    }
}

/// Whether the answer breaks a rule, whatever the configuration of either side.
fn breaks_rules(violation: &Violation) -> bool {
    match violation {
        Violation::Plan(error) => {
            !error.is_about_trust()
                && !matches!(error, PlanError::Number { what, .. } if ["payload_bytes", "total_updates"].contains(what))
                && !matches!(error, PlanError::ChunkSize { .. })
        }
        Violation::Authority(error) => is_offence(error),
        _ => true,
    }
}
