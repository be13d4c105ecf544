//! What several crates of this workspace need and what depends on none of them: [`text`] from outside, made safe to show,
//! and the [`Backoff`] between tries. No I/O, no clock, no dependencies.

pub mod text;

mod backoff;

pub use backoff::Backoff;

/// The README, whose examples are compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
