//! Two hundred simulated nodes, a third of which leave every minute. They run the real machines (which peers are asked,
//! which offers are known, which peer is chosen) without a network. A tenth of the nodes offer snapshots that they
//! never serve.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::PeerId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rpp_p2p::{
    GenesisDescriptor, Hash, PayloadFormat, PlanBounds, Signature, SnapshotHeader, TrustAnchor,
    limits::ASK_INTERVAL,
    messages::Checkpoint,
    offers::{Asker, Book, Found, Offer, PeerSaid, check},
};
use rpp_proofs::{Chain, Genesis, Signer};

const NODES: usize = 200;
/// Connections that each node opens.
const DIALS: usize = 8;
/// Simulated time of one step.
const STEP: Duration = Duration::from_secs(1);
/// How long a payload takes, and how long a node waits for a peer that never serves.
const TRANSFER: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);
const PUBLICATIONS: u64 = 4;
const BETWEEN: Duration = Duration::from_secs(10 * 60);

/// The publisher's chain, as offers of each tip that were checked once.
fn published() -> Vec<Found> {
    let signer = Signer::from_seed([7; 32]);
    let genesis = Genesis::new("simulated".into(), vec![signer.public()], 1).unwrap();
    let trust = TrustAnchor::new(genesis.commitment().to_bytes().into());
    let descriptor =
        GenesisDescriptor { chain_id: "simulated".to_owned(), publishers: vec![Hash(signer.public())], threshold: 1 };
    let mut chain = Chain::genesis(&genesis);
    let offer = |step: u64| {
        let native = rpp_proofs::Checkpoint {
            step,
            height: 10 * step,
            block_hash: [0; 32],
            state_root: [step as u8; 32],
            payload_bytes: 1 << 30,
        };
        let commitment = chain.extend(&native).unwrap();
        let signed = signer.sign(&genesis.commitment(), &commitment, native.height, step);
        let tip = Checkpoint {
            step,
            height: native.height,
            block_hash: Hash([0; 32]),
            state_root: Hash(native.state_root),
            payload_bytes: native.payload_bytes,
            commitment: Hash(commitment.to_bytes()),
        };
        let offer = Offer {
            genesis: descriptor.clone(),
            snapshot: SnapshotHeader { checkpoint: tip, format: PayloadFormat::Raw },
            tip,
            signatures: vec![Signature {
                publisher: Hash(signed.publisher),
                signature: bytes::Bytes::copy_from_slice(&signed.signature),
            }],
            min_chunk_size: 16_384,
            max_chunk_size: 1 << 20,
            free_slots: 8,
        };
        check(&offer, &trust, &PlanBounds::default()).unwrap()
    };
    (1..=PUBLICATIONS).map(offer).collect()
}

struct Simulated {
    asker: Asker,
    book: Book,
    joined: Instant,
    connected: HashSet<PeerId>,
    /// The offers that it has, newest last.
    has: Vec<Found>,
    /// The offer that it is taking, from which peer, and until when.
    taking: Option<(Found, PeerId, Instant)>,
    /// The time of the last failed try with each peer.
    tried: HashMap<PeerId, Instant>,
    serves: bool,
    stays: bool,
}

struct World {
    rng: StdRng,
    now: Instant,
    nodes: HashMap<PeerId, Simulated>,
    /// The peers in a fixed order, so that a seed always means the same run.
    order: Vec<PeerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self { rng: StdRng::seed_from_u64(seed), now, nodes: HashMap::new(), order: Vec::new() }
    }

    fn join(&mut self, stays: bool) -> PeerId {
        let peer = PeerId::random();
        let serves = stays || self.rng.random_range(0..10) > 0;
        self.nodes.insert(
            peer,
            Simulated {
                asker: Asker::new(self.rng.random()),
                book: Book::default(),
                joined: self.now,
                connected: HashSet::new(),
                has: Vec::new(),
                taking: None,
                tried: HashMap::new(),
                serves,
                stays,
            },
        );
        self.order.push(peer);
        self.dial(peer);
        peer
    }

    /// Connects to other peers until it has opened its connections.
    fn dial(&mut self, peer: PeerId) {
        while self.nodes[&peer].connected.len() < DIALS.min(self.order.len() - 1) {
            let other = *self.order.choose(&mut self.rng).unwrap();
            if other == peer || self.nodes[&peer].connected.contains(&other) {
                continue;
            }
            for (one, with) in [(peer, other), (other, peer)] {
                let node = self.nodes.get_mut(&one).unwrap();
                node.connected.insert(with);
                node.asker.handle_connected(with, self.now);
            }
        }
    }

    fn leave(&mut self, peer: PeerId) {
        let gone = self.nodes.remove(&peer).unwrap();
        self.order.retain(|other| *other != peer);
        for other in gone.connected {
            let node = self.nodes.get_mut(&other).unwrap();
            node.connected.remove(&peer);
            node.asker.handle_disconnected(&peer);
        }
    }

    /// A third of the peers leave in each minute, at random times, and others take their place. Returns how many left.
    fn churn(&mut self) -> usize {
        let mut left = 0;
        let leaving: Vec<_> = self.order.iter().copied().filter(|peer| !self.nodes[peer].stays).collect();
        for peer in leaving {
            if self.rng.random_range(0..3 * 60) == 0 {
                self.leave(peer);
                left += 1;
            }
        }
        while self.order.len() < NODES {
            self.join(false);
        }
        for peer in self.order.clone() {
            self.dial(peer);
        }
        left
    }

    fn step(&mut self) {
        self.now += STEP;
        for peer in self.order.clone() {
            self.ask(peer);
            self.take(peer);
        }
    }

    fn ask(&mut self, peer: PeerId) {
        let now = self.now;
        while let Some(other) = self.nodes.get_mut(&peer).unwrap().asker.poll_ask(now, true) {
            let offered = &self.nodes[&other];
            // Peers that do not serve offer what they heard of.
            let heard = || offered.taking.map(|(found, ..)| found).into_iter().collect();
            let offers: Vec<Found> = if offered.serves { offered.has.clone() } else { heard() };
            let node = self.nodes.get_mut(&peer).unwrap();
            node.book.record(other, &offers, now);
            let said = PeerSaid::Offers { found: offers.len(), refused: 0, reason: None };
            node.asker.handle_said(&other, said, now);
        }
    }

    fn take(&mut self, peer: PeerId) {
        let now = self.now;
        let served =
            |nodes: &HashMap<PeerId, Simulated>, from: &PeerId| nodes.get(from).is_some_and(|node| node.serves);
        if let Some((found, from, until)) = self.nodes[&peer].taking {
            let goes_on = self.nodes.contains_key(&from);
            let serves = served(&self.nodes, &from);
            let node = self.nodes.get_mut(&peer).unwrap();
            if goes_on && now < until {
                return;
            }
            node.taking = None;
            if goes_on && serves {
                node.has.push(found);
                return;
            }
            node.book.forget(&from);
            node.tried.insert(from, now);
        }
        let node = &self.nodes[&peer];
        let lately = |peer: &PeerId| node.tried.get(peer).is_some_and(|at| now - *at < Duration::from_secs(60));
        let newest = node.has.last().map_or(0, |found| found.tip.height);
        let Some((snapshot, holder)) = node.book.choose(None, None, |_, holder| !lately(&holder.peer)) else { return };
        if snapshot.checkpoint.height <= newest {
            return;
        }
        let takes = if served(&self.nodes, &holder.peer) { TRANSFER } else { PATIENCE };
        let known = self.nodes[&peer].book.newest_first();
        assert!(known.iter().any(|known| known.snapshot == snapshot));
        let found = self.published(snapshot.checkpoint.step);
        self.nodes.get_mut(&peer).unwrap().taking = Some((found, holder.peer, now + takes));
    }

    fn published(&self, step: u64) -> Found {
        published_once()[usize::try_from(step).unwrap() - 1]
    }
}

fn published_once() -> &'static [Found] {
    static MADE: std::sync::OnceLock<Vec<Found>> = std::sync::OnceLock::new();
    MADE.get_or_init(published)
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let publisher = world.join(true);
    while world.order.len() < NODES {
        world.join(false);
    }
    let three_offers = 3 * ASK_INTERVAL;
    let (mut longest, mut left) = (Duration::ZERO, 0);
    for newest in published_once() {
        let published = world.now;
        world.nodes.get_mut(&publisher).unwrap().has.push(*newest);
        while world.now < published + BETWEEN {
            world.step();
            left += world.churn();
            for (peer, node) in &world.nodes {
                let since = node.joined.max(published);
                let has = node.has.last() == Some(newest);
                if !has {
                    longest = longest.max(world.now - since);
                    let late = world.now - since;
                    assert!(
                        late <= three_offers,
                        "seed {seed}: {peer} has not height {} {late:?} after it was published or the node came; its book: {:?}",
                        newest.tip.height,
                        node.book.newest_first().len()
                    );
                }
            }
        }
    }
    let minutes = PUBLICATIONS * BETWEEN.as_secs() / 60;
    let per_minute = left as f64 / minutes as f64;
    assert!((NODES as f64 / 3.3..NODES as f64 / 2.7).contains(&per_minute), "{per_minute} of {NODES} left in a minute");
    println!("seed {seed}: the last node had the newest root after {longest:?}; {per_minute:.1} left in a minute");
}

#[test]
fn every_node_has_the_newest_root_within_three_offers_of_its_publishing() {
    (0..4).for_each(run);
}
