//! `config check`: the effective configuration and where each value comes from.

use clap::Subcommand;
use rpp_runtime::{
    config::Effective,
    keys,
    store::{DiskSpace, check_mounts},
};
use serde::Serialize;

use super::{config_args::ConfigArgs, logging, output};

#[derive(clap::Args)]
pub(crate) struct ConfigCommandArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration and where each value comes from; fails when `run` would refuse it.
    #[command(after_help = "Examples:\n  rpp-node config check --config node.toml\n  \
                      RPP_RPC_LISTEN=127.0.0.1:0 rpp-node config check --config node.toml --json")]
    Check(CheckArgs),
}

#[derive(clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON: {"file", "settings": [{"key", "value", "source"}]}
    #[arg(long)]
    json: bool,
    /// Print nothing but errors.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

#[derive(Serialize)]
struct SettingRow {
    key: String,
    value: toml::Value,
    source: String,
}

pub(crate) fn run(args: &ConfigCommandArgs) -> anyhow::Result<()> {
    let ConfigCommand::Check(args) = &args.command;
    let effective = args.config.load()?;
    for warning in effective.warnings() {
        output::note(&format!("warning: {warning}"));
    }
    if args.json {
        let settings: Vec<_> = effective
            .settings
            .iter()
            .map(|s| SettingRow { key: s.path(), value: s.value.clone(), source: s.source.to_string() })
            .collect();
        output::json(&serde_json::json!({ "file": effective.file, "settings": settings }))?;
    } else if !args.quiet {
        output::line(&render(&effective))?;
    }
    check_secrets(&effective)?;
    effective.config.check_source_folders()?;
    effective.config.check_data_dir()?;
    // `run` and `publish` would refuse this before any work.
    Ok(check_mounts(&effective.config.data_dir.join("snapshots"), &DiskSpace)?)
}

/// Loads every existing secret that `run` needs, as a check, and drops it.
fn check_secrets(effective: &Effective) -> anyhow::Result<()> {
    let config = &effective.config;
    logging::filter(&config.log)?;
    let rpc = std::env::var("RPP_RPC_TOKEN").unwrap_or_default();
    let introspection = std::env::var("RPP_INTROSPECTION_TOKEN").unwrap_or_default();
    config.check_token_files(!rpc.is_empty(), !introspection.is_empty())?;
    keys::load_token(Some(&rpc), &config.rpc.token_file)?;
    if config.introspection.enabled {
        keys::load_introspection_token(Some(&introspection), config.introspection.token_file.as_deref())?;
    }
    Ok(())
}

/// The configuration as a file, with each value's source after it.
fn render(effective: &Effective) -> String {
    let mut lines = vec![format!("# {}", effective.file.display())];
    let mut section = "";
    for setting in &effective.settings {
        if setting.section != section {
            section = setting.section;
            lines.push(format!("\n[{section}]"));
        }
        let value = format!("{} = {}", setting.name, setting.value);
        lines.push(format!("{value:<60} # {}", setting.source));
    }
    lines.join("\n")
}
