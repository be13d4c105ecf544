//! `status`: one line for each session, with what it waits for, and its sources.

use rpp_runtime::{SessionState, SnapshotStreamStatus, WaitingOn};

use super::{api::Api, config_args::ConfigArgs, human, output, source_table};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  rpp-node status --config node.toml
  rpp-node status --config node.toml 4711 --json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this session.
    session: Option<u64>,
    /// Print JSON: the status, or an array of all.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let api = Api::of(&args.config.load()?.config)?;
    let sessions = match args.session {
        Some(session) => vec![api.session(session).await?],
        None => api.sessions().await?,
    };
    if args.json {
        return match (&sessions[..], args.session) {
            ([one], Some(_)) => output::json(one),
            _ => output::json(&sessions),
        };
    }
    if sessions.is_empty() {
        output::note("no sessions: `rpp-node fetch` starts one");
    }
    sessions.iter().try_for_each(|status| {
        output::line(&line(status))?;
        let shows_sources = args.session.is_some() || source_table::is_worth_it(status);
        let sources = if shows_sources { source_table::table(status) } else { Vec::new() };
        sources.iter().try_for_each(|source| output::line(&format!("    {source}")))
    })
}

/// `session 7  streaming  45.2 % of 1.0 GiB  590 MiB/s  eta 1.2 s  from 12D3...: waits ...`.
pub(crate) fn line(status: &SnapshotStreamStatus) -> String {
    let mut parts = vec![format!("session {}", status.session), status.state.to_string()];
    if let Some(total) = status.total_bytes {
        let done = if status.state == SessionState::Complete { total } else { status.bytes_verified.min(total) };
        parts.push(format!("{} of {}", human::percent(done, total), human::bytes(total)));
    }
    if let (Some(done), Some(all)) = (status.rechecked_bytes, status.recheck_bytes)
        && done < all
    {
        parts.push(format!("hashed again {} of {}", human::percent(done, all), human::bytes(all)));
    }
    if let Some(damaged) = status.damaged_bytes {
        parts.push(format!("{} were damaged on the disk and are fetched again", human::bytes(damaged)));
    }
    if let Some(rate) = status.verified_bytes_per_second.filter(|_| status.state == SessionState::Streaming) {
        parts.push(format!("{}/s", human::bytes(rate)));
    }
    if let Some(eta) = eta(status) {
        parts.push(format!("eta {eta}"));
    }
    if let Some(height) = status.height {
        parts.push(format!("height {height}"));
    }
    parts.push(match status.peer {
        _ if source_table::is_worth_it(status) => {
            format!("from {}", human::count(status.sources.len() as u64, "source"))
        }
        Some(peer) => format!("from {peer}"),
        None => "from anybody".to_owned(),
    });
    let explanation = explain(status);
    let line = parts.join("  ");
    if explanation.is_empty() { line } else { format!("{line}\n    {explanation}") }
}

/// The remaining time in words, if there is one.
pub(crate) fn eta(status: &SnapshotStreamStatus) -> Option<String> {
    let seconds = status.eta_seconds.filter(|_| status.state == SessionState::Streaming)?;
    // A peer cannot set this, but a slow start can make it huge.
    let time = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    Some(human::duration(time))
}

/// Why the session is in its state: its error, the path of its payload, or what it waits for.
pub(crate) fn explain(status: &SnapshotStreamStatus) -> String {
    if let Some(error) = &status.error {
        let code = status.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
        return format!("{}{code}", output::escape(error));
    }
    if let Some(path) = &status.payload_path {
        let how = if status.verified { "verified" } else { "not verified" };
        return format!("{how}: {}", path.display());
    }
    status.waiting_on.as_ref().map(waiting).unwrap_or_default()
}

/// `waits for chunk 312 from 12D3... for 14 ms: asked, not answered yet`.
pub(crate) fn waiting(waiting: &WaitingOn) -> String {
    let mut text = format!("waits for {}", waiting.what.as_str().replace('_', " "));
    if let Some(index) = waiting.index {
        text.push_str(&format!(" {index}"));
    }
    if let Some(peer) = &waiting.peer {
        text.push_str(&format!(" of {}", output::escape(peer)));
    }
    text.push_str(&format!(" for {}", human::duration(std::time::Duration::from_millis(waiting.since_ms))));
    if let Some(at) = &waiting.retry_at {
        text.push_str(&format!(", next try at {}", output::escape(at)));
    }
    format!("{text}: {}", output::escape(&waiting.reason))
}

#[cfg(test)]
mod tests {
    use rpp_runtime::status::FailureCode;

    use super::*;

    fn sample() -> SnapshotStreamStatus {
        serde_json::from_value(serde_json::json!({
            "session": 7, "peer": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "state": "streaming",
            "total_bytes": 1_073_741_824_u64, "bytes_received": 0, "bytes_verified": 536_870_912, "bytes_durable": 0,
            "verified_bytes_per_second": 104_857_600, "eta_seconds": 5.12, "height": 12, "verified": false,
            "waiting_on": {"what": "light_client_update", "index": 3, "peer": "12D3\u{202e}", "since_ms": 14, "reason": "asked\n"},
            "error": null, "error_code": null, "payload_path": null, "started_at": "", "updated_at": ""
        }))
        .unwrap()
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_what_is_waited_for() {
        let text = line(&sample());
        assert!(text.contains("session 7  streaming  50.0 % of 1.0 GiB  100 MiB/s  eta 5.1 s  height 12"), "{text}");
        assert!(text.contains("waits for light client update 3"), "{text}");
        assert!(text.contains("for 14 ms"), "{text}");
    }

    #[test]
    fn several_sources_are_counted_in_the_line() {
        let text = line(&source_table::tests::sample());
        assert!(text.ends_with("from 3 sources"), "{text}");
        assert!(line(&sample()).contains("from 12D3KooWGjLm"));
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let text = line(&sample());
        assert!(!text.contains('\u{202e}') && text.lines().count() == 2, "{text}");
        let mut failed = sample();
        failed.error = Some("bad\u{1b}[31m".into());
        failed.error_code = Some(FailureCode::ResumeMismatch);
        let text = line(&failed);
        assert!(!text.contains('\u{1b}') && text.contains("(resume_mismatch)"), "{text}");
    }

    #[test]
    fn an_absurd_eta_is_left_out() {
        for seconds in [f64::MAX, -1.0] {
            let mut status = sample();
            status.eta_seconds = Some(seconds);
            assert!(eta(&status).is_none());
        }
    }
}
