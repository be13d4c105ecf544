//! What a substream works for, for whoever watches below the protocol (introspection tags streams with it): set while the
//! substream's codec is polled, and only then.

use std::{future::Future, sync::Arc};

use crate::messages::SnapshotsRequest;

/// Words like `session=7`, `chunk=312`.
pub type Purpose = Arc<[String]>;

tokio::task_local! {
    static CURRENT: Purpose;
}

/// Calls `visit` with the purpose in force, if there is one.
pub fn current(visit: &mut dyn FnMut(&Purpose)) {
    // Outside of a scope there is none.
    let _ = CURRENT.try_with(|purpose| visit(purpose));
}

/// Runs a future with a purpose in force whenever it is polled.
pub async fn scope<F: Future>(purpose: &Purpose, future: F) -> F::Output {
    CURRENT.scope(Arc::clone(purpose), future).await
}

/// What a request, and the answer to it, is for.
#[must_use]
pub fn of(request: &SnapshotsRequest) -> Purpose {
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

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::types::SnapshotSessionId;

    #[test]
    fn it_is_in_force_within_its_scope_only() {
        let seen = || {
            let mut seen = Vec::new();
            current(&mut |purpose| seen = purpose.to_vec());
            seen
        };
        let session_id = SnapshotSessionId::new(7).unwrap();
        let purpose = of(&SnapshotsRequest::Chunk { session_id, chunk_index: 312 });
        assert_eq!(block_on(scope(&purpose, async { seen() })), ["session=7", "chunk=312"]);
        assert!(seen().is_empty());
    }
}
