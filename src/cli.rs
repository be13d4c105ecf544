//! The commands: one module each. Exit codes: 0 ok, 1 failure, 2 usage.

mod api;
mod bans;
mod bench;
mod check;
mod collect;
mod completions;
mod config_args;
mod demo;
mod fetch;
mod health;
mod human;
mod init;
mod introspect;
mod limits;
mod logging;
mod man;
mod meter;
mod mirror;
mod offers;
mod output;
mod publish;
mod run;
mod run_file;
mod signals;
mod source_table;
mod sources;
mod status;
mod stored;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const ABOUT: &str = "Streams a state snapshot from peers it does not trust, proves every byte, and always says what it \
                     is waiting for.";

const EXAMPLES: &str = "\
Examples:
  rpp-node demo                                     nodes on this machine: a crash in between, and a liar among many sources
  rpp-node init --dir provider --publisher          make a configuration, an identity, a token, a publisher's key
  rpp-node publish --config provider/node.toml --height 1 ./state
  rpp-node run --config provider/node.toml
  rpp-node fetch --config consumer/node.toml --peer /ip4/10.0.0.7/tcp/4001/p2p/12D3...

Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Parser)]
#[command(name = "rpp-node", version, about = ABOUT, after_help = EXAMPLES, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a configuration, the node's identity and a token for its control plane.
    Init(init::InitArgs),
    /// Run the node until a signal.
    Run(run::RunArgs),
    /// Look at the configuration.
    Config(check::ConfigCommandArgs),
    /// Make a snapshot of a file or a directory, extend the chain and sign it.
    Publish(publish::PublishArgs),
    /// Let the running node stream a snapshot, and watch until it is verified.
    Fetch(fetch::FetchArgs),
    /// List the snapshots that the running node's peers offer.
    Offers(offers::OffersArgs),
    /// Measure the path to a provider: its rate, its round trip, and what it costs. Nothing is stored.
    Bench(bench::BenchArgs),
    /// Show the running node's sessions, and what each waits for.
    Status(status::StatusArgs),
    /// Show where a session's bytes come from; add a source or take one away.
    Sources(sources::SourcesArgs),
    /// Watch the running node in the terminal: downloads, peers, events.
    Top(top::TopArgs),
    /// Show whom the running node has banned and why, or lift a ban.
    Bans(bans::BansArgs),
    /// Show or change how many bytes a second the running node downloads and uploads.
    Limits(limits::LimitsArgs),
    /// Check whether the running node is healthy.
    Health(health::HealthArgs),
    /// List the stored snapshots.
    List(stored::ListArgs),
    /// Check a stored snapshot offline: payload, chain, proof, signatures.
    Verify(stored::VerifyArgs),
    /// Remove a stored snapshot.
    Remove(stored::RemoveArgs),
    /// Extract a stored snapshot of a directory.
    Unpack(stored::UnpackArgs),
    /// Copy what is stored to an object store, a folder or a web server, from which others can fetch.
    Mirror(mirror::MirrorArgs),
    /// Watch a node's live state, record it, or print a recording.
    Introspect(introspect::IntrospectArgs),
    /// Take one graph of live work over many processes, keep it, and show it.
    Collect(collect::CollectArgs),
    /// Demonstrate everything on this machine: publish, stream, crash, resume, verify.
    Demo(demo::DemoArgs),
    /// Print shell completions.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    Man(man::ManArgs),
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            return ExitCode::from(2);
        }
        Err(answer) => return ended(output::help(&answer)),
    };
    ended(dispatch(cli.command))
}

fn ended(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Config(args) => check::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Offers(args) => offers::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Sources(args) => sources::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Bans(args) => bans::run(&args),
        Command::Limits(args) => limits::run(&args),
        Command::Health(args) => health::run(&args),
        Command::List(args) => stored::list(&args),
        Command::Verify(args) => stored::verify(&args),
        Command::Remove(args) => stored::remove(&args),
        Command::Unpack(args) => stored::unpack(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::Introspect(args) => introspect::run(&args),
        Command::Collect(args) => collect::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
