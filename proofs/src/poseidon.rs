//! The hash of the chain: nova-snark's Poseidon of six field elements, with our domain tag.
//!
//! The circuit hashes with the same constants and the same pattern; a property test compares the two.

use std::sync::OnceLock;

use nova_snark::frontend::gadgets::poseidon::{
    IOPattern, PoseidonConstants, Simplex, Sponge, SpongeAPI, SpongeOp, SpongeTrait, Strength,
};
use typenum::U6;

use crate::field::Scalar;

/// Number of field elements that one commitment hashes.
pub(crate) const ARITY: u32 = 6;

/// Separates our commitments from any other use of the same Poseidon (`LCU1` in ASCII).
pub(crate) const DOMAIN: u32 = 0x4c43_5531;

/// Round constants and matrices; derived once per process.
pub(crate) fn constants() -> &'static PoseidonConstants<Scalar, U6> {
    static CONSTANTS: OnceLock<PoseidonConstants<Scalar, U6>> = OnceLock::new();
    CONSTANTS.get_or_init(|| Sponge::<Scalar, U6>::api_constants(Strength::Standard))
}

/// Absorb six, squeeze one.
pub(crate) fn pattern() -> IOPattern {
    IOPattern(vec![SpongeOp::Absorb(ARITY), SpongeOp::Squeeze(1)])
}

/// The hash outside the circuit.
pub(crate) fn hash(inputs: &[Scalar; ARITY as usize]) -> Scalar {
    let mut sponge = Sponge::new_with_constants(constants(), Simplex);
    let accumulator = &mut ();
    sponge.start(pattern(), Some(DOMAIN), accumulator);
    SpongeAPI::absorb(&mut sponge, ARITY, inputs, accumulator);
    // The pattern squeezes exactly one element.
    SpongeAPI::squeeze(&mut sponge, 1, accumulator)[0]
}
