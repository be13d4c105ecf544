//! One connection: how hyper serves it, and the headers that every answer carries.

use std::{convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_util::sync::CancellationToken;
use warp::Reply as _;

use crate::{
    Draining, Limits, Peer, Problem,
    guard::Gate,
    io::Io,
    limits::{LINGER, LINGER_BYTES, MAX_HEAD_BYTES},
    phase::{Answered, Phase},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

type Answer = warp::reply::Response;

/// A short name for the bounds of warp's service.
pub(crate) trait Routes:
    hyper::service::Service<Request<Full<Bytes>>, Response = Answer, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Routes for S where
    S: hyper::service::Service<Request<Full<Bytes>>, Response = Answer, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) from: SocketAddr,
    /// The connection has a spare place: it gets one request, for an open path.
    pub(crate) spare: bool,
    pub(crate) phase: Arc<Phase>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) draining: CancellationToken,
}

/// The parts of a request that decide whether its connection stays open.
struct Asked {
    version: Version,
    keep_alive: bool,
    /// RFC 9112, 6.1: a request may carry both a length and an encoding. Then the connection must not be used again.
    encoded: bool,
}

impl Visitor {
    pub(crate) async fn serve<S>(self, io: Io, routes: TowerToHyperService<S>)
    where
        TowerToHyperService<S>: Routes,
    {
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None) // kept by `Io`
            .keep_alive(!self.spare)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES);
        let visitor = self.clone();
        let service = service_fn(move |request| {
            let (visitor, routes) = (visitor.clone(), routes.clone());
            async move { Ok::<_, Infallible>(visitor.answer(routes, request).await) }
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

    async fn answer<S: Routes>(&self, routes: S, request: Request<Incoming>) -> Response<Answered> {
        self.phase.answer();
        let asked = Asked {
            version: request.version(),
            keep_alive: wants_keep_alive(request.version(), request.headers()),
            encoded: request.headers().contains_key(header::TRANSFER_ENCODING),
        };
        let mut answer = match self.gate.admit(self.from, self.spare, &self.limits, request).await {
            Ok(request) => self.ask(routes, request).await,
            Err(problem) => problem.into_response(),
        };
        let headers = answer.headers_mut();
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        self.say_what_follows(&asked, &mut answer);
        answer.map(|body| Answered::new(body, Arc::clone(&self.phase)))
    }

    /// The routes' answer. `HEAD` is passed on as `GET`; hyper keeps the answer's length and sends no body.
    async fn ask<S: Routes>(&self, routes: S, mut request: Request<Full<Bytes>>) -> Answer {
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        request.extensions_mut().insert(Peer(self.from));
        request.extensions_mut().insert(Draining(self.draining.clone()));
        match AssertUnwindSafe(async move { routes.call(request).await }).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            // The panic hook has logged the panic.
            Err(_) => {
                let message = "the request met a fault of the program; its log has a record of it";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
            }
        }
    }

    /// Adds the headers that say whether the connection stays open, and how long it may be idle.
    fn say_what_follows(&self, asked: &Asked, answer: &mut Answer) {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.phase.upgrade();
            return;
        }
        let old = asked.version == Version::HTTP_10;
        if old {
            *answer.version_mut() = Version::HTTP_10;
        }
        let ends = has_token(answer.headers(), "close")
            || asked.encoded
            || !asked.keep_alive
            || self.spare
            || self.draining.is_cancelled()
            // HTTP/1.0 marks the end of a body of unknown length by closing the connection.
            || (old && answer.body().size_hint().exact().is_none());
        let headers = answer.headers_mut();
        if ends {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            return;
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        let seconds = self.limits.idle_timeout().as_secs();
        if let Ok(timeout) = HeaderValue::from_str(&format!("timeout={seconds}")) {
            headers.insert(KEEP_ALIVE, timeout);
        }
    }
}

fn wants_keep_alive(version: Version, headers: &HeaderMap) -> bool {
    match version {
        Version::HTTP_11 => !has_token(headers, "close"),
        _ => has_token(headers, "keep-alive") && !has_token(headers, "close"),
    }
}

/// Whether `Connection` has this option.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(token))
}

/// Answers that no place is free, without reading the request.
pub(crate) async fn refuse(mut socket: TcpStream, _permit: OwnedSemaphorePermit, problem: Problem) {
    let body = problem.body();
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
