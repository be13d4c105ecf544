//! Introspection and fleet cuts of whole nodes must report what really happens.

#[path = "../../src/wiring/fleet.rs"]
mod fleet;
#[path = "../../src/wiring/introspection.rs"]
mod introspection;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex},
};

use crate::support::{CHUNK, Home, SECOND_BYTES, TOKEN, eventually, http};
use libp2p::Multiaddr;
use rpp_fleet::{
    Reporter,
    collector::{Collector, Options as CollectorOptions},
};
use rpp_introspection::{
    Registry,
    client::{ClientError, Connection},
    proto::{
        self, Configuration, Status,
        client_command::{Command, Source},
        server_message::Payload,
    },
    transport,
};
use rpp_p2p::snapshots::{Activity, Ended, Job, Observer, RequestKind};
use rpp_runtime::{Hooks, Watcher, config::Protocol};
use serde_json::{Value, json};

/// Blocks the provider's read of one chunk until it is opened.
struct Gate {
    chunk: u64,
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn at(chunk: u64) -> Arc<Self> {
        Arc::new(Self { chunk, state: Mutex::default(), changed: Condvar::new() })
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    async fn held(&self) {
        eventually("the provider to be held", || async { self.state.lock().unwrap().0.then_some(()) }).await;
    }
}

impl Observer for Gate {
    fn blocking_job_started(&self, job: Job, about: &Activity) {
        if (job, about.kind, about.index) == (Job::Provide, Some(RequestKind::Chunk), Some(self.chunk)) {
            let mut state = self.state.lock().unwrap();
            state.0 = true;
            while !state.1 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }
}

impl Watcher for Gate {}

/// Opens the gate also when a test fails, so that the runtime can end.
struct Opening(Arc<Gate>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Counts the bytes of the answers at the level of the protocol.
#[derive(Default)]
struct Answers(Mutex<(u64, u64)>);

impl Observer for Answers {
    fn request_finished(&self, request: &Activity, ended: &Ended) {
        if request.kind == Some(RequestKind::Chunk) {
            let mut sum = self.0.lock().unwrap();
            *sum = (sum.0 + 1, sum.1 + ended.response_bytes as u64);
        }
    }
}

impl Watcher for Answers {}

fn introspected(home: &Home) -> (Registry, Hooks) {
    let registry = Registry::new(&home.peer(), "0");
    let counted = registry.clone();
    let hooks = Hooks {
        transport: Some(Box::new(move |keypair| transport::transport(keypair, &counted))),
        watchers: vec![Arc::new(introspection::Introspection::new(registry.clone()))],
        ..Hooks::default()
    };
    (registry, hooks)
}

/// Serves a registry and greets it as a client.
async fn look(registry: &Registry) -> Connection {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("ws://{}/introspect", listener.local_addr().unwrap());
    let options = rpp_introspection::Options::new(TOKEN.to_owned().into());
    tokio::spawn(rpp_introspection::serve(listener, registry.clone(), options, std::future::pending()));
    let mut client = Connection::open(&url, &TOKEN.to_owned().into()).await.unwrap();
    client.hello(Configuration { retention_period_ms: 600_000, state_snapshot_interval_ms: 200 }).await.unwrap();
    client.command(Command::PushEnable, Source::Events).await.unwrap();
    client
}

/// Returns the next state that matches, and adds the names of the events before it.
async fn state_where<T>(
    client: &mut Connection,
    events: &mut Vec<String>,
    wanted: impl Fn(&proto::State) -> Option<T>,
) -> T {
    let look = async {
        client.command(Command::Request, Source::State).await.unwrap();
        loop {
            match client.next().await.unwrap().message.payload {
                Some(Payload::State(state)) => {
                    if let Some(found) = wanted(&state) {
                        return found;
                    }
                    client.command(Command::Request, Source::State).await.unwrap();
                }
                Some(Payload::Event(event)) => events.push(event.r#type.unwrap().name),
                _ => {}
            }
        }
    };
    tokio::time::timeout(crate::support::DEADLINE, look).await.expect("no such state came")
}

fn connections(state: &proto::State) -> &[proto::Connection] {
    &state.subsystems.as_ref().unwrap().connections
}

fn received(traffic: &Option<proto::Traffic>) -> u64 {
    traffic.as_ref().unwrap().traffic_in.unwrap().cum_bytes
}

fn streams(connection: &proto::Connection) -> &[proto::Stream] {
    connection.streams.as_ref().map_or(&[], |list| &list.streams)
}

fn is_chunk(stream: &proto::Stream) -> bool {
    stream.user_provided_tags.iter().any(|tag| tag.starts_with("chunk="))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_the_connection_the_live_stream_and_true_bytes() {
    let gate = Gate::at(20);
    let _opening = Opening(Arc::clone(&gate));
    let provider = Home::provider().start_with(Hooks { watchers: vec![gate.clone()], ..Hooks::default() }).await;
    let mut home = Home::consumer();
    home.config.snapshots.protocol = Protocol::V1;
    let (registry, mut hooks) = introspected(&home);
    let answers = Arc::new(Answers::default());
    hooks.watchers.push(answers.clone());
    let node = home.start_with(hooks).await;
    let mut client = look(&registry).await;
    let mut events = Vec::new();

    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 110 })).await;
    gate.held().await;
    let tags = [format!("session={session}"), "chunk=20".to_owned()];
    let peer = provider.handle.peer_id().to_base58();
    let (connection, stream) = state_where(&mut client, &mut events, |state| {
        let connection = connections(state).iter().find(|connection| connection.latency_ns > 0)?;
        let stream = streams(connection)
            .iter()
            .find(|stream| stream.status() == Status::Active && stream.user_provided_tags == tags)?;
        Some((connection.clone(), stream.clone()))
    })
    .await;
    assert_eq!(connection.peer_id, peer);
    assert_eq!(connection.status(), Status::Active);
    assert_eq!(&connection.transport_id[..], b"tcp");
    assert_eq!(stream.protocol, "/rpp/snapshots/1.0.0");

    // A session that ends within a quarter of a second reports no progress.
    while !events.iter().any(|event| event == "SessionProgress") {
        state_where(&mut client, &mut events, |_| Some(())).await;
    }
    gate.open();
    node.complete(session).await;
    let total = (SECOND_BYTES as u64).div_ceil(CHUNK);
    let (of_chunks, of_connection) = state_where(&mut client, &mut events, |state| {
        let connection = connections(state).iter().find(|connection| connection.peer_id == peer)?;
        let chunks: Vec<_> = streams(connection).iter().filter(|stream| is_chunk(stream)).collect();
        let ended = chunks.iter().all(|stream| stream.status() == Status::Closed);
        let bytes = chunks.iter().map(|stream| received(&stream.traffic)).sum::<u64>();
        (ended && chunks.len() as u64 == total).then(|| (bytes, received(&connection.traffic)))
    })
    .await;
    let (count, answered) = *answers.0.lock().unwrap();
    assert_eq!(count, total);
    assert!((answered..=answered + answered / 50).contains(&of_chunks), "{of_chunks} of {answered}");
    assert!((SECOND_BYTES as u64..).contains(&answered));
    assert!(of_connection >= of_chunks, "{of_connection}, {of_chunks} of it for chunks");

    state_where(&mut client, &mut events, |_| Some(())).await;
    let told = |name: &str| events.iter().any(|event| event == name);
    for name in ["PeerConnected", "SessionStarted", "SessionProgress", "SessionCompleted"] {
        assert!(told(name), "{name} in {events:?}");
    }
    assert!(!told("SessionFailed") && !told("ProtocolViolation"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_the_one_stream_of_a_session() {
    let gate = Gate::at(20);
    let _opening = Opening(Arc::clone(&gate));
    let provider = Home::provider().start_with(Hooks { watchers: vec![gate.clone()], ..Hooks::default() }).await;
    let home = Home::consumer();
    let (registry, hooks) = introspected(&home);
    let node = home.start_with(hooks).await;
    let mut client = look(&registry).await;
    let mut events = Vec::new();

    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 110 })).await;
    gate.held().await;
    let tags = [format!("session={session}"), "stream".to_owned()];
    let of_session = |state: &proto::State| {
        let of = |connection: &proto::Connection| {
            let tagged = streams(connection).iter().filter(|stream| stream.user_provided_tags == tags);
            tagged.cloned().collect::<Vec<_>>()
        };
        connections(state).iter().flat_map(of).collect::<Vec<_>>()
    };
    let stream = state_where(&mut client, &mut events, |state| of_session(state).pop()).await;
    assert_eq!((stream.status(), stream.protocol.as_str()), (Status::Active, "/rpp/snapshots/2.0.0"));
    gate.open();
    node.complete(session).await;
    let streams = state_where(&mut client, &mut events, |state| {
        let streams = of_session(state);
        streams.iter().all(|stream| stream.status() == Status::Closed).then_some(streams)
    })
    .await;
    assert_eq!(streams.len(), 1);
    assert!(received(&streams[0].traffic) >= SECOND_BYTES as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counting_transport_speaks_tcp_quic_and_dns() {
    let mut home = Home::provider();
    home.config.p2p.listen.push("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap());
    let (registry, hooks) = introspected(&home);
    let provider = home.start_with(hooks).await;
    let listen = eventually("both addresses", || async {
        let listen = provider.handle.identity().await.unwrap().listen;
        (listen.len() == 2).then_some(listen)
    })
    .await;
    let over = |word: &str| listen.iter().find(|address| address.contains(word)).unwrap().clone();
    let by_name = over("/tcp/").replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    by_name.parse::<Multiaddr>().unwrap();

    // One node with its own transport, one with the counting one; dialled by IP address and by name.
    for (address, counted) in [(over("/quic-v1"), false), (by_name, true), (over("/quic-v1"), true)] {
        let home = Home::consumer();
        let hooks = if counted { introspected(&home).1 } else { Hooks::default() };
        let node = home.start_with(hooks).await;
        let session = node.stream(json!({ "peer": address, "height": 110 })).await;
        node.complete(session).await;
        node.stop().await;
    }
    let state = registry.state();
    assert!(received(&state.traffic) > 0);
    provider.stop().await;
    assert!(connections(&registry.state()).is_empty(), "what is closed is forgotten when nobody looks");
}

/// A collector and what it answers.
struct Dashboard {
    collector: Collector,
    _folder: tempfile::TempDir,
}

impl Dashboard {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = CollectorOptions::default()
            .with_listen("127.0.0.1:0")
            .with_http("127.0.0.1:0")
            .with_db(folder.path().join("fleet.sqlite"))
            .with_timeout(crate::support::DEADLINE);
        Self { collector: Collector::start(options).await.unwrap(), _folder: folder }
    }

    fn address(&self) -> String {
        self.collector.tcp().to_string()
    }

    async fn until_connected(&self, count: usize) {
        eventually("the processes to report", || async {
            let answer = http::request(self.collector.http(), "GET", "/api/connections", None, None).await;
            (answer.json().as_array().unwrap().len() == count).then_some(())
        })
        .await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = http::request(self.collector.http(), "POST", path, None, Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    async fn cut(&self) -> Value {
        self.post("/api/jump-now", json!({})).await
    }

    /// `process kind -> process kind` of each `Needs` edge of a cut.
    async fn needs(&self, cut: &Value) -> Vec<String> {
        let sql = "SELECT s.proc_key || ' ' || s.kind || ' -> ' || d.proc_key || ' ' || d.kind FROM edges e \
                   JOIN nodes s ON s.id = e.src_id JOIN nodes d ON d.id = e.dst_id WHERE e.kind = 'needs'";
        let answer = self.post("/api/sql", json!({ "snapshot_id": cut["snapshot_id"], "sql": sql })).await;
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
    }
}

/// A node's part of the fleet.
struct Reporting {
    reporter: Reporter,
    watcher: Arc<fleet::Fleet>,
}

impl Reporting {
    fn of(home: &Home, dashboard: &Dashboard, name: &str, pid: u64) -> Self {
        let registry = rpp_fleet::Registry::with_pid(name, pid);
        let watcher = Arc::new(fleet::Fleet::new(registry.clone(), home.peer(), 4));
        Self { reporter: rpp_fleet::client::spawn(&dashboard.address(), registry).unwrap(), watcher }
    }

    fn size(&self) -> (usize, usize) {
        (self.reporter.registry().nodes(), self.reporter.registry().edges())
    }

    async fn until_size(&self, size: (usize, usize)) {
        let look = || async { (self.size() == size).then_some(()) };
        let wait = eventually("the registry to shrink", look);
        if tokio::time::timeout(crate::support::DEADLINE / 2, wait).await.is_err() {
            panic!("{:#?}", self.reporter.registry().graph());
        }
    }

    /// Waits for a `Needs` edge from the node with this label to a node of this kind.
    async fn until_needs(&self, from: &str, kind: rpp_fleet::NodeKind) {
        eventually(&format!("a wait of {from}"), || async {
            let graph = self.reporter.registry().graph().unwrap();
            let node = |id: &str| graph.nodes.iter().find(|node| &*node.id == id);
            let starts = |id: &str| node(id).is_some_and(|node| node.label.starts_with(from));
            let ends = |id: &str| node(id).is_some_and(|node| node.kind == kind);
            graph.edges.iter().any(|edge| starts(&edge.src) && ends(&edge.dst)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_leads_from_a_session_to_the_disk_read_of_the_other_node() {
    let dashboard = Dashboard::start().await;
    let gate = Gate::at(20);
    let _opening = Opening(Arc::clone(&gate));
    let (serving, asking) = (Home::provider(), Home::consumer());
    let at_provider = Reporting::of(&serving, &dashboard, "provider", 1);
    let at_consumer = Reporting::of(&asking, &dashboard, "consumer", 2);
    let watchers: Vec<Arc<dyn Watcher>> = vec![at_provider.watcher.clone(), gate.clone()];
    let provider = serving.start_with(Hooks { watchers, ..Hooks::default() }).await;
    let hooks = Hooks { watchers: vec![at_consumer.watcher.clone()], ..Hooks::default() };
    let node = asking.start_with(hooks).await;
    let alone = (1, 0); // the places for sessions
    assert_eq!((at_provider.size(), at_consumer.size()), (alone, alone));

    let session = node.stream(json!({ "peer": provider.address.to_string(), "height": 110 })).await;
    gate.held().await;
    // The provider prefetches this chunk, so its request may still be in flight.
    at_provider.until_needs("chunk 20 of ", rpp_fleet::NodeKind::FileOp).await;
    dashboard.until_connected(2).await;
    let wanted = [
        "consumer-2 future -> consumer-2 request",
        "consumer-2 request -> provider-1 response",
        "provider-1 response -> provider-1 file_op",
    ];
    // Chunks before the blocked read may still be on their way to the disk.
    let cut = dashboard.cut().await;
    assert_eq!((cut["requested"].as_u64(), cut["responded"].as_u64()), (Some(2), Some(2)), "{cut}");
    let needs = dashboard.needs(&cut).await;
    for edge in wanted {
        assert!(needs.iter().any(|found| found == edge), "{edge} in {needs:?}");
    }
    assert_eq!(cut["unresolved_edges"], 0, "{cut}");
    // Peeps' dashboard reads names and stuck requests from these attributes.
    let sql = "SELECT json_extract(attrs_json, '$.method'), json_extract(attrs_json, '$.elapsed_ns') > 0, \
               json_extract(attrs_json, '$.label') = label FROM nodes WHERE kind = 'request'";
    let answer = dashboard.post("/api/sql", json!({ "snapshot_id": cut["snapshot_id"], "sql": sql })).await;
    assert!(answer["rows"].as_array().unwrap().contains(&json!(["chunk", 1, 1])), "{answer}");

    gate.open();
    node.complete(session).await;
    let connected = (2, 0);
    at_consumer.until_size(connected).await;
    at_provider.until_size(connected).await;

    // Reporting the queues twice adds each only once.
    for _ in 0..2 {
        at_consumer.watcher.queues(&node.handle.queues().await.unwrap());
    }
    let queues = at_consumer.size().0 - connected.0;
    assert!((2..=8).contains(&queues), "{:#?}", at_consumer.reporter.registry().graph());

    // The provider stops. Its connection leaves the graph, and a session waits for its next try until it is cancelled.
    let address = provider.address.to_string();
    provider.stop().await;
    at_consumer.until_size((alone.0 + queues, 0)).await;
    let session = node.stream(json!({ "peer": address, "height": 100 })).await;
    at_consumer.until_needs("session ", rpp_fleet::NodeKind::Sleep).await;
    let gone = node.request("DELETE", &format!("/p2p/snapshots/{session}"), None).await;
    assert_eq!(gone.status, 204, "{}", gone.body);
    at_consumer.until_size((alone.0 + queues, 0)).await;
    assert_eq!(at_consumer.reporter.registry().refused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_the_buckets_and_queries_of_the_dht() {
    let mut provider = Home::provider();
    provider.config.discovery.kad = true;
    let provider = provider.start().await;
    let mut home = Home::consumer();
    home.config.discovery.kad = true;
    home.config.discovery.bootstrap = vec![provider.address.clone()];
    let (registry, hooks) = introspected(&home);
    let _node = home.start_with(hooks).await;
    let mut client = look(&registry).await;
    let (me, other) = (home.peer(), provider.handle.peer_id());
    let (dht, cpl, peer) = state_where(&mut client, &mut Vec::new(), |state| {
        let dht = state.subsystems.as_ref()?.dht.clone()?;
        let of =
            |bucket: &proto::dht::Bucket| bucket.peers.iter().find(|peer| peer.peer_id == other.to_base58()).cloned();
        let (cpl, peer) = dht.buckets.iter().find_map(|bucket| Some((bucket.cpl, of(bucket)?)))?;
        // The node's first bootstrap is finished, and so are the other node's queries.
        let queries = dht.outgoing_queries?.success > 0 && dht.incoming_queries?.success > 0;
        queries.then_some((dht, cpl, peer))
    })
    .await;
    assert_eq!((dht.protocol.as_str(), dht.enabled), ("/rpp/kad/1.0.0", true));
    assert_eq!(dht.params.map(|params| (params.k, params.alpha)), Some((20, 3)));
    assert_eq!(peer.status(), proto::dht::peer_in_dht::Status::Active);
    let distance = libp2p::kad::KBucketKey::from(me).distance(&libp2p::kad::KBucketKey::from(other));
    assert_eq!(cpl, 255 - distance.ilog2().unwrap(), "bits in common");
    let order: Vec<_> = dht.buckets.iter().map(|bucket| bucket.cpl).collect();
    assert!(order[0] == 0 && order.is_sorted_by(|a, b| a < b), "the first one is always there: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_serves_introspection_and_reports_to_the_dashboard() {
    let dashboard = Dashboard::start().await;
    let place = crate::harness::Place::new(&[]);
    let own = "a-token-to-look-only";
    let mut command = place.command("run");
    command.env("PEEPS_DASHBOARD", dashboard.address()).env("RPP_INTROSPECTION_TOKEN", own);
    let mut node = tokio::task::block_in_place(|| crate::harness::Running::start(&mut command));
    let at: SocketAddr = node.said["introspection"].as_str().unwrap().parse().unwrap();
    let url = format!("ws://{at}/introspect");
    let rpc_token = std::fs::read_to_string(place.path("rpc.token")).unwrap().trim().to_owned();
    let refused = Connection::open(&url, &rpc_token.clone().into()).await;
    assert!(matches!(refused, Err(ClientError::Refused { status: 401, .. })), "{refused:?}");
    let mut client = Connection::open(&url, &own.to_owned().into()).await.unwrap();
    let Some(Payload::Runtime(runtime)) = client.next().await.unwrap().message.payload else { panic!("the runtime") };
    assert_eq!(runtime.peer_id, node.said["peer_id"].as_str().unwrap());

    dashboard.until_connected(1).await;
    let cut = dashboard.cut().await;
    // The name tells hosts apart, whose process ids may all be 1.
    let peer = node.said["peer_id"].as_str().unwrap();
    let name = format!("rpp-node-{}", &peer[peer.len() - 6..]);
    assert_eq!(cut["processes"][0]["process"], name, "{cut}");
    assert_eq!(cut["processes"][0]["pid"], node.said["pid"], "{cut}");

    node.signal(rustix::process::Signal::TERM);
    let status = tokio::task::block_in_place(|| node.wait());
    assert_eq!(status.code(), Some(0));
    let end = loop {
        if let Err(end) = client.next().await {
            break end;
        }
    };
    assert!(matches!(end, ClientError::Closed { .. }), "{end:?}");

    // A configured name replaces it.
    let mut command = place.command("run");
    command.env("PEEPS_DASHBOARD", dashboard.address()).env("RPP_FLEET_NAME", "north.7");
    let node = tokio::task::block_in_place(|| crate::harness::Running::start(&mut command));
    dashboard.until_connected(1).await;
    let cut = dashboard.cut().await;
    assert_eq!(cut["processes"][0]["proc_key"], format!("north.7-{}", node.said["pid"]), "{cut}");
    drop(node);

    // Without its own token, introspection takes the control plane's. Switched off, it has no port.
    let node = tokio::task::block_in_place(|| place.start(&[]));
    let url = format!("ws://{}/introspect", node.said["introspection"].as_str().unwrap());
    Connection::open(&url, &rpc_token.into()).await.unwrap().close().await;
    drop(node);
    let mut command = place.command("run");
    command.env("RPP_INTROSPECTION_ENABLED", "false");
    let node = tokio::task::block_in_place(|| crate::harness::Running::start(&mut command));
    assert!(node.said["introspection"].is_null(), "{}", node.said);
}
