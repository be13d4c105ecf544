//! The accept loop.
//!
//! ```text
//! accept -> a place free? -no-> 503 "too_many_connections", closed
//!              | yes
//!           head (timeout) -> gate (host, origin, token, body) -> routes -> answer -> next head, or closed
//!                                                                    \-> WebSocket: keeps the place until it ends
//! shutdown -> stop accepting -> requests in flight go on, idle connections close -> drain deadline -> the rest is cut
//! ```

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Version, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply, reply::Response};

use crate::{
    Limits, Problem,
    guard::Gate,
    io::Io,
    limits::{LINGER, LINGER_BYTES, MAX_HEAD_BYTES, MAX_REFUSALS},
    problem::recover,
};

/// Who sent the request: an extension of every request (`warp::ext::get::<Peer>()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Cancelled when the server shuts down: an extension of every request. Streams and WebSockets end on it; what has not
/// ended at the drain deadline is cut.
#[derive(Clone, Debug)]
pub struct Draining(pub CancellationToken);

/// Serves `routes` behind `gate` until `shutdown`, then drains. Rejections of the filter become [`Problem`]s.
///
/// Returns when every connection is gone, WebSockets included, or one second after the drain deadline.
///
/// # Errors
/// The listener cannot be used. A failed accept is logged and retried.
pub async fn serve<F, R>(
    listener: std::net::TcpListener,
    routes: F,
    gate: Gate,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    F: Filter<Extract = (R,), Error: Into<warp::Rejection>> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    warn_unless_loopback(listener.local_addr()?);
    let routes = routes
        .map(Reply::into_response)
        .boxed()
        .or_else(|rejection| async { recover(rejection).await.map(|answer| (answer,)) });
    let service = TowerToHyperService::new(warp::service(routes));
    let port = Port::new(gate, limits);
    {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, from)) => port.take_in(socket, from, &service),
                Err(error) => pause_after(&error).await,
            }
        }
    }
    drop(listener);
    port.drain().await;
    Ok(())
}

fn warn_unless_loopback(address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %address,
            "this HTTP port is reachable from other machines and has no TLS: tokens and answers travel in clear; put a \
             TLS proxy in front of it or listen on loopback"
        );
    }
}

/// A connection that was reset while it waited is nothing; a lack of file descriptors passes only with time.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What all connections of a port share.
struct Port {
    gate: Arc<Gate>,
    limits: Arc<Limits>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Port {
    fn new(gate: Gate, limits: Limits) -> Self {
        Self {
            gate: Arc::new(gate),
            places: Arc::new(Semaphore::new(limits.max_connections())),
            limits: Arc::new(limits),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    fn take_in<S>(&self, socket: TcpStream, from: SocketAddr, service: &TowerToHyperService<S>)
    where
        TowerToHyperService<S>: Routes,
    {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let _ = socket.set_nodelay(true);
                let io = Io::new(socket, place, &self.cut, self.limits.write_timeout());
                let visitor = Visitor {
                    from,
                    gate: Arc::clone(&self.gate),
                    limits: Arc::clone(&self.limits),
                    draining: self.draining.clone(),
                };
                tokio::spawn(visitor.serve(io, service.clone()));
            }
            Err(_) => {
                tracing::debug!(%from, "all connection places of this port are taken");
                if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                    tokio::spawn(refuse(socket, permit, self.limits.max_connections()));
                }
            }
        }
    }

    async fn drain(self) {
        self.draining.cancel();
        if self.wait_until_empty(self.limits.drain()).await.is_err() {
            tracing::warn!("connections did not end within the drain time and are cut");
            self.cut.cancel();
            let _ = self.wait_until_empty(Duration::from_secs(1)).await;
        }
    }

    async fn wait_until_empty(&self, deadline: Duration) -> Result<(), tokio::time::error::Elapsed> {
        let all = u32::try_from(self.limits.max_connections()).unwrap_or(u32::MAX);
        tokio::time::timeout(deadline, self.places.acquire_many(all)).await.map(drop)
    }
}

/// Short for what warp's service is.
trait Routes:
    hyper::service::Service<Request<Full<Bytes>>, Response = Response, Error = std::convert::Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Routes for S where
    S: hyper::service::Service<
            Request<Full<Bytes>>,
            Response = Response,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// One connection.
#[derive(Clone)]
struct Visitor {
    from: SocketAddr,
    gate: Arc<Gate>,
    limits: Arc<Limits>,
    draining: CancellationToken,
}

impl Visitor {
    async fn serve<S: Routes>(self, io: Io, routes: S) {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout())
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES);
        let visitor = self.clone();
        let service = service_fn(move |request| {
            let (visitor, routes) = (visitor.clone(), routes.clone());
            async move { Ok::<_, std::convert::Infallible>(visitor.answer(routes, request).await) }
        });
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(from = %self.from, %error, "a connection ended with an error");
        }
    }

    async fn answer<S: Routes>(&self, routes: S, request: Request<Incoming>) -> Response {
        // RFC 9112, 6.1: length and encoding may both have stood there; then the connection must not be used again.
        let encoded =
            request.headers().contains_key(header::TRANSFER_ENCODING) || request.version() != Version::HTTP_11;
        let mut response = match self.gate.admit(self.from, &self.limits, request).await {
            Ok(mut request) => {
                request.extensions_mut().insert(Peer(self.from));
                request.extensions_mut().insert(Draining(self.draining.clone()));
                let Ok(response) = routes.call(request).await;
                response
            }
            Err(problem) => problem.into_response(),
        };
        let headers = response.headers_mut();
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if encoded {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Tells a client that there is no place for it, without reading its request.
async fn refuse(mut socket: TcpStream, _permit: OwnedSemaphorePermit, max: usize) {
    let message = format!("all {max} connections of this port are in use: try again later");
    let body = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message).body();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        let (mut scratch, mut left) = ([0; 4096], LINGER_BYTES);
        while left > 0 {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}
