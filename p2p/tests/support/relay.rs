//! A slow line: a TCP relay that limits the bytes a second that travel towards the side that dialled it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The time between two turns in which bytes are forwarded.
const TURN: Duration = Duration::from_millis(20);
/// The most bytes that the line holds beside the sockets' own buffers.
const BUFFER: u32 = 16 * 1024;

/// The relay ends when this is dropped.
pub struct Relay {
    /// The address on which it listens.
    pub address: Multiaddr,
    line: Line,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

/// The rate limiter of the line, and the number of bytes that it forwarded.
#[derive(Clone)]
struct Line {
    rate: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Line {
    fn free() -> Self {
        Self { rate: Arc::new(AtomicU64::new(u64::MAX)), passed: Arc::default() }
    }
}

impl Relay {
    /// A relay to a node that listens on TCP. It is unlimited until [`Self::limit`] is called.
    pub async fn start(to: &Multiaddr) -> Self {
        let to = socket(to);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (line, cuts) = (Line::free(), watch::Sender::new(0));
        let (limited, cut) = (line.clone(), cuts.subscribe());
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (line, mut cut) = (limited.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let far = TcpSocket::new_v4().unwrap();
                    far.set_recv_buffer_size(BUFFER).unwrap();
                    let Ok(far) = far.connect(to).await else { return };
                    tokio::select! {
                        () = join(near, far, line) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        Self { address, line, cuts, task }
    }

    /// From now on, forwards this many bytes a second; 0 means none.
    pub fn limit(&self, bytes_per_second: u64) {
        self.line.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Bytes forwarded so far, towards the side that dialled.
    pub fn passed(&self) -> u64 {
        self.line.passed.load(Ordering::Relaxed)
    }

    /// Closes the current connections. New ones are accepted.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(near: TcpStream, far: TcpStream, line: Line) {
    for end in [&near, &far] {
        end.set_nodelay(true).unwrap();
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // If either end closes, the other one is closed as well.
    tokio::select! {
        () = copy(near_in, far_out, Line::free()) => {}
        () = copy(far_in, near_out, line) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) {
    let mut buffer = vec![0; BUFFER as usize];
    loop {
        let rate = line.rate.load(Ordering::Relaxed);
        let most = if rate == u64::MAX {
            buffer.len()
        } else {
            tokio::time::sleep(TURN).await;
            let turn = rate * u64::try_from(TURN.as_millis()).unwrap() / 1000;
            usize::try_from(turn).unwrap().min(buffer.len())
        };
        if most == 0 {
            continue;
        }
        match from.read(&mut buffer[..most]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
                line.passed.fetch_add(read as u64, Ordering::Relaxed);
            }
        }
    }
}

fn socket(address: &Multiaddr) -> SocketAddr {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => (ip, port).into(),
        _ => panic!("{address} is no TCP address"),
    }
}
