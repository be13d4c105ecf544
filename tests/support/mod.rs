//! Whole nodes in this process: real swarms on loopback, real folders, real proofs, the control plane over real HTTP.
#![allow(dead_code)] // each test binary uses its part

pub mod bound;
pub mod gate;
pub mod http;
pub mod only;
pub mod port;
pub mod pretended;
#[path = "../../p2p/tests/support/relay.rs"]
pub mod relay;
pub mod rogue;
pub mod web;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, identity::Keypair};
use rpp_p2p::Hash;
use rpp_runtime::{
    Config, Hooks, NodeHandle,
    node::Node,
    publish::{PublishRequest, Published, publish},
};
use tokio::sync::oneshot;

pub const TOKEN: &str = "a-token-for-tests-only";
/// Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// Chunks of the tests, bytes.
pub const CHUNK: u64 = 16 * 1024;

/// Snapshots that were published once for all tests of a binary: two of one chain, and one of another chain.
pub struct Made {
    _folder: tempfile::TempDir,
    pub first: Published,
    pub second: Published,
    pub other_chain: Published,
    snapshots: PathBuf,
    other: PathBuf,
}

/// Bytes of the first payload.
pub const FIRST_BYTES: usize = 3 * 1024 * 1024 + 777;
/// Bytes of the second payload.
pub const SECOND_BYTES: usize = 1_000_000;

/// Bytes of the other chain's payload.
pub const OTHER_BYTES: usize = 250_000;

/// Bytes that do not compress and differ by seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new_derive_key("rpp tests").update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; len];
    reader.fill(&mut bytes);
    bytes
}

/// Published once, because proofs take seconds.
pub fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = |data: &str, key: u8, height: u64, bytes: Vec<u8>| {
            let input = folder.path().join("input");
            fs::write(&input, bytes).unwrap();
            let snapshots = folder.path().join(data).join("snapshots");
            let request = PublishRequest {
                snapshots_dir: &snapshots,
                input: &input,
                height,
                block_hash: Some(Hash([7; 32])),
                chain_id: "tests",
                signer: &rpp_proofs::Signer::from_seed([key; 32]),
                keep: 0,
                allow_links: false,
            };
            publish(&request, &mut |_| {}).unwrap()
        };
        let first = run("publisher", 1, 100, noise(1, FIRST_BYTES));
        let second = run("publisher", 1, 110, noise(2, SECOND_BYTES));
        let other_chain = run("other", 2, 100, noise(3, OTHER_BYTES));
        Made {
            first,
            second,
            other_chain,
            snapshots: folder.path().join("publisher/snapshots"),
            other: folder.path().join("other/snapshots"),
            _folder: folder,
        }
    })
}

/// Another history of the first chain, signed by the same key: the checkpoint of its first step has another payload.
pub fn fork() -> &'static (Published, PathBuf) {
    static FORK: OnceLock<(tempfile::TempDir, (Published, PathBuf))> = OnceLock::new();
    let (_, fork) = FORK.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (input, snapshots) = (folder.path().join("input"), folder.path().join("snapshots"));
        fs::write(&input, noise(4, 60_000)).unwrap();
        let request = PublishRequest {
            snapshots_dir: &snapshots,
            input: &input,
            height: 100,
            block_hash: Some(Hash([7; 32])),
            chain_id: "tests",
            signer: &rpp_proofs::Signer::from_seed([1; 32]),
            keep: 0,
            allow_links: false,
        };
        let published = publish(&request, &mut |_| {}).unwrap();
        (folder, (published, snapshots))
    });
    fork
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A folder for a node's data, kept over restarts.
pub struct Home {
    folder: Arc<tempfile::TempDir>,
    identity: Keypair,
    pub config: Config,
}

impl Home {
    pub fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config::defaults_in(folder.path()).unwrap();
        config.p2p.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        config.snapshots.chunk_size = CHUNK;
        Self { folder, identity: Keypair::generate_ed25519(), config }
    }

    /// A node that trusts the publisher of [`made`].
    pub fn consumer() -> Self {
        let mut home = Self::new();
        home.config.trust.genesis = Some(made().first.genesis);
        home
    }

    /// A node that offers what [`made`] published.
    pub fn provider() -> Self {
        let home = Self::new();
        copy_tree(&made().snapshots.join("store"), &home.snapshots().join("store"));
        home
    }

    /// A node that offers a payload of its own, published as the first step of the chain of [`made`].
    pub fn large(payload: Vec<u8>) -> Self {
        let home = Self::new();
        let input = home.folder.path().join("input");
        fs::write(&input, payload).unwrap();
        let request = PublishRequest {
            snapshots_dir: &home.snapshots(),
            input: &input,
            height: 100,
            block_hash: Some(Hash([7; 32])),
            chain_id: "tests",
            signer: &rpp_proofs::Signer::from_seed([1; 32]),
            keep: 0,
            allow_links: false,
        };
        publish(&request, &mut |_| {}).unwrap();
        home
    }

    /// A node that offers the other chain's snapshot.
    pub fn provider_of_other_chain() -> Self {
        let home = Self::new();
        copy_tree(&made().other.join("store"), &home.snapshots().join("store"));
        home
    }

    /// A node that offers the other history of the first chain.
    pub fn provider_of_fork() -> Self {
        let home = Self::new();
        copy_tree(&fork().1.join("store"), &home.snapshots().join("store"));
        home
    }

    /// Keeps only the snapshot with this root on offer.
    pub fn only(self, root: Hash) -> Self {
        for entry in fs::read_dir(self.snapshots().join("store")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.len() == 64 && name != root.to_string()) {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        self
    }

    pub fn snapshots(&self) -> PathBuf {
        self.config.data_dir.join("snapshots")
    }

    pub fn peer(&self) -> PeerId {
        self.identity.public().to_peer_id()
    }

    pub async fn start(&self) -> Running {
        self.start_with(Hooks::default()).await
    }

    pub async fn start_with(&self, hooks: Hooks) -> Running {
        let handle = Node::start_with(self.config.clone(), self.identity.clone(), hooks).await.unwrap();
        eventually("the node to listen", || async { handle.readiness().ok() }).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let http = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let options = rpp_rpc::Options::new(TOKEN.to_owned().into());
        let node = handle.clone();
        let served = tokio::spawn(async move {
            let _ = rpp_rpc::serve(listener, node, options, async {
                let _ = stopped.await;
            })
            .await;
        });
        let address = handle.identity().await.unwrap().listen[0].parse().unwrap();
        Running { handle, http, address, stop: Some(stop), served, _folder: Arc::clone(&self.folder) }
    }
}

/// A running node with its control plane.
pub struct Running {
    pub handle: NodeHandle,
    pub http: SocketAddr,
    /// Ends in `/p2p/<id>`.
    pub address: Multiaddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    /// Keeps the folder of a running node, even if its home is dropped.
    _folder: Arc<tempfile::TempDir>,
}

impl Running {
    /// Stops it gracefully; its folder can be used again.
    pub async fn stop(mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.handle.shutdown().await;
        let _ = (&mut self.served).await;
    }

    pub async fn request(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> http::Answer {
        http::request(self.http, method, path, Some(TOKEN), body).await
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        let answer = self.request("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// `POST /p2p/snapshots`, which must succeed. Returns the session's number.
    pub async fn stream_from(&self, provider: &Running) -> u64 {
        self.stream(serde_json::json!({ "peer": provider.address.to_string() })).await
    }

    pub async fn stream(&self, body: serde_json::Value) -> u64 {
        let answer = self.request("POST", "/p2p/snapshots", Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["session"].as_u64().unwrap()
    }

    /// Polls the status until it matches.
    pub async fn status_where(
        &self,
        session: u64,
        what: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let path = format!("/p2p/snapshots/{session}");
        let last = std::cell::RefCell::default();
        let look = || async {
            let status = self.get(&path).await;
            last.replace(status.clone());
            wanted(&status).then_some(status)
        };
        let found = tokio::time::timeout(DEADLINE, until(look)).await;
        found.unwrap_or_else(|_| panic!("waited too long for {what}: {}", last.into_inner()))
    }

    /// Waits until the session is complete and this process has verified its payload.
    pub async fn complete(&self, session: u64) -> serde_json::Value {
        let status = self
            .status_where(session, "the session to end", |status| {
                status["verified"] == true || status["state"] == "failed"
            })
            .await;
        assert_eq!(status["state"], "complete", "{status}");
        status
    }
}

/// Waits for a condition.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    let found = tokio::time::timeout(DEADLINE, until(look)).await;
    found.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The files in a folder, by relative path.
pub fn files_under(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(here) = todo.pop() {
        for entry in fs::read_dir(&here).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => todo.push(path),
                Ok(meta) => {
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), meta.len());
                }
                Err(_) => {}
            }
        }
    }
    found
}

/// Hooks with this view of the disk's free space.
pub fn with_space(space: Arc<dyn rpp_runtime::store::Space>) -> Hooks {
    Hooks { space: Some(space), ..Hooks::default() }
}

/// A consumer whose provider was stopped half-way, at a known point. It is running, its session backs off, and
/// everything that it had verified is durable.
///
/// The window makes the point known on a machine of any speed. The 136th write is held, and at most two windows are not
/// durable, so more than 50 chunks are; at most 175 of the 193 are verified: the session needs its provider, whatever
/// was slow.
pub async fn interrupt(home: &mut Home, provider: &Home) -> (Running, u64, serde_json::Value) {
    let gate = gate::Gate::new(rpp_runtime::Work::Write, 135);
    home.config.snapshots.ack_bytes = 16 * CHUNK;
    home.config.snapshots.window = 40 * CHUNK;
    let serving = provider.start().await;
    let node = home.start_with(gate.hooks()).await;
    let session = node.stream(serde_json::json!({ "peer": serving.address.to_string(), "height": 100 })).await;
    node.status_where(session, "durable chunks", |status| status["confirmed_chunk_index"].as_u64() > Some(50)).await;
    eventually("the gate", || async { gate.is_reached().then_some(()) }).await;
    serving.stop().await;
    node.status_where(session, "the loss to be noticed", |status| status["waiting_on"]["what"] == "retry").await;
    gate.open();
    let status = node
        .status_where(session, "all to be durable", |status| status["bytes_durable"] == status["bytes_verified"])
        .await;
    (node, session, status)
}
