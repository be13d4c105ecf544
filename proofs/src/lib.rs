//! The commitment chain and its recursive proof.
