//! `mirror`: copies stored snapshots to an object store, a folder or a web server, from which any node can fetch.

use anyhow::Context as _;
use rpp_p2p::Hash;
use rpp_runtime::sources::mirror::{CopyPlan, MirrorUrl, copy};

use super::{config_args::ConfigArgs, human, meter::Meter, output, stored::open};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node mirror --config node.toml s3://bucket/snapshots
  rpp-node mirror --config node.toml --keep 3 file:///srv/www/snapshots
  rpp-node mirror --config node.toml --dry-run gs://bucket 5d0c...

DEST is s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, az://CONTAINER/FOLDER, file:///FOLDER, https://HOST/FOLDER or http://HOST/FOLDER.
Credentials come from the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT (for other stores that
speak S3; AWS_ALLOW_HTTP=true for one without TLS); GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY.

Files that the mirror has already are not sent again, so the command may be repeated, and goes on where it was stopped. The list of
snapshots is written last: a reader never sees half a snapshot.")]
pub(crate) struct MirrorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to copy to.
    // Not parsed by clap: its error would repeat the URL with its password.
    dest: String,
    /// Only these payloads; without any, all stored ones.
    roots: Vec<Hash>,
    /// Keep only the newest snapshots on the mirror; 0: all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep: usize,
    /// Say what would be sent, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {"snapshots":[{"root","height","bytes","format"}],"sent":[...],"removed":[...],"bytes"}
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &MirrorArgs) -> anyhow::Result<()> {
    let dest: MirrorUrl = args.dest.parse().context("DEST cannot be used")?;
    let config = args.config.load()?.config;
    let store = open(&config)?;
    if dest.is_open() {
        output::note(
            "warning: http to another machine is not encrypted: who is between can read, and break, what is sent",
        );
    }
    let plan = CopyPlan { roots: args.roots.clone(), keep: args.keep, dry_run: args.dry_run };
    let copied = {
        let mut meter = Meter::new("copying");
        copy(&store, &dest, &plan, &mut |at| meter.at(at.done, at.total)).await?
    };
    if args.json {
        return output::json(&copied);
    }
    for root in &copied.sent {
        output::line(&format!("{root}  {}", if args.dry_run { "would be sent" } else { "sent" }))?;
    }
    for root in &copied.removed {
        output::line(&format!("{root}  removed"))?;
    }
    let verb = if args.dry_run { "would be sent" } else { "sent" };
    output::note(&format!(
        "{}: {} listed, {} {verb}",
        dest,
        human::count(copied.snapshots.len() as u64, "snapshot"),
        human::bytes(copied.bytes)
    ));
    Ok(())
}
