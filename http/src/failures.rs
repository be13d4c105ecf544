//! Accepts that fail.

use std::{io, time::Instant};

use rpp_common::FailedAccepts;

use crate::limits::{ACCEPT_LOG_INTERVAL, ACCEPT_PAUSE};

/// What an accept loop does about its failures: a short pause after each, and one report a minute.
#[derive(Debug)]
pub struct Failures(FailedAccepts);

impl Default for Failures {
    fn default() -> Self {
        Self(FailedAccepts::new(ACCEPT_LOG_INTERVAL))
    }
}

impl Failures {
    /// Waits for a moment, and calls `tell` if a report is due. A connection that was reset while it waited needs
    /// neither.
    pub async fn pause_after(&mut self, error: &io::Error, tell: impl FnOnce(&str)) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        if let Some(report) = self.0.report(Instant::now(), error) {
            tell(&report);
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lack_of_file_descriptors_is_told_once_and_a_reset_never() {
        let (mut failures, mut told) = (Failures::default(), Vec::new());
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        failures.pause_after(&reset, |report| told.push(report.to_owned())).await;
        assert!(told.is_empty(), "{told:?}");
        for _ in 0..3 {
            let lack = io::Error::from_raw_os_error(24);
            failures.pause_after(&lack, |report| told.push(report.to_owned())).await;
        }
        assert!(told.len() == 1 && told[0].contains("ulimit -n"), "{told:?}");
    }
}
