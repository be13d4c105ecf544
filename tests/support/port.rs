//! Ports that stay a test's own while nobody listens on them.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that systems give to those who ask for any (Linux from 32,768, macOS and Windows from 49,152), so that neither
/// a listener on port 0 nor an outgoing connection takes one while its node is down.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port that is free, and that nobody else is given: for a node that comes back where its peers look for it, or for an
/// address at which nobody listens.
pub fn reserved_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = (std::process::id() % 100) as u16 * (COUNT / 100);
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::SeqCst)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
