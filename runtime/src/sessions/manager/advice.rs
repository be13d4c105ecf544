//! Advice on a failed session: what its operator can do, with the commands and HTTP calls for it.

use super::tracked::Banned;
use crate::{sessions::record, status::FailureCode};

/// `banned`: if all its sources are banned, the one whose ban ends first. `is_any_banned`: whether at least one is
/// banned.
pub(super) fn after_failure(record: &record::Session, banned: Option<&Banned<'_>>, is_any_banned: bool) -> String {
    let session = record.session;
    // With a ban, a resumed session does not ask the source that lied; without one, it would.
    let is_distrusted = record.distrust && !is_any_banned;
    let advice = record.advice.as_deref().unwrap_or(match record.distrust {
        true => "this session does not go on with a source that broke the protocol",
        false => "the session failed; put its error right",
    });
    let mut all = vec![advice.to_owned()];
    // The session's error says why.
    all.extend(
        banned
            .map(|Banned { source, ban }| format!("{source} is {}; {} lifts the ban", ban.until_when(), ban.lifting())),
    );
    if record.error_code.is_none_or(another_source_helps) {
        all.push(format!(
            "`rpp-node sources {session} --add-peer PEER` or `--add-mirror URL` (POST /p2p/snapshots/{session}/sources) adds a source, \
             and the session goes on with it"
        ));
    }
    if is_distrusted {
        all.push("POST /p2p/snapshots with {\"peer\":...} starts anew, with this source too".to_owned());
    } else if banned.is_none() {
        all.push(format!(
            "`rpp-node fetch --resume {session}` (POST /p2p/snapshots with {{\"resume\":{{\"session\":{session}}}}}) tries again"
        ));
    }
    all.push(format!("DELETE /p2p/snapshots/{session} removes the session"));
    all.join(". ")
}

/// Whether another source helps. It does not if this node's disk failed, if the publishers signed two histories, or if
/// the operator's explicit offsets do not fit.
fn another_source_helps(code: FailureCode) -> bool {
    !matches!(code, FailureCode::Storage | FailureCode::Equivocation | FailureCode::ResumeMismatch)
}
