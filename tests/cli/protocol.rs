//! Keeps `docs/protocol.md` true: every message in it is exactly what the code writes, reads back, and verifies.

use std::sync::Arc;

use bytes::Bytes;
use rpp_p2p::{
    ArtefactKind, ByHand, Checkpoint, ErrorCode, Hash, PayloadFormat, Plan, PlanWishes, Rules, Signature,
    SnapshotHeader, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, TrustAnchor, Update, Verified,
    json::{decode_request, decode_response, encode_request, encode_response},
    outboard::{Layout, chunk_nodes, proof_nodes},
    plan,
};
use rpp_proofs::{Genesis, Signer, next_commitment};

const DOCS: &str = include_str!("../../docs/protocol.md");

/// The chain of the examples: 16 KiB of zeros and `tail\n`, then a tip above it.
struct Example {
    trust: TrustAnchor,
    plan: Plan,
    updates: Vec<Update>,
    chunk: (Bytes, Vec<Hash>),
}

impl Example {
    fn new() -> Self {
        let signer = Signer::from_seed([1; 32]);
        let genesis = Genesis::new("example".to_owned(), vec![signer.public()], 1).unwrap();
        let mut payload = vec![0; 16 * 1024];
        payload.extend_from_slice(b"tail\n");
        let mut previous = genesis.commitment();
        let updates: Vec<Update> = [(1, 1200, payload.as_slice()), (2, 1210, b"next".as_slice())]
            .into_iter()
            .map(|(step, height, payload)| {
                let mut checkpoint = Checkpoint {
                    step,
                    height,
                    block_hash: Hash([step as u8; 32]),
                    state_root: blake3::hash(payload).into(),
                    payload_bytes: payload.len() as u64,
                    commitment: Hash::default(),
                };
                let commitment = next_commitment(&previous, &(&checkpoint).into());
                checkpoint.commitment = Hash(commitment.to_bytes());
                let previous_commitment = Hash(std::mem::replace(&mut previous, commitment).to_bytes());
                let signature = signer.sign(&genesis.commitment(), &commitment, height, step);
                let is_tip = step == 2;
                Update {
                    checkpoint,
                    previous_commitment,
                    recursive_proof: is_tip.then(|| Bytes::from_static(b"10,624 bytes in truth")),
                    signatures: if is_tip { vec![Signature::from(&signature)] } else { Vec::new() },
                }
            })
            .collect();
        let mut plan = Plan {
            plan_id: Hash::default(),
            proof: rpp_proofs::PROOF_SYSTEM.to_owned(),
            genesis: plan::descriptor(&genesis),
            snapshot: SnapshotHeader { checkpoint: updates[0].checkpoint, format: PayloadFormat::Raw },
            tip: updates[1].checkpoint,
            chunk_size: 16_384,
            total_chunks: 2,
            total_updates: 2,
        };
        plan.plan_id = plan::plan_id(&plan).unwrap();
        let layout = Layout::new(payload.len() as u64);
        let first = chunk_nodes(&layout, 16_384, 0, &payload[..16_384]);
        assert_eq!(proof_nodes(&layout, 16_384, 1), vec![first[0].0]);
        let chunk = (Bytes::from_static(b"tail\n"), vec![first[0].1]);
        let trust = TrustAnchor::new(Hash(genesis.commitment().to_bytes()));
        Self { trust, plan, updates, chunk }
    }

    fn messages(&self) -> Vec<(SnapshotsRequest, SnapshotsResponse)> {
        let session_id = SnapshotSessionId::new(7).unwrap();
        let plan_id = self.plan.plan_id;
        let update = |update_index: u64| {
            (
                SnapshotsRequest::LightClientUpdate { session_id, update_index },
                SnapshotsResponse::LightClientUpdate {
                    session_id,
                    update_index,
                    update: Box::new(self.updates[update_index as usize].clone()),
                },
            )
        };
        vec![
            (
                SnapshotsRequest::Plan {
                    session_id,
                    wishes: PlanWishes { chunk_size: Some(20_000), height: Some(1200), ..PlanWishes::default() },
                },
                SnapshotsResponse::Plan {
                    session_id,
                    plan: Box::new(self.plan.clone()),
                    min_chunk_size: 16_384,
                    max_chunk_size: 4_194_304,
                },
            ),
            update(0),
            update(1),
            (
                SnapshotsRequest::Chunk { session_id, chunk_index: 1 },
                SnapshotsResponse::Chunk {
                    session_id,
                    chunk_index: 1,
                    chunk: self.chunk.0.clone(),
                    proof: self.chunk.1.clone(),
                },
            ),
            (
                SnapshotsRequest::Ack { session_id, kind: ArtefactKind::Chunk, index: 1 },
                SnapshotsResponse::Ack { session_id, kind: ArtefactKind::Chunk, index: 1 },
            ),
            (
                SnapshotsRequest::Resume { session_id, plan_id, chunk_index: 2, update_index: 2 },
                SnapshotsResponse::Resume { session_id, plan_id, chunk_index: 2, update_index: 2, chunk_size: 16_384 },
            ),
            (
                SnapshotsRequest::Error { session_id, message: "not needed any more".to_owned() },
                SnapshotsResponse::Error {
                    session_id,
                    code: ErrorCode::Cancelled,
                    message: "the session was cancelled".to_owned(),
                },
            ),
        ]
    }
}

/// The fenced blocks whose info string is `info`, in order.
fn blocks(info: &str) -> Vec<String> {
    let fence = format!("```{info}\n");
    DOCS.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

fn value(text: &[u8]) -> serde_json::Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn the_messages_of_the_docs_are_what_the_code_writes_and_reads() {
    let messages = Example::new().messages();
    let (requests, responses) = (blocks("json request"), blocks("json response"));
    let written = || {
        let lines =
            messages.iter().flat_map(|(request, response)| [encode_request(request), encode_response(response)]);
        lines.map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
    };
    let expected = (messages.len(), messages.len());
    assert_eq!((requests.len(), responses.len()), expected, "the messages are:\n{}", written());
    for ((request, response), (shown_request, shown_response)) in messages.iter().zip(requests.iter().zip(&responses)) {
        let written = encode_request(request);
        assert_eq!(value(shown_request.as_bytes()), value(&written), "{}", String::from_utf8_lossy(&written));
        assert_eq!(&decode_request(shown_request.as_bytes()).unwrap(), request);
        let written = encode_response(response);
        assert_eq!(value(shown_response.as_bytes()), value(&written), "{}", String::from_utf8_lossy(&written));
        assert_eq!(&decode_response(shown_response.as_bytes()).unwrap(), response);
    }
}

#[test]
fn the_answers_of_the_docs_verify_against_their_requests() {
    let example = Example::new();
    let rules = Rules { trust: Arc::new(example.trust.clone()), ..Rules::default() };
    let mut session = ByHand::default();
    for (request, response) in blocks("json request").iter().zip(blocks("json response")) {
        let request = decode_request(request.as_bytes()).unwrap();
        let exchange = session.exchange(request);
        exchange.fits().unwrap();
        let verified = exchange.check(&rules, decode_response(response.as_bytes()).unwrap()).unwrap();
        session.verified(&verified);
        if let Verified::Chunk(chunk) = verified {
            assert_eq!(chunk.bytes.as_ref(), b"tail\n");
        }
    }
    assert_eq!(session.markers(), (2, 2));
}

#[test]
fn the_plan_id_of_the_docs_is_computed_as_they_say() {
    let example = Example::new();
    let plan = &example.plan;
    let mut text = b"rpp/plan/1\0".to_vec();
    text.extend(example.trust.genesis.0);
    for checkpoint in [&plan.snapshot.checkpoint, &plan.tip] {
        text.extend(checkpoint.step.to_le_bytes());
        text.extend(checkpoint.height.to_le_bytes());
        text.extend(checkpoint.block_hash.0);
        text.extend(checkpoint.state_root.0);
        text.extend(checkpoint.payload_bytes.to_le_bytes());
        text.extend(checkpoint.commitment.0);
    }
    text.extend([0]);
    text.extend(2_u64.to_le_bytes());
    text.extend([13]);
    text.extend(b"nova-pallas-1");
    let vector = blocks("plan-id");
    let (genesis, hashed, id) = (example.trust.genesis, hex::encode(&text), blake3::hash(&text));
    let expected = format!("genesis {genesis}\nhashed {hashed}\nplan_id {id}");
    assert_eq!(vector, [expected]);
    assert_eq!(plan.plan_id, id.into());
}

#[test]
fn every_code_and_word_is_explained() {
    for word in [
        "not_found",
        "unauthorized",
        "busy",
        "invalid",
        "plan_changed",
        "resume_regressed",
        "resume_out_of_bounds",
        "cancelled",
        "internal",
        "network",
        "checksum",
        "authentication",
        "resume_mismatch",
        "provider",
        "storage",
        "proof",
        "stale",
        "equivocation",
    ] {
        assert!(DOCS.contains(&format!("| `{word}` |")), "{word} is not explained in docs/protocol.md");
    }
}
