//! The random oracle of the folding scheme: nova-snark's Poseidon, with constants from a table.
//!
//! Deriving the constants inverts a matrix for each round, four times in a set-up. They are the same on every machine,
//! so `oracle.bin` holds them, first those over Pallas' base field, then those over Vesta's, in bincode's fixed-width
//! encoding. `cargo run --release -p rpp-proofs --example tables` writes the file again. A test compares it with what
//! the library derives, and the pinned hash of the verifier's key covers it, too.

use std::sync::OnceLock;

use ff::{PrimeField, PrimeFieldBits};
use halo2curves::pasta::{Fp, Fq};
use nova_snark::{
    frontend::{AllocatedBit, ConstraintSystem, SynthesisError, num::AllocatedNum},
    provider::poseidon::{PoseidonConstantsCircuit, PoseidonRO, PoseidonROCircuit},
    traits::{ROCircuitTrait, ROMode, ROTrait},
};
use serde::{Deserialize, Serialize};

/// Constants of both fields.
static TABLE: &[u8] = include_bytes!("oracle.bin");

/// A field whose constants are in the table.
pub(crate) trait Known: PrimeField + PrimeFieldBits + Serialize + for<'de> Deserialize<'de> {
    /// Decoded once per process; `None` when the table does not decode.
    fn constants() -> Option<&'static PoseidonConstantsCircuit<Self>>;
}

type Both = (PoseidonConstantsCircuit<Fp>, PoseidonConstantsCircuit<Fq>);

fn table() -> Option<&'static Both> {
    static DECODED: OnceLock<Option<Both>> = OnceLock::new();
    let decode = || bincode::serde::decode_from_slice(TABLE, bincode::config::legacy()).ok().map(|(both, _)| both);
    DECODED.get_or_init(decode).as_ref()
}

impl Known for Fp {
    fn constants() -> Option<&'static PoseidonConstantsCircuit<Self>> {
        table().map(|both| &both.0)
    }
}

impl Known for Fq {
    fn constants() -> Option<&'static PoseidonConstantsCircuit<Self>> {
        table().map(|both| &both.1)
    }
}

/// The library's constants, in its encoding. This leaves out the round constants before compression, which only the
/// library's slow reference hash reads.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub(crate) struct Constants<F: Known>(PoseidonConstantsCircuit<F>);

impl<F: Known> Default for Constants<F> {
    fn default() -> Self {
        Self(F::constants().cloned().unwrap_or_default())
    }
}

/// The oracle outside circuits.
pub(crate) struct Oracle<F: Known>(PoseidonRO<F>);

impl<F: Known> ROTrait<F> for Oracle<F> {
    type CircuitRO = OracleCircuit<F>;
    type Constants = Constants<F>;

    fn new(constants: Self::Constants) -> Self {
        Self(PoseidonRO::new(constants.0))
    }

    fn new_with_mode(constants: Self::Constants, mode: ROMode) -> Self {
        Self(PoseidonRO::new_with_mode(constants.0, mode))
    }

    fn absorb(&mut self, element: F) {
        self.0.absorb(element);
    }

    fn squeeze(&mut self, bits: usize, start_with_one: bool) -> F {
        self.0.squeeze(bits, start_with_one)
    }
}

/// The oracle inside circuits.
pub(crate) struct OracleCircuit<F: Known>(PoseidonROCircuit<F>);

impl<F: Known> ROCircuitTrait<F> for OracleCircuit<F> {
    type NativeRO = Oracle<F>;
    type Constants = Constants<F>;

    fn new(constants: Self::Constants) -> Self {
        Self(PoseidonROCircuit::new(constants.0))
    }

    fn new_with_mode(constants: Self::Constants, mode: ROMode) -> Self {
        Self(PoseidonROCircuit::new_with_mode(constants.0, mode))
    }

    fn absorb(&mut self, element: &AllocatedNum<F>) {
        self.0.absorb(element);
    }

    fn squeeze<CS: ConstraintSystem<F>>(
        &mut self,
        cs: CS,
        bits: usize,
        start_with_one: bool,
    ) -> Result<Vec<AllocatedBit>, SynthesisError> {
        self.0.squeeze(cs, bits, start_with_one)
    }

    fn squeeze_scalar<CS: ConstraintSystem<F>>(&mut self, cs: CS) -> Result<AllocatedNum<F>, SynthesisError> {
        self.0.squeeze_scalar(cs)
    }

    fn set_compact(&mut self, compact: bool) {
        self.0.set_compact(compact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_what_the_library_derives() {
        let derived: Both = Default::default();
        let encoded = bincode::serde::encode_to_vec(&derived, bincode::config::legacy()).unwrap();
        assert!(encoded == TABLE);
    }

    #[test]
    fn the_table_is_in_use() {
        assert!(table().is_some());
    }
}
