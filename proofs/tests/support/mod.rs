//! Chains and proofs that the tests share. They are made once for each test binary, because a proof takes seconds.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::OnceLock;

use rpp_proofs::{Checkpoint, Commitment, Genesis, PROOF_BYTES, Prover, Signer, Tip, next_commitment};

/// A chain of three steps with proofs of the last two, and another genesis with the same checkpoints.
pub(crate) struct Fixture {
    pub(crate) genesis: Genesis,
    pub(crate) other_genesis: Genesis,
    /// Genesis first.
    pub(crate) tips: Vec<Tip>,
    pub(crate) other_tip: Tip,
    /// The last two checkpoints' proofs.
    pub(crate) proof_2: Vec<u8>,
    pub(crate) proof_3: Vec<u8>,
    /// Another proof of the last checkpoint: proofs are randomised.
    pub(crate) proof_3_again: Vec<u8>,
    pub(crate) other_proof: Vec<u8>,
}

pub(crate) const STEPS: u64 = 3;

pub(crate) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let (genesis, other_genesis) = (genesis("one"), genesis("two"));
        let dir = tempfile::tempdir().unwrap();
        let mut prover = Prover::open(&dir.path().join("one"), genesis.clone()).unwrap();
        let mut tips = vec![Tip { step: 0, height: 0, commitment: genesis.commitment() }];
        tips.push(prover.extend(&checkpoint(1)).unwrap());
        tips.push(prover.extend(&checkpoint(2)).unwrap());
        let proof_2 = prover.prove().unwrap();
        tips.push(prover.extend(&checkpoint(3)).unwrap());
        let (proof_3, proof_3_again) = (prover.prove().unwrap(), prover.prove().unwrap());

        let mut other = Prover::open(&dir.path().join("two"), other_genesis.clone()).unwrap();
        let other_tip = (1..=STEPS).map(|step| other.extend(&checkpoint(step)).unwrap()).last().unwrap();
        let other_proof = other.prove().unwrap();
        Fixture { genesis, other_genesis, tips, other_tip, proof_2, proof_3, proof_3_again, other_proof }
    })
}

impl Fixture {
    pub(crate) fn tip(&self) -> Tip {
        self.tips[3]
    }

    pub(crate) fn previous(&self) -> Commitment {
        self.tips[2].commitment
    }
}

pub(crate) fn genesis(chain_id: &str) -> Genesis {
    Genesis::new(chain_id.into(), vec![Signer::from_seed([1; 32]).public()], 1).unwrap()
}

pub(crate) fn checkpoint(step: u64) -> Checkpoint {
    let byte = u8::try_from(step % 251).unwrap();
    Checkpoint {
        step,
        height: step * 100,
        block_hash: [byte; 32],
        state_root: std::array::from_fn(|index| byte.wrapping_mul(31).wrapping_add(u8::try_from(index).unwrap())),
        payload_bytes: 1_000_000 + step,
    }
}

/// The tip that a consumer computes when it receives this checkpoint after `previous`.
pub(crate) fn told(previous: &Commitment, checkpoint: &Checkpoint) -> Tip {
    Tip { step: checkpoint.step, height: checkpoint.height, commitment: next_commitment(previous, checkpoint) }
}

/// The parts of a proof with their lengths in bytes, in order, as `docs/proofs.md` describes them.
pub(crate) const PARTS: [(&str, usize); 17] = [
    ("running instance, secondary", 168),
    ("its randomness", 32),
    ("last instance, secondary", 104),
    ("its fold", 32),
    ("blinding instance, secondary", 168),
    ("its fold", 32),
    ("running instance, primary", 168),
    ("its randomness", 32),
    ("blinding instance, primary", 168),
    ("its fold", 32),
    ("blind 1", 32),
    ("blind 2", 32),
    ("blind 3", 32),
    ("blind 4", 32),
    ("argument, primary", 4744),
    ("argument, secondary", 4744),
    ("outputs", 72),
];

/// The range of each part.
pub(crate) fn parts() -> Vec<(&'static str, std::ops::Range<usize>)> {
    let mut offset = 0;
    let parts = PARTS.iter().map(|(name, length)| {
        offset += length;
        (*name, offset - length..offset)
    });
    parts.collect()
}

/// The offset of each length field, and its value.
pub(crate) fn length_fields() -> Vec<(usize, u64)> {
    let mut fields = vec![];
    let mut offset = 0;
    let relaxed = |offset: &mut usize, fields: &mut Vec<(usize, u64)>| {
        fields.push((*offset + 64, 2));
        *offset += 168;
    };
    relaxed(&mut offset, &mut fields);
    fields.push((offset + 64, 2));
    offset += 32 + 104 + 32;
    relaxed(&mut offset, &mut fields);
    offset += 32;
    relaxed(&mut offset, &mut fields);
    offset += 32;
    relaxed(&mut offset, &mut fields);
    offset += 32 + 4 * 32;
    for _ in 0..2 {
        for (rounds, coefficients, after) in [(14, 3, 4 * 32), (15, 2, 32), (14, 2, 0)] {
            fields.push((offset, rounds));
            offset += 8;
            for _ in 0..rounds {
                fields.push((offset, coefficients));
                offset += 8 + usize::try_from(coefficients).unwrap() * 32;
            }
            offset += after;
        }
        for count in [2, 14, 14] {
            fields.push((offset, count));
            offset += 8 + usize::try_from(count).unwrap() * 32;
        }
        offset += 32;
    }
    fields.push((offset, 2));
    fields
}

/// Everything that is not a length field consists of elements of 32 bytes.
pub(crate) fn elements() -> Vec<usize> {
    let lengths: std::collections::BTreeSet<_> = length_fields().into_iter().map(|(offset, _)| offset).collect();
    let mut offsets = vec![];
    let mut offset = 0;
    while offset < PROOF_BYTES {
        if lengths.contains(&offset) {
            offset += 8;
        } else {
            offsets.push(offset);
            offset += 32;
        }
    }
    offsets
}
