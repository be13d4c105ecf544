//! `sources`: shows where a session's bytes come from; adds and removes sources.

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rpp_runtime::{SnapshotStreamStatus, sources::mirror::MirrorUrl};
use serde_json::{Value, json};

use super::{api::Api, config_args::ConfigArgs, output, source_table};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node sources --config node.toml 4711
  rpp-node sources --config node.toml 4711 --add-peer /ip4/10.0.0.7/tcp/4001/p2p/12D3... --add-mirror s3://bucket/snapshots
  rpp-node sources --config node.toml 4711 --remove 12D3KooW...
  rpp-node sources --config node.toml 4711 --json | jq '.[] | {source, state, bytes_verified}'

A failed session goes on with the source that is added. A session without sources waits for one. Sources are added before others are
removed.")]
pub(crate) struct SourcesArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The session.
    session: u64,
    /// Add a peer: a peer id that the node knows, or a multiaddr ending in /p2p/PEER_ID; may be repeated.
    #[arg(long = "add-peer", value_name = "PEER")]
    add_peers: Vec<String>,
    /// Add a mirror: https://, http://, s3://, gs://, az:// or file:///; may be repeated.
    // Not parsed by clap: its error would repeat the URL with its password.
    #[arg(long = "add-mirror", value_name = "URL")]
    add_mirrors: Vec<String>,
    /// Remove a source: a peer id, or a URL as it is listed; may be repeated.
    #[arg(long = "remove", value_name = "SOURCE")]
    removed: Vec<String>,
    /// Print JSON: an array of the sources.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &SourcesArgs) -> anyhow::Result<()> {
    check_mirrors("--add-mirror", &args.add_mirrors)?;
    let api = Api::of(&args.config.load()?.config)?;
    let mut status = None;
    for body in added(args) {
        let path = format!("/p2p/snapshots/{}/sources", args.session);
        status = Some(api.decode(&api.post(&path, &body).await.context("the source was not added")?)?);
    }
    for source in &args.removed {
        let answer = api.delete(&removal(args.session, source)).await.context("the source was not taken away")?;
        status = Some(api.decode(&answer)?);
    }
    let status: SnapshotStreamStatus = match status {
        Some(status) => status,
        None => api.session(args.session).await?,
    };
    if args.json {
        return output::json(&status.sources);
    }
    if status.sources.is_empty() {
        output::note("it has no source: add one with --add-peer or --add-mirror");
    }
    source_table::table(&status).iter().try_for_each(|line| output::line(line))
}

fn added(args: &SourcesArgs) -> impl Iterator<Item = Value> + '_ {
    let peers = args.add_peers.iter().map(|peer| json!({ "peer": peer }));
    peers.chain(args.add_mirrors.iter().map(|url| json!({ "mirror": url })))
}

fn removal(session: u64, source: &str) -> String {
    format!("/p2p/snapshots/{session}/sources/{}", utf8_percent_encode(source, NON_ALPHANUMERIC))
}

/// Refuses a text that names no mirror, without repeating it. Warns about mirrors over plain http.
pub(crate) fn check_mirrors(option: &str, given: &[String]) -> anyhow::Result<()> {
    for (at, text) in given.iter().enumerate() {
        let which = if given.len() > 1 { format!(" (number {})", at + 1) } else { String::new() };
        let url: MirrorUrl = text.parse().with_context(|| format!("{option}{which} cannot be used"))?;
        if url.is_open() {
            output::note(&format!(
                "warning: {url} is asked over http: whoever is between sees what is fetched, and can break it; every byte is \
                 verified all the same"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_segment_of_the_path() {
        assert_eq!(removal(7, "12D3KooW"), "/p2p/snapshots/7/sources/12D3KooW");
        assert_eq!(removal(7, "https://host/a b"), "/p2p/snapshots/7/sources/https%3A%2F%2Fhost%2Fa%20b");
    }

    #[test]
    fn a_wrong_mirror_is_told_without_its_text() {
        let given = ["https://host/a".to_owned(), "https://user:word@host/#x".to_owned()];
        let error = format!("{:#}", check_mirrors("--mirror", &given).unwrap_err());
        assert!(
            error.contains("--mirror (number 2)") && error.contains("fragment") && !error.contains("word"),
            "{error}"
        );
        check_mirrors("--mirror", &given[..1]).unwrap();
    }
}
