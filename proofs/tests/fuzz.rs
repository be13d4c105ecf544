//! Fuzzes the bytes that the verifier gets.
//!
//! On a stable toolchain, without anything to install:
//!
//! ```sh
//! BOLERO_RANDOM_ITERATIONS=1000000000 BOLERO_RANDOM_TEST_TIME_MS=600000 cargo test -p rpp-proofs --test fuzz
//! ```
//!
//! runs for ten minutes; a plain `cargo test` runs for a few seconds. A finding prints its seed
//! (`BOLERO_RANDOM_SEED=...`), which repeats it. Inputs are edits of a valid proof, because random bytes already fail
//! the length check.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use bolero::TypeGenerator;
use rpp_proofs::{PROOF_BYTES, ProofError, Tip, Verifier};
use support::fixture;

/// What the verifier is given.
#[derive(Debug, TypeGenerator)]
enum Input {
    /// A valid proof, edited.
    Edited(#[generator(bolero::produce::<Vec<Edit>>().with().len(1_usize..6))] Vec<Edit>),
    /// A valid proof, presented for another claim.
    Claimed { step: u64, height: u64, commitment: Option<[u8; 32]> },
    /// Any bytes of the right length, with right length fields if `shaped`.
    Filled { bytes: [u8; 64], shaped: bool },
    /// Any bytes.
    Any(Vec<u8>),
}

#[derive(Debug, TypeGenerator)]
enum Edit {
    Flip {
        at: u16,
        bit: u8,
    },
    /// Changes low bytes of an element: numbers stay canonical, and half of the points stay on their curve.
    FlipLow {
        element: u16,
        at: u8,
        bit: u8,
    },
    Set {
        element: u16,
        value: [u8; 32],
    },
    Small {
        element: u16,
        value: u8,
    },
    Copy {
        from: u16,
        to: u16,
    },
    Length {
        field: u16,
        value: u64,
    },
    NearLength {
        field: u16,
        add: i8,
    },
    /// From another valid proof of the same tip.
    Splice {
        from: u16,
        length: u16,
    },
    Part {
        part: u8,
        other_chain: bool,
    },
    Truncate {
        to: u16,
    },
    Append {
        byte: u8,
        count: u8,
    },
}

fn main() {
    let fixture = fixture();
    Verifier::shared().prepare().unwrap();
    bolero::check!().with_type::<Input>().with_iterations(200).for_each(|input| {
        let (tip, proof) = present(input);
        let honest = tip == fixture.tip() && (proof == fixture.proof_3 || proof == fixture.proof_3_again);
        match Verifier::shared().verify(&fixture.genesis, &tip, &proof) {
            Ok(()) => assert!(honest, "a forged proof verifies"),
            Err(error) => {
                assert!(!honest, "{error}");
                assert_ne!(error, ProofError::Panicked);
                assert!(!error.is_local(), "{error}");
            }
        }
    });
}

fn present(input: &Input) -> (Tip, Vec<u8>) {
    let fixture = fixture();
    let tip = fixture.tip();
    match input {
        Input::Edited(edits) => {
            let mut proof = fixture.proof_3.clone();
            for edit in edits {
                apply(edit, &mut proof);
            }
            (tip, proof)
        }
        Input::Claimed { step, height, commitment } => {
            let commitment = commitment.and_then(|bytes| bytes.try_into().ok()).unwrap_or(tip.commitment);
            (Tip { step: *step, height: *height, commitment }, fixture.proof_3.clone())
        }
        Input::Filled { bytes, shaped } => {
            let mut proof: Vec<u8> = bytes.iter().copied().cycle().take(PROOF_BYTES).collect();
            if *shaped {
                for (offset, length) in support::length_fields() {
                    proof[offset..offset + 8].copy_from_slice(&length.to_le_bytes());
                }
                proof[PROOF_BYTES - 64..].copy_from_slice(&fixture.proof_3[PROOF_BYTES - 64..]);
            }
            (tip, proof)
        }
        Input::Any(bytes) => (tip, bytes.clone()),
    }
}

fn apply(edit: &Edit, proof: &mut Vec<u8>) {
    let fixture = fixture();
    let elements = support::elements();
    let element = |index: u16| elements[usize::from(index) % elements.len()];
    let fields = support::length_fields();
    match *edit {
        Edit::Flip { at, bit } => write(proof, usize::from(at) % PROOF_BYTES, |byte| byte[0] ^= 1 << (bit % 8), 1),
        Edit::FlipLow { element: index, at, bit } => {
            write(proof, element(index) + usize::from(at % 24), |byte| byte[0] ^= 1 << (bit % 8), 1);
        }
        Edit::Set { element: index, value } => write(proof, element(index), |bytes| bytes.copy_from_slice(&value), 32),
        Edit::Small { element: index, value } => {
            let set = |bytes: &mut [u8]| {
                bytes.fill(0);
                bytes[0] = value;
            };
            write(proof, element(index), set, 32);
        }
        Edit::Copy { from, to } => {
            let source = proof.get(element(from)..element(from) + 32).map(<[u8]>::to_vec);
            if let Some(source) = source {
                write(proof, element(to), |bytes| bytes.copy_from_slice(&source), 32);
            }
        }
        Edit::Length { field, value } => {
            let (offset, _) = fields[usize::from(field) % fields.len()];
            write(proof, offset, |bytes| bytes.copy_from_slice(&value.to_le_bytes()), 8);
        }
        Edit::NearLength { field, add } => {
            let (offset, honest) = fields[usize::from(field) % fields.len()];
            let value = honest.wrapping_add_signed(add.into());
            write(proof, offset, |bytes| bytes.copy_from_slice(&value.to_le_bytes()), 8);
        }
        Edit::Splice { from, length } => {
            let from = usize::from(from) % PROOF_BYTES;
            let to = (from + usize::from(length)).min(PROOF_BYTES);
            write(proof, from, |bytes| bytes.copy_from_slice(&fixture.proof_3_again[from..to]), to - from);
        }
        Edit::Part { part, other_chain } => {
            let parts = support::parts();
            let (_, range) = parts[usize::from(part) % parts.len()].clone();
            let donor = if other_chain { &fixture.other_proof } else { &fixture.proof_3_again };
            write(proof, range.start, |bytes| bytes.copy_from_slice(&donor[range.clone()]), range.len());
        }
        Edit::Truncate { to } => proof.truncate(usize::from(to)),
        Edit::Append { byte, count } => proof.resize(proof.len() + usize::from(count), byte),
    }
}

/// Changes `length` bytes at `offset`, if the proof still has them.
fn write(proof: &mut [u8], offset: usize, change: impl FnOnce(&mut [u8]), length: usize) {
    if let Some(bytes) = proof.get_mut(offset..offset + length) {
        change(bytes);
    }
}
