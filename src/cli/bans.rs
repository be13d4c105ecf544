//! `bans`: who is banned and why, and lifting a ban.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rpp_runtime::bans::{Ban, BanEvidence};

use super::{api::Api, config_args::ConfigArgs, human, output};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node bans --config node.toml
  rpp-node bans --config node.toml --lift 12D3KooW...
  rpp-node bans --config node.toml --json | jq '.[].evidence[]'

A source is banned when it broke the rules: for 10 minutes at first, twice as long each further time, 7 days at most. A lifted ban is
forgotten.")]
pub(crate) struct BansArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Lift the ban of this source: a peer id, or the origin of a mirror as it is listed.
    #[arg(long, value_name = "SOURCE")]
    lift: Option<String>,
    /// Print JSON: an array of the bans in force (after lifting, if asked to).
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &BansArgs) -> anyhow::Result<()> {
    let api = Api::of(&args.config.load()?.config)?;
    if let Some(source) = &args.lift {
        api.delete(&format!("/p2p/bans/{}", utf8_percent_encode(source, NON_ALPHANUMERIC))).await?;
        if !args.json {
            return output::line(&format!("the ban of {} is lifted", output::escape(source)));
        }
    }
    let bans: Vec<Ban> = api.decode(&api.get("/p2p/bans").await?)?;
    if args.json {
        return output::json(&bans);
    }
    if bans.is_empty() {
        output::note("nobody is banned");
    }
    bans.iter().try_for_each(|ban| output::line(&shown(ban)))
}

/// `12D3...  peer  until 2026-11-28T10:00:00Z (9 min 12 s left)  1 time`, and a line for each piece of evidence.
fn shown(ban: &Ban) -> String {
    let mut text = format!(
        "{}  {}  until {} ({})  {}",
        output::escape(&ban.source),
        ban.kind.as_str(),
        rfc3339(ban.until),
        left(ban),
        human::count(u64::from(ban.count), "ban")
    );
    for piece in &ban.evidence {
        text.push_str(&format!("\n    {}", evidence(piece)));
    }
    text
}

/// `9 min 12 s left`.
pub(crate) fn left(ban: &Ban) -> String {
    let left = std::time::Duration::try_from(ban.until - time::OffsetDateTime::now_utc()).unwrap_or_default();
    format!("{} left", human::duration(left))
}

fn evidence(piece: &BanEvidence) -> String {
    let found = &piece.evidence;
    let mut text = rfc3339(piece.at);
    if let Some(session) = piece.session {
        text.push_str(&format!("  session {session}"));
    }
    text.push_str(&format!("  {}: {}", found.kind.as_str(), output::escape(&found.reason)));
    if let Some(length) = found.length {
        text.push_str(&format!("; {length} bytes came"));
    }
    if let Some(plan_id) = found.plan_id {
        text.push_str(&format!("; plan {plan_id}"));
    }
    text
}

fn rfc3339(at: time::OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_told_with_its_evidence_and_foreign_text_is_escaped() {
        let ban: Ban = serde_json::from_value(serde_json::json!({
            "source": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "kind": "peer",
            "since": "2026-11-28T10:00:00Z", "until": "2026-11-28T10:10:00Z", "count": 1,
            "evidence": [{ "at": "2026-11-28T10:00:00Z", "session": 7, "kind": "chunk", "index": 3, "length": 42,
                "reason": "chunk 3 does not verify\u{202e}" }]
        }))
        .unwrap();
        let text = shown(&ban);
        assert!(
            text.starts_with("12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6  peer  until 2026-11-28T10:10:00Z"),
            "{text}"
        );
        assert!(text.contains("session 7  chunk: chunk 3 does not verify") && text.contains("42 bytes"), "{text}");
        assert!(!text.contains('\u{202e}') && text.lines().count() == 2, "{text}");
    }
}
