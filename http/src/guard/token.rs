//! A token that can be replaced while its port is served.

use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::limits::MIN_TOKEN_BYTES;

/// The configured token could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token has fewer than {MIN_TOKEN_BYTES} bytes")]
pub struct TokenTooShort;

/// The token that a port asks for. All clones share it: replacing it in one replaces it in all.
///
/// Only a hash under a random key is kept, and hashes are compared in constant time.
#[derive(Clone)]
pub struct Token(Arc<RwLock<Hashed>>);

impl Token {
    /// Accepts this token.
    ///
    /// # Errors
    /// It has fewer than [`MIN_TOKEN_BYTES`] bytes.
    pub fn new(token: &SecretString) -> Result<Self, TokenTooShort> {
        Ok(Self(Arc::new(RwLock::new(Hashed::new(token)?))))
    }

    /// From the next request on only this token is valid. Returns whether it differs from the earlier one. Open
    /// connections stay open, and requests in progress go on.
    ///
    /// # Errors
    /// It has fewer than [`MIN_TOKEN_BYTES`] bytes; the earlier token then stays valid.
    pub fn replace(&self, token: &SecretString) -> Result<bool, TokenTooShort> {
        let new = Hashed::new(token)?;
        if self.is(token.expose_secret().as_bytes()) {
            return Ok(false);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// Whether this is the token.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is(given)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

struct Hashed {
    key: [u8; 32],
    hash: [u8; 32],
}

impl Hashed {
    fn new(token: &SecretString) -> Result<Self, TokenTooShort> {
        let token = token.expose_secret().as_bytes();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(TokenTooShort);
        }
        let key = rand::random();
        Ok(Self { key, hash: hash(&key, token) })
    }

    fn is(&self, given: &[u8]) -> bool {
        hash(&self.key, given).ct_eq(&self.hash).into()
    }
}

fn hash(key: &[u8; 32], token: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, token).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replaces_a_token_counts_in_every_clone_and_the_earlier_one_no_longer() {
        let token = Token::new(&"the-first-token--".into()).unwrap();
        let port = token.clone();
        assert_eq!(token.replace(&"the-second-token-".into()), Ok(true));
        assert!(port.is(b"the-second-token-") && !port.is(b"the-first-token--"));
        assert_eq!(token.replace(&"the-second-token-".into()), Ok(false), "the same one is no change");
        assert_eq!(token.replace(&"too-short".into()), Err(TokenTooShort));
        assert!(port.is(b"the-second-token-"), "a token that cannot be used changes nothing");
        assert!(!format!("{token:?}").contains("second"));
    }
}
