//! A bar on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpp_runtime::{SessionState, SnapshotStreamStatus, status::WaitKind};

use crate::cli::{human, output, status};

/// Least time between two plain lines that differ in figures only.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines { last: Option<(SessionState, Option<WaitKind>)>, shown: Instant, hint: String },
}

impl Progress {
    pub(crate) fn new() -> Self {
        if !output::is_terminal() {
            return Self::Lines { last: None, shown: Instant::now(), hint: String::new() };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is a constant; a test builds it.
        bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    pub(crate) fn show(&mut self, status: &SnapshotStreamStatus) {
        match self {
            Self::Bar(bar) => draw(bar, status),
            Self::Lines { last, shown, .. } => {
                let now = (status.state, waits_long(status));
                let changed = last.replace(now) != Some(now);
                if changed || shown.elapsed() >= LINE_EVERY {
                    *shown = Instant::now();
                    output::note(&status::line(status));
                }
            }
        }
    }

    /// Prints a remark about the watching itself.
    pub(crate) fn hint(&mut self, text: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(text.to_owned()),
            Self::Lines { hint, .. } if hint != text => {
                text.clone_into(hint);
                output::note(text);
            }
            Self::Lines { .. } => {}
        }
    }

    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    Ok(ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3} %  {msg}")?.progress_chars("=> "))
}

fn draw(bar: &ProgressBar, status: &SnapshotStreamStatus) {
    let total = status.total_bytes.unwrap_or_default();
    bar.set_length(total.max(1));
    bar.set_position(status.bytes_verified.min(total));
    bar.set_prefix(human::bytes(total));
    bar.set_message(message(status));
}

/// The verified rate and the remaining time while bytes arrive, else what the session waits for.
fn message(status: &SnapshotStreamStatus) -> String {
    let flows = status.state == SessionState::Streaming && waits_long(status).is_none();
    match (flows, status.verified_bytes_per_second) {
        (true, Some(rate)) => {
            let eta = status::eta(status).map(|eta| format!(", {eta} left")).unwrap_or_default();
            format!("verified at {}/s{eta}", human::bytes(rate))
        }
        _ => status::explain(status),
    }
}

/// What the session waits for, if it has waited longer than an ordinary answer takes.
fn waits_long(status: &SnapshotStreamStatus) -> Option<WaitKind> {
    status.waiting_on.as_ref().filter(|waiting| waiting.since_ms >= 1000).map(|waiting| waiting.what)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bars_template_is_valid() {
        super::style().unwrap();
    }
}
