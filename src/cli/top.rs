//! `top`: what the node's page shows, in a terminal.

mod draw;
mod look;
mod screen;
mod shows;

use std::{
    env,
    io::{self, IsTerminal as _},
    time::Duration,
};

use ratatui::crossterm::terminal;

use self::{draw::View, look::Picture, shows::Shows};
use super::{api::Api, config_args::ConfigArgs, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node top --config node.toml
  rpp-node top --config node.toml --once
  rpp-node top --config node.toml --json | jq '.sessions[] | select(.state == \"failed\")'

Keys: q or Ctrl-C ends, the arrows (or j and k) choose a download, r lets it try now, x cancels it after a question.
If standard output is no terminal, or TERM is dumb or not set, the screen is printed once as plain text, as with --once. NO_COLOR
takes the colours away, a locale without UTF-8 (LC_ALL, LC_CTYPE, LANG) all letters but ASCII. Only those keys change anything in the
node.")]
pub(crate) struct TopArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the screen once as plain text.
    #[arg(long)]
    once: bool,
    /// Print the node's state once as JSON: {"identity", "head", "trouble", "sessions", "peers", "events"}.
    #[arg(long)]
    json: bool,
    /// Seconds between two updates.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &TopArgs) -> anyhow::Result<()> {
    let api = Api::of(&args.config.load()?.config)?;
    if args.json {
        return output::json(&Picture::take(&api).await?);
    }
    let shows = Shows::of(|name| env::var_os(name));
    if args.once || !shows.screen || !io::stdout().is_terminal() {
        let mut view = View::default();
        view.show(Picture::take(&api).await?);
        return output::bytes(shows.text(view.plain(width())).as_bytes());
    }
    screen::run(api, shows, Duration::from_secs(args.interval)).await
}

/// Columns of a plain picture: the terminal's, `COLUMNS`, or 100. Sentences are not cut.
fn width() -> usize {
    let terminal = || terminal::size().ok().filter(|_| io::stdout().is_terminal()).map(|(columns, _)| columns.into());
    let columns = || env::var("COLUMNS").ok()?.parse().ok();
    terminal().or_else(columns).filter(|columns| *columns > 0).unwrap_or(100).clamp(40, 200)
}
