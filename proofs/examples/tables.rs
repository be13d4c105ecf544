//! `cargo run --release -p rpp-proofs --example tables [FOLDER]` derives, with nova-snark, the constants that a set-up
//! would otherwise derive each time. It writes them as the tables that `src/generators.rs`, `src/oracle.rs` and `src/shapes.rs`
//! describe. It takes a few seconds, and the output is the same on every machine.

use std::{env, fs, io, path::Path};

use ff::PrimeField as _;
use halo2curves::{
    Coordinates, CurveAffine,
    pasta::{Fp, Fq},
};
use nova_snark::provider::{
    pasta::{pallas, vesta},
    poseidon::PoseidonConstantsCircuit,
    traits::DlogGroup,
};

/// As many as the table of the crate holds for each curve.
const COUNT: usize = (1 << 14) + 1;

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "proofs/src".into());
    let mut generators = vec![];
    append(&mut generators, &pallas::Point::from_label(b"ck", COUNT))?;
    append(&mut generators, &vesta::Point::from_label(b"ck", COUNT))?;
    write(&folder, "generators.bin", &generators)?;
    let oracle = (PoseidonConstantsCircuit::<Fp>::default(), PoseidonConstantsCircuit::<Fq>::default());
    let oracle = bincode::serde::encode_to_vec(&oracle, bincode::config::legacy()).map_err(io::Error::other)?;
    write(&folder, "oracle.bin", &oracle)?;
    write(&folder, "shapes.bin", &rpp_proofs::table_of_constraints().map_err(io::Error::other)?)
}

fn append<C: CurveAffine>(table: &mut Vec<u8>, points: &[C]) -> io::Result<()> {
    for point in points {
        let coordinates = Option::<Coordinates<C>>::from(point.coordinates());
        let coordinates = coordinates.ok_or_else(|| io::Error::other("a base at infinity"))?;
        table.extend_from_slice(coordinates.x().to_repr().as_ref());
        table.extend_from_slice(coordinates.y().to_repr().as_ref());
    }
    Ok(())
}

fn write(folder: &str, name: &str, table: &[u8]) -> io::Result<()> {
    let path = Path::new(folder).join(name);
    fs::write(&path, table)?;
    println!("{}: {} bytes, BLAKE3 {}", path.display(), table.len(), blake3::hash(table));
    Ok(())
}
