//! Code that several crates of this workspace share: [`text`] makes text from outside safe to show, [`Backoff`]
//! computes the pauses between attempts, and [`FailedAccepts`] reports failed accepts without flooding the log. It has no
//! I/O, no clock and no dependencies.

pub mod text;

mod accepts;
mod backoff;

pub use accepts::FailedAccepts;
pub use backoff::Backoff;

/// The README, whose examples are compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
