//! Failures with a peer, and the reactions to them (`docs/protocol.md`, What a consumer does).

use std::time::Instant;

use super::{Connection, InFlight, Link, LinkState, Opening, Retry, Trouble};
use crate::{
    download::Demand,
    error::RequestFailure,
    limits::ACK_RETRY,
    messages::{ErrorCode, SnapshotsRequest},
    status::FailureCode,
    text,
};

impl Link {
    /// There is a connection to the peer.
    pub(crate) fn connected(&mut self) {
        match &mut self.state {
            LinkState::Down | LinkState::Dialing { .. } => self.state = LinkState::Up,
            LinkState::Up | LinkState::Open { .. } => {}
            LinkState::BackingOff(retry) if retry.for_connection => self.state = LinkState::Up,
            LinkState::BackingOff(retry) => retry.connection = Connection::Up,
        }
    }

    /// The last connection to the peer was closed. A request in flight ends by its own failure.
    pub(crate) fn disconnected(&mut self, now: Instant, reason: &str, demand: &Demand) -> Option<Trouble> {
        if self.state.connection() == Connection::Down {
            return None;
        }
        self.lose_connection();
        if !self.is_needed(demand) && self.in_flight().is_none() {
            return None;
        }
        let cause = format!("the connection was lost: {}", text::escape(reason));
        self.back_off(now, FailureCode::Network, cause, true)
    }

    /// The peer could not be reached.
    pub(crate) fn dial_failed(&mut self, now: Instant, reason: &str) -> Option<Trouble> {
        if !matches!(self.state.connection(), Connection::Dialing { .. }) {
            return None;
        }
        self.lose_connection();
        self.back_off(now, FailureCode::Network, format!("it cannot be reached: {}", text::escape(reason)), true)
    }

    fn lose_connection(&mut self) {
        match &mut self.state {
            LinkState::BackingOff(retry) => retry.connection = Connection::Down,
            state => *state = LinkState::Down,
        }
    }

    /// A request got no answer.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        ended: &InFlight,
        failure: &RequestFailure,
        demand: &Demand,
    ) -> Option<Trouble> {
        if self.gives_up_ack(&ended.request, demand) {
            return None;
        }
        self.note_failed(now, ended, failure, demand);
        match failure {
            RequestFailure::Unsupported { .. } => {
                let message = format!("{} serves no snapshots: {failure}", self.peer);
                return Trouble::end(FailureCode::Provider, message);
            }
            RequestFailure::Dial { .. } => self.lose_connection(),
            _ => {}
        }
        self.back_off(now, FailureCode::Network, text::escape(&failure.to_string()), false)
    }

    /// The peer refused the request.
    pub(crate) fn refused(
        &mut self,
        now: Instant,
        request: &SnapshotsRequest,
        code: ErrorCode,
        message: &str,
        demand: &Demand,
    ) -> Option<Trouble> {
        if self.gives_up_ack(request, demand) {
            return None;
        }
        let words = format!("{} refused {} ({}): {}", self.peer, request.tag(), code.as_str(), text::escape(message));
        let failure = match code {
            ErrorCode::Busy | ErrorCode::Internal if matches!(request, SnapshotsRequest::Ack { .. }) => {
                self.acks.after = Some(now + ACK_RETRY);
                return Some(Trouble::Passing(FailureCode::Provider, words));
            }
            ErrorCode::Busy | ErrorCode::Internal => {
                return self.back_off(now, FailureCode::Provider, words, false);
            }
            ErrorCode::NotFound | ErrorCode::PlanChanged | ErrorCode::ResumeRegressed => {
                return self.lost_session(now, request, words, demand);
            }
            ErrorCode::Invalid => FailureCode::Provider,
            ErrorCode::Unauthorized => FailureCode::Authentication,
            ErrorCode::ResumeOutOfBounds => FailureCode::ResumeMismatch,
            ErrorCode::Cancelled => FailureCode::Cancelled,
        };
        Trouble::end(failure, words)
    }

    /// The peer does not know the session, or has other markers.
    fn lost_session(
        &mut self,
        now: Instant,
        request: &SnapshotsRequest,
        words: String,
        demand: &Demand,
    ) -> Option<Trouble> {
        match request {
            SnapshotsRequest::Resume { .. } if self.opening == Opening::Usual && !self.has_planned_anew => {
                self.opening = Opening::Anew;
                self.has_planned_anew = true;
                Some(Trouble::Passing(FailureCode::Provider, words))
            }
            SnapshotsRequest::Resume { .. } => Trouble::end(FailureCode::ResumeMismatch, words),
            SnapshotsRequest::Plan { .. } => {
                let what = if demand.plan.is_some() {
                    "it no longer offers this snapshot; what is verified of it is kept"
                } else {
                    "it offers no such snapshot"
                };
                Trouble::end(FailureCode::Provider, format!("{words}: {what}"))
            }
            // The `resume` will show what is wrong.
            _ => self.back_off(now, FailureCode::Provider, words, false),
        }
    }

    /// Whether the ack can be given up: every byte is durable, so a refused ack need not hold up the session.
    fn gives_up_ack(&mut self, request: &SnapshotsRequest, demand: &Demand) -> bool {
        let gives_up = matches!(request, SnapshotsRequest::Ack { .. }) && demand.is_all_durable;
        self.acks.given_up |= gives_up;
        gives_up
    }

    /// Tries again later, by `resume`. A further failure during a back-off does not make it longer.
    pub(super) fn back_off(
        &mut self,
        now: Instant,
        code: FailureCode,
        cause: String,
        for_connection: bool,
    ) -> Option<Trouble> {
        if matches!(self.state, LinkState::BackingOff(_)) {
            return None;
        }
        let connection = self.state.connection();
        let Some(at) = self.backoff.next(now) else {
            self.state = connection.into();
            let waited = self.options.give_up_after.unwrap_or_default().as_secs();
            let message =
                format!("{} was no help for {waited} s, as long as give_up_after_s allows: {cause}", self.peer);
            return Trouble::end(FailureCode::Network, message);
        };
        let for_connection = for_connection || connection == Connection::Down;
        self.state = LinkState::BackingOff(Retry { at, since: now, cause: cause.clone(), connection, for_connection });
        Some(Trouble::Passing(code, cause))
    }

    /// Time has passed.
    pub(crate) fn timeout(&mut self, now: Instant) {
        if matches!(&self.state, LinkState::BackingOff(retry) if retry.at <= now) {
            self.end_back_off();
        }
        self.acks.after = self.acks.after.filter(|at| *at > now);
    }

    /// Ends a back-off at once.
    pub(crate) fn retry_now(&mut self) {
        self.end_back_off();
        self.acks.after = None;
    }

    fn end_back_off(&mut self) {
        if let LinkState::BackingOff(retry) = &self.state {
            self.state = retry.connection.into();
        }
    }
}
