//! Code that several crates of this workspace share: [`text`] makes text from outside safe to show, and [`Backoff`]
//! computes the pauses between attempts. It has no I/O, no clock and no dependencies.

pub mod text;

mod backoff;

pub use backoff::Backoff;

/// The README, whose examples are compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
