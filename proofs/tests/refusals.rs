//! What a verifier refuses: each way in which a proof, or the claim that comes with it, can be wrong.

use crate::support::{Fixture, STEPS, checkpoint, elements, fixture, length_fields, parts, told};
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};
use rpp_proofs::{Checkpoint, Commitment, EncodingError, PROOF_BYTES, ProofError, Tip, Verifier};

fn verify(fixture: &Fixture, tip: &Tip, proof: &[u8]) -> Result<(), ProofError> {
    Verifier::shared().verify(&fixture.genesis, tip, proof)
}

#[track_caller]
fn assert_invalid(result: Result<(), ProofError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, ProofError::Invalid(_)), "{error:?}");
    assert!(!error.is_local());
}

#[test]
fn honest_proofs_verify_and_have_one_length() {
    let fixture = fixture();
    for (step, proof) in [(2, &fixture.proof_2), (3, &fixture.proof_3), (3, &fixture.proof_3_again)] {
        assert_eq!(proof.len(), PROOF_BYTES);
        verify(fixture, &fixture.tips[step], proof).unwrap();
    }
    assert_ne!(fixture.proof_3, fixture.proof_3_again, "proofs are randomised");
    Verifier::shared().verify(&fixture.other_genesis, &fixture.other_tip, &fixture.other_proof).unwrap();
}

#[test]
fn a_changed_update_leads_to_another_commitment() {
    let fixture = fixture();
    let previous = fixture.previous();
    let honest = checkpoint(STEPS);
    assert_eq!(told(&previous, &honest), fixture.tip());
    let lies = [
        ("state root", Checkpoint { state_root: [0; 32], ..honest }),
        ("block hash", Checkpoint { block_hash: [0; 32], ..honest }),
        ("height", Checkpoint { height: honest.height + 1, ..honest }),
        ("payload length", Checkpoint { payload_bytes: honest.payload_bytes - 1, ..honest }),
    ];
    for (what, lie) in lies {
        assert_eq!(verify(fixture, &told(&previous, &lie), &fixture.proof_3), Err(ProofError::Commitment), "{what}");
    }
    let elsewhere = told(&fixture.tips[1].commitment, &honest);
    assert_eq!(verify(fixture, &elsewhere, &fixture.proof_3), Err(ProofError::Commitment), "previous commitment");
}

#[test]
fn the_claimed_commitment_and_height_must_be_the_proofs() {
    let fixture = fixture();
    let tip = fixture.tip();
    for height in [0, tip.height - 1, tip.height + 1, u64::MAX] {
        assert_eq!(verify(fixture, &Tip { height, ..tip }, &fixture.proof_3), Err(ProofError::Height));
    }
    let commitment = Commitment::from_bytes([1; 32]).unwrap();
    assert_eq!(verify(fixture, &Tip { commitment, ..tip }, &fixture.proof_3), Err(ProofError::Commitment));
}

/// A liar changes the outputs in the proof together with the claim.
#[test]
fn outputs_rewritten_to_fit_a_lie_do_not_verify() {
    let fixture = fixture();
    let honest = checkpoint(STEPS);
    for lie in [Checkpoint { state_root: [0; 32], ..honest }, Checkpoint { height: honest.height + 1, ..honest }] {
        let tip = told(&fixture.previous(), &lie);
        let mut proof = fixture.proof_3.clone();
        let outputs = PROOF_BYTES - 64;
        proof[outputs..outputs + 32].copy_from_slice(tip.commitment.as_bytes());
        proof[outputs + 32..outputs + 40].copy_from_slice(&tip.height.to_le_bytes());
        assert_invalid(verify(fixture, &tip, &proof));
    }
}

#[test]
fn the_number_of_steps_must_be_the_proofs() {
    let fixture = fixture();
    let at = |step| verify(fixture, &Tip { step, ..fixture.tip() }, &fixture.proof_3);
    assert_eq!(at(0), Err(ProofError::Step { step: 0 }));
    for step in [STEPS - 1, STEPS + 1, u64::from(u32::MAX) + 1 + STEPS, u64::MAX] {
        assert_invalid(at(step));
    }
}

#[test]
fn a_proof_of_another_chain_or_genesis_does_not_verify() {
    let fixture = fixture();
    let (tip, other_tip) = (fixture.tip(), fixture.other_tip);
    assert_eq!(verify(fixture, &tip, &fixture.other_proof), Err(ProofError::Commitment));
    assert_invalid(verify(fixture, &other_tip, &fixture.other_proof));
    assert_invalid(Verifier::shared().verify(&fixture.other_genesis, &tip, &fixture.proof_3));
    assert_eq!(verify(fixture, &tip, &fixture.proof_2), Err(ProofError::Commitment));
    assert_eq!(verify(fixture, &fixture.tips[2], &fixture.proof_3), Err(ProofError::Commitment));
}

#[test]
fn parts_of_different_proofs_do_not_mix() {
    let fixture = fixture();
    assert_eq!(parts().last().unwrap().1.end, PROOF_BYTES);
    for donor in [&fixture.proof_3_again, &fixture.proof_2, &fixture.other_proof] {
        for (name, range) in parts() {
            let mut mixed = fixture.proof_3.clone();
            mixed[range.clone()].copy_from_slice(&donor[range]);
            if mixed != fixture.proof_3 {
                verify(fixture, &fixture.tip(), &mixed).expect_err(name);
            }
        }
    }
    // The two halves, each complete.
    let argument = parts()[14].1.start;
    let mixed = [&fixture.proof_3[..argument], &fixture.proof_3_again[argument..]].concat();
    assert_invalid(verify(fixture, &fixture.tip(), &mixed));
}

#[test]
fn every_truncation_and_any_excess_is_refused() {
    let fixture = fixture();
    for found in 0..PROOF_BYTES {
        let refused = verify(fixture, &fixture.tip(), &fixture.proof_3[..found]);
        assert_eq!(refused, Err(EncodingError::Length { found }.into()));
    }
    for excess in [1, 2, 32, PROOF_BYTES, 1 << 20] {
        let mut proof = fixture.proof_3.clone();
        proof.resize(PROOF_BYTES + excess, 0);
        let refused = verify(fixture, &fixture.tip(), &proof);
        assert_eq!(refused, Err(EncodingError::Length { found: PROOF_BYTES + excess }.into()));
    }
}

#[test]
fn every_length_field_must_say_what_it_always_says() {
    let fixture = fixture();
    let fields = length_fields();
    assert_eq!(fields.len(), 6 + 2 * (3 + 14 + 15 + 14 + 3));
    for (offset, honest) in fields {
        assert_eq!(fixture.proof_3[offset..offset + 8], honest.to_le_bytes());
        for found in [0, honest - 1, honest + 1, 1 << 32, (1 << 32) + honest, 1 << 60, u64::MAX] {
            let mut proof = fixture.proof_3.clone();
            proof[offset..offset + 8].copy_from_slice(&found.to_le_bytes());
            let expected = usize::try_from(honest).unwrap();
            let refused = verify(fixture, &fixture.tip(), &proof);
            assert_eq!(refused, Err(EncodingError::Vector { offset, found, expected }.into()));
        }
    }
}

/// All lengths are right, and all elements are the same number. Zeros are points at infinity, which honest proofs never
/// have.
#[test]
fn well_formed_proofs_of_nothing_do_not_verify() {
    let fixture = fixture();
    for byte in [0, 1, 2, 0x3f] {
        let mut proof = vec![byte; PROOF_BYTES];
        for (offset, length) in length_fields() {
            proof[offset..offset + 8].copy_from_slice(&length.to_le_bytes());
        }
        proof[PROOF_BYTES - 64..].copy_from_slice(&fixture.proof_3[PROOF_BYTES - 64..]);
        verify(fixture, &fixture.tip(), &proof).unwrap_err();
    }
    // The honest front passes the hash check; the argument is empty.
    for argument in parts()[14..16].iter().map(|(_, range)| range.clone()) {
        let mut proof = fixture.proof_3.clone();
        proof[argument].fill(0);
        for (offset, length) in length_fields() {
            proof[offset..offset + 8].copy_from_slice(&length.to_le_bytes());
        }
        assert_invalid(verify(fixture, &fixture.tip(), &proof));
    }
}

#[test]
fn random_bytes_are_refused() {
    let fixture = fixture();
    let mut rng = StdRng::seed_from_u64(1);
    for length in [0, 1, 8, 1000, PROOF_BYTES, PROOF_BYTES, PROOF_BYTES, 2 * PROOF_BYTES] {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        verify(fixture, &fixture.tip(), &bytes).unwrap_err();
    }
}

/// Every element has one encoding: the same number plus the modulus is refused and not reduced.
#[test]
fn numbers_have_one_encoding() {
    let fixture = fixture();
    let mut proof = fixture.proof_3.clone();
    // The last element, the height, is far enough below 2^256 minus the modulus.
    let modulus = hex::decode("40000000000000000000000000000000224698fc0994a8dd8c46eb2100000001").unwrap();
    let mut carry = 0;
    for (byte, add) in proof[PROOF_BYTES - 32..].iter_mut().zip(modulus.iter().rev()) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(verify(fixture, &fixture.tip(), &proof), Err(EncodingError::Element.into()));
}

/// 300 by default; the long run is `RPP_PROOF_MUTATIONS=10000 cargo test -p rpp-proofs --test proofs random_mutations`.
/// `RPP_PROOF_SEED` repeats a run.
#[test]
fn random_mutations_of_a_valid_proof_do_not_verify() {
    let fixture = fixture();
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let count = number("RPP_PROOF_MUTATIONS").unwrap_or(300);
    let seed = number("RPP_PROOF_SEED").unwrap_or_else(rand::random);
    println!("RPP_PROOF_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let lengths = length_fields();
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..count {
        let mut proof = fixture.proof_3.clone();
        while proof == fixture.proof_3 {
            for _ in 0..rng.random_range(1..=3) {
                mutate(&mut proof, &mut rng, &lengths);
            }
        }
        let error = verify(fixture, &fixture.tip(), &proof)
            .expect_err(&format!("round {round} of seed {seed}: a mutated proof verifies"));
        assert_ne!(error, ProofError::Panicked, "round {round} of seed {seed}");
        let kind = format!("{error:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        *outcomes.entry(kind).or_insert(0_u64) += 1;
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.values().sum::<u64>(), count);
}

fn mutate(proof: &mut Vec<u8>, rng: &mut StdRng, lengths: &[(usize, u64)]) {
    let at = rng.random_range(0..PROOF_BYTES);
    let at = at.min(proof.len().saturating_sub(1));
    match rng.random_range(0..12) {
        // Most changes keep elements decodable, so that the argument itself is reached.
        0..4 => flip_low_bit(proof, rng),
        4 => proof[at] ^= 1 << rng.random_range(0..8),
        5 => proof[at] = rng.random(),
        6 => {
            let (offset, honest) = lengths[rng.random_range(0..lengths.len())];
            let values = [0, 1, honest - 1, honest + 1, u64::MAX, rng.random(), rng.random_range(0..64)];
            let value = values[rng.random_range(0..values.len())];
            if let Some(field) = proof.get_mut(offset..offset + 8) {
                field.copy_from_slice(&value.to_le_bytes());
            }
        }
        7 => {
            let (from, to) = (element(rng), element(rng));
            if to + 32 <= proof.len() && from + 32 <= proof.len() {
                proof.copy_within(from..from + 32, to);
            }
        }
        8 => {
            let to = element(rng);
            let fill = [0, 0xff, 1][rng.random_range(0..3)];
            if let Some(element) = proof.get_mut(to..to + 32) {
                element.fill(fill);
            }
        }
        9 => {
            let to = element(rng);
            let small = rng.random_range(0..4_u8);
            if let Some(element) = proof.get_mut(to..to + 32) {
                element.fill(0);
                element[0] = small;
            }
        }
        10 => proof.truncate(at),
        _ => {
            let excess = rng.random_range(1..64);
            proof.resize(proof.len() + excess, rng.random());
        }
    }
    if proof.is_empty() {
        proof.push(0);
    }
}

/// Where a random element of the front, the arguments or the outputs starts.
fn element(rng: &mut StdRng) -> usize {
    let elements = elements();
    elements[rng.random_range(0..elements.len())]
}

/// A change in an element's low bytes: numbers stay canonical, and half of the points stay on their curve.
fn flip_low_bit(proof: &mut [u8], rng: &mut StdRng) {
    let offset = element(rng) + rng.random_range(0..24);
    let bit = 1 << rng.random_range(0..8);
    if let Some(byte) = proof.get_mut(offset) {
        *byte ^= bit;
    }
}
