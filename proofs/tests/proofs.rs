//! The chain, its signatures, the proof and the prover's state; the proof of the fixtures is made once for all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chain;
mod refusals;
mod signatures;
mod state;
mod support;
