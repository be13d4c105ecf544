//! A bar on a terminal, with a line for each source below it; plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpp_runtime::{
    SessionState, SnapshotStreamStatus,
    status::{SourceState, WaitKind},
};

use crate::cli::{human, output, source_table, status};

/// Shortest time between two plain lines that differ only in their figures.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Largest number of lines for sources below the bar.
const MAX_SOURCE_LINES: usize = 12;

pub(crate) enum Progress {
    Bar(Bars),
    Lines { last: Option<Reached>, shown: Instant, hint: String },
}

/// What causes a new line at once when it changes.
#[derive(PartialEq)]
pub(crate) struct Reached {
    state: SessionState,
    waits: Option<WaitKind>,
    /// The sources that deliver nothing at the moment, and why.
    lost: Vec<(String, SourceState)>,
}

impl Reached {
    fn of(status: &SnapshotStreamStatus) -> Self {
        let is_lost = |state: SourceState| {
            matches!(state, SourceState::Slow | SourceState::BackingOff | SourceState::Refused | SourceState::Banned)
        };
        let lost = status.sources.iter().filter(|source| is_lost(source.state));
        let lost = lost.map(|source| (source.source.clone(), source.state)).collect();
        Self { state: status.state, waits: waits_long(status), lost }
    }
}

/// The bar, and a line for each source.
pub(crate) struct Bars {
    all: MultiProgress,
    main: ProgressBar,
    sources: Vec<ProgressBar>,
}

impl Bars {
    fn on(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let main = all.add(ProgressBar::new(1));
        // The templates are constants; a test builds them.
        main.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { all, main, sources: Vec::new() }
    }

    fn show(&mut self, status: &SnapshotStreamStatus) {
        draw(&self.main, status);
        let lines = match source_table::is_worth_it(status) {
            true => source_table::short(status, MAX_SOURCE_LINES),
            false => Vec::new(),
        };
        for gone in self.sources.drain(lines.len().min(self.sources.len())..) {
            self.all.remove(&gone);
        }
        for (at, line) in lines.into_iter().enumerate() {
            if at == self.sources.len() {
                let bar = self.all.add(ProgressBar::new(1));
                bar.set_style(source_style().unwrap_or_else(|_| ProgressStyle::default_bar()));
                self.sources.push(bar);
            }
            self.sources[at].set_message(line);
        }
    }

    fn finish(&self) {
        self.sources.iter().for_each(ProgressBar::finish_and_clear);
        self.main.finish_and_clear();
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        if !output::is_terminal() {
            return Self::Lines { last: None, shown: Instant::now(), hint: String::new() };
        }
        let bars = Bars::on(ProgressDrawTarget::stderr());
        bars.main.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bars)
    }

    pub(crate) fn show(&mut self, status: &SnapshotStreamStatus) {
        match self {
            Self::Bar(bars) => bars.show(status),
            Self::Lines { last, shown, .. } => {
                let now = Reached::of(status);
                let changed = last.as_ref() != Some(&now);
                *last = Some(now);
                if changed || shown.elapsed() >= LINE_EVERY {
                    *shown = Instant::now();
                    output::note(&status::line(status));
                    if source_table::is_worth_it(status) {
                        let lines = source_table::short(status, MAX_SOURCE_LINES);
                        lines.iter().for_each(|line| output::note(&format!("    {line}")));
                    }
                }
            }
        }
    }

    /// Prints a remark about the display itself.
    pub(crate) fn hint(&mut self, text: &str) {
        match self {
            Self::Bar(bars) => bars.main.set_message(text.to_owned()),
            Self::Lines { hint, .. } if hint != text => {
                text.clone_into(hint);
                output::note(text);
            }
            Self::Lines { .. } => {}
        }
    }

    pub(crate) fn finish(&self) {
        if let Self::Bar(bars) = self {
            bars.finish();
        }
    }
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    Ok(ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3} %  {msg}")?.progress_chars("=> "))
}

/// A line that is too long for the terminal is cut.
fn source_style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    ProgressStyle::with_template("  {wide_msg}")
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
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        style().unwrap();
        source_style().unwrap();
    }

    #[test]
    fn each_source_has_a_line_below_the_bar_while_it_is_there() {
        let mut bars = Bars::on(ProgressDrawTarget::hidden());
        let mut status = source_table::tests::sample();
        let shown = |bars: &Bars| bars.sources.iter().map(ProgressBar::message).collect::<Vec<_>>();
        bars.show(&status);
        assert_eq!(shown(&bars), source_table::short(&status, MAX_SOURCE_LINES));
        assert_eq!((bars.main.position(), bars.main.length()), (536_870_912, Some(1 << 30)));
        assert!(bars.main.message().contains("verified at 100 MiB/s"), "{}", bars.main.message());
        status.sources.remove(1);
        bars.show(&status);
        assert_eq!(shown(&bars).len(), 2);
        status.sources.truncate(1);
        bars.show(&status);
        assert_eq!(shown(&bars), [""; 0], "the bar itself tells of one peer");
        while status.sources.len() <= MAX_SOURCE_LINES {
            status.sources.push(status.sources[0].clone());
        }
        bars.show(&status);
        assert_eq!(shown(&bars).len(), MAX_SOURCE_LINES + 1);
    }

    #[test]
    fn a_source_that_is_lost_is_worth_a_line_and_one_that_rests_is_not() {
        let status = source_table::tests::sample();
        let told = Reached::of(&status);
        let with = |at: usize, state| {
            let mut status = status.clone();
            status.sources[at].state = state;
            Reached::of(&status)
        };
        assert!(told == with(0, SourceState::Idle));
        assert!(told != with(0, SourceState::Slow));
        assert!(told != with(1, SourceState::Active));
    }
}
