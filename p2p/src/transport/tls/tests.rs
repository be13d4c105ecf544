use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, executor::block_on, future::try_join};
use libp2p::tls;
use rustls::CipherSuite;
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

use super::*;

/// One end of a line in memory.
struct Line(DuplexStream);

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        Pin::new(&mut self.0).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn line() -> (Line, Line) {
    let (one, other) = tokio::io::duplex(64 * 1024);
    (Line(one), Line(other))
}

/// What an end found: the peer and the stream.
type Found<S> = (PeerId, S);

/// What both ends found.
fn connect<D, L, S, T>(dialer: D, listener: L) -> Result<(Found<S>, Found<T>), String>
where
    D: OutboundConnectionUpgrade<Line, Output = (PeerId, S), Error: std::fmt::Debug, Info = &'static str>,
    L: InboundConnectionUpgrade<Line, Output = (PeerId, T), Error: std::fmt::Debug, Info = &'static str>,
{
    let (one, other) = line();
    let dialing = async { dialer.upgrade_outbound(one, PROTOCOL).await.map_err(|error| format!("{error:?}")) };
    let listening = async { listener.upgrade_inbound(other, PROTOCOL).await.map_err(|error| format!("{error:?}")) };
    block_on(try_join(dialing, listening))
}

/// A message each way.
fn talk(mut one: impl AsyncRead + AsyncWrite + Unpin, mut other: impl AsyncRead + AsyncWrite + Unpin) {
    let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let mut got = vec![0; sent.len()];
    for _ in 0..2 {
        block_on(async {
            let write = async {
                one.write_all(&sent).await?;
                one.flush().await
            };
            try_join(write, other.read_exact(&mut got)).await.unwrap();
            assert!(got == sent);
            other.write_all(b"taken").await.unwrap();
            other.flush().await.unwrap();
            let mut answer = [0; 5];
            one.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"taken");
        });
    }
}

fn peers() -> (Keypair, Keypair) {
    (Keypair::generate_ed25519(), Keypair::generate_ecdsa())
}

fn suite(state: &CommonState) -> CipherSuite {
    state.negotiated_cipher_suite().unwrap().suite()
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let (dialer, listener) = peers();
    let ((seen, one), (seen_by, other)) =
        connect(Tls::new(&dialer).unwrap(), Tls::new(&listener).unwrap()).expect("no connection");
    assert_eq!((seen, seen_by), (listener.public().to_peer_id(), dialer.public().to_peer_id()));
    talk(one, other);
}

#[test]
fn a_stock_peer_connects_both_ways() {
    let (ours, stock) = peers();
    let ((seen, one), (seen_by, other)) =
        connect(Tls::new(&ours).unwrap(), tls::Config::new(&stock).unwrap()).expect("no connection to a stock peer");
    assert_eq!((seen, seen_by), (stock.public().to_peer_id(), ours.public().to_peer_id()));
    assert_eq!(one.get_ref().1.alpn_protocol(), Some(ALPN));
    talk(one, other);
    let ((seen, one), (seen_by, other)) =
        connect(tls::Config::new(&stock).unwrap(), Tls::new(&ours).unwrap()).expect("no connection of a stock peer");
    assert_eq!((seen, seen_by), (ours.public().to_peer_id(), stock.public().to_peer_id()));
    talk(one, other);
}

#[test]
fn the_dialer_decides_on_the_cipher() {
    let (dialer, listener) = peers();
    for (dials, listens, expected) in [
        (true, false, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (false, true, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        let dialing = Tls::with_order(&dialer, dials).unwrap();
        let listening = Tls::with_order(&listener, listens).unwrap();
        let ((_, one), (_, other)) = connect(dialing, listening).expect("no connection");
        assert_eq!((suite(one.get_ref().1), suite(other.get_ref().1)), (expected, expected));
    }
}

#[test]
fn all_suites_of_libp2p_are_offered_whatever_the_order() {
    for aes_first in [true, false] {
        let mut offered: Vec<_> = suites(aes_first).iter().map(|suite| u16::from(suite.suite())).collect();
        offered.sort_unstable();
        assert_eq!(offered, [0x1301, 0x1302, 0x1303]);
    }
}

/// A configuration whose certificate is one of libp2p with a bit of its signature changed.
fn forger() -> Tls {
    let (certificate, key) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
    let mut bytes = certificate.as_ref().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let mut forger = Tls::new(&Keypair::generate_ed25519()).unwrap();
    let mut client = ClientConfig::clone(&forger.client);
    client.client_auth_cert_resolver = own_certificate(client.crypto_provider(), bytes.into(), key).unwrap();
    forger.client = Arc::new(client);
    forger
}

#[test]
fn a_certificate_that_does_not_hold_is_refused() {
    let listener = Tls::new(&Keypair::generate_ed25519()).unwrap();
    let refused = connect(forger(), listener).map(drop).expect_err("it was taken");
    assert!(refused.contains("InvalidCertificate"), "{refused}");
}

#[test]
fn several_certificates_are_refused() {
    let (one, _) = certificate::generate(&Keypair::generate_ed25519()).unwrap();
    assert!(Libp2pCertificates::check(&one, &[]).is_ok());
    assert!(Libp2pCertificates::check(&one, std::slice::from_ref(&one)).is_err());
}
