//! What the operator of a session that failed can do, with the commands and calls that do it.

use super::tracked::Banned;
use crate::{sessions::record, status::FailureCode};

/// `banned`: its source whose ban is over first, when all are banned. `is_any_banned`: at least one is.
pub(super) fn after_failure(record: &record::Session, banned: Option<&Banned<'_>>, is_any_banned: bool) -> String {
    let session = record.session;
    // A source that is banned is not asked; one that is not trusted would be.
    let is_distrusted = record.distrust && !is_any_banned;
    let advice = record.advice.as_deref().unwrap_or(match record.distrust {
        true => "this session does not go on with a source that broke the protocol",
        false => "the session failed; put its error right",
    });
    let mut all = vec![advice.to_owned()];
    // Why it is banned is the error.
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

/// Not against the node's own disk, two histories of the publishers, and offsets that an operator insists on.
fn another_source_helps(code: FailureCode) -> bool {
    !matches!(code, FailureCode::Storage | FailureCode::Equivocation | FailureCode::ResumeMismatch)
}
