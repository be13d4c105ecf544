//! Takes cuts. Connections, the cut in progress and its callers meet here and nowhere else.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    cut::{Answer, Cut, Finished},
    events::{Event, EventKind, now_ns},
    roster::{ConnectionId, Name, Roster},
    store::{Saved, StoreError, Writer},
};
use crate::{
    limits::{CUT_GRACE, MAX_CONNECTIONS, REQUEST_QUEUE},
    wire::{self, Request},
};

/// Why there is no cut.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CutError {
    #[error("no process is connected; start one with PEEPS_DASHBOARD={0}")]
    NothingConnected(String),
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    #[error("the collector is stopping")]
    Stopping,
}

/// The result that every caller of one cut gets.
pub(crate) type CutResult = Result<Arc<Saved>, CutError>;

pub(crate) struct Hub {
    state: Mutex<HubState>,
    /// Notified when an answer arrives or a process disconnects, because the cut may be complete then.
    progress: Notify,
    writer: Writer,
    timeout: Duration,
    listen: String,
}

struct HubState {
    roster: Roster,
    cut: Option<Cut>,
    running: Option<watch::Receiver<Option<CutResult>>>,
    /// The newest id that was allocated.
    last_id: u64,
}

/// What to do with a reply.
pub(crate) enum Verdict {
    /// It answers the cut in progress.
    Wanted,
    /// It only becomes a row of `ingest_events`.
    Unwanted,
}

impl Hub {
    pub(crate) fn new(writer: Writer, timeout: Duration, listen: String) -> Arc<Self> {
        let state = HubState { roster: Roster::default(), cut: None, running: None, last_id: 0 };
        Arc::new(Self { state: Mutex::new(state), progress: Notify::new(), writer, timeout, listen })
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn event(&self, event: Event) {
        self.writer.event(event);
    }

    /// Reads the list of connected processes.
    pub(crate) fn with_roster<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&self.lock().roster)
    }

    /// A process connected. `None` if all places are taken.
    pub(crate) fn enter(&self, address: String) -> Option<(ConnectionId, mpsc::Receiver<Arc<[u8]>>)> {
        let mut state = self.lock();
        if state.roster.len() >= MAX_CONNECTIONS {
            return None;
        }
        let (queue, requests) = mpsc::channel(REQUEST_QUEUE);
        Some((state.roster.enter(queue, address, now_ns()), requests))
    }

    /// A process disconnected.
    pub(crate) fn leave(&self, connection: ConnectionId) {
        let mut state = self.lock();
        state.roster.leave(connection);
        state.release_keys();
        if let Some(cut) = &mut state.cut {
            cut.left(connection);
        }
        drop(state);
        self.progress.notify_one();
    }

    /// The name of this connection in lists.
    pub(crate) fn name(&self, connection: ConnectionId) -> Option<Name> {
        self.lock().roster.name(connection)
    }

    /// Decides whether the graph of a reply is worth reading.
    pub(crate) fn judge(&self, connection: ConnectionId, snapshot_id: u64, process: &str, pid: u64) -> Verdict {
        let mut state = self.lock();
        if state.cut.as_ref().is_some_and(|cut| cut.id() == snapshot_id && cut.awaits(connection)) {
            return Verdict::Wanted;
        }
        let name = state.roster.mentioned(connection, process, pid);
        state.release_keys();
        let late = snapshot_id > 0 && snapshot_id <= state.last_id;
        drop(state);
        let (kind, what) = if late {
            (EventKind::LateReply, "a reply to a cut that does not wait for it")
        } else {
            (EventKind::WrongId, "a reply to a cut that was never asked for")
        };
        self.event(Event::new(kind, what).of(name).in_cut(snapshot_id));
        Verdict::Unwanted
    }

    /// A wanted reply has been parsed.
    pub(crate) fn answered(&self, connection: ConnectionId, snapshot_id: u64, process: &str, pid: u64, answer: Answer) {
        let mut state = self.lock();
        let wanted = state.cut.as_ref().is_some_and(|cut| cut.id() == snapshot_id && cut.awaits(connection));
        let name = match wanted {
            true => state.roster.answered(connection, process, pid),
            false => state.roster.mentioned(connection, process, pid),
        };
        let name = name.unwrap_or_else(|| Name {
            proc_key: crate::proc_key(process, pid),
            process: process.to_owned(),
            pid: Some(pid),
        });
        match &mut state.cut {
            Some(cut) if wanted => cut.answered(connection, name, now_ns(), answer),
            _ => {
                // The time ran out while the graph was parsed.
                drop(state);
                let what = "the cut was over when the graph had been read";
                self.event(Event::new(EventKind::LateReply, what).of(Some(name)).in_cut(snapshot_id));
                return;
            }
        }
        drop(state);
        self.progress.notify_one();
    }

    /// Takes a cut, or joins the one in progress.
    pub(crate) async fn jump(self: &Arc<Self>) -> CutResult {
        let mut result = {
            let mut state = self.lock();
            match &state.running {
                // Its sender is dropped without a value only if its task was lost.
                Some(running) if running.has_changed().is_ok() || running.borrow().is_some() => running.clone(),
                _ if state.roster.len() == 0 => return Err(self.nothing_connected()),
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    state.running = Some(receiver.clone());
                    // On a task of its own: if one caller hangs up, the others still get the cut.
                    tokio::spawn(Arc::clone(self).take(sender));
                    receiver
                }
            }
        };
        match result.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or(Err(CutError::Stopping)),
            Err(_) => Err(CutError::Stopping),
        }
    }

    fn nothing_connected(&self) -> CutError {
        CutError::NothingConnected(self.listen.clone())
    }

    async fn take(self: Arc<Self>, sender: watch::Sender<Option<CutResult>>) {
        let result = self.cut().await;
        if let Err(error) = &result {
            tracing::warn!(%error, "a cut failed");
        }
        self.lock().running = None;
        let _ = sender.send(Some(result));
    }

    async fn cut(&self) -> CutResult {
        let started = Instant::now();
        let id = self.writer.allocate().await.map_err(Arc::new)?;
        let deadline = Instant::now() + self.timeout + CUT_GRACE;
        self.ask(id)?;
        loop {
            let progress = self.progress.notified();
            if self.lock().cut.as_ref().is_none_or(Cut::is_done) || timeout_at(deadline, progress).await.is_err() {
                break;
            }
        }
        let finished = self.end().ok_or(CutError::Stopping)?;
        Ok(Arc::new(self.writer.save(finished, started.into_std()).await.map_err(Arc::new)?))
    }

    fn ask(&self, id: u64) -> Result<(), CutError> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let request: Arc<[u8]> = wire::encode_request(Request { snapshot_id: id, timeout_ms }).into();
        let mut state = self.lock();
        state.last_id = id;
        if state.roster.len() == 0 {
            return Err(self.nothing_connected());
        }
        let mut cut = Cut::new(id, now_ns(), timeout_ms);
        for (connection, process) in state.roster.iter() {
            cut.asked(connection, process.name.clone());
            match process.queue.try_send(Arc::clone(&request)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => cut.not_reading(connection),
                Err(mpsc::error::TrySendError::Closed(_)) => cut.left(connection),
            }
        }
        state.cut = Some(cut);
        Ok(())
    }

    fn end(&self) -> Option<Finished> {
        let mut state = self.lock();
        let cut = state.cut.take();
        state.release_keys();
        cut.map(Cut::finish)
    }
}

impl HubState {
    fn release_keys(&mut self) {
        if self.cut.is_none() {
            self.roster.release_keys();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    fn hub(dir: &tempfile::TempDir, timeout: Duration) -> Arc<Hub> {
        let (writer, _) = Writer::start(&dir.path().join("hub.sqlite"), 1 << 30).unwrap();
        Hub::new(writer, timeout, "127.0.0.1:9119".into())
    }

    #[tokio::test]
    async fn a_second_caller_joins_and_gets_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(&dir, Duration::from_secs(60));
        let (id, mut requests) = hub.enter("test".into()).unwrap();
        let first = tokio::spawn({
            let hub = hub.clone();
            async move { hub.jump().await }
        });
        requests.recv().await.unwrap();
        let mut second = std::pin::pin!(hub.jump());
        assert!(poll!(second.as_mut()).is_pending());
        // The first caller hangs up; the cut goes on.
        first.abort();
        hub.answered(id, 1, "svc", 1, Answer::Nothing);
        let second = second.await.unwrap();
        assert_eq!((second.snapshot_id, second.responded), (1, 1));
        assert!(requests.try_recv().is_err(), "asked twice");
    }

    #[tokio::test]
    async fn a_full_queue_is_a_process_that_does_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(&dir, Duration::from_secs(60));
        let (_, requests) = hub.enter("test".into()).unwrap();
        hub.with_roster(|roster| {
            let queue = &roster.iter().next().unwrap().1.queue;
            while queue.try_send(Arc::from(&b"x"[..])).is_ok() {}
        });
        assert_eq!(requests.len(), REQUEST_QUEUE);
        let cut = hub.jump().await.unwrap();
        assert_eq!((cut.timed_out, cut.processes[0].error_text.as_deref()), (1, Some("not reading")));
    }

    #[tokio::test]
    async fn places_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(&dir, Duration::from_secs(60));
        let held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| hub.enter("test".into()).unwrap()).collect();
        assert!(hub.enter("one more".into()).is_none());
        hub.leave(held[0].0);
        assert!(hub.enter("one more".into()).is_some());
    }
}
