//! `publish`: makes a snapshot of a file or a directory, extends the chain and signs.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use rpp_p2p::Hash;
use rpp_runtime::{
    Config, files, keys,
    publish::{Findings, PublishProgress, PublishRequest, Published, Survey, publish},
};

use super::{
    config_args::ConfigArgs,
    human,
    meter::{self, ProgressLines},
    output,
    stored::missing,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node publish --config node.toml --height 1200 ./state
  rpp-node publish --config node.toml --height 1201 --block-hash 9f2c... state.db --json

Works beside a running node, which offers the snapshot within 2 s. The same height, block hash and content again give
the same output; another height that is not above the last is refused and changes nothing.

A folder with links that `unpack` refuses (absolute, or leading outside) is refused before any work, and the links are named,
unless --allow-links is given. Files that only their owner may read are named too: the payload does not keep that mode.")]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The snapshot's height: at least 1, and above the last published one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=rpp_p2p::types::MAX_INTEGER))]
    height: u64,
    /// Hash of the block at that height, 64 hex digits; zeros when absent.
    #[arg(long, value_name = "HEX")]
    block_hash: Option<Hash>,
    /// Print JSON: {"root","height","step","bytes","format","commitment","genesis","publisher"}
    #[arg(long)]
    json: bool,
    /// Publish a folder even if it has absolute links or links that lead outside.
    #[arg(long)]
    allow_links: bool,
    /// The file or directory.
    input: PathBuf,
}

const READING: &str = "reading, hashing and copying";

pub(crate) fn run(args: &PublishArgs) -> anyhow::Result<()> {
    rpp_proofs::check_cpu()?;
    let config = args.config.load()?.config;
    let key_file = &config.publisher.key_file;
    let fresh = !key_file.exists();
    // Without the key's chain, the publish would begin a second one, which every consumer refuses as equivocation.
    if !fresh && let Some(lack) = missing(&config.data_dir)? {
        bail!(
            "{lack}, so the chain that {} has signed cannot be continued: mount its file system, or correct the path; for a key \
             that has published nothing yet, `rpp-node init` makes the folder",
            key_file.display()
        );
    }
    let signer = keys::load_or_create_publisher(key_file)?;
    if fresh {
        output::note(&format!("made the publisher's key {}: back it up", key_file.display()));
    }
    let snapshots_dir = snapshots_dir(&config)?;
    let request = PublishRequest {
        snapshots_dir: &snapshots_dir,
        input: &args.input,
        height: args.height,
        block_hash: args.block_hash,
        chain_id: &config.publisher.chain_id,
        signer: &signer,
        keep: config.snapshots.keep,
        allow_links: args.allow_links,
    };
    let mut shown = Shown::new();
    let published = publish(&request, &mut |progress| shown.show(progress));
    shown.finish();
    let published = published.with_context(|| format!("{} was not published", files::shown(&args.input)))?;
    if args.json {
        return output::json(&published);
    }
    output::note(&shown.times());
    describe(&published).iter().try_for_each(|line| output::line(line))
}

/// `data/snapshots`; created with private modes if absent.
pub(super) fn snapshots_dir(config: &Config) -> anyhow::Result<PathBuf> {
    let folder = config.data_dir.join("snapshots");
    for path in [&config.data_dir, &folder] {
        files::create_dir_private(path).with_context(|| format!("cannot make {} (`data_dir`)", path.display()))?;
    }
    Ok(folder)
}

fn describe(published: &Published) -> Vec<String> {
    let format = human::format(published.format);
    [
        ("root", published.root.to_string()),
        ("height", published.height.to_string()),
        ("step", published.step.to_string()),
        ("bytes", published.bytes.to_string()),
        ("format", format.to_owned()),
        ("commitment", published.commitment.to_string()),
        ("genesis", published.genesis.to_string()),
        ("publisher", published.publisher.to_string()),
    ]
    .map(|(name, value)| format!("{name:<10} {value}"))
    .to_vec()
}

/// Warnings for the publisher before the work begins, one line for each entry.
fn warnings(survey: &Survey) -> Vec<String> {
    let what = if survey.is_folder { "" } else { "this file is a tar, and " };
    let mut lines: Vec<_> = named(&survey.refused)
        .map(|(path, reason)| format!("warning: {what}`unpack` will refuse \"{path}\": {reason}"))
        .collect();
    lines.extend(more(&survey.refused));
    lines.extend(named(&survey.private).map(|(path, mode)| {
        format!("warning: \"{path}\" has {mode}, which the payload does not say: `unpack` opens it, but for --private")
    }));
    lines.extend(more(&survey.private));
    lines
}

fn named(findings: &Findings) -> impl Iterator<Item = (&str, &str)> {
    findings.first.iter().map(|(path, what)| (path.as_str(), what.as_str()))
}

fn more(findings: &Findings) -> Option<String> {
    let more = findings.total - findings.first.len() as u64;
    (more > 0).then(|| format!("warning: and {more} more like that"))
}

/// Shows progress (a bar on a terminal, otherwise a line for each stage and every few seconds) and measures the stages.
struct Shown {
    bar: Option<ProgressBar>,
    stage: Option<&'static str>,
    since: Instant,
    stages: Vec<(&'static str, Duration)>,
    bytes: u64,
    lines: ProgressLines,
}

impl Shown {
    fn new() -> Self {
        let bar = output::is_terminal().then(ProgressBar::new_spinner);
        Self {
            bar,
            stage: None,
            since: Instant::now(),
            stages: Vec::new(),
            bytes: 0,
            lines: ProgressLines::later(READING),
        }
    }

    fn show(&mut self, progress: PublishProgress) {
        if let PublishProgress::Surveyed(survey) = &progress {
            return warnings(survey).iter().for_each(|line| output::note(line));
        }
        let stage = match progress {
            PublishProgress::Completing { .. } => "completing an earlier publish that was killed",
            PublishProgress::Reading { .. } => READING,
            PublishProgress::Flushing => "making it durable",
            PublishProgress::Preparing => "preparing the prover",
            PublishProgress::Extending => "extending the chain",
            PublishProgress::Proving => "proving",
            PublishProgress::Placing => "putting it in place",
            _ => "working",
        };
        if self.stage != Some(stage) {
            self.enter(stage);
        }
        if let PublishProgress::Reading { done, total } = progress {
            self.bytes = total;
            match &self.bar {
                Some(bar) => {
                    bar.set_length(total.max(1));
                    bar.set_position(done);
                }
                None => self.lines.show(self.since.elapsed(), done, total),
            }
        }
    }

    fn enter(&mut self, stage: &'static str) {
        self.leave();
        self.stage = Some(stage);
        self.since = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_style(meter::style(if stage == READING {
                    meter::TEMPLATE
                } else {
                    "{spinner} {msg} ({elapsed})"
                }));
                bar.reset_elapsed();
                bar.set_message(stage);
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            None => output::note(&format!("{stage} ...")),
        }
    }

    fn leave(&mut self) {
        if let Some(stage) = self.stage.take() {
            self.stages.push((stage, self.since.elapsed()));
        }
    }

    fn finish(&mut self) {
        self.leave();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The time of each stage. The time of the proof is separate, because it does not depend on the size.
    fn times(&self) -> String {
        let stages: Vec<_> =
            self.stages.iter().map(|(stage, time)| format!("{stage} {}", human::duration(*time))).collect();
        format!("{} published: {}", human::bytes(self.bytes), stages.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_timed_once() {
        let mut shown = Shown { bar: None, ..Shown::new() };
        for progress in [
            PublishProgress::Reading { done: 0, total: 7 },
            PublishProgress::Reading { done: 7, total: 7 },
            PublishProgress::Flushing,
            PublishProgress::Proving,
        ] {
            shown.show(progress);
        }
        shown.finish();
        let text = shown.times();
        assert!(text.starts_with("7 B published: reading"), "{text}");
        assert_eq!((text.matches("reading").count(), text.matches("proving").count()), (1, 1));
    }
}
