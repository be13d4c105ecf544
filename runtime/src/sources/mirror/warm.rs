//! Connections that are opened ahead. A reader of a mirror first asks for one document, and then for several things at
//! once. The later requests then need not wait for a round trip of TCP and two of TLS.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use ::http::{Uri, uri::Authority};
use tokio::{sync::oneshot, time::Instant};
use tower_service::Service;

use crate::limits::WARM_LIFE;

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens some connections to a server beside the first one, and gives them to the next requests.
pub(super) struct Warm<C: Service<Uri>> {
    connector: C,
    state: Arc<Mutex<WarmConnections<C::Response>>>,
}

struct WarmConnections<T> {
    /// How many are still to be opened.
    count: usize,
    made: Vec<WarmConnection<T>>,
}

/// A connection that is being opened, or is open.
struct WarmConnection<T> {
    to: Option<Authority>,
    at: Instant,
    connection: oneshot::Receiver<Result<T, BoxError>>,
}

impl<T> WarmConnections<T> {
    fn forget_old(&mut self) {
        self.made.retain(|made| made.at.elapsed() < WARM_LIFE);
    }
}

impl<C: Service<Uri>> Warm<C> {
    pub(super) fn new(connector: C, count: usize) -> Self {
        Self { connector, state: Arc::new(Mutex::new(WarmConnections { count, made: Vec::new() })) }
    }
}

impl<C: Service<Uri> + Clone> Clone for Warm<C> {
    fn clone(&self) -> Self {
        Self { connector: self.connector.clone(), state: Arc::clone(&self.state) }
    }
}

impl<C> Warm<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    /// Takes a connection that was opened ahead. The first call finds none, and opens those for the next calls.
    fn take(&self, to: &Uri) -> Option<oneshot::Receiver<Result<C::Response, BoxError>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget_old();
        let authority = to.authority();
        if let Some(at) = state.made.iter().position(|made| made.to.as_ref() == authority) {
            return Some(state.made.remove(at).connection);
        }
        let count = std::mem::take(&mut state.count);
        for _ in 0..count {
            let (tell, connection) = oneshot::channel();
            let dial = self.connector.clone().call(to.clone());
            tokio::spawn(async move { tell.send(dial.await.map_err(Into::into)).ok() });
            state.made.push(WarmConnection { to: authority.cloned(), at: Instant::now(), connection });
        }
        if count > 0 {
            tokio::spawn(end_old(Arc::downgrade(&self.state)));
        }
        None
    }
}

/// Closes connections that nobody has used in time.
async fn end_old<T: Send + 'static>(state: Weak<Mutex<WarmConnections<T>>>) {
    tokio::time::sleep(WARM_LIFE).await;
    if let Some(state) = state.upgrade() {
        state.lock().unwrap_or_else(PoisonError::into_inner).forget_old();
    }
}

impl<C> Service<Uri> for Warm<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let made = self.take(&to);
        let mut connector = self.connector.clone();
        Box::pin(async move {
            if let Some(made) = made
                && let Ok(made) = made.await
            {
                return made;
            }
            connector.call(to).await.map_err(Into::into)
        })
    }
}
