//! Foreign addresses in the DHT: real members of it name those of machines that have nothing to do with it, thousands of
//! them. What reaches these machines, what the honest nodes log, and what they tell others has a bound that does not
//! depend on how many addresses are named.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, SwarmBuilder,
    futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    request_response::{self, Event, Message, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rpp_runtime::limits::{
    MAX_ADDRESSES, REFUSAL_LOG_INTERVAL, UNPROVEN_AGAIN, UNPROVEN_DIALS, UNPROVEN_DIALS_PER_HOST, UNPROVEN_HOST_AGAIN,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    harness::{self, Place},
    support::{DEADLINE, Home, eventually, made, rogue},
};

const KAD: &str = "/rpp/kad/1.0.0";
/// The numbers of messages and fields of Kademlia's protobuf schema.
const GET_PROVIDERS: u64 = 3;
const FIND_NODE: u64 = 4;
const TYPE: u64 = 1;
const KEY: u64 = 2;
const CLOSER_PEERS: u64 = 8;
const PROVIDER_PEERS: u64 = 9;
const PEER_ID: u64 = 1;
const PEER_ADDRESS: u64 = 2;
/// The largest message that Kademlia reads.
const MAX_MESSAGE: usize = 16 * 1024;

/// A machine that has nothing to do with the network, or many of them. Counts the connections that it gets.
struct Foreign {
    addresses: Vec<Multiaddr>,
    hosts: HashSet<IpAddr>,
    connections: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Foreign {
    /// One listener at each of these addresses.
    async fn at(hosts: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let (mut addresses, mut tasks, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        for host in hosts {
            let listener = tokio::net::TcpListener::bind(SocketAddr::from((host, 0))).await.unwrap();
            addresses.push(format!("/ip4/{host}/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap());
            known.insert(host.into());
            let connections = Arc::clone(&connections);
            tasks.push(tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    drop(socket);
                }
            }));
        }
        Self { addresses, hosts: known, connections, tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn owns(&self, address: &Multiaddr) -> bool {
        matches!(address.iter().next(), Some(Protocol::Ip4(ip)) if self.hosts.contains(&ip.into()))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

fn number(field: u64, value: u64, into: &mut Vec<u8>) {
    varint(field << 3, into);
    varint(value, into);
}

fn bytes(field: u64, value: &[u8], into: &mut Vec<u8>) {
    varint(field << 3 | 2, into);
    varint(value.len() as u64, into);
    into.extend_from_slice(value);
}

/// The fields of a message; of a number only its value.
fn fields(mut message: &[u8]) -> Vec<(u64, Result<&[u8], u64>)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = take_varint(&mut message);
        let value = take_varint(&mut message);
        all.push((tag >> 3, if tag & 7 == 2 { Ok(message.split_off(..value as usize).unwrap()) } else { Err(value) }));
    }
    all
}

/// Reads and writes messages, each with its length before it.
#[derive(Clone)]
struct Framed;

impl request_response::Codec for Framed {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        message: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &message).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        message: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &message).await
    }
}

async fn read<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut length = Vec::new();
    while length.last().is_none_or(|last| last & 0x80 != 0) {
        let mut next = [0];
        io.read_exact(&mut next).await?;
        length.push(next[0]);
    }
    let mut message = vec![0; take_varint(&mut &length[..]) as usize];
    io.read_exact(&mut message).await?;
    Ok(message)
}

async fn write<T: AsyncWrite + Unpin>(io: &mut T, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::new();
    varint(message.len() as u64, &mut framed);
    framed.extend_from_slice(message);
    io.write_all(&framed).await
}

#[derive(NetworkBehaviour)]
struct Member {
    kad: request_response::Behaviour<Framed>,
    identify: identify::Behaviour,
}

fn member() -> libp2p::Swarm<Member> {
    let identity = Keypair::generate_ed25519();
    let protocols = [(StreamProtocol::new(KAD), ProtocolSupport::Full)];
    let config = request_response::Config::default().with_request_timeout(DEADLINE);
    let told = identify::Config::new("/rpp/1.0.0".into(), identity.public());
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Member {
            kad: request_response::Behaviour::with_codec(Framed, protocols, config),
            identify: identify::Behaviour::new(told),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build()
}

/// What the liars have said.
#[derive(Default)]
struct Claimed {
    answers: AtomicUsize,
    addresses: AtomicUsize,
}

/// A member of the DHT. It answers each question with as many peers that do not exist as fit, each at many of these
/// addresses. After each answer it says that it listens at others of these addresses itself.
struct Liar {
    peer: PeerId,
    /// Ends in `/p2p/<id>`.
    address: Multiaddr,
    task: JoinHandle<()>,
}

impl Liar {
    async fn start(foreign: Vec<Multiaddr>, claimed: Arc<Claimed>) -> Self {
        let mut swarm = member();
        let address = rogue::listening(&mut swarm).await;
        let mut own = foreign.clone().into_iter().cycle();
        let peer = *swarm.local_peer_id();
        let task = tokio::spawn(async move {
            loop {
                let SwarmEvent::Behaviour(MemberEvent::Kad(Event::Message { peer: asking, message, .. })) =
                    swarm.select_next_some().await
                else {
                    continue;
                };
                let Message::Request { request, channel, .. } = message else { continue };
                let kind = fields(&request).into_iter().find(|(field, _)| *field == TYPE);
                let Some((_, Err(kind @ (GET_PROVIDERS | FIND_NODE)))) = kind else { continue };
                let lie = lie(kind, &foreign, &claimed);
                let _ = swarm.behaviour_mut().kad.send_response(channel, lie);
                // From now on it listens elsewhere.
                let before: Vec<_> = swarm.external_addresses().cloned().collect();
                before.iter().for_each(|address| swarm.remove_external_address(address));
                own.by_ref().take(2 * MAX_ADDRESSES).for_each(|address| swarm.add_external_address(address));
                swarm.behaviour_mut().identify.push([asking]);
            }
        });
        Self { peer, address, task }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lie(kind: u64, foreign: &[Multiaddr], claimed: &Claimed) -> Vec<u8> {
    const EACH: usize = 20;
    let mut message = Vec::new();
    number(TYPE, kind, &mut message);
    let start = claimed.answers.fetch_add(1, Ordering::SeqCst);
    for at in start.. {
        let mut peer = Vec::new();
        bytes(PEER_ID, &PeerId::random().to_bytes(), &mut peer);
        // Each peer begins at another address.
        for address in foreign.iter().cycle().skip(at % foreign.len()).take(EACH) {
            bytes(PEER_ADDRESS, &address.to_vec(), &mut peer);
        }
        let mut more = message.clone();
        bytes(if at % 2 == 0 { CLOSER_PEERS } else { PROVIDER_PEERS }, &peer, &mut more);
        if more.len() > MAX_MESSAGE {
            break;
        }
        claimed.addresses.fetch_add(EACH, Ordering::SeqCst);
        message = more;
    }
    message
}

/// Asks a node of the DHT what it tells about a key: all peers, each with its addresses.
async fn told_by(node: &Multiaddr, kind: u64, key: &[u8]) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let Some(Protocol::P2p(peer)) = node.iter().last() else { panic!("{node}") };
    let mut question = Vec::new();
    number(TYPE, kind, &mut question);
    bytes(KEY, key, &mut question);
    let mut swarm = member();
    swarm.add_peer_address(peer, node.clone());
    swarm.behaviour_mut().kad.send_request(&peer, question);
    let answer = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(MemberEvent::Kad(Event::Message {
                    message: Message::Response { response, .. },
                    ..
                })) => return response,
                SwarmEvent::Behaviour(MemberEvent::Kad(Event::OutboundFailure { error, .. })) => panic!("{error}"),
                _ => {}
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, answer).await.expect("a node of the DHT answers");
    let peers = fields(&answer).into_iter().filter(|(field, _)| [CLOSER_PEERS, PROVIDER_PEERS].contains(field));
    peers
        .map(|(_, peer)| {
            let parts = fields(peer.unwrap());
            let of = |field| parts.iter().filter(move |(known, _)| *known == field).map(|(_, value)| value.unwrap());
            let peer = PeerId::from_bytes(of(PEER_ID).next().unwrap()).unwrap();
            (peer, of(PEER_ADDRESS).map(|address| Multiaddr::try_from(address.to_vec()).unwrap()).collect())
        })
        .collect()
}

/// How many dials the bounds allow in this time: at first, and one more in each period.
fn allowed(first: u32, again: Duration, time: Duration) -> usize {
    first as usize + usize::try_from(time.as_millis() / again.as_millis()).unwrap() + 1
}

/// The answers of one fetch with the program.
async fn fetch(place: &Place, more: &[&str]) -> Value {
    let mut command = tokio::process::Command::from(place.command("fetch"));
    let output = command.args(more).arg("--json").kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, output).await.expect("fetch comes to no end").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Four liars are the first members of the DHT that the nodes meet. One foreign machine listens at many ports; others, at
/// one port each.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_machines_get_a_bounded_number_of_connections_however_many_addresses_are_claimed() {
    const LIARS: usize = 4;
    const ANSWERS: usize = 60;
    let started = Instant::now();
    let one = Foreign::at([Ipv4Addr::new(127, 0, 0, 2); 40]).await;
    let many = Foreign::at((1..=80).map(|host| Ipv4Addr::new(127, 0, 1, host))).await;
    let mixed: Vec<_> = one.addresses.iter().zip(many.addresses.chunks(2)).collect();
    let mixed: Vec<Multiaddr> =
        mixed.into_iter().flat_map(|(one, two)| [vec![one.clone()], two.to_vec()].concat()).collect();
    let claimed = Arc::new(Claimed::default());
    let mut liars = Vec::new();
    for _ in 0..LIARS {
        liars.push(Liar::start(mixed.clone(), Arc::clone(&claimed)).await);
    }
    let of_liars: Vec<_> = liars.iter().map(|liar| liar.address.clone()).collect();

    let mut provider = Home::provider();
    provider.config.discovery.kad = true;
    provider.config.discovery.bootstrap = of_liars.clone();
    let provider = provider.start().await;

    let place = Place::new(&["--genesis", &made().first.genesis.to_string()]);
    let log = place.path("log");
    let bootstrap = of_liars.iter().chain([&provider.address]).map(Multiaddr::to_string).collect::<Vec<_>>().join(",");
    let mut command = place.command("run");
    command.env("RPP_DISCOVERY_KAD", "true").env("RPP_DISCOVERY_BOOTSTRAP", bootstrap).env("RPP_LOG_FORMAT", "text");
    let file = std::fs::File::create(&log).unwrap();
    let mut node = tokio::task::block_in_place(|| harness::Running::start_logging(&mut command, file));

    // The real snapshot is found and verified.
    let fetched = fetch(&place, &[]).await;
    assert_eq!((fetched["height"].as_u64(), fetched["verified"].as_bool()), (Some(110), Some(true)), "{fetched}");
    assert_eq!(fetched["peer"], provider.handle.peer_id().to_string());

    // A search that finds nothing goes on, and with it the lies.
    let mut nowhere = tokio::process::Command::from(place.command("fetch"));
    nowhere.args(["--root", &"ab".repeat(32), "--json"]).kill_on_drop(true);
    let _nowhere = nowhere.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("the lies", || async { (claimed.answers.load(Ordering::SeqCst) >= ANSWERS).then_some(()) }).await;
    eventually("the foreign machines to be dialled", || async { (one.connections() > 0).then_some(()) }).await;

    // What the two nodes tell others: peers that are known to them, where these say that they are.
    let real: HashSet<PeerId> = liars.iter().map(|liar| liar.peer).chain([provider.handle.peer_id()]).collect();
    let of_node: Multiaddr = node.address().parse().unwrap();
    let chain = blake3::Hasher::new().update(b"rpp/genesis/1").update(&made().first.genesis.0).finalize();
    let mut told = HashSet::new();
    for asked in [&provider.address, &of_node] {
        for (kind, key) in [(GET_PROVIDERS, chain.as_bytes().to_vec()), (FIND_NODE, PeerId::random().to_bytes())] {
            for (peer, addresses) in told_by(asked, kind, &key).await {
                told.insert(peer);
                let is_node = of_node.iter().last() == Some(Protocol::P2p(peer));
                assert!(is_node || real.contains(&peer), "{asked} names {peer}, which does not exist: {addresses:?}");
                assert!(addresses.len() <= MAX_ADDRESSES, "{peer}: {addresses:?}");
                let foreign = addresses.iter().filter(|address| one.owns(address) || many.owns(address)).count();
                let is_liar = liars.iter().any(|liar| liar.peer == peer);
                assert!(foreign == 0 || is_liar, "{asked} names {peer} at {addresses:?}");
            }
        }
    }
    assert!(real.is_subset(&told), "of the real peers they tell");

    let metrics = provider.handle.metrics_text().await.unwrap();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("rpp_addresses_withheld_total ")).unwrap();
    assert!(counted.parse::<u64>().unwrap() > 0, "{metrics}");

    tokio::task::block_in_place(|| {
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.wait().code(), Some(0));
    });
    let time = started.elapsed();
    let (of_one, of_many) = (one.connections(), many.connections());
    let text = std::fs::read_to_string(&log).unwrap();
    let at = |level: &str| text.lines().filter(|line| line.contains(level)).count();
    let (errors, warnings, infos) = (at(" ERROR "), at(" WARN "), at(" INFO "));
    eprintln!(
        "{} addresses in {} answers and {time:?}: {of_one} connections to one host, {of_many} to others; {errors} errors, \
         {warnings} warnings, {infos} infos\n{text}",
        claimed.addresses.load(Ordering::SeqCst),
        claimed.answers.load(Ordering::SeqCst),
    );
    // Two nodes, each with its own bounds.
    let of_host = 2 * allowed(UNPROVEN_DIALS_PER_HOST, UNPROVEN_HOST_AGAIN, time);
    assert!(of_one <= of_host, "{of_one} connections to one host, {of_host} allowed");
    let of_all = 2 * allowed(UNPROVEN_DIALS, UNPROVEN_AGAIN, time);
    assert!(of_one + of_many <= of_all, "{of_one} and {of_many} connections, {of_all} allowed");
    assert!(claimed.addresses.load(Ordering::SeqCst) > 20 * of_all, "there were more lies than dials");
    // One line a minute about the addresses that were not dialled, and no more lines than without the liars.
    let minutes = usize::try_from(time.as_secs() / REFUSAL_LOG_INTERVAL.as_secs()).unwrap();
    let withheld =
        text.lines().filter(|line| line.contains(" WARN ") && line.contains(" addresses that others named")).count();
    assert!((1..=minutes + 1).contains(&withheld), "{text}");
    assert!(errors == 0 && warnings + infos <= 40, "{text}");
}
