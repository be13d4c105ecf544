//! What a session reports about itself: its state, what it waits for, why it failed, and its progress. Each word is
//! defined only here; the control plane, the metrics, introspection and the fleet's graph all use these types.

use std::{fmt, path::PathBuf};

use libp2p::PeerId;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    messages::PayloadFormat,
    types::{Hash, SnapshotSessionId},
};

/// An enum whose variants have one word each, which is also how they are serialised.
macro_rules! words {
    ($(#[$of_enum:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$of_variant])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word of the status.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The state of a session.
    ///
    /// ```text
    /// connecting -> planning -> verifying -> streaming -> verifying -> complete
    ///      ^            │           │            │            │
    ///      │            └───────────┴─────┬──────┴────────────┴──────> failed
    ///      └── backing_off, paused <──────┘ (and back, by themselves)
    /// ```
    SessionState {
        /// No connection to the provider yet.
        Connecting = "connecting",
        /// The session has asked for the plan, or sent a resume, and waits for the answer.
        Planning = "planning",
        /// Chunks are arriving.
        Streaming = "streaming",
        /// Updates, signatures and proof are fetched and checked, or the payload is moved into the store.
        Verifying = "verifying",
        /// A failure that may pass; `waiting_on.retry_at` says when the next attempt is.
        BackingOff = "backing_off",
        /// The disk is full, or another session holds the payload or the last free place.
        Paused = "paused",
        /// The verified payload is in place.
        Complete = "complete",
        /// The session has failed; the error says why.
        Failed = "failed",
    }
}

impl SessionState {
    /// Whether nothing more happens without the operator.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

words! {
    /// The state of a source of a download.
    SourceState {
        /// The session waits for a connection to it, or for its plan.
        Connecting = "connecting",
        /// It has been asked for something.
        Active = "active",
        /// It could deliver, but is asked for nothing.
        Idle = "idle",
        /// It delivers far less than the others, so it is asked for nothing for a while.
        Slow = "slow",
        /// It failed in a way that may pass.
        BackingOff = "backing_off",
        /// It cannot serve this payload, or the session may not use it.
        Refused = "refused",
        /// It broke the protocol.
        Banned = "banned",
        /// Everything is there.
        Done = "done",
    }
}

words! {
    /// The kind of a download's source.
    SourceKind {
        /// A node that speaks the protocol.
        Peer = "peer",
        /// An object store or a web server.
        Mirror = "mirror",
    }
}

words! {
    /// What a session waits for.
    WaitKind {
        /// A connection to the provider.
        Connection = "connection",
        /// The plan, or the answer to a resume.
        Plan = "plan",
        /// A chunk.
        Chunk = "chunk",
        /// A light-client update.
        LightClientUpdate = "light_client_update",
        /// The provider's confirmation of an ack.
        Ack = "ack",
        /// The check of signatures, chain and proof.
        Proof = "proof",
        /// A write, a flush, or free space.
        Disk = "disk",
        /// Credit: everything that the provider may send has arrived, and is not durable here yet.
        Credit = "credit",
        /// This node's own limit by the byte.
        Throttle = "throttle",
        /// Another session of this node.
        Session = "session",
        /// The end of a back-off.
        Retry = "retry",
        /// The operator.
        Operator = "operator",
    }
}

words! {
    /// Stable words for the failure that ended a session, or from which it is recovering; `docs/troubleshooting.md`
    /// explains each.
    FailureCode {
        /// The provider could not be reached, or not for too long.
        Network = "network",
        /// Bytes did not verify.
        Checksum = "checksum",
        /// The publishers are not trusted, or this node may not consume there.
        Authentication = "authentication",
        /// The offsets of a resume do not match.
        ResumeMismatch = "resume_mismatch",
        /// The provider refused, or broke the protocol.
        Provider = "provider",
        /// This node's disk failed.
        Storage = "storage",
        /// The commitment chain or its proof is not valid.
        Proof = "proof",
        /// The tip is older than the head.
        Stale = "stale",
        /// The publishers signed two histories.
        Equivocation = "equivocation",
        /// The provider cancelled the session.
        Cancelled = "cancelled",
    }
}

/// Who or what a session waits for, and since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WaitingOn {
    /// What.
    pub what: WaitKind,
    /// Which chunk or update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The peer (its id), or the session (its number) for `session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// One clear sentence, with what the operator can do.
    pub reason: String,
    /// When the next attempt is (RFC 3339), for `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
}

impl WaitingOn {
    /// A wait that concerns no chunk or update, and no peer.
    #[must_use]
    pub fn new(what: WaitKind, since_ms: u64, reason: String) -> Self {
        Self { what, index: None, peer: None, since_ms, reason, retry_at: None }
    }

    /// The same with some fields set.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The status of one source of a session. Fields without a value are left out of the JSON, except the three that are
/// always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceStatus {
    /// A peer id, or the URL of a mirror without user, password and query.
    pub source: String,
    /// The kind of the source.
    pub kind: SourceKind,
    /// Its state.
    pub state: SourceState,
    /// The version of the protocol that is used with a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Verified payload bytes of it that were used.
    pub bytes_verified: u64,
    /// Payload bytes of it that could not be used.
    pub bytes_wasted: u64,
    /// Its measured rate, while it delivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_bytes_per_second: Option<u64>,
    /// The newest round trip to a peer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Payload bytes that may be in flight from a peer or wait to be written, chosen from rate and round trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_bytes: Option<u64>,
    /// What the session waits for from this source.
    pub waiting_on: Option<WaitingOn>,
    /// Why it is not used, or the failure from which it is recovering.
    pub error: Option<String>,
    /// The code of the error.
    pub error_code: Option<FailureCode>,
}

impl SourceStatus {
    /// A source that has delivered nothing yet.
    #[must_use]
    pub fn new(source: String, kind: SourceKind, state: SourceState) -> Self {
        Self {
            source,
            kind,
            state,
            protocol: None,
            bytes_verified: 0,
            bytes_wasted: 0,
            verified_bytes_per_second: None,
            rtt_ms: None,
            window_bytes: None,
            waiting_on: None,
            error: None,
            error_code: None,
        }
    }

    /// The same with some fields set.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The status of a session. Fields without a value are left out of the JSON, except the four that are always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named and defined one by one in `docs/http.md`
#[non_exhaustive]
pub struct SnapshotStreamStatus {
    pub session: SnapshotSessionId,
    /// The provider; absent while a session without a named provider has found none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_text",
        deserialize_with = "peer_from_text"
    )]
    pub peer: Option<PeerId>,
    pub state: SessionState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<PayloadFormat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_chunks: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_updates: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_chunk_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_height: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_chunk_index: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_update_index: Option<u64>,
    pub bytes_received: u64,
    pub bytes_verified: u64,
    pub bytes_durable: u64,
    #[serde(default)]
    pub bytes_wasted: u64,
    /// In the order in which they were added, including lost ones; at most [`MAX_SOURCES`](crate::limits::MAX_SOURCES).
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rechecked_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recheck_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    pub verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    pub waiting_on: Option<WaitingOn>,
    pub error: Option<String>,
    pub error_code: Option<FailureCode>,
    pub payload_path: Option<PathBuf>,
    pub started_at: String,
    pub updated_at: String,
}

impl SnapshotStreamStatus {
    /// A session that has done nothing yet.
    #[must_use]
    pub fn new(session: SnapshotSessionId, state: SessionState, started_at: String, updated_at: String) -> Self {
        Self {
            session,
            peer: None,
            state,
            root: None,
            plan_id: None,
            format: None,
            height: None,
            chunk_size: None,
            total_chunks: None,
            total_updates: None,
            total_bytes: None,
            last_chunk_index: None,
            last_update_index: None,
            last_update_height: None,
            confirmed_chunk_index: None,
            confirmed_update_index: None,
            bytes_received: 0,
            bytes_verified: 0,
            bytes_durable: 0,
            bytes_wasted: 0,
            sources: Vec::new(),
            rechecked_bytes: None,
            recheck_bytes: None,
            damaged_bytes: None,
            verified_bytes_per_second: None,
            eta_seconds: None,
            tries: None,
            stalled_ms: None,
            verified: false,
            protocol: None,
            waiting_on: None,
            error: None,
            error_code: None,
            payload_path: None,
            started_at,
            updated_at,
        }
    }

    /// The same with some fields set.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether its record says that it is complete, but this process has not verified the stored payload yet.
    #[must_use]
    pub fn is_being_verified_again(&self) -> bool {
        self.state == SessionState::Complete && !self.verified && self.recheck_bytes.is_some()
    }
}

#[allow(clippy::ref_option)] // as serde calls it
fn as_text<S: Serializer>(peer: &Option<PeerId>, serializer: S) -> Result<S::Ok, S::Error> {
    match peer {
        Some(peer) => serializer.collect_str(peer),
        None => serializer.serialize_none(),
    }
}

fn peer_from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PeerId>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word of the contract is what is written and read.
    fn check<T>(all: &[T], words: &[&str], as_str: fn(T) -> &'static str)
    where
        T: Copy + fmt::Debug + PartialEq + Serialize + for<'de> Deserialize<'de>,
    {
        assert_eq!(all.iter().map(|one| as_str(*one)).collect::<Vec<_>>(), words);
        for (one, word) in all.iter().zip(words) {
            assert_eq!(serde_json::to_value(one).unwrap(), *word);
            assert_eq!(serde_json::from_value::<T>((*word).into()).unwrap(), *one);
        }
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let states =
            ["connecting", "planning", "streaming", "verifying", "backing_off", "paused", "complete", "failed"];
        check(SessionState::ALL, &states, SessionState::as_str);
        let waits = [
            "connection",
            "plan",
            "chunk",
            "light_client_update",
            "ack",
            "proof",
            "disk",
            "credit",
            "throttle",
            "session",
            "retry",
            "operator",
        ];
        check(WaitKind::ALL, &waits, WaitKind::as_str);
        let sources = ["connecting", "active", "idle", "slow", "backing_off", "refused", "banned", "done"];
        check(SourceState::ALL, &sources, SourceState::as_str);
        check(SourceKind::ALL, &["peer", "mirror"], SourceKind::as_str);
        let codes = [
            "network",
            "checksum",
            "authentication",
            "resume_mismatch",
            "provider",
            "storage",
            "proof",
            "stale",
            "equivocation",
            "cancelled",
        ];
        check(FailureCode::ALL, &codes, FailureCode::as_str);
    }
}
