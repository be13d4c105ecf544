//! The one writer, on a thread of its own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{Saved, StoreError, retention::Retention, save, writable::WritableDb};
use crate::collector::{
    cut::Finished,
    events::{Event, Throttle},
};

/// Commands queued for the writer; further events are counted and dropped.
const QUEUE: usize = 1024;
/// How often old events are deleted.
const TRIM_INTERVAL: Duration = Duration::from_secs(3600);

/// The space needed to record the start of a cut.
const SMALL_BYTES: u64 = 64 * 1024;
/// An estimate of the space of an ingest event, rather too high than too low.
const EVENT_BYTES: u64 = 1024;
/// If the log cannot be emptied and exceeds this size, a line in the log says so once in a while.
const PINNED_BYTES: u64 = 64 * 1024 * 1024;
const PINNED_INTERVAL: Duration = Duration::from_secs(600);

enum Command {
    Allocate(oneshot::Sender<Result<u64, StoreError>>),
    Save(Box<Finished>, Instant, oneshot::Sender<Result<Saved, StoreError>>),
    Event(Event),
}

/// Cheap to clone. The writer ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    throttle: Arc<Mutex<Throttle>>,
}

impl Writer {
    /// Opens the database and starts the thread; join the thread after the last clone is dropped.
    pub(crate) fn start(path: &Path, max_bytes: u64) -> Result<(Self, thread::JoinHandle<()>), StoreError> {
        let named = |error: StoreError| error.with_holder(path);
        let db = WritableDb::open(path, max_bytes).map_err(named)?;
        let retention = Retention::new(path, max_bytes);
        retention.trim(db.connection()).map_err(named)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let now = Instant::now();
        let worker = Worker { db, path: path.into(), retention, trimmed: now, pinned_said: None };
        let thread = thread::Builder::new()
            .name("rpp-fleet-db".into())
            .spawn(move || worker.run(queue))
            .map_err(|_| StoreError::Closed)?;
        Ok((Self { commands, throttle: Arc::new(Mutex::new(Throttle::new())) }, thread))
    }

    /// Allocates the id of the next cut; it is durable before it is used.
    pub(crate) async fn allocate(&self) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Allocate(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Stores a cut. `started` is when its first caller asked.
    pub(crate) async fn save(&self, finished: Finished, started: Instant) -> Result<Saved, StoreError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Save(Box::new(finished), started, reply);
        self.commands.send(command).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Records an event, unless too many arrive.
    pub(crate) fn event(&self, event: Event) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if !throttle.admit(Instant::now()) {
            return;
        }
        if let Some(dropped) = throttle.take_dropped() {
            let _ = self.commands.try_send(Command::Event(dropped));
        }
        tracing::debug!(kind = event.kind.as_str(), detail = event.detail, "ingest event");
        if self.commands.try_send(Command::Event(event)).is_err() {
            throttle.lost();
        }
    }
}

struct Worker {
    db: WritableDb,
    path: PathBuf,
    retention: Retention,
    trimmed: Instant,
    /// When the log last said that it cannot be emptied.
    pinned_said: Option<Instant>,
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            let mut events = Vec::new();
            self.execute(command, &mut events);
            // Takes everything else that is queued, so that many events are one transaction.
            while let Ok(command) = queue.try_recv() {
                self.execute(command, &mut events);
            }
            self.write_events(&events);
            self.checkpoint();
            if self.trimmed.elapsed() >= TRIM_INTERVAL {
                self.trim();
            }
        }
        self.checkpoint();
    }

    /// Moves the content of the write-ahead log to the file, as far as no reader needs the old pages.
    fn checkpoint(&mut self) {
        match self.retention.empty_log(self.db.connection()) {
            Ok(true) => {}
            Ok(false) if self.retention.log_bytes() < PINNED_BYTES => {}
            Ok(false) => {
                if self.pinned_said.is_none_or(|said| said.elapsed() >= PINNED_INTERVAL) {
                    tracing::warn!("{}", self.retention.pinned());
                    self.pinned_said = Some(Instant::now());
                }
            }
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied"),
        }
    }

    fn execute(&mut self, command: Command, events: &mut Vec<Event>) {
        match command {
            Command::Event(event) => events.push(event),
            Command::Allocate(reply) => {
                let id = self.allocate();
                let _ = reply.send(self.recovered(id));
            }
            Command::Save(finished, started, reply) => {
                let saved = self.save(&finished, started, events);
                // What was noted about a cut must be stored before its caller gets the answer.
                self.write_events(&std::mem::take(events));
                let _ = reply.send(self.recovered(saved));
                drop(finished);
                self.trim();
            }
        }
    }

    fn allocate(&mut self) -> Result<u64, StoreError> {
        // A database that accepts nothing is reported before any process is asked.
        let db = self.db.current()?;
        self.retention.refuse_if_pinned(db, SMALL_BYTES)?;
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let id: i64 = transaction.query_row(
            "UPDATE next_snapshot SET id = max(id, (SELECT coalesce(max(snapshot_id), 0) FROM snapshots) + 1) + 1 \
             RETURNING id - 1",
            [],
            |row| row.get(0),
        )?;
        transaction.commit()?;
        self.db.allocated(id);
        Ok(id.unsigned_abs())
    }

    fn save(&mut self, finished: &Finished, started: Instant, events: &mut Vec<Event>) -> Result<Saved, StoreError> {
        const MEMORY_RETRIES: u32 = 3;
        let db = self.db.current()?;
        self.retention.make_room(db, save::estimate(finished))?;
        let mut attempt = 0;
        let (mut saved, notes) = loop {
            match save::save(db, finished) {
                // Queries use SQLite's memory; they end within a second.
                Err(error) if error.is_memory() && attempt < MEMORY_RETRIES => thread::sleep(Duration::from_secs(1)),
                result => break result?,
            }
            attempt += 1;
        };
        events.extend(notes);
        saved.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(saved)
    }

    fn trim(&mut self) {
        self.trimmed = Instant::now();
        if let Err(error) = self.retention.trim(self.db.connection()) {
            tracing::warn!(%error, "old cuts and events could not be forgotten");
        }
    }

    fn write_events(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let stored = self.db.current().and_then(|db| {
            self.retention.refuse_if_pinned(db, events.len() as u64 * EVENT_BYTES)?;
            insert_events(db, events)
        });
        if let Err(error) = stored {
            tracing::warn!(%error, lost = events.len(), "ingest events could not be stored");
        }
    }

    /// After a disk error the connection may be unusable, but a new one may work.
    fn recovered<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::is_io)
            && let Err(error) = self.db.reopen()
        {
            tracing::warn!(%error, "the database could not be opened again");
        }
        result.map_err(|error| error.with_holder(&self.path))
    }
}

fn insert_events(db: &mut Connection, events: &[Event]) -> Result<(), StoreError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO ingest_events (event_at_ns, snapshot_id, process, pid, proc_key, event_kind, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for event in events {
        let name = event.name.as_ref();
        insert.execute(params![
            event.at_ns,
            event.snapshot_id.map(|id| i64::try_from(id).unwrap_or(i64::MAX)),
            name.map(|name| &name.process),
            name.and_then(|name| name.pid).map(|pid| i64::try_from(pid).unwrap_or(i64::MAX)),
            name.map(|name| &name.proc_key),
            event.kind.as_str(),
            event.detail,
        ])?;
    }
    drop(insert);
    transaction.commit()?;
    Ok(())
}
