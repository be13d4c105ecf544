//! A provider that stands for those of other libraries. It uses plain multistream-select on each substream, and bytes
//! that arrive before it has confirmed the protocol are lost. It does not use libp2p's own negotiation.

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        muxing::{StreamMuxer as _, StreamMuxerBox, SubstreamBox},
        transport::{Boxed, ListenerId, MemoryTransport, TransportEvent},
        upgrade::Version,
    },
    futures::StreamExt as _,
    identity::Keypair,
    noise, yamux,
};
use rpp_p2p::{SnapshotsRequest, SnapshotsResponse, json};
use tokio::task::JoinHandle;

use super::{Fixture, node::within};

const HEADER: &[u8] = b"/multistream/1.0.0\n";
const PROTOCOL: &[u8] = b"/rpp/snapshots/1.0.0\n";

/// Serves plans and chunks of a fixture.
pub struct PlainProvider {
    pub peer: PeerId,
    pub address: Multiaddr,
    task: JoinHandle<()>,
}

impl PlainProvider {
    pub async fn start(fixture: &Fixture) -> Self {
        let identity = Keypair::generate_ed25519();
        let mut transport = MemoryTransport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&identity).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        transport.listen_on(ListenerId::next(), "/memory/0".parse().unwrap()).unwrap();
        let TransportEvent::NewAddress { listen_addr, .. } = within(transport.select_next_some()).await else {
            panic!("it listens first")
        };
        let task = tokio::spawn(accept(transport, fixture.clone()));
        Self { peer: identity.public().to_peer_id(), address: listen_addr, task }
    }
}

impl Drop for PlainProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(mut transport: Boxed<(PeerId, StreamMuxerBox)>, fixture: Fixture) {
    loop {
        if let TransportEvent::Incoming { upgrade, .. } = transport.select_next_some().await {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                let (_, mut connection) = upgrade.await.unwrap();
                loop {
                    let substream = poll_fn(|cx| {
                        // This also moves the connection on.
                        let _ = std::pin::Pin::new(&mut connection).poll(cx);
                        std::pin::Pin::new(&mut connection).poll_inbound(cx)
                    });
                    let Ok(substream) = substream.await else { return };
                    let fixture = fixture.clone();
                    tokio::spawn(async move { serve(substream, &fixture).await });
                }
            });
        }
    }
}

/// One substream. `None` when its dialer is gone.
async fn serve(mut substream: SubstreamBox, fixture: &Fixture) -> Option<()> {
    let mut came = Vec::new();
    while line(&came, 0) != Some(HEADER) {
        more(&mut substream, &mut came).await?;
    }
    send(&mut substream, HEADER).await?;
    loop {
        let Some(proposed) = line(&came, 1) else {
            more(&mut substream, &mut came).await?;
            continue;
        };
        if proposed == PROTOCOL {
            break;
        }
        let proposal = 1 + HEADER.len()..2 + HEADER.len() + proposed.len();
        send(&mut substream, b"na\n").await?;
        came.drain(proposal);
    }
    send(&mut substream, PROTOCOL).await?;
    // Bytes that came together with the proposal are ignored.
    let mut request = Vec::new();
    substream.read_to_end(&mut request).await.ok()?;
    let Ok(request) = json::decode_request(&request) else { return std::future::pending().await };
    let response = match request {
        SnapshotsRequest::Plan { session_id, .. } => fixture.plan_response(session_id),
        SnapshotsRequest::Chunk { session_id, chunk_index } => fixture.chunk_response(session_id, chunk_index),
        other => panic!("it does not serve {other:?}"),
    };
    answer(&mut substream, &response).await
}

async fn answer(substream: &mut SubstreamBox, response: &SnapshotsResponse) -> Option<()> {
    substream.write_all(&json::encode_response(response)).await.ok()?;
    substream.close().await.ok()
}

/// Line number `index` of the received bytes. Each line follows its length, which is one byte.
fn line(came: &[u8], index: usize) -> Option<&[u8]> {
    let length = usize::from(*came.first()?);
    if index > 0 {
        return line(came.get(1 + length..)?, index - 1);
    }
    came.get(1..1 + length)
}

async fn more(substream: &mut SubstreamBox, came: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 1024];
    let read = substream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
    came.extend_from_slice(&piece[..read]);
    Some(())
}

async fn send(substream: &mut SubstreamBox, line: &[u8]) -> Option<()> {
    let framed = [&[u8::try_from(line.len()).unwrap()], line].concat();
    substream.write_all(&framed).await.ok()?;
    substream.flush().await.ok()
}
