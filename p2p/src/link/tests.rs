use std::sync::Arc;

use super::*;
use crate::{
    download::Want,
    messages::{Checkpoint, GenesisDescriptor, PayloadFormat, Plan, SnapshotHeader},
    types::Hash,
};

/// Ten chunks of 16 KiB.
fn plan() -> Arc<Plan> {
    let checkpoint = Checkpoint {
        step: 1,
        height: 1,
        block_hash: Hash::default(),
        state_root: Hash::default(),
        payload_bytes: 10 * CHUNK,
        commitment: Hash::default(),
    };
    Arc::new(Plan {
        plan_id: Hash::default(),
        proof: String::new(),
        genesis: GenesisDescriptor { chain_id: String::new(), publishers: Vec::new(), threshold: 1 },
        snapshot: SnapshotHeader { checkpoint, format: PayloadFormat::Raw },
        tip: checkpoint,
        chunk_size: CHUNK,
        total_chunks: 10,
        total_updates: 2,
    })
}

const CHUNK: u64 = 16 * 1024;

fn demand(plan: Option<Arc<Plan>>) -> Demand {
    Demand { plan, ..Demand::without_plan() }
}

fn link() -> Link {
    let session = SnapshotSessionId::new(7).expect("a valid id");
    Link::new(session, PeerId::random(), Options::default(), None, Instant::now())
}

/// The intents for a stream: the link is driven without the requests of 1.0.0.
#[test]
fn each_thing_is_said_once_and_what_came_is_neither_wanted_nor_granted_any_more() {
    let (now, mut link) = (Instant::now(), link());
    let nothing = demand(None);
    assert!(link.poll_connect(now, &nothing) && !link.poll_connect(now, &nothing));
    assert_eq!(link.poll_intent(&nothing), None, "nobody hears it yet");
    link.connected();
    assert!(matches!(link.poll_intent(&nothing), Some(Intent::Message(SnapshotsRequest::Plan { .. }))));
    link.planned(now);

    let mut demand = demand(Some(plan()));
    demand.want.updates = 0..2;
    assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
    for index in 0..2 {
        assert_eq!(link.poll_intent(&demand), None);
        link.update_came(index);
        demand.want.without_update(index);
    }
    (demand.want.chunks, demand.budget) = (std::iter::once(0..10).collect(), 4 * CHUNK);
    assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
    assert_eq!(link.poll_intent(&demand), Some(Intent::Credit(4 * CHUNK)));
    for index in 0..2 {
        link.chunk_came(index, CHUNK, true);
        demand.want.without_chunk(index);
        demand.budget -= CHUNK;
        assert_eq!(link.poll_intent(&demand), None);
    }
    // Both are durable: an ack is sent first.
    (demand.budget, demand.durable.chunks) = (4 * CHUNK, Some(2));
    let ack = link.poll_intent(&demand);
    assert!(matches!(ack, Some(Intent::Message(SnapshotsRequest::Ack { index: 1, .. }))), "{ack:?}");
    link.acked(ArtefactKind::Chunk, 1);
    assert_eq!(link.poll_intent(&demand), Some(Intent::Credit(6 * CHUNK)));
    // The disk is full: nothing is wanted, and the credit stays.
    let wanted = std::mem::take(&mut demand.want);
    demand.budget = 0;
    assert_eq!(link.poll_intent(&demand), Some(Intent::Want(Want::default())));
    assert_eq!(link.poll_intent(&demand), None);
    (demand.want, demand.budget) = (wanted, 4 * CHUNK);
    assert_eq!(link.poll_intent(&demand), Some(Intent::Want(demand.want.clone())));
    assert_eq!(link.poll_intent(&demand), None);
}

#[test]
fn one_request_at_a_time_stays_within_the_credit() {
    let (now, mut link) = (Instant::now(), link());
    link.connected();
    let mut demand = demand(Some(plan()));
    let request = link.poll_request(now, &demand);
    assert!(matches!(request, Some(SnapshotsRequest::Resume { chunk_index: 0, update_index: 0, .. })), "{request:?}");
    assert_eq!(link.poll_request(now, &demand), None, "one is in flight");
    assert!(matches!(link.handle_sent(Ok(RequestId::new(1))), Ok(None)));
    assert!(link.handle_sent(Ok(RequestId::new(2))).is_err(), "none is to be sent");
    assert!(link.end(RequestId::new(3)).is_none() && link.end(RequestId::new(1)).is_some());
    link.resumed(now);
    (demand.want.chunks, demand.budget) = (vec![3..4, 7..10], 2 * CHUNK + 1);
    for (id, expected) in [(4, 3), (5, 7)] {
        let request = link.poll_request(now, &demand);
        let Some(SnapshotsRequest::Chunk { chunk_index, .. }) = request else { panic!("{request:?}") };
        assert_eq!(chunk_index, expected);
        assert!(link.handle_sent(Ok(RequestId::new(id))).is_ok() && link.end(RequestId::new(id)).is_some());
        link.chunk_came(chunk_index, CHUNK, true);
        demand.want.without_chunk(chunk_index);
        demand.budget -= CHUNK;
    }
    assert_eq!(link.poll_request(now, &demand), None, "a byte is left");
    demand.budget = CHUNK;
    assert!(matches!(link.poll_request(now, &demand), Some(SnapshotsRequest::Chunk { chunk_index: 8, .. })));
}
