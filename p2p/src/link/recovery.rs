//! Failures with a peer, and the reactions to them (`docs/protocol.md`, What a consumer does).

use std::time::Instant;

use super::{Connection, InFlight, Link, LinkState, Opening, Retry, Setback, Trouble};
use crate::{
    consumer::Failure,
    download::Demand,
    error::{Cause, RequestFailure},
    limits::ACK_RETRY,
    messages::{ErrorCode, SnapshotsRequest},
    status::FailureCode,
};

impl Link {
    /// There is a connection to the peer.
    pub(crate) fn connected(&mut self) {
        match &mut self.state {
            LinkState::Down | LinkState::Dialing { .. } => self.state = LinkState::Up,
            LinkState::Up | LinkState::Open { .. } => {}
            LinkState::BackingOff(retry) => {
                retry.connection = Connection::Up;
                if retry.for_connection {
                    self.end_back_off();
                }
            }
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
        self.back_off(now, Setback::Disconnected(Cause::told(reason)), true)
    }

    /// The peer could not be reached.
    pub(crate) fn dial_failed(&mut self, now: Instant, reason: &str) -> Option<Trouble> {
        if !matches!(self.state.connection(), Connection::Dialing { .. }) {
            return None;
        }
        self.lose_connection();
        self.back_off(now, Setback::NotReached(Cause::told(reason)), true)
    }

    /// The driver asks nothing of the peer before `until`. `Some`: the peer has delivered nothing for too long.
    pub(crate) fn barred(&mut self, now: Instant, until: Instant, cause: &str) -> Option<Failure> {
        let connection = match self.state.connection() {
            Connection::Dialing { .. } => Connection::Down,
            connection => connection,
        };
        let Some(at) = self.backoff.not_before(now, until) else {
            self.state = connection.into();
            let message = format!("{}: {cause}", self.no_help());
            return Some(Failure { code: FailureCode::Provider, message, distrust: false });
        };
        let cause = Setback::Barred(Cause::told(cause));
        self.trouble = Some(cause.clone());
        let retry = Retry { at, since: now, cause, connection, for_connection: true, is_barred: true };
        self.state = LinkState::BackingOff(retry);
        None
    }

    fn no_help(&self) -> String {
        let waited = self.options.give_up_after.unwrap_or_default().as_secs();
        format!("{} was no help for {waited} s, as long as give_up_after_s allows", self.peer)
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
        self.back_off(now, Setback::NoAnswer(failure.clone()), false)
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
        let setback = Setback::Refused { peer: self.peer, asked: request.tag(), code, words: Cause::told(message) };
        let failure = match code {
            ErrorCode::Busy | ErrorCode::Internal if matches!(request, SnapshotsRequest::Ack { .. }) => {
                self.acks.after = Some(now + ACK_RETRY);
                return Some(Trouble::Passing(setback));
            }
            ErrorCode::Busy | ErrorCode::Internal => {
                return self.back_off(now, setback, false);
            }
            ErrorCode::NotFound | ErrorCode::PlanChanged | ErrorCode::ResumeRegressed => {
                return self.lost_session(now, request, setback, demand);
            }
            ErrorCode::Invalid => FailureCode::Provider,
            ErrorCode::Unauthorized => FailureCode::Authentication,
            ErrorCode::ResumeOutOfBounds => FailureCode::ResumeMismatch,
            ErrorCode::Cancelled => FailureCode::Cancelled,
        };
        Trouble::end(failure, setback.to_string())
    }

    /// The peer does not know the session, or has other markers.
    fn lost_session(
        &mut self,
        now: Instant,
        request: &SnapshotsRequest,
        setback: Setback,
        demand: &Demand,
    ) -> Option<Trouble> {
        match request {
            SnapshotsRequest::Resume { .. } if self.opening == Opening::Usual && !self.has_planned_anew => {
                self.opening = Opening::Anew;
                self.has_planned_anew = true;
                Some(Trouble::Passing(setback))
            }
            SnapshotsRequest::Resume { .. } => Trouble::end(FailureCode::ResumeMismatch, setback.to_string()),
            SnapshotsRequest::Plan { .. } => {
                let what = if demand.plan.is_some() {
                    "it no longer offers this snapshot; what is verified of it is kept"
                } else {
                    "it offers no such snapshot"
                };
                Trouble::end(FailureCode::Provider, format!("{setback}: {what}"))
            }
            // The `resume` will show what is wrong.
            _ => self.back_off(now, setback, false),
        }
    }

    /// Whether the ack can be given up: every byte is durable, so a refused ack need not hold up the session.
    fn gives_up_ack(&mut self, request: &SnapshotsRequest, demand: &Demand) -> bool {
        let gives_up = matches!(request, SnapshotsRequest::Ack { .. }) && demand.is_all_durable;
        self.acks.given_up |= gives_up;
        gives_up
    }

    /// Tries again later, by `resume`. A further failure during a back-off does not make it longer.
    pub(super) fn back_off(&mut self, now: Instant, cause: Setback, for_connection: bool) -> Option<Trouble> {
        if matches!(self.state, LinkState::BackingOff(_)) {
            return None;
        }
        let connection = self.state.connection();
        let Some(at) = self.backoff.next(now) else {
            self.state = connection.into();
            return Trouble::end(FailureCode::Network, format!("{}: {cause}", self.no_help()));
        };
        let for_connection = for_connection || connection == Connection::Down;
        let retry = Retry { at, since: now, cause: cause.clone(), connection, for_connection, is_barred: false };
        self.state = LinkState::BackingOff(retry);
        Some(Trouble::Passing(cause))
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
            if retry.is_barred {
                self.trouble = None;
            }
            self.state = retry.connection.into();
        }
    }
}
