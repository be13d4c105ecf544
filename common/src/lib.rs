//! What several crates of this workspace need and what knows none of them, so that it stands once: [`text`] from outside,
//! made safe to show, and the [`Backoff`] between tries. No I/O, no clock, no dependencies.

pub mod text;

mod backoff;

pub use backoff::Backoff;
