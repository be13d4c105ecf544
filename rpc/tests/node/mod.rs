//! A control plane over a node that a test scripts.
#![allow(dead_code, unreachable_pub)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rpp_http::Limits;
use rpp_p2p::{Hash, PayloadFormat, SnapshotSessionId};
use rpp_rpc::{Options, ServeError};
use rpp_runtime::{
    Config, NodeEvent, NodeHandle, Queues, SessionState, SnapshotRuntimeError, SnapshotStreamStatus, StorageFault,
    WaitingOn,
    handle::{Command, SourceTarget, StartStream},
    rates::{ByteLimits, LimitsInForce},
    status::{FailureCode, Head, SourceKind, SourceState, SourceStatus, WaitKind},
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, Client, once, request, soon};

pub const TOKEN: &str = "the-token-of-the-control-plane";
/// The node's own id.
pub const ME: &str = "12D3KooWL4JWxZHdDcy7BqFmQ3Fp5isnacHpxNMCd8uSLyxGXhMY";
pub const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

pub struct Port {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub head: watch::Sender<Option<Head>>,
    pub ready: watch::Sender<Result<(), rpp_runtime::NotReady>>,
    pub cannot_write: watch::Sender<Option<String>>,
    pub head_error: watch::Sender<Option<StorageFault>>,
    pub events: broadcast::Sender<NodeEvent>,
    pub node: JoinHandle<()>,
    pub served: JoinHandle<Result<(), ServeError>>,
}

impl Port {
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub async fn post(&self, body: &str) -> Answer {
        self.ask("POST", "/p2p/snapshots", body).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        once(self.address, self.request(method, path, body)).await
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> String {
        request(method, path, &format!("authorization: Bearer {TOKEN}\r\n"), body)
    }

    pub async fn stopped(self) {
        soon(self.served).await.unwrap().unwrap();
    }
}

/// A control plane over a node that answers each command with `play`.
pub fn open(play: impl FnMut(Command) + Send + 'static) -> Port {
    open_with(Options::new(TOKEN.into()), play)
}

pub fn open_with(options: Options, play: impl FnMut(Command) + Send + 'static) -> Port {
    open_as(config(), options, play)
}

pub fn open_as(config: Config, options: Options, mut play: impl FnMut(Command) + Send + 'static) -> Port {
    let (handle, mut seat) = NodeHandle::detached(ME.parse().unwrap(), Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let options = options.with_limits(Limits::default());
    let served = tokio::spawn(rpp_rpc::serve(listener, handle, options, shutdown.clone().cancelled_owned()));
    let node = tokio::spawn(async move {
        while let Some(command) = seat.commands.recv().await {
            play(command);
        }
    });
    let (cannot_write, head_error) = (seat.cannot_write, seat.head_error);
    Port {
        address,
        shutdown,
        head: seat.head,
        ready: seat.ready,
        cannot_write,
        head_error,
        events: seat.events,
        node,
        served,
    }
}

/// A node that knows the given sessions, and refuses everything else as a real one does.
pub fn with_sessions(sessions: &Sessions) -> impl FnMut(Command) + Send + 'static + use<> {
    let sessions = sessions.clone();
    move |command| sessions.play(command)
}

/// Sessions that a test changes while the control plane looks at them.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<std::collections::BTreeMap<SnapshotSessionId, watch::Sender<SnapshotStreamStatus>>>>);

impl Sessions {
    /// Adds a session, or changes it.
    pub fn put(&self, status: SnapshotStreamStatus) {
        let mut sessions = self.0.lock().unwrap();
        match sessions.get(&status.session) {
            Some(sender) => drop(sender.send_replace(status)),
            None => drop(sessions.insert(status.session, watch::Sender::new(status))),
        }
    }

    pub fn watch(&self, session: SnapshotSessionId) -> Option<watch::Receiver<SnapshotStreamStatus>> {
        self.0.lock().unwrap().get(&session).map(watch::Sender::subscribe)
    }

    pub fn remove(&self, session: SnapshotSessionId) -> bool {
        self.0.lock().unwrap().remove(&session).is_some()
    }

    pub fn play(&self, command: Command) {
        let unknown = |session| SnapshotRuntimeError::UnknownSession { session };
        match command {
            Command::Start(_, reply) => drop(reply.send(Err(SnapshotRuntimeError::NoTrustAnchor))),
            Command::Resume(asked, reply) => {
                drop(reply.send(self.watch(asked.session).ok_or(unknown(asked.session))));
            }
            Command::Cancel(session, reply) => {
                drop(reply.send(if self.remove(session) { Ok(()) } else { Err(unknown(session)) }));
            }
            Command::AddSource(session, source, reply) => {
                let added = self.watch(session).map(|watched| {
                    let mut status = watched.borrow().clone();
                    status.sources.push(of_target(&source));
                    status
                });
                drop(reply.send(added.ok_or(unknown(session)).inspect(|status| self.put(status.clone()))));
            }
            Command::RemoveSource(session, given, reply) => {
                let status = self.watch(session).map(|watched| watched.borrow().clone());
                drop(reply.send(status.ok_or(unknown(session)).and_then(|mut status| {
                    let before = status.sources.len();
                    status.sources.retain(|source| source.source != given);
                    if status.sources.len() == before {
                        return Err(SnapshotRuntimeError::UnknownSource { session, given });
                    }
                    self.put(status.clone());
                    Ok(status)
                })));
            }
            Command::Status(session, reply) => {
                let status = self.watch(session).map(|watched| watched.borrow().clone());
                drop(reply.send(status.ok_or(unknown(session))));
            }
            Command::Watch(session, reply) => drop(reply.send(self.watch(session).ok_or(unknown(session)))),
            Command::List(reply) => {
                let all = self.0.lock().unwrap().values().map(|sender| sender.borrow().clone()).collect();
                drop(reply.send(Ok(all)));
            }
            Command::Peers(reply) => drop(reply.send(Ok(Vec::new()))),
            Command::Offers(reply) => drop(reply.send(Ok(Vec::new()))),
            Command::Identity(reply) => drop(reply.send(Err(SnapshotRuntimeError::ShuttingDown))),
            Command::Queues(reply) => drop(reply.send(Ok(Queues::default()))),
            Command::Bans(reply) => drop(reply.send(Ok(Vec::new()))),
            Command::Limits(reply) => drop(reply.send(Ok(LimitsInForce::default()))),
            Command::ChangeLimits(change, reply) => {
                let limits = ByteLimits::default().changed(&change);
                drop(reply.send(Ok(LimitsInForce { limits, persistent: change.persist })));
            }
            Command::LiftBan(source, reply) => {
                let unknown = SnapshotRuntimeError::UnknownBan { source_name: source.to_string() };
                drop(reply.send(Err(unknown)));
            }
            Command::Metrics(reply) => drop(reply.send(Ok("# EOF\n".into()))),
            Command::Shutdown(reply) => drop(reply.send(Ok(()))),
        }
    }
}

/// A node that hears starts. Each is answered with session 7.
pub fn listening() -> (Port, Arc<Mutex<Vec<StartStream>>>) {
    let seen: Arc<Mutex<Vec<StartStream>>> = Arc::default();
    let heard = Arc::clone(&seen);
    let sessions = Sessions::default();
    sessions.put(full(7));
    let port = open(move |command| match command {
        Command::Start(request, reply) => {
            heard.lock().unwrap().push(request);
            drop(reply.send(Ok(sessions.watch(id(7)).unwrap())));
        }
        other => sessions.play(other),
    });
    (port, seen)
}

pub fn of_target(source: &SourceTarget) -> SourceStatus {
    let (name, kind) = match source {
        SourceTarget::Peer(target) => (target.peer.to_string(), SourceKind::Peer),
        SourceTarget::Mirror(url) => (url.to_string(), SourceKind::Mirror),
    };
    SourceStatus::new(name, kind, SourceState::Connecting)
}

pub fn id(session: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(session).unwrap()
}

/// A session that has just begun.
pub fn status(session: u64, state: SessionState) -> SnapshotStreamStatus {
    SnapshotStreamStatus::new(id(session), state, "2026-11-21T08:00:00Z".into(), "2026-11-21T08:00:01Z".into())
        .with(|status| status.peer = Some(PEER.parse().unwrap()))
}

/// The same with its plan.
pub fn planned(session: u64, state: SessionState) -> SnapshotStreamStatus {
    status(session, state).with(|status| {
        status.root = Some(Hash([1; 32]));
        status.plan_id = Some(Hash([2; 32]));
        status.format = Some(PayloadFormat::Raw);
        status.height = Some(1200);
        status.chunk_size = Some(1 << 20);
        status.total_chunks = Some(1024);
        status.total_updates = Some(11);
        status.total_bytes = Some(1 << 30);
        status.protocol = Some("/rpp/snapshots/1.0.0".into());
    })
}

pub fn failed(session: u64, code: FailureCode, error: &str) -> SnapshotStreamStatus {
    planned(session, SessionState::Failed).with(|status| {
        status.error = Some(error.into());
        status.error_code = Some(code);
    })
}

fn waiting() -> WaitingOn {
    WaitingOn::new(WaitKind::Retry, 14, "asked, not answered yet".into()).with(|wait| {
        wait.index = Some(312);
        wait.peer = Some(PEER.into());
        wait.retry_at = Some("2026-11-21T08:00:09Z".into());
    })
}

/// Every field has a value.
pub fn full(session: u64) -> SnapshotStreamStatus {
    planned(session, SessionState::BackingOff).with(|status| {
        status.last_chunk_index = Some(311);
        status.last_update_index = Some(10);
        status.last_update_height = Some(1210);
        status.confirmed_chunk_index = Some(303);
        status.confirmed_update_index = Some(10);
        status.bytes_received = 327_155_712;
        status.bytes_verified = 327_155_712;
        status.bytes_durable = 318_767_104;
        status.bytes_wasted = 1_048_576;
        status.sources =
            vec![SourceStatus::new(PEER.into(), SourceKind::Peer, SourceState::BackingOff).with(|source| {
                source.protocol = Some("/rpp/snapshots/1.0.0".into());
                source.bytes_verified = 327_155_712;
                source.bytes_wasted = 1_048_576;
                source.verified_bytes_per_second = Some(612_345_678);
                source.rtt_ms = Some(0.4);
                source.window_bytes = Some(8_651_776);
                source.waiting_on = Some(waiting());
                source.error = Some("the provider is busy".into());
                source.error_code = Some(FailureCode::Provider);
            })];
        status.rechecked_bytes = Some(104_857_600);
        status.recheck_bytes = Some(209_715_200);
        status.damaged_bytes = Some(1_048_576);
        status.verified_bytes_per_second = Some(612_345_678);
        status.eta_seconds = Some(1.2);
        status.tries = Some(2);
        status.stalled_ms = Some(14);
        status.waiting_on = Some(waiting());
        status.error = Some("the provider is busy".into());
        status.error_code = Some(FailureCode::Provider);
        status.payload_path = Some("/var/lib/rpp/payload".into());
    })
}

pub fn config() -> Config {
    config_with(&serde_json::json!({}))
}

/// With these keys instead.
pub fn config_with(keys: &serde_json::Value) -> Config {
    let mut config = serde_json::json!({
        "data_dir": "/nowhere",
        "p2p": { "listen": [], "peers": [], "max_connections": 256, "max_connections_per_peer": 4 },
        "rpc": { "listen": "127.0.0.1:7070", "token_file": "/nowhere/rpc.token", "allowed_hosts": [],
            "allowed_origins": [] },
        "snapshots": {
            "chunk_size": 1_048_576, "min_chunk_size": 16_384, "max_chunk_size": 4_194_304, "protocol": "auto",
            "window": 16_777_216, "durability": "strict", "ack_bytes": 16_777_216, "ack_ms": 500, "auto_resume": true,
            "give_up_after_s": 0, "max_inbound_sessions": 64, "max_inbound_sessions_per_peer": 8,
            "session_retention_s": 86_400, "max_sessions": 256, "max_active_sessions": 8, "max_updates": 65_536,
            "max_payload_bytes": 0, "keep": 0, "scrub_bytes_per_second": 16_777_216,
        },
        "discovery": { "kad": false, "bootstrap": [], "mdns": false },
        "trust": { "genesis": null, "publishers": [], "threshold": 0, "revoked": [] },
        "publisher": { "key_file": "/nowhere/publisher.key", "chain_id": "example" },
        "introspection":
            { "enabled": true, "listen": "127.0.0.1:7071", "token_file": null, "allowed_origins": [], "max_clients": 32 },
        "fleet": { "dashboard": "", "name": "" },
        "log": { "format": "auto", "filter": "info" },
    });
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}
