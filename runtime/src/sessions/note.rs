//! Restores sessions when the database is lost. Each partial payload has a small note beside it. The note has a
//! checksum, so that a changed note is not trusted.

use std::{collections::BTreeSet, fs, io, path::Path};

use rpp_p2p::{Hash, SnapshotSessionId};

use crate::{
    files::{sealed, write_atomic},
    sessions::record::{Progress, Session},
};

/// The note's name in `partial/<root>/`.
pub(crate) const NOTE: &str = "session.json";
/// The largest note that is read.
const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// Writes, atomically, which session streams this payload.
pub(crate) fn note_session(partial: &Path, record: &Session) -> io::Result<()> {
    let json = sealed::seal(record)?;
    write_atomic(&partial.join(NOTE), &json, 0o600)
}

/// Removes the note of this session, so that nothing restores it. The note of another session stays.
pub(crate) fn forget_session(partial: &Path, session: SnapshotSessionId) -> io::Result<()> {
    let note = partial.join(NOTE);
    match read_note(&note) {
        Ok(record) if record.session == session => fs::remove_file(&note),
        // A missing or unreadable note restores nothing either.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The sessions that the notes name, except the `known` ones. Their progress is read from the payloads when these are
/// opened. A note that cannot be read is skipped and logged; the bytes stay, and the next session for that payload uses
/// them.
pub(crate) fn from_partials(folder: &Path, known: &BTreeSet<SnapshotSessionId>) -> Vec<(Session, Progress)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<Hash>().is_ok()))
        .filter_map(|entry| match read_note(&entry.path().join(NOTE)) {
            Ok(record) => Some(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{}: no session could be rebuilt from it: {error}", entry.path().display());
                None
            }
        })
        .filter(|record| !known.contains(&record.session))
        .inspect(|record| {
            tracing::warn!(
                "session {} is not, or not whole, in the database and was rebuilt from its partial payload",
                record.session
            )
        })
        .map(|record| (record, Progress::default()))
        .collect()
}

fn read_note(path: &Path) -> io::Result<Session> {
    use io::Read as _;
    let mut json = Vec::new();
    crate::files::open_nofollow(path)?.take(MAX_NOTE_BYTES).read_to_end(&mut json)?;
    sealed::open(&json).map_err(io::Error::other)
}
