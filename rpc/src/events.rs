//! `GET /p2p/snapshots/{session}/events`: a session's status as server-sent events.
//!
//! Each change is one unnamed event whose data is the status as JSON. Changes that come faster than [`EVENT_INTERVAL`]
//! are merged into the newest. When nothing more can come, one event named `end` says why, and the stream ends:
//! `{"reason":"complete"}`, `failed`, `cancelled` or `shutdown`.

use std::{convert::Infallible, sync::Arc};

use futures::{Stream, stream};
use http::{HeaderValue, StatusCode, header};
use rpp_http::{Draining, Problem};
use rpp_runtime::{NodeHandle, SessionState, SnapshotRuntimeError, SnapshotStreamStatus};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use warp::{Reply as _, reply::Response, sse::Event};

use crate::error::snapshot_runtime_error_to_http;
use crate::limits::{EVENT_INTERVAL, KEEP_ALIVE, MAX_EVENT_STREAMS};

/// The places for streams.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_EVENT_STREAMS)))
    }
}

impl Places {
    /// The number of open streams.
    pub(crate) fn taken(&self) -> usize {
        MAX_EVENT_STREAMS.saturating_sub(self.0.available_permits())
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_EVENT_STREAMS} event streams are open, as many as allowed: close one first");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        })
    }
}

/// The answer with the stream.
///
/// # Errors
/// Unknown session, no free place, or a node that does not answer.
pub(crate) async fn answer(
    node: &NodeHandle,
    session: rpp_p2p::SnapshotSessionId,
    places: &Places,
    draining: Draining,
) -> Result<Response, Problem> {
    let to_http = |error: SnapshotRuntimeError| snapshot_runtime_error_to_http(&error);
    let mut watched = node.watch_snapshot_stream(session).await.map_err(to_http)?;
    let place = places.take()?;
    watched.borrow_and_update();
    // A watched status has the times of its last change; this one has the present times.
    let now = node.snapshot_stream_status(session).await.map_err(to_http)?;
    let feed = Feed { watched, draining, last: Instant::now(), next: Next::Status(Box::new(now)), _place: place };
    let events = warp::sse::keep_alive().interval(KEEP_ALIVE).stream(feed.into_events());
    let mut response = warp::sse::reply(events).into_response();
    // Proxies must neither buffer nor compress it: the client would get nothing until the end.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Feed {
    watched: watch::Receiver<SnapshotStreamStatus>,
    draining: Draining,
    last: Instant,
    next: Next,
    _place: OwnedSemaphorePermit,
}

enum Next {
    Status(Box<SnapshotStreamStatus>),
    Change,
    End(&'static str),
    Nothing,
}

impl Feed {
    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + Sync {
        stream::unfold(self, Self::step)
    }

    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = match std::mem::replace(&mut self.next, Next::Change) {
            Next::Status(status) => self.tell(&status),
            Next::Change => match self.change().await {
                Ok(status) => self.tell(&status),
                Err(reason) => self.end(reason),
            },
            Next::End(reason) => self.end(reason),
            Next::Nothing => return None,
        };
        Some((Ok(event), self))
    }

    /// The newest status after the next change, at the earliest when the interval has passed.
    async fn change(&mut self) -> Result<SnapshotStreamStatus, &'static str> {
        let watched = &mut self.watched;
        let due = self.last + EVENT_INTERVAL;
        let changed = async {
            watched.changed().await.map_err(|_| "cancelled")?;
            tokio::time::sleep_until(due).await;
            Ok(watched.borrow_and_update().clone())
        };
        tokio::select! {
            changed = changed => changed,
            () = self.draining.0.cancelled() => Err("shutdown"),
        }
    }

    fn tell(&mut self, status: &SnapshotStreamStatus) -> Event {
        self.last = Instant::now();
        self.next = match status.state {
            _ if status.is_being_verified_again() => Next::Change,
            SessionState::Complete => Next::End("complete"),
            SessionState::Failed => Next::End("failed"),
            _ => Next::Change,
        };
        match serde_json::to_string(status) {
            Ok(json) => Event::default().data(json),
            Err(error) => {
                tracing::error!(%error, "a status could not be written as JSON");
                self.end("internal")
            }
        }
    }

    fn end(&mut self, reason: &'static str) -> Event {
        self.next = Next::Nothing;
        Event::default().event("end").data(format!("{{\"reason\":\"{reason}\"}}"))
    }
}
