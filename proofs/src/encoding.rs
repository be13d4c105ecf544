//! The encoding of a proof: bincode's fixed-width little-endian form, in which every part has a fixed place.
//!
//! The library's verifier may panic on a well-encoded proof whose vectors have unusual lengths, and its decoder
//! allocates as much as a length field claims. So the bytes are first walked as plain arrays: each length field must
//! hold the one number that an honest proof has there. The library sees the bytes only after that.

use crate::limits::PROOF_BYTES;
use crate::params::Compressed;

/// A field element or a compressed point.
const ELEMENT: usize = 32;
/// log2 of the padded number of constraints: rounds of the sum-checks, and of the inner-product argument.
const ROUNDS: usize = 14;
/// Public inputs of an instance, and numbers the chain carries.
const PAIR: usize = 2;

/// The bytes are not a valid encoding of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// Too short or too long.
    #[error("the proof has {found} bytes; every proof has {PROOF_BYTES}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A vector has another length than in a valid proof.
    #[error("the proof's vector at byte {offset} has {found} elements; it must have {expected}")]
    Vector {
        /// Where its length field stands.
        offset: usize,
        /// What the field contains.
        found: u64,
        /// What the field must contain.
        expected: usize,
    },
    /// A number is not canonical, or a point is not on its curve.
    #[error("the proof has an element that is not a number or point in its only encoding")]
    Element,
}

/// Decodes a proof from an untrusted peer.
pub(crate) fn decode(bytes: &[u8]) -> Result<Compressed, EncodingError> {
    check_layout(bytes)?;
    let config = bincode::config::legacy().with_limit::<PROOF_BYTES>();
    let (proof, read): (Compressed, usize) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|_| EncodingError::Element)?;
    // Encoding the result again must give the same bytes: nothing is left over, and nothing has a second encoding.
    let again = bincode::serde::encode_to_vec(&proof, config).map_err(|_| EncodingError::Element)?;
    if read != bytes.len() || again != bytes {
        return Err(EncodingError::Element);
    }
    Ok(proof)
}

/// Encodes our own proof.
pub(crate) fn encode(proof: &Compressed) -> Result<Vec<u8>, EncodingError> {
    let bytes = bincode::serde::encode_to_vec(proof, bincode::config::legacy()).map_err(|_| EncodingError::Element)?;
    check_layout(&bytes)?;
    Ok(bytes)
}

/// The commitment and the height that the proof claims for its last step, read from bytes that were checked.
pub(crate) fn claimed(bytes: &[u8]) -> Option<(&[u8; ELEMENT], &[u8; ELEMENT])> {
    let (rest, height) = bytes.split_last_chunk()?;
    let (_, commitment) = rest.split_last_chunk()?;
    Some((commitment, height))
}

fn check_layout(bytes: &[u8]) -> Result<(), EncodingError> {
    if bytes.len() != PROOF_BYTES {
        return Err(EncodingError::Length { found: bytes.len() });
    }
    let mut walk = Walk { bytes, offset: 0 };
    walk.proof()?;
    // The sum of all parts is a constant. If it were not the length of a proof, no proof would ever pass.
    if walk.offset == bytes.len() { Ok(()) } else { Err(EncodingError::Length { found: walk.offset }) }
}

/// Follows the fields of nova-snark's `CompressedSNARK` in order.
struct Walk<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Walk<'_> {
    fn proof(&mut self) -> Result<(), EncodingError> {
        self.relaxed_instance()?; // r_U_secondary
        self.elements(1); // ri_secondary
        self.elements(1); // l_u_secondary: commitment,
        self.vector(PAIR)?; // and X
        self.elements(1); // nifs_Uf_secondary
        self.relaxed_instance()?; // l_ur_secondary
        self.elements(1); // nifs_Un_secondary
        self.relaxed_instance()?; // r_U_primary
        self.elements(1); // ri_primary
        self.relaxed_instance()?; // l_ur_primary
        self.elements(1); // nifs_Un_primary
        self.elements(4); // blinds of witness and error, primary and secondary
        self.spartan()?; // snark_primary
        self.spartan()?; // snark_secondary
        self.vector(PAIR) // zn
    }

    fn relaxed_instance(&mut self) -> Result<(), EncodingError> {
        self.elements(2); // commitments to witness and error
        self.vector(PAIR)?; // X
        self.elements(1); // u
        Ok(())
    }

    fn spartan(&mut self) -> Result<(), EncodingError> {
        self.sum_check(ROUNDS, 3)?; // outer
        self.elements(4); // claims_outer, eval_E
        self.sum_check(ROUNDS + 1, 2)?; // inner
        self.elements(1); // eval_W
        self.sum_check(ROUNDS, 2)?; // batch
        self.vector(PAIR)?; // evals_batch
        self.vector(ROUNDS)?; // L
        self.vector(ROUNDS)?; // R
        self.elements(1); // a_hat
        Ok(())
    }

    fn sum_check(&mut self, rounds: usize, coefficients: usize) -> Result<(), EncodingError> {
        self.length(rounds)?;
        (0..rounds).try_for_each(|_| self.vector(coefficients))
    }

    fn vector(&mut self, elements: usize) -> Result<(), EncodingError> {
        self.length(elements)?;
        self.elements(elements);
        Ok(())
    }

    fn elements(&mut self, count: usize) {
        self.offset += count * ELEMENT;
    }

    fn length(&mut self, expected: usize) -> Result<(), EncodingError> {
        let offset = self.offset;
        let field = self.bytes.get(offset..).and_then(|rest| rest.first_chunk());
        let found = u64::from_le_bytes(*field.ok_or(EncodingError::Length { found: self.bytes.len() })?);
        if usize::try_from(found) != Ok(expected) {
            return Err(EncodingError::Vector { offset, found, expected });
        }
        self.offset += size_of::<u64>();
        Ok(())
    }
}
