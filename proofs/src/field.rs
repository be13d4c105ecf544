//! The field of the chain (the scalar field of Pallas) and how bytes enter it.

use ff::PrimeField;
use nova_snark::traits::Engine;

use crate::curve::Pallas;

/// A field element.
pub(crate) type Scalar = <Pallas as Engine>::Scalar;

/// The two limbs of a digest: bytes 0..16 and 16..32, each as a little-endian u128.
pub(crate) fn limbs(digest: &[u8; 32]) -> [u128; 2] {
    let (mut low, mut high) = ([0; 16], [0; 16]);
    low.copy_from_slice(&digest[..16]);
    high.copy_from_slice(&digest[16..]);
    [u128::from_le_bytes(low), u128::from_le_bytes(high)]
}

/// `low + high * 2^128`: below 2^192, so it never wraps around the field's modulus.
pub(crate) fn wide(low: u128, high: u64) -> Scalar {
    let two_64 = Scalar::from_u128(1 << 64);
    Scalar::from_u128(low) + two_64 * two_64 * Scalar::from(high)
}
