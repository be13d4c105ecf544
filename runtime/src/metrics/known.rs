//! Label values that are known in advance. Their series begin at 0. A series that appears only with its first event
//! shows no increase at that point, so an alert on an increase would not fire.

use rpp_p2p::{
    messages::ErrorCode,
    snapshots::{Outcome, RequestKind},
};

use super::{Direction, DirectionKind, KindLabel, Metrics, RequestLabels, Result_, kind_name};
use crate::{queues::Queues, sessions::VIOLATION_KINDS, status::FailureCode};

const REQUEST_KINDS: [Option<RequestKind>; 7] = [
    Some(RequestKind::Plan),
    Some(RequestKind::Chunk),
    Some(RequestKind::LightClientUpdate),
    Some(RequestKind::Resume),
    Some(RequestKind::Ack),
    Some(RequestKind::Cancel),
    None,
];

const OUTCOMES: [Outcome; 13] = [
    Outcome::Served,
    Outcome::Refused(ErrorCode::NotFound),
    Outcome::Refused(ErrorCode::Unauthorized),
    Outcome::Refused(ErrorCode::Busy),
    Outcome::Refused(ErrorCode::Invalid),
    Outcome::Refused(ErrorCode::PlanChanged),
    Outcome::Refused(ErrorCode::ResumeRegressed),
    Outcome::Refused(ErrorCode::ResumeOutOfBounds),
    Outcome::Refused(ErrorCode::Cancelled),
    Outcome::Refused(ErrorCode::Internal),
    Outcome::Violation,
    Outcome::Lost,
    Outcome::Abandoned,
];

impl Metrics {
    pub(super) fn begin_at_0(&self) {
        for kind in REQUEST_KINDS.map(kind_name) {
            for direction in [Direction::sent, Direction::received] {
                drop(self.bytes.get_or_create(&DirectionKind { direction, kind }));
                for outcome in OUTCOMES.map(Outcome::as_str) {
                    drop(self.requests.get_or_create(&RequestLabels { direction, kind, outcome }));
                }
            }
            drop(self.round_trip.get_or_create(&KindLabel { kind }));
        }
        let kind = kind_name(Some(RequestKind::Ack));
        for direction in [Direction::sent, Direction::received] {
            drop(self.acks.get_or_create(&DirectionKind { direction, kind }));
        }
        for result in OUTCOMES.map(Outcome::as_str) {
            drop(self.resumes.get_or_create(&Result_ { result }));
        }
        for kind in VIOLATION_KINDS {
            drop(self.verification_failures.get_or_create(&KindLabel { kind }));
        }
        for kind in FailureCode::ALL.iter().map(|code| code.as_str()) {
            drop(self.retries.get_or_create(&KindLabel { kind }));
        }
        self.queues(&Queues::default());
    }
}
