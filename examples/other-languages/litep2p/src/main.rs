//! rpp-snapshots-litep2p PROVIDER LISTEN [CHUNK-SIZE]
//!
//! Fetches a snapshot once over `/rpp/snapshots/1.0.0` and serves it to every peer, in chunks of the size that it
//! fetched, with litep2p instead of rust-libp2p. Sessions live as long as the process.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::StreamExt as _;
use litep2p::{
    Litep2p, PeerId,
    codec::ProtocolCodec,
    config::ConfigBuilder,
    crypto::{PublicKey, ed25519::Keypair},
    protocol::{Direction, TransportEvent, TransportService, UserProtocol},
    substream::Substream,
    transport::tcp::config::Config as Tcp,
    types::{
        multiaddr::{Multiaddr, Protocol},
        protocol::ProtocolName,
    },
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const REQUEST_BOUND: u64 = 64 * 1024;
const RESPONSE_BOUND: u64 = 8 * 1024 * 1024;

type Failure = Box<dyn Error + Send + Sync>;

/// Reads one JSON document, to the end of the stream. A lost connection may look like that end, but then it does not parse.
async fn read(substream: &mut Substream, bound: u64) -> Result<Value, Failure> {
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::take(substream, bound + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > bound {
        return Err(format!("a message of more than {bound} bytes").into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

async fn write(substream: &mut Substream, message: &Value) -> Result<(), Failure> {
    substream.write_all(message.to_string().as_bytes()).await?;
    substream.flush().await?;
    Ok(substream.shutdown().await?) // this side's half of it
}

/// The data that a mirror needs.
struct Mirror {
    plan: Value,
    updates: Vec<Value>,
    chunks: Vec<Value>,
    size: u64,
    /// The numbers of acknowledged chunks and updates.
    sessions: Mutex<HashMap<(PeerId, u64), [u64; 2]>>,
}

impl Mirror {
    fn answer(&self, peer: PeerId, request: &Value) -> Value {
        let session = request["session_id"].as_u64().unwrap_or(0);
        let number = |field: &str| request[field].as_u64().unwrap_or(u64::MAX);
        let refuse = |code: &str, message: &str| json!({ "type": "error", "session_id": session, "code": code, "message": message });
        let of_session = |answer: &Value| {
            let mut answer = answer.clone();
            answer["session_id"] = session.into();
            answer
        };
        let mut sessions = self.sessions.lock().unwrap();
        match request["type"].as_str() {
            Some("plan") => {
                if request["min_chunk_size"].as_u64().is_some_and(|min| min > self.size)
                    || request["max_chunk_size"].as_u64().is_some_and(|max| max < self.size)
                {
                    return refuse("invalid", &format!("chunks are of {} bytes here", self.size));
                }
                let snapshot = &self.plan["plan"]["snapshot"];
                for (asked, has) in
                    [(&request["root"], &snapshot["state_root"]), (&request["height"], &snapshot["height"])]
                {
                    if !asked.is_null() && asked != has {
                        return refuse("not_found", "no such snapshot");
                    }
                }
                sessions.insert((peer, session), [0, 0]);
                let mut answer = of_session(&self.plan);
                answer["min_chunk_size"] = self.size.into();
                answer["max_chunk_size"] = self.size.into();
                return answer;
            }
            Some("error") => {
                sessions.remove(&(peer, session));
                return refuse("cancelled", "the session was cancelled");
            }
            _ => {}
        }
        let Some(acked) = sessions.get_mut(&(peer, session)) else {
            return refuse("not_found", "the session is not open here");
        };
        let all =
            |list: &[Value], index: u64| usize::try_from(index).ok().and_then(|index| list.get(index)).map(of_session);
        match request["type"].as_str() {
            Some("chunk") => {
                all(&self.chunks, number("chunk_index")).unwrap_or_else(|| refuse("invalid", "beyond the last chunk"))
            }
            Some("light_client_update") => all(&self.updates, number("update_index"))
                .unwrap_or_else(|| refuse("invalid", "beyond the last update")),
            Some("ack") => {
                match request["kind"].as_str() {
                    Some("chunk") => acked[0] = acked[0].max(number("index").saturating_add(1)),
                    Some("light_client_update") => acked[1] = acked[1].max(number("index").saturating_add(1)),
                    _ => {}
                }
                request.clone()
            }
            Some("resume") => {
                let (chunk, update) = (number("chunk_index"), number("update_index"));
                if request["plan_id"] != self.plan["plan"]["plan_id"] {
                    return refuse("plan_changed", "it streams another plan");
                }
                if chunk < acked[0] || update < acked[1] {
                    return refuse("resume_regressed", &format!("expected chunk {} or later", acked[0]));
                }
                if chunk > self.chunks.len() as u64 || update > self.updates.len() as u64 {
                    return refuse("resume_out_of_bounds", &format!("there are {} chunks", self.chunks.len()));
                }
                let mut answer = request.clone();
                answer["chunk_size"] = self.size.into();
                answer
            }
            _ => refuse("invalid", "no such request"),
        }
    }
}

/// The protocol's handler; litep2p gives it the substreams.
struct Snapshots {
    provider: Multiaddr,
    chunk_size: u64,
    listening: String,
}

impl Snapshots {
    async fn ask(service: &mut TransportService, peer: PeerId, request: Value) -> Result<Value, Failure> {
        let asked = service.open_substream(peer)?;
        loop {
            match service.next().await.ok_or("the node is gone")? {
                TransportEvent::SubstreamOpened { direction: Direction::Outbound(id), mut substream, .. }
                    if id == asked =>
                {
                    write(&mut substream, &request).await?;
                    let answer = read(&mut substream, RESPONSE_BOUND).await?;
                    if answer["type"] != request["type"] || answer["session_id"] != request["session_id"] {
                        return Err(format!("{} was answered by {answer:.200}", request["type"]).into());
                    }
                    return Ok(answer);
                }
                TransportEvent::SubstreamOpenFailure { error, .. } => return Err(error.into()),
                TransportEvent::ConnectionClosed { .. } => return Err("the connection was lost".into()),
                _ => {}
            }
        }
    }

    async fn fetch(&self, service: &mut TransportService) -> Result<Mirror, Failure> {
        service.dial_address(self.provider.clone())?;
        let peer = loop {
            match service.next().await.ok_or("the node is gone")? {
                TransportEvent::ConnectionEstablished { peer, .. } => break peer,
                TransportEvent::DialFailure { .. } => return Err("the provider cannot be reached".into()),
                _ => {}
            }
        };
        let session = 7_u64; // any number: it is this peer's own
        let plan =
            Self::ask(service, peer, json!({ "type": "plan", "session_id": session, "chunk_size": self.chunk_size }))
                .await?;
        let totals = |field: &str| plan["plan"][field].as_u64().ok_or(format!("a plan without {field}"));
        let mut updates = Vec::new();
        for index in 0..totals("total_updates")? {
            let request = json!({ "type": "light_client_update", "session_id": session, "update_index": index });
            updates.push(Self::ask(service, peer, request).await?);
        }
        let begun = Instant::now();
        let mut chunks = Vec::new();
        for index in 0..totals("total_chunks")? {
            let request = json!({ "type": "chunk", "session_id": session, "chunk_index": index });
            chunks.push(Self::ask(service, peer, request).await?);
        }
        println!("fetched {} chunks in {:.3} s", chunks.len(), begun.elapsed().as_secs_f64());
        let size = totals("chunk_size")?;
        Ok(Mirror { size, plan, updates, chunks, sessions: Mutex::default() })
    }
}

#[async_trait::async_trait]
impl UserProtocol for Snapshots {
    fn protocol(&self) -> ProtocolName {
        ProtocolName::from("/rpp/snapshots/1.0.0")
    }

    fn codec(&self) -> ProtocolCodec {
        ProtocolCodec::Unspecified
    }

    async fn run(self: Box<Self>, mut service: TransportService) -> litep2p::Result<()> {
        let mirror = match self.fetch(&mut service).await {
            Ok(mirror) => Arc::new(mirror),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        };
        println!("listening on {}", self.listening);
        while let Some(event) = service.next().await {
            if let TransportEvent::SubstreamOpened { peer, direction: Direction::Inbound, mut substream, .. } = event {
                let mirror = Arc::clone(&mirror);
                tokio::spawn(async move {
                    let answer = match read(&mut substream, REQUEST_BOUND).await {
                        Ok(request) => mirror.answer(peer, &request),
                        Err(error) => {
                            json!({ "type": "error", "session_id": 0, "code": "invalid", "message": error.to_string() })
                        }
                    };
                    if let Err(error) = write(&mut substream, &answer).await {
                        eprintln!("{peer}: {error}");
                    }
                });
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (provider, listen) =
        (arguments.next().ok_or("no provider")?, arguments.next().ok_or("no address to listen on")?);
    let chunk_size = arguments.next().map_or(Ok(1 << 20), |size| size.parse())?;
    let keypair = Keypair::generate();
    let peer = PeerId::from(PublicKey::Ed25519(keypair.public()));
    let listening = listen.parse::<Multiaddr>()?.with(Protocol::P2p(peer.into())).to_string();
    let snapshots = Snapshots { provider: provider.parse()?, chunk_size, listening };
    // Without `nodelay` the end of an answer waits for TCP's acknowledgement of the bytes before it.
    let nodelay = std::env::var_os("NAGLE").is_none();
    let tcp = Tcp { listen_addresses: vec![listen.parse()?], nodelay, ..Tcp::default() };
    let config =
        ConfigBuilder::new().with_keypair(keypair).with_tcp(tcp).with_user_protocol(Box::new(snapshots)).build();
    let mut node = Litep2p::new(config)?;
    while node.next_event().await.is_some() {}
    Ok(())
}
