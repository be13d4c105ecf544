//! A disk in memory. It keeps durable and other bytes apart, and may crash before any step.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use rpp_p2p::{Hash, Have, Plan, SnapshotSessionId, Update, VerifiedChunk, tree::chunk_range};

use super::{
    super::{
        record::{self, Progress},
        trouble::{RecordError, RemoveError, Trouble},
        worker::{Beside, Disk, GroupSync, MakeDurable, Opening, Place, Synced},
    },
    rng::Rng,
    world::WORLD,
};
use crate::{
    db::DbError,
    store::{Found, StoreError},
};

#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    records: BTreeMap<SnapshotSessionId, record::Session>,
    progress: BTreeMap<SnapshotSessionId, Progress>,
    /// Removals that the database has not taken yet.
    held: BTreeSet<SnapshotSessionId>,
    /// The notes beside the payloads.
    notes: BTreeMap<Hash, record::Session>,
    partials: BTreeMap<Hash, Bytes>,
    stored: BTreeSet<Hash>,
    /// Payloads that have a writer.
    open: BTreeSet<Hash>,
    is_full: bool,
    is_readable: bool,
    /// Steps until the process is killed.
    crash_in: Option<u32>,
    is_crashed: bool,
}

#[derive(Clone, Default)]
struct Bytes {
    all: Vec<u8>,
    durable: usize,
}

/// An open payload.
pub(super) struct SimPartial {
    disk: SimDisk,
    root: Hash,
    chunk_size: u64,
    /// The part of the bytes from an earlier process that is not hashed yet.
    unchecked: Range<u64>,
}

impl SimPartial {
    /// This many bytes from the beginning. The chunks of one peer arrive in order.
    fn first(&self, bytes: u64) -> Have {
        Have::prefix(WORLD.payload(&self.root).bytes.len() as u64, bytes)
    }
}

impl Drop for SimPartial {
    fn drop(&mut self) {
        self.disk.state().open.remove(&self.root);
    }
}

impl DiskState {
    /// Counts a step. Returns whether the process still lives to do it.
    fn step(&mut self) -> bool {
        match &mut self.crash_in {
            Some(0) => self.is_crashed = true,
            Some(left) => *left -= 1,
            None => {}
        }
        !self.is_crashed
    }
}

fn no_room() -> DbError {
    DbError::Write { path: PathBuf::from("sessions"), reason: crate::DbFault::Closed }
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn crash_in(&self, steps: u32) {
        self.state().crash_in = Some(steps);
    }

    pub(super) fn never_crash(&self) {
        self.state().crash_in = None;
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.state().is_crashed
    }

    /// When there is room again, changes that were held back are written.
    pub(super) fn set_full(&self, is_full: bool) {
        let mut state = self.state();
        state.is_full = is_full;
        if !is_full && state.is_readable {
            state.take_removals();
        }
    }

    pub(super) fn set_readable(&self, is_readable: bool) {
        let mut state = self.state();
        state.is_readable = is_readable;
        if is_readable && !state.is_full {
            state.take_removals();
        }
    }

    /// The process was killed. Returns the sessions whose removal was only in memory.
    pub(super) fn restart(&self, rng: &mut Rng) -> BTreeSet<SnapshotSessionId> {
        let mut state = self.state();
        (state.crash_in, state.is_crashed) = (None, false);
        state.open.clear();
        for bytes in state.partials.values_mut() {
            let kept = bytes.durable as u64 + rng.below((bytes.all.len() - bytes.durable) as u64 + 1);
            bytes.all.truncate(if rng.chance(50) { kept as usize } else { bytes.durable });
            bytes.durable = bytes.durable.min(bytes.all.len());
        }
        if rng.chance(5) {
            // The database is damaged, and a new one takes its place.
            state.records.clear();
            state.progress.clear();
        }
        std::mem::take(&mut state.held)
    }

    /// The content that is loaded at the start.
    pub(super) fn load(&self) -> Vec<(record::Session, Progress)> {
        let state = self.state();
        let progress = |session| state.progress.get(&session).copied().unwrap_or_default();
        let with = |record: &record::Session| (record.clone(), progress(record.session));
        state.records.values().map(with).collect()
    }

    /// The sessions that only the notes beside the payloads know.
    pub(super) fn notes(&self) -> Vec<(record::Session, Progress)> {
        self.state().notes.values().map(|record| (record.clone(), Progress::default())).collect()
    }

    pub(super) fn is_noted(&self, session: SnapshotSessionId) -> bool {
        self.state().notes.values().any(|note| note.session == session)
    }

    pub(super) fn assert_gone(&self, session: SnapshotSessionId) {
        let state = self.state();
        let is_noted = state.notes.values().any(|note| note.session == session);
        let is_recorded = state.records.contains_key(&session) && !state.held.contains(&session);
        assert!(!is_noted && !is_recorded, "{session} was removed, and is there: {is_noted}, {is_recorded}");
    }

    /// The record of a session, as a crash at this moment would leave it.
    pub(super) fn recorded(&self, session: SnapshotSessionId) -> Option<record::Session> {
        self.state().records.get(&session).cloned()
    }

    pub(super) fn is_stored(&self, root: &Hash) -> bool {
        self.state().stored.contains(root)
    }

    pub(super) fn is_open(&self, root: &Hash) -> bool {
        self.state().open.contains(root)
    }

    pub(super) fn is_anything_open(&self) -> bool {
        !self.state().open.is_empty()
    }

    /// Checks that an ack of the chunks up to this one is covered by durable data.
    pub(super) fn assert_durable(&self, session: SnapshotSessionId, plan: &Plan, index: u64) {
        let state = self.state();
        let recorded = state.progress.get(&session).map_or(0, |progress| progress.confirmed_chunks);
        assert!(index < recorded, "{session}: ack of chunk {index}, recorded are {recorded}");
        let root = plan.snapshot.checkpoint.state_root;
        let end = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, index).end as usize;
        let durable = state.partials.get(&root).map_or(0, |bytes| bytes.durable);
        assert!(state.stored.contains(&root) || end <= durable, "{session}: ack of chunk {index}, {durable} durable");
    }
}

impl DiskState {
    fn take_removals(&mut self) {
        for session in std::mem::take(&mut self.held) {
            self.records.remove(&session);
            self.progress.remove(&session);
        }
    }
}

impl Disk for SimDisk {
    type Partial = SimPartial;

    fn record(&self, record: &record::Session) -> Result<(), RecordError> {
        let mut state = self.state();
        if state.is_full || !state.is_readable {
            return Err(no_room().into());
        }
        if state.step() {
            state.records.insert(record.session, record.clone());
        }
        Ok(())
    }

    fn record_progress(&self, session: SnapshotSessionId, progress: &Progress) -> Result<(), Trouble> {
        let mut state = self.state();
        if state.is_full || !state.is_readable {
            return Err(no_room().into());
        }
        if state.step() {
            state.progress.insert(session, *progress);
        }
        Ok(())
    }

    fn remove_note(&self, root: &Hash, session: SnapshotSessionId) -> Result<(), RemoveError> {
        let mut state = self.state();
        if state.step() && state.notes.get(root).is_some_and(|note| note.session == session) {
            state.notes.remove(root);
        }
        Ok(())
    }

    fn remove_record(&self, session: SnapshotSessionId) {
        let mut state = self.state();
        if state.step() {
            state.held.insert(session);
            if !state.is_full && state.is_readable {
                state.take_removals();
            }
        }
    }

    fn remove_payload(&self, root: &Hash) -> Result<(), RemoveError> {
        let mut state = self.state();
        assert!(!state.open.contains(root), "a payload is removed under its writer");
        if state.step() {
            state.partials.remove(root);
            state.notes.remove(root);
        }
        Ok(())
    }

    fn demote(&self, _: &Hash) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn open(&self, opening: &Opening, watch: &mut dyn FnMut(Found) -> bool) -> Result<Place<Self::Partial>, Trouble> {
        let root = opening.plan.snapshot.checkpoint.state_root;
        let mut state = self.state();
        if state.stored.contains(&root) {
            return Ok(Place::Stored(PathBuf::from(root.to_string())));
        }
        if state.is_full {
            return Err(Trouble::Full { needed: 2, free: 1 });
        }
        assert!(state.open.insert(root), "two writers of {root}");
        let is_alive = state.step();
        let bytes = state.partials.entry(root).or_default();
        let there = bytes.all.len();
        if is_alive {
            bytes.durable = there;
        }
        drop(state);
        let recorded = opening.before.confirmed_bytes(&opening.plan).min(there as u64);
        let chunk_size = opening.plan.chunk_size;
        let partial = SimPartial { disk: self.clone(), root, chunk_size, unchecked: 0..recorded };
        let there = there as u64;
        for checked in (recorded..there).step_by(10_000) {
            if !watch(Found { checked, there }) {
                return Err(StoreError::Abandoned { root }.into());
            }
        }
        Ok(Place::Partial(partial))
    }

    fn write_note(&self, opening: &Opening) -> Result<(), Trouble> {
        let mut state = self.state();
        if state.step() {
            state.notes.insert(opening.plan.snapshot.checkpoint.state_root, opening.record.clone());
        }
        Ok(())
    }

    fn durable(&self, partial: &SimPartial) -> Have {
        partial.first(self.state().partials.get(&partial.root).map_or(0, |bytes| bytes.durable as u64))
    }

    fn unchecked(&self, partial: &SimPartial) -> Have {
        let mut left = partial.first(partial.unchecked.end);
        left.subtract(&partial.first(partial.unchecked.start));
        left
    }

    fn write(&self, partial: &mut SimPartial, chunk: &VerifiedChunk) -> Result<(), Trouble> {
        let mut state = self.state();
        if state.is_full {
            return Err(Trouble::Full { needed: 2, free: 1 });
        }
        if !state.step() {
            return Ok(());
        }
        let bytes = &mut state.partials.get_mut(&partial.root).expect("it is open").all;
        let at = (chunk.index * partial.chunk_size) as usize;
        assert!(at <= bytes.len(), "a gap before chunk {}", chunk.index);
        bytes.truncate(at);
        bytes.extend_from_slice(&chunk.bytes);
        Ok(())
    }

    fn group(&self, partial: &mut SimPartial) -> Result<MakeDurable, Trouble> {
        let (disk, root) = (self.clone(), partial.root);
        let written = self.state().partials.get(&root).expect("it is open").all.len();
        Ok(Box::new(move || {
            let mut state = disk.state();
            assert!(state.open.contains(&root), "{root} is made durable after it was closed");
            let is_alive = state.step();
            let bytes = state.partials.get_mut(&root).expect("it is open");
            if is_alive {
                bytes.durable = bytes.durable.max(written);
            }
            Ok(Have::prefix(WORLD.payload(&root).bytes.len() as u64, bytes.durable as u64))
        }))
    }

    fn synced(&self, _: &mut SimPartial, _: Have) {}

    fn recheck(&self, partial: &mut SimPartial) -> Result<Vec<u64>, Trouble> {
        // Hashing proceeds in whole groups.
        partial.unchecked.start = (partial.unchecked.start + 32 * 1024).min(partial.unchecked.end);
        Ok(Vec::new())
    }

    fn repair(&self, _: &mut SimPartial, _: &[VerifiedChunk]) -> Result<(), Trouble> {
        unreachable!("nothing is damaged")
    }

    fn place(&self, partial: SimPartial, _: &Plan, _: &[Update]) -> Result<PathBuf, Trouble> {
        let root = partial.root;
        assert!(partial.unchecked.is_empty(), "it is not hashed yet");
        let mut state = self.state();
        if state.step() {
            let bytes = state.partials.remove(&root).expect("it is open").all;
            assert!(bytes == WORLD.payload(&root).bytes, "other bytes than were published");
            state.notes.remove(&root);
            state.stored.insert(root);
        }
        drop(state);
        Ok(PathBuf::from(root.to_string()))
    }
}

/// Makes a group durable only after two more jobs, unless there are none or somebody waits for it.
#[derive(Default)]
pub(super) struct SimBeside {
    sync: Option<GroupSync>,
    polls: u32,
}

impl Beside for SimBeside {
    fn start(&mut self, sync: GroupSync) {
        assert!(self.sync.is_none(), "two groups at once");
        (self.sync, self.polls) = (Some(sync), 0);
    }

    fn poll(&mut self, is_idle: bool) -> Option<Synced> {
        self.polls += 1;
        self.sync.take_if(|_| is_idle || self.polls > 2).map(|sync| sync())
    }

    fn wait(&mut self) -> Synced {
        self.sync.take().expect("a group was begun")()
    }
}
