//! A provider's record of each session: its plan, and what the consumer has acknowledged.
//!
//! Pure: the caller persists a [`Record`] before it puts it here, so every answer from here is based on records on the
//! disk.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use super::{Resumed, SessionKey, Source};
use crate::{
    error::{Full, Invalid, PipelineError, ResumeReason},
    limits::{MAX_RECORDS, MAX_RECORDS_PER_PEER, RECORD_RETENTION, SLOT_IDLE},
    messages::{ArtefactKind, Plan},
    types::{Hash, SnapshotSessionId},
};

/// How many records are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordLimits {
    /// In all.
    pub total: usize,
    /// Of one peer.
    pub per_peer: usize,
    /// A record that was not used for this long is removed.
    pub retention: Duration,
    /// A record that was used within this time has a slot and is not evicted.
    pub idle: Duration,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { total: MAX_RECORDS, per_peer: MAX_RECORDS_PER_PEER, retention: RECORD_RETENTION, idle: SLOT_IDLE }
    }
}

impl RecordLimits {
    /// Sets the most records in all.
    #[must_use]
    pub fn with_total(mut self, total: usize) -> Self {
        self.total = total;
        self
    }

    /// Sets the most records of one peer.
    #[must_use]
    pub fn with_per_peer(mut self, per_peer: usize) -> Self {
        self.per_peer = per_peer;
        self
    }

    /// Sets how long an unused record is kept.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how long after its last use a record is safe from eviction.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

/// A provider's record of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The plan of the session, including its chunk size.
    pub plan: Arc<Plan>,
    /// Everything up to this chunk is durable at the consumer.
    pub confirmed_chunk: Option<u64>,
    /// Everything up to this update is durable at the consumer.
    pub confirmed_update: Option<u64>,
    /// When the session was opened, seconds since 1970.
    pub opened: u64,
    /// When it was used last, seconds since 1970.
    pub last_used: u64,
    /// The source of its consumer when it opened the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

impl Record {
    /// A session that has acknowledged nothing.
    #[must_use]
    pub fn new(plan: Arc<Plan>, now: SystemTime) -> Self {
        let now = seconds(now);
        Self { plan, confirmed_chunk: None, confirmed_update: None, opened: now, last_used: now, source: None }
    }

    /// Sets the source.
    #[must_use]
    pub fn with_source(mut self, source: Option<Source>) -> Self {
        self.source = source;
        self
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        next(self.confirmed_chunk) == self.plan.total_chunks && next(self.confirmed_update) == self.plan.total_updates
    }
}

/// The records of a provider.
#[derive(Debug, Default)]
pub struct Records {
    limits: RecordLimits,
    records: HashMap<SessionKey, Record>,
}

impl Records {
    /// No records.
    #[must_use]
    pub fn new(limits: RecordLimits) -> Self {
        Self { limits, records: HashMap::new() }
    }

    /// Puts a record that is on the disk. At start-up: all that were found. Later: one that [`Self::acknowledged`] or
    /// [`Record::new`] made, after it was persisted.
    pub fn put(&mut self, peer: PeerId, session: SnapshotSessionId, record: Record) {
        self.records.insert((peer, session), record);
    }

    /// Makes space for one more record of this peer, and returns the record that is evicted. The caller removes it from
    /// the disk as well, and calls [`Self::expire`] before. Finished ones are evicted first, then idle ones, oldest
    /// first. One with acknowledged chunks is never evicted for a new one, which has none, unless it is finished.
    ///
    /// As with slots, a source that holds as many records as are free evicts one of its own. So a client that
    /// acknowledges anything, with keys that cost nothing, leaves space for others.
    ///
    /// # Errors
    /// [`PipelineError::Busy`]: none may be evicted.
    pub fn make_room(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        source: Option<Source>,
        now: SystemTime,
    ) -> Result<Option<SessionKey>, PipelineError> {
        if self.records.contains_key(&(peer, session)) {
            return Ok(None);
        }
        let now = seconds(now);
        let of_peer = self.records.keys().filter(|(owner, _)| *owner == peer).count();
        let from_there = |record: &Record| source.is_some() && record.source == source;
        let of_source = self.records.values().filter(|record| from_there(record)).count();
        let free = self.limits.total.saturating_sub(self.records.len());
        let (evicted, whose) = if of_peer >= self.limits.per_peer {
            (self.evict(now, |(owner, _), _| *owner == peer), Full::PeerRecords(of_peer))
        } else if of_source > 0 && of_source >= free {
            (self.evict(now, |_, record| from_there(record)), Full::AddressRecords(of_source))
        } else if free == 0 {
            (self.evict(now, |_, _| true), Full::Records(self.records.len()))
        } else {
            return Ok(None);
        };
        evicted.map(Some).ok_or_else(|| whose.into())
    }

    /// Removes the records that were not used for the retention time, and returns their keys.
    pub fn expire(&mut self, now: SystemTime) -> Vec<SessionKey> {
        let (now, retention) = (seconds(now), self.limits.retention.as_secs());
        self.records
            .extract_if(|_, record| now.saturating_sub(record.last_used) >= retention)
            .map(|(key, _)| key)
            .collect()
    }

    fn evict(&mut self, now: u64, candidate: impl Fn(&SessionKey, &Record) -> bool) -> Option<SessionKey> {
        let idle = self.limits.idle.as_secs();
        let key = self
            .records
            .iter()
            .filter(|(key, record)| {
                let is_idle = now.saturating_sub(record.last_used) >= idle && record.confirmed_chunk.is_none();
                candidate(key, record) && (record.is_finished() || is_idle)
            })
            .min_by_key(|(key, record)| (!record.is_finished(), record.last_used, **key))
            .map(|(key, _)| *key)?;
        self.records.remove(&key);
        Some(key)
    }

    /// A session of this peer.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`]: this peer has not opened it.
    pub fn get(&self, peer: PeerId, session: SnapshotSessionId) -> Result<&Record, PipelineError> {
        self.records.get(&(peer, session)).ok_or_else(|| PipelineError::unknown_session(session))
    }

    /// The plan of a session, if it has an artefact with this index. This counts as use.
    ///
    /// # Errors
    /// Unknown session, or an index beyond the totals.
    pub fn serve(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
        now: SystemTime,
    ) -> Result<Arc<Plan>, PipelineError> {
        let record = self.touch(peer, session, now)?;
        let total = total(&record.plan, kind);
        if index >= total {
            return Err(Invalid::BeyondPlan { kind, index, total }.into());
        }
        Ok(Arc::clone(&record.plan))
    }

    /// Whether a session may continue at these offsets. Moves no marker.
    ///
    /// # Errors
    /// Unknown session, another plan, offsets behind what was acknowledged or beyond the totals.
    pub fn resume(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan_id: Hash,
        chunk_index: u64,
        update_index: u64,
        now: SystemTime,
    ) -> Result<Resumed, PipelineError> {
        let record = self.touch(peer, session, now)?;
        if record.plan.plan_id != plan_id {
            return Err(PipelineError::PlanChanged { current: record.plan.plan_id, asked: plan_id });
        }
        check_offset(ArtefactKind::Chunk, chunk_index, record.confirmed_chunk, record.plan.total_chunks)?;
        check_offset(
            ArtefactKind::LightClientUpdate,
            update_index,
            record.confirmed_update,
            record.plan.total_updates,
        )?;
        Ok(Resumed {
            plan_id,
            chunk_index,
            update_index,
            chunk_size: record.plan.chunk_size,
            payload_bytes: record.plan.snapshot.checkpoint.payload_bytes,
            total_updates: record.plan.total_updates,
        })
    }

    /// The record after an ack. The caller persists it, then [`Self::put`]s it, then answers.
    ///
    /// # Errors
    /// Unknown session, an index beyond the last or below the latest.
    pub fn acknowledged(
        &self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
        now: SystemTime,
    ) -> Result<Record, PipelineError> {
        let mut record = self.get(peer, session)?.clone();
        let total = total(&record.plan, kind);
        let latest = match kind {
            ArtefactKind::Plan => None,
            ArtefactKind::Chunk => record.confirmed_chunk,
            ArtefactKind::LightClientUpdate => record.confirmed_update,
        };
        if index >= total {
            return Err(Invalid::AckBeyondPlan { kind, index, total }.into());
        }
        if let Some(latest) = latest.filter(|latest| index < *latest) {
            return Err(Invalid::AckBelowLatest { kind, index, latest }.into());
        }
        match kind {
            ArtefactKind::Plan => {}
            ArtefactKind::Chunk => record.confirmed_chunk = Some(index),
            ArtefactKind::LightClientUpdate => record.confirmed_update = Some(index),
        }
        record.last_used = record.last_used.max(seconds(now));
        Ok(record)
    }

    /// Removes a session of this peer; returns whether there was one.
    pub fn remove(&mut self, peer: PeerId, session: SnapshotSessionId) -> bool {
        self.records.remove(&(peer, session)).is_some()
    }

    /// All records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Record)> {
        self.records.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn touch(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        now: SystemTime,
    ) -> Result<&mut Record, PipelineError> {
        let record = self.records.get_mut(&(peer, session)).ok_or_else(|| PipelineError::unknown_session(session))?;
        record.last_used = record.last_used.max(seconds(now));
        Ok(record)
    }
}

/// confirmed + 1 (0 if none) <= index <= total.
fn check_offset(kind: ArtefactKind, asked: u64, confirmed: Option<u64>, total: u64) -> Result<(), PipelineError> {
    let expected = next(confirmed);
    let reason = if asked < expected {
        ResumeReason::ResumeRegressed { kind, asked, expected }
    } else if asked > total {
        ResumeReason::ResumeOutOfBounds { kind, asked, total }
    } else {
        return Ok(());
    };
    Err(PipelineError::SnapshotVerification { reason })
}

fn total(plan: &Plan, kind: ArtefactKind) -> u64 {
    match kind {
        ArtefactKind::Plan => 1,
        ArtefactKind::Chunk => plan.total_chunks,
        ArtefactKind::LightClientUpdate => plan.total_updates,
    }
}

fn next(confirmed: Option<u64>) -> u64 {
    confirmed.map_or(0, |index| index.saturating_add(1))
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
