//! Asks the control plane for the state of the node.

use rpp_runtime::{
    SessionState, SnapshotStreamStatus,
    bans::Ban,
    rates::LimitsInForce,
    status::{Head, Identity, OfferInfo},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cli::api::{Api, ApiError};

/// The node at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Picture {
    pub(super) identity: Identity,
    /// The newest verified checkpoint.
    pub(super) head: Option<Head>,
    /// Why the node is not ready.
    pub(super) trouble: Option<String>,
    /// The newest first.
    pub(super) sessions: Vec<SnapshotStreamStatus>,
    pub(super) peers: Vec<Peer>,
    /// What peers offer, the newest first.
    pub(super) offers: Vec<OfferInfo>,
    pub(super) bans: Vec<Ban>,
    pub(super) limits: LimitsInForce,
    /// The newest last.
    pub(super) events: Vec<Event>,
}

/// A row of `GET /p2p/peers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) peer_id: String,
    pub(super) connected: bool,
    pub(super) rtt_ms: Option<f64>,
    pub(super) agent: Option<String>,
    #[serde(default)]
    pub(super) bytes_received: Option<u64>,
    #[serde(default)]
    pub(super) bytes_sent: Option<u64>,
}

/// An entry of `GET /p2p/events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) at: String,
    pub(super) event: String,
    #[serde(default)]
    pub(super) session: Option<u64>,
    #[serde(default)]
    pub(super) peer: Option<String>,
    #[serde(default)]
    pub(super) state: Option<SessionState>,
    #[serde(default)]
    pub(super) reason: Option<String>,
}

impl Picture {
    /// Asks for everything.
    pub(super) async fn take(api: &Api) -> Result<Self, ApiError> {
        let mut sessions = api.sessions().await?;
        // Always the same order: no line moves because a state changed.
        sessions.sort_by(|a, b| b.started_at.cmp(&a.started_at).then(b.session.cmp(&a.session)));
        let trouble = match api.probe("/readyz").await {
            Ok(()) => None,
            Err(ApiError::Refused { message, .. }) => Some(message),
            Err(error) => return Err(error),
        };
        Ok(Self {
            identity: ask(api, "/p2p/identity").await?,
            head: head(api).await?,
            trouble,
            sessions,
            peers: ask(api, "/p2p/peers").await?,
            offers: ask(api, "/p2p/offers").await?,
            bans: ask(api, "/p2p/bans").await?,
            limits: ask(api, "/p2p/limits").await?,
            events: ask(api, "/p2p/events").await?,
        })
    }
}

async fn ask<T: DeserializeOwned>(api: &Api, path: &str) -> Result<T, ApiError> {
    api.decode(&api.get(path).await?)
}

/// `None` before the first verified checkpoint, and when the head cannot be read (the node's log reports that).
async fn head(api: &Api) -> Result<Option<Head>, ApiError> {
    match ask(api, "/p2p/head").await {
        Ok(head) => Ok(Some(head)),
        Err(ApiError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
