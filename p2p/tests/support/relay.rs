//! A slow line: a TCP relay that lets only so many bytes a second through, towards whoever dialled it.

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
    task::JoinHandle,
};

/// How often some bytes are let through.
const TURN: Duration = Duration::from_millis(20);
/// What the line holds at most beside the sockets' own buffers.
const BUFFER: u32 = 16 * 1024;

/// Gone when dropped.
pub struct Relay {
    /// Where it listens.
    pub address: Multiaddr,
    rate: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// To a node that listens on TCP; as fast as it goes until it is told otherwise.
    pub async fn start(to: &Multiaddr) -> Self {
        let to = socket(to);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rate = Arc::new(AtomicU64::new(u64::MAX));
        let limit = Arc::clone(&rate);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let limit = Arc::clone(&limit);
                tokio::spawn(async move {
                    let far = TcpSocket::new_v4().unwrap();
                    far.set_recv_buffer_size(BUFFER).unwrap();
                    let far = far.connect(to).await.unwrap();
                    join(near, far, limit).await;
                });
            }
        });
        let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        Self { address, rate, task }
    }

    /// From now on so many bytes a second come through; 0: none.
    pub fn limit(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(near: TcpStream, far: TcpStream, rate: Arc<AtomicU64>) {
    for end in [&near, &far] {
        end.set_nodelay(true).unwrap();
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let up = tokio::spawn(copy(near_in, far_out, Arc::new(AtomicU64::new(u64::MAX))));
    copy(far_in, near_out, rate).await;
    up.abort();
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, rate: Arc<AtomicU64>) {
    let mut buffer = vec![0; BUFFER as usize];
    loop {
        let rate = rate.load(Ordering::Relaxed);
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
