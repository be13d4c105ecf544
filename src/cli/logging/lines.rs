//! The queue between those who log and the one thread that writes.
//!
//! ```text
//!   any thread --try_send--> at most MAX_LOG_LINES lines of MAX_LOG_BYTES bytes --one thread--> standard error
//!                  | no room: the line is dropped and counted
//! ```
//!
//! No thread ever waits for the reader of the log. Dropped lines are counted at once, and reported in one line as soon
//! as lines can be written again.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rpp_runtime::hooks::Counter;
use tracing_subscriber::fmt::MakeWriter;

use crate::limits::{MAX_LOG_BYTES, MAX_LOG_LINES};

/// Shortest time between two reports of dropped lines.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A non-blocking descriptor that accepts nothing at present is tried again after this time.
const AGAIN: Duration = Duration::from_millis(20);

/// Accepts lines from any thread; cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    sender: SyncSender<Vec<u8>>,
    waiting: Arc<Waiting>,
    dropped: Counter,
}

/// The content of the queue, including the line that is being written.
#[derive(Default)]
struct Waiting {
    bytes: Mutex<usize>,
    none: Condvar,
}

impl Waiting {
    fn bytes(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves space; `false` if there is not enough.
    fn take(&self, size: usize) -> bool {
        let mut bytes = self.bytes();
        let fits = *bytes + size <= MAX_LOG_BYTES;
        if fits {
            *bytes += size;
        }
        fits
    }

    fn give_back(&self, size: usize) {
        let mut bytes = self.bytes();
        *bytes = bytes.saturating_sub(size);
        if *bytes == 0 {
            self.none.notify_all();
        }
    }
}

impl Lines {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn to(output: impl Write + Send + 'static, dropped: Counter) -> io::Result<Self> {
        let (sender, received) = sync_channel(MAX_LOG_LINES);
        let waiting = Arc::<Waiting>::default();
        let mut writer = Writer {
            output,
            waiting: Arc::clone(&waiting),
            dropped: dropped.clone(),
            told: 0,
            last: None,
            flows: true,
        };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&received))?;
        Ok(Self { sender, waiting, dropped })
    }

    /// The number of lines dropped so far.
    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Waits until everything is written, at most for this time.
    pub(super) fn finish(&self, patience: Duration) {
        drop(self.waiting.none.wait_timeout_while(self.waiting.bytes(), patience, |bytes| *bytes > 0));
    }

    fn push(&self, line: &[u8]) {
        let size = line.len();
        if !self.waiting.take(size) {
            self.dropped.inc();
        } else if self.sender.try_send(line.to_vec()).is_err() {
            self.waiting.give_back(size);
            self.dropped.inc();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// A record arrives complete, in one call.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that empties the queue.
struct Writer<W> {
    output: W,
    waiting: Arc<Waiting>,
    dropped: Counter,
    /// The number of dropped lines that have been reported.
    told: u64,
    last: Option<Instant>,
    /// Whether the last line could be written.
    flows: bool,
}

impl<W: Write> Writer<W> {
    /// Runs until the last sender is dropped.
    fn run(&mut self, received: &Receiver<Vec<u8>>) {
        loop {
            let line = match self.flows && self.dropped.get() > self.told {
                false => received.recv().map_err(RecvTimeoutError::from),
                true => received.recv_timeout(TELL_EVERY),
            };
            match line {
                Ok(line) => {
                    self.flows = self.write(&line).is_ok();
                    self.waiting.give_back(line.len());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.flows {
                true => self.tell(),
                // The reader is gone: further lines are dropped.
                false => {
                    self.dropped.inc();
                }
            }
        }
    }

    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.output.write(line) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => line = line.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reports dropped lines as an ordinary record, behind those in the queue: this thread has just freed space for it.
    /// If another thread took that space first, the report counts as dropped itself, and the next one covers both.
    fn tell(&mut self) {
        let dropped = self.dropped.get();
        if dropped == self.told || self.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        let lines = dropped - self.told;
        (self.told, self.last) = (dropped, Some(Instant::now()));
        tracing::warn!(
            lines,
            "log lines were dropped: whoever reads the log did not keep up, or was gone (rpp_log_dropped_lines_total)"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that writes only when it is allowed to.
    struct Held {
        go: Receiver<()>,
        written: mpsc::SyncSender<Vec<u8>>,
    }

    impl Write for Held {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.written.send(line.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn held() -> (Lines, mpsc::SyncSender<()>, Receiver<Vec<u8>>) {
        let (go, going) = mpsc::sync_channel(0);
        let (written, lines) = mpsc::sync_channel(MAX_LOG_LINES + 8);
        (Lines::to(Held { go: going, written }, Counter::default()).unwrap(), go, lines)
    }

    fn log(mut lines: &Lines, line: &[u8]) {
        lines.write_all(line).unwrap();
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_and_the_others_arrive_in_order() {
        let (lines, go, written) = held();
        // The writer may already have taken one.
        for number in 0..MAX_LOG_LINES + 10 {
            log(&lines, number.to_string().as_bytes());
        }
        let dropped = lines.dropped().get();
        assert!((9..=10).contains(&dropped), "{dropped}");
        for number in 0..MAX_LOG_LINES {
            go.send(()).unwrap();
            assert_eq!(written.recv().unwrap(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (lines, _go, _written) = held();
        let long = vec![b'x'; MAX_LOG_BYTES / 4];
        for _ in 0..6 {
            log(&lines, &long);
        }
        assert_eq!(lines.dropped().get(), 2);
        log(&lines, &vec![b'x'; MAX_LOG_BYTES + 1]);
        assert_eq!(lines.dropped().get(), 3);
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_gone() {
        let (lines, go, written) = held();
        drop((go, written));
        for _ in 0..3 {
            log(&lines, b"into the void");
        }
        lines.finish(Duration::from_secs(60));
        assert_eq!(*lines.waiting.bytes(), 0);
    }

    #[test]
    fn the_end_does_not_wait_long_for_a_reader_that_stalls() {
        let (lines, _go, _written) = held();
        log(&lines, b"never read");
        lines.finish(Duration::from_millis(10));
        assert_eq!(lines.dropped().get(), 0);
    }
}
