//! What the node persists about a consumer session.

use std::fmt;

use libp2p::{Multiaddr, PeerId};
use rpp_p2p::{Hash, Have, Plan, PlanWishes, SnapshotSessionId, tree::chunk_range};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{age_of, now_text},
    handle::{IdempotencyKey, PeerTarget, SourceTarget},
    limits::{KEY_LIFE, MAX_ADDRESSES, MAX_KEYS, MAX_REFUSED},
    sources::mirror::MirrorUrl,
    status::{FailureCode, SessionState, SourceKind},
};

/// A session without its progress. A change is written before the status shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The id.
    pub(crate) session: SnapshotSessionId,
    /// The provider.
    #[serde(with = "peer_text")]
    pub(crate) peer: PeerId,
    /// No peer was named. Then `peer` is a placeholder, and all sources are in `more`.
    #[serde(default)]
    pub(crate) lacks_peer: bool,
    /// The sources besides that peer, in the order in which they were added.
    #[serde(default)]
    pub(crate) more: Vec<More>,
    /// Set if no provider was named. Then `peer` is a peer that the node chose because it offers what is wanted.
    #[serde(default)]
    pub(crate) sought: Option<Sought>,
    /// Set if the sources come from the configuration and others may be used as well: any peer that offers this
    /// snapshot.
    #[serde(default)]
    pub(crate) beside: Option<Sought>,
    /// Addresses of `peer` that the operator gave, or that were found.
    pub(crate) addresses: Vec<Multiaddr>,
    /// The wishes with which it was started. All its chunk sizes are set.
    pub(crate) wanted: PlanWishes,
    /// The plan, once it was accepted.
    pub(crate) plan: Option<Plan>,
    /// The source of the plan, as the status names it. `None`: the first peer.
    #[serde(default)]
    pub(crate) plan_source: Option<String>,
    /// A final state stays. A session in any other state is continued.
    pub(crate) state: SessionState,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// The error's code.
    pub(crate) error_code: Option<FailureCode>,
    /// What the operator can do about it.
    #[serde(default)]
    pub(crate) advice: Option<String>,
    /// The provider broke the protocol or invented a chain. This session does not continue with it.
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

/// A source besides the first peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum More {
    /// A peer, with the addresses that the operator gave for it.
    Peer {
        #[serde(with = "peer_text")]
        peer: PeerId,
        #[serde(default)]
        addresses: Vec<Multiaddr>,
    },
    /// A mirror, with its credentials and its query, because the next process needs them.
    Mirror {
        #[serde(with = "url_text")]
        url: MirrorUrl,
    },
}

impl More {
    /// From a source that an operator named.
    pub(crate) fn of(target: SourceTarget) -> Self {
        match target {
            SourceTarget::Peer(PeerTarget { peer, address }) => {
                Self::Peer { peer, addresses: address.into_iter().collect() }
            }
            SourceTarget::Mirror(url) => Self::Mirror { url },
        }
    }

    /// Its name in the status.
    pub(crate) fn name(&self) -> SourceName {
        match self {
            Self::Peer { peer, .. } => SourceName::Peer(*peer),
            Self::Mirror { url } => SourceName::Mirror(url.to_string()),
        }
    }
}

/// The name of a source in the status: a peer, or a URL without user, password and query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SourceName {
    Peer(PeerId),
    Mirror(String),
}

impl SourceName {
    pub(crate) fn kind(&self) -> SourceKind {
        match self {
            Self::Peer(_) => SourceKind::Peer,
            Self::Mirror(_) => SourceKind::Mirror,
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Mirror(url) => f.write_str(url),
        }
    }
}

/// The target of a session without a named provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sought {
    /// Only this payload.
    pub(crate) root: Option<Hash>,
    /// Only this height; the newest when absent.
    pub(crate) height: Option<u64>,
    /// Whether the record's `peer` is a provider. Otherwise it is a placeholder.
    pub(crate) is_chosen: bool,
    /// Peers that broke the protocol in this session and must not be used again. The oldest are dropped.
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

    /// The first peer, if there already is one.
    pub(crate) fn provider(&self) -> Option<PeerId> {
        let is_chosen = self.sought.as_ref().is_none_or(|sought| sought.is_chosen);
        (is_chosen && !self.lacks_peer).then_some(self.peer)
    }

    /// Whether the node found this provider, and the operator did not name it.
    pub(crate) fn has_found(&self, peer: PeerId) -> bool {
        self.sought.is_some() && self.provider() == Some(peer)
    }

    /// Whether it has no source and waits until one is found.
    pub(crate) fn seeks(&self) -> bool {
        self.sought.as_ref().is_some_and(|sought| !sought.is_chosen) && self.more.is_empty()
    }

    /// What the session looks for among the offers, instead of its sources or in addition to them.
    pub(crate) fn looked_for(&self) -> Option<&Sought> {
        self.sought.as_ref().or(self.beside.as_ref())
    }

    /// Makes sure that a source that the node had found is not used again.
    pub(crate) fn refuse_found(&mut self, peer: PeerId) {
        if let Some(looked_for) = self.sought.as_mut().or(self.beside.as_mut()) {
            looked_for.refuse(peer);
        }
    }

    /// All peers, in the order in which they were added.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        let further = self.more.iter().filter_map(|more| match more {
            More::Peer { peer, .. } => Some(*peer),
            More::Mirror { .. } => None,
        });
        self.provider().into_iter().chain(further)
    }

    /// All mirrors, in the order in which they were added.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = &MirrorUrl> {
        self.more.iter().filter_map(|more| match more {
            More::Mirror { url } => Some(url),
            More::Peer { .. } => None,
        })
    }

    /// All sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = SourceName> + '_ {
        self.provider().map(SourceName::Peer).into_iter().chain(self.more.iter().map(More::name))
    }

    /// The addresses that the operator gave for a peer, or that were found.
    pub(crate) fn addresses_of(&self, of: PeerId) -> &[Multiaddr] {
        if self.provider() == Some(of) {
            return &self.addresses;
        }
        let of_more = self.more.iter().find_map(|more| match more {
            More::Peer { peer, addresses } if *peer == of => Some(addresses.as_slice()),
            _ => None,
        });
        of_more.unwrap_or_default()
    }

    /// Adds another address of one of its peers. It is tried first.
    pub(crate) fn add_address(&mut self, of: PeerId, address: Multiaddr) {
        let is_first = self.provider() == Some(of);
        let of_more = self.more.iter_mut().find_map(|more| match more {
            More::Peer { peer, addresses } if *peer == of => Some(addresses),
            _ => None,
        });
        let Some(addresses) = of_more.or(is_first.then_some(&mut self.addresses)) else { return };
        if !addresses.contains(&address) {
            addresses.insert(0, address);
            addresses.truncate(MAX_ADDRESSES);
        }
    }

    /// Handles a mirror that is named again. Returns whether the new URL differs in a part that is not shown; that part
    /// is used from now on.
    pub(crate) fn renew(&mut self, url: &MirrorUrl) -> bool {
        let shown = url.to_string();
        let known = self.more.iter_mut().find_map(|more| match more {
            More::Mirror { url: known } if known.to_string() == shown && known != url => Some(known),
            _ => None,
        });
        known.map(|known| known.clone_from(url)).is_some()
    }

    /// Removes a source. Returns `false` if there is none of this name.
    pub(crate) fn remove(&mut self, name: &SourceName) -> bool {
        if self.provider().map(SourceName::Peer).as_ref() == Some(name) {
            self.lacks_peer = true;
            self.addresses.clear();
            return true;
        }
        let before = self.more.len();
        self.more.retain(|more| more.name() != *name);
        self.more.len() < before
    }

    /// Prepares the record for another run: the previous result is cleared.
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

/// The durable progress of a session on this disk. All numbers are counts, so 0 means that nothing is durable yet.
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
    /// The progress that corresponds to these durable parts of a plan's payload. The updates are recorded before the
    /// first byte.
    #[must_use]
    pub(crate) fn of(plan: &Plan, durable: &Have) -> Self {
        Self {
            confirmed_chunks: durable.prefix_chunks(plan.chunk_size),
            confirmed_updates: plan.total_updates,
            bytes_durable: durable.bytes(),
        }
    }

    /// The progress of a complete payload.
    #[must_use]
    pub(crate) fn complete(plan: &Plan) -> Self {
        Self::of(plan, &Have::everything(plan.snapshot.checkpoint.payload_bytes))
    }

    /// Confirmed bytes, counted from the beginning.
    #[must_use]
    pub(crate) fn confirmed_bytes(&self, plan: &Plan) -> u64 {
        chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, self.confirmed_chunks).start
    }

    /// Keeps confirmed progress from falling, whatever was lost since.
    #[must_use]
    pub(crate) fn after(self, before: &Self) -> Self {
        Self {
            confirmed_chunks: self.confirmed_chunks.max(before.confirmed_chunks),
            confirmed_updates: self.confirmed_updates.max(before.confirmed_updates),
            ..self
        }
    }
}

mod url_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::sources::mirror::MirrorUrl;

    pub(super) fn serialize<S: Serializer>(url: &MirrorUrl, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.secret_text())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MirrorUrl, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
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
    fn its_sources_are_its_first_peer_and_what_was_added() {
        let mut session = session();
        let (first, other) = (session.peer, PeerId::random());
        assert_eq!(session.sources().collect::<Vec<_>>(), [SourceName::Peer(first)]);
        let url: MirrorUrl = "https://user:word@host/a?key=secret".parse().unwrap();
        session.more.push(More::Mirror { url: url.clone() });
        session.more.push(More::Peer { peer: other, addresses: Vec::new() });
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        session.add_address(other, address.clone());
        assert_eq!((session.addresses_of(first), session.addresses_of(other)), (&[][..], &[address][..]));
        let mirror = SourceName::Mirror("https://host/a".to_owned());
        assert_eq!(
            session.sources().collect::<Vec<_>>(),
            [SourceName::Peer(first), mirror.clone(), SourceName::Peer(other)]
        );
        // The next process needs the credentials.
        let written = serde_json::to_string(&session).unwrap();
        let read: Session = serde_json::from_str(&written).unwrap();
        assert_eq!((&read, read.mirrors().next()), (&session, Some(&url)));
        assert!(!format!("{read:?}").contains("secret"));
        assert!(!session.renew(&url), "it is named in the same words");
        let renewed: MirrorUrl = "https://user:other@host/a".parse().unwrap();
        assert!(
            session.renew(&renewed)
                && session.mirrors().eq([&renewed])
                && !session.renew(&"https://host/b".parse().unwrap())
        );
        assert!(session.remove(&SourceName::Peer(first)) && session.remove(&mirror) && !session.remove(&mirror));
        assert_eq!(session.peers().collect::<Vec<_>>(), [other]);
        assert_eq!(session.provider(), None);
        assert!(session.remove(&SourceName::Peer(other)) && !session.seeks());
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
