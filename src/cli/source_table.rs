//! The sources of a session, one line for each.

use rpp_runtime::{
    SnapshotStreamStatus,
    status::{SourceKind, SourceState, SourceStatus},
};

use super::{human, output, status};

/// Whether a list of the sources would say more than the session's own line.
pub(crate) fn is_worth_it(status: &SnapshotStreamStatus) -> bool {
    status.sources.len() > 1 || status.sources.iter().any(|source| source.kind == SourceKind::Mirror)
}

/// One line for each source, with its full name, so that it can be copied.
pub(crate) fn table(status: &SnapshotStreamStatus) -> Vec<String> {
    lines(&status.sources, output::escape)
}

/// The same table, to be shown below `text`. Errors that the text contains already are left out.
pub(crate) fn table_below(status: &SnapshotStreamStatus, text: &str) -> Vec<String> {
    let mut sources = status.sources.clone();
    for source in &mut sources {
        let is_said = |error: &String| text.contains(&output::escape_sentences(error));
        if source.error.as_ref().is_some_and(is_said) {
            (source.error, source.waiting_on) = (None, None);
        }
    }
    lines(&sources, output::escape)
}

/// One line for each source, with a short name: at most `most` lines, and then the number of the others.
pub(crate) fn short(status: &SnapshotStreamStatus, most: usize) -> Vec<String> {
    let shown = &status.sources[..status.sources.len().min(most)];
    let mut lines = lines(shown, shortened);
    let more = status.sources.len() - shown.len();
    if more > 0 {
        lines.push(format!("and {}: rpp-node sources {}", human::count(more as u64, "further source"), status.session));
    }
    lines
}

fn lines(sources: &[SourceStatus], name: impl Fn(&str) -> String) -> Vec<String> {
    let names: Vec<_> = sources.iter().map(|source| name(&source.source)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    sources.iter().zip(names).map(|(source, name)| line(source, &name, width)).collect()
}

/// `12D3KooW..vQpQg6  peer    active        12.3 MiB   5.0 MiB/s  why it does not deliver, or what it waits for`.
fn line(source: &SourceStatus, name: &str, width: usize) -> String {
    let rate = source.verified_bytes_per_second.map(|rate| format!("{}/s", human::bytes(rate))).unwrap_or_default();
    let line = format!(
        "{name:<width$}  {:<6}  {:<11}  {:>10}  {rate:>12}  {}",
        source.kind.as_str(),
        source.state.as_str().replace('_', " "),
        human::bytes(source.bytes_verified),
        remark(source)
    );
    line.trim_end().to_owned()
}

fn remark(source: &SourceStatus) -> String {
    let waiting = source.waiting_on.as_ref().filter(|_| source.state != SourceState::Active);
    match (&source.error, waiting) {
        (Some(error), waiting) => status::failure(error, source.error_code, waiting),
        (None, Some(waiting)) => output::escape(&waiting.reason),
        (None, None) => String::new(),
    }
}

/// The beginning and the end of a long name; peer ids differ only at their ends.
fn shortened(source: &str) -> String {
    let name: Vec<char> = output::escape(source).chars().collect();
    let (first, last, longest) = if source.contains("://") { (22, 16, 40) } else { (8, 6, 16) };
    if name.len() <= longest {
        return name.into_iter().collect();
    }
    let text = |part: &[char]| part.iter().collect::<String>();
    format!("{}..{}", text(&name[..first]), text(&name[name.len() - last..]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session with a peer that delivers, one that lied, and a mirror that waits.
    pub(crate) fn sample() -> SnapshotStreamStatus {
        serde_json::from_value(serde_json::json!({
            "session": 7, "peer": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "state": "streaming",
            "total_bytes": 1_073_741_824_u64, "bytes_received": 0, "bytes_verified": 536_870_912, "bytes_durable": 0,
            "verified_bytes_per_second": 104_857_600, "eta_seconds": 5.12, "verified": false, "waiting_on": null,
            "error": null, "error_code": null, "payload_path": null, "started_at": "", "updated_at": "",
            "sources": [
                { "source": "12D3KooWGjLmW1BoGWE2fvTUrXVqXCvK8Yd2jGVHYiFDy5vQpQg6", "kind": "peer", "state": "active",
                  "bytes_verified": 536_870_912, "bytes_wasted": 0, "verified_bytes_per_second": 104_857_600,
                  "waiting_on": { "what": "chunk", "since_ms": 3, "reason": "asked, not answered yet" },
                  "error": null, "error_code": null },
                { "source": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "kind": "peer", "state": "banned",
                  "bytes_verified": 0, "bytes_wasted": 16_384, "waiting_on": null,
                  "error": "chunk 3 does not verify\u{202e}", "error_code": "checksum" },
                { "source": "https://a-long-name-of-a-mirror.example/with/a/folder", "kind": "mirror",
                  "state": "backing_off", "bytes_verified": 1024, "bytes_wasted": 0,
                  "waiting_on": { "what": "retry", "since_ms": 3, "reason": "x", "retry_at": "2026-11-28T10:00:00Z" },
                  "error": "it asks for patience (HTTP 503, 7 s)", "error_code": "network" }
            ]
        }))
        .unwrap()
    }

    #[test]
    fn a_line_tells_who_gives_what_and_why_not() {
        assert_eq!(
            short(&sample(), 8),
            [
                "12D3KooW..vQpQg6                          peer    active          512 MiB     100 MiB/s",
                "12D3KooW..x6nXTN                          peer    banned              0 B                chunk 3 does not verify\\u{202e} (checksum)",
                "https://a-long-name-of..le/with/a/folder  mirror  backing off     1.0 KiB                it asks for patience (HTTP 503, 7 s) (network), next try at 2026-11-28T10:00:00Z",
            ]
        );
    }

    #[test]
    fn whole_names_stand_in_the_table_and_a_long_list_is_cut() {
        let status = sample();
        for (line, source) in table(&status).iter().zip(&status.sources) {
            assert!(line.starts_with(&source.source), "{line}");
        }
        let cut = short(&status, 2);
        assert_eq!((cut.len(), cut[2].as_str()), (3, "and 1 further source: rpp-node sources 7"));
        assert_eq!(short(&status, 3).len(), 3);
    }

    #[test]
    fn one_peer_alone_is_told_by_the_session_itself() {
        let mut status = sample();
        assert!(is_worth_it(&status));
        status.sources.truncate(1);
        assert!(!is_worth_it(&status));
        status.sources[0].kind = SourceKind::Mirror;
        assert!(is_worth_it(&status));
    }
}
