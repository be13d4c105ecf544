//! `--config FILE`, and one hidden flag for each key of the configuration.

use std::{path::PathBuf, sync::LazyLock};

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use rpp_runtime::{
    Config,
    config::{Effective, Overrides},
};

const FILE: &str = "config";

/// The configuration file and flags from the command line. Every key can be given as `--<section>-<key> VALUE`. The
/// help mentions these flags but does not list them.
#[derive(Clone, Debug)]
pub(crate) struct ConfigArgs {
    pub(crate) file: PathBuf,
    flags: Vec<(String, String)>,
}

impl ConfigArgs {
    /// Reads the file and applies environment and flags on top.
    pub(crate) fn load(&self) -> anyhow::Result<Effective> {
        let overrides = self
            .flags
            .iter()
            .fold(Overrides::from_env(), |all, (key, value)| all.with_flag(key.clone(), value.clone()));
        Config::load(&self.file, &overrides).context("the configuration is not usable")
    }
}

/// The flag of one key.
struct Flag {
    /// `section.key`, as the configuration names it.
    key: String,
    /// `section-key`, without the dashes before it.
    long: String,
    allowed: String,
}

/// clap keeps references to names for the life of the process.
static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let flag = |(section, name, allowed): (&str, &str, String)| {
        let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let long = key.replace(['.', '_'], "-");
        Flag { key, long, allowed }
    };
    Config::keys().map(flag).collect()
});

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
        FLAGS.iter().fold(command.arg(file), |command, flag| {
            let arg = clap::Arg::new(flag.key.as_str()).long(flag.long.as_str());
            command.arg(arg.value_name("VALUE").hide(true).help(flag.allowed.as_str()))
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
        let given = |flag: &Flag| matches.get_one::<String>(&flag.key).map(|value| (flag.key.clone(), value.clone()));
        let flags = FLAGS.iter().filter_map(given).collect();
        Ok(Self { file, flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
