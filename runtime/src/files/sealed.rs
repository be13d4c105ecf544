//! JSON documents with a checksum, so that a damaged file is recognised.
//!
//! The last field of the object is `"checksum"`, the BLAKE3 hash of the document without that field. It is checked over
//! the bytes as they are, so editing such a file by hand makes it invalid.

use rpp_p2p::Hash;
use serde::{Serialize, de::DeserializeOwned};

const FIELD: &str = ",\"checksum\":\"";
const END: &str = "\"}\n";

/// Why a sealed document is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is cut short, or not such a document.
    #[error("it is cut short or not what this program wrote")]
    Shape,
    /// It was changed after it was written.
    #[error("its checksum does not match")]
    Checksum,
    /// The checksum is right, but the content is not what is expected: it was probably written by another version.
    #[error("its content cannot be read")]
    Content(#[source] serde_json::Error),
}

/// The document with its checksum added.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn seal(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(value)?;
    let checksum = Hash::from(blake3::hash(&bytes));
    // Only objects with fields are sealed.
    bytes.pop();
    bytes.extend_from_slice(format!("{FIELD}{checksum}{END}").as_bytes());
    Ok(bytes)
}

/// Reads a sealed document.
///
/// # Errors
/// When it is damaged or not of this kind.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SealError> {
    let tail = FIELD.len() + 64 + END.len();
    let split = bytes.len().checked_sub(tail).ok_or(SealError::Shape)?;
    let (body, seal) = bytes.split_at(split);
    let checksum = seal
        .strip_prefix(FIELD.as_bytes())
        .and_then(|rest| rest.strip_suffix(END.as_bytes()))
        .and_then(|hex| std::str::from_utf8(hex).ok()?.parse::<Hash>().ok())
        .ok_or(SealError::Shape)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(body).update(b"}");
    if Hash::from(hasher.finalize()) != checksum {
        return Err(SealError::Checksum);
    }
    serde_json::from_slice(bytes).map_err(SealError::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_single_bit_flip_and_every_cut_is_noticed() {
        let value = BTreeMap::from([("a".to_owned(), 1u32), ("b".to_owned(), 2)]);
        let sealed = seal(&value).unwrap();
        let read: serde_json::Value = open(&sealed).unwrap();
        assert_eq!(read["b"], 2);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<serde_json::Value>(&bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open::<serde_json::Value>(&sealed[..length]).is_err(), "cut to {length}");
        }
    }
}
