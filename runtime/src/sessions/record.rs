//! What the node persists about a consumer session.

use libp2p::{Multiaddr, PeerId};
use rpp_p2p::{Hash, Have, Plan, PlanWishes, SnapshotSessionId, tree::chunk_range};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{age_of, now_text},
    handle::IdempotencyKey,
    limits::{KEY_LIFE, MAX_KEYS, MAX_REFUSED},
    status::{FailureCode, SessionState},
};

/// A session without its progress. A change is written before the status shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The id.
    pub(crate) session: SnapshotSessionId,
    /// The provider.
    #[serde(with = "peer_text")]
    pub(crate) peer: PeerId,
    /// Set when no provider was named: `peer` is then whoever offers what is wanted.
    #[serde(default)]
    pub(crate) sought: Option<Sought>,
    /// The addresses that the operator gave for it, or that were found.
    pub(crate) addresses: Vec<Multiaddr>,
    /// What was asked for when it was started; its chunk sizes are all set.
    pub(crate) wanted: PlanWishes,
    /// The plan, once accepted.
    pub(crate) plan: Option<Plan>,
    /// Final states stay; a session in any other is continued.
    pub(crate) state: SessionState,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// The code of the error.
    pub(crate) error_code: Option<FailureCode>,
    /// What the operator can do about it.
    #[serde(default)]
    pub(crate) advice: Option<String>,
    /// The provider broke the protocol or invented a chain: this session does not continue with it.
    #[serde(default)]
    pub(crate) distrust: bool,
    /// The keys of the requests that were answered with this session, newest first.
    #[serde(default)]
    pub(crate) keys: Vec<Key>,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// RFC 3339.
    pub(crate) updated_at: String,
}

/// What a session without a named provider looks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sought {
    /// Only this payload.
    pub(crate) root: Option<Hash>,
    /// Only this height; the newest when absent.
    pub(crate) height: Option<u64>,
    /// Whether the record's peer is a provider; else it stands for nobody.
    pub(crate) is_chosen: bool,
    /// Peers that broke the protocol in this session, so that it does not go on with them; the oldest go.
    refused: Vec<String>,
}

impl Sought {
    pub(crate) fn new(root: Option<Hash>, height: Option<u64>) -> Self {
        Self { root, height, ..Self::default() }
    }

    pub(crate) fn refuse(&mut self, peer: PeerId) {
        if !self.refuses(&peer) {
            self.refused.push(peer.to_string());
        }
        if self.refused.len() > MAX_REFUSED {
            self.refused.remove(0);
        }
    }

    pub(crate) fn refuses(&self, peer: &PeerId) -> bool {
        self.refused.iter().any(|refused| *refused == peer.to_string())
    }
}

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Key {
    key: IdempotencyKey,
    /// RFC 3339.
    since: String,
}

impl Key {
    pub(crate) fn new(key: IdempotencyKey) -> Self {
        Self { key, since: now_text() }
    }
}

impl Session {
    /// Whether a request with this key was answered with this session in the last 24 h.
    pub(crate) fn carries(&self, key: &IdempotencyKey) -> bool {
        self.keys.iter().any(|known| known.key == *key && age_of(&known.since).is_some_and(|age| age < KEY_LIFE))
    }

    /// The provider, if there is one already.
    pub(crate) fn provider(&self) -> Option<PeerId> {
        self.sought.as_ref().is_none_or(|sought| sought.is_chosen).then_some(self.peer)
    }

    /// It goes on: what it ended with is no more.
    pub(crate) fn begin(&mut self) {
        self.state = SessionState::Connecting;
        (self.error, self.error_code, self.advice) = (None, None, None);
        self.distrust = false;
    }

    /// Adds a key. An existing one keeps its time, because 24 h are counted from the first request.
    pub(crate) fn carry(&mut self, key: IdempotencyKey) {
        if !self.carries(&key) {
            self.keys.retain(|known| known.key != key);
            self.keys.insert(0, Key::new(key));
            self.keys.truncate(MAX_KEYS);
        }
    }
}

/// The durable progress of a session on this disk. Counts, so 0 means nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Number of chunks, from the first on.
    pub(crate) confirmed_chunks: u64,
    /// Number of updates, from the first on.
    pub(crate) confirmed_updates: u64,
    /// Payload bytes.
    pub(crate) bytes_durable: u64,
}

impl Progress {
    /// The progress that these durable parts of a plan's payload mean. The updates are recorded before the first byte.
    #[must_use]
    pub(crate) fn of(plan: &Plan, durable: &Have) -> Self {
        Self {
            confirmed_chunks: durable.prefix_chunks(plan.chunk_size),
            confirmed_updates: plan.total_updates,
            bytes_durable: durable.bytes(),
        }
    }

    /// All of it.
    #[must_use]
    pub(crate) fn complete(plan: &Plan) -> Self {
        Self::of(plan, &Have::everything(plan.snapshot.checkpoint.payload_bytes))
    }

    /// Bytes that are confirmed, from the first on.
    #[must_use]
    pub(crate) fn confirmed_bytes(&self, plan: &Plan) -> u64 {
        chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, self.confirmed_chunks).start
    }

    /// What is confirmed never falls, whatever was lost since.
    #[must_use]
    pub(crate) fn after(self, before: &Self) -> Self {
        Self {
            confirmed_chunks: self.confirmed_chunks.max(before.confirmed_chunks),
            confirmed_updates: self.confirmed_updates.max(before.confirmed_updates),
            ..self
        }
    }
}

mod peer_text {
    use libp2p::PeerId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(peer: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rpp_p2p::SnapshotSessionId;

    use super::*;

    fn session() -> Session {
        let text = r#"{ "session": 7, "peer": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "addresses": [],
            "wanted": { "chunk_size": 1, "min_chunk_size": 1, "max_chunk_size": 1, "root": null, "height": null },
            "plan": null, "state": "connecting", "error": null, "error_code": null, "payload_path": null,
            "started_at": "", "updated_at": "" }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_record_from_before_there_were_keys_has_none() {
        assert_eq!((session().session, session().keys.len()), (SnapshotSessionId::new(7).unwrap(), 0));
    }

    #[test]
    fn a_key_holds_for_a_day_from_its_first_request_on() {
        let mut session = session();
        let (key, other) = (IdempotencyKey::of(b"one"), IdempotencyKey::of(b"other"));
        session.carry(key);
        assert!(session.carries(&key) && !session.carries(&other));
        let first = session.keys.clone();
        session.carry(key);
        assert_eq!(session.keys, first, "a repetition does not begin a new day");
        let hours = |hours| {
            (time::OffsetDateTime::now_utc() - time::Duration::hours(hours))
                .format(&time::format_description::well_known::Rfc3339)
                .unwrap()
        };
        session.keys[0].since = hours(23);
        assert!(session.carries(&key));
        session.keys[0].since = hours(25);
        assert!(!session.carries(&key));
        session.carry(key);
        assert!(session.carries(&key) && session.keys.len() == 1);
        let written = serde_json::to_string(&session).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&written).unwrap(), session);
    }

    #[test]
    fn the_oldest_keys_of_a_session_go() {
        let mut session = session();
        for number in 0..=MAX_KEYS {
            session.carry(IdempotencyKey::of(&number.to_be_bytes()));
        }
        assert_eq!(session.keys.len(), MAX_KEYS);
        assert!(!session.carries(&IdempotencyKey::of(&0_usize.to_be_bytes())));
        assert!(session.carries(&IdempotencyKey::of(&MAX_KEYS.to_be_bytes())));
    }
}
