//! A provider's slots, records and byte budget: their rules, tested at their limits.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::world::WORLD;
use libp2p::PeerId;
use rpp_p2p::{
    ArtefactKind, ErrorCode, Hash, PipelineError, ResumeReason, SnapshotSessionId,
    limits::{
        MAX_RECORDS, MAX_RECORDS_PER_PEER, MAX_SLOT_WAITERS, MAX_SLOTS, MAX_SLOTS_PER_PEER, RECORD_RETENTION,
        SLOT_GIVES_WAY, SLOT_IDLE, SLOT_WAIT,
    },
    plan::{ChunkBounds, ChunkSizeError, choose_chunk_size},
    provider::{
        Asked, Budget, BudgetLimits, BudgetWait, Record, RecordLimits, Records, SessionKey, SlotLimits, SlotOutcome,
        Slots, Source,
    },
};

fn session(id: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(id).unwrap()
}

/// The `host`th address of a network.
fn source(host: u8) -> Source {
    Source::of_ip(Ipv4Addr::new(192, 0, 2, host).into())
}

/// Opens a session that is quiet from then on.
fn take(slots: &mut Slots, now: Instant, from: Source, peer: PeerId, id: u64) -> Result<(), PipelineError> {
    let ticket = slots.admit(now, from, peer, session(id))?;
    slots.release(now, ticket, SlotOutcome::Keep);
    Ok(())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// Five chunks, three updates.
fn record(seconds: u64) -> Record {
    Record::new(Arc::new(WORLD.plan(8, 10, 16_384)), at(seconds))
}

fn acknowledge(
    records: &mut Records,
    peer: PeerId,
    id: u64,
    kind: ArtefactKind,
    index: u64,
) -> Result<(), PipelineError> {
    let record = records.acknowledged(peer, session(id), kind, index, at(0))?;
    records.put(peer, session(id), record);
    Ok(())
}

#[test]
fn one_request_of_a_session_at_a_time() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let mut slots = Slots::new(SlotLimits::default());
    let ticket = slots.admit(now, source(1), peer, session(1)).unwrap();
    assert_eq!(slots.admit(now, source(1), peer, session(1)).unwrap_err().code(), ErrorCode::Busy);
    let other = slots.admit(now, source(2), PeerId::random(), session(1)).unwrap();
    slots.release(now, ticket, SlotOutcome::Keep);
    let again = slots.admit(now, source(1), peer, session(1)).unwrap();
    assert_eq!((slots.len(), slots.serving()), (2, 2));
    slots.release(now, again, SlotOutcome::Free);
    slots.release(now, other, SlotOutcome::Keep);
    assert_eq!((slots.len(), slots.serving()), (1, 0));
}

#[test]
fn slots_are_bounded_in_all_and_per_peer_and_freed_when_idle() {
    let now = Instant::now();
    let mut slots = Slots::new(SlotLimits::default().with_gives_way(SLOT_IDLE));
    let peers: Vec<_> = (0..MAX_SLOTS / MAX_SLOTS_PER_PEER).map(|_| PeerId::random()).collect();
    for (host, peer) in peers.iter().enumerate() {
        for id in 0..MAX_SLOTS_PER_PEER {
            // There are as many addresses as slots; a peer may come from several addresses.
            let from = source((host * MAX_SLOTS_PER_PEER + id) as u8);
            take(&mut slots, now, from, *peer, id as u64 + 1).unwrap();
        }
    }
    assert_eq!(slots.len(), MAX_SLOTS);
    let (stranger, elsewhere) = (PeerId::random(), source(200));
    let refused = take(&mut slots, now, source(0), peers[0], 99).unwrap_err();
    assert!(refused.to_string().contains("of this peer"), "{refused}");
    let refused = take(&mut slots, now, elsewhere, stranger, 1).unwrap_err();
    assert!(refused.to_string().contains("all 64 session slots"), "{refused}");
    // A session that is used stays; the others give way.
    let later = now + SLOT_IDLE;
    take(&mut slots, now + SLOT_IDLE / 2, source(0), peers[0], 1).unwrap();
    take(&mut slots, later, elsewhere, stranger, 1).unwrap();
    assert_eq!(slots.len(), 2);
    assert!(slots.contains(peers[0], session(1)) && slots.contains(stranger, session(1)));
}

#[test]
fn an_address_takes_slots_while_it_holds_fewer_than_are_free() {
    let now = Instant::now();
    let mut slots = Slots::new(SlotLimits::default());
    let fill = |slots: &mut Slots, host| {
        (1..).map_while(|_| slots.admit(now, source(host), PeerId::random(), session(1)).ok()).count()
    };
    // Keys cost nothing: each of these sessions belongs to another peer and has its request in flight.
    assert_eq!(fill(&mut slots, 1), MAX_SLOTS / 2);
    let refused = slots.admit(now, source(1), PeerId::random(), session(1)).unwrap_err();
    assert!(refused.to_string().contains("this address has its share of the 64 session slots, 32"), "{refused}");
    assert_eq!(fill(&mut slots, 2), MAX_SLOTS / 4);
    // So there is always a slot for a peer from another address.
    for host in 3..7 {
        assert!(fill(&mut slots, host) > 0, "{host}");
    }
}

#[test]
fn a_quiet_session_of_the_most_crowded_address_gives_way() {
    let now = Instant::now();
    let mut slots = Slots::new(SlotLimits::default().with_total(4).with_per_peer(2));
    let [one, two, three, four] = [1, 2, 3, 4].map(|_| PeerId::random());
    take(&mut slots, now, source(1), one, 1).unwrap();
    take(&mut slots, now, source(2), two, 1).unwrap();
    take(&mut slots, now + Duration::from_millis(1), source(1), three, 1).unwrap();
    take(&mut slots, now, source(3), two, 2).unwrap();
    assert!(take(&mut slots, now, source(4), four, 1).is_err(), "all were used a moment ago");
    let later = now + SLOT_GIVES_WAY;
    // The oldest session of the address that has two gives way, although older sessions of other addresses are quiet.
    take(&mut slots, later, source(4), four, 1).unwrap();
    assert!(!slots.contains(one, session(1)) && slots.contains(three, session(1)));
    // An address takes a slot only from an address with more slots than itself, or from itself.
    let later = later + SLOT_GIVES_WAY;
    let fresh = PeerId::random();
    take(&mut slots, later, source(4), fresh, 1).unwrap();
    assert!(!slots.contains(four, session(1)) && slots.contains(fresh, session(1)));
    // A peer at its own limit gives up one of its own slots.
    take(&mut slots, later, source(2), two, 3).unwrap();
    assert!(slots.contains(two, session(3)) && slots.len() == 4);
    assert_eq!(slots.gave_way(), 3);
}

#[test]
fn who_finds_no_slot_waits_and_the_source_that_holds_least_is_first() {
    let now = Instant::now();
    let mut slots = Slots::new(SlotLimits::default().with_total(2));
    let [one, two, three, four] = [1, 2, 3, 4].map(|_| PeerId::random());
    let first = slots.admit(now, source(1), one, session(1)).unwrap();
    let second = slots.admit(now, source(2), two, session(1)).unwrap();
    assert!(matches!(slots.ask(now, source(1), three, session(1)), Ok(Asked::Waiting)));
    assert!(matches!(slots.ask(now, source(3), four, session(1)), Ok(Asked::Waiting)));
    assert!(slots.ask(now, source(3), four, session(1)).is_err(), "it waits already");
    assert!(slots.poll(now).is_none());
    // The address of the first waiter already holds a slot under another key.
    slots.release(now, second, SlotOutcome::Free);
    let (key, ticket) = slots.poll(now).unwrap();
    assert_eq!(key, (four, session(1)));
    let ticket = ticket.unwrap();
    assert!(slots.poll(now).is_none(), "that address has its share");
    // A released slot becomes quiet, and then gives way.
    slots.release(now, first, SlotOutcome::Keep);
    assert!(slots.poll(now).is_none());
    assert_eq!(slots.poll_timeout(), Some(now + SLOT_GIVES_WAY));
    let (key, granted) = slots.poll(now + SLOT_GIVES_WAY).unwrap();
    assert_eq!(key, (three, session(1)));
    granted.map(drop).unwrap();
    assert!(!slots.contains(one, session(1)));
    // A request that finds no slot is refused after its time. A request that left is not mentioned again.
    assert!(matches!(slots.ask(now, source(1), one, session(1)), Ok(Asked::Waiting)));
    assert!(matches!(slots.ask(now, source(2), two, session(1)), Ok(Asked::Waiting)));
    slots.leave((two, session(1)));
    let (key, late) = slots.poll(now + SLOT_WAIT).unwrap();
    assert_eq!((key, late.unwrap_err().code()), ((one, session(1)), ErrorCode::Busy));
    assert!(slots.poll(now + SLOT_WAIT).is_none());
    assert_eq!((slots.poll_timeout(), slots.waiting()), (None, 0));
    slots.release(now, ticket, SlotOutcome::Free);
}

#[test]
fn the_queue_for_slots_is_bounded_and_shared_too() {
    let now = Instant::now();
    let mut slots = Slots::new(SlotLimits::default().with_total(1));
    let _held = slots.admit(now, source(0), PeerId::random(), session(1)).unwrap();
    let fill = |slots: &mut Slots, host| {
        (1..).map_while(|_| slots.ask(now, source(host), PeerId::random(), session(1)).ok()).count()
    };
    assert_eq!(fill(&mut slots, 1), MAX_SLOT_WAITERS / 2);
    for host in 2..100 {
        fill(&mut slots, host);
    }
    assert_eq!(slots.waiting(), MAX_SLOT_WAITERS);
    // A peer does not wait with more sessions than it may have.
    let mut slots = Slots::new(SlotLimits::default().with_total(1).with_per_peer(2));
    let _held = slots.admit(now, source(0), PeerId::random(), session(1)).unwrap();
    let peer = PeerId::random();
    assert_eq!((1..10).filter(|id| slots.ask(now, source(1), peer, session(*id)).is_ok()).count(), 2);
}

#[test]
fn a_slow_request_keeps_its_slot_and_a_cancel_frees_it_at_its_end() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let mut slots = Slots::new(SlotLimits::default().with_total(1));
    let ticket = slots.admit(now, source(1), peer, session(1)).unwrap();
    let later = now + SLOT_IDLE * 10;
    assert!(slots.admit(later, source(2), PeerId::random(), session(1)).is_err());
    slots.free(peer, session(1));
    assert!(slots.admit(later, source(2), PeerId::random(), session(1)).is_err(), "the request still runs");
    slots.release(later, ticket, SlotOutcome::Keep);
    assert!(slots.is_empty());
    slots.free(peer, session(1));
    slots.admit(later, source(2), PeerId::random(), session(1)).map(drop).unwrap();
}

#[test]
fn resume_is_accepted_from_confirmed_plus_one_to_the_total() {
    let peer = PeerId::random();
    let mut records = Records::default();
    records.put(peer, session(1), record(0));
    let plan = record(0).plan;
    let (chunks, updates) = (plan.total_chunks, plan.total_updates);
    let resume = |records: &mut Records, chunk, update| {
        records.resume(peer, session(1), plan.plan_id, chunk, update, at(1)).map(|at| (at.chunk_index, at.update_index))
    };
    assert_eq!(resume(&mut records, 0, 0).unwrap(), (0, 0));
    acknowledge(&mut records, peer, 1, ArtefactKind::Chunk, 1).unwrap();
    acknowledge(&mut records, peer, 1, ArtefactKind::LightClientUpdate, 0).unwrap();
    assert_eq!(resume(&mut records, 2, 1).unwrap(), (2, 1));
    assert_eq!(resume(&mut records, chunks, updates).unwrap(), (chunks, updates));
    let before = records.get(peer, session(1)).unwrap().clone();
    for (chunk, update, code, word, expected) in [
        (1, 1, ErrorCode::ResumeRegressed, "chunk 1", "2"),
        (2, 0, ErrorCode::ResumeRegressed, "update 0", "1"),
        (chunks + 1, 1, ErrorCode::ResumeOutOfBounds, "chunk 6", "5"),
        (2, updates + 1, ErrorCode::ResumeOutOfBounds, "update 4", "3"),
        (u64::MAX, u64::MAX, ErrorCode::ResumeOutOfBounds, "chunk", "5"),
    ] {
        let error = resume(&mut records, chunk, update).unwrap_err();
        assert!(matches!(error, PipelineError::SnapshotVerification { .. }));
        assert_eq!(error.code(), code);
        let message = error.to_string();
        assert!(message.contains(word) && message.contains(&format!("expected {expected}")), "{message}");
    }
    let regressed = PipelineError::SnapshotVerification {
        reason: ResumeReason::ResumeRegressed { kind: ArtefactKind::Chunk, asked: 1, expected: 2 },
    };
    assert_eq!(regressed.to_string(), resume(&mut records, 1, 1).unwrap_err().to_string());
    let changed = records.resume(peer, session(1), Hash::default(), 2, 1, at(1)).unwrap_err();
    assert_eq!(changed.code(), ErrorCode::PlanChanged);
    let after = records.get(peer, session(1)).unwrap();
    assert_eq!(
        (after.confirmed_chunk, after.confirmed_update),
        (before.confirmed_chunk, before.confirmed_update),
        "a resume moves no marker"
    );
}

#[test]
fn acks_never_fall_back_nor_reach_beyond() {
    let peer = PeerId::random();
    let mut records = Records::default();
    records.put(peer, session(1), record(0));
    let chunk = ArtefactKind::Chunk;
    acknowledge(&mut records, peer, 1, chunk, 2).unwrap();
    acknowledge(&mut records, peer, 1, chunk, 2).unwrap();
    assert_eq!(acknowledge(&mut records, peer, 1, chunk, 1).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(acknowledge(&mut records, peer, 1, chunk, 5).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(acknowledge(&mut records, peer, 1, chunk, u64::MAX).unwrap_err().code(), ErrorCode::Invalid);
    acknowledge(&mut records, peer, 1, ArtefactKind::Plan, 0).unwrap();
    assert_eq!(acknowledge(&mut records, peer, 1, ArtefactKind::Plan, 1).unwrap_err().code(), ErrorCode::Invalid);
    acknowledge(&mut records, peer, 1, chunk, 4).unwrap();
    assert!(!records.get(peer, session(1)).unwrap().is_finished());
    acknowledge(&mut records, peer, 1, ArtefactKind::LightClientUpdate, 2).unwrap();
    assert!(records.get(peer, session(1)).unwrap().is_finished());
}

#[test]
fn another_peers_session_is_not_found_and_untouched() {
    let (owner, other) = (PeerId::random(), PeerId::random());
    let mut records = Records::default();
    records.put(owner, session(1), record(0));
    let before = records.get(owner, session(1)).unwrap().clone();
    let plan_id = before.plan.plan_id;
    let not_found = |error: PipelineError| error.code() == ErrorCode::NotFound;
    assert!(not_found(records.serve(other, session(1), ArtefactKind::Chunk, 0, at(9)).unwrap_err()));
    assert!(not_found(records.resume(other, session(1), plan_id, 0, 0, at(9)).unwrap_err()));
    assert!(not_found(acknowledge(&mut records, other, 1, ArtefactKind::Chunk, 0).unwrap_err()));
    assert!(!records.remove(other, session(1)));
    assert_eq!(records.get(owner, session(1)).unwrap(), &before);
}

#[test]
fn any_artefact_within_the_totals_is_served_at_any_time() {
    let peer = PeerId::random();
    let mut records = Records::default();
    records.put(peer, session(1), record(0));
    acknowledge(&mut records, peer, 1, ArtefactKind::Chunk, 3).unwrap();
    let mut serve = |kind, index| records.serve(peer, session(1), kind, index, at(1)).map(drop);
    for index in [0, 4, 2] {
        serve(ArtefactKind::Chunk, index).unwrap();
    }
    serve(ArtefactKind::LightClientUpdate, 2).unwrap();
    assert_eq!(serve(ArtefactKind::Chunk, 5).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(serve(ArtefactKind::LightClientUpdate, 3).unwrap_err().code(), ErrorCode::Invalid);
}

#[test]
fn records_are_bounded_and_go_in_their_order() {
    let peer = PeerId::random();
    let most = MAX_RECORDS_PER_PEER as u64;
    let mut records = Records::new(RecordLimits::default());
    for id in 1..=most {
        records.put(peer, session(id), record(id));
    }
    let now = at(most + 1 + SLOT_IDLE.as_secs());
    let evict = |records: &mut Records| {
        records.make_room(peer, session(1000), None, now).map(|gone| gone.map(|key| key.1.get()))
    };
    // The oldest idle record is evicted, but not one that has acknowledged chunks.
    acknowledge(&mut records, peer, 1, ArtefactKind::Chunk, 0).unwrap();
    assert_eq!(evict(&mut records).unwrap(), Some(2));
    records.put(peer, session(2), record(2));
    // A finished record is evicted before older idle ones.
    acknowledge(&mut records, peer, 9, ArtefactKind::Chunk, 4).unwrap();
    acknowledge(&mut records, peer, 9, ArtefactKind::LightClientUpdate, 2).unwrap();
    assert_eq!(evict(&mut records).unwrap(), Some(9));
    // There is room, or the record exists already, so none is evicted.
    assert_eq!(evict(&mut records).unwrap(), None);
    records.put(peer, session(9), record(9));
    assert_eq!(records.make_room(peer, session(5), None, now).unwrap(), None);
    // Another peer has its own share.
    assert_eq!(records.make_room(PeerId::random(), session(1000), None, now).unwrap(), None);
    // None can be evicted: all are in use, or have acknowledged chunks.
    assert_eq!(records.make_room(peer, session(1000), None, at(1)).unwrap_err().code(), ErrorCode::Busy);
    for id in 1..=most {
        acknowledge(&mut records, peer, id, ArtefactKind::Chunk, 0).unwrap();
    }
    assert_eq!(records.make_room(peer, session(1000), None, now).unwrap_err().code(), ErrorCode::Busy);
    assert_eq!(records.len() as u64, most);
}

#[test]
fn records_are_bounded_in_all() {
    let mut records = Records::new(RecordLimits::default());
    for _ in 0..MAX_RECORDS {
        records.put(PeerId::random(), session(1), record(0));
    }
    let now = at(SLOT_IDLE.as_secs());
    assert!(records.make_room(PeerId::random(), session(1), None, now).unwrap().is_some());
    assert_eq!(records.len(), MAX_RECORDS - 1);
}

#[test]
fn records_that_one_address_makes_its_own_leave_room_for_others() {
    let mut records = Records::new(RecordLimits::default());
    // A session that has acknowledged a chunk has a record that is not evicted for a new one.
    let mut open = |from: u8| {
        let (peer, from) = (PeerId::random(), Some(source(from)));
        records.make_room(peer, session(1), from, at(0))?;
        records.put(peer, session(1), record(0).with_source(from));
        acknowledge(&mut records, peer, 1, ArtefactKind::Chunk, 0)
    };
    let opened = (0..).map_while(|_| open(1).ok()).count();
    assert_eq!(opened, MAX_RECORDS / 2);
    let refused = open(1).unwrap_err();
    assert!(refused.code() == ErrorCode::Busy && refused.to_string().contains("of this address"), "{refused}");
    open(2).unwrap();
}

#[test]
fn records_are_kept_for_a_day_and_survive_as_json() {
    let peer = PeerId::random();
    let mut records = Records::new(RecordLimits::default());
    let old = record(0);
    let text = serde_json::to_string(&old).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), old);
    records.put(peer, session(1), old);
    records.put(peer, session(2), record(10));
    assert!(records.expire(at(RECORD_RETENTION.as_secs() - 1)).is_empty());
    assert_eq!(records.expire(at(RECORD_RETENTION.as_secs())), [(peer, session(1))]);
    // If the clock goes backwards, nothing is forgotten.
    assert!(records.expire(UNIX_EPOCH).is_empty());
    assert_eq!(records.len(), 1);
}

#[test]
fn room_is_granted_in_order_and_refused_in_time() {
    let now = Instant::now();
    let limits = BudgetLimits::default().with_total(100).with_per_peer(60).with_wait(Duration::from_secs(5));
    let mut budget = Budget::new(limits);
    let keys: Vec<SessionKey> = (1..=5).map(|id| (PeerId::random(), session(id))).collect();
    // Each peer from an address of its own.
    let from = |key: SessionKey| source(keys.iter().position(|(peer, _)| *peer == key.0).unwrap() as u8);
    assert_eq!(budget.ask(now, from(keys[0]), keys[0], 50), BudgetWait::Granted);
    // The second answer for a peer waits for its first. An answer for another peer passes it.
    let second = (keys[0].0, session(9));
    assert_eq!(budget.ask(now, from(second), second, 20), BudgetWait::Waiting);
    assert_eq!(
        budget.ask(now, from(keys[1]), keys[1], 40),
        BudgetWait::Waiting,
        "nobody overtakes without being polled"
    );
    assert_eq!(budget.poll(now), Some((keys[1], true)));
    assert_eq!(budget.poll(now), None);
    // A large answer that waits for the total budget is not starved by small ones.
    assert_eq!(budget.ask(now, from(keys[2]), keys[2], 60), BudgetWait::Waiting);
    assert_eq!(budget.ask(now, from(keys[3]), keys[3], 5), BudgetWait::Waiting);
    assert_eq!(budget.poll(now), None);
    budget.leave(keys[1]);
    assert_eq!(budget.poll(now), None, "50 are held, 60 do not fit");
    budget.leave(keys[0]);
    assert_eq!(budget.poll(now), Some((second, true)));
    assert_eq!(budget.poll(now), Some((keys[2], true)));
    assert_eq!(budget.poll(now), Some((keys[3], true)));
    assert_eq!(budget.under_way(), 85);
    // The waiting time is over.
    assert_eq!(budget.ask(now, from(keys[4]), keys[4], 60), BudgetWait::Waiting);
    let late = budget.poll_timeout().unwrap();
    assert_eq!(late, now + limits.wait);
    assert_eq!(budget.poll(late), Some((keys[4], false)));
    for key in [second, keys[2], keys[3], keys[4]] {
        budget.leave(key);
    }
    assert_eq!((budget.under_way(), budget.waiting(), budget.poll_timeout()), (0, 0, None));
    // An answer larger than every limit is let through when it is alone.
    assert_eq!(budget.ask(now, from(keys[0]), keys[0], 1_000), BudgetWait::Granted);
}

#[test]
fn answers_that_an_address_does_not_read_leave_room_for_others() {
    let now = Instant::now();
    let mut budget =
        Budget::new(BudgetLimits::default().with_total(100).with_per_peer(60).with_wait(Duration::from_secs(5)));
    let key = |_| (PeerId::random(), session(1));
    let fill = |budget: &mut Budget, host| {
        (1..).map(key).take_while(|key| budget.ask(now, source(host), *key, 10) == BudgetWait::Granted).count()
    };
    assert_eq!(fill(&mut budget, 1), 5, "half of it, however many keys");
    // An answer that waits there does not block others.
    let other = key(0);
    assert_eq!(budget.ask(now, source(2), other, 40), BudgetWait::Waiting, "nobody overtakes without being polled");
    assert_eq!(budget.poll(now), Some((other, true)));
    assert_eq!((budget.under_way(), budget.poll(now)), (90, None));
}

#[test]
fn chunk_sizes_are_chosen_as_the_contract_says() {
    let bounds = |min, max| ChunkBounds { min, max };
    let all = ChunkBounds::default();
    for (asked, consumer, provider, chosen) in [
        (None, all, all, 1 << 20),
        (Some(1), all, all, 16_384),
        (Some(32_767), all, all, 16_384),
        (Some(32_768), all, all, 32_768),
        (Some(u64::MAX), all, all, 4 << 20),
        (Some(1 << 20), bounds(0, 100_000), all, 65_536),
        (Some(1), bounds(16_385, u64::MAX), all, 32_768),
        (Some(1), all, bounds(100_000, 1 << 20), 131_072),
        (Some(1 << 22), bounds(1, u64::MAX), bounds(1, 262_145), 262_144),
    ] {
        assert_eq!(choose_chunk_size(asked, consumer, provider), Ok(chosen), "{asked:?} {consumer:?} {provider:?}");
    }
    assert_eq!(choose_chunk_size(Some(0), all, all), Err(ChunkSizeError::Zero));
    for (consumer, provider) in [
        (bounds(1 << 20, 1 << 20), bounds(16_384, 1 << 19)),
        (bounds(40_000, 60_000), all),
        (bounds(0, 16_383), all),
        (bounds((4 << 20) + 1, u64::MAX), all),
        (bounds(u64::MAX, u64::MAX), all),
        (bounds(0, 0), all),
    ] {
        let error = choose_chunk_size(None, consumer, provider).unwrap_err();
        let message = error.to_string();
        for number in [consumer.min, consumer.max, provider.min, provider.max] {
            assert!(message.contains(&number.to_string()), "{message}");
        }
    }
}
