//! `completions`: scripts for the shells that clap supports.

use clap::CommandFactory as _;
use clap_complete::Shell;

/// The name that the shells use.
const NAME: &str = "rpp-node";

#[derive(clap::Args)]
#[command(after_help = "Example:\n  rpp-node completions bash > ~/.local/share/bash-completion/completions/rpp-node")]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), NAME, &mut script);
    if args.shell == Shell::Bash {
        script = mended(&String::from_utf8_lossy(&script)).into_bytes();
    }
    super::output::bytes(&script)
}

/// In clap_complete's script for bash (4.6.11) a hyphen in the program's name is written differently where the
/// subcommand is determined and where its options are listed. So nothing would be completed below the first level.
fn mended(script: &str) -> String {
    script.replace(&NAME.replace('-', "__subcmd__"), &NAME.replace('-', "__"))
}
