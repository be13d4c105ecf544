//! Ports that are reserved for a test even while nobody listens on them.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that systems assign on request (Linux from 32,768, macOS and Windows from 49,152). So neither a
/// listener on port 0 nor an outgoing connection takes one while its node is down.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A free port that no other test gets. It is for a node that must come back at the same address, or for an address at
/// which nobody listens.
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
