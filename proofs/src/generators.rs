//! The bases that the proof system commits with, on both curves.
//!
//! nova-snark derives them from the label `ck` by hashing to the curve, which takes nearly all of the time of a set-up.
//! They are the same on every machine, so the table `generators.bin` holds them: [`COUNT`] points for Pallas, then as
//! many for Vesta, each as two affine coordinates of 32 bytes, little-endian. `cargo run --release -p rpp-proofs
//! --example tables` writes the table again. A test compares it with what the library derives, and the pinned hash of
//! the verifier's key covers it, too.

use ff::PrimeField;
use halo2curves::{CurveAffine, serde::Repr};
use rayon::prelude::*;

/// Bases on one curve: one for each of the 2^14 rows of the padded circuit, and one for blinding.
pub(crate) const COUNT: usize = (1 << 14) + 1;

/// The label from which the library derives the bases of the table.
pub(crate) const LABEL: &[u8] = b"ck";
/// Bytes of a coordinate.
const COORDINATE: usize = 32;
/// Bytes of the bases of one curve.
const CURVE: usize = COUNT * 2 * COORDINATE;

static TABLE: &[u8; 2 * CURVE] = include_bytes!("generators.bin");

/// Which part of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Pallas,
    Vesta,
}

/// The first `count` bases of `label`. `None` when the table does not have them, so that the library must derive them.
pub(crate) fn known<C>(half: Half, label: &[u8], count: usize) -> Option<Vec<C>>
where
    C: CurveAffine<Base: PrimeField<Repr = Repr<32>>>,
{
    if label != LABEL || count > COUNT {
        return None;
    }
    let (pallas, vesta) = TABLE.split_at(CURVE);
    let table = match half {
        Half::Pallas => pallas,
        Half::Vesta => vesta,
    };
    table[..count * 2 * COORDINATE].par_chunks_exact(2 * COORDINATE).map(point).collect()
}

/// A point from its coordinates; `None` when it is not on the curve.
fn point<C>(bytes: &[u8]) -> Option<C>
where
    C: CurveAffine<Base: PrimeField<Repr = Repr<32>>>,
{
    let (x, y) = bytes.split_at(COORDINATE);
    C::from_xy(coordinate(x)?, coordinate(y)?).into()
}

fn coordinate<F: PrimeField<Repr = Repr<32>>>(bytes: &[u8]) -> Option<F> {
    let bytes: [u8; COORDINATE] = bytes.try_into().ok()?;
    F::from_repr(Repr::from(bytes)).into()
}

#[cfg(test)]
mod tests {
    use nova_snark::provider::{
        pasta::{pallas, vesta},
        traits::DlogGroup,
    };

    use super::*;

    #[test]
    fn the_table_holds_what_the_library_derives() {
        assert!(
            known::<pallas::Affine>(Half::Pallas, LABEL, COUNT).unwrap() == pallas::Point::from_label(b"ck", COUNT)
        );
        assert!(known::<vesta::Affine>(Half::Vesta, LABEL, COUNT).unwrap() == vesta::Point::from_label(b"ck", COUNT));
    }

    #[test]
    fn other_bases_are_left_to_the_library() {
        assert!(known::<pallas::Affine>(Half::Pallas, b"ipa", 2).is_none());
        assert!(known::<pallas::Affine>(Half::Pallas, LABEL, COUNT + 1).is_none());
    }

    #[test]
    fn a_damaged_table_is_noticed() {
        let mut bytes = TABLE[..2 * COORDINATE].to_vec();
        assert!(point::<pallas::Affine>(&bytes).is_some());
        bytes[0] ^= 1;
        assert!(point::<pallas::Affine>(&bytes).is_none());
    }
}
