//! `health`: checks whether the running node is healthy, for supervisors that can only run a command.

use super::{api::Api, config_args::ConfigArgs, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node health --config node.toml
  rpp-node health --ready --config node.toml

No token is needed. Exit code 0: the node's task answers, with --ready also that it listens, its store is open, its sessions
are reloaded and it can write; 1: it does not, and standard error says why.")]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Check that the node is ready to serve, not only alive.
    #[arg(long)]
    ready: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let api = Api::without_token(&args.config.load()?.config)?;
    let (path, word) = if args.ready { ("/readyz", "ready") } else { ("/healthz", "alive") };
    api.probe(path).await?;
    output::line(word)
}
