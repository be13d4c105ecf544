//! Who may come in, and with what.

mod bearer;
mod body;
mod gate;
mod host;
mod target;
mod throttle;

pub use bearer::{Bearer, MIN_TOKEN_BYTES, TokenTooShort};
pub use gate::{Gate, REFUSALS};
pub use host::HostOriginRules;
