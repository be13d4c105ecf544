//! The compressing argument: the library's Spartan, with a verifier's key that comes from tables.
//!
//! A verifier's key has the padded matrices of a circuit, and the bases. The library builds it from everything that a prover
//! needs, which takes most of the time and memory of a process that only verifies. Here the key's [`Deserialize`] reads nothing:
//! it builds the key from [`crate::shapes`] and [`crate::generators`]. [`Serialize`] writes what the library's key writes, so
//! the pinned hash of the whole key covers it, and proofs are the library's.

use ff::PrimeField;
use halo2curves::serde::Repr;
use nova_snark::{
    errors::NovaError,
    provider::ipa_pc::EvaluationEngine,
    r1cs::{R1CSShape, RelaxedR1CSInstance, RelaxedR1CSWitness},
    spartan::snark::RelaxedR1CSSNARK,
    traits::{
        Engine,
        commitment::CommitmentEngineTrait,
        snark::{DigestHelperTrait, RelaxedR1CSSNARKTrait},
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    curve::{Pallas, Vesta},
    generators::LABEL,
    shapes::{self, Side},
};

type CommitmentKey<E> = <<E as Engine>::CE as CommitmentEngineTrait<E>>::CommitmentKey;
type LibraryKey<E> = <<E as Tabled>::Argument as RelaxedR1CSSNARKTrait<E>>::VerifierKey;

/// A curve whose circuit has a table.
pub(crate) trait Tabled: Engine<Scalar: PrimeField<Repr = Repr<32>>> {
    /// The library's argument.
    type Argument: RelaxedR1CSSNARKTrait<Self>;
    /// Where the table has the circuit.
    const SIDE: Side;
    /// The digest that the library computes of this circuit's verifier's key: little-endian, in hex.
    const DIGEST: &'static str;
}

impl Tabled for Pallas {
    type Argument = RelaxedR1CSSNARK<Self, EvaluationEngine<Self>>;
    const SIDE: Side = Side::Primary;
    const DIGEST: &'static str = "224a0f13102417ce966a1ad97f455f30380c6f5447e6494fa83e478774ae8c01";
}

impl Tabled for Vesta {
    type Argument = RelaxedR1CSSNARK<Self, EvaluationEngine<Self>>;
    const SIDE: Side = Side::Secondary;
    const DIGEST: &'static str = "8b821226fb93e7d529bc76d51b09b4e1703585c3dd3dc6c097f8e1373620bb01";
}

/// The argument, in the library's encoding.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub(crate) struct Spartan<E: Tabled>(E::Argument);

/// The verifier's key of one circuit.
pub(crate) struct CircuitKey<E: Tabled>(LibraryKey<E>);

impl<E: Tabled> CircuitKey<E> {
    fn from_tables() -> Result<Self, String> {
        let shape = shapes::known::<E>(E::SIDE).ok_or("the table of constraints is damaged")?;
        let bases = E::CE::setup(LABEL, shape.num_cons().max(shape.num_vars()));
        let bases = bases.map_err(|_| "the bases cannot be computed")?;
        let (_, key) =
            E::Argument::setup(&bases, &shape).map_err(|_| "the library refuses the table of constraints")?;
        let found = hex::encode(key.digest().to_repr().inner());
        if found == E::DIGEST {
            Ok(Self(key))
        } else {
            Err(format!(
                "the verifier's key of the {:?} circuit has the digest {found}; it must be {}",
                E::SIDE,
                E::DIGEST
            ))
        }
    }
}

impl<E: Tabled> Serialize for CircuitKey<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, E: Tabled> Deserialize<'de> for CircuitKey<E> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Self::from_tables().map_err(D::Error::custom)
    }
}

impl<E: Tabled> DigestHelperTrait<E> for CircuitKey<E> {
    fn digest(&self) -> E::Scalar {
        self.0.digest()
    }
}

impl<E: Tabled> RelaxedR1CSSNARKTrait<E> for Spartan<E> {
    type ProverKey = <E::Argument as RelaxedR1CSSNARKTrait<E>>::ProverKey;
    type VerifierKey = CircuitKey<E>;

    fn ck_floor() -> Box<dyn for<'a> Fn(&'a R1CSShape<E>) -> usize> {
        E::Argument::ck_floor()
    }

    fn setup(
        bases: &CommitmentKey<E>,
        shape: &R1CSShape<E>,
    ) -> Result<(Self::ProverKey, Self::VerifierKey), NovaError> {
        let (proving, verifying) = E::Argument::setup(bases, shape)?;
        Ok((proving, CircuitKey(verifying)))
    }

    fn prove(
        bases: &CommitmentKey<E>,
        key: &Self::ProverKey,
        shape: &R1CSShape<E>,
        instance: &RelaxedR1CSInstance<E>,
        witness: &RelaxedR1CSWitness<E>,
    ) -> Result<Self, NovaError> {
        E::Argument::prove(bases, key, shape, instance, witness).map(Self)
    }

    fn verify(&self, key: &Self::VerifierKey, instance: &RelaxedR1CSInstance<E>) -> Result<(), NovaError> {
        self.0.verify(&key.0, instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_from_the_tables_have_the_pinned_digests() {
        let found = (CircuitKey::<Pallas>::from_tables().map(drop), CircuitKey::<Vesta>::from_tables().map(drop));
        assert_eq!(found, (Ok(()), Ok(())));
    }
}
