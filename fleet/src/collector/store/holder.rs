//! Finds which other program holds a lock on the database, in Linux' list of locks. On other systems nobody is named.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Bytes of the `-shm` file that SQLite locks: one for the writer, five for readers of an old state.
const WRITES: u64 = 120;
const READS: std::ops::RangeInclusive<u64> = 123..=127;
/// How often the list is read before nobody is named. The kernel returns a long list in parts, and skips entries when other
/// locks are given back in between: beside seven programs that lock and unlock, 4 of 972 readings lacked a lock that was
/// held throughout (Linux 6, 2026-11-30).
const READINGS: usize = 8;

/// The program that keeps others from writing, such as `sqlite3 (process 4711)`.
pub(super) fn writer(db: &Path) -> Option<String> {
    // A shell in exclusive mode locks the file itself.
    let exclusive = || other(db, |lock| lock.is_write);
    other(&shm(db), |lock| lock.is_write && lock.covers(WRITES..=WRITES)).or_else(exclusive)
}

/// The program that reads an old state, so that the log cannot be emptied.
pub(super) fn reader(db: &Path) -> Option<String> {
    other(&shm(db), |lock| lock.covers(READS))
}

fn shm(db: &Path) -> std::path::PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push("-shm");
    name.into()
}

struct Lock {
    is_write: bool,
    pid: u32,
    inode: u64,
    first: u64,
    last: u64,
}

impl Lock {
    fn covers(&self, bytes: std::ops::RangeInclusive<u64>) -> bool {
        self.first <= *bytes.end() && self.last >= *bytes.start()
    }
}

/// The first other process with such a lock on the file.
fn other(file: &Path, wanted: impl Fn(&Lock) -> bool) -> Option<String> {
    let inode = fs::metadata(file).ok()?.ino();
    let is_wanted = |lock: &Lock| lock.inode == inode && lock.pid != std::process::id() && wanted(lock);
    let lock = (0..READINGS).find_map(|_| {
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().filter_map(parse).find(is_wanted)
    })?;
    let name = fs::read_to_string(format!("/proc/{}/comm", lock.pid)).unwrap_or_default();
    let name = if name.trim().is_empty() { "another program".to_owned() } else { crate::escape(name.trim()) };
    Some(format!("{name} (process {})", lock.pid))
}

/// `1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 120 120`; the end may be `EOF`. Waiters have `->` before the type.
fn parse(line: &str) -> Option<Lock> {
    let mut words = line.split_whitespace().skip(1);
    let ("POSIX", _, mode) = (words.next()?, words.next()?, words.next()?) else { return None };
    let pid = words.next()?.parse().ok()?;
    let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
    let first = words.next()?.parse().ok()?;
    let last = words.next()?.parse().unwrap_or(u64::MAX);
    Some(Lock { is_write: mode == "WRITE", pid, inode, first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let lock = parse("7: POSIX  ADVISORY  WRITE 4711 fe:01:1234 120 120").unwrap();
        assert!(lock.is_write && lock.covers(WRITES..=WRITES) && !lock.covers(READS));
        assert_eq!((lock.pid, lock.inode), (4711, 1234));
        assert_eq!(parse("1: POSIX  ADVISORY  READ 1 00:2f:99 128 EOF").unwrap().last, u64::MAX);
        for other in ["2: FLOCK  ADVISORY  WRITE 1 fe:01:9 0 EOF", "1: -> POSIX ADVISORY WRITE 1 fe:01:9 0 1", "", "1:"]
        {
            assert!(parse(other).is_none(), "{other}");
        }
    }
}
