//! The accept loop.
//!
//! ```text
//! accept -> a place free? -no-> a spare place, for one request of an open path; else 503 "too_many_connections", closed
//!              | yes
//!           head (timeout) -> gate (target, host, origin, token, body) -> routes -> answer -> idle -> next head, or closed
//!                                                                           \-> WebSocket: keeps the place until it ends
//! shutdown -> stop accepting -> requests in flight go on, idle connections close -> drain deadline -> the rest is cut
//! ```

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::service::TowerToHyperService;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Rejection, Reply, path::FullPath};

use crate::{
    Limits,
    connection::{Routes, Visitor, refuse},
    failures::Failures,
    guard::Gate,
    io::{Io, Timeouts},
    limits::{MAX_REFUSALS, SPARE_HEADER_TIMEOUT},
    phase::Phase,
    places::{Place, Places},
    problem::recover,
};

/// Who sent the request: an extension of every request (`warp::ext::get::<Peer>()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Cancelled when the server shuts down; an extension of every request. Streams and WebSockets should then end.
/// Connections that are still open at the drain deadline are closed.
#[derive(Clone, Debug)]
pub struct Draining(pub CancellationToken);

/// Serves `routes` behind `gate` until `shutdown`, then drains. Rejections of the filter become [`Problem`](crate::Problem)s.
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
    F: Filter<Extract = (R,), Error: Into<Rejection>> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    warn_unless_loopback(listener.local_addr()?);
    let routes = no_slash_behind()
        .and(routes.map(Reply::into_response).boxed())
        .or_else(|rejection| async { recover(rejection).await.map(|answer| (answer,)) });
    let service = TowerToHyperService::new(warp::service(routes));
    let port = Port::new(gate, limits);
    let mut failures = Failures::default();
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
                Err(error) => {
                    failures.pause_after(&error, |why| tracing::warn!("no connection could be accepted: {why}")).await;
                }
            }
        }
    }
    drop(listener);
    port.drain().await;
    Ok(())
}

/// warp's path filters treat `/a/` like `/a`. A path with a slash at its end is another path, which no port of ours
/// has.
fn no_slash_behind() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(|path: FullPath| async move {
            let (path, root) = (path.as_str(), "/");
            if path == root || !path.ends_with('/') { Ok(()) } else { Err(warp::reject::not_found()) }
        })
        .untuple_one()
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

/// State that all connections of a port share.
struct Port {
    gate: Arc<Gate>,
    limits: Arc<Limits>,
    places: Places,
    refusals: Arc<Semaphore>,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Port {
    fn new(gate: Gate, limits: Limits) -> Self {
        Self {
            gate: Arc::new(gate),
            places: Places::new(limits.max_connections(), limits.max_connections_per_address()),
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
        let phase = Arc::new(Phase::default());
        let cut = self.cut.child_token();
        if let Some(place) = self.places.take(from.ip()) {
            return self.serve(socket, from, place, phase, cut, service);
        }
        tracing::debug!(%from, "no ordinary connection place is left for this address");
        if self.gate.has_open_paths() {
            let place = self.places.take_spare(from.ip(), Arc::clone(&phase), cut.clone());
            self.serve(socket, from, place, phase, cut, service);
        } else if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(refuse(socket, permit, self.gate.too_many_connections()));
        }
    }

    fn serve<S>(
        &self,
        socket: TcpStream,
        from: SocketAddr,
        place: Place,
        phase: Arc<Phase>,
        cut: CancellationToken,
        service: &TowerToHyperService<S>,
    ) where
        TowerToHyperService<S>: Routes,
    {
        let _ = socket.set_nodelay(true);
        let (spare, head) = (place.is_spare(), self.limits.header_timeout());
        let timeouts = Timeouts {
            head: if spare { head.min(SPARE_HEADER_TIMEOUT) } else { head },
            idle: self.limits.idle_timeout(),
            write: self.limits.write_timeout(),
        };
        let io = Io::new(socket, place, Arc::clone(&phase), cut, timeouts);
        let visitor = Visitor {
            from,
            spare,
            phase,
            gate: Arc::clone(&self.gate),
            limits: Arc::clone(&self.limits),
            draining: self.draining.clone(),
        };
        tokio::spawn(visitor.serve(io, service.clone()));
    }

    async fn drain(self) {
        self.draining.cancel();
        if tokio::time::timeout(self.limits.drain(), self.places.empty()).await.is_err() {
            tracing::warn!("connections did not end within the drain time and are cut");
            self.cut.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), self.places.empty()).await;
        }
    }
}
