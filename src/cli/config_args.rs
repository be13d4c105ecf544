//! `--config FILE`, and one hidden flag for each key of the configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use rpp_runtime::{
    Config,
    config::{Effective, Overrides},
};

const FILE: &str = "config";

/// The configuration as the command line names it. Every key can be given as `--<section>-<key> VALUE`; those flags are
/// left out of the help, which says that they exist.
#[derive(Clone, Debug)]
pub(crate) struct ConfigArgs {
    pub(crate) file: PathBuf,
    flags: Vec<(String, String)>,
}

impl ConfigArgs {
    /// Reads the file, with environment and flags over it.
    pub(crate) fn load(&self) -> anyhow::Result<Effective> {
        let overrides =
            self.flags.iter().fold(Overrides::from_env(), |all, (key, value)| all.with_flag(key.clone(), value.clone()));
        Config::load(&self.file, &overrides).context("the configuration is not usable")
    }
}

fn flag_name(section: &str, name: &str) -> String {
    let joined = if section.is_empty() { name.to_owned() } else { format!("{section}-{name}") };
    joined.replace('_', "-")
}

fn key_path(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

impl clap::Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let file = clap::Arg::new(FILE)
            .long(FILE)
            .short('c')
            .value_name("FILE")
            .env("RPP_CONFIG")
            .required(true)
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file; each of its keys can also be given as --<section>-<key> VALUE");
        Config::keys().fold(command.arg(file), |command, (section, name, allowed)| {
            let flag = flag_name(section, name);
            let id = key_path(section, name);
            command.arg(clap::Arg::new(id).long(flag).value_name("VALUE").hide(true).help(allowed))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = matches
            .get_one::<PathBuf>(FILE)
            .cloned()
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingRequiredArgument))?;
        let flags = Config::keys()
            .map(|(section, name, _)| key_path(section, name))
            .filter_map(|key| matches.get_one::<String>(&key).cloned().map(|value| (key, value)))
            .collect();
        Ok(Self { file, flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
