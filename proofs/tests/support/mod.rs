//! Chains and proofs that the tests share. The proofs are committed, because each takes seconds to make; a test in
//! `refusals.rs` checks that today's prover makes equally valid ones, and writes them anew when told to.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{fs, path::PathBuf, sync::OnceLock};

use rpp_proofs::{Chain, Checkpoint, Commitment, Genesis, PROOF_BYTES, Signer, Tip, next_commitment};

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
    /// The last checkpoint's again: proofs are randomised.
    pub(crate) proof_3_again: Vec<u8>,
    pub(crate) other_proof: Vec<u8>,
}

pub(crate) const STEPS: u64 = 3;

pub(crate) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let (genesis, other_genesis) = (genesis("one"), genesis("two"));
        let tips = tips(&genesis);
        let other_tip = tips_at(&other_genesis, STEPS);
        let [proof_2, proof_3, proof_3_again, other_proof] = PROOFS.map(|name| fs::read(proof_file(name)).unwrap());
        Fixture { genesis, other_genesis, tips, other_tip, proof_2, proof_3, proof_3_again, other_proof }
    })
}

/// The committed proofs.
pub(crate) const PROOFS: [&str; 4] = ["one-2", "one-3", "one-3-again", "two-3"];

pub(crate) fn proof_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).with_extension("proof")
}

/// Where the chain of this genesis stands after each step, from none to all.
pub(crate) fn tips(genesis: &Genesis) -> Vec<Tip> {
    (0..=STEPS).map(|steps| tips_at(genesis, steps)).collect()
}

fn tips_at(genesis: &Genesis, steps: u64) -> Tip {
    let mut chain = Chain::genesis(genesis);
    for step in 1..=steps {
        chain.extend(&checkpoint(step)).unwrap();
    }
    chain.tip()
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

/// The tip that a consumer computes when it is told this checkpoint after `previous`.
pub(crate) fn told(previous: &Commitment, checkpoint: &Checkpoint) -> Tip {
    Tip { step: checkpoint.step, height: checkpoint.height, commitment: next_commitment(previous, checkpoint) }
}

/// The parts of a proof, from its description in `docs/proofs.md`: lengths in bytes, in order.
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

/// Where each part stands.
pub(crate) fn parts() -> Vec<(&'static str, std::ops::Range<usize>)> {
    let mut offset = 0;
    let parts = PARTS.iter().map(|(name, length)| {
        offset += length;
        (*name, offset - length..offset)
    });
    parts.collect()
}

/// Where each length field stands, and what it says.
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

/// Every place that is not a length field is an element of 32 bytes.
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
