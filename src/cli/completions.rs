//! `completions`: for the shells that clap knows.

use clap::CommandFactory as _;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  rpp-node completions bash > ~/.local/share/bash-completion/completions/rpp-node")]
pub(crate) struct Args {
    /// Which shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "rpp-node", &mut script);
    super::output::bytes(&script)
}
