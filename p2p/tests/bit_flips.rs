//! Flips a single bit anywhere in the JSON of a plan, an update or a chunk. The answer must be refused before a marker
//! moves, or must provably mean the same.

use std::{sync::Arc, time::Instant};

use crate::world::WORLD;
use libp2p::PeerId;
use rpp_p2p::{
    AuthorityError, ByHand, FailureCode, Plan, PlanWishes, RequestId, Rules, SessionState, SnapshotSessionId,
    SnapshotsRequest, SnapshotsResponse, Verified, Violation,
    consumer::{Action, Options, Session},
    json,
    plan::check_authority_signatures,
};

/// Step 5 has 16,385 bytes: a chunk of 16 KiB, and one of a single byte with a proof.
const SNAPSHOT: u64 = 5;
const TIP: u64 = 6;

fn session_id() -> SnapshotSessionId {
    SnapshotSessionId::new(7).unwrap()
}

fn rules() -> Rules {
    Rules { trust: Arc::clone(&WORLD.trust), ..Rules::default() }
}

/// The result of an answer, and the markers after it.
fn outcome(plan: Option<&Plan>, request: &SnapshotsRequest, text: &[u8]) -> (Result<Verified, Violation>, (u64, u64)) {
    let mut session = plan.map_or_else(ByHand::default, |plan| ByHand::resumed(Arc::new(plan.clone()), 0, 0));
    let exchange = session.exchange(request.clone());
    exchange.fits().unwrap();
    let result =
        json::decode_response(text).map_err(Violation::from).and_then(|response| exchange.check(&rules(), response));
    if let Ok(verified) = &result {
        session.verified(verified);
    }
    (result, session.markers())
}

/// The meaning of a verified answer: everything except what a refused session never acts on.
fn meaning(verified: &Verified) -> String {
    format!("{verified:?}")
}

/// Flips every `stride`-th bit of a text in turn. Returns how many of the texts were refused and how many meant the
/// same.
fn flip_all(
    plan: Option<&Plan>,
    request: &SnapshotsRequest,
    response: &SnapshotsResponse,
    stride: usize,
    mut tolerated: impl FnMut(&Verified) -> bool,
) -> (usize, usize) {
    let good = json::encode_response(response);
    let (honest, _) = outcome(plan, request, &good);
    let honest = meaning(&honest.unwrap());
    let (mut refused, mut same) = (0, 0);
    for bit in (0..good.len() * 8).step_by(stride) {
        let mut text = good.clone();
        text[bit / 8] ^= 1 << (bit % 8);
        match outcome(plan, request, &text) {
            (Err(_), markers) => {
                assert_eq!(markers, (0, 0), "a marker moved on refused data");
                refused += 1;
            }
            (Ok(verified), _) if meaning(&verified) == honest || tolerated(&verified) => same += 1,
            (Ok(verified), _) => {
                let (byte, text) = (bit / 8, String::from_utf8_lossy(&text).into_owned());
                panic!("bit {bit} (byte {byte}) was believed: {verified:?}\n{}", &text[byte.saturating_sub(60)..]);
            }
        }
    }
    (refused, same)
}

fn update(plan: &Plan, update_index: u64) -> (SnapshotsRequest, SnapshotsResponse) {
    let session_id = session_id();
    (
        SnapshotsRequest::LightClientUpdate { session_id, update_index },
        SnapshotsResponse::LightClientUpdate {
            session_id,
            update_index,
            update: Box::new(WORLD.update(plan, update_index)),
        },
    )
}

fn chunk(plan: &Plan, chunk_index: u64) -> (SnapshotsRequest, SnapshotsResponse) {
    let session_id = session_id();
    let (chunk, proof) = WORLD.payload(&plan.snapshot.checkpoint.state_root).chunk(plan.chunk_size, chunk_index);
    (
        SnapshotsRequest::Chunk { session_id, chunk_index },
        SnapshotsResponse::Chunk { session_id, chunk_index, chunk, proof },
    )
}

#[test]
fn of_a_plan() {
    let plan = WORLD.plan(SNAPSHOT, TIP, 16_384);
    let request = SnapshotsRequest::Plan { session_id: session_id(), wishes: PlanWishes::default() };
    let response = SnapshotsResponse::Plan {
        session_id: session_id(),
        plan: Box::new(plan),
        min_chunk_size: 16_384,
        max_chunk_size: 4_194_304,
    };
    let (refused, same) = flip_all(None, &request, &response, 1, |_| false);
    assert!(refused > 10 * same, "{refused} refused, {same} the same");
}

#[test]
fn of_chunks() {
    let plan = WORLD.plan(SNAPSHOT, TIP, 16_384);
    let (request, response) = chunk(&plan, 1);
    assert_eq!(flip_all(Some(&plan), &request, &response, 1, |_| false).1, 0);
    let (request, response) = chunk(&plan, 0);
    assert_eq!(flip_all(Some(&plan), &request, &response, 41, |_| false).1, 0);
}

#[test]
fn of_an_update_before_the_tip() {
    let plan = WORLD.plan(SNAPSHOT, TIP, 16_384);
    let (request, response) = update(&plan, 0);
    // The signatures are over the tip only, and the verified value does not contain them.
    let (refused, same) = flip_all(Some(&plan), &request, &response, 1, |_| false);
    assert!(refused > same, "{refused} refused, {same} the same");
}

/// In the tip's update, a flip in the proof is left to the proof's verifier. Any other flip is refused at once.
#[test]
fn of_the_tip() {
    let plan = WORLD.plan(SNAPSHOT, TIP, 16_384);
    let (request, response) = update(&plan, 1);
    let mut false_proofs = 0;
    let good = WORLD.update(&plan, 1);
    flip_all(Some(&plan), &request, &response, 1, |verified| {
        let Verified::Update { update, .. } = verified else { return false };
        let mut repaired = update.clone();
        repaired.recursive_proof.clone_from(&good.recursive_proof);
        false_proofs += usize::from(repaired.as_ref() == &good && **update != good);
        repaired.as_ref() == &good
    });
    assert!(false_proofs > 50);
    let before = WORLD.update(&plan, 0);
    let mut tip = good;
    tip.recursive_proof = Some(bytes::Bytes::from_static(b"another proof"));
    session_refuses_the_proof(&plan, vec![before, tip]);
}

/// The last update does not count before its proof is checked. A wrong proof ends the session and names the sender.
fn session_refuses_the_proof(plan: &Plan, updates: Vec<rpp_p2p::Update>) {
    let now = Instant::now();
    let peer = PeerId::random();
    let mut session = Session::new(session_id(), peer, Options::default(), now);
    session.handle_connected(now, peer);
    let mut answers = vec![SnapshotsResponse::Plan {
        session_id: session_id(),
        plan: Box::new(plan.clone()),
        min_chunk_size: 16_384,
        max_chunk_size: 4_194_304,
    }];
    answers.extend((0..).zip(updates).map(|(update_index, update)| SnapshotsResponse::LightClientUpdate {
        session_id: session_id(),
        update_index,
        update: Box::new(update),
    }));
    for (number, answer) in (1..).zip(answers) {
        let id = RequestId::new(number);
        let exchange = loop {
            match session.poll_action(now).unwrap() {
                Action::Request(_, exchange) => break exchange,
                Action::PlanAccepted(_) => {}
                other => panic!("{other:?}"),
            }
        };
        session.handle_sent(now, Ok(id)).unwrap();
        let verified = exchange.check(&rules(), answer).unwrap();
        session.handle_verified(now, id, verified).unwrap();
    }
    let Some(Action::VerifyAuthority { plan, updates }) = session.poll_action(now) else { panic!() };
    check_authority_signatures(&plan, &updates, &WORLD.trust).unwrap();
    assert_eq!(session.view().verified_updates, 1, "the tip does not count yet");
    session.handle_authority(now, Err(AuthorityError::Proof { reason: rpp_proofs::ProofError::Height })).unwrap();
    let view = session.view();
    let failure = view.failure.unwrap();
    assert_eq!((view.state, view.verified_updates, failure.code), (SessionState::Failed, 1, FailureCode::Proof));
    assert!(failure.distrust && failure.message.contains(&peer.to_string()));
}
