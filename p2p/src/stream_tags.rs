//! Tags that say what a substream is used for, for observers below the protocol (introspection shows them). They are
//! set only while the substream's codec is polled.

use std::{future::Future, sync::Arc};

use crate::{messages::SnapshotsRequest, types::SnapshotSessionId};

/// Texts like `session=7`, `chunk=312`.
pub type StreamTags = Arc<[String]>;

#[cfg(feature = "introspection")]
tokio::task_local! {
    static CURRENT: StreamTags;
}

/// Calls `visit` with the tags in force, if there are any.
#[cfg(feature = "introspection")]
pub fn current(visit: &mut dyn FnMut(&StreamTags)) {
    // Outside of a scope there are none.
    let _ = CURRENT.try_with(|tags| visit(tags));
}

/// Runs a future with tags in force whenever it is polled.
#[cfg(feature = "introspection")]
pub async fn scope<F: Future>(tags: &StreamTags, future: F) -> F::Output {
    CURRENT.scope(Arc::clone(tags), future).await
}

/// Calls `act` with tags in force.
#[cfg(feature = "introspection")]
pub fn within<T>(tags: &StreamTags, act: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(Arc::clone(tags), act)
}

/// Without the feature, tags are ignored.
#[cfg(not(feature = "introspection"))]
pub(crate) fn within<T>(_: &StreamTags, act: impl FnOnce() -> T) -> T {
    act()
}

/// Without the feature, tags are ignored.
#[cfg(not(feature = "introspection"))]
pub(crate) async fn scope<F: Future>(_: &StreamTags, future: F) -> F::Output {
    future.await
}

/// The tags of a session's stream.
#[must_use]
pub fn of_stream(session: SnapshotSessionId) -> StreamTags {
    if cfg!(not(feature = "introspection")) {
        return StreamTags::default();
    }
    [format!("session={session}"), "stream".to_owned()].into()
}

/// The tags of a request, and of the answer to it.
#[must_use]
pub fn of(request: &SnapshotsRequest) -> StreamTags {
    if cfg!(not(feature = "introspection")) {
        return StreamTags::default();
    }
    let session = format!("session={}", request.session_id());
    let what = match request {
        SnapshotsRequest::Plan { .. } => "plan".to_owned(),
        SnapshotsRequest::Chunk { chunk_index, .. } => format!("chunk={chunk_index}"),
        SnapshotsRequest::LightClientUpdate { update_index, .. } => format!("update={update_index}"),
        SnapshotsRequest::Resume { .. } => "resume".to_owned(),
        SnapshotsRequest::Ack { index, .. } => format!("ack={index}"),
        SnapshotsRequest::Error { .. } => "cancel".to_owned(),
    };
    [session, what].into()
}

#[cfg(all(test, feature = "introspection"))]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn it_is_in_force_within_its_scope_only() {
        let seen = || {
            let mut seen = Vec::new();
            current(&mut |tags| seen = tags.to_vec());
            seen
        };
        let session_id = SnapshotSessionId::new(7).unwrap();
        let tags = of(&SnapshotsRequest::Chunk { session_id, chunk_index: 312 });
        assert_eq!(block_on(scope(&tags, async { seen() })), ["session=7", "chunk=312"]);
        assert!(seen().is_empty());
    }
}
