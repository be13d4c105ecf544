//! Decides which requests may reach the routes.

mod bearer;
mod body;
mod gate;
mod host;
mod target;
mod throttle;
mod token;

pub use crate::limits::MIN_TOKEN_BYTES;
pub use bearer::Bearer;
pub use gate::{Gate, REFUSALS};
pub use host::HostOriginRules;
pub use token::{Token, TokenTooShort};
