//! Log lines to standard error, by `[log]`.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use rpp_runtime::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Reads `[log] filter`.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder().parse(&log.filter).with_context(|| {
        format!(
            "`log.filter` cannot be {:?}; allowed: a level (error, warn, info, debug, trace) or directives such as \
             \"info,rpp_runtime=debug\"",
            log.filter
        )
    })
}

/// Sets the process's logging up.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(io::stderr).with_ansi(terminal);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let started = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    started.map_err(|error| anyhow::anyhow!("logging cannot be set up: {error}"))?;
    rpp_http::panics::install();
    Ok(())
}
