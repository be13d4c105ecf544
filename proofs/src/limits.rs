//! Every bound of this crate, in one place (`docs/limits.md`).

/// The length of every proof, whatever the length of its chain.
pub const PROOF_BYTES: usize = 10_624;
/// The most publishers that a genesis may name.
pub const MAX_PUBLISHERS: usize = 64;
/// The longest chain id, in characters.
pub const MAX_CHAIN_ID: usize = 64;
/// The most signatures that are checked; each costs a key operation if its publisher is known.
pub const MAX_SIGNATURES: usize = 256;
