//! Makes text from outside safe to log or show.

pub use rpp_common::text::{cut, escape};

/// The text of a panic, escaped.
#[cfg(feature = "proofs")]
pub(crate) fn of_panic(panic: &(dyn std::any::Any + Send)) -> crate::error::Cause {
    let words = panic.downcast_ref::<&'static str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    crate::error::Cause::told(words.unwrap_or("no message"))
}
