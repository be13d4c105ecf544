//! A port with a few routes, as the tests of this crate need them.
#![allow(dead_code, unreachable_pub)]

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use futures::{SinkExt as _, StreamExt as _};
use rpp_http::{
    Draining, Limits, Peer,
    guard::{Bearer, Gate, HostOriginRules},
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use warp::Filter;

use crate::support::soon;

pub const TOKEN: &str = "a-right-token-of-the-tests";

pub struct Port {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    /// Lets one `/slow` request go on.
    pub release: Arc<Notify>,
    /// Notified when a `/slow` request is in.
    pub entered: Arc<Notify>,
    pub served: JoinHandle<std::io::Result<()>>,
}

impl Port {
    pub async fn stopped(self) {
        soon(self.served).await.unwrap().unwrap();
    }
}

pub fn open(gate: Gate, limits: Limits) -> Port {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (release, entered) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let routes = routes(&release, &entered);
    let signal = shutdown.clone().cancelled_owned();
    let served = tokio::spawn(rpp_http::serve(listener, routes, gate, limits, signal));
    Port { address, shutdown, release, entered, served }
}

pub fn plain(limits: Limits) -> Port {
    open(Gate::new(HostOriginRules::default()), limits)
}

pub fn guarded(limits: Limits) -> Port {
    let bearer = Bearer::new(&TOKEN.into()).unwrap().with_query_token();
    open(Gate::new(HostOriginRules::default()).with_bearer(bearer).with_probe_path("/healthz"), limits)
}

fn routes(
    release: &Arc<Notify>,
    entered: &Arc<Notify>,
) -> impl Filter<Extract = (impl warp::Reply + use<>,), Error = warp::Rejection> + Clone + Send + Sync + 'static + use<>
{
    let (release, entered) = (Arc::clone(release), Arc::clone(entered));
    let health = warp::path!("healthz").and(warp::get()).map(|| "ok");
    let echo = warp::path!("echo").and(warp::post()).and(warp::body::bytes()).map(|body: bytes::Bytes| body.to_vec());
    let peer = warp::path!("peer").and(warp::ext::get::<Peer>()).map(|Peer(peer): Peer| peer.to_string());
    let uri = warp::path!("uri").and(warp::query::raw().or_else(|_| async { Ok::<_, Infallible>((String::new(),)) }));
    let uri = uri.and(warp::header::optional::<String>("authorization"));
    let uri = uri.map(|query: String, token: Option<String>| format!("{query}|{}", token.unwrap_or_default()));
    let slow = warp::path!("slow").then(move || {
        let (release, entered) = (Arc::clone(&release), Arc::clone(&entered));
        async move {
            entered.notify_one();
            release.notified().await;
            "done"
        }
    });
    let flood = warp::path!("flood").map(|| {
        let endless = futures::stream::repeat_with(|| {
            Ok::<_, Infallible>(warp::sse::Event::default().data("x".repeat(64 * 1024)))
        });
        warp::sse::reply(endless)
    });
    let ws = warp::path!("ws").and(warp::ws()).and(warp::ext::get::<Draining>());
    let ws = ws.map(|ws: warp::ws::Ws, draining: Draining| {
        ws.on_upgrade(|mut socket| async move {
            loop {
                let message = tokio::select! {
                    message = socket.next() => message,
                    () = draining.0.cancelled() => break,
                };
                match message {
                    Some(Ok(message)) if message.is_text() => {
                        let _ = socket.send(message).await;
                    }
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
            let _ = socket.send(warp::ws::Message::close_with(1001_u16, "shutting down")).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        })
    });
    let deaf = warp::path!("deaf").and(warp::ws()).map(|ws: warp::ws::Ws| {
        ws.on_upgrade(|mut socket| async move { while socket.next().await.is_some_and(|message| message.is_ok()) {} })
    });
    let panics = warp::path!("panics").map(|| -> &'static str { panic!("a test's\n panic") });
    health.or(panics).or(echo).or(peer).or(uri).or(slow).or(flood).or(ws).or(deaf)
}
