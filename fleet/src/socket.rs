//! Notices that the other end of a connection is gone although nothing was said.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// Probes after 30 s of silence; the connection fails a minute later. Without these settings (a platform that lacks
/// them) the connection works, it only notices late.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(stream, 6);
}
