//! What goes wrong, and what is done about it (`docs/protocol.md`, What a consumer does).

use std::time::Instant;

use super::{Failure, FailureCode, Link, Retry, Session};
use crate::{
    error::RequestFailure,
    limits::ACK_RETRY,
    messages::{ErrorCode, SnapshotsRequest},
    text,
    types::RequestId,
};

impl Session {
    /// Request `id` got no answer.
    pub fn handle_request_failed(&mut self, now: Instant, id: RequestId, failure: &RequestFailure) {
        self.lose_request(now, Some(id), failure);
    }

    /// The request in flight, if this is its id (`None`: it was not sent), gets no answer.
    pub(super) fn lose_request(&mut self, now: Instant, id: Option<RequestId>, failure: &RequestFailure) {
        let Some(asked) = self.take_asked(id) else { return };
        if self.is_over() {
            return;
        }
        if self.gives_up_ack(&asked.request) {
            return;
        }
        self.note_failed(now, &asked.request, asked.since, failure);
        match failure {
            RequestFailure::Unsupported => {
                let message = format!("{} serves no snapshots: {failure}", self.peer);
                return self.fail(now, FailureCode::Provider, message, false);
            }
            RequestFailure::Dial { .. } => self.link = Link::Down,
            _ => {}
        }
        self.back_off(now, FailureCode::Network, text::escape(&failure.to_string()), false);
        self.settle();
    }

    /// The provider answered that it does not.
    pub(super) fn refused(&mut self, now: Instant, request: &SnapshotsRequest, code: ErrorCode, message: &str) {
        if self.gives_up_ack(request) {
            return;
        }
        let words = format!("{} refused {} ({}): {}", self.peer, request.tag(), code.as_str(), text::escape(message));
        let failure = match code {
            ErrorCode::Busy | ErrorCode::Internal if matches!(request, SnapshotsRequest::Ack { .. }) => {
                self.trouble = Some((FailureCode::Provider, words));
                self.ack_after = Some(now + ACK_RETRY);
                return;
            }
            ErrorCode::Busy | ErrorCode::Internal => {
                return self.back_off(now, FailureCode::Provider, words, false);
            }
            ErrorCode::NotFound | ErrorCode::PlanChanged | ErrorCode::ResumeRegressed => {
                return self.lost_session(now, request, words);
            }
            ErrorCode::Invalid => FailureCode::Provider,
            ErrorCode::Unauthorized => FailureCode::Authentication,
            ErrorCode::ResumeOutOfBounds => FailureCode::ResumeMismatch,
            ErrorCode::Cancelled => FailureCode::Cancelled,
        };
        self.fail(now, failure, words, false);
    }

    /// The provider does not know the session, or not as we do.
    fn lost_session(&mut self, now: Instant, request: &SnapshotsRequest, words: String) {
        match request {
            SnapshotsRequest::Resume { .. } if self.explicit.is_some() => {
                self.fail(now, FailureCode::ResumeMismatch, words, false);
            }
            SnapshotsRequest::Resume { .. } if !self.planned_anew => {
                self.plan_anew = true;
                self.planned_anew = true;
                self.opened = false;
                self.trouble = Some((FailureCode::Provider, words));
            }
            SnapshotsRequest::Resume { .. } => self.fail(now, FailureCode::ResumeMismatch, words, false),
            SnapshotsRequest::Plan { .. } => {
                let what = if self.work.is_some() {
                    "it no longer offers this snapshot; what is verified of it is kept"
                } else {
                    "it offers no such snapshot"
                };
                self.fail(now, FailureCode::Provider, format!("{words}: {what}"), false);
            }
            // `resume` finds out what is the matter.
            _ => self.back_off(now, FailureCode::Provider, words, false),
        }
    }

    /// Every byte is durable: an ack that is not taken holds nothing up.
    fn gives_up_ack(&mut self, request: &SnapshotsRequest) -> bool {
        let gives_up = matches!(request, SnapshotsRequest::Ack { .. }) && self.is_all_durable();
        if gives_up {
            self.ack_given_up = true;
            self.settle();
        }
        gives_up
    }

    /// Tries again later, by `resume`. A further failure during a back-off does not make it longer.
    pub(super) fn back_off(&mut self, now: Instant, code: FailureCode, cause: String, for_connection: bool) {
        self.opened = false;
        if self.is_over() || self.retry.is_some() {
            return;
        }
        self.trouble = Some((code, cause.clone()));
        let for_connection = for_connection || self.link == Link::Down;
        match self.backoff.next(now) {
            Some(at) => self.retry = Some(Retry { at, since: now, cause, for_connection }),
            None => {
                let waited = self.options.give_up_after.unwrap_or_default().as_secs();
                let message =
                    format!("{} was no help for {waited} s, as long as give_up_after_s allows: {cause}", self.peer);
                self.fail(now, FailureCode::Network, message, false);
            }
        }
    }

    pub(super) fn fail(&mut self, now: Instant, code: FailureCode, message: String, distrust: bool) {
        if self.failure.is_none() {
            self.failure = Some((Failure { code, message, distrust }, now));
            self.retry = None;
            if let Some(work) = &mut self.work {
                work.window.close();
                work.recheck.close();
            }
        }
    }
}
