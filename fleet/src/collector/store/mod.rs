//! The database: one writer on a thread of its own, any number of short-lived readers.
//!
//! A crash may lose the cut that is being stored, as a whole. A cut is one transaction, so after a SIGKILL at any
//! moment either all of it is there or nothing. Ids are reserved before a process is asked, so no id is used twice.

mod error;
mod holder;
mod migrate;
mod retention;
mod save;
pub(crate) mod schema;
mod writable;
mod writer;

pub use error::StoreError;
pub(crate) use save::Saved;
pub(crate) use writer::Writer;
