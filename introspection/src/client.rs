//! The client side: a connection, recordings, and the display.

mod connection;
mod format;
mod forward;
mod json;
mod recording;
mod run;
mod view;

pub use connection::{ClientError, Connection};
pub use forward::{Forward, ForwardError};
pub use recording::{Recorder, Recording, RecordingError};
pub use run::{RunError, Style, record, replay, replay_json, watch};
pub use view::View;
