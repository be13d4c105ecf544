//! Detects that the other end of a connection is gone although it sent nothing.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// Sends probes after 30 s of silence; the connection fails a minute later. On a platform without these settings the
/// connection works, but a loss is detected late.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(stream, 6);
}
