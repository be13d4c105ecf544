//! The circuits' constraints on both curves, in compact form.
//!
//! A prover synthesizes the circuits. A verifier needs only the matrices that result, and these are the same on every machine,
//! so the table `shapes.bin` holds them: those of the primary circuit (scalars of Pallas), then those of the secondary one. Each
//! circuit has
//!
//! - a header of four numbers of 32 bits: constraints, variables, public values, distinct coefficients;
//! - the distinct coefficients, 32 bytes each;
//! - for each of the matrices A, B and C: the number of entries of each row, then for each entry its column and the index of
//!   its coefficient, 16 bits each.
//!
//! All numbers are little-endian. `cargo run --release -p rpp-proofs --example tables` writes the table again. Tests compare
//! it with what the library synthesizes, and the digests in [`crate::params`] pin what comes of it.

use std::collections::BTreeMap;

use ff::PrimeField;
use halo2curves::serde::Repr;
use nova_snark::{
    provider::pedersen::CommitmentKey,
    r1cs::{R1CSShape, SparseMatrix},
    traits::Engine,
};

use crate::{
    curve::{Pallas, Vesta},
    oracle::Constants,
    params::Public,
};

static TABLE: &[u8] = include_bytes!("shapes.bin");

/// Bytes of a coefficient.
const COEFFICIENT: usize = 32;

/// Which part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Primary,
    Secondary,
}

/// The constraints of one circuit, before padding. `None` when the table is damaged.
pub(crate) fn known<E>(side: Side) -> Option<R1CSShape<E>>
where
    E: Engine<Scalar: PrimeField<Repr = Repr<32>>>,
{
    let mut rest = TABLE;
    if side == Side::Secondary {
        skip(&mut rest)?;
    }
    decode(&mut rest)
}

/// The table, from the library's parameters of folding. `None` when the constraints do not fit the format.
pub(crate) fn table(public: &Public) -> Option<Vec<u8>> {
    // The library does not show the constraints, but it encodes them.
    type Fields = (
        (usize, Constants<<Pallas as Engine>::Base>, Constants<<Vesta as Engine>::Base>),
        (Constants<<Vesta as Engine>::Base>, Constants<<Pallas as Engine>::Base>),
        (CommitmentKey<Pallas>, R1CSShape<Pallas>),
        (CommitmentKey<Vesta>, R1CSShape<Vesta>),
    );
    let bytes = bincode::serde::encode_to_vec(public, bincode::config::legacy()).ok()?;
    let ((_, _, (_, primary), (_, secondary)), _): (Fields, usize) =
        bincode::serde::decode_from_slice(&bytes, bincode::config::legacy()).ok()?;
    let mut table = Vec::new();
    append(&mut table, &primary)?;
    append(&mut table, &secondary)?;
    Some(table)
}

/// Appends the constraints of one circuit to a table. `None` when they do not fit the format.
fn append<E>(table: &mut Vec<u8>, shape: &R1CSShape<E>) -> Option<()>
where
    E: Engine<Scalar: PrimeField<Repr = Repr<32>>>,
{
    let matrices = [shape.A(), shape.B(), shape.C()];
    let mut indices = BTreeMap::new();
    let mut coefficients = Vec::new();
    for value in matrices.iter().flat_map(|matrix| &matrix.data) {
        let bytes = *value.to_repr().inner();
        indices.entry(bytes).or_insert_with(|| {
            coefficients.push(bytes);
            coefficients.len() - 1
        });
    }
    for number in [shape.num_cons(), shape.num_vars(), shape.num_io(), coefficients.len()] {
        table.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
    }
    table.extend(coefficients.iter().flatten());
    let mut put = |number: usize| {
        table.extend_from_slice(&u16::try_from(number).ok()?.to_le_bytes());
        Some(())
    };
    for matrix in matrices {
        for row in matrix.indptr.windows(2) {
            put(row[1] - row[0])?;
        }
        for (value, column) in matrix.data.iter().zip(&matrix.indices) {
            put(*column)?;
            put(*indices.get(value.to_repr().inner())?)?;
        }
    }
    Some(())
}

fn decode<E>(rest: &mut &[u8]) -> Option<R1CSShape<E>>
where
    E: Engine<Scalar: PrimeField<Repr = Repr<32>>>,
{
    let [constraints, variables, public, distinct] = header(rest)?;
    let coefficients = take(rest, distinct.checked_mul(COEFFICIENT)?)?.as_chunks::<COEFFICIENT>().0;
    let coefficients = coefficients.iter().map(|bytes| E::Scalar::from_repr(Repr::from(*bytes)).into());
    let coefficients: Vec<E::Scalar> = coefficients.collect::<Option<_>>()?;
    let columns = variables.checked_add(public)?.checked_add(1)?;
    let mut matrix = || {
        let rows = take(rest, constraints.checked_mul(2)?)?;
        let ends = numbers(rows).scan(0, |end, row| {
            *end += row;
            Some(*end)
        });
        let indptr: Vec<usize> = std::iter::once(0).chain(ends).collect();
        let entries = take(rest, indptr.last()?.checked_mul(4)?)?.as_chunks::<4>().0;
        // Not collected: a vector of a known length is allocated once, and never moved while it grows.
        let mut data = Vec::with_capacity(entries.len());
        for [_, _, low, high] in entries {
            data.push(*coefficients.get(usize::from(u16::from_le_bytes([*low, *high])))?);
        }
        let indices = entries.iter().map(|[low, high, ..]| usize::from(u16::from_le_bytes([*low, *high]))).collect();
        Some(SparseMatrix { data, indices, indptr, cols: columns })
    };
    let (a, b, c) = (matrix()?, matrix()?, matrix()?);
    R1CSShape::new(constraints, variables, public, a, b, c).ok()
}

/// Skips one circuit.
fn skip(rest: &mut &[u8]) -> Option<()> {
    let [constraints, _, _, distinct] = header(rest)?;
    take(rest, distinct.checked_mul(COEFFICIENT)?)?;
    for _ in 0..3 {
        let entries: usize = numbers(take(rest, constraints.checked_mul(2)?)?).sum();
        take(rest, entries.checked_mul(4)?)?;
    }
    Some(())
}

fn header(rest: &mut &[u8]) -> Option<[usize; 4]> {
    let mut header = [0; 4];
    for (number, bytes) in header.iter_mut().zip(take(rest, 16)?.as_chunks::<4>().0) {
        *number = usize::try_from(u32::from_le_bytes(*bytes)).ok()?;
    }
    Some(header)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    rest.split_off(..count)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.as_chunks::<2>().0.iter().map(|number| usize::from(u16::from_le_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

    #[test]
    fn the_table_holds_what_the_library_synthesizes() {
        assert!(table(&params::proving().unwrap().public).unwrap() == TABLE);
    }

    #[test]
    fn a_table_that_ends_early_is_noticed() {
        let whole = known::<Pallas>(Side::Primary).unwrap();
        assert_eq!((whole.num_cons(), whole.num_io()), (10_221, 2));
        let mut rest = TABLE;
        skip(&mut rest).unwrap();
        let length = TABLE.len() - rest.len();
        for length in [0, 15, 16, 100, length / 2, length - 1] {
            assert!(decode::<Pallas>(&mut &TABLE[..length]).is_none(), "{length}");
        }
        assert!(decode::<Pallas>(&mut &TABLE[..length]).is_some());
    }

    #[test]
    fn an_index_out_of_its_range_is_noticed() {
        let mut table = TABLE.to_vec();
        let [constraints, _, _, distinct] = header(&mut &TABLE[..]).unwrap();
        let first = 16 + COEFFICIENT * distinct + 2 * constraints;
        table[first..first + 2].fill(0xff);
        assert!(decode::<Pallas>(&mut &table[..]).is_none(), "a column");
        let mut table = TABLE.to_vec();
        table[first + 2..first + 4].fill(0xff);
        assert!(decode::<Pallas>(&mut &table[..]).is_none(), "a coefficient");
    }
}
