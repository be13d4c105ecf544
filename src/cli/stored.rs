//! `list`, `verify`, `remove`, `unpack`: commands on the store, without the node and without its database.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use rpp_p2p::{Hash, TrustAnchor};
use rpp_runtime::{
    Config,
    store::{Store, Stored},
    unpack::{self, Options, UnpackError, Unpacked},
    verify::{self, Check, VerifyReport},
};
use serde::Serialize;

use super::{config_args::ConfigArgs, human, meter::Meter, output, publish::snapshots_dir};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  rpp-node list --config node.toml --json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON: [{"root","bytes","format","payload","offers":[{"height","step","commitment","genesis"}]}]
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  rpp-node verify --config node.toml 5d0c...\n\n\
                  The genesis is compared with [trust] genesis when that is set, else it is printed for you to compare.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The snapshot's root, as `list` prints it.
    root: Hash,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:\n  rpp-node remove --config node.toml 5d0c...")]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The snapshot's root.
    root: Hash,
    /// Remove it even if a session streams it; that session cannot be resumed afterwards.
    #[arg(long)]
    force: bool,
    /// Print JSON: {"root","bytes"}
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  rpp-node unpack --config node.toml 5d0c... ./state\n  \
                  rpp-node unpack --config node.toml --skip-refused --json 5d0c... ./state\n\n\
                  Only files, directories and links that stay inside are made. The payload is hashed while it is read, and \
                  DEST appears complete or not at all. Modes are those of the archive as far as the umask lets them, never \
                  wider than 0755 and 0644.")]
pub(crate) struct UnpackArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The snapshot's root.
    root: Hash,
    /// The folder to make; it must not exist.
    dest: PathBuf,
    /// Leave out refused entries and list them, instead of failing.
    #[arg(long)]
    skip_refused: bool,
    /// Restrict everything to its owner: modes 0700 and 0600.
    #[arg(long)]
    private: bool,
    /// Print JSON: {"root","dest","entries","bytes","refused":[{"path","reason"}],"refused_total"}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct UnpackedRow<'a> {
    root: Hash,
    dest: &'a Path,
    #[serde(flatten)]
    unpacked: &'a Unpacked,
}

#[derive(Serialize)]
struct RemovedRow {
    root: Hash,
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    root: Hash,
    bytes: u64,
    format: rpp_p2p::PayloadFormat,
    payload: PathBuf,
    offers: Vec<OfferRow>,
}

#[derive(Serialize)]
struct OfferRow {
    height: u64,
    step: u64,
    commitment: Hash,
}

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<()> {
    let store = open(&args.config.load()?.config)?;
    for damaged in store.damaged() {
        output::note(&format!("damaged, not offered: {damaged}"));
    }
    let rows: Vec<_> = store.list().iter().map(row).collect();
    if args.json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        output::note("nothing is stored: `publish` and `fetch` store snapshots");
    }
    for row in &rows {
        let heights: Vec<_> = row.offers.iter().map(|offer| offer.height.to_string()).collect();
        let format = serde_json::to_value(row.format)?;
        let (size, heights) = (human::bytes(row.bytes), heights.join(", "));
        output::line(&format!("{}  {size:>10}  {}  height {heights}", row.root, format.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

fn row(stored: &Arc<Stored>) -> Row {
    let offers = stored.offers().iter().map(|offer| {
        let checkpoint = &offer.snapshot.checkpoint;
        OfferRow { height: checkpoint.height, step: checkpoint.step, commitment: checkpoint.commitment }
    });
    Row {
        root: stored.root(),
        bytes: stored.bytes(),
        format: stored.format(),
        payload: stored.payload_path(),
        offers: offers.collect(),
    }
}

pub(crate) fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    rpp_proofs::check_cpu()?;
    let config = args.config.load()?.config;
    let store = open(&config)?;
    find(&store, &args.root)?;
    let mut meter = Meter::new("verifying");
    let report =
        verify::verify_shown(&store, &args.root, trust(&config).as_ref(), &mut |done, total| meter.at(done, total));
    drop(meter);
    let report = report?;
    if args.json {
        output::json(&report)?;
    } else {
        describe(&report).iter().try_for_each(|line| output::line(line))?;
    }
    if !report.ok {
        bail!("{} does not hold what it should: remove it and fetch it again", args.root);
    }
    Ok(())
}

fn trust(config: &Config) -> Option<TrustAnchor> {
    let trust = &config.trust;
    let anchor = TrustAnchor::new(trust.genesis?).with_publishers(trust.publishers.clone(), trust.threshold);
    Some(anchor.with_revoked(trust.revoked.clone()))
}

fn describe(report: &VerifyReport) -> Vec<String> {
    let mut lines = vec![
        format!("root        {}", report.root),
        format!("payload     {} of {}", check(&report.payload), human::bytes(report.bytes)),
        format!("hash tree   {}", check(&report.outboard)),
    ];
    for offer in &report.offers {
        let trusted = match offer.trusted {
            Some(true) => "the configured one",
            Some(false) => "NOT the configured one",
            None => "none is configured: compare it yourself",
        };
        lines.push(format!("height      {} (step {})", offer.height, offer.step));
        lines.push(format!("genesis     {} ({trusted})", offer.genesis));
        lines.push(format!(
            "chain       {} up to height {} (step {})",
            check(&offer.chain),
            offer.tip_height,
            offer.tip_step
        ));
        lines.push(format!("signatures  {}", check(&offer.signatures)));
        lines.push(format!("proof       {}", check(&offer.proof)));
    }
    lines
}

fn check(check: &Check) -> String {
    match check {
        Check::Ok => "ok".to_owned(),
        Check::Failed(reason) => format!("FAILED: {}", output::escape(reason)),
    }
}

pub(crate) fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let config = args.config.load()?.config;
    let store = open(&config)?;
    // Damaged entries are removed as well; their intended size is unknown.
    let is_damaged = store.damaged().iter().any(|damaged| damaged.path.ends_with(args.root.to_string()));
    let bytes = if is_damaged { 0 } else { find(&store, &args.root)?.bytes() };
    store.remove(&args.root, args.force)?;
    if args.json {
        return output::json(&RemovedRow { root: args.root, bytes });
    }
    output::line(&format!("removed {}", args.root))
}

pub(crate) fn unpack(args: &UnpackArgs) -> anyhow::Result<()> {
    let store = open(&args.config.load()?.config)?;
    let stored = find(&store, &args.root)?;
    let mut is_plain = stored.format() == rpp_p2p::PayloadFormat::Raw;
    let options = Options { skip_refused: args.skip_refused, private: args.private, ..Options::default() };
    let mut meter = Meter::new("unpacking");
    let done = unpack::unpack_stored(&stored, &args.dest, &options, &mut |done, total| {
        // Only now, because the destination could have been refused.
        if std::mem::take(&mut is_plain) {
            output::note("this snapshot says that it is a plain file; trying to read it as a tar");
        }
        meter.at(done, total);
    });
    drop(meter);
    let done = match done {
        // The folder exists, so a message that it was not unpacked would be wrong.
        Err(error @ UnpackError::Unsynced { .. }) => return Err(error.into()),
        done => done.with_context(|| format!("{} was not unpacked", args.root))?,
    };
    if args.json {
        return output::json(&UnpackedRow { root: args.root, dest: &args.dest, unpacked: &done });
    }
    done.refused.iter().for_each(|left| output::note(&format!("left out \"{}\": {}", left.path, left.reason)));
    let more = done.refused_total - done.refused.len() as u64;
    if more > 0 {
        output::note(&format!("left out {more} more like these"));
    }
    output::line(&format!("{}: {} entries, {}", args.dest.display(), done.entries, human::bytes(done.bytes)))
}

/// The store of a command that needs what is stored already. A data folder that is missing or empty, as while its file
/// system is not mounted, is not made.
pub(super) fn open(config: &Config) -> anyhow::Result<Store> {
    if let Some(lack) = missing(&config.data_dir)? {
        bail!("{lack}: mount its file system, or correct the path; `rpp-node init` and `run` make a new one");
    }
    Store::open(&snapshots_dir(config)?).context("the store cannot be opened")
}

/// What is wrong with a data folder that no command has written to: it does not exist, or it is empty, like a mount
/// point on which nothing is mounted.
pub(super) fn missing(data: &Path) -> anyhow::Result<Option<String>> {
    let is_own = |entry: &std::io::Result<std::fs::DirEntry>| {
        entry.as_ref().map_or(true, |entry| entry.file_name() != "lost+found")
    };
    let is = match std::fs::read_dir(data) {
        Ok(mut entries) => match entries.find(is_own) {
            Some(_) => return Ok(None),
            None => "is empty",
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist",
        Err(error) => return Err(error).with_context(|| format!("cannot look at {} (`data_dir`)", data.display())),
    };
    Ok(Some(format!("the data folder {} (`data_dir`) {is}", data.display())))
}

fn find(store: &Store, root: &Hash) -> anyhow::Result<Arc<Stored>> {
    if let Some(stored) = store.get(root) {
        return Ok(stored);
    }
    let name = root.to_string();
    match store.damaged().into_iter().find(|damaged| damaged.path.ends_with(&name)) {
        Some(damaged) => {
            bail!("{root} is stored here, but damaged: {damaged}; `rpp-node remove` it, and fetch or publish it again")
        }
        None => bail!("{root} is not stored here: `rpp-node list` shows what is"),
    }
}
