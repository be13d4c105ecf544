//! The light client: it enforces the order, checks every payload, and gives a head only for a chain that is complete
//! and verified.

use std::sync::Arc;

use crate::support::{FakeVerifier, Fixture};
use rpp_p2p::{AuthorityError, Checkpoint, LightClientSync, PlanBounds, SyncError, Update, limits::MIN_CHUNK_SIZE};

const PAYLOAD: usize = 3 * MIN_CHUNK_SIZE as usize + 17;

fn sync(fixture: &Fixture) -> LightClientSync {
    let mut sync = LightClientSync::new(fixture.trust(), Arc::new(FakeVerifier));
    sync.accept_plan(Arc::new(fixture.plan.clone())).unwrap();
    sync
}

fn head(sync: &LightClientSync) -> Option<Checkpoint> {
    *sync.head().borrow()
}

#[test]
fn a_head_comes_with_the_last_update_and_not_before() {
    let fixture = Fixture::new(PAYLOAD);
    let mut sync = sync(&fixture);
    let heads = sync.head();
    for index in 0..2 {
        assert_eq!(sync.accept_update(index, &fixture.updates[index as usize]).unwrap(), None);
        assert!(!heads.has_changed().unwrap() && !sync.is_authorized());
    }
    assert_eq!(sync.accept_update(2, &fixture.updates[2]).unwrap(), Some(fixture.plan.tip));
    assert_eq!(*heads.borrow(), Some(fixture.plan.tip));
    assert!(sync.is_authorized() && !sync.is_complete());
    for index in 0..4 {
        let chunk = fixture.chunk(index);
        sync.accept_chunk(index, &chunk.bytes, &chunk.proof).unwrap();
    }
    assert!(sync.is_complete());
    assert!(matches!(sync.accept_update(3, &fixture.updates[2]), Err(SyncError::OutOfOrder { .. })));
    assert!(matches!(sync.accept_chunk(4, &[], &[]), Err(SyncError::OutOfOrder { .. })));
}

#[test]
fn nothing_is_accepted_before_a_plan_or_out_of_order() {
    let fixture = Fixture::new(PAYLOAD);
    let mut fresh = LightClientSync::new(fixture.trust(), Arc::new(FakeVerifier));
    assert!(matches!(fresh.accept_update(0, &fixture.updates[0]), Err(SyncError::NoPlan)));
    assert!(matches!(fresh.accept_chunk(0, &[], &[]), Err(SyncError::NoPlan)));
    let mut sync = sync(&fixture);
    let chunk = fixture.chunk(1);
    assert!(matches!(
        sync.accept_chunk(1, &chunk.bytes, &chunk.proof),
        Err(SyncError::OutOfOrder { what: "chunk", expected: 0, got: 1 })
    ));
    assert!(matches!(
        sync.accept_update(2, &fixture.updates[2]),
        Err(SyncError::OutOfOrder { what: "update", expected: 0, got: 2 })
    ));
    assert_eq!((sync.next_chunk(), sync.next_update(), head(&sync)), (Some(0), Some(0), None));
}

#[test]
fn an_update_that_is_changed_anywhere_is_refused_and_stays_due() {
    let fixture = Fixture::new(PAYLOAD);
    type Change = fn(&mut Update);
    let changes: [Change; 7] = [
        |update| update.checkpoint.step ^= 1,
        |update| update.checkpoint.height += 1,
        |update| update.checkpoint.block_hash.0[7] ^= 4,
        |update| update.checkpoint.state_root.0[7] ^= 4,
        |update| update.checkpoint.payload_bytes ^= 1,
        |update| update.checkpoint.commitment.0[7] ^= 4,
        |update| update.previous_commitment.0[7] ^= 4,
    ];
    for change in changes {
        let mut sync = sync(&fixture);
        for (index, update) in (0..).zip(&fixture.updates) {
            let mut changed = update.clone();
            change(&mut changed);
            assert!(sync.accept_update(index, &changed).is_err(), "update {index}: {changed:?}");
            assert_eq!((sync.next_update(), head(&sync)), (Some(index), None));
            sync.accept_update(index, update).unwrap();
        }
    }
}

#[test]
fn a_tip_needs_its_signatures_and_its_proof() {
    let fixture = Fixture::new(PAYLOAD);
    let last = &fixture.updates[2];
    let mut unsigned = last.clone();
    unsigned.signatures.clear();
    let mut forged = last.clone();
    let mut signature = forged.signatures[0].signature.to_vec();
    signature[0] ^= 1;
    forged.signatures[0].signature = signature.into();
    let mut short = last.clone();
    short.signatures[0].signature = short.signatures[0].signature.slice(..63);
    let mut unproven = last.clone();
    unproven.recursive_proof = None;
    let mut ill_proven = last.clone();
    ill_proven.recursive_proof = Some(bytes::Bytes::from_static(b"another proof"));

    let mut sync = sync(&fixture);
    sync.accept_update(0, &fixture.updates[0]).unwrap();
    sync.accept_update(1, &fixture.updates[1]).unwrap();
    for refused in [unsigned, forged, short, unproven, ill_proven] {
        let error = sync.accept_update(2, &refused).unwrap_err();
        assert_eq!((head(&sync), sync.is_authorized()), (None, false), "{error}");
        let _: AuthorityError = error.into();
    }
    let mut anchored = fixture.trust();
    anchored.revoked = fixture.plan.genesis.publishers.clone();
    let mut distrusting = LightClientSync::new(anchored, Arc::new(FakeVerifier));
    distrusting.accept_plan(Arc::new(fixture.plan.clone())).unwrap();
    distrusting.accept_update(0, &fixture.updates[0]).unwrap();
    distrusting.accept_update(1, &fixture.updates[1]).unwrap();
    assert!(matches!(distrusting.accept_update(2, last), Err(SyncError::Signatures(_))));
    sync.accept_update(2, last).unwrap();
}

#[test]
fn a_chunk_that_does_not_lead_to_the_root_is_refused_and_stays_due() {
    let fixture = Fixture::new(PAYLOAD);
    let mut sync = sync(&fixture);
    let chunk = fixture.chunk(0);
    let mut bytes = chunk.bytes.to_vec();
    bytes[5] ^= 1;
    assert!(matches!(sync.accept_chunk(0, &bytes, &chunk.proof), Err(SyncError::Chunk { index: 0, .. })));
    let mut proof = chunk.proof.clone();
    proof[0].0[0] ^= 1;
    assert!(sync.accept_chunk(0, &chunk.bytes, &proof).is_err());
    assert!(sync.accept_chunk(0, &chunk.bytes, &proof[1..]).is_err());
    sync.accept_chunk(0, &chunk.bytes, &chunk.proof).unwrap();
}

#[test]
fn a_plan_of_another_genesis_or_out_of_bounds_is_refused() {
    let fixture = Fixture::new(PAYLOAD);
    let mut trust = fixture.trust();
    trust.genesis.0[0] ^= 1;
    let mut other = LightClientSync::new(trust, Arc::new(FakeVerifier));
    assert!(matches!(other.accept_plan(Arc::new(fixture.plan.clone())), Err(SyncError::Plan(_))));
    let bounds = PlanBounds::default().with_max_updates(2);
    let mut narrow = LightClientSync::new(fixture.trust(), Arc::new(FakeVerifier)).with_bounds(bounds);
    assert!(matches!(narrow.accept_plan(Arc::new(fixture.plan.clone())), Err(SyncError::Plan(_))));
    assert!(narrow.resume_plan(Arc::new(fixture.plan.clone()), 2).is_err());
}

#[test]
fn a_resumed_session_goes_on_from_its_chunk() {
    let fixture = Fixture::new(PAYLOAD);
    let mut sync = LightClientSync::new(fixture.trust(), Arc::new(FakeVerifier));
    assert!(sync.resume_plan(Arc::new(fixture.plan.clone()), 5).is_err());
    sync.resume_plan(Arc::new(fixture.plan.clone()), 3).unwrap();
    let chunk = fixture.chunk(3);
    sync.accept_chunk(3, &chunk.bytes, &chunk.proof).unwrap();
    assert!(!sync.is_complete(), "the chain is not verified");
}

#[test]
fn sessions_share_a_head_that_never_falls_and_never_forks() {
    let fixture = Fixture::new(PAYLOAD);
    let mut first = sync(&fixture);
    let accept_all = |sync: &mut LightClientSync| {
        sync.accept_plan(Arc::new(fixture.plan.clone())).unwrap();
        (0..).zip(&fixture.updates).try_for_each(|(index, update)| sync.accept_update(index, update).map(drop))
    };
    accept_all(&mut first).unwrap();
    let mut second = first.another();
    assert_eq!(second.next_update(), None);
    accept_all(&mut second).unwrap();

    let newer = Checkpoint { step: 9, ..fixture.plan.tip };
    let mut behind = first.another().with_head(Some(newer));
    accept_all(&mut behind).unwrap();
    assert_eq!(head(&first), Some(newer), "an older tip is verified and moves nothing");

    let mut fork = fixture.plan.tip;
    fork.commitment.0[0] ^= 1;
    let mut forked = first.another().with_head(Some(fork));
    assert!(matches!(accept_all(&mut forked), Err(SyncError::Equivocation { step: 3, .. })));
    assert!(!forked.is_authorized());
    assert_eq!(head(&forked), Some(fork));
}
