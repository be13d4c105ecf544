//! What the counting wrapper costs: the same transfer over loopback TCP with Noise and yamux, with and without it.
//!
//! `cargo bench -p rpp-introspection --bench throughput`. Both ends run on one thread, so the result measures the work
//! and not how threads happen to wake each other. Short rounds with and without the wrapper alternate, and each side
//! goes first in turn. Each pair of rounds gives a ratio, which a slow phase of the machine hardly changes. The result
//! is the median of many pairs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    future::poll_fn,
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, stream};
use libp2p::{
    PeerId, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxer as _, StreamMuxerBox, StreamMuxerExt as _},
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use rpp_introspection::{
    Registry,
    transport::{self, Names},
};

const BYTES: u64 = 8 * 1024 * 1024;
const ROUNDS: usize = 800;

type Counted = Boxed<(PeerId, StreamMuxerBox)>;

fn transport(counted: bool) -> Counted {
    let keypair = Keypair::generate_ed25519();
    let plain = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default());
    if counted {
        let registry = Registry::new(&keypair.public().to_peer_id(), "0");
        transport::observe(plain, &registry, Names::new("tcp", "/yamux/1.0.0", "/noise"))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed()
    } else {
        plain.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
    }
}

/// Drives a muxer for as long as it is polled.
async fn drive(muxer: &mut StreamMuxerBox) {
    poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        let _ = muxer.poll_inbound_unpin(cx);
        std::task::Poll::<()>::Pending
    })
    .await;
}

async fn transfer(counted: bool) -> Duration {
    let mut listening = transport(counted);
    listening.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let mut incoming = stream::poll_fn(move |cx| Pin::new(&mut listening).poll(cx).map(Some));
    let Some(TransportEvent::NewAddress { listen_addr, .. }) = incoming.next().await else { panic!() };
    let server = tokio::spawn(async move {
        let Some(TransportEvent::Incoming { upgrade, .. }) = incoming.next().await else { panic!() };
        let (_, mut muxer) = upgrade.await.unwrap();
        let mut stream = poll_fn(|cx| {
            let _ = muxer.poll_unpin(cx);
            muxer.poll_inbound_unpin(cx)
        })
        .await
        .unwrap();
        let send = async {
            // The bytes of a responder's negotiation, so that the wrapper learns the protocol as it does in real use.
            stream.write_all(b"\x13/multistream/1.0.0\n\x03/a\n").await.unwrap();
            let block = vec![7; 64 * 1024];
            for _ in 0..BYTES / block.len() as u64 {
                stream.write_all(&block).await.unwrap();
            }
            stream.close().await.unwrap();
            std::future::pending::<()>().await;
        };
        futures::future::join(send, drive(&mut muxer)).await;
    });
    let mut dialing = transport(counted);
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let (_, mut muxer) = dialing.dial(listen_addr, options).unwrap().await.unwrap();
    let mut stream = poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        Pin::new(&mut muxer).poll_outbound(cx)
    })
    .await
    .unwrap();
    let receive = async {
        stream.write_all(b"\x13/multistream/1.0.0\n\x03/a\n").await.unwrap();
        stream.flush().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let begun = Instant::now();
        while stream.read(&mut buffer).await.unwrap() > 0 {}
        begun.elapsed()
    };
    let elapsed = tokio::select! {
        elapsed = receive => elapsed,
        () = drive(&mut muxer) => unreachable!(),
    };
    server.abort();
    elapsed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _unused = support::TOKEN;
    let (mut plain, mut counted, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    transfer(false).await;
    for round in 0..ROUNDS {
        let mut pair = [0.0; 2];
        for wrapped in if round % 2 == 0 { [false, true] } else { [true, false] } {
            pair[usize::from(wrapped)] = transfer(wrapped).await.as_secs_f64();
        }
        plain.push(pair[0]);
        counted.push(pair[1]);
        ratios.push(pair[1] / pair[0]);
    }
    let speed = |seconds: f64| BYTES as f64 / seconds / 1e6;
    println!("without the wrapper: {:.0} MB/s; with it: {:.0} MB/s", speed(median(plain)), speed(median(counted)));
    println!("cost: {:.2} % (median of {ROUNDS} pairs, bound 2 %)", (median(ratios) - 1.0) * 100.0);
}
