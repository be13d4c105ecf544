//! SIGHUP: reads the token files and the log's filter again. Everything else needs a restart, and the log says so.

use rpp_runtime::{config::Effective, files::with_causes};

use super::tokens::Tokens;
use crate::cli::{config_args::ConfigArgs, logging::Logging};

/// Applies every setting that can change while the node runs. An unusable configuration changes nothing.
pub(super) async fn reload(args: &ConfigArgs, running: &Effective, logging: &Logging, tokens: &Tokens) {
    let usable = tokens.read_again().await;
    let new = match args.load() {
        Ok(new) => new,
        Err(error) => return tracing::error!("the configuration stays as it was: {}", with_causes(error.as_ref())),
    };
    if let Err(error) = logging.set_filter(&new.config.log) {
        return tracing::error!("the log's filter stays as it was: {}", with_causes(error.as_ref()));
    }
    let filter = &new.config.log.filter;
    match usable {
        true => tracing::info!(filter, "token files and the log's filter were read again"),
        false => tracing::info!(
            filter,
            "the log's filter was read again, but not every token file: where one cannot be used, the earlier token counts"
        ),
    }
    let changed: Vec<_> = new
        .settings
        .iter()
        .zip(&running.settings)
        .filter(|(new, old)| new.value != old.value && new.path() != "log.filter")
        .map(|(new, _)| new.path())
        .collect();
    if !changed.is_empty() {
        tracing::warn!("these keys have other values now, which count after a restart: {}", changed.join(", "));
    }
}
