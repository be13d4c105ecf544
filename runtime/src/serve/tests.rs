use std::collections::BTreeMap;

use rpp_p2p::{ErrorCode, PlanWishes, tree::verify_chunk};

use super::*;
use crate::publish::fake::{bytes, publish_bytes};

/// Keeps records in memory, and can be made to fail.
#[derive(Default)]
struct Memory {
    records: Mutex<BTreeMap<SessionKey, Record>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Memory {
    fn check(&self) -> Result<(), LedgerError> {
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) { Err("broken".into()) } else { Ok(()) }
    }

    fn get(&self, key: SessionKey) -> Option<Record> {
        self.records.lock().unwrap().get(&key).cloned()
    }
}

impl Ledger for Memory {
    fn load_all(&self) -> Result<Vec<(PeerId, SnapshotSessionId, Record)>, LedgerError> {
        Ok(self.records.lock().unwrap().iter().map(|(key, record)| (key.0, key.1, record.clone())).collect())
    }

    fn save(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        self.check()?;
        self.records.lock().unwrap().insert((peer, session), record.clone());
        Ok(())
    }

    fn remove(&self, peer: PeerId, session: SnapshotSessionId) -> Result<(), LedgerError> {
        self.records.lock().unwrap().remove(&(peer, session));
        self.check()
    }
}

struct Place {
    temp: tempfile::TempDir,
    ledger: Arc<Memory>,
    peer: PeerId,
}

fn session(id: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(id).unwrap()
}

fn request(id: u64) -> PlanRequest {
    PlanRequest {
        session: session(id),
        wishes: PlanWishes { chunk_size: Some(16_384), ..PlanWishes::default() },
        source: None,
    }
}

fn wishing(id: u64, wishes: PlanWishes) -> PlanRequest {
    PlanRequest { wishes, ..request(id) }
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        publish_bytes(temp.path(), &bytes(100_000, 1), 10);
        Self { temp, ledger: Arc::default(), peer: PeerId::random() }
    }

    fn provider(&self) -> Provider {
        self.provider_with(ProviderConfig::default())
    }

    fn provider_with(&self, config: ProviderConfig) -> Provider {
        Provider::new(Store::open(self.temp.path()).unwrap(), self.ledger.clone(), config).unwrap()
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, PipelineError>) -> ErrorCode {
    result.unwrap_err().code()
}

#[test]
fn a_session_is_served_from_plan_to_last_ack() {
    let place = Place::new();
    let provider = place.provider();
    let offer = provider.plan(place.peer, &request(1)).unwrap();
    let plan = offer.plan;
    assert_eq!((plan.chunk_size, plan.total_chunks, plan.total_updates), (16_384, 7, 1));
    let content = bytes(100_000, 1);
    for index in 0..plan.total_chunks {
        let chunk = provider.chunk(place.peer, session(1), index).unwrap();
        let start = (index * plan.chunk_size) as usize;
        assert_eq!(chunk.bytes, content[start..(start + 16_384).min(content.len())]);
        let root = plan.snapshot.checkpoint.state_root;
        verify_chunk(&root, 100_000, 16_384, index, &chunk.bytes, &chunk.proof).unwrap();
    }
    assert_eq!(provider.update(place.peer, session(1), 0).unwrap().checkpoint, plan.tip);
    assert_eq!(code(provider.chunk(place.peer, session(1), 7)), ErrorCode::Invalid);
    assert_eq!(code(provider.update(place.peer, session(1), 1)), ErrorCode::Invalid);
    let ack = |kind, index| provider.acknowledge(place.peer, session(1), kind, index);
    assert!(!ack(ArtefactKind::Plan, 0).unwrap().finished);
    assert!(!ack(ArtefactKind::Chunk, 6).unwrap().finished);
    assert_eq!(code(ack(ArtefactKind::Chunk, 5)), ErrorCode::Invalid);
    assert_eq!(code(ack(ArtefactKind::Chunk, 7)), ErrorCode::Invalid);
    assert_eq!(provider.active_sessions(), 1);
    assert!(ack(ArtefactKind::LightClientUpdate, 0).unwrap().finished);
    assert_eq!(provider.active_sessions(), 0);
    assert_eq!(place.ledger.get((place.peer, session(1))).unwrap().confirmed_chunk, Some(6));
}

#[test]
fn a_session_belongs_to_the_peer_that_opened_it() {
    let place = Place::new();
    let provider = place.provider();
    let plan = provider.plan(place.peer, &request(1)).unwrap().plan;
    let stranger = PeerId::random();
    assert_eq!(code(provider.chunk(stranger, session(1), 0)), ErrorCode::NotFound);
    assert_eq!(code(provider.update(stranger, session(1), 0)), ErrorCode::NotFound);
    assert_eq!(code(provider.acknowledge(stranger, session(1), ArtefactKind::Chunk, 0)), ErrorCode::NotFound);
    assert_eq!(code(provider.resume_session(stranger, session(1), plan.plan_id, 0, 0)), ErrorCode::NotFound);
    provider.cancel(stranger, session(1));
    provider.chunk(place.peer, session(1), 0).unwrap();
    assert_eq!(place.ledger.get((place.peer, session(1))).unwrap().confirmed_chunk, None);
}

#[test]
fn resume_follows_what_was_acknowledged_also_after_a_restart() {
    let place = Place::new();
    let provider = place.provider();
    let plan_id = provider.plan(place.peer, &request(1)).unwrap().plan.plan_id;
    provider.acknowledge(place.peer, session(1), ArtefactKind::Chunk, 3).unwrap();
    provider.acknowledge(place.peer, session(1), ArtefactKind::LightClientUpdate, 0).unwrap();
    let restarted = place.provider();
    for provider in [provider, restarted] {
        let resume = |plan_id, chunk, update| provider.resume_session(place.peer, session(1), plan_id, chunk, update);
        let resumed = resume(plan_id, 4, 1).unwrap();
        assert_eq!((resumed.chunk_index, resumed.update_index, resumed.chunk_size), (4, 1, 16_384));
        resume(plan_id, 7, 1).unwrap();
        let error = resume(plan_id, 3, 1).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResumeRegressed);
        assert!(error.to_string().contains("chunk 3") && error.to_string().contains("expected 4"), "{error}");
        assert_eq!(code(resume(plan_id, 4, 0)), ErrorCode::ResumeRegressed);
        assert_eq!(code(resume(plan_id, 8, 1)), ErrorCode::ResumeOutOfBounds);
        assert_eq!(code(resume(plan_id, 4, 2)), ErrorCode::ResumeOutOfBounds);
        assert_eq!(code(resume(Hash([1; 32]), 4, 1)), ErrorCode::PlanChanged);
        provider.chunk(place.peer, session(1), 4).unwrap();
    }
}

#[test]
fn something_newer_does_not_disturb_a_session() {
    let place = Place::new();
    let provider = place.provider();
    let plan = provider.plan(place.peer, &request(1)).unwrap().plan;
    publish_bytes(place.temp.path(), &bytes(50_000, 2), 20);
    assert!(provider.store().refresh().unwrap());
    let restarted = place.provider();
    for provider in [&provider, &restarted] {
        provider.resume_session(place.peer, session(1), plan.plan_id, 0, 0).unwrap();
        provider.chunk(place.peer, session(1), 6).unwrap();
        let update = provider.update(place.peer, session(1), 0).unwrap();
        assert!(update.checkpoint == plan.tip && update.recursive_proof.is_some());
    }
    // A new session gets the newest snapshot, or the older one with the updates to the newest.
    let newest = provider.plan(place.peer, &request(2)).unwrap().plan;
    assert_eq!((newest.snapshot.checkpoint.height, newest.total_updates), (20, 1));
    let older =
        provider.plan(place.peer, &wishing(3, PlanWishes { height: Some(10), ..PlanWishes::default() })).unwrap().plan;
    assert_eq!((older.tip.height, older.total_updates), (20, 2));
    assert!(provider.update(place.peer, session(3), 0).unwrap().recursive_proof.is_none());
    assert!(provider.update(place.peer, session(3), 1).unwrap().recursive_proof.is_some());
}

#[test]
fn a_removal_waits_for_sessions_and_a_forced_one_lets_them_end() {
    let place = Place::new();
    let provider = place.provider_with(ProviderConfig::default().with_idle(Duration::ZERO));
    let keeping = place.provider();
    let plan = keeping.plan(place.peer, &request(1)).unwrap().plan;
    let root = plan.snapshot.checkpoint.state_root;
    let operator = Store::open(place.temp.path()).unwrap();
    assert!(operator.remove(&root, false).is_err());
    operator.remove(&root, true).unwrap();
    keeping.store().refresh().unwrap();
    keeping.chunk(place.peer, session(1), 6).unwrap();
    assert_eq!(code(keeping.plan(place.peer, &request(2))), ErrorCode::NotFound);
    // A provider that does not have the payload open any more says so.
    provider.store().refresh().unwrap();
    let restarted = place.provider();
    assert_eq!(code(restarted.chunk(place.peer, session(1), 6)), ErrorCode::NotFound);
    assert_eq!(code(restarted.resume_session(place.peer, session(1), plan.plan_id, 0, 0)), ErrorCode::NotFound);
}

#[test]
fn an_idle_session_lets_go_of_its_payload_and_takes_it_again() {
    let place = Place::new();
    let provider = place.provider_with(ProviderConfig::default().with_idle(Duration::ZERO));
    provider.plan(place.peer, &request(1)).unwrap();
    assert_eq!(provider.active_sessions(), 1);
    provider.release_idle();
    assert_eq!((provider.active_sessions(), provider.recorded_sessions()), (0, 1));
    provider.chunk(place.peer, session(1), 0).unwrap();
    assert_eq!(provider.active_sessions(), 1);
}

#[test]
fn chunk_sizes_are_negotiated_and_impossible_ones_named() {
    let place = Place::new();
    let provider = place.provider_with(ProviderConfig::default().with_chunk_sizes(32_768, 131_072));
    let size = |chunk_size, min_chunk_size, max_chunk_size| {
        let request = wishing(1, PlanWishes { chunk_size, min_chunk_size, max_chunk_size, ..PlanWishes::default() });
        provider.plan(place.peer, &request).map(|offer| offer.plan.chunk_size)
    };
    assert_eq!(size(None, None, None).unwrap(), 131_072);
    assert_eq!(size(Some(1), None, None).unwrap(), 32_768);
    assert_eq!(size(Some(70_000), None, None).unwrap(), 65_536);
    assert_eq!(size(Some(1), Some(40_000), None).unwrap(), 65_536);
    assert_eq!(code(size(Some(0), None, None)), ErrorCode::Invalid);
    assert_eq!(code(size(None, Some(262_144), None)), ErrorCode::Invalid);
    assert_eq!(code(size(None, None, Some(16_384))), ErrorCode::Invalid);
}

#[test]
fn what_is_not_offered_is_not_found() {
    let place = Place::new();
    let provider = place.provider();
    let none = PlanWishes::default();
    for wrong in [PlanWishes { height: Some(11), ..none }, PlanWishes { root: Some(Hash([1; 32])), ..none }] {
        assert_eq!(code(provider.plan(place.peer, &wishing(1, wrong))), ErrorCode::NotFound);
    }
    assert_eq!(provider.recorded_sessions(), 0);
}

#[test]
fn no_acknowledgement_is_promised_that_could_not_be_recorded() {
    let place = Place::new();
    let provider = place.provider();
    provider.plan(place.peer, &request(1)).unwrap();
    place.ledger.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    // The stored payload is served all the same: a lost plan costs its consumer one request.
    provider.plan(place.peer, &request(2)).unwrap();
    provider.chunk(place.peer, session(2), 0).unwrap();
    assert_eq!(code(provider.acknowledge(place.peer, session(1), ArtefactKind::Chunk, 2)), ErrorCode::Busy);
    place.ledger.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    // The failed ack changed nothing.
    let plan_id = place.ledger.get((place.peer, session(1))).unwrap().plan.plan_id;
    provider.resume_session(place.peer, session(1), plan_id, 0, 0).unwrap();
    // When there is room, the ack is accepted.
    provider.acknowledge(place.peer, session(1), ArtefactKind::Chunk, 2).unwrap();
    assert_eq!(code(provider.resume_session(place.peer, session(1), plan_id, 0, 0)), ErrorCode::ResumeRegressed);
}

#[test]
fn records_that_cannot_be_read_at_first_are_waited_for() {
    let place = Place::new();
    let plan_id = place.provider().plan(place.peer, &request(1)).unwrap().plan.plan_id;
    let late = Arc::new(Late { of: place.ledger.clone(), readable: Default::default() });
    let provider =
        Provider::new(Store::open(place.temp.path()).unwrap(), late.clone(), ProviderConfig::default()).unwrap();
    // The answer is not `not_found`, which would make the consumer begin anew.
    assert_eq!(code(provider.resume_session(place.peer, session(1), plan_id, 0, 0)), ErrorCode::Busy);
    assert_eq!(code(provider.chunk(place.peer, session(1), 0)), ErrorCode::Busy);
    provider.plan(place.peer, &request(2)).unwrap();
    provider.take_up_records().unwrap();
    assert_eq!(code(provider.chunk(place.peer, session(1), 0)), ErrorCode::Busy);
    late.readable.store(true, Ordering::SeqCst);
    provider.take_up_records().unwrap();
    provider.resume_session(place.peer, session(1), plan_id, 0, 0).unwrap();
    provider.chunk(place.peer, session(2), 0).unwrap();
    assert_eq!(code(provider.chunk(place.peer, session(3), 0)), ErrorCode::NotFound);
}

/// A ledger whose disk cannot be read at first.
struct Late {
    of: Arc<Memory>,
    readable: AtomicBool,
}

impl Ledger for Late {
    fn load_all(&self) -> Result<Vec<(PeerId, SnapshotSessionId, Record)>, LedgerError> {
        if self.is_loaded() { self.of.load_all() } else { Ok(Vec::new()) }
    }

    fn is_loaded(&self) -> bool {
        self.readable.load(Ordering::SeqCst)
    }

    fn save(&self, peer: PeerId, session: SnapshotSessionId, record: &Record) -> Result<(), LedgerError> {
        self.of.save(peer, session, record)
    }

    fn remove(&self, peer: PeerId, session: SnapshotSessionId) -> Result<(), LedgerError> {
        self.of.remove(peer, session)
    }
}

#[test]
fn a_plan_for_an_open_session_starts_it_anew() {
    let place = Place::new();
    let provider = place.provider();
    provider.plan(place.peer, &request(1)).unwrap();
    provider.acknowledge(place.peer, session(1), ArtefactKind::Chunk, 2).unwrap();
    let again = wishing(1, PlanWishes { chunk_size: Some(32_768), ..PlanWishes::default() });
    let plan = provider.plan(place.peer, &again).unwrap().plan;
    assert_eq!(provider.resume_session(place.peer, session(1), plan.plan_id, 0, 0).unwrap().chunk_size, 32_768);
    assert_eq!(provider.chunk(place.peer, session(1), 0).unwrap().bytes.len(), 32_768);
}

#[test]
fn a_cancelled_session_is_gone() {
    let place = Place::new();
    let provider = place.provider();
    provider.plan(place.peer, &request(1)).unwrap();
    provider.cancel(place.peer, session(1));
    assert_eq!(code(provider.chunk(place.peer, session(1), 0)), ErrorCode::NotFound);
    assert!(place.ledger.get((place.peer, session(1))).is_none());
    assert_eq!((provider.active_sessions(), provider.recorded_sessions()), (0, 0));
}

#[test]
fn records_are_bounded_and_expire() {
    let place = Place::new();
    let limits = RecordLimits::default().with_per_peer(3).with_idle(Duration::ZERO);
    let provider = place.provider_with(ProviderConfig::default().with_records(limits));
    for id in 1..=10 {
        provider.plan(place.peer, &request(id)).unwrap();
    }
    assert_eq!(provider.recorded_sessions(), 3);
    assert_eq!(place.ledger.records.lock().unwrap().len(), 3);
    assert!(provider.active_sessions() <= 3);
    let limits = RecordLimits::default().with_retention(Duration::ZERO);
    let provider = place.provider_with(ProviderConfig::default().with_records(limits));
    provider.plan(place.peer, &request(11)).unwrap();
    assert_eq!(place.ledger.records.lock().unwrap().len(), 1);
}

#[test]
fn what_was_just_published_is_found_before_the_catalog_is_due() {
    let place = Place::new();
    let provider = place.provider();
    let wanted = wishing(1, PlanWishes { height: Some(20), ..PlanWishes::default() });
    assert_eq!(code(provider.plan(place.peer, &wanted)), ErrorCode::NotFound);
    publish_bytes(place.temp.path(), &bytes(50_000, 2), 20);
    // The store is searched only once in a while, because a stranger may ask as often as it likes.
    let plan = loop {
        match provider.plan(place.peer, &wanted) {
            Ok(offer) => break offer.plan,
            Err(error) => assert_eq!(error.code(), ErrorCode::NotFound),
        }
        std::thread::yield_now();
    };
    assert_eq!(plan.snapshot.checkpoint.height, 20);
}
