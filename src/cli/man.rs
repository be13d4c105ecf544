//! `man`: the manual pages, one for each command, made from its help.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::output;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node man ~/.local/share/man/man1
  rpp-node man pages && man -l pages/rpp-node-fetch.1")]
pub(crate) struct ManArgs {
    /// The folder for the pages, created when absent.
    dir: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<()> {
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    let mut command = super::Cli::command().disable_help_subcommand(true);
    command.build();
    write(&command, args)
}

fn write(command: &Command, args: &ManArgs) -> anyhow::Result<()> {
    let man = Man::new(command.clone()).manual("rpp-node").source(concat!("rpp-node ", env!("CARGO_PKG_VERSION")));
    let path = args.dir.join(man.get_filename());
    fs::write(&path, page(&man, command)?).with_context(|| format!("cannot write {}", path.display()))?;
    output::line(&path.display().to_string())?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write(below, args))
}

/// Like [`Man::render`], but examples keep their lines.
fn page(man: &Man, command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        after_help(&text.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// Indented lines are examples; the others are text.
fn after_help(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (mut listing, mut noted) = (false, false);
    for line in text.lines() {
        let example = line.starts_with(' ');
        if listing && !example {
            roff.control("fi", []);
        }
        match line {
            "Example:" | "Examples:" => drop(roff.control("SH", ["EXAMPLES"])),
            _ if example => {
                if !listing {
                    roff.control("nf", []);
                }
                roff.text([roman(line.trim_start())]);
            }
            "" => drop(roff.control("PP", [])),
            _ => {
                if !noted {
                    roff.control("SH", ["NOTES"]);
                }
                noted = true;
                roff.text([roman(line)]);
            }
        }
        listing = example;
    }
    if listing {
        roff.control("fi", []);
    }
    roff
}
