//! Durable chunks are kept wherever they are in the payload.

use rpp_p2p::Have;

use super::*;
use crate::store::have::HAVE;

/// Chunks of 64 KiB, in a payload of 16 of them.
const CHUNK: u64 = 65_536;
/// The chunks that arrived, in this order.
const CAME: [u64; 6] = [9, 2, 3, 15, 0, 12];

fn some() -> (Pair, Source, Vec<u8>) {
    let pair = Pair::new();
    let content = bytes(MIB, 3);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, CHUNK);
    let mut partial = source.partial(&pair.consumer());
    for index in CAME {
        partial.write(&source.chunk(index)).unwrap();
    }
    let durable = partial.sync(Durability::Strict).unwrap().clone();
    assert_eq!(durable.bytes(), CAME.len() as u64 * CHUNK);
    (pair, source, content)
}

fn came() -> Have {
    let mut have = Have::nothing(MIB as u64);
    CAME.into_iter().for_each(|index| have.insert_chunks(CHUNK, index..index + 1));
    have
}

fn folder(pair: &Pair, source: &Source) -> std::path::PathBuf {
    pair.consumer.path().join("partial").join(source.stored.root().to_string())
}

/// Fetches the missing chunks, hashes the others, and finishes. Returns the number of chunks fetched.
fn finish(source: &Source, mut partial: Partial, content: &[u8]) -> u64 {
    let mut fetched = 0;
    while partial.unchecked_bytes() > 0 {
        let missing = partial.recheck().unwrap();
        let again: Vec<_> = missing.iter().map(|index| source.chunk(*index)).collect();
        partial.repair(&again).unwrap();
        fetched += missing.len() as u64;
    }
    for index in 0..source.plan.total_chunks {
        if !partial.durable().has_chunk(source.plan.chunk_size, index) {
            partial.write(&source.chunk(index)).unwrap();
            fetched += 1;
        }
    }
    let stored = partial.finish(source.offer()).unwrap();
    assert_eq!(fs::read(stored.payload_path()).unwrap(), content);
    assert_eq!(fs::read_dir(stored.folder_path()).unwrap().count(), 3, "only what belongs there");
    fetched
}

#[test]
fn every_durable_chunk_is_there_after_a_restart_and_hashed_before_it_counts() {
    let (pair, source, content) = some();
    let partial = source.partial(&pair.consumer());
    assert_eq!((partial.durable(), partial.unchecked()), (&came(), &came()));
    assert_eq!(finish(&source, partial, &content), 10);
}

#[test]
fn a_damaged_chunk_between_gaps_is_found_and_written_again() {
    let (pair, source, content) = some();
    change(&folder(&pair, &source).join(PAYLOAD), 9 * CHUNK + 5);
    assert_eq!(finish(&source, source.partial(&pair.consumer()), &content), 11);
}

#[test]
fn without_the_file_or_with_a_damaged_one_hashing_finds_what_is_there() {
    for damage in ["missing", "flipped", "cut", "of another payload"] {
        let (pair, source, content) = some();
        let path = folder(&pair, &source).join(HAVE);
        let mut file = fs::read(&path).unwrap();
        match damage {
            "missing" => fs::remove_file(&path).unwrap(),
            "flipped" => {
                file[40] ^= 1;
                fs::write(&path, &file).unwrap();
            }
            "cut" => fs::write(&path, &file[..file.len() / 2]).unwrap(),
            _ => fs::write(&path, came().encode(&Hash([1; 32]))).unwrap(),
        }
        // One of them is also damaged.
        change(&folder(&pair, &source).join(PAYLOAD), 12 * CHUNK);
        let partial = source.partial(&pair.consumer());
        let mut whole = came();
        whole.remove_bytes(12 * CHUNK..13 * CHUNK);
        assert_eq!((partial.durable(), partial.unchecked_bytes()), (&whole, 0), "{damage}");
        assert_eq!(finish(&source, partial, &content), 11, "{damage}");
    }
}

#[test]
fn what_was_written_and_not_synced_is_found_among_gaps() {
    let (pair, source, content) = some();
    let mut partial = source.partial(&pair.consumer());
    partial.write(&source.chunk(6)).unwrap();
    drop(partial);
    let partial = source.partial(&pair.consumer());
    let mut all = came();
    all.insert_chunks(CHUNK, 6..7);
    assert_eq!((partial.durable(), partial.unchecked()), (&all, &came()));
    assert_eq!(finish(&source, partial, &content), 9);
}

#[test]
fn a_plan_with_other_chunks_keeps_what_makes_whole_ones() {
    let (pair, source, content) = some();
    let provider = pair.provider();
    let small = Source::new(&provider, source.stored.root(), CHUNK / 4);
    let partial = small.partial(&pair.consumer());
    assert_eq!(partial.durable(), &came());
    drop(partial);
    // Only one chunk of twice the size is whole: the one made of 2 and 3.
    let large = Source::new(&provider, source.stored.root(), CHUNK * 2);
    let partial = large.partial(&pair.consumer());
    assert!(partial.durable().chunks(CHUNK * 2).eq(std::iter::once(1..2)));
    assert_eq!(finish(&large, partial, &content), 7);
}

#[test]
fn zeros_that_take_no_room_are_found_again_by_their_hashes() {
    let pair = Pair::new();
    let mut content = bytes(MIB, 4);
    content[4 * CHUNK as usize..10 * CHUNK as usize].fill(0);
    let root = pair.publish(&content, 1);
    let source = Source::new(&pair.provider(), root, CHUNK);
    let mut partial = source.partial(&pair.consumer());
    for index in [12, 5, 6] {
        partial.write(&source.chunk(index)).unwrap();
    }
    partial.sync(Durability::Strict).unwrap();
    drop(partial);
    fs::remove_file(folder(&pair, &source).join(HAVE)).unwrap();
    let partial = source.partial(&pair.consumer());
    // Chunk 7 was never written, but its content is zeros, and a hole reads as zeros.
    assert_eq!(partial.durable().chunks(CHUNK).collect::<Vec<_>>(), [5..8, 12..13]);
    assert_eq!(finish(&source, partial, &content), 12);
}
