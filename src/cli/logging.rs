//! Writes the log to standard error, as `[log]` says. The reader may stall or go away; the process goes on.

mod lines;

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use rpp_runtime::{
    config::{Log, LogFormat},
    hooks::{Counter, ProcessCounter},
};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use self::lines::Lines;

use crate::limits::LAST_LINES;

/// The process's log. When this is dropped, queued lines are written, if somebody reads them.
pub(crate) struct Logging {
    lines: Lines,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Replaces the filter of the log from now on.
    ///
    /// # Errors
    /// `[log] filter` cannot be parsed; the earlier filter then stays in force.
    pub(crate) fn set_filter(&self, log: &Log) -> anyhow::Result<()> {
        self.filter.reload(filter(log)?).context("the log's filter cannot be exchanged")
    }

    /// The log's counter for `GET /metrics`.
    pub(crate) fn counter(&self) -> ProcessCounter {
        ProcessCounter {
            name: "log_dropped_lines",
            help: "Log lines that were dropped because their reader stalled or went away",
            counter: self.lines.dropped(),
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.finish(LAST_LINES);
    }
}

/// Parses `[log] filter`. If it is only a level, the DHT's library logs only errors. It would otherwise warn about an
/// empty table, of which a node has two, and about each stream that a peer opens beyond the bound.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    let text = match log.filter.trim() {
        level @ ("info" | "warn") => format!("{level},libp2p_kad=error"),
        other => other.to_owned(),
    };
    EnvFilter::builder().parse(text).with_context(|| {
        format!(
            "`log.filter` cannot be {:?}; allowed: a level (error, warn, info, debug, trace) or directives such as \
             \"info,rpp_runtime=debug\"",
            log.filter
        )
    })
}

/// Sets up logging for the process.
pub(crate) fn start(log: &Log) -> anyhow::Result<Logging> {
    let (filter, handle) = reload::Layer::new(filter(log)?);
    let terminal = io::stderr().is_terminal();
    let lines = Lines::to(io::stderr(), Counter::default()).context("the log's thread cannot be started")?;
    let layer =
        tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_ansi(terminal).log_internal_errors(false);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be set up: {error}"))?;
    rpp_http::panics::install();
    Ok(Logging { lines, filter: handle })
}
