//! Rules that hold without any network: messages, proofs, and the machines of both sides, alone and against each other.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod barred;
mod bit_flips;
mod json;
mod light_client;
mod many_sources;
mod offers;
mod offers_simulation;
mod provider_rules;
mod session_rules;
mod simulation;
mod stream_frames;
mod stream_simulation;
mod support;
mod vectors;
#[path = "simulation/world.rs"]
mod world;
