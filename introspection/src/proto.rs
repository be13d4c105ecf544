//! The messages, generated from `proto/introspection.proto`.
#![allow(missing_docs, clippy::doc_markdown, clippy::large_enum_variant)]

include!(concat!(env!("OUT_DIR"), "/introspection.rs"));
