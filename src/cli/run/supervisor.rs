//! Tells the service manager the node's state, as systemd's units of `Type=notify` want it: ready, reloading, stopping,
//! alive.
//!
//! Nothing is sent if no manager asks for it (`NOTIFY_SOCKET` is not set). The socket may stall, so a message is sent
//! on a thread that may block.

use std::{io, time::Duration};

use rpp_p2p::SnapshotSessionId;
use rpp_runtime::{NodeHandle, SnapshotRuntimeError};
use sd_notify::NotifyState as State;

/// A start that takes longer than this is reported again, before the manager gives up.
pub(super) const STILL_STARTING: Duration = Duration::from_secs(10);

/// Time for the manager to accept a message.
const PATIENCE: Duration = Duration::from_secs(1);

/// The control plane answers.
pub(super) async fn ready(status: String) {
    tell(move || sd_notify::notify(&[State::Ready, State::Status(&status)])).await;
}

/// The node is still starting, and `missing` says what it lacks. The manager then waits longer.
pub(super) async fn starting(missing: String) {
    let longer = u32::try_from(3 * STILL_STARTING.as_micros()).unwrap_or(u32::MAX);
    tell(move || sd_notify::notify(&[State::Status(&missing), State::ExtendTimeoutUsec(longer)])).await;
}

/// A reload begins; [`ready`] ends it.
pub(super) async fn reloading() {
    tell(|| sd_notify::notify(&[State::Reloading, State::monotonic_usec_now()?])).await;
}

/// The node begins to stop.
pub(super) async fn stopping() {
    tell(|| sd_notify::notify(&[State::Stopping, State::Status("stopping")])).await;
}

/// Reports that the node is alive whenever the node's own task has answered: three times within the time that the
/// manager allows. Returns at once if the manager has no watchdog.
pub(super) async fn watch(handle: NodeHandle) {
    let Some(allowed) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else { return };
    let alive = async || tell(|| sd_notify::notify(&[State::Watchdog])).await;
    while_it_answers(&handle, (allowed / 3).max(Duration::from_millis(1)), alive).await;
}

/// This is not just a timer: a task that hangs does not answer, so nothing is reported.
async fn while_it_answers(handle: &NodeHandle, every: Duration, mut alive: impl AsyncFnMut()) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // The cheapest query: no session has this id.
        match handle.snapshot_stream_status(SnapshotSessionId::UNREADABLE).await {
            Ok(_) | Err(SnapshotRuntimeError::UnknownSession { .. }) => alive().await,
            Err(SnapshotRuntimeError::ShuttingDown) => return,
            Err(error) => tracing::warn!("the service manager's watchdog is not fed: {error}"),
        }
    }
}

/// Waits only a moment: a manager that does not listen must not hold up the node.
async fn tell(message: impl FnOnce() -> io::Result<()> + Send + 'static) {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(message)).await {
        Ok(Ok(Err(error))) => tracing::warn!("the service manager cannot be told ($NOTIFY_SOCKET): {error}"),
        Err(_) => tracing::warn!("the service manager does not take what it is told ($NOTIFY_SOCKET)"),
        Ok(Ok(Ok(())) | Err(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use rpp_runtime::{Config, handle::Command};
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_watchdog_is_fed_by_answers_alone() {
        let peer = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
        let (handle, mut seat) =
            NodeHandle::detached(peer, Arc::new(Config::defaults_in(Path::new("/nowhere")).unwrap()));
        let (fed, mut seen) = mpsc::channel(16);
        let watch =
            async { while_it_answers(&handle, Duration::from_millis(1), async || fed.send(()).await.unwrap()).await };
        let node = async {
            let mut waiting = None;
            for _ in 0..3 {
                let Some(Command::Status(session, reply)) = seat.commands.recv().await else {
                    panic!("another question")
                };
                assert!(seen.try_recv().is_err(), "fed before the answer");
                drop(reply.send(Err(SnapshotRuntimeError::UnknownSession { session })));
                seen.recv().await.unwrap();
            }
            // A task that hangs: it receives the query and never answers.
            while let Some(command) = seat.commands.recv().await {
                waiting.get_or_insert_with(Vec::new).push(command);
                if waiting.as_ref().is_some_and(|waiting| waiting.len() == 2) {
                    break;
                }
            }
            assert!(seen.try_recv().is_err(), "fed without an answer");
        };
        tokio::select! {
            () = watch => panic!("it ended"),
            () = node => {}
        }
    }
}
