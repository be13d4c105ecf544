//! `fetch`: lets the running node stream a snapshot and watches until it is verified.

mod follow;
mod progress;

use anyhow::Context as _;
use rpp_p2p::Hash;
use rpp_runtime::SnapshotStreamStatus;
use serde_json::{Map, Value, json};

use self::follow::{Ended, follow};
use super::{
    api::{Api, ApiError},
    config_args::ConfigArgs,
    human, output,
    sources::check_mirrors,
    status,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node fetch --config node.toml                                   the newest that any peer offers
  rpp-node fetch --config node.toml --peer /ip4/10.0.0.7/tcp/4001/p2p/12D3...
  rpp-node fetch --config node.toml --peer 12D3... --height 1200      a peer that the node knows
  rpp-node fetch --config node.toml --peer 12D3... --peer /ip4/... --mirror https://host/snapshots    from all at once
  rpp-node fetch --config node.toml --resume 4711                     resume, or only watch

The node does the work: Ctrl-C stops watching and does not end the session.")]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A provider: a peer id that the node knows, or a multiaddr ending in /p2p/PEER_ID; may be repeated. Without any
    /// peer or mirror, the node uses the sources of its configuration, or else any peer that offers the snapshot.
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<String>,
    /// A mirror: https://, http://, s3://, gs://, az:// or file:///, read by the node; may be repeated.
    // Not parsed by clap: its error would repeat the URL with its password.
    #[arg(long = "mirror", value_name = "URL", conflicts_with = "resume")]
    mirrors: Vec<String>,
    /// Only the payload with this root.
    #[arg(long, value_name = "HEX", conflicts_with = "resume")]
    root: Option<Hash>,
    /// Only the snapshot of this height; without it, the highest.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    height: Option<u64>,
    /// Wanted chunk size in bytes.
    #[arg(long, value_name = "N")]
    chunk_size: Option<u64>,
    /// Resume this session.
    #[arg(long, value_name = "SESSION")]
    resume: Option<u64>,
    /// Print the final status as JSON; progress goes to standard error.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &FetchArgs) -> anyhow::Result<()> {
    check_mirrors("--mirror", &args.mirrors)?;
    let api = Api::of(&args.config.load()?.config)?;
    let hint = format!("rpp-node fetch --config {} --resume", args.config.file.display());
    let first = match api.start(&request(args)).await {
        Ok(status) => status,
        Err(error) => return Err(advice(error)),
    };
    let session = first.session.get();
    match follow(&api, first).await? {
        Ended::Verified(status) => report(args, &status),
        Ended::Failed(status) => {
            if args.json {
                output::json(&status)?;
            }
            let mut told = format!("session {session} failed: {}", status::explain(&status));
            let advice = status::advice(&status).into_iter();
            // While all sources are banned, the node refuses to resume the session.
            let again = (!status::is_banned(&status)).then(|| format!("try again: {hint} {session}"));
            advice.chain(again).for_each(|line| told.push_str(&format!("\n       {line}")));
            anyhow::bail!(told)
        }
        Ended::Gone => anyhow::bail!("session {session} was cancelled"),
        Ended::Interrupted => {
            output::note(&format!("session {session} goes on in the node; watch it again: {hint} {session}"));
            anyhow::bail!("interrupted before the snapshot was verified")
        }
    }
}

fn request(args: &FetchArgs) -> Value {
    let mut request = Map::new();
    match &args.peers[..] {
        [] => {}
        [peer] => drop(request.insert("peer".into(), json!(peer))),
        peers => drop(request.insert("peers".into(), json!(peers))),
    }
    if !args.mirrors.is_empty() {
        request.insert("mirrors".into(), json!(args.mirrors));
    }
    if let Some(size) = args.chunk_size {
        request.insert("chunk_size".into(), json!(size));
    }
    if let Some(root) = &args.root {
        request.insert("root".into(), json!(root));
    }
    if let Some(height) = args.height {
        request.insert("height".into(), json!(height));
    }
    if let Some(session) = args.resume {
        request.insert("resume".into(), json!({ "session": session }));
    }
    Value::Object(request)
}

/// The node's refusal, with advice that the node itself cannot give.
fn advice(error: ApiError) -> anyhow::Error {
    let hint = match &error {
        ApiError::Refused { code: Some(code), .. } => match code.as_str() {
            "no_trust_anchor" => "set [trust] genesis in the node's configuration and restart it",
            "unknown_address" => "give the peer as a multiaddr, /ip4/<address>/tcp/<port>/p2p/<peer id>",
            "too_many_sessions" => "cancel one: DELETE /p2p/snapshots/<session>",
            _ => return anyhow::Error::new(error).context("the node did not start the session"),
        },
        _ => return anyhow::Error::new(error),
    };
    anyhow::Error::new(error).context(hint)
}

fn report(args: &FetchArgs, status: &SnapshotStreamStatus) -> anyhow::Result<()> {
    if args.json {
        return output::json(status);
    }
    let root = status.root.context("a verified session has a root")?;
    let path = status.payload_path.as_deref();
    let path = path.with_context(|| format!("{root} was verified, but is not stored here any more: fetch it again"))?;
    output::line(&format!("verified  {}", human::bytes(status.total_bytes.unwrap_or_default())))?;
    output::line(&format!("root      {root}"))?;
    if let Some(height) = status.height {
        output::line(&format!("height    {height}"))?;
    }
    output::line(&format!("payload   {}", path.display()))
}
