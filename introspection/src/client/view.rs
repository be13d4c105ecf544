//! The client's display. Pure: it turns messages into lines. All text of the node is escaped.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::format::{bytes, instant, nanos, rate, span_ms};
use crate::{
    limits::MAX_SESSIONS,
    proto::{
        Connection, Dht, Event, Role, Runtime, ServerMessage, State, Status, Stream, Traffic, dht,
        server_message::Payload,
    },
    text::escape,
};

/// Number of newest events shown below everything else.
const SHOWN_EVENTS: usize = 8;
/// Largest number of a stream's tags that are shown.
const ID_CHARS: usize = 16;

/// The node, as its messages describe it.
#[derive(Debug, Default)]
pub struct View {
    runtime: Option<Runtime>,
    state: Option<State>,
    sessions: BTreeMap<u64, Session>,
    events: VecDeque<String>,
}

/// A session, as its newest events describe it.
#[derive(Debug, Default)]
struct Session {
    summary: String,
    progress: String,
    waiting: Option<Waiting>,
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    text: String,
    since_ms: u64,
}

impl View {
    /// Handles a message; returns whether it is a state.
    pub fn handle(&mut self, message: ServerMessage) -> bool {
        match message.payload {
            Some(Payload::Runtime(runtime)) => self.runtime = Some(runtime),
            Some(Payload::State(state)) => {
                self.state = Some(state);
                return true;
            }
            Some(Payload::Event(event)) => self.handle_event(&event),
            Some(Payload::Notice(_)) => self.note("some events were discarded: this client was too slow".to_owned()),
            Some(Payload::Response(_)) | None => {}
        }
        false
    }

    fn handle_event(&mut self, event: &Event) {
        self.note(event_line(event));
        let content: Value = serde_json::from_str(&event.content).unwrap_or_default();
        let Some(id) = content["session"].as_u64() else { return };
        let Some(name) = event.r#type.as_ref().map(|kind| kind.name.as_str()) else { return };
        if !name.starts_with("Session") {
            return;
        }
        self.make_room();
        self.sessions.entry(id).or_default().handle(name, &content, event.ts);
    }

    fn note(&mut self, line: String) {
        if self.events.len() >= SHOWN_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(line);
    }

    fn make_room(&mut self) {
        if self.sessions.len() >= MAX_SESSIONS {
            let ended = self.sessions.iter().find(|(_, session)| session.ended).map(|(id, _)| *id);
            let gone = ended.or_else(|| self.sessions.keys().next().copied());
            gone.map(|id| self.sessions.remove(&id));
        }
    }

    /// A whole screen, the most urgent first: sessions with what they wait for, connections with their streams, events.
    #[must_use]
    pub fn screen(&self, columns: usize, rows: usize) -> Vec<String> {
        let mut lines = vec![self.title(), String::new(), "SESSIONS".to_owned()];
        lines.extend(self.session_lines());
        if self.sessions.is_empty() {
            lines.push("  none told of".to_owned());
        }
        // Only one line, to leave space for the connections.
        lines.extend(self.dht_lines().into_iter().take(1).flat_map(|line| [String::new(), "DHT".to_owned(), line]));
        lines.extend([String::new(), "CONNECTIONS".to_owned()]);
        let events = self.events.iter().map(|line| format!("  {line}"));
        let tail: Vec<_> = [String::new(), "EVENTS".to_owned()].into_iter().chain(events).collect();
        let room = rows.saturating_sub(lines.len() + tail.len());
        let connections = self.connection_lines();
        let hidden = connections.len().saturating_sub(room);
        if hidden > 0 {
            let shown = room.saturating_sub(1);
            lines.extend(connections.into_iter().take(shown));
            lines.push(format!("  ... {} more lines", hidden + 1));
        } else {
            lines.extend(connections);
        }
        lines.extend(tail);
        lines.into_iter().map(|line| line.chars().take(columns).collect()).collect()
    }

    /// The newest state as plain lines. Each line can be understood alone.
    #[must_use]
    pub fn plain(&self) -> Vec<String> {
        let title = format!("state {}", self.title());
        let sessions = self.session_lines().into_iter().map(|line| line.trim_start().to_owned());
        let connections = self.connection_lines().into_iter().map(|line| line.trim_start().to_owned());
        let dht = self.dht_lines().into_iter().map(|line| line.trim_start().to_owned());
        std::iter::once(title).chain(sessions).chain(connections).chain(dht).collect()
    }

    fn title(&self) -> String {
        let node = self.runtime.as_ref().map_or_else(String::new, runtime_line);
        match &self.state {
            None => node,
            Some(state) => format!("{} {node} {}", instant(state.instant_ts), traffic(state.traffic.as_ref())),
        }
    }

    fn session_lines(&self) -> Vec<String> {
        let now_ms = self.state.as_ref().map_or(0, |state| state.instant_ts);
        let lines = self.sessions.iter().map(|(id, session)| {
            let waiting = session.waiting.as_ref().map_or_else(String::new, |waiting| {
                format!(" | waits for {} since {}", waiting.text, span_ms(now_ms.saturating_sub(waiting.since_ms)))
            });
            format!("  session {id} {}{}{waiting}", session.summary, session.progress)
        });
        lines.collect()
    }

    /// The DHT in one line, then a line for each bucket that has peers; nothing while it is off.
    fn dht_lines(&self) -> Vec<String> {
        let dht = self.state.as_ref().and_then(|state| state.subsystems.as_ref()?.dht.as_ref());
        dht.map(dht_lines).unwrap_or_default()
    }

    fn connection_lines(&self) -> Vec<String> {
        let subsystems = self.state.as_ref().and_then(|state| state.subsystems.as_ref());
        let connections = subsystems.map(|all| all.connections.as_slice()).unwrap_or_default();
        connections.iter().flat_map(connection_lines).collect()
    }
}

impl Session {
    fn handle(&mut self, name: &str, content: &Value, ts: u64) {
        let text = |key: &str| escape(content[key].as_str().unwrap_or_default());
        match name {
            "SessionStarted" => {
                *self = Self { summary: format!("{} from {}", text("state"), text("peer")), ..Self::default() };
            }
            "SessionProgress" => {
                self.summary = format!("{} from {}", text("state"), text("peer"));
                self.progress = progress(content);
            }
            "SessionWaiting" => {
                let index = content["index"].as_u64().map_or_else(String::new, |index| format!(" {index}"));
                let on = if content["on"].is_string() { format!(" on {}", text("on")) } else { String::new() };
                let retry = content["retry_at"].as_u64().map(|at| format!(", next try {}", instant(at)));
                let retry = retry.unwrap_or_default();
                self.summary = format!("{} from {}", text("state"), text("peer"));
                self.waiting = Some(Waiting {
                    text: format!("{}{index}{on} ({}{retry})", text("what"), text("reason")),
                    since_ms: content["since"].as_u64().unwrap_or(ts),
                });
            }
            "SessionCompleted" => {
                let summary = format!("complete from {}", text("peer"));
                *self = Self { summary, ended: true, ..Self::default() };
            }
            "SessionFailed" => {
                let summary = format!("failed from {}: {} ({})", text("peer"), text("error"), text("code"));
                *self = Self { summary, ended: true, ..Self::default() };
            }
            _ => {}
        }
    }
}

/// `, chunk 312 of 1024, 12.0 MiB of 1.0 GiB durable, 5.0 MiB/s`.
fn progress(content: &Value) -> String {
    let number = |key: &str| content[key].as_u64();
    let of = |total: Option<u64>, show: fn(u64) -> String| {
        total.map_or_else(String::new, |total| format!(" of {}", show(total)))
    };
    let mut text = String::new();
    if let Some(last) = number("last_chunk_index") {
        text += &format!(", chunk {last}{}", of(number("total_chunks"), |total| total.to_string()));
    }
    if let Some(durable) = number("bytes_durable") {
        text += &format!(", {}{} durable", bytes(durable), of(number("total_bytes"), bytes));
    }
    if let Some(speed) = number("bytes_per_second").filter(|speed| *speed > 0) {
        text += &format!(", {}", rate(speed));
    }
    text
}

/// The runtime as one line.
pub(super) fn runtime_line(runtime: &Runtime) -> String {
    let texts = [&runtime.implementation, &runtime.version, &runtime.platform, &runtime.peer_id];
    texts.map(|text| escape(text)).join(" ")
}

/// An event as one line.
pub(super) fn event_line(event: &Event) -> String {
    let name = event.r#type.as_ref().map_or("?", |kind| kind.name.as_str());
    format!("{} {} {}", instant(event.ts), escape(name), escape(&event.content))
}

/// The DHT in one line, then a line for each bucket:
/// `dht /rpp/kad/1.0.0: 3 peers in 2 buckets, 2 connected | queries answered 12 | asked 4, 1 failed, 0 timed out`.
pub(super) fn dht_lines(dht: &Dht) -> Vec<String> {
    let peers = || dht.buckets.iter().flat_map(|bucket| &bucket.peers);
    let active = peers().filter(|peer| peer.status() == dht::peer_in_dht::Status::Active).count();
    let asked = dht.outgoing_queries.unwrap_or_default();
    let line = format!(
        "  dht {}: {} peers in {} buckets, {active} connected | queries answered {} | asked {}, {} failed, {} timed out",
        escape(&dht.protocol),
        peers().count(),
        dht.buckets.len(),
        dht.incoming_queries.unwrap_or_default().success,
        asked.success.saturating_add(asked.error).saturating_add(asked.timeout),
        asked.error,
        asked.timeout,
    );
    let bucket = |bucket: &dht::Bucket| {
        let peers: String = bucket
            .peers
            .iter()
            .map(|peer| format!(" {} {}", escape(&peer.peer_id), peer.status().as_str_name().to_ascii_lowercase()))
            .collect();
        format!("    bucket of dht, common prefix {}:{peers}", bucket.cpl)
    };
    std::iter::once(line).chain(dht.buckets.iter().map(bucket)).collect()
}

/// A connection and its streams.
pub(super) fn connection_lines(connection: &Connection) -> Vec<String> {
    let endpoints = connection.endpoints.clone().unwrap_or_default();
    let attributes = connection.attribs.clone().unwrap_or_default();
    let timeline = connection.timeline.unwrap_or_default();
    let mut line = format!(
        "  connection {} {} {} {} {} {}",
        hex::encode(&connection.id).trim_start_matches('0'),
        status(connection.status()),
        role(connection.role()),
        escape(&connection.peer_id),
        endpoint_text(connection.role(), &endpoints.src_multiaddr, &endpoints.dst_multiaddr),
        traffic(connection.traffic.as_ref()),
    );
    for (label, text) in [
        ("", escape(&String::from_utf8_lossy(&connection.transport_id))),
        ("", escape(&attributes.encryption)),
        ("", escape(&attributes.multiplexer)),
        ("latency ", nanos(connection.latency_ns)),
        ("opened ", instant(timeline.open_ts)),
    ] {
        if !text.is_empty() {
            line += &format!(" {label}{text}");
        }
    }
    let streams = connection.streams.as_ref().map(|list| list.streams.as_slice()).unwrap_or_default();
    std::iter::once(line).chain(streams.iter().map(stream_line)).collect()
}

fn stream_line(stream: &Stream) -> String {
    let protocol = if stream.protocol.is_empty() { "?".to_owned() } else { escape(&stream.protocol) };
    let tags: String = stream.user_provided_tags.iter().take(ID_CHARS).map(|tag| format!(" {}", escape(tag))).collect();
    format!(
        "    stream {} {} {} {protocol} {}{tags}",
        hex::encode(&stream.id).trim_start_matches('0'),
        status(stream.status()),
        role(stream.role()),
        traffic(stream.traffic.as_ref()),
    )
}

fn endpoint_text(role: Role, src: &str, dst: &str) -> String {
    let arrow = if role == Role::Initiator { "->" } else { "<-" };
    [escape(src).as_str(), arrow, escape(dst).as_str()].join(" ").trim_start().to_owned()
}

/// `in 1.0 MiB (5.0 KiB/s) out 3 B`.
pub(super) fn traffic(traffic: Option<&Traffic>) -> String {
    let Some(traffic) = traffic else { return String::new() };
    let part = |label, gauge: Option<crate::proto::DataGauge>| {
        let gauge = gauge.unwrap_or_default();
        let speed = rate(gauge.inst_bw);
        let speed = if speed.is_empty() { speed } else { format!(" ({speed})") };
        format!("{label} {}{speed}", bytes(gauge.cum_bytes))
    };
    format!("{} {}", part("in", traffic.traffic_in), part("out", traffic.traffic_out))
}

fn status(status: Status) -> String {
    status.as_str_name().to_ascii_lowercase()
}

fn role(role: Role) -> String {
    role.as_str_name().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Subsystems;

    #[test]
    fn a_dht_is_one_line_on_the_screen_and_all_of_it_in_plain_lines() {
        let peer = |status| dht::PeerInDht { peer_id: "12D3\u{202e}".into(), status, age_in_bucket: 0 };
        let queries = dht::QueryGauge { success: u64::MAX, error: 1, timeout: 0 };
        let dht = Dht {
            protocol: "/rpp/kad/1.0.0".into(),
            buckets: vec![dht::Bucket { cpl: 2, peers: vec![peer(0), peer(1)] }],
            outgoing_queries: Some(queries),
            ..Dht::default()
        };
        let mut view = View::default();
        assert!(!view.plain().iter().any(|line| line.contains("dht")), "it is off");
        let subsystems = Some(Subsystems { connections: vec![], dht: Some(dht) });
        view.handle(ServerMessage {
            version: None,
            payload: Some(Payload::State(State { subsystems, ..State::default() })),
        });
        let plain = view.plain().join("\n");
        assert!(plain.contains("dht /rpp/kad/1.0.0: 2 peers in 1 buckets, 1 connected"), "{plain}");
        assert!(plain.contains("bucket of dht, common prefix 2: 12D3") && plain.contains("missing"), "{plain}");
        assert!(!plain.contains('\u{202e}'), "{plain}");
        let screen = view.screen(200, 40);
        assert_eq!(screen.iter().filter(|line| line.contains("dht")).count(), 1, "{screen:#?}");
    }
}
