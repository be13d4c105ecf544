//! A short address on this machine that needs no token, for a web page that accepts neither a path nor a token.
//!
//! Messages are forwarded one by one, both ways, so that the pull rules still hold. Any program on this machine can
//! connect. A web page can connect only from a loopback address, or from an origin that was allowed by name.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures::{Sink, SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode, Uri, header};
use rpp_http::Failures;
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Error, Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::connection::{ClientError, Connection};
use crate::{
    limits::{CLOSE_DEADLINE, FORWARD_HANDSHAKE, FORWARD_WRITE, FORWARDED_CLIENTS, MAX_READ_BYTES},
    text::escape,
};

/// Why nothing is forwarded. The caller or the machine is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Others could look without the token.
    #[error("{0} is reachable from other machines, and whoever connects there needs no token: use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The address is taken, or does not belong to this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Why a connection is not forwarded, or not any longer.
#[derive(Debug, thiserror::Error)]
enum NotForwarded {
    /// The client is at fault: it has no access, or speaks another protocol.
    #[error("a connection was refused: {}", escape(&.0.to_string()))]
    Refused(#[source] Box<Error>),
    /// The client is at fault: it sent no request in time.
    #[error("a connection did not say what it wants")]
    Silent,
    /// The node cannot be reached, or refuses.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// The connection to one of the two sides failed.
    #[error("{}", escape(&.0.to_string()))]
    Broken(#[source] Box<Error>),
    /// One of the two sides does not read.
    #[error("a client did not read")]
    Unread,
}

/// Forwards connections to one node and adds the token.
#[derive(Debug)]
pub struct Forward {
    listener: TcpListener,
    address: SocketAddr,
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    url: String,
    token: SecretString,
    origins: Vec<String>,
}

impl Forward {
    /// Listens on a loopback address, for the node at a URL like `ws://127.0.0.1:7071/introspect`. Web pages of
    /// `origins` may connect as well as those of this machine.
    ///
    /// # Errors
    /// An address that is not loopback, or cannot be listened on.
    pub async fn listen(
        address: SocketAddr,
        url: &str,
        token: &SecretString,
        origins: &[String],
    ) -> Result<Self, ForwardError> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(ForwardError::NotLoopback(address));
        }
        let failed = |source| ForwardError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let origins = origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Ok(Self { listener, address, node: Arc::new(Node { url: url.to_owned(), token: token.clone(), origins }) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards messages until `stop`. `tell` is called with a line whenever a connection cannot be forwarded.
    pub async fn run(self, tell: impl Fn(&str), stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(FORWARDED_CLIENTS));
        let (stopping, stopped) = watch::channel(());
        let mut clients: JoinSet<Result<(), NotForwarded>> = JoinSet::new();
        let mut failures = Failures::default();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = clients.join_next() => {
                    if let Ok(Err(why)) = ended {
                        tell(&why.to_string());
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (node, places, stopped) = (Arc::clone(&self.node), Arc::clone(&places), stopped.clone());
                        clients.spawn(async move {
                            let place = places.try_acquire_owned().ok();
                            let free = place.is_some();
                            let done = node.carry(stream, free, stopped).await;
                            drop(place);
                            done
                        });
                    }
                    Err(error) => {
                        let told = |why: &str| tell(&format!("no connection could be accepted: {why}"));
                        failures.pause_after(&error, told).await;
                    }
                },
            }
        }
        drop(stopping);
        while clients.join_next().await.is_some() {}
    }
}

impl Node {
    /// Serves one client until it ends.
    #[allow(clippy::result_large_err)] // The handshake needs this type.
    async fn carry(&self, stream: TcpStream, free: bool, mut stopped: watch::Receiver<()>) -> Result<(), NotForwarded> {
        let check = |request: &Request, response: Response| self.check(request, free).map(|()| response);
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_READ_BYTES)).max_frame_size(Some(MAX_READ_BYTES));
        let shaken = timeout(FORWARD_HANDSHAKE, accept_hdr_async_with_config(stream, check, Some(config))).await;
        let mut client = match shaken {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(NotForwarded::Refused(Box::new(error))),
            Err(_) => return Err(NotForwarded::Silent),
        };
        let mut node = match Connection::open(&self.url, &self.token).await {
            Ok(connection) => connection.into_socket(),
            Err(error) => {
                close(&mut client, CloseCode::Error, &error.to_string()).await;
                return Err(error.into());
            }
        };
        let ended = loop {
            let passed = tokio::select! {
                _ = stopped.changed() => {
                    close(&mut client, CloseCode::Away, "the forwarding program ends").await;
                    close(&mut node, CloseCode::Normal, "").await;
                    Ok(false)
                }
                message = client.next() => pass(message, &mut node).await,
                message = node.next() => pass(message, &mut client).await,
            };
            match passed {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        // Both sides may answer the close; without that a browser reports a broken connection.
        let both = async {
            while let Some(Ok(_)) = client.next().await {}
            while let Some(Ok(_)) = node.next().await {}
        };
        let _ = timeout(CLOSE_DEADLINE, both).await;
        ended
    }

    /// Decides who may connect. A callback of the handshake; on failure it returns the HTTP status.
    #[allow(clippy::result_large_err)] // The handshake needs this type.
    fn check(&self, request: &Request, free: bool) -> Result<(), ErrorResponse> {
        let refuse = |status: StatusCode, why: &str| {
            let mut response = ErrorResponse::new(Some(why.to_owned()));
            *response.status_mut() = status;
            Err(response)
        };
        if !is_local_host(request.headers()) {
            return refuse(StatusCode::FORBIDDEN, "the Host header must be localhost or a loopback address\n");
        }
        if !self.origin_allowed(request.headers()) {
            return refuse(StatusCode::FORBIDDEN, "web pages of other machines may not connect here\n");
        }
        if !free {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "as many clients as are allowed are connected\n");
        }
        Ok(())
    }

    fn origin_allowed(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::ORIGIN).iter();
        match (given.next(), given.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| {
                let origin = origin.to_ascii_lowercase();
                let local =
                    origin.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some_and(|at| is_local(at.host())));
                local || self.origins.contains(&origin)
            }),
            _ => false,
        }
    }
}

/// A DNS name that was rebound to this machine is not local.
fn is_local_host(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    let authority = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
    authority.is_some_and(|at| !at.as_str().contains('@') && is_local(at.host()))
}

fn is_local(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Forwards one message; `false` when there are no more.
async fn pass<S>(message: Option<Result<Message, Error>>, to: &mut WebSocketStream<S>) -> Result<bool, NotForwarded>
where
    WebSocketStream<S>: Sink<Message, Error = Error> + Unpin,
{
    let message = match message {
        Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
        Some(Ok(Message::Close(frame))) => {
            let _ = timeout(FORWARD_WRITE, to.send(Message::Close(frame))).await;
            return Ok(false);
        }
        // Each side answers pings by itself.
        Some(Ok(_)) => return Ok(true),
        Some(Err(error)) => {
            close(to, CloseCode::Error, &escape(&error.to_string())).await;
            return Err(NotForwarded::Broken(Box::new(error)));
        }
        None => {
            close(to, CloseCode::Away, "the other side is gone").await;
            return Ok(false);
        }
    };
    match timeout(FORWARD_WRITE, to.send(message)).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(NotForwarded::Broken(Box::new(error))),
        Err(_) => Err(NotForwarded::Unread),
    }
}

/// Sends the reason, as far as it fits a close frame, and ends.
async fn close<S>(socket: &mut WebSocketStream<S>, code: CloseCode, why: &str)
where
    WebSocketStream<S>: Sink<Message, Error = Error> + Unpin,
{
    const MAX_REASON: usize = 123;
    let mut end = why.len().min(MAX_REASON);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code, reason: why[..end].into() };
    let _ = timeout(FORWARD_WRITE, socket.send(Message::Close(Some(frame)))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example", "[fe80::1]", "evil.example"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
