//! `data/bans.json`: one sealed document, replaced as a whole.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::rules::Ban;
use crate::{
    files::{self, Dir, sealed},
    limits::{BAN_RETRY, MAX_BANS_FILE},
};

const NAME: &str = "bans.json";
/// Where an unreadable file is moved, so that an operator can examine it.
const SET_ASIDE: &str = "bans.json.unreadable";
const VERSION: u32 = 1;
/// How long a caller waits for the file; the write goes on.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Read {
    version: u32,
    bans: Vec<Ban>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    bans: &'a [Ban],
}

/// Reads the file. If there is none, nobody is banned. If it cannot be read, nobody is banned either, and the sentence
/// says so.
pub(super) fn load(data_dir: &Path) -> (Vec<Ban>, Option<String>) {
    let path = data_dir.join(NAME);
    let folder = match Dir::open(data_dir) {
        Ok(folder) => folder,
        Err(error) => {
            return (Vec::new(), Some(format!("nobody is banned, because {} cannot be read: {error}", path.display())));
        }
    };
    let bytes = match folder.read(NAME, MAX_BANS_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(format!("nobody is banned, because {error}"))),
    };
    let reason = match sealed::open::<Read>(&bytes) {
        Ok(Read { version: VERSION, bans }) => return (bans, None),
        Ok(Read { version, .. }) => format!("it is of version {version}, this program reads {VERSION}"),
        Err(error) => files::with_causes(&error),
    };
    // A file that already has this name is older.
    let moved = folder.remove_file(SET_ASIDE).and_then(|()| folder.rename_new(NAME, &folder, SET_ASIDE));
    let aside = match moved {
        Ok(()) => format!("it is kept as {SET_ASIDE}"),
        Err(error) => format!("and it could not be set aside: {error}"),
    };
    (Vec::new(), Some(format!("{} cannot be read, so nobody is banned: {reason}; {aside}", path.display())))
}

fn write(data_dir: &Path, bans: &[Ban]) -> io::Result<()> {
    let bytes = sealed::seal(&Written { version: VERSION, bans })?;
    Dir::open(data_dir)?.write_atomic(NAME, &bytes, 0o600)
}

/// Writes the newest table, one write at a time, and again until it succeeds.
pub(super) struct Saver {
    wanted: watch::Sender<(u64, Arc<Vec<Ban>>)>,
    state: watch::Receiver<Saved>,
}

/// The state of the file.
#[derive(Clone, Debug, Default)]
struct Saved {
    /// The newest version that it holds.
    written: u64,
    /// The version that was tried last and could not be written, and why.
    failed: Option<(u64, Unsaved)>,
}

/// Why the bans are not on the disk. The machine is at fault; the bans are in force nevertheless.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unsaved {
    #[error("the bans are in force, but would not outlive a restart: {}", files::with_causes(&**.0))]
    Failed(Arc<io::Error>),
    #[error("{NAME} is not written yet: look at the disk")]
    Slow,
}

impl Saver {
    /// The present content of the disk counts as version 0.
    pub(super) fn spawn(data_dir: PathBuf) -> Self {
        let (wanted, queue) = watch::channel((0, Arc::default()));
        let (done, state) = watch::channel(Saved::default());
        tokio::spawn(save_all(data_dir, queue, done));
        Self { wanted, state }
    }

    /// Sets the table that must be on the disk from now on.
    pub(super) fn save(&self, bans: Vec<Ban>) {
        self.wanted.send_modify(|(version, table)| {
            *version += 1;
            *table = Arc::new(bans);
        });
    }

    /// Resolves when the file holds everything that was given to [`Self::save`] before, or with the reason why it does
    /// not.
    pub(super) fn saved(&self) -> impl Future<Output = Result<(), Unsaved>> + Send + use<> {
        let (version, mut state) = (self.wanted.borrow().0, self.state.clone());
        async move {
            let tried = |state: &Saved| {
                state.written >= version || state.failed.as_ref().is_some_and(|(tried, _)| *tried >= version)
            };
            match tokio::time::timeout(PATIENCE, state.wait_for(tried)).await {
                Ok(Ok(state)) if state.written >= version => Ok(()),
                Ok(Ok(state)) => Err(state.failed.as_ref().map_or(Unsaved::Slow, |(_, reason)| reason.clone())),
                Ok(Err(_)) | Err(_) => Err(Unsaved::Slow),
            }
        }
    }
}

async fn save_all(data_dir: PathBuf, mut queue: watch::Receiver<(u64, Arc<Vec<Ban>>)>, done: watch::Sender<Saved>) {
    while queue.changed().await.is_ok() {
        loop {
            let (version, table) = queue.borrow_and_update().clone();
            let folder = data_dir.clone();
            let result = tokio::task::spawn_blocking(move || write(&folder, &table)).await;
            let error = match result.map_err(io::Error::other).flatten() {
                Ok(()) => {
                    done.send_replace(Saved { written: version, failed: None });
                    break;
                }
                Err(error) => error,
            };
            let reason = Unsaved::Failed(Arc::new(error));
            let words = reason.to_string();
            if done.borrow().failed.as_ref().is_none_or(|(_, said)| said.to_string() != words) {
                tracing::error!("{words}");
            }
            done.send_modify(|state| state.failed = Some((version, reason)));
            tokio::time::sleep(BAN_RETRY).await;
            if queue.has_changed().is_err() {
                return; // The node has stopped.
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use rpp_p2p::{Evidence, Offence};
    use time::OffsetDateTime;

    use super::{
        super::rules::{BanEvidence, BanSource, Bans},
        *,
    };

    fn table() -> Vec<Ban> {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let mut bans = Bans::default();
        let evidence = Evidence::new(Offence::Chunk, "chunk 3 \u{2026}".to_owned()).at(3).bytes(7);
        bans.ban(now, &BanSource::Peer(PeerId::random()), BanEvidence { at: now, session: None, evidence });
        bans.all().cloned().collect()
    }

    #[tokio::test]
    async fn what_was_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), (Vec::new(), None));
        let (saver, bans) = (Saver::spawn(folder.path().to_owned()), table());
        saver.saved().await.unwrap();
        assert!(!folder.path().join(NAME).exists(), "nothing was to be saved");
        saver.save(Vec::new());
        saver.save(bans.clone());
        saver.saved().await.unwrap();
        assert_eq!(load(folder.path()), (bans, None));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_said() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &table()).unwrap();
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (bans, said) = load(folder.path());
        assert!(bans.is_empty() && said.as_ref().is_some_and(|said| said.contains("checksum")), "{said:?}");
        assert_eq!(std::fs::read(folder.path().join(SET_ASIDE)).unwrap(), bytes);
        assert_eq!(load(folder.path()), (Vec::new(), None));
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_said_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let (saver, bans) = (Saver::spawn(absent.clone()), table());
        saver.save(bans.clone());
        let reason = saver.saved().await.unwrap_err().to_string();
        assert!(reason.contains("would not outlive a restart"), "{reason}");
        std::fs::create_dir(&absent).unwrap();
        saver.state.clone().wait_for(|state| state.written == 1).await.unwrap();
        saver.saved().await.unwrap();
        assert_eq!(load(&absent), (bans, None));
    }
}
