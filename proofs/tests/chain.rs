//! Genesis, commitments and the native chain.

use proptest::prelude::*;
use rpp_proofs::{Chain, ChainError, Checkpoint, Commitment, Genesis, GenesisError, Signer, next_commitment};

fn keys(count: u8) -> Vec<[u8; 32]> {
    let mut keys: Vec<_> = (1..=count).map(|n| Signer::from_seed([n; 32]).public()).collect();
    keys.sort_unstable();
    keys
}

fn genesis() -> Genesis {
    Genesis::new("example".into(), keys(3), 2).unwrap()
}

fn checkpoint(step: u64, height: u64) -> Checkpoint {
    Checkpoint { step, height, block_hash: [7; 32], state_root: [9; 32], payload_bytes: 1 << 40 }
}

#[test]
fn the_descriptor_has_one_encoding_and_one_commitment() {
    let genesis = Genesis::new("example".into(), keys(2), 1).unwrap();
    let [first, second] = [0, 1].map(|index: usize| hex::encode(genesis.publishers()[index]));
    let json = format!(r#"{{"chain_id":"example","publishers":["{first}","{second}"],"threshold":1}}"#);
    assert_eq!(genesis.canonical_json(), json);
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["threshold"], 1);

    // Everything in the descriptor is pinned.
    let others = [
        Genesis::new("exampla".into(), keys(2), 1).unwrap(),
        Genesis::new("example".into(), keys(3), 1).unwrap(),
        Genesis::new("example".into(), keys(2), 2).unwrap(),
    ];
    for other in others {
        assert_ne!(other.commitment(), genesis.commitment());
        let refused = other.check(&genesis.commitment()).unwrap_err();
        assert_eq!(refused, GenesisError::NotTrusted { trusted: genesis.commitment(), found: other.commitment() });
    }
    genesis.check(&genesis.commitment()).unwrap();
}

#[test]
fn invalid_descriptors_are_refused() {
    let refusal = |id: &str, keys: Vec<[u8; 32]>, threshold| Genesis::new(id.into(), keys, threshold).unwrap_err();
    for id in ["", "a b", "ä", "a\"b", &"a".repeat(65)] {
        assert_eq!(refusal(id, keys(1), 1), GenesisError::ChainId, "{id}");
    }
    assert!(Genesis::new("A.b_c-9".repeat(9), keys(1), 1).is_ok());
    assert_eq!(refusal("a", vec![], 1), GenesisError::PublisherCount { found: 0 });
    assert_eq!(refusal("a", keys(65), 1), GenesisError::PublisherCount { found: 65 });
    assert!(Genesis::new("a".repeat(64), keys(64), 64).is_ok());

    let [low, high] = [keys(2)[0], keys(2)[1]];
    assert_eq!(refusal("a", vec![high, low], 1), GenesisError::PublisherOrder { index: 1 });
    assert_eq!(refusal("a", vec![low, low], 1), GenesisError::PublisherOrder { index: 1 });

    assert_eq!(refusal("a", keys(2), 0), GenesisError::Threshold { threshold: 0, publishers: 2 });
    assert_eq!(refusal("a", keys(2), 3), GenesisError::Threshold { threshold: 3, publishers: 2 });
    assert_eq!(refusal("a", keys(2), u32::MAX), GenesisError::Threshold { threshold: u32::MAX, publishers: 2 });
}

#[test]
fn keys_that_anybody_could_sign_for_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let order_four = [0; 32];
    // 2^255 - 18: a second encoding of y = 1.
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xee, 0x7f);
    let not_a_point = {
        let mut y = [0; 32];
        y[0] = 2;
        y
    };
    for key in [identity, order_four, not_canonical, not_a_point] {
        let refused = Genesis::new("a".into(), vec![key], 1).unwrap_err();
        assert_eq!(refused, GenesisError::PublisherKey { index: 0 }, "{}", hex::encode(key));
    }
}

#[test]
fn steps_and_heights_must_rise() {
    let mut chain = Chain::genesis(&genesis());
    for step in [0, 2, u64::MAX] {
        assert_eq!(chain.extend(&checkpoint(step, 5)), Err(ChainError::Step { after: 0, found: step }));
    }
    assert_eq!(chain.extend(&checkpoint(1, 0)), Err(ChainError::Height { after: 0, found: 0 }));
    let first = chain.extend(&checkpoint(1, 5)).unwrap();
    for height in [5, 4, 0] {
        assert_eq!(chain.extend(&checkpoint(2, height)), Err(ChainError::Height { after: 5, found: height }));
    }
    assert_eq!(chain.tip().commitment, first, "a refused checkpoint changes nothing");
    let last = chain.extend(&checkpoint(2, u64::MAX)).unwrap();
    assert_eq!((chain.tip().step, chain.tip().height, chain.tip().commitment), (2, u64::MAX, last));

    let mut full = Chain::at(u64::MAX, 1, last);
    assert_eq!(full.extend(&checkpoint(0, 2)), Err(ChainError::Step { after: u64::MAX, found: 0 }));
}

#[test]
fn a_consumer_can_join_anywhere() {
    let mut whole = Chain::genesis(&genesis());
    whole.extend(&checkpoint(1, 5)).unwrap();
    let joined_at = whole.tip();
    let mut joined = Chain::at(joined_at.step, 0, joined_at.commitment);
    assert_eq!(joined.extend(&checkpoint(2, 8)), whole.extend(&checkpoint(2, 8)));
    assert_eq!(joined.tip(), whole.tip());
}

/// Pins hash, field, limbs, order and domain: changing any of them breaks every existing chain. A second
/// implementation, `proofs/reference/commitment.py`, computes the same.
#[test]
fn the_chain_of_a_fixed_descriptor_is_pinned() {
    let genesis = Genesis::new("vector".into(), vec![Signer::from_seed([1; 32]).public()], 1).unwrap();
    let mut chain = Chain::genesis(&genesis);
    let mut found = vec![genesis.commitment().to_string()];
    for step in 1..=3_u8 {
        let commitment = chain
            .extend(&Checkpoint {
                step: step.into(),
                height: u64::from(step) * 100,
                block_hash: std::array::from_fn(|index| index as u8 ^ step),
                state_root: std::array::from_fn(|index| 255 - index as u8 * step),
                payload_bytes: u64::MAX - u64::from(step),
            })
            .unwrap();
        found.push(commitment.to_string());
    }
    assert_eq!(
        found,
        [
            "f7f8d66af4ff2865acad71202c0844b6be71eb1677e4e9a252ee028894a33a02",
            "98c5712993a7ef84ee27873219680f3d85fa6799f4ae132625440c94a256c910",
            "ef971b30ddade610d2595fe77aeff1f54b8c3ad320049ef2c163d76609edeb1d",
            "5523df484b6f8e09cd3fa1fd42e45bb8561a0f9a921b2b738d97522824e9fd19",
        ]
    );
}

proptest! {
    /// Each bit of a checkpoint, and the commitment before it, changes the commitment.
    #[test]
    fn every_bit_is_committed_to(
        previous in 0_u64..,
        height in 1_u64..,
        block_hash: [u8; 32],
        state_root: [u8; 32],
        payload_bytes: u64,
        bit in 0_usize..(8 + 32 + 32 + 8) * 8,
    ) {
        let previous = next_commitment(&genesis().commitment(), &checkpoint(1, previous));
        let original = Checkpoint { step: 2, height, block_hash, state_root, payload_bytes };
        let mut bytes = encode(&original);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = decode(&bytes);
        prop_assert_ne!(next_commitment(&previous, &original), next_commitment(&previous, &changed));
        prop_assert_ne!(
            next_commitment(&previous, &original),
            next_commitment(&next_commitment(&previous, &original), &original)
        );
    }

    #[test]
    fn commitments_are_canonical(block_hash: [u8; 32], state_root: [u8; 32]) {
        let checkpoint = Checkpoint { step: 1, height: 1, block_hash, state_root, payload_bytes: 0 };
        let commitment = next_commitment(&genesis().commitment(), &checkpoint);
        prop_assert_eq!(Commitment::from_bytes(commitment.to_bytes()), Ok(commitment));
    }
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let (height, length) = (checkpoint.height.to_le_bytes(), checkpoint.payload_bytes.to_le_bytes());
    [&height[..], &checkpoint.block_hash, &checkpoint.state_root, &length].concat()
}

fn decode(bytes: &[u8]) -> Checkpoint {
    Checkpoint {
        step: 2,
        height: u64::from_le_bytes(bytes[..8].try_into().unwrap()),
        block_hash: bytes[8..40].try_into().unwrap(),
        state_root: bytes[40..72].try_into().unwrap(),
        payload_bytes: u64::from_le_bytes(bytes[72..].try_into().unwrap()),
    }
}
