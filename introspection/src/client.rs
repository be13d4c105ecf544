//! The client's side: a connection, recordings, and what is shown.

mod connection;
mod format;
mod recording;
mod run;
mod view;

pub use connection::{ClientError, Connection};
pub use recording::{Recorder, Recording, RecordingError};
pub use run::{RunError, Style, record, replay, watch};
pub use view::View;
