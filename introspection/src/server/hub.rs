//! Makes states for all clients: one at a time, at the smallest interval of the connected ones, none without clients.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::machine::Effective;
use crate::{
    envelope,
    limits::SESSION_EVENT_SPACING_MS,
    proto::{self, server_message::Payload},
    registry::{Registry, without_older},
};

/// One state, as it was made.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    made: Instant,
    state: proto::State,
    /// The longest retention when the state was made.
    longest_ms: u64,
    /// Encoded for each retention. There are as many as clients have different ones, usually one.
    encoded: Mutex<Vec<(u64, Bytes)>>,
}

impl Generation {
    /// The WebSocket message for a client with this retention.
    pub(super) fn frame(&self, retention_ms: u64) -> Bytes {
        let retention_ms = retention_ms.min(self.longest_ms);
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = encoded.iter().find(|(known, _)| *known == retention_ms) {
            return frame.clone();
        }
        let state = if retention_ms == self.longest_ms {
            self.state.clone()
        } else {
            without_older(&self.state, self.state.instant_ts.saturating_sub(retention_ms))
        };
        let frame = envelope::encode(Payload::State(state));
        encoded.push((retention_ms, frame.clone()));
        frame
    }
}

/// State that all clients of a server share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) registry: Registry,
    /// The runtime as a WebSocket message.
    pub(super) runtime: Bytes,
    clients: Mutex<HashMap<u64, Effective>>,
    next_client: AtomicU64,
    changed: Notify,
    newest: watch::Sender<Option<Arc<Generation>>>,
    /// Locked while a state is made; contains the number of the last one.
    making: tokio::sync::Mutex<u64>,
}

impl Hub {
    pub(super) fn new(registry: Registry) -> Arc<Self> {
        let runtime = envelope::encode(Payload::Runtime(registry.runtime().clone()));
        Arc::new(Self {
            registry,
            runtime,
            clients: Mutex::default(),
            next_client: AtomicU64::new(0),
            changed: Notify::new(),
            newest: watch::channel(None).0,
            making: tokio::sync::Mutex::new(0),
        })
    }

    /// Adds a client. It counts as long as the returned value lives.
    pub(super) fn join(self: &Arc<Self>, config: Effective) -> Seat {
        let id = self.next_client.fetch_add(1, Relaxed);
        self.with_clients(|clients| {
            clients.insert(id, config);
        });
        Seat { hub: Arc::clone(self), id, config }
    }

    pub(super) fn newest(&self) -> watch::Receiver<Option<Arc<Generation>>> {
        self.newest.subscribe()
    }

    /// Makes a state, unless there is one that is younger than `max_age`.
    pub(super) async fn refresh(&self, max_age: Duration) {
        let mut last = self.making.lock().await;
        if self.newest.borrow().as_ref().is_some_and(|newest| newest.made.elapsed() < max_age) {
            return;
        }
        let number = *last + 1;
        let (registry, retentions) = (self.registry.clone(), self.retentions());
        let made = tokio::task::spawn_blocking(move || make(&registry, number, &retentions)).await;
        match made {
            Ok(generation) => {
                *last = number;
                // All clients may have left; then the state is not kept.
                if !self.clients().is_empty() {
                    self.newest.send_replace(Some(Arc::new(generation)));
                }
            }
            Err(error) => tracing::error!(%error, "a state could not be made"),
        }
    }

    /// Makes states and sends held-back events for as long as it is polled.
    pub(super) async fn run(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(SESSION_EVENT_SPACING_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let Some(interval) = self.interval() else {
                self.changed.notified().await;
                continue;
            };
            let made = self.newest.borrow().as_ref().map(|newest| newest.made);
            // The first state is made for the first client, when it connects.
            let due = made.unwrap_or_else(Instant::now) + interval;
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(due) => self.refresh(interval).await,
                _ = tick.tick() => self.registry.handle_timeout(),
            }
        }
    }

    fn interval(&self) -> Option<Duration> {
        self.clients().values().map(|config| config.interval_ms).min().map(Duration::from_millis)
    }

    /// All retentions that clients have, the longest first.
    fn retentions(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.clients().values().map(|config| config.retention_ms).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();
        all
    }

    fn with_clients(&self, change: impl FnOnce(&mut HashMap<u64, Effective>)) {
        let mut clients = self.clients();
        change(&mut clients);
        let longest_ms = clients.values().map(|config| config.retention_ms).max().unwrap_or(0);
        self.registry.set_viewers(clients.len(), longest_ms);
        if clients.is_empty() {
            self.newest.send_replace(None);
        }
        self.changed.notify_one();
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Effective>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(registry: &Registry, number: u64, retentions: &[u64]) -> Generation {
    registry.expire();
    let generation = Generation {
        number,
        made: Instant::now(),
        state: registry.state(),
        longest_ms: retentions.first().copied().unwrap_or(0),
        encoded: Mutex::default(),
    };
    for retention_ms in retentions {
        generation.frame(*retention_ms);
    }
    generation
}

/// A client's membership of the hub.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    id: u64,
    config: Effective,
}

impl Seat {
    /// Sets the client's configuration; call it whenever that may have changed.
    pub(super) fn configure(&mut self, config: Effective) {
        if self.config != config {
            self.config = config;
            self.hub.with_clients(|clients| {
                clients.insert(self.id, config);
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.with_clients(|clients| {
            clients.remove(&self.id);
        });
    }
}
