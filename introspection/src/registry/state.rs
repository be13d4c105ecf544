//! Builds a state from the records.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    gauge::Measured,
    records::{ConnectionRecord, StreamRecord},
};
use crate::proto::{self, stream::ConnectionRef, stream::connection_ref};

/// A connection's entry in the state, and its share of the node's traffic.
pub(super) fn connection(record: &ConnectionRecord, now_ms: u64) -> (proto::Connection, Measured) {
    let closed_ms = record.closed_ms.load(Relaxed);
    let measured =
        if closed_ms == 0 { record.gauges.measure(now_ms, record.about.opened_ms) } else { record.gauges.at_rest() };
    let streams = record.all_streams().iter().map(|stream| stream_entry(record, stream, now_ms)).collect();
    let endpoints = {
        let addresses = record.addresses();
        proto::EndpointPair {
            src_multiaddr: addresses.local.clone().unwrap_or_default(),
            dst_multiaddr: addresses.remote.clone().unwrap_or_default(),
        }
    };
    let entry = proto::Connection {
        id: record.wire_id.clone(),
        peer_id: record.peer_text.clone(),
        status: record.status().into(),
        transport_id: record.transport_id.clone(),
        endpoints: Some(endpoints),
        timeline: Some(proto::connection::Timeline {
            open_ts: record.about.opened_ms,
            upgraded_ts: record.upgraded_ms,
            close_ts: closed_ms,
        }),
        role: record.about.role.into(),
        traffic: Some(measured.traffic()),
        attribs: Some(proto::connection::Attributes {
            multiplexer: record.about.multiplexer.clone(),
            encryption: record.about.encryption.clone(),
        }),
        latency_ns: record.latency_ns.load(Relaxed),
        streams: Some(proto::StreamList { stream_ids: Vec::new(), streams }),
        user_provided_tags: Vec::new(),
        relayed_over: None,
    };
    (entry, measured)
}

fn stream_entry(connection: &ConnectionRecord, record: &StreamRecord, now_ms: u64) -> proto::Stream {
    let close_ts = record.closed_ms.load(Relaxed);
    let measured =
        if close_ts == 0 { record.gauges.measure(now_ms, record.opened_ms) } else { record.gauges.at_rest() };
    let labels = record.labels().clone();
    proto::Stream {
        id: record.wire_id.clone(),
        protocol: labels.protocol,
        role: record.role.into(),
        traffic: Some(measured.traffic()),
        conn: Some(ConnectionRef { connection: Some(connection_ref::Connection::ConnId(connection.wire_id.clone())) }),
        timeline: Some(proto::stream::Timeline { open_ts: record.opened_ms, close_ts }),
        status: record.status().into(),
        latency_ns: 0,
        user_provided_tags: labels.tags.map(|tags| tags.to_vec()).unwrap_or_default(),
    }
}

/// Leaves out what was closed before `horizon_ms`, for a client with a shorter retention than the longest.
pub(crate) fn without_older(state: &proto::State, horizon_ms: u64) -> proto::State {
    let visible = |close_ts: Option<u64>| close_ts.is_none_or(|close_ts| close_ts == 0 || close_ts >= horizon_ms);
    let mut state = state.clone();
    let Some(subsystems) = &mut state.subsystems else { return state };
    subsystems.connections.retain(|entry| visible(entry.timeline.map(|times| times.close_ts)));
    for list in subsystems.connections.iter_mut().filter_map(|entry| entry.streams.as_mut()) {
        list.streams.retain(|entry| visible(entry.timeline.map(|times| times.close_ts)));
    }
    state
}
