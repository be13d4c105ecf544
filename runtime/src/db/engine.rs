//! One opening of sled: its trees, the thread that flushes for all callers, and the meaning of its errors.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Change, Notice, Rows, TABLES,
    fault::{DbFault, system_code},
};
use crate::limits::{DB_CACHE_BYTES, FLUSH_PATIENCE, FLUSH_QUEUE};
use crate::{config::Durability, files::create_dir_private, writable};

const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why sled could not be opened.
#[derive(Debug)]
pub(super) enum Unopened {
    /// This or another process has it open.
    Locked(DbFault),
    /// The disk fails at present; the content is not damaged.
    Disk(DbFault),
    /// The content cannot be read.
    Damaged(DbFault),
}

impl Unopened {
    fn disk(error: impl Into<DbFault>) -> Self {
        Self::Disk(error.into())
    }
}

/// An open sled. Dropping it ends its thread and frees its lock.
pub(super) struct Engine {
    /// `None` only during the drop.
    trees: Option<(sled::Db, [sled::Tree; TABLES.len()])>,
    flushes: Option<SyncSender<SyncSender<Result<(), DbFault>>>>,
    thread: Option<JoinHandle<()>>,
    /// A flush did not end, so nothing waits for its thread.
    stuck: AtomicBool,
}

impl Engine {
    /// Opens the database in `folder`. Waits up to `patience` if something else has it open. A damaged database is set
    /// aside.
    pub(super) fn open(
        folder: &Path,
        durability: Durability,
        patience: Duration,
    ) -> Result<(Self, Vec<Notice>), Unopened> {
        let mut notices = Vec::new();
        remove_leftovers(folder, &mut notices).map_err(Unopened::disk)?;
        let begun = Instant::now();
        let opened = loop {
            match try_open(folder) {
                Err(Unopened::Locked(_)) if begun.elapsed() < patience => std::thread::sleep(LOCK_POLL),
                Err(Unopened::Damaged(reason)) => {
                    // If the disk accepts no writes, sled fails in many ways.
                    let parent = folder.parent().unwrap_or(Path::new("."));
                    writable::try_write(parent).map_err(Unopened::disk)?;
                    let to = set_aside(folder).map_err(Unopened::disk)?;
                    // A damaged database is better than none.
                    let opened = try_open(folder).inspect_err(|_| put_back(&to, folder))?;
                    notices.push(Notice::SetAside { to, reason });
                    break opened;
                }
                other => break other?,
            }
        };
        let file = match durability {
            Durability::Strict => {
                let path = folder.join("db");
                let opened = File::open(&path);
                Some(opened.map_err(|source| Unopened::Disk(DbFault::File { path, source: source.into() }))?)
            }
            Durability::Process => None,
        };
        let (flushes, requests) = mpsc::sync_channel(FLUSH_QUEUE);
        let db = opened.0.clone();
        let thread = std::thread::Builder::new()
            .name("session-db".to_owned())
            .spawn(move || flush_for_all(&requests, &db, file.as_ref()))
            .map_err(Unopened::disk)?;
        let engine =
            Self { trees: Some(opened), flushes: Some(flushes), thread: Some(thread), stuck: AtomicBool::new(false) };
        Ok((engine, notices))
    }

    /// All rows.
    pub(super) fn rows(&self) -> Result<Rows, DbFault> {
        guarded(|| {
            let mut rows = Rows::default();
            for (tree, rows) in self.trees()?.iter().zip(&mut rows) {
                for entry in tree {
                    let (key, value) = entry.map_err(|error| DbFault::from(&error))?;
                    rows.insert(key.to_vec(), value.to_vec());
                }
            }
            Ok(rows)
        })
    }

    /// Makes changes; they are durable only after [`Self::flush`].
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), DbFault> {
        guarded(|| {
            let trees = self.trees()?;
            for change in changes {
                let tree = &trees[change.table as usize];
                let done = match &change.value {
                    Some(value) => tree.insert(&change.key, value.as_slice()),
                    None => tree.remove(&change.key),
                };
                done.map_err(|error| DbFault::from(&error))?;
            }
            Ok(())
        })
    }

    /// Makes everything written so far durable; one flush serves all callers that wait.
    pub(super) fn flush(&self) -> Result<(), DbFault> {
        let (reply, answer) = mpsc::sync_channel(1);
        let flushes = self.flushes.as_ref().ok_or(DbFault::Closed)?;
        flushes.send(reply).map_err(|_| DbFault::Closed)?;
        match answer.recv_timeout(FLUSH_PATIENCE) {
            Ok(flushed) => flushed,
            Err(RecvTimeoutError::Disconnected) => Err(DbFault::Closed),
            Err(RecvTimeoutError::Timeout) => {
                self.stuck.store(true, Ordering::SeqCst);
                Err(DbFault::Slow { seconds: FLUSH_PATIENCE.as_secs() })
            }
        }
    }

    fn trees(&self) -> Result<&[sled::Tree; TABLES.len()], DbFault> {
        self.trees.as_ref().map(|(_, trees)| trees).ok_or(DbFault::Closed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.flushes.take());
        if let Some(thread) = self.thread.take()
            && !self.stuck.load(Ordering::SeqCst)
        {
            let _ = thread.join();
        }
        let trees = self.trees.take();
        // sled panics if the last flush fails.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(trees)));
    }
}

/// The thread of an [`Engine`].
fn flush_for_all(requests: &mpsc::Receiver<SyncSender<Result<(), DbFault>>>, db: &sled::Db, file: Option<&File>) {
    while let Ok(first) = requests.recv() {
        let waiting: Vec<_> = std::iter::once(first).chain(requests.try_iter()).collect();
        let flushed = guarded(|| {
            db.flush().map_err(|error| DbFault::from(&error))?;
            // sled's own flush survives a kill, but not a power loss.
            Ok(file.map_or(Ok(()), File::sync_data)?)
        });
        for reply in waiting {
            let _ = reply.try_send(flushed.clone()); // A caller that stopped waiting is gone.
        }
    }
}

/// A panic of sled is a failure like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, DbFault>) -> Result<T, DbFault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(DbFault::of_panic(&*panic).unwrap_or(DbFault::Panicked)))
}

fn try_open(folder: &Path) -> Result<(sled::Db, [sled::Tree; TABLES.len()]), Unopened> {
    let open = || -> Result<_, sled::Error> {
        let _ = create_dir_private(folder); // sled says what is wrong with the folder, and would make one for all to read.
        let db = sled::Config::new().path(folder).cache_capacity(DB_CACHE_BYTES).open()?;
        let trees = [db.open_tree(TABLES[0])?, db.open_tree(TABLES[1])?, db.open_tree(TABLES[2])?];
        // Reading everything once finds damage now, and not in the middle of a stream.
        for tree in &trees {
            for entry in tree {
                entry?;
            }
        }
        Ok((db, trees))
    };
    caught(open)
}

/// What an opening of sled ends with. If it panics because the system refused something, nothing is damaged.
pub(super) fn caught<T>(open: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, Unopened> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(meaning(&error)),
        Err(panic) => Err(match DbFault::of_panic(&*panic) {
            Some(refused) => Unopened::Disk(refused),
            None => Unopened::Damaged(DbFault::Unreadable),
        }),
    }
}

fn meaning(error: &sled::Error) -> Unopened {
    match error {
        // In use, which is not damage. sled reports it as text only.
        _ if error.to_string().contains("could not acquire lock") => Unopened::Locked(DbFault::InUse),
        sled::Error::Io(io) if system_code(io).is_some() => Unopened::Disk(error.into()),
        _ => Unopened::Damaged(error.into()),
    }
}

fn remove_leftovers(folder: &Path, notices: &mut Vec<Notice>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
            notices.push(Notice::RemovedLeftover(entry.path()));
        }
    }
    Ok(())
}

/// Undoes [`set_aside`]. If this fails as well, the next opening starts with an empty database.
pub(super) fn put_back(aside: &Path, folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder).and_then(|()| fs::rename(aside, folder)) {
        tracing::warn!("{} stays where it is: {error}", aside.display());
    }
}

/// Moves the folder away, and returns its new path.
pub(super) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let name = folder.file_name().map_or_else(|| "sessions".to_owned(), |n| n.to_string_lossy().into_owned());
    let to = folder.with_file_name(format!("{name}.damaged-{stamp}"));
    fs::rename(folder, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sled_says_is_told_without_debug_text() {
        let full = || io::Error::from_raw_os_error(28);
        let copied = sled::Error::Io(io::Error::new(full().kind(), format!("{:?}", full())));
        for error in [sled::Error::Io(full()), copied.clone(), copied] {
            assert_eq!(DbFault::from(&error).to_string(), full().to_string());
            assert!(matches!(meaning(&error), Unopened::Disk(_)), "{error}");
        }
        let short = sled::Error::Io(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(meaning(&short), Unopened::Damaged(_)));
        let damaged = sled::Error::Corruption { at: None, bt: () };
        assert!(matches!(meaning(&damaged), Unopened::Damaged(_)));
        assert!(!DbFault::from(&damaged).to_string().contains('{'), "{}", DbFault::from(&damaged).to_string());
    }

    #[test]
    fn a_panic_about_something_that_the_system_refuses_is_no_damage() {
        // As sled's flusher does when its thread does not start.
        let words =
            |code| format!("called `Result::unwrap()` on an `Err` value: {:?}", io::Error::from_raw_os_error(code));
        let refuse = |code| caught::<()>(|| panic!("{}", words(code)));
        let Err(Unopened::Disk(no_thread @ DbFault::NoThread(_))) = refuse(11) else { panic!("it is called damaged") };
        assert!(no_thread.to_string().contains("TasksMax"), "{no_thread}");
        assert!(matches!(refuse(28), Err(Unopened::Disk(DbFault::Io(_)))));
        let other = caught::<()>(|| panic!("a page of it cannot be read"));
        assert!(matches!(other, Err(Unopened::Damaged(DbFault::Unreadable))), "{other:?}");
        let written = guarded::<()>(|| panic!("{}", words(11)));
        assert!(matches!(written, Err(DbFault::NoThread(_))), "{written:?}");
    }
}
