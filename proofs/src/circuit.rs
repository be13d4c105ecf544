//! One step of the chain as a circuit: the same hash as in [`crate::chain`], and a rising height.
//!
//! The statement, over `z = [commitment, height]`:
//!
//! - `z'[0] = Poseidon(z[0], height', bh_lo, bh_hi, sr_lo, sr_hi + payload_bytes * 2^128)`, where the prover chooses
//!   everything but `z[0]`;
//! - `z'[1] = height' = z[1] + 1 + gap` with `gap` below 2^64.
//!
//! Heights and limbs need no range check. Heights start at 0 and only grow, by less than 2^64 + 1 in a step, so they
//! cannot wrap around the field within any realistic number of steps. If the last height fits a u64, all heights before
//! it do. The consumer itself hashes the inputs of the last commitment.

use nova_snark::{
    frontend::{
        AllocatedBit, ConstraintSystem, LinearCombination, SynthesisError,
        gadgets::poseidon::{Elt, Simplex, SpongeAPI, SpongeCircuit, SpongeTrait},
        num::AllocatedNum,
    },
    traits::circuit::StepCircuit,
};

use crate::{
    chain::{Checkpoint, Tip, inputs},
    field::Scalar,
    poseidon,
};

/// Number of field elements that the chain carries from step to step.
pub(crate) const ARITY: usize = 2;

/// The circuit, with the witness of one step.
#[derive(Clone, Debug)]
pub(crate) struct ChainStep {
    inputs: [Scalar; 5],
    gap: u64,
}

impl ChainStep {
    /// The step from `before` to `checkpoint`. The caller has checked that the height rises: otherwise the witness is
    /// unsatisfiable.
    pub(crate) fn new(before: &Tip, checkpoint: &Checkpoint) -> Self {
        Self { inputs: inputs(checkpoint), gap: checkpoint.height.wrapping_sub(before.height).wrapping_sub(1) }
    }

    /// The circuit's shape alone.
    pub(crate) fn shape() -> Self {
        Self { inputs: [Scalar::zero(); 5], gap: 0 }
    }
}

impl StepCircuit<Scalar> for ChainStep {
    fn arity(&self) -> usize {
        ARITY
    }

    fn synthesize<CS: ConstraintSystem<Scalar>>(
        &self,
        cs: &mut CS,
        z: &[AllocatedNum<Scalar>],
    ) -> Result<Vec<AllocatedNum<Scalar>>, SynthesisError> {
        let [commitment, height] = z else { return Err(SynthesisError::AssignmentMissing) };
        let mut absorbed = vec![commitment.clone()];
        for (index, value) in self.inputs.iter().enumerate() {
            absorbed.push(AllocatedNum::alloc(cs.namespace(|| format!("input {index}")), || Ok(*value))?);
        }
        let next_height = absorbed[1].clone();
        enforce_rise(cs, height, &next_height, self.gap)?;
        let next_commitment = hash(cs, &absorbed)?;
        Ok(vec![next_commitment, next_height])
    }
}

/// `before + 1 + gap = after`, `gap` in 64 bits.
fn enforce_rise<CS: ConstraintSystem<Scalar>>(
    cs: &mut CS,
    before: &AllocatedNum<Scalar>,
    after: &AllocatedNum<Scalar>,
    gap: u64,
) -> Result<(), SynthesisError> {
    let mut sum = LinearCombination::zero() + before.get_variable() + CS::one();
    let mut weight = Scalar::one();
    for index in 0..u64::BITS {
        let value = gap >> index & 1 == 1;
        let bit = AllocatedBit::alloc(cs.namespace(|| format!("gap bit {index}")), Some(value))?;
        sum = sum + (weight, bit.get_variable());
        weight = weight.double();
    }
    cs.enforce(|| "height rises", |_| sum, |lc| lc + CS::one(), |lc| lc + after.get_variable());
    Ok(())
}

fn hash<CS: ConstraintSystem<Scalar>>(
    cs: &mut CS,
    absorbed: &[AllocatedNum<Scalar>],
) -> Result<AllocatedNum<Scalar>, SynthesisError> {
    let elements: Vec<_> = absorbed.iter().cloned().map(Elt::Allocated).collect();
    let mut namespace = cs.namespace(|| "commitment");
    let squeezed = {
        let mut sponge = SpongeCircuit::new_with_constants(poseidon::constants(), Simplex);
        sponge.start(poseidon::pattern(), Some(poseidon::DOMAIN), &mut namespace);
        SpongeAPI::absorb(&mut sponge, poseidon::ARITY, &elements, &mut namespace);
        SpongeAPI::squeeze(&mut sponge, 1, &mut namespace)
    };
    Elt::ensure_allocated(&squeezed[0], &mut namespace.namespace(|| "squeezed"))
}

#[cfg(test)]
mod tests;
