//! Every bound of the program itself, in one place (`docs/limits.md`).

use std::time::Duration;

/// Disk, hash and proof jobs at once; further ones wait.
pub(crate) const MAX_BLOCKING_THREADS: usize = 64;
/// At the end of the process, queued lines of the log are written within this time or not at all.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);
/// Log lines that may wait for a reader.
pub(crate) const MAX_LOG_LINES: usize = 8192;
/// Bytes of log lines that may wait for a reader.
pub(crate) const MAX_LOG_BYTES: usize = 4 << 20;
/// Time for `bench` to connect.
pub(crate) const BENCH_CONNECT: Duration = Duration::from_secs(20);
/// Time for the first answer to a ping of `bench`; without an answer, `bench` goes on.
pub(crate) const BENCH_PING: Duration = Duration::from_secs(3);
/// Time for a provider to confirm the end of `bench`.
pub(crate) const BENCH_GOODBYE: Duration = Duration::from_secs(2);
/// The longest pause between messages during which the thread polls.
pub(crate) const AWAKE: Duration = Duration::from_millis(1);
/// A stop that follows another within this time is that one, sent twice.
pub(crate) const ONE_STOP: Duration = Duration::from_millis(500);
