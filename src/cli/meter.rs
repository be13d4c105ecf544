//! Shows the progress of long local work: a bar on a terminal, else a line at the start and one every few seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{human, output};

/// Time between two lines without a terminal.
const EVERY: Duration = Duration::from_secs(5);
/// The template of every bar that counts bytes.
pub(super) const TEMPLATE: &str =
    "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}  {binary_bytes_per_sec}, {eta} left";

pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    begun: Instant,
    lines: ProgressLines,
}

impl Meter {
    /// `what` names the work, such as "verifying".
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = output::is_terminal().then(|| {
            let bar = ProgressBar::new(1).with_message(what).with_style(style(TEMPLATE));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, begun: Instant::now(), lines: ProgressLines::new(what, Duration::ZERO) }
    }

    /// Reports that `done` of `total` bytes are done.
    pub(crate) fn at(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total.max(1));
                bar.set_position(done);
            }
            None => self.lines.show(self.begun.elapsed(), done, total),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()).progress_chars("=> ")
}

/// The progress without a terminal.
pub(super) struct ProgressLines {
    what: &'static str,
    /// When the next line is due, measured from the start of the work.
    next: Duration,
}

impl ProgressLines {
    /// The first line comes after `first`.
    pub(super) fn new(what: &'static str, first: Duration) -> Self {
        Self { what, next: first }
    }

    /// For work whose start was already reported.
    pub(super) fn later(what: &'static str) -> Self {
        Self::new(what, EVERY)
    }

    pub(super) fn show(&mut self, elapsed: Duration, done: u64, total: u64) {
        if let Some(line) = self.line(elapsed, done, total) {
            output::note(&line);
        }
    }

    fn line(&mut self, elapsed: Duration, done: u64, total: u64) -> Option<String> {
        if elapsed < self.next {
            return None;
        }
        self.next = elapsed + EVERY;
        let (part, whole, percent) = (human::bytes(done), human::bytes(total), human::percent(done, total));
        let rate = if done == 0 { String::new() } else { format!(", {}", human::rate(done, elapsed)) };
        Some(format!("{}: {part} of {whole} ({percent}){rate}", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_the_start_and_every_five_seconds() {
        let mut lines = ProgressLines::new("verifying", Duration::ZERO);
        let shown: Vec<_> = (0..=120)
            .filter_map(|tenth| lines.line(Duration::from_millis(tenth * 100), tenth << 20, 120 << 20))
            .collect();
        assert_eq!(
            shown,
            [
                "verifying: 0 B of 120 MiB (0.0 %)",
                "verifying: 50.0 MiB of 120 MiB (41.6 %), 10.0 MiB/s",
                "verifying: 100 MiB of 120 MiB (83.3 %), 10.0 MiB/s",
            ]
        );
        let mut later = ProgressLines::later("publishing");
        assert_eq!(later.line(Duration::from_secs(4), 1, 2), None);
        assert!(later.line(Duration::from_secs(5), 1, 2).is_some());
    }
}
