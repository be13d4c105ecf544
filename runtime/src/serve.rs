//! Serves stored payloads: the provider's side of every session.
//!
//! What a session was promised stands in its record ([`Records`]). A [`Ledger`] makes the record durable before it is
//! used for an answer. While a session is active, it also keeps its payload open. So it is not disturbed if the payload
//! is removed, or if a newer snapshot appears.
//!
//! A payload that does not match its root is no longer offered, before any byte of it is sent.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use libp2p::PeerId;
use rpp_p2p::{
    Acknowledged, ArtefactKind, ChunkData, Hash, PipelineError, Plan, PlanOffer, PlanRequest, Resumed,
    SnapshotProvider, SnapshotSessionId, Update,
    error::{Full, Invalid, Unavailable},
    limits::SLOT_IDLE,
    plan::ChunkBounds,
    provider::{Record, RecordLimits, Records, SessionKey, Source},
};

use crate::store::{Offer, Payload, Store, StoreError, Stored};

/// Why a ledger failed.
pub type LedgerError = Box<dyn std::error::Error + Send + Sync>;

/// The storage of records. Calls block; what `save` and `remove` did survives a crash once they have returned.
pub trait Ledger: Send + Sync + 'static {
    /// All records, at start-up.
    ///
    /// # Errors
    /// The ledger's own.
    fn load_all(&self) -> Result<Vec<(PeerId, SnapshotSessionId, Record)>, LedgerError>;

    /// Whether [`Self::load_all`] returns everything. A disk that cannot be read at first is read later: see
    /// [`Provider::take_up_records`].
    fn is_loaded(&self) -> bool {
        true
    }

    /// Stores a record; replaces an earlier one of the session.
    ///
    /// # Errors
    /// The ledger's own.
    fn save(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError>;

    /// Stores a record whose loss costs little: its consumer only asks for its plan again. A record that cannot be
    /// written now is written later.
    ///
    /// # Errors
    /// It is not written yet.
    fn keep(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        self.save(peer, session, record)
    }

    /// Removes a record; if it cannot be removed now, it is removed later.
    ///
    /// # Errors
    /// It is not removed yet.
    fn remove(&self, peer: PeerId, session: SnapshotSessionId) -> Result<(), LedgerError>;
}

/// Bounds of a provider.
#[derive(Clone, Copy, Debug)]
pub struct ProviderConfig {
    chunks: ChunkBounds,
    records: RecordLimits,
    idle: Duration,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { chunks: ChunkBounds::default(), records: RecordLimits::default(), idle: SLOT_IDLE }
    }
}

impl ProviderConfig {
    /// Sets the smallest and largest chunk size.
    #[must_use]
    pub fn with_chunk_sizes(mut self, min: u64, max: u64) -> Self {
        self.chunks = ChunkBounds { min, max };
        self
    }

    /// Sets how many records are kept, and for how long.
    #[must_use]
    pub fn with_records(mut self, limits: RecordLimits) -> Self {
        self.records = limits;
        self
    }

    /// Sets the time without a request after which a session no longer keeps its payload open.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

/// Serves a [`Store`].
pub struct Provider {
    store: Store,
    ledger: Arc<dyn Ledger>,
    config: ProviderConfig,
    records: Mutex<Records>,
    /// Whether everything of the ledger is in `records`.
    loaded: AtomicBool,
    active: Mutex<HashMap<SessionKey, Active>>,
    /// When the store was last searched for an unknown offer.
    looked: Mutex<Option<Instant>>,
}

/// The least time between two such searches, because a stranger may ask for anything at any rate.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often another offer is looked for if the manifest of the one found turns out to be damaged.
const FIND_TRIES: usize = 4;

/// The payload that an active session keeps open.
#[derive(Clone)]
struct Active {
    plan_id: Hash,
    offer: Arc<Offer>,
    payload: Arc<Payload>,
    last_used: Instant,
}

impl Provider {
    /// Loads the records and starts to serve.
    ///
    /// # Errors
    /// The ledger's own.
    pub fn new(store: Store, ledger: Arc<dyn Ledger>, config: ProviderConfig) -> Result<Self, LedgerError> {
        let mut records = Records::new(config.records);
        for (peer, session, record) in ledger.load_all()? {
            records.put(peer, session, record);
        }
        Ok(Self {
            store,
            loaded: AtomicBool::new(ledger.is_loaded()),
            config,
            records: Mutex::new(records),
            ledger,
            active: Mutex::default(),
            looked: Mutex::default(),
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The number of sessions that keep a payload open.
    #[must_use]
    pub fn active_sessions(&self) -> usize {
        self.active().len()
    }

    /// The number of records.
    #[must_use]
    pub fn recorded_sessions(&self) -> usize {
        self.records().len()
    }

    /// Loads the ledger's records, if it could not be read when this was made. Sessions that were opened meanwhile
    /// stay.
    ///
    /// # Errors
    /// The ledger's own.
    pub fn take_up_records(&self) -> Result<(), LedgerError> {
        if self.loaded.load(Ordering::SeqCst) || !self.ledger.is_loaded() {
            return Ok(());
        }
        let known = self.ledger.load_all()?;
        let mut records = self.records();
        for (peer, session, record) in known {
            if records.get(peer, session).is_err() {
                records.put(peer, session, record);
            }
        }
        drop(records);
        self.loaded.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// While not all records are loaded, an unknown session may be one of the missing ones.
    fn known<T>(&self, found: Result<T, PipelineError>) -> Result<T, PipelineError> {
        match found {
            Err(PipelineError::NotFound(_)) if !self.loaded.load(Ordering::SeqCst) => Err(Full::UnreadRecords.into()),
            other => other,
        }
    }

    /// Closes the payloads of sessions that were idle for too long. Call it regularly; each new session also does it.
    pub fn release_idle(&self) {
        let (now, idle) = (Instant::now(), self.config.idle);
        self.active().retain(|_, active| now.saturating_duration_since(active.last_used) < idle);
    }

    /// The offer that matches a request. Another process may have published it a moment ago.
    fn offered(&self, request: &PlanRequest) -> Option<(Arc<Stored>, Arc<Offer>)> {
        let find = || self.sound(|| self.store.best_offer(request.wishes.root, request.wishes.height));
        find().or_else(|| {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
                return None;
            }
            *looked = Some(Instant::now());
            match self.store.look() {
                Ok(()) => find(),
                Err(error) => {
                    tracing::warn!("the catalog could not be read again: {error}");
                    None
                }
            }
        })
    }

    /// The first offer that is found and holds. An offer that does not hold is removed from the catalog, and the next
    /// one is looked for.
    fn sound(&self, find: impl Fn() -> Option<(Arc<Stored>, Arc<Offer>)>) -> Option<(Arc<Stored>, Arc<Offer>)> {
        (0..FIND_TRIES).find_map(|_| {
            let found = find();
            match &found {
                Some((_, offer)) if !self.store.is_sound(offer) => None,
                _ => Some(found),
            }
        })?
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<SessionKey, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes space for a new record, on the disk as well.
    fn make_room(&self, peer: PeerId, session: SnapshotSessionId, source: Option<Source>) -> Result<(), PipelineError> {
        let now = SystemTime::now();
        let mut records = self.records();
        let mut gone = records.expire(now);
        let made = records.make_room(peer, session, source, now);
        drop(records);
        gone.extend(made.as_ref().ok().copied().flatten());
        for (peer, session) in gone {
            self.active().remove(&(peer, session));
            self.forget(peer, session);
        }
        made.map(drop)
    }

    fn forget(&self, peer: PeerId, session: SnapshotSessionId) {
        if let Err(error) = self.ledger.remove(peer, session) {
            tracing::debug!(%peer, %session, %error, "the record of a session that is over is removed later");
        }
    }

    /// The session's payload; opened if it is not open.
    fn activate(&self, key: SessionKey, plan: &Plan) -> Result<Active, PipelineError> {
        if let Some(active) = self.active().get_mut(&key).filter(|active| active.plan_id == plan.plan_id) {
            active.last_used = Instant::now();
            return Ok(active.clone());
        }
        let (stored, offer) = self.sound(|| self.store.resolve(plan)).ok_or_else(|| gone(key.1))?;
        let payload = stored.open().map_err(PipelineError::internal)?;
        Ok(self.hold(key, Active { plan_id: plan.plan_id, offer, payload, last_used: Instant::now() }))
    }

    fn hold(&self, key: SessionKey, active: Active) -> Active {
        self.release_idle();
        self.active().insert(key, active.clone());
        active
    }
}

impl SnapshotProvider for Provider {
    fn plan(&self, peer: PeerId, request: &PlanRequest) -> Result<PlanOffer, PipelineError> {
        let (stored, offer) = self.offered(request).ok_or(Unavailable::Snapshot(request.wishes))?;
        let chunk_size = request.wishes.fit_chunk_size(self.config.chunks)?;
        let plan = offer.plan(chunk_size).map_err(PipelineError::internal)?;
        let payload = stored.open().map_err(PipelineError::internal)?;

        self.make_room(peer, request.session, request.source)?;
        let record = Record::new(Arc::new(plan.clone()), SystemTime::now()).with_source(request.source);
        // If the disk accepts no writes, this node still serves what it has.
        if let Err(error) = self.ledger.keep(peer, request.session, &record) {
            tracing::debug!(%peer, session = %request.session, %error, "a session is served whose record is written later");
        }
        self.records().put(peer, request.session, record);
        let last_used = Instant::now();
        self.hold((peer, request.session), Active { plan_id: plan.plan_id, offer, payload, last_used });
        let ChunkBounds { min, max } = self.config.chunks;
        Ok(PlanOffer { plan, min_chunk_size: min, max_chunk_size: max })
    }

    fn chunk(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<ChunkData, PipelineError> {
        let plan = self.records().serve(peer, session, ArtefactKind::Chunk, index, SystemTime::now());
        let plan = self.known(plan)?;
        let active = self.activate((peer, session), &plan)?;
        match active.payload.read_chunk(index, plan.chunk_size) {
            Ok((bytes, proof)) => Ok(ChunkData { bytes, proof }),
            Err(StoreError::Damaged { reason, .. }) => {
                let root = active.payload.root();
                self.store.condemn(&root, &reason);
                self.active().retain(|_, active| active.payload.root() != root);
                Err(gone(session))
            }
            Err(error) => Err(PipelineError::internal(error)),
        }
    }

    fn update(&self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Result<Update, PipelineError> {
        let plan = self.records().serve(peer, session, ArtefactKind::LightClientUpdate, index, SystemTime::now());
        let plan = self.known(plan)?;
        let active = self.activate((peer, session), &plan)?;
        active.offer.update(index).ok_or_else(|| {
            Invalid::BeyondPlan { kind: ArtefactKind::LightClientUpdate, index, total: plan.total_updates }.into()
        })
    }

    fn resume_session(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
    ) -> Result<Resumed, PipelineError> {
        let mut records = self.records();
        let resumed = records.resume(peer, session, plan_id, chunk_index, update_index, SystemTime::now());
        let resumed = self.known(resumed)?;
        let plan = records.get(peer, session)?.plan.clone();
        drop(records);
        // It is better to fail now than at the first chunk.
        self.activate((peer, session), &plan)?;
        Ok(resumed)
    }

    fn acknowledge(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
    ) -> Result<Acknowledged, PipelineError> {
        let record = self.records().acknowledged(peer, session, kind, index, SystemTime::now());
        let record = self.known(record)?;
        self.ledger.save(peer, session, &record).map_err(|error| {
            tracing::debug!(%peer, %session, %error, "an acknowledgement could not be recorded");
            Full::Unrecorded
        })?;
        let finished = record.is_finished();
        let mut records = self.records();
        if records.get(peer, session).is_err() {
            // It was cancelled meanwhile and stays so.
            drop(records);
            self.forget(peer, session);
            return Err(PipelineError::Cancelled);
        }
        records.put(peer, session, record);
        drop(records);
        if finished {
            self.active().remove(&(peer, session));
        }
        Ok(Acknowledged { finished })
    }

    fn cancel(&self, peer: PeerId, session: SnapshotSessionId) {
        self.active().remove(&(peer, session));
        if self.records().remove(peer, session) {
            self.forget(peer, session);
        }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("config", &self.config).finish_non_exhaustive()
    }
}

fn gone(session: SnapshotSessionId) -> PipelineError {
    Unavailable::Gone(session).into()
}

#[cfg(test)]
mod tests;
