//! The description of all routes that `GET /openapi.json` serves. It is written by hand; `tests/openapi.rs` keeps it true.

/// OpenAPI 3.1, as JSON.
pub const OPENAPI: &str = include_str!("openapi.json");
