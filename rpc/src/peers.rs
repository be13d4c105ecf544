//! `GET /p2p/peers`: what the node knows about its peers, with their traffic if it is counted.

use std::{collections::HashMap, fmt, sync::Arc};

use rpp_runtime::status::PeerInfo;
use serde::Serialize;

/// Bytes over the present connections of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// From it to this node.
    pub bytes_received: u64,
    /// From this node to it.
    pub bytes_sent: u64,
}

/// Returns the traffic of each connected peer, by its id as text.
#[derive(Clone)]
pub(crate) struct Count(pub(crate) Arc<dyn Fn() -> HashMap<String, Traffic> + Send + Sync>);

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Count")
    }
}

/// One row of the answer.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    peer: PeerInfo,
    #[serde(flatten)]
    traffic: Option<Traffic>,
}

/// The rows; without traffic if it is not counted.
pub(crate) fn rows(peers: Vec<PeerInfo>, count: Option<&Count>) -> impl Serialize + use<> {
    let traffic = count.map(|count| (count.0)()).unwrap_or_default();
    let row = |peer: PeerInfo| Row { traffic: traffic.get(&peer.peer_id).copied(), peer };
    peers.into_iter().map(row).collect::<Vec<_>>()
}
