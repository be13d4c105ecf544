//! Kademlia, as this node uses it: `/rpp/kad/1.0.0`.
//!
//! A node that serves a snapshot announces itself under the key of its chain and under that of each root. A searching
//! node asks for the providers of the chain and connects to them. Their offers are then requested and checked like
//! those of any peer. So a lie in the DHT costs one dial. There are only provider records. A peer gets into the routing
//! table only with addresses that it proved or named itself.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, identify,
    kad::{self, InboundRequest, QueryId, QueryResult, RecordKey, store::MemoryStore, store::RecordStore as _},
    multiaddr::Protocol,
    swarm::behaviour::toggle::Toggle,
};
use rpp_common::Backoff;
use rpp_p2p::{Hash, offers::Offer};

use super::{
    addresses::without_peer,
    records::Records,
    scoped::{Scope, Scoped},
};
use crate::{
    hooks::{DhtBucket, DhtPeer, DhtView, QueryCounts},
    limits::{MAX_ADDRESSES, MAX_DHT_RECORDS, MAX_DHT_RECORDS_PER_KEY, MAX_FOUND, REDIAL_MAX, REDIAL_MIN},
};

/// The protocol's name on the wire.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/rpp/kad/1.0.0");
/// An announcement is repeated after this time; other nodes forget it after twice as long.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(12 * 60 * 60);
/// Shortest time between two announcements of all keys because the network has grown.
const GROWN_AGAIN: Duration = Duration::from_secs(5);
/// Keys that are announced in one turn (a second).
const ANNOUNCED_AT_ONCE: usize = 4;
/// Time for one query.
const QUERY_TIME: Duration = Duration::from_secs(30);
/// Time between two searches while a session searches.
const SEARCH_AGAIN: Duration = Duration::from_secs(15);
/// Queries asked at the same time for one search.
const PARALLELISM: NonZeroUsize = kad::ALPHA_VALUE;

/// The behaviour: two tables, or nothing while it is off.
pub(crate) type Kad = Toggle<Scoped<kad::Behaviour<MemoryStore>>>;

/// The key under which the providers of a chain are found.
fn key_of_chain(genesis: &Hash) -> RecordKey {
    key(b"rpp/genesis/1", genesis)
}

/// The key under which the providers of a root are found.
fn key_of_root(root: &Hash) -> RecordKey {
    key(b"rpp/root/1", root)
}

fn key(context: &[u8], hash: &Hash) -> RecordKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(context).update(hash.as_bytes());
    RecordKey::new(hasher.finalize().as_bytes())
}

/// Off unless `[discovery] kad` is on.
pub(crate) fn behaviour(enabled: bool, me: PeerId) -> Kad {
    let make = || {
        let mut config = kad::Config::new(PROTOCOL);
        config
            .set_query_timeout(QUERY_TIME)
            .set_parallelism(PARALLELISM)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_caching(kad::Caching::Disabled)
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(Some(ANNOUNCE_AGAIN))
            .set_provider_record_ttl(Some(2 * ANNOUNCE_AGAIN));
        let store = kad::store::MemoryStoreConfig {
            max_records: 0,
            max_value_bytes: 0,
            // Its bound counts keys, and it would never evict the oldest. `Records` keeps fewer.
            max_provided_keys: 2 * MAX_DHT_RECORDS,
            max_providers_per_key: MAX_DHT_RECORDS_PER_KEY + 1,
        };
        kad::Behaviour::with_config(me, MemoryStore::with_config(me, store), config)
    };
    enabled.then(|| Scoped::new(make)).into()
}

/// What this node knows and does in addition to the tables.
pub(crate) struct Dht {
    me: PeerId,
    started: Instant,
    records: Records,
    /// The peers in the tables, and since when.
    peers: HashMap<(Scope, PeerId), Instant>,
    /// The keys that this node announces.
    announced: HashSet<RecordKey>,
    /// What must be announced in the next turns.
    due: VecDeque<RecordKey>,
    /// When everything was announced last, and whether the tables have grown since.
    announced_all: Instant,
    has_grown: bool,
    /// Searches in flight.
    searches: HashSet<(Scope, QueryId)>,
    searched: Option<Instant>,
    bootstrap: Vec<(PeerId, Multiaddr)>,
    next_bootstrap: Instant,
    backoff: Backoff,
    incoming: QueryCounts,
    outgoing: QueryCounts,
}

impl Dht {
    /// `bootstrap`: multiaddrs that end in `/p2p/<id>` (the configuration checks that).
    pub(crate) fn new(me: PeerId, bootstrap: &[Multiaddr], now: Instant) -> Self {
        let of = |address: &Multiaddr| match address.iter().last() {
            Some(Protocol::P2p(peer)) if peer != me => Some((peer, address.clone())),
            _ => None,
        };
        Self {
            me,
            started: now,
            records: Records::default(),
            peers: HashMap::new(),
            announced: HashSet::new(),
            due: VecDeque::new(),
            announced_all: now,
            has_grown: false,
            searches: HashSet::new(),
            searched: None,
            bootstrap: bootstrap.iter().filter_map(of).collect(),
            next_bootstrap: now,
            backoff: Backoff::new(REDIAL_MIN, REDIAL_MAX, rand::random()),
            incoming: QueryCounts::default(),
            outgoing: QueryCounts::default(),
        }
    }

    /// The bootstrap peers, when it is time to dial them: while the tables are empty, or no peer is connected.
    pub(crate) fn poll_bootstrap(&mut self, is_alone: bool, now: Instant) -> Vec<(PeerId, Multiaddr)> {
        if now < self.next_bootstrap || !(is_alone || self.peers.is_empty()) {
            return Vec::new();
        }
        self.next_bootstrap = now + self.backoff.pause();
        self.bootstrap.clone()
    }

    /// A peer reports its protocols and, over an authenticated connection, where it listens.
    pub(crate) fn on_identified(
        &mut self,
        kad: &mut Kad,
        peer: PeerId,
        scope: Scope,
        info: &identify::Info,
        addresses: &[Multiaddr],
    ) {
        let Some(kad) = kad.as_mut() else { return };
        if !info.protocols.contains(&PROTOCOL) {
            return;
        }
        let wanted: Vec<_> =
            addresses.iter().filter(|address| Scope::of(address) == scope).take(MAX_ADDRESSES).collect();
        let kad = kad.of(scope);
        for address in &wanted {
            kad.add_address(&peer, (*address).clone());
        }
        // Kademlia never drops an address by itself, and a peer may name others again and again.
        let bucket = kad.kbucket(peer).filter(|_| !wanted.is_empty());
        let known = bucket.iter().flat_map(|bucket| bucket.iter()).filter(|entry| *entry.node.key.preimage() == peer);
        let known = known.flat_map(|entry| entry.node.value.iter().cloned().collect::<Vec<_>>());
        let gone: Vec<_> = known.filter(|address| !wanted.contains(&&without_peer(address))).collect();
        for address in gone {
            kad.remove_address(&peer, &address);
        }
    }

    /// Announces what this node offers, a few keys a turn.
    pub(crate) fn announce(&mut self, kad: &mut Kad, offered: &[(Hash, Offer)], now: Instant) {
        let Some(kad) = kad.as_mut() else { return };
        let chains = offered.iter().map(|(genesis, _)| key_of_chain(genesis));
        let roots = offered.iter().map(|(_, offer)| key_of_root(&offer.snapshot.checkpoint.state_root));
        let wanted: HashSet<RecordKey> = chains.chain(roots).collect();
        for gone in self.announced.difference(&wanted) {
            Scope::BOTH.into_iter().for_each(|scope| kad.of(scope).stop_providing(gone));
        }
        self.due.retain(|key| wanted.contains(key));
        let grown = self.has_grown && now.saturating_duration_since(self.announced_all) >= GROWN_AGAIN;
        if grown {
            (self.has_grown, self.announced_all) = (false, now);
            self.due = wanted.iter().cloned().collect();
        } else {
            self.due.extend(wanted.difference(&self.announced).cloned());
        }
        self.announced = wanted;
        for key in self.due.drain(..self.due.len().min(ANNOUNCED_AT_ONCE)) {
            for scope in Scope::BOTH {
                // If this node has no address at which it can be found, there is nothing to announce.
                let kad = kad.of(scope);
                if kad.mode() == kad::Mode::Server
                    && let Err(error) = kad.start_providing(key.clone())
                {
                    tracing::warn!(?error, "what this node offers could not be announced");
                }
            }
        }
    }

    /// Searches for the providers of a chain, and of these roots of it.
    pub(crate) fn search(&mut self, kad: &mut Kad, genesis: &Hash, roots: impl Iterator<Item = Hash>, now: Instant) {
        let Some(kad) = kad.as_mut() else { return };
        let lately = |at: Instant| now.saturating_duration_since(at) < SEARCH_AGAIN;
        if self.peers.is_empty() || self.searched.is_some_and(lately) {
            return;
        }
        self.searched = Some(now);
        let keys: HashSet<_> =
            std::iter::once(key_of_chain(genesis)).chain(roots.map(|root| key_of_root(&root))).collect();
        for key in keys.into_iter().take(ANNOUNCED_AT_ONCE) {
            for scope in Scope::BOTH {
                self.searches.insert((scope, kad.of(scope).get_providers(key.clone())));
            }
        }
    }

    /// Handles an event of the DHT; returns peers that are named as providers of something that is searched for.
    pub(crate) fn on_event(&mut self, kad: &mut Kad, scope: Scope, event: kad::Event, now: Instant) -> Vec<PeerId> {
        match event {
            kad::Event::InboundRequest { request } => {
                self.incoming.success += 1;
                if let (InboundRequest::AddProvider { record: Some(record) }, Some(kad)) = (request, kad.as_mut()) {
                    self.keep(kad, scope, record);
                }
            }
            kad::Event::RoutingUpdated { peer, old_peer, .. } => {
                if self.peers.is_empty() {
                    // A search need not wait for the next round.
                    self.searched = None;
                }
                if let Some(old) = old_peer {
                    self.peers.remove(&(scope, old));
                }
                self.has_grown |= self.peers.insert((scope, peer), now).is_none();
                self.backoff.reset();
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                if step.last {
                    self.searches.remove(&(scope, id));
                    self.count(&result);
                }
                if let QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) = result {
                    return providers.into_iter().filter(|peer| *peer != self.me).take(MAX_FOUND).collect();
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn count(&mut self, result: &QueryResult) {
        let counts = &mut self.outgoing;
        match result {
            QueryResult::Bootstrap(Err(_))
            | QueryResult::GetClosestPeers(Err(_))
            | QueryResult::GetProviders(Err(_))
            | QueryResult::StartProviding(Err(_))
            | QueryResult::RepublishProvider(Err(_)) => counts.timeout += 1,
            QueryResult::GetRecord(Err(_)) | QueryResult::PutRecord(Err(_)) | QueryResult::RepublishRecord(Err(_)) => {
                counts.error += 1;
            }
            _ => counts.success += 1,
        }
    }

    /// Keeps a provider record. Kademlia has checked that the provider itself, authenticated, sent it.
    fn keep(&mut self, kad: &mut Scoped<kad::Behaviour<MemoryStore>>, scope: Scope, mut record: kad::ProviderRecord) {
        record.addresses.retain(|address| Scope::of(address) == scope && crate::address::dialable(address).is_ok());
        record.addresses.truncate(MAX_ADDRESSES / 2);
        if record.addresses.is_empty() {
            return;
        }
        let place = (scope, record.key.clone(), record.provider);
        for (scope, key, provider) in self.records.note(&place) {
            kad.of(scope).store_mut().remove_provider(&key, &provider);
        }
        if let Err(error) = kad.of(scope).store_mut().add_provider(record) {
            tracing::debug!(?error, "a record of a provider is not kept");
        }
    }

    /// The content of the tables, for introspection.
    pub(crate) fn view(&self, kad: &mut Kad, now: Instant) -> Option<DhtView> {
        let kad = kad.as_mut()?;
        let mut buckets: Vec<DhtBucket> = Vec::new();
        for scope in Scope::BOTH {
            for bucket in kad.of(scope).kbuckets() {
                // The bucket of distances from 2^i holds peers with 255 - i bits in common.
                let cpl = 255 - bucket.range().0.ilog2().unwrap_or(0);
                let peers = bucket.iter().map(|entry| {
                    let peer = *entry.node.key.preimage();
                    let since = self.peers.get(&(scope, peer)).copied().unwrap_or(now);
                    let is_connected = entry.status == kad::NodeStatus::Connected;
                    DhtPeer { peer, is_connected, age: now.saturating_duration_since(since) }
                });
                let peers: Vec<_> = peers.collect();
                match buckets.iter_mut().find(|bucket| bucket.cpl == cpl) {
                    _ if peers.is_empty() => {}
                    Some(bucket) => bucket.peers.extend(peers),
                    None => buckets.push(DhtBucket { cpl, peers }),
                }
            }
        }
        buckets.sort_unstable_by_key(|bucket| bucket.cpl);
        Some(DhtView {
            protocol: PROTOCOL.to_string(),
            age: now.saturating_duration_since(self.started),
            k: kad::K_VALUE.get() as u64,
            alpha: PARALLELISM.get() as u64,
            buckets,
            incoming: self.incoming,
            outgoing: self.outgoing,
            records: self.records.len(),
        })
    }
}
