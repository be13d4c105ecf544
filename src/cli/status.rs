//! `status`: one line for each session, with what it waits for, and its sources.

use rpp_runtime::{
    SessionState, SnapshotStreamStatus, WaitingOn,
    status::{FailureCode, SourceState},
};

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
    sessions.iter().try_for_each(|status| output::line(&told(status, args.session.is_some())))
}

/// A session's line, what its operator can do, and a line for each source if these are asked for or say more.
fn told(status: &SnapshotStreamStatus, shows_sources: bool) -> String {
    let mut text = line(status);
    if let Some(advice) = advice(status) {
        text.push_str(&format!("\n    {advice}"));
    }
    let sources = match shows_sources || source_table::is_worth_it(status) {
        true => source_table::table_below(status, &text),
        false => Vec::new(),
    };
    sources.iter().for_each(|source| text.push_str(&format!("\n    {source}")));
    text
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

/// Why the session is in its state: its error and the time of the next try, the path of its payload or that it was
/// removed, or what the session waits for.
pub(crate) fn explain(status: &SnapshotStreamStatus) -> String {
    if let Some(error) = &status.error {
        return failure(error, status.error_code, status.waiting_on.as_ref());
    }
    if let Some(path) = &status.payload_path {
        let how = if status.verified { "verified" } else { "not verified" };
        return format!("{how}: {}", path.display());
    }
    match &status.waiting_on {
        Some(wait) => waiting(wait),
        None if status.state == SessionState::Complete => REMOVED.to_owned(),
        None => String::new(),
    }
}

/// An error with its code, and the time of the next try.
pub(crate) fn failure(error: &str, code: Option<FailureCode>, waiting: Option<&WaitingOn>) -> String {
    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
    let next = waiting.and_then(|waiting| waiting.retry_at.as_deref());
    // For a banned source, the next try is the end of the ban, which the error says already.
    let next = next.filter(|at| !error.contains(at)).map(|at| format!(", next try at {}", output::escape(at)));
    format!("{}{code}{}", output::escape_sentences(error), next.unwrap_or_default())
}

/// The explanation of a complete session whose payload was removed.
const REMOVED: &str = "verified, and its payload was removed since: fetch it again if you need it";

/// What the operator of a failed session can do.
pub(crate) fn advice(status: &SnapshotStreamStatus) -> Option<String> {
    let failed = status.state == SessionState::Failed;
    status.waiting_on.as_ref().filter(|_| failed).map(|waiting| output::escape_sentences(&waiting.reason))
}

/// Whether every source is banned, so that the node refuses to resume the session.
pub(crate) fn is_banned(status: &SnapshotStreamStatus) -> bool {
    !status.sources.is_empty() && status.sources.iter().all(|source| source.state == SourceState::Banned)
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
    format!("{text}: {}", output::escape_sentences(&waiting.reason))
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

    /// A session whose only source is a banned mirror.
    fn of_banned_mirror(state: SessionState) -> SnapshotStreamStatus {
        let ban = "banned until 2026-11-28T10:00:00Z: chunk 3 does not verify; `rpp-node bans --lift http://host` lifts the ban";
        serde_json::from_value(serde_json::json!({
            "session": 7, "state": state, "bytes_received": 0, "bytes_verified": 0, "bytes_durable": 0, "verified": false,
            "waiting_on": { "what": "retry", "since_ms": 14, "reason": format!("http://host/a is {ban}; it goes on by itself"),
                "retry_at": "2026-11-28T10:00:00Z" },
            "error": format!("http://host/a is {ban}"), "error_code": "provider", "payload_path": null, "started_at": "",
            "updated_at": "",
            "sources": [{ "source": "http://host/a", "kind": "mirror", "state": "banned", "bytes_verified": 0, "bytes_wasted": 0,
                "waiting_on": null, "error": ban, "error_code": "provider" }]
        }))
        .unwrap()
    }

    #[test]
    fn a_ban_that_a_session_waits_for_is_told_once_with_its_end() {
        let waits = of_banned_mirror(SessionState::BackingOff);
        let text = told(&waits, true);
        for once in
            ["banned until", "2026-11-28T10:00:00Z", "chunk 3 does not verify", "rpp-node bans --lift http://host"]
        {
            assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
        }
        assert!(text.contains("mirror  banned") && is_banned(&waits), "{text}");
    }

    #[test]
    fn a_next_try_is_told_beside_the_error() {
        let mut waits = of_banned_mirror(SessionState::BackingOff);
        waits.error = Some("it asks for patience (HTTP 503)".to_owned());
        let text = explain(&waits);
        assert_eq!(text, "it asks for patience (HTTP 503) (provider), next try at 2026-11-28T10:00:00Z");
    }

    #[test]
    fn the_advice_after_a_failure_is_told_with_the_error() {
        let mut failed = of_banned_mirror(SessionState::Failed);
        failed.error = Some("a mirror broke the protocol: chunk 3 does not verify".to_owned());
        failed.waiting_on =
            Some(WaitingOn::new(rpp_runtime::status::WaitKind::Operator, 14, "add another source\n".to_owned()));
        let text = told(&failed, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "    a mirror broke the protocol: chunk 3 does not verify (provider)", "{text}");
        assert_eq!(lines[2], "    add another source\\u{a}", "{text}");
        assert!(lines[3].contains("banned until 2026-11-28T10:00:00Z"), "{text}");
        let long = format!("{} and what helps", "a long reason ".repeat(60));
        failed.waiting_on.as_mut().unwrap().reason.clone_from(&long);
        assert_eq!(advice(&failed), Some(long), "nothing of it is cut");
        failed.state = SessionState::BackingOff;
        assert_eq!(advice(&failed), None, "it goes on by itself");
    }

    #[test]
    fn a_payload_that_was_removed_is_told() {
        let mut done = sample();
        (done.state, done.verified, done.waiting_on) = (SessionState::Complete, true, None);
        let text = line(&done);
        assert!(text.contains("its payload was removed"), "{text}");
        done.payload_path = Some("/data/payload".into());
        assert!(line(&done).ends_with("verified: /data/payload"), "{}", line(&done));
        let mut streams = sample();
        streams.waiting_on = None;
        assert_eq!(line(&streams).lines().count(), 1);
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
