//! Discovery: a snapshot without a named provider, among peers of which some lie.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, SwarmBuilder, Transport as _,
    core::upgrade::Version,
    futures::StreamExt as _,
    identify,
    identity::Keypair,
    kad::{self, RecordKey, store::MemoryStore},
    multiaddr::Protocol,
    noise,
    request_response::{Event, Message, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rpp_p2p::{
    ErrorCode, Hash, SnapshotsRequest,
    json::encode_offers_response,
    messages::SnapshotsResponse,
    offers::{Offer, OffersResponse},
};
use rpp_runtime::{DhtView, Hooks, Watcher, hooks::TransportBuilder, store::Store};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    harness::{self, Place},
    support::{
        DEADLINE, FIRST_BYTES, Home, Running, SECOND_BYTES, TOKEN, eventually, made, noise,
        port::reserved_port,
        pretended::{Network, Pretended},
        rogue::{self, Rogue},
    },
};

const OFFERS: &str = "/rpp/offers/1.0.0";
const KAD: &str = "/rpp/kad/1.0.0";

/// What an honest provider of the made snapshots offers.
fn honest_offers() -> Vec<Offer> {
    let home = Home::provider();
    rogue::offers(&Store::open(&home.snapshots()).unwrap())
}

/// A swarm that runs until this is dropped.
struct Working {
    /// Ends in `/p2p/<id>`.
    address: Multiaddr,
    task: JoinHandle<()>,
}

impl Working {
    fn peer(&self) -> PeerId {
        match self.address.iter().last() {
            Some(Protocol::P2p(peer)) => peer,
            _ => unreachable!(),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A peer that answers every request for its offers with this, and speaks no other protocol.
async fn offering(answer: Vec<u8>) -> Working {
    let mut swarm = rogue::plain(&[OFFERS], ProtocolSupport::Inbound);
    let address = rogue::listening(&mut swarm).await;
    let task = tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(Event::Message { message: Message::Request { channel, .. }, .. }) =
                swarm.select_next_some().await
            {
                let _ = swarm.behaviour_mut().send_response(channel, answer.clone());
            }
        }
    });
    Working { address, task }
}

/// An answer of a million times this offer.
fn million_offers(offer: &str) -> Vec<u8> {
    format!(r#"{{"type":"offers","offers":[{}]}}"#, vec![offer; 1_000_000].join(",")).into_bytes()
}

fn from_anybody() -> Value {
    json!({})
}

fn log(status: &Value) -> &str {
    status["waiting_on"]["reason"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_that_a_peer_offers_is_taken_and_verified() {
    let provider = Home::provider().start().await;
    let mut home = Home::consumer();
    home.config.p2p.peers = vec![provider.address.clone()];
    let node = home.start().await;
    let session = node.stream(from_anybody()).await;
    let status = node.complete(session).await;
    assert_eq!((status["height"].as_u64(), status["total_bytes"].as_u64()), (Some(110), Some(SECOND_BYTES as u64)));
    assert_eq!(status["peer"], provider.handle.peer_id().to_string());

    let offers = node.get("/p2p/offers").await;
    let heights: Vec<_> = offers.as_array().unwrap().iter().map(|offer| offer["height"].as_u64().unwrap()).collect();
    assert_eq!(heights, [110, 100], "newest first: {offers}");
    assert_eq!(offers[0]["root"], made().second.root.to_string());
    assert_eq!((offers[0]["step"].as_u64(), offers[0]["format"].as_str()), (Some(2), Some("raw")));
    assert_eq!(offers[0]["peers"], json!([provider.handle.peer_id().to_string()]));

    // Another snapshot by its height, also without a named provider.
    let session = node.stream(json!({ "height": 100 })).await;
    let status = node.complete(session).await;
    assert!(std::fs::read(status["payload_path"].as_str().unwrap()).unwrap() == noise(1, FIRST_BYTES));
    let metrics = node.request("GET", "/metrics", None).await.body;
    assert!(metrics.contains("rpp_offers 2") && metrics.contains("rpp_newest_offer_height 110"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_is_found_the_session_says_who_was_asked_and_what_they_said() {
    let other_chain = Home::provider_of_other_chain().start().await;
    let mute = Rogue::silent_at(|_| true).await;
    let gone = reserved_port();
    let gone_peer = PeerId::random();
    let mut home = Home::consumer();
    home.config.p2p.peers = vec![
        other_chain.address.clone(),
        mute.address.clone(),
        format!("/ip4/127.0.0.1/tcp/{gone}/p2p/{gone_peer}").parse().unwrap(),
    ];
    let node = home.start().await;
    let session = node.stream(from_anybody()).await;
    let expected = [
        format!("{} offers no snapshot of this chain", other_chain.handle.peer_id()),
        format!("{} does not say what it offers", mute.peer),
        format!("{gone_peer} cannot be reached"),
    ];
    let status = node
        .status_where(session, "all three to be told", |status| expected.iter().all(|part| log(status).contains(part)))
        .await;
    assert_eq!(
        (status["state"].as_str(), status["waiting_on"]["what"].as_str()),
        (Some("connecting"), Some("connection"))
    );
    assert!(status.get("peer").is_none(), "{status}");
    // The same request again yields the same session. A resume asks the peers again and changes nothing.
    assert_eq!(node.stream(from_anybody()).await, session);
    assert_eq!(node.stream(json!({ "resume": { "session": session } })).await, session);
    // The session survives a restart, and goes on when a peer connects that has the snapshot.
    node.stop().await;
    let node = home.start().await;
    let provider = Home::provider();
    let mut provider = provider;
    provider.config.p2p.peers = vec![node.address.clone()];
    let _provider = provider.start().await;
    assert_eq!(node.complete(session).await["height"], 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_peer_it_says_what_to_do() {
    let node = Home::consumer().start().await;
    let session = node.stream(from_anybody()).await;
    let status = node.status_where(session, "the advice", |status| log(status).contains("[discovery]")).await;
    assert!(log(&status).contains("no peer is connected"), "{status}");
    assert_eq!(node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await.status, 204);
    assert_eq!(node.request("GET", &format!("/p2p/snapshots/{session}"), None).await.status, 404);
}

/// Peers that make unsigned offers, that offer and do not serve, that offer a million, or that refuse when asked. All
/// of them have more free slots than the honest one, or are asked first.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_lie_in_their_offers_cost_the_honest_nothing() {
    let provider = Home::provider().start().await;
    let honest = honest_offers();
    let lure = |offers: Vec<Offer>| encode_offers_response(&OffersResponse::Offers { offers });
    let unsigned = honest.iter().cloned().map(|mut offer| {
        offer.signatures.clear();
        offer.snapshot.checkpoint.height += 1000;
        offer.tip.height += 1000;
        offer
    });
    let with_slots = |slots| honest.iter().cloned().map(|offer| Offer { free_slots: slots, ..offer }).collect();
    // One million fits the bound on bytes, the other does not.
    let liars = [
        offering(lure(unsigned.collect())).await,
        offering(lure(with_slots(1 << 40))).await,
        offering(million_offers("{}")).await,
        offering(million_offers(r#"{"free_slots":1}"#)).await,
        offering(b"{\"type\":\"offers\",\"offers\":".to_vec()).await,
    ];
    let refusing = Rogue::offering(|request, _| rogue::Said::refusal(request, ErrorCode::Busy)).await;
    let mut home = Home::consumer();
    home.config.p2p.peers = liars.iter().map(|liar| liar.address.clone()).collect();
    home.config.p2p.peers.push(refusing.address.clone());
    home.config.p2p.peers.push(provider.address.clone());
    let node = home.start().await;
    let session = node.stream(from_anybody()).await;
    let status = node.complete(session).await;
    assert_eq!((status["height"].as_u64(), status["verified"].as_bool()), (Some(110), Some(true)));
    assert_eq!(status["peer"], provider.handle.peer_id().to_string());
    // It fetched exactly as many bytes as without these peers, and did not ban the honest one.
    assert_eq!(status["bytes_received"].as_u64(), Some(SECOND_BYTES as u64), "{status}");
    assert_eq!(status["bytes_wasted"].as_u64().unwrap_or(0), 0, "{status}");
    let bans = node.get("/p2p/bans").await.to_string();
    assert!(!bans.contains(&provider.handle.peer_id().to_string()), "{bans}");
    let offers = node.get("/p2p/offers").await;
    assert_eq!(offers.as_array().unwrap().len(), 2, "what is not signed is not listed: {offers}");
}

/// A peer offers only an older snapshot, and refuses to serve it. As soon as another peer offers a newer one, the
/// session takes that one, although this peer offers the older one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_wants_the_newest_leaves_an_older_one_that_it_has_not_begun() {
    let refusing = Rogue::offering(|request, _| rogue::Said::refusal(request, ErrorCode::Busy)).await;
    let mut home = Home::consumer();
    home.config.p2p.peers = vec![refusing.address.clone()];
    let node = home.start().await;
    let session = node.stream(from_anybody()).await;
    node.status_where(session, "the refusal", |status| {
        status["state"] == "backing_off" && status["peer"] == refusing.peer.to_string()
    })
    .await;
    let mut home = Home::provider();
    home.config.p2p.peers = vec![node.address.clone()];
    let provider = home.start().await;
    let status = node.complete(session).await;
    assert_eq!((status["height"].as_u64(), status["verified"].as_bool()), (Some(110), Some(true)), "{status}");
    assert_eq!(status["peer"], provider.handle.peer_id().to_string());
}

/// The program itself among such peers: one line in its log for each of them, however often it is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_offers_do_not_count_gets_one_line_in_the_log() {
    let provider = Home::provider().start().await;
    let unsigned = honest_offers().into_iter().map(|mut offer| {
        offer.signatures.clear();
        offer
    });
    let unsigned = encode_offers_response(&OffersResponse::Offers { offers: unsigned.collect() });
    let liars = [offering(unsigned).await, offering(million_offers("{}")).await, offering(b"[]".to_vec()).await];
    let place = Place::new(&["--genesis", &made().first.genesis.to_string()]);
    let log = place.path("log");
    let peers = liars.iter().map(|liar| &liar.address).chain([&provider.address]);
    let peers = peers.map(Multiaddr::to_string).collect::<Vec<_>>().join(",");
    let mut command = place.command("run");
    command.env("RPP_P2P_PEERS", peers).env("RPP_LOG_FORMAT", "text");
    let file = std::fs::File::create(&log).unwrap();
    let mut node = tokio::task::block_in_place(|| harness::Running::start_logging(&mut command, file));
    // Each fetch asks all peers again whose turn has come.
    for height in ["100", "110"] {
        let mut command = tokio::process::Command::from(place.command("fetch"));
        let output = command.args(["--height", height, "--json"]).output();
        let output = tokio::time::timeout(DEADLINE, output).await.expect("fetch comes to no end").unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let lines = |peer: &PeerId| {
        let text = std::fs::read_to_string(&log).unwrap();
        let of_peer = |line: &&str| line.contains("WARN") && line.contains(&peer.to_string());
        text.lines().filter(of_peer).map(str::to_owned).collect::<Vec<_>>()
    };
    for liar in &liars {
        eventually("the line about a liar", || async { (!lines(&liar.peer()).is_empty()).then_some(()) }).await;
    }
    tokio::task::block_in_place(|| {
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.wait().code(), Some(0));
    });
    for liar in &liars {
        assert_eq!(lines(&liar.peer()).len(), 1, "{:#?}", lines(&liar.peer()));
    }
    assert_eq!(lines(&provider.handle.peer_id()), Vec::<String>::new());
}

/// A peer that offers what the honest one offers, with more free slots, and then plans another payload.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_the_protocol_is_left_for_the_next_one() {
    let honest = Home::provider().only(made().first.root).start().await;
    let liar = Rogue::offering(|request, honest| match (request, honest) {
        (
            SnapshotsRequest::Plan { .. },
            SnapshotsResponse::Plan { session_id, mut plan, min_chunk_size, max_chunk_size },
        ) => {
            plan.snapshot.checkpoint.state_root = Hash([9; 32]);
            SnapshotsResponse::Plan { session_id, plan, min_chunk_size, max_chunk_size }.into()
        }
        (_, honest) => honest.into(),
    })
    .await;
    let mut home = Home::consumer();
    home.config.p2p.peers = vec![liar.address.clone(), honest.address.clone()];
    let node = home.start().await;
    eventually("both to be asked", || async {
        let offers = node.get("/p2p/offers").await;
        let peers = offers.as_array().unwrap().iter().find(|offer| offer["height"] == 100)?["peers"].as_array()?.len();
        (peers == 2).then_some(())
    })
    .await;
    let session = node.stream(json!({ "height": 100 })).await;
    let status = node.complete(session).await;
    assert_eq!(status["peer"], honest.handle.peer_id().to_string());
    assert_eq!(status["verified"], true);
}

/// A line of nodes, each of which knows one other. The tenth finds the first one's snapshot. When the first is gone, it
/// finds another node that serves the snapshot by then.
#[tokio::test(flavor = "multi_thread")]
async fn the_tenth_of_a_line_finds_the_snapshot_of_the_first() {
    const NODES: usize = 10;
    let mut nodes: Vec<Running> = Vec::new();
    for number in 0..NODES {
        let mut home = if number == 0 { Home::provider() } else { Home::consumer() };
        home.config.discovery.kad = true;
        home.config.discovery.bootstrap = nodes.last().map(|before| before.address.clone()).into_iter().collect();
        nodes.push(home.start().await);
    }
    let tenth = &nodes[NODES - 1];
    let fetched = fetch(tenth, &[]).await;
    assert_eq!((fetched["height"].as_u64(), fetched["verified"].as_bool()), (Some(110), Some(true)), "{fetched}");
    assert_eq!(fetched["peer"], nodes[0].handle.peer_id().to_string());

    // A node that fetched the snapshot serves it: the first is gone, and the fifth fetches from the tenth.
    let tenth_id = tenth.handle.peer_id().to_string();
    nodes.remove(0).stop().await;
    let fifth = &nodes[3];
    let fetched = fetch(fifth, &["--root", &made().second.root.to_string()]).await;
    assert_eq!((fetched["peer"].as_str(), fetched["verified"].as_bool()), (Some(tenth_id.as_str()), Some(true)));
}

/// `rpp-node fetch` without `--peer`, against the control plane of a node of this process; its final status.
async fn fetch(node: &Running, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (config, token) = (folder.path().join("node.toml"), folder.path().join("rpc.token"));
    std::fs::write(&config, format!("[rpc]\nlisten = \"{}\"\n", node.http)).unwrap();
    std::fs::write(&token, TOKEN).unwrap();
    private(&token);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rpp-node"));
    command.arg("fetch").arg("--config").arg(&config).arg("--json").args(more);
    command.env_remove("RPP_RPC_TOKEN").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("fetch comes to no end").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap()
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Keeps the newest view of the DHT.
#[derive(Default)]
struct Tables(Mutex<Option<DhtView>>);

impl rpp_p2p::snapshots::Observer for Tables {}

impl Watcher for Tables {
    fn dht(&self, view: &DhtView) {
        *self.0.lock().unwrap() = Some(view.clone());
    }
}

impl Tables {
    fn peers(&self) -> Vec<PeerId> {
        let view = self.0.lock().unwrap();
        let buckets = view.iter().flat_map(|view| &view.buckets);
        buckets.flat_map(|bucket| &bucket.peers).map(|peer| peer.peer).collect()
    }
}

#[derive(NetworkBehaviour)]
struct Poisoner {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

/// Markup, terminal colours, right-to-left text, and great length.
fn hostile_name() -> String {
    format!("<b>\u{202e}\u{2066}\u{1b}[31m\u{200b}{}", "immeasurable".repeat(150))
}

/// A member of the DHT that names a thousand peers that do not exist, all at one foreign address, as providers of every
/// key.
async fn poisoner(foreign: &Multiaddr, genesis: Hash) -> Working {
    let identity = Keypair::generate_ed25519();
    let me = identity.public().to_peer_id();
    let key = RecordKey::new(blake3::Hasher::new().update(b"rpp/genesis/1").update(&genesis.0).finalize().as_bytes());
    let mut swarm = SwarmBuilder::with_existing_identity(identity.clone())
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let mut kad =
                kad::Behaviour::with_config(me, MemoryStore::new(me), kad::Config::new(StreamProtocol::new(KAD)));
            kad.set_mode(Some(kad::Mode::Server));
            for _ in 0..1000 {
                let nobody = Keypair::generate_ed25519().public().to_peer_id();
                kad.add_address(&nobody, foreign.clone());
                let addresses = vec![foreign.clone()];
                let record = kad::ProviderRecord { key: key.clone(), provider: nobody, expires: None, addresses };
                kad::store::RecordStore::add_provider(kad.store_mut(), record).unwrap();
            }
            let told = identify::Config::new("/rpp/1.0.0".into(), identity.public());
            Poisoner { kad, identify: identify::Behaviour::new(told.with_agent_version(hostile_name())) }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build();
    let address = rogue::listening(&mut swarm).await;
    let task = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Working { address, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_addresses_in_the_dht_cost_dials_and_get_into_no_table() {
    // Another machine's listener, which does not answer our protocol.
    let foreign = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", foreign.local_addr().unwrap().port()).parse().unwrap();
    let dialled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dialled);
    let _foreign = tokio::spawn(async move {
        while let Ok((socket, _)) = foreign.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(socket);
        }
    });
    let poisoner = poisoner(&address, made().first.genesis).await;
    let mut provider = Home::provider();
    provider.config.discovery.kad = true;
    let provider = provider.start().await;
    let tables = Arc::new(Tables::default());
    let watched = Arc::clone(&tables);
    let mut home = Home::consumer();
    home.config.discovery.kad = true;
    home.config.discovery.bootstrap = vec![poisoner.address.clone(), provider.address.clone()];
    let node = home.start_with(Hooks { watchers: vec![watched], ..Hooks::default() }).await;
    let agent = eventually("the poisoner to say who it is", || async {
        let peers = node.get("/p2p/peers").await;
        let name = poisoner.peer().to_string();
        let row = peers.as_array().unwrap().iter().find(|row| row["peer_id"] == name)?;
        row["agent"].as_str().map(str::to_owned)
    })
    .await;
    let plain = |one: char| one.is_ascii_graphic() || one == '\u{2026}';
    assert!(agent.len() <= 512 && agent.starts_with("<b>") && agent.chars().all(plain), "{agent}");
    let session = node.stream(from_anybody()).await;
    let status = node.complete(session).await;
    assert_eq!((status["height"].as_u64(), status["verified"].as_bool()), (Some(110), Some(true)));
    eventually("the poison to be tasted", || async { (dialled.load(Ordering::SeqCst) > 0).then_some(()) }).await;
    // The node reports its tables once a second.
    let known = eventually("the tables", || async { Some(tables.peers()).filter(|known| !known.is_empty()) }).await;
    let real = [provider.handle.peer_id(), poisoner.peer()];
    assert!(known.iter().all(|peer| real.contains(peer)), "{known:?}");
}

/// What a member of the DHT was told by the node under test.
#[derive(Default)]
struct Heard {
    /// The addresses on which the node says that it listens.
    listens: Vec<Multiaddr>,
    /// The addresses in the node's announcements.
    announced: Vec<Multiaddr>,
    /// The number of searches that it has answered.
    answered: usize,
}

/// A member of the DHT on a pretended machine at `address`, which dials nobody by itself. It asks every node that
/// connects, again and again, for the peers closest to some key.
async fn member(address: &str) -> (Working, Network, Arc<Mutex<Heard>>) {
    let network = Network::default();
    let identity = Keypair::generate_ed25519();
    let me = identity.public().to_peer_id();
    let transport = Pretended::new(network.clone());
    let mut swarm = SwarmBuilder::with_existing_identity(identity.clone())
        .with_tokio()
        .with_other_transport(|keypair| {
            let noise = noise::Config::new(keypair)?;
            Ok(transport.upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default()))
        })
        .unwrap()
        .with_behaviour(|_| {
            let mut config = kad::Config::new(StreamProtocol::new(KAD));
            config.set_record_filtering(kad::StoreInserts::FilterBoth);
            let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
            kad.set_mode(Some(kad::Mode::Server));
            let identify = identify::Config::new("/rpp/1.0.0".into(), identity.public());
            Poisoner { kad, identify: identify::Behaviour::new(identify) }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build();
    swarm.listen_on(address.parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(me).unwrap();
        }
    };
    let heard = Arc::new(Mutex::new(Heard::default()));
    let notes = Arc::clone(&heard);
    let task = tokio::spawn(async move {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            let event = tokio::select! {
                event = swarm.select_next_some() => event,
                _ = again.tick() => {
                    swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
                    continue;
                }
            };
            let mut notes = notes.lock().unwrap();
            match event {
                SwarmEvent::Behaviour(PoisonerEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                    if let Some(address) = info.listen_addrs.first() {
                        swarm.behaviour_mut().kad.add_address(&peer_id, address.clone());
                    }
                    notes.listens.extend(info.listen_addrs);
                }
                SwarmEvent::Behaviour(PoisonerEvent::Kad(kad::Event::InboundRequest {
                    request: kad::InboundRequest::AddProvider { record: Some(record) },
                })) => notes.announced.extend(record.addresses),
                SwarmEvent::Behaviour(PoisonerEvent::Kad(kad::Event::OutboundQueryProgressed { stats, .. })) => {
                    notes.answered += usize::from(stats.num_successes() > 0);
                }
                _ => {}
            }
        }
    });
    (Working { address, task }, network, heard)
}

/// A provider with a public and a private address knows two public peers and a private one. Each of them is told where
/// the node listens, gets its announcements, and asks it for the peers that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_not_told_to_public_peers() {
    let without_peer = |address: &Multiaddr| -> String {
        address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect::<Multiaddr>().to_string()
    };
    let (public, public_network, public_heard) = member("/ip4/8.8.8.8/tcp/4001").await;
    let (other, other_network, _) = member("/ip4/8.8.4.4/tcp/4001").await;
    let (private, private_network, private_heard) = member("/ip4/10.0.0.9/tcp/4001").await;
    let (also_private, also_private_network, _) = member("/ip4/192.168.1.9/tcp/4001").await;
    let network = Network::default();
    for member in [&public_network, &other_network, &private_network, &also_private_network] {
        network.joins(member);
    }
    let mut home = Home::provider();
    home.config.p2p.listen =
        ["/ip4/10.0.0.7/tcp/4001", "/ip4/1.2.3.4/tcp/4001"].map(|text| text.parse().unwrap()).to_vec();
    home.config.discovery.kad = true;
    home.config.p2p.peers = [&public, &other, &private, &also_private].map(|one| one.address.clone()).to_vec();
    let transport: TransportBuilder = Box::new(move |keypair| {
        let noise = noise::Config::new(keypair)?;
        let transport = Pretended::new(network).upgrade(Version::V1).authenticate(noise);
        Ok(transport.multiplex(yamux::Config::default()).boxed())
    });
    let _node = home.start_with(Hooks { transport: Some(transport), ..Hooks::default() }).await;

    // The node tells each of another peer of the same kind (public or private), whom the member then dials.
    let is_told = |heard: &Mutex<Heard>, network: &Network, of: &str| {
        let heard = heard.lock().unwrap();
        let dialled = network.dialled().iter().any(|address| address.to_string() == of);
        (dialled && !heard.listens.is_empty() && !heard.announced.is_empty()).then_some(heard.answered)
    };
    eventually("the private peer to be told", || async {
        is_told(&private_heard, &private_network, "/ip4/192.168.1.9/tcp/4001")
    })
    .await;
    let told = || async { is_told(&public_heard, &public_network, "/ip4/8.8.4.4/tcp/4001") };
    let answered = eventually("the public peer to be told", told).await;
    // It continues to ask while the node knows all of them.
    let more = || async { (public_heard.lock().unwrap().answered >= answered + 5).then_some(()) };
    eventually("more answers", more).await;

    let heard = public_heard.lock().unwrap();
    let told = heard.listens.iter().chain(&heard.announced).map(without_peer);
    let told: std::collections::BTreeSet<_> =
        told.chain(public_network.dialled().iter().map(|address| address.to_string())).collect();
    assert_eq!(told.iter().collect::<Vec<_>>(), ["/ip4/1.2.3.4/tcp/4001", "/ip4/8.8.4.4/tcp/4001"]);
    let heard = private_heard.lock().unwrap();
    let of_node = |told: &Vec<Multiaddr>| told.iter().any(|one| without_peer(one) == "/ip4/10.0.0.7/tcp/4001");
    assert!(of_node(&heard.listens) && of_node(&heard.announced), "a private peer is told the private address");
}
