//! The client's output for programs: one JSON object for each message. All text of the node is escaped.

use serde_json::{Value, json};

use crate::{
    proto::{
        Connection, DataGauge, Dht, Role, ServerMessage, State, Status, Stream, Traffic, dht, server_message::Payload,
    },
    text::escape,
};

/// The message as an object with one field, which names its kind; `None` for a message that only answers a command.
pub(super) fn object(message: &ServerMessage) -> Option<Value> {
    Some(match message.payload.as_ref()? {
        Payload::Runtime(runtime) => json!({ "runtime": {
            "implementation": escape(&runtime.implementation),
            "version": escape(&runtime.version),
            "platform": escape(&runtime.platform),
            "peer_id": escape(&runtime.peer_id),
        } }),
        Payload::Event(event) => json!({ "event": {
            "name": event.r#type.as_ref().map(|kind| escape(&kind.name)),
            "ts": event.ts,
            "content": serde_json::from_str(&event.content).map_or(Value::Null, escaped),
        } }),
        Payload::State(found) => json!({ "state": state(found) }),
        Payload::Notice(_) => json!({ "notice": "discarding_events" }),
        Payload::Response(response) => {
            let config = response.effective_config.as_ref()?;
            json!({ "configuration": {
                "retention_period_ms": config.retention_period_ms,
                "state_snapshot_interval_ms": config.state_snapshot_interval_ms,
            } })
        }
    })
}

fn state(state: &State) -> Value {
    let connections = state.subsystems.iter().flat_map(|all| &all.connections);
    json!({
        "instant_ts": state.instant_ts,
        "start_ts": state.start_ts,
        "traffic": traffic(state.traffic.as_ref()),
        "connections": connections.map(connection).collect::<Vec<_>>(),
        "dht": state.subsystems.as_ref().and_then(|all| all.dht.as_ref()).map(dht),
    })
}

/// `null` instead of this object means that the node's DHT is off.
fn dht(dht: &Dht) -> Value {
    let peer = |peer: &dht::PeerInDht| {
        json!({
            "peer_id": escape(&peer.peer_id),
            "status": peer.status().as_str_name().to_ascii_lowercase(),
            "age_in_bucket": peer.age_in_bucket,
        })
    };
    let bucket =
        |bucket: &dht::Bucket| json!({ "cpl": bucket.cpl, "peers": bucket.peers.iter().map(peer).collect::<Vec<_>>() });
    let queries = |gauge: Option<dht::QueryGauge>| {
        gauge.map(|gauge| json!({ "success": gauge.success, "error": gauge.error, "timeout": gauge.timeout }))
    };
    json!({
        "protocol": escape(&dht.protocol),
        "start_ts": some(dht.start_ts),
        "params": dht.params.map(|params| json!({ "k": params.k, "alpha": params.alpha })),
        "buckets": dht.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "incoming_queries": queries(dht.incoming_queries),
        "outgoing_queries": queries(dht.outgoing_queries),
    })
}

fn connection(connection: &Connection) -> Value {
    let endpoints = connection.endpoints.clone().unwrap_or_default();
    let attributes = connection.attribs.clone().unwrap_or_default();
    let timeline = connection.timeline.unwrap_or_default();
    let streams = connection.streams.iter().flat_map(|list| &list.streams);
    json!({
        "id": hex::encode(&connection.id),
        "peer_id": escape(&connection.peer_id),
        "status": status(connection.status()),
        "role": role(connection.role()),
        "source": escape(&endpoints.src_multiaddr),
        "destination": escape(&endpoints.dst_multiaddr),
        "transport": escape(&String::from_utf8_lossy(&connection.transport_id)),
        "encryption": escape(&attributes.encryption),
        "multiplexer": escape(&attributes.multiplexer),
        "open_ts": some(timeline.open_ts),
        "close_ts": some(timeline.close_ts),
        "latency_ns": some(connection.latency_ns),
        "traffic": traffic(connection.traffic.as_ref()),
        "streams": streams.map(stream).collect::<Vec<_>>(),
    })
}

fn stream(stream: &Stream) -> Value {
    json!({
        "id": hex::encode(&stream.id),
        "protocol": escape(&stream.protocol),
        "status": status(stream.status()),
        "role": role(stream.role()),
        "traffic": traffic(stream.traffic.as_ref()),
        "tags": stream.user_provided_tags.iter().map(|tag| escape(tag)).collect::<Vec<_>>(),
    })
}

fn traffic(traffic: Option<&Traffic>) -> Value {
    let gauge = |gauge: Option<DataGauge>| {
        gauge.map(|gauge| json!({ "bytes": gauge.cum_bytes, "packets": gauge.cum_packets, "bytes_per_second": gauge.inst_bw }))
    };
    traffic.map_or(Value::Null, |traffic| json!({ "in": gauge(traffic.traffic_in), "out": gauge(traffic.traffic_out) }))
}

/// A figure that was not measured is 0 on the wire.
fn some(figure: u64) -> Option<u64> {
    Some(figure).filter(|figure| *figure > 0)
}

fn status(status: Status) -> String {
    status.as_str_name().to_ascii_lowercase()
}

fn role(role: Role) -> String {
    role.as_str_name().to_ascii_lowercase()
}

/// The same value with every text in it escaped.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => escape(&text).into(),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (escape(&name), escaped(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Event, EventType, Subsystems};

    #[test]
    fn each_kind_of_message_is_one_object() {
        let of = |payload| object(&ServerMessage { version: None, payload: Some(payload) });
        let event = Event {
            r#type: Some(EventType { name: "PeerConnected".into(), ..EventType::default() }),
            ts: 7,
            content: r#"{"peer":"a\u202eb","n":[1,"\u0007"]}"#.into(),
        };
        assert_eq!(
            of(Payload::Event(event)).unwrap(),
            json!({ "event": { "name": "PeerConnected", "ts": 7,
                "content": { "peer": escape("a\u{202e}b"), "n": [1, escape("\u{7}")] } } })
        );
        let connection =
            Connection { id: vec![1].into(), peer_id: "12D3".into(), latency_ns: 5, ..Connection::default() };
        let peer = dht::PeerInDht { peer_id: "12D3\u{202e}".into(), status: 1, age_in_bucket: 9 };
        let dht = Dht {
            buckets: vec![dht::Bucket { cpl: 2, peers: vec![peer] }],
            incoming_queries: Some(dht::QueryGauge { success: 4, ..dht::QueryGauge::default() }),
            ..Dht::default()
        };
        let subsystems = Subsystems { connections: vec![connection], dht: Some(dht) };
        let state =
            of(Payload::State(State { instant_ts: 3, subsystems: Some(subsystems), ..State::default() })).unwrap();
        let shown = &state["state"]["connections"][0];
        assert_eq!(
            (&shown["peer_id"], &shown["latency_ns"], &shown["close_ts"]),
            (&json!("12D3"), &json!(5), &Value::Null)
        );
        let shown = &state["state"]["dht"];
        let peer = json!({ "peer_id": escape("12D3\u{202e}"), "status": "missing", "age_in_bucket": 9 });
        assert_eq!(shown["buckets"], json!([{ "cpl": 2, "peers": [peer] }]));
        assert_eq!((&shown["incoming_queries"]["success"], &shown["outgoing_queries"]), (&json!(4), &Value::Null));
        assert_eq!(state["state"]["traffic"], Value::Null, "a figure that is not there is none");
        assert_eq!(of(Payload::Response(crate::proto::CommandResponse::default())), None);
    }
}
