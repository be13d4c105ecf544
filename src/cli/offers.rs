//! `offers`: the snapshots that peers offer.

use rpp_runtime::status::OfferInfo;

use super::{api::Api, config_args::ConfigArgs, human, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node offers --config node.toml
  rpp-node offers --config node.toml --json
  rpp-node fetch --config node.toml                    takes the newest of them

The node asks its peers when they connect, and again while a session, a client or the page needs offers. An offer is listed only
when enough publishers signed the tip that it leads to.")]
pub(crate) struct OffersArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON: an array, newest first.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &OffersArgs) -> anyhow::Result<()> {
    let api = Api::of(&args.config.load()?.config)?;
    let offers: Vec<OfferInfo> = api.decode(&api.get("/p2p/offers").await?)?;
    if args.json {
        return output::json(&offers);
    }
    if offers.is_empty() {
        output::note(
            "no peer offers a snapshot: `rpp-node fetch` without --peer says who was asked and what they said",
        );
    }
    offers.iter().try_for_each(|offer| output::line(&line(offer)))
}

/// `height 1200  1.0 GiB  raw  <root>  from 3 peers`.
fn line(offer: &OfferInfo) -> String {
    let peers = match &offer.peers[..] {
        [one] => format!("from {}", output::escape(one)),
        more => format!("from {} peers", more.len()),
    };
    let format = human::format(offer.format);
    format!(
        "height {}  {}  {format}  {}  {peers}  seen {}",
        offer.height,
        human::bytes(offer.bytes),
        offer.root,
        output::escape(&offer.seen_at)
    )
}
