//! When to report that connections cannot be accepted.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Failed tries to accept a connection. They come many times a second as long as file descriptors are lacking, so only
/// one in an interval is reported, with the number of those since the report before.
///
/// ```
/// use std::time::{Duration, Instant};
/// # use rpp_common::FailedAccepts;
///
/// let (mut failed, now) = (FailedAccepts::new(Duration::from_secs(60)), Instant::now());
/// assert!(failed.report(now, &"Too many open files (os error 24)").is_some());
/// assert!(failed.report(now, &"Too many open files (os error 24)").is_none());
/// ```
#[derive(Clone, Debug)]
pub struct FailedAccepts {
    interval: Duration,
    unreported: u64,
    reported: Option<Instant>,
}

impl FailedAccepts {
    /// Reports are at least `interval` apart.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, unreported: 0, reported: None }
    }

    /// Counts one more failure. If a report is due, returns it: the error, what to do, and how many tries failed.
    pub fn report(&mut self, now: Instant, error: &impl Display) -> Option<String> {
        self.unreported = self.unreported.saturating_add(1);
        if self.reported.is_some_and(|reported| now.saturating_duration_since(reported) < self.interval) {
            return None;
        }
        self.reported = Some(now);
        let count = std::mem::take(&mut self.unreported);
        let error = error.to_string();
        let advice = advice(&error);
        Some(format!("{error}{advice} (failed tries since the last such line: {count})"))
    }
}

/// What to do about an error. Transports that wrap the system's error keep no more than its text.
fn advice(error: &str) -> &'static str {
    if error.contains("(os error 24)") {
        "; this process has all the files and connections open that it may have: raise LimitNOFILE= of its service, or \
         `ulimit -n` before it is started"
    } else if error.contains("(os error 23)") {
        "; this machine has all the files and connections open that it may have: raise `fs.file-max`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_report_in_an_interval_counts_the_failures_and_says_what_to_do() {
        let (interval, now) = (Duration::from_secs(60), Instant::now());
        let mut failed = FailedAccepts::new(interval);
        let error = std::io::Error::from_raw_os_error(24);
        let first = failed.report(now, &error).unwrap();
        assert!(first.contains("LimitNOFILE") && first.ends_with("last such line: 1)"), "{first}");
        for _ in 0..600 {
            assert_eq!(failed.report(now + interval - Duration::from_millis(1), &error), None);
        }
        let second = failed.report(now + interval, &error).unwrap();
        assert!(second.starts_with(&error.to_string()) && second.ends_with("last such line: 601)"), "{second}");
        let other = failed.report(now + interval * 2, &"it is odd").unwrap();
        assert_eq!(other, "it is odd (failed tries since the last such line: 1)");
    }
}
