//! A commitment: one canonical field element, 32 bytes little-endian.

use std::{fmt, str::FromStr};

use ff::PrimeField;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::field::Scalar;

/// A link of the chain, `C_i`; or its anchor, the genesis commitment `C_0`.
///
/// The bytes are always those of a canonical field element, so equal commitments have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment([u8; 32]);

/// The 32 bytes are not below the field's modulus, so no chain can contain them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commitment must be a canonical field element")]
pub struct NotCanonical;

/// The text is not a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCommitmentError {
    /// It is not 64 lower-case hex digits.
    #[error("expected 64 lower-case hex digits")]
    Hex,
    /// The digits are not a field element.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
}

impl Commitment {
    /// Reads 32 little-endian bytes.
    ///
    /// # Errors
    /// When they are not below the modulus.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, NotCanonical> {
        Option::<Scalar>::from(Scalar::from_repr(bytes.into())).map(Self::from_scalar).ok_or(NotCanonical)
    }

    /// The 32 little-endian bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The 32 little-endian bytes, borrowed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_scalar(scalar: Scalar) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(scalar.to_repr().as_ref());
        Self(bytes)
    }

    pub(crate) fn scalar(&self) -> Scalar {
        // Canonical by construction, so the default is never used.
        Option::from(Scalar::from_repr(self.0.into())).unwrap_or_default()
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({self})")
    }
}

impl FromStr for Commitment {
    type Err = ParseCommitmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseCommitmentError::Hex);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseCommitmentError::Hex)?;
        Ok(Self::from_bytes(bytes)?)
    }
}

impl TryFrom<[u8; 32]> for Commitment {
    type Error = NotCanonical;

    fn try_from(bytes: [u8; 32]) -> Result<Self, Self::Error> {
        Self::from_bytes(bytes)
    }
}

impl From<Commitment> for [u8; 32] {
    fn from(commitment: Commitment) -> Self {
        commitment.0
    }
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modulus of the scalar field of Pallas, little-endian.
    fn modulus() -> [u8; 32] {
        let mut bytes = [0; 32];
        hex::decode_to_slice("40000000000000000000000000000000224698fc0994a8dd8c46eb2100000001", &mut bytes).unwrap();
        bytes.reverse();
        bytes
    }

    #[test]
    fn only_canonical_elements_are_commitments() {
        let modulus = modulus();
        let mut below = modulus;
        below[0] -= 1;
        assert_eq!(Commitment::from_bytes(below).unwrap().to_bytes(), below);
        assert_eq!(Commitment::from_bytes(modulus), Err(NotCanonical));
        let mut above = modulus;
        above[0] += 1;
        assert_eq!(Commitment::from_bytes(above), Err(NotCanonical));
        assert_eq!(Commitment::from_bytes([0xff; 32]), Err(NotCanonical));
    }

    #[test]
    fn text_round_trips_and_is_strict() {
        let commitment = Commitment::from_bytes([0x21; 32]).unwrap();
        assert_eq!(commitment.to_string().parse(), Ok(commitment));
        assert_eq!(Commitment::from_scalar(commitment.scalar()), commitment);
        for wrong in ["", "2121", &"AB".repeat(32), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Commitment>(), Err(ParseCommitmentError::Hex), "{wrong}");
        }
        assert_eq!("f".repeat(64).parse::<Commitment>(), Err(NotCanonical.into()));
        let json = serde_json::to_string(&commitment).unwrap();
        assert_eq!(serde_json::from_str::<Commitment>(&json).unwrap(), commitment);
    }
}
