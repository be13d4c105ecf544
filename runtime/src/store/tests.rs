use std::{fs, os::unix::fs::FileExt as _};

use proptest::prelude::*;
use rpp_p2p::{
    Plan, TrustAnchor, VerifiedChunk,
    plan::{PlanBounds, check_authority_signatures, check_plan},
    tree::verify_chunk,
};

use super::*;
use crate::{
    config::Durability,
    publish::fake::{self, bytes, publish_bytes},
};

mod have;

const MIB: usize = 1024 * 1024;

/// A provider's store with some published payloads, and a consumer's empty one.
struct Pair {
    provider: tempfile::TempDir,
    consumer: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        Self { provider: tempfile::tempdir().unwrap(), consumer: tempfile::tempdir().unwrap() }
    }

    fn publish(&self, content: &[u8], height: u64) -> Hash {
        publish_bytes(self.provider.path(), content, height).root
    }

    fn provider(&self) -> Store {
        Store::open(self.provider.path()).unwrap()
    }

    fn consumer(&self) -> Store {
        Store::open(self.consumer.path()).unwrap()
    }
}

/// A consumer's source of an offer.
struct Source {
    stored: Arc<Stored>,
    plan: Plan,
    updates: Vec<Update>,
}

impl Source {
    fn new(store: &Store, root: Hash, chunk_size: u64) -> Self {
        let (stored, offer) = store.best_offer(Some(root), None).unwrap();
        let plan = offer.plan(chunk_size).unwrap();
        let updates = (0..plan.total_updates).map(|index| offer.update(index).unwrap()).collect();
        Self { stored, plan, updates }
    }

    fn chunk(&self, index: u64) -> VerifiedChunk {
        let (bytes, proof) = self.stored.read_chunk(index, self.plan.chunk_size).unwrap();
        let root = self.stored.root();
        VerifiedChunk::verify(&root, self.stored.bytes(), self.plan.chunk_size, index, bytes, proof).unwrap()
    }

    fn partial(&self, store: &Store) -> Partial {
        store.partial(&self.plan, &self.updates).unwrap()
    }

    fn copy(&self, partial: &mut Partial, chunks: std::ops::Range<u64>) {
        for index in chunks {
            partial.write(&self.chunk(index)).unwrap();
        }
    }

    fn offer(&self) -> Offer {
        Offer::from_plan(&self.plan, &self.updates)
    }
}

fn trust() -> TrustAnchor {
    TrustAnchor::new(Hash(fake::genesis().commitment().to_bytes()))
}

/// Checks that a plan and its updates pass everything that a consumer checks before the proof.
fn assert_acceptable(offer: &Offer) {
    let plan = offer.plan(MIB as u64).unwrap();
    check_plan(&plan, &trust(), &PlanBounds::default()).unwrap();
    let updates: Vec<_> = (0..plan.total_updates).map(|index| offer.update(index).unwrap()).collect();
    check_authority_signatures(&plan, &updates, &trust()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_chunk_of_every_size_verifies_and_makes_the_same_payload(
        length in prop_oneof![0usize..40_000, (1usize..40).prop_map(|n| n * 16_384), 0usize..3_000_000],
        seed in any::<u64>(),
        first in 14u32..=22,
        second in 14u32..=22,
        cut in any::<prop::sample::Index>(),
    ) {
        let pair = Pair::new();
        let content = bytes(length, seed);
        let root = pair.publish(&content, 1);
        let provider = pair.provider();
        let stored = provider.get(&root).unwrap();
        for power in 14..=22 {
            let source = Source::new(&provider, root, 1 << power);
            for index in 0..source.plan.total_chunks {
                let (bytes, proof) = stored.read_chunk(index, 1 << power).unwrap();
                verify_chunk(&root, length as u64, 1 << power, index, &bytes, &proof).unwrap();
            }
            prop_assert!(stored.read_chunk(source.plan.total_chunks, 1 << power).is_err());
        }
        // A consumer stops half-way and continues with another chunk size.
        let consumer = pair.consumer();
        let source = Source::new(&provider, root, 1 << first);
        let mut partial = source.partial(&consumer);
        let stop = cut.index(source.plan.total_chunks as usize + 1) as u64;
        source.copy(&mut partial, 0..stop);
        drop(partial);
        let source = Source::new(&provider, root, 1 << second);
        let mut partial = source.partial(&consumer);
        let there = (stop << first).min(length as u64);
        // Only whole chunks of the second size count.
        let whole = if there == length as u64 { there } else { there >> second << second };
        prop_assert_eq!(partial.durable_bytes(), whole);
        let next = if partial.durable_bytes() == length as u64 { source.plan.total_chunks }
            else { partial.durable_bytes() >> second };
        source.copy(&mut partial, next..source.plan.total_chunks);
        let mirrored = partial.finish(source.offer()).unwrap();
        prop_assert_eq!(fs::read(mirrored.payload_path()).unwrap(), content);
        let outboards = [&stored, &mirrored].map(|stored| fs::read(stored.payload_path().with_file_name(OUTBOARD)).unwrap());
        prop_assert_eq!(&outboards[0], &outboards[1]);
    }
}

#[test]
fn a_chunk_that_is_not_there_is_refused() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(100_000, 1), 1);
    let stored = pair.provider().get(&root).unwrap();
    for (index, size) in [(7, 16_384), (u64::MAX, 16_384), (0, 0), (0, 1000), (0, 8192), (0, 8 << 20), (0, 1 << 63)] {
        assert!(matches!(stored.read_chunk(index, size), Err(StoreError::Unfit { .. })), "{index} of {size}");
    }
}

#[test]
fn a_payload_has_one_writer_and_is_written_once() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    assert!(matches!(consumer.partial(&source.plan, &source.updates), Err(StoreError::Held { .. })));
    assert!(matches!(consumer.remove_partial(&root, Duration::ZERO), Err(StoreError::Held { .. })));
    source.copy(&mut partial, 0..3);
    drop(partial);
    assert_eq!(consumer.partials().unwrap(), [root]);
    assert_eq!(consumer.partial_plan(&root).unwrap().plan, source.plan);
    consumer.remove_partial(&root, Duration::ZERO).unwrap();
    let mut partial = source.partial(&consumer);
    assert_eq!(partial.durable_bytes(), 0);
    source.copy(&mut partial, 0..16);
    partial.finish(source.offer()).unwrap();
    assert!(matches!(consumer.partial(&source.plan, &source.updates), Err(StoreError::Stored { .. })));
    assert!(consumer.partials().unwrap().is_empty());
    // The folder must contain only its own files.
    let mut names: Vec<_> = fs::read_dir(consumer.get(&root).unwrap().folder_path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [MANIFEST, OUTBOARD, PAYLOAD]);
}

#[test]
fn wrong_chunks_are_refused_and_an_incomplete_payload_is_not_finished() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    let other = Source::new(&pair.provider(), root, 16_384);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    assert!(matches!(partial.write(&other.chunk(0)), Err(StoreError::Unfit { .. })));
    source.copy(&mut partial, 0..15);
    assert_eq!(partial.sync(Durability::Strict).unwrap().bytes(), 15 * 65_536);
    assert!(matches!(partial.finish(source.offer()), Err(StoreError::Unfit { .. })));
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 15..16);
    let mut wrong = source.offer();
    wrong.updates.clear();
    assert!(matches!(partial.finish(wrong), Err(StoreError::Unfit { .. })));
    let mut partial = source.partial(&consumer);
    while partial.unchecked_bytes() > 0 {
        assert!(partial.recheck().unwrap().is_empty());
    }
    partial.finish(source.offer()).unwrap();
}

#[test]
fn what_is_damaged_while_nobody_looks_does_not_count() {
    let content = bytes(3 * MIB + 17, 1);
    type Damage = fn(&Path);
    let flip = |path: PathBuf, at: u64| {
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let cases: [(&str, Damage, u64); 5] = [
        ("a bit of the payload", |_| {}, 47 * 65_536),
        (
            "the end of the payload",
            |folder| {
                fs::File::options().write(true).open(folder.join(PAYLOAD)).unwrap().set_len(2_000_000).unwrap();
            },
            2_000_000 / 65_536 * 65_536,
        ),
        ("all of the payload", |folder| fs::remove_file(folder.join(PAYLOAD)).unwrap(), 0),
        ("all hashes", |folder| fs::write(folder.join(OUTBOARD), "").unwrap(), 0),
        ("the plan", |folder| fs::write(folder.join(PLAN), "{").unwrap(), 3 * MIB as u64),
    ];
    for (what, damage, durable) in cases {
        let pair = Pair::new();
        let root = pair.publish(&content, 1);
        let source = Source::new(&pair.provider(), root, 65_536);
        let consumer = pair.consumer();
        let mut partial = source.partial(&consumer);
        source.copy(&mut partial, 0..48);
        drop(partial);
        let folder = pair.consumer.path().join("partial").join(root.to_string());
        if what == "a bit of the payload" {
            flip(folder.join(PAYLOAD), 1_000_000);
        }
        damage(&folder);
        let mut partial = source.partial(&consumer);
        assert_eq!(partial.durable_bytes(), durable, "{what}");
        for index in (0..49).filter(|index| !partial.durable().has_chunk(65_536, *index)).collect::<Vec<_>>() {
            partial.write(&source.chunk(index)).unwrap();
        }
        let stored = partial.finish(source.offer()).unwrap();
        assert_eq!(fs::read(stored.payload_path()).unwrap(), content, "{what}");
    }
}

#[test]
fn what_is_recorded_counts_as_durable_and_is_hashed_before_it_is_finished() {
    let pair = Pair::new();
    let content = bytes(MIB, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..8);
    drop(partial);
    let at = |recorded| {
        let partial = consumer.partial_from(&source.plan, &source.updates, recorded).unwrap();
        (partial.durable_bytes(), partial.unchecked_bytes())
    };
    // The bytes beyond the record were hashed and written again.
    assert_eq!(at(4 * 65_536), (8 * 65_536, 4 * 65_536));
    assert_eq!(at(0), (8 * 65_536, 0));
    // A record cannot create bytes.
    assert_eq!(at(12 * 65_536), (8 * 65_536, 8 * 65_536));

    let mut partial = consumer.partial_from(&source.plan, &source.updates, 8 * 65_536).unwrap();
    source.copy(&mut partial, 8..16);
    assert!(matches!(partial.finish(source.offer()), Err(StoreError::Unfit { .. })), "it is not hashed yet");
    let mut partial = consumer.partial_from(&source.plan, &source.updates, MIB as u64).unwrap();
    while partial.unchecked_bytes() > 0 {
        assert!(partial.recheck().unwrap().is_empty());
    }
    assert_eq!(fs::read(partial.finish(source.offer()).unwrap().payload_path()).unwrap(), content);
}

/// One byte of a killed consumer's files changes, at any place. In the end the finished payload is right, and hardly
/// more than the damaged chunk is fetched again. `RPP_TEST_CHANGES` sets the number of runs (200).
#[test]
fn a_byte_that_changes_between_two_processes_never_counts() {
    let rounds = std::env::var("RPP_TEST_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    let mut random = 0x5eed_u64;
    let mut below = move |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let content = bytes(5 * MIB + 4711, 1);
    let pair = Pair::new();
    let root = pair.publish(&content, 1);
    let provider = pair.provider();
    let (mut fetched, mut found) = (0, 0);
    for round in 0..rounds {
        let source = Source::new(&provider, root, 1 << (14 + below(7)));
        let (total, chunk_size) = (source.plan.total_chunks, source.plan.chunk_size);
        let folder = tempfile::tempdir().unwrap();
        let consumer = Store::open(folder.path()).unwrap();
        let mut partial = source.partial(&consumer);
        let there = 1 + below(total);
        source.copy(&mut partial, 0..there);
        partial.sync(Durability::Process).unwrap();
        drop((partial, consumer));

        let name = if below(4) == 0 { OUTBOARD } else { PAYLOAD };
        let path = folder.path().join("partial").join(root.to_string()).join(name);
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let at = below(file.metadata().unwrap().len());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << below(8))], at).unwrap();

        // The record covers all of it, a part, or nothing.
        let recorded = [there * chunk_size, below(there + 1) * chunk_size, 0][below(3) as usize];
        let consumer = Store::open(folder.path()).unwrap();
        let mut partial = consumer.partial_from(&source.plan, &source.updates, recorded).unwrap();
        let durable = partial.durable_bytes();
        let from = if durable == content.len() as u64 { total } else { durable / chunk_size };
        source.copy(&mut partial, from..total);
        fetched += total - from;
        while partial.unchecked_bytes() > 0 {
            let missing = partial.recheck().unwrap();
            if !missing.is_empty() {
                found += 1;
                fetched += missing.len() as u64;
                let again: Vec<_> = missing.iter().map(|index| source.chunk(*index)).collect();
                partial.repair(&again).unwrap();
            }
        }
        let stored = partial.finish(source.offer()).unwrap();
        assert!(fs::read(stored.payload_path()).unwrap() == content, "round {round}: wrong bytes are called verified");
        let outboards =
            [&source.stored, &stored].map(|one| fs::read(one.payload_path().with_file_name(OUTBOARD)).unwrap());
        assert!(outboards[0] == outboards[1], "round {round}: wrong hashes");
    }
    println!("{rounds} changes, {found} found in what was recorded; {fetched} chunks fetched");
    assert!(found > rounds / 10, "{found} of {rounds}");
}

/// A disk whose next flush fails, and which counts the bytes that are written again.
#[derive(Debug, Default)]
struct Failing {
    flush_fails: AtomicBool,
    rewritten: Mutex<u64>,
}

impl Space for Failing {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn before_rewrite(&self, bytes: u64) -> io::Result<()> {
        *self.rewritten.lock().unwrap() += bytes;
        Ok(())
    }

    fn before_sync(&self) -> io::Result<()> {
        if self.flush_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        Ok(())
    }
}

#[test]
fn after_a_failed_flush_the_same_bytes_are_written_again_before_they_count() {
    let pair = Pair::new();
    let content = bytes(MIB, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    // This must hold in the same process and in the next one.
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let mut consumer = Store::open_with(folder.path(), disk.clone()).unwrap();
        let mut partial = source.partial(&consumer);
        source.copy(&mut partial, 0..4);
        assert_eq!(partial.sync(Durability::Strict).unwrap().bytes(), 4 * 65_536);
        source.copy(&mut partial, 4..12);
        disk.flush_fails.store(true, Ordering::SeqCst);
        assert!(partial.sync(Durability::Strict).is_err());
        assert!(
            matches!(partial.sync(Durability::Strict), Err(StoreError::Damaged { .. })),
            "it counts without a word"
        );
        drop(partial);
        if restarts {
            consumer = Store::open_with(folder.path(), disk.clone()).unwrap();
        }
        let mut partial = consumer.partial_from(&source.plan, &source.updates, 4 * 65_536).unwrap();
        assert_eq!(partial.durable_bytes(), 12 * 65_536);
        assert_eq!(*disk.rewritten.lock().unwrap(), 8 * 65_536, "what the failed flush was for, and no more");
        source.copy(&mut partial, 12..13);
        drop(partial);
        // If a flush fails during the opening, nothing counts.
        disk.flush_fails.store(true, Ordering::SeqCst);
        assert!(consumer.partial_from(&source.plan, &source.updates, 4 * 65_536).is_err());
    }
}

#[test]
fn what_is_written_while_a_group_is_made_durable_belongs_to_the_next_one() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let consumer = Store::open_with(folder.path(), disk.clone()).unwrap();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..4);
    let group = partial.group(Durability::Strict).unwrap();
    source.copy(&mut partial, 4..8);
    let durable = group.make_durable().unwrap();
    assert_eq!(partial.synced(durable).bytes(), 4 * 65_536);
    // After a failed flush nothing more is written, whoever flushed.
    let group = partial.group(Durability::Strict).unwrap();
    disk.flush_fails.store(true, Ordering::SeqCst);
    assert!(group.make_durable().is_err());
    assert!(matches!(partial.write(&source.chunk(8)), Err(StoreError::Damaged { .. })));
    drop(partial);
    let partial = consumer.partial_from(&source.plan, &source.updates, 4 * 65_536).unwrap();
    assert_eq!(partial.durable_bytes(), 8 * 65_536);
    assert_eq!(*disk.rewritten.lock().unwrap(), 4 * 65_536, "what the first group did not cover");
}

fn change(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn what_is_stored_is_verified_when_it_is_read_and_a_damaged_payload_is_offered_by_nobody() {
    for (name, at, reads) in [(PAYLOAD, 300_000, 4), (OUTBOARD, 32 * 40, 4), (PAYLOAD, 0, 0)] {
        let pair = Pair::new();
        let root = pair.publish(&bytes(MIB, 1), 1);
        let store = pair.provider();
        let stored = store.get(&root).unwrap();
        change(&stored.payload_path().with_file_name(name), at);
        // Undamaged chunks are still served.
        for index in 0..reads {
            stored.read_chunk(index, 65_536).unwrap();
        }
        let error =
            (0..16).find_map(|index| stored.read_chunk(index, 65_536).err()).expect("a damaged chunk is served");
        let StoreError::Damaged { reason, .. } = error else { panic!("{error}") };
        store.condemn(&root, &reason);
        assert!(store.best_offer(None, None).is_none() && store.get(&root).is_none());
        assert!(store.refresh().unwrap(), "whoever follows the catalog hears of it");
        // Another process does not offer it either.
        let other = pair.provider();
        assert!(
            other.get(&root).is_none() && other.damaged()[0].reason.to_string() == reason.to_string(),
            "{:?}",
            other.damaged()
        );
    }
}

#[test]
fn a_byte_that_changes_in_the_store_is_never_served() {
    let rounds = std::env::var("RPP_TEST_CHANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    let content = bytes(2 * MIB + 99, 1);
    let pair = Pair::new();
    let root = pair.publish(&content, 1);
    let folder = pair.provider().get(&root).unwrap().folder_path().to_owned();
    let mut refused = 0;
    for round in 0..rounds {
        let name = if round % 4 == 0 { OUTBOARD } else { PAYLOAD };
        let path = folder.join(name);
        let at = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % fs::metadata(&path).unwrap().len();
        change(&path, at);
        let store = pair.provider();
        let stored = store.get(&root).unwrap();
        let chunk_size = 1 << (14 + round % 9);
        for index in 0..rpp_p2p::tree::total_chunks(stored.bytes(), chunk_size) {
            match stored.read_chunk(index, chunk_size) {
                Ok((read, proof)) => {
                    let start = (index * chunk_size) as usize;
                    assert!(content[start..start + read.len()] == read, "round {round}: a wrong byte is served");
                    verify_chunk(&root, stored.bytes(), chunk_size, index, &read, &proof).unwrap();
                }
                Err(StoreError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        change(&path, at);
    }
    assert!(refused >= rounds / 2, "{refused}");
}

#[test]
fn what_changes_under_a_running_process_does_not_count_any_more() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let store = pair.provider();
    let payload = store.get(&root).unwrap().open().unwrap();
    payload.read_chunk(3, 65_536).unwrap();
    let path = store.get(&root).unwrap().payload_path();
    change(&path, 3 * 65_536 + 7);
    // The clocks of file systems are coarse.
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
    store.look().unwrap();
    assert!(matches!(payload.read_chunk(3, 65_536), Err(StoreError::Damaged { .. })));
}

#[test]
fn of_a_damaged_stored_payload_only_what_is_damaged_is_fetched_again_and_its_offers_stay() {
    let pair = Pair::new();
    let content = bytes(2 * MIB, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    // Publishes the same payload at another height.
    pair.publish(&content, 2);
    let provider = pair.provider();
    let both = provider.get(&root).unwrap().offers().len();
    assert_eq!(both, 2);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..32);
    partial.finish(source.offer()).unwrap();
    for offer in provider.get(&root).unwrap().offers() {
        consumer.add_offer(&root, Offer::clone(offer)).unwrap();
    }
    let stored = consumer.get(&root).unwrap();
    change(&stored.payload_path(), 1_000_000);
    assert!(!consumer.demote(&Hash([1; 32])).unwrap());
    consumer.condemn(&root, "it was changed");
    assert!(consumer.demote(&root).unwrap());
    assert!(consumer.is_demoted(&root) && consumer.damaged().is_empty());
    let mut partial = consumer.partial_from(&source.plan, &source.updates, content.len() as u64).unwrap();
    let mut again = Vec::new();
    while partial.unchecked_bytes() > 0 {
        let missing = partial.recheck().unwrap();
        let chunks: Vec<_> = missing.iter().map(|index| source.chunk(*index)).collect();
        partial.repair(&chunks).unwrap();
        again.extend(missing);
    }
    assert_eq!(again, [1_000_000 / 65_536]);
    let stored = partial.finish(source.offer()).unwrap();
    assert_eq!(fs::read(stored.payload_path()).unwrap(), content);
    assert_eq!(stored.offers().len(), both);
    assert_eq!(fs::read_dir(stored.folder_path()).unwrap().count(), 3, "only what belongs there");
}

#[test]
fn lost_inner_hashes_are_made_again_at_the_end() {
    let pair = Pair::new();
    let content = bytes(2 * MIB, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 1 << 20);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..2);
    let outboard = pair.consumer.path().join("partial").join(root.to_string()).join(OUTBOARD);
    fs::File::options().write(true).open(&outboard).unwrap().write_all_at(&[0; 64], 320).unwrap();
    let stored = partial.finish(source.offer()).unwrap();
    let original = fs::read(source.stored.payload_path().with_file_name(OUTBOARD)).unwrap();
    assert_eq!(fs::read(stored.payload_path().with_file_name(OUTBOARD)).unwrap(), original);
}

#[test]
fn a_payload_damaged_behind_the_writers_back_is_not_finished() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let source = Source::new(&pair.provider(), root, 1 << 20);
    let consumer = pair.consumer();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..1);
    let folder = pair.consumer.path().join("partial").join(root.to_string());
    for name in [PAYLOAD, OUTBOARD] {
        fs::File::options().write(true).open(folder.join(name)).unwrap().write_all_at(&[0; 64], 320).unwrap();
    }
    assert!(matches!(partial.finish(source.offer()), Err(StoreError::Damaged { .. })));
    assert!(consumer.get(&root).is_none());
}

#[test]
fn a_full_disk_says_what_is_needed_and_goes_on_when_there_is_room() {
    let pair = Pair::new();
    let content = bytes(3 * MIB, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 1 << 20);
    let quota = Arc::new(Quota::new(2 * MIB as u64));
    let consumer = Store::open_with(pair.consumer.path(), quota.clone()).unwrap();
    let mut partial = source.partial(&consumer);
    match partial.preflight() {
        Err(StoreError::Full { needed, free, .. }) => assert!(needed > 3 * MIB as u64 && free == 2 * MIB as u64),
        other => panic!("{other:?}"),
    }
    source.copy(&mut partial, 0..2);
    assert!(matches!(partial.write(&source.chunk(2)), Err(StoreError::Full { free: 0, .. })));
    assert_eq!(partial.written_bytes(), 2 * MIB as u64);
    quota.set_free(8 * MIB as u64);
    partial.preflight().unwrap();
    source.copy(&mut partial, 2..3);
    assert_eq!(fs::read(partial.finish(source.offer()).unwrap().payload_path()).unwrap(), content);
}

/// A disk with free bytes, on which each write fails.
#[derive(Debug)]
struct Refusing {
    error: rustix::io::Errno,
    has_inodes: bool,
}

impl Space for Refusing {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn has_inodes(&self, _: &Path) -> io::Result<bool> {
        Ok(self.has_inodes)
    }

    fn before_write(&self, _: u64) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.error.raw_os_error()))
    }
}

#[test]
fn a_write_that_fails_beside_free_bytes_says_what_is_lacking() {
    use rustix::io::Errno;
    let pair = Pair::new();
    let root = pair.publish(&bytes(MIB, 1), 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    for (error, has_inodes, words) in [
        (Errno::NOSPC, false, "no inodes are left (df -i)"),
        (Errno::NOSPC, true, "No space left on device"),
        (Errno::DQUOT, true, "quota"),
        (Errno::FBIG, true, "ulimit -f"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let consumer = Store::open_with(folder.path(), Arc::new(Refusing { error, has_inodes })).unwrap();
        let failed = source.partial(&consumer).write(&source.chunk(0)).unwrap_err();
        assert!(matches!(failed, StoreError::NoRoom { .. }), "{failed}");
        let said = crate::files::with_causes(&failed);
        assert!(said.contains("payload: ") && said.contains(words) && !said.contains("are needed"), "{said}");
    }
}

#[test]
fn what_other_sessions_still_need_is_taken_off_the_free_space() {
    let pair = Pair::new();
    let roots = [1, 2].map(|seed| pair.publish(&bytes(3 * MIB, seed), seed));
    let quota = Arc::new(Quota::new(6 * MIB as u64));
    let consumer = Store::open_with(pair.consumer.path(), quota).unwrap();
    let provider = pair.provider();
    let [one, two] = roots.map(|root| Source::new(&provider, root, 1 << 20));
    let first = one.partial(&consumer);
    first.preflight().unwrap();
    let second = two.partial(&consumer);
    assert!(matches!(second.preflight(), Err(StoreError::Full { .. })));
    drop(first);
    second.preflight().unwrap();
}

#[test]
fn a_damaged_entry_is_reported_and_the_others_are_served() {
    let pair = Pair::new();
    let roots: Vec<Hash> = (1..=5).map(|seed| pair.publish(&bytes(50_000, seed), seed)).collect();
    let folder = |index: usize| pair.provider.path().join("store").join(roots[index].to_string());
    let manifest = fs::read(folder(0).join(MANIFEST)).unwrap();
    fs::write(folder(0).join(MANIFEST), &manifest[..manifest.len() / 2]).unwrap();
    let text = String::from_utf8(manifest).unwrap().replace("example", "exbmple");
    fs::write(folder(1).join(MANIFEST), text).unwrap();
    fs::remove_file(folder(2).join(OUTBOARD)).unwrap();
    fs::File::options().write(true).open(folder(3).join(PAYLOAD)).unwrap().set_len(49_999).unwrap();
    let store = pair.provider();
    assert_eq!(store.list().iter().map(|stored| stored.root()).collect::<Vec<_>>(), [roots[4]]);
    let reasons: Vec<String> =
        (0..4).map(|i| store.damaged().into_iter().find(|d| d.path == folder(i)).unwrap().reason.to_string()).collect();
    for (reason, word) in reasons.iter().zip(["cut short", "checksum", "outboard", "49999 bytes"]) {
        assert!(reason.contains(word), "{reason}");
    }
    // The damaged folder is left unchanged.
    assert!(folder(2).join(PAYLOAD).exists());
}

#[test]
fn a_damaged_entry_is_replaced_by_a_verified_one() {
    let pair = Pair::new();
    let content = bytes(50_000, 1);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, 65_536);
    let consumer = pair.consumer();
    fs::create_dir(pair.consumer.path().join("store").join(root.to_string())).unwrap();
    let mut partial = source.partial(&consumer);
    source.copy(&mut partial, 0..1);
    let stored = partial.finish(source.offer()).unwrap();
    assert_eq!(fs::read(stored.payload_path()).unwrap(), content);
    assert!(consumer.damaged().is_empty());
}

#[test]
fn what_a_killed_process_left_is_completed_or_cleaned() {
    let pair = Pair::new();
    let content = bytes(50_000, 1);
    let root = pair.publish(&content, 1);
    let (store, partial) = (pair.provider.path().join("store"), pair.provider.path().join("partial"));
    // As if killed before the rename of a finished payload.
    fs::rename(store.join(root.to_string()), partial.join(root.to_string())).unwrap();
    fs::write(partial.join(root.to_string()).join(PLAN), "{}").unwrap();
    fs::create_dir(store.join(format!("{REMOVED}{root}-1"))).unwrap();
    fs::write(store.join(format!("{REMOVED}{root}-1/payload")), "x").unwrap();
    let opened = pair.provider();
    assert_eq!(fs::read(opened.get(&root).unwrap().payload_path()).unwrap(), content);
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!((names(&store), names(&partial), names(&store.join(root.to_string()))), (2, 0, 3));
    // As if killed between the two renames: a partial folder that has a manifest and is not complete.
    fs::rename(store.join(root.to_string()), partial.join(root.to_string())).unwrap();
    fs::write(partial.join(root.to_string()).join(PAYLOAD), "short").unwrap();
    let opened = pair.provider();
    assert!(opened.get(&root).is_none());
    assert!(!partial.join(root.to_string()).join(MANIFEST).exists());
}

#[test]
fn nothing_is_reached_through_a_symlink() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(50_000, 1), 1);
    let folder = pair.provider.path().join("store").join(root.to_string());
    let elsewhere = pair.consumer.path().join("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    assert!(pair.provider().get(&root).is_none());
    fs::remove_file(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    fs::rename(folder.join(PAYLOAD), pair.consumer.path().join("payload")).unwrap();
    std::os::unix::fs::symlink(pair.consumer.path().join("payload"), folder.join(PAYLOAD)).unwrap();
    assert!(pair.provider().get(&root).is_none());
    // Removing it removes the link only.
    pair.provider().remove(&root, false).unwrap();
    assert!(pair.consumer.path().join("payload").exists());
}

#[test]
fn what_is_published_beside_is_seen_at_the_next_refresh() {
    let pair = Pair::new();
    let store = pair.provider();
    assert!(!store.refresh().unwrap());
    let root = pair.publish(&bytes(50_000, 1), 1);
    assert!(store.get(&root).is_none());
    assert!(store.refresh().unwrap());
    let stored = store.get(&root).unwrap();
    assert!(!store.refresh().unwrap());
    assert!(Arc::ptr_eq(&stored, &store.get(&root).unwrap()));
    // Publishing the same content at another height adds an offer to the same payload.
    pair.publish(&bytes(50_000, 1), 2);
    assert!(store.refresh().unwrap());
    assert_eq!(store.list().len(), 1);
    let summary = store.get(&root).unwrap().summary();
    assert_eq!(summary.offers.iter().map(|offer| (offer.height, offer.step)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    pair.provider().remove(&root, false).unwrap();
    assert!(store.refresh().unwrap());
    assert!(store.get(&root).is_none());
}

/// Its paths would lead to nothing, or to bytes that nobody has verified.
#[test]
fn a_folder_that_was_moved_or_replaced_offers_nothing_until_it_is_back() {
    let pair = Pair::new();
    let root = pair.publish(&bytes(50_000, 1), 1);
    let store = pair.provider();
    assert!(store.get(&root).is_some());
    let folder = store.get(&root).unwrap().payload_path();
    let store_folder = folder.parent().and_then(Path::parent).unwrap();
    let moved = store_folder.with_file_name("moved");
    fs::rename(store_folder, &moved).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::create_dir_all(store_folder.join(root.to_string())).unwrap();
            fs::write(&folder, bytes(50_000, 2)).unwrap();
        }
        let error = store.refresh().unwrap_err().to_string();
        assert!(error.contains("put the folder back") && error.contains(store_folder.to_str().unwrap()), "{error}");
        assert!(store.get(&root).is_none() && store.list().is_empty());
    }
    fs::remove_dir_all(store_folder).unwrap();
    fs::rename(&moved, store_folder).unwrap();
    assert!(store.refresh().unwrap());
    assert!(store.get(&root).is_some());
}

#[test]
fn older_snapshots_lead_to_the_newest_tip_and_old_plans_stay_served() {
    let pair = Pair::new();
    let store = pair.provider();
    let mut roots = Vec::new();
    let mut plans = Vec::new();
    for height in 1..=4 {
        roots.push(pair.publish(&bytes(20_000, height), height * 10));
        store.refresh().unwrap();
        plans.push(store.best_offer(Some(roots[0]), None).unwrap().1.plan(16_384).unwrap());
    }
    let (stored, newest) = store.best_offer(None, None).unwrap();
    assert_eq!((stored.root(), newest.tip.height, newest.updates.len()), (roots[3], 40, 1));
    let (_, oldest) = store.best_offer(None, Some(10)).unwrap();
    assert_eq!((oldest.tip.height, oldest.updates.len()), (40, 4));
    assert_acceptable(&oldest);
    assert!(store.best_offer(None, Some(11)).is_none());
    assert!(store.best_offer(Some(roots[1]), Some(10)).is_none());
    for (count, plan) in (1..).zip(&plans) {
        let (stored, offer) = store.resolve(plan).unwrap();
        assert_eq!((stored.root(), offer.updates.len()), (roots[0], count));
        assert_eq!(offer.plan(16_384).unwrap(), *plan);
        assert_acceptable(&offer);
    }
    let mut never = plans[3].clone();
    never.tip.commitment = Hash([1; 32]);
    assert!(store.resolve(&never).is_none());

    // If the payload in the middle is removed, the older ones still lead to the newest tip.
    store.remove(&roots[2], false).unwrap();
    let (_, oldest) = store.best_offer(None, Some(10)).unwrap();
    assert_eq!((oldest.tip.height, oldest.updates.len()), (40, 4));
    assert_acceptable(&oldest);
    let (_, second) = pair.provider().best_offer(None, Some(20)).unwrap();
    assert_eq!(second.tip.height, 40);
    assert!(matches!(store.remove(&roots[2], false), Err(StoreError::Unknown { .. })));
}

#[test]
fn a_served_payload_is_removed_only_by_force_and_its_session_goes_on() {
    let pair = Pair::new();
    let content = bytes(200_000, 1);
    let root = pair.publish(&content, 1);
    let serving = pair.provider();
    let session = serving.get(&root).unwrap().open().unwrap();
    // Another process sees the same.
    let remover = pair.provider();
    assert!(matches!(remover.remove(&root, false), Err(StoreError::Served { .. })));
    assert!(remover.get(&root).is_some());
    remover.remove(&root, true).unwrap();
    serving.refresh().unwrap();
    assert!(serving.get(&root).is_none());
    let (bytes, proof) = session.read_chunk(3, 65_536).unwrap();
    verify_chunk(&root, 200_000, 65_536, 3, &bytes, &proof).unwrap();
    assert_eq!(bytes, content[3 * 65_536..]);
    drop(session);
    pair.publish(&content, 2);
    remover.refresh().unwrap();
    remover.remove(&root, false).unwrap();
}

#[test]
fn the_newest_offers_are_kept_and_what_is_served_waits() {
    let pair = Pair::new();
    // Heights 1 and 4 are the same payload.
    let roots: Vec<Hash> =
        [(1, 1), (2, 2), (3, 3), (1, 4)].map(|(seed, height)| pair.publish(&bytes(20_000, seed), height)).to_vec();
    let store = pair.provider();
    let genesis = store.list()[0].offers()[0].genesis.clone();
    assert!(store.keep(&genesis, 0).unwrap().is_empty());
    assert!(store.keep(&genesis, 4).unwrap().is_empty());
    let session = store.get(&roots[1]).unwrap().open().unwrap();
    assert!(store.keep(&genesis, 2).unwrap().is_empty());
    assert_eq!(store.get(&roots[0]).unwrap().offers().len(), 1, "height 1 is dropped, height 4 stays");
    drop(session);
    assert_eq!(store.keep(&genesis, 2).unwrap(), [roots[1]]);
    assert_eq!(store.list().len(), 2);
    // Another chain's offers are not counted.
    let mut other = genesis.clone();
    other.chain_id = "other".to_owned();
    assert!(store.keep(&other, 1).unwrap().is_empty());
    assert_eq!(store.list().len(), 2);
}

#[test]
fn an_offer_is_added_once_and_only_to_its_payload() {
    let pair = Pair::new();
    let roots = [1, 2].map(|seed| pair.publish(&bytes(20_000, seed), seed));
    let store = pair.provider();
    let (_, offer) = store.best_offer(Some(roots[0]), None).unwrap();
    assert!(store.add_offer(&roots[0], Offer::clone(&offer)).unwrap());
    assert!(!store.add_offer(&roots[0], Offer::clone(&offer)).unwrap());
    assert_eq!(store.get(&roots[0]).unwrap().offers().len(), 1);
    assert!(matches!(store.add_offer(&roots[1], Offer::clone(&offer)), Err(StoreError::Unfit { .. })));
    assert!(matches!(store.add_offer(&Hash([1; 32]), Offer::clone(&offer)), Err(StoreError::Unknown { .. })));
}

const FULL_CHILD: &str = "RPP_TEST_FULL_CHILD";

/// Not a test of its own: [`a_really_full_disk_is_reported_and_gone_on_from`] starts it with a file size limit.
#[test]
fn full_disk_child() {
    let Ok(folder) = std::env::var(FULL_CHILD) else { return };
    let folder = PathBuf::from(folder);
    let provider = Store::open(&folder.join("provider")).unwrap();
    let root = provider.list()[0].root();
    let source = Source::new(&provider, root, 65_536);
    let consumer = Store::open(&folder.join("consumer")).unwrap();
    let mut partial = source.partial(&consumer);
    let mut index = 0;
    let stopped = loop {
        match partial.write(&source.chunk(index)) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(stopped, StoreError::NoRoom { reason: NoRoom::FileSize(_), .. }), "{stopped}");
    assert!(index >= 4 && index < source.plan.total_chunks);
    assert_eq!(partial.sync(Durability::Strict).unwrap().bytes(), index * 65_536);
    // There is room again.
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, unlimited).unwrap();
    source.copy(&mut partial, index..source.plan.total_chunks);
    let mirrored = partial.finish(source.offer()).unwrap();
    assert_eq!(fs::read(mirrored.payload_path()).unwrap(), fs::read(source.stored.payload_path()).unwrap());
    fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn a_really_full_disk_is_reported_and_gone_on_from() {
    let temp = tempfile::tempdir().unwrap();
    publish_bytes(&temp.path().join("provider"), &bytes(1_000_000, 1), 1);
    // The shell sets the limit (in units of 512 or 1024 bytes, depending on the shell) and ignores the signal, which
    // would otherwise kill the process.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 600; exec \"$0\" --exact store::tests::full_disk_child"])
        .arg(std::env::current_exe().unwrap())
        .env(FULL_CHILD, temp.path())
        .output()
        .unwrap();
    assert!(temp.path().join("done").exists(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_manifest_that_names_another_length_leads_to_no_other_bytes() {
    for length in [65_536_u64, 99_999, 100_001, 131_072] {
        let pair = Pair::new();
        let content = bytes(100_000, 1);
        let root = pair.publish(&content, 1);
        let folder = pair.provider.path().join("store").join(root.to_string());
        let mut manifest: Manifest = sealed::open(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
        manifest.bytes = length;
        for offer in &mut manifest.offers {
            let points = offer.updates.iter_mut().map(|update| &mut update.checkpoint);
            points
                .chain([&mut offer.snapshot.checkpoint, &mut offer.tip])
                .for_each(|point| point.payload_bytes = length);
        }
        fs::write(folder.join(MANIFEST), sealed::seal(&manifest).unwrap()).unwrap();
        for (name, length) in [(PAYLOAD, length), (OUTBOARD, rpp_p2p::outboard::Layout::new(length).file_len())] {
            fs::File::options().write(true).open(folder.join(name)).unwrap().set_len(length).unwrap();
        }
        let store = pair.provider();
        let stored = store.get(&root).unwrap();
        for size in [16_384, 65_536, 1 << 20] {
            for index in 0..length.div_ceil(size) {
                let Ok((bytes, _)) = stored.read_chunk(index, size) else { continue };
                let range = (index * size) as usize..(index * size) as usize + bytes.len();
                assert_eq!(Some(&bytes[..]), content.get(range), "{length}: other bytes are served");
            }
        }
        assert!(matches!(stored.verify(&mut |_| true), Err(StoreError::Damaged { .. })), "{length}");
        assert!(!stored.is_verified());
        let dest = pair.consumer.path().join("dest");
        crate::unpack::unpack_stored(&stored, &dest, &crate::unpack::Options::default(), &mut |_, _| {}).unwrap_err();
        assert!(!dest.exists());
        let (_, offer) = store.best_offer(Some(root), None).unwrap();
        assert!(!store.is_sound(&offer) && store.list().is_empty(), "{length}: its chain is offered");
    }
}
