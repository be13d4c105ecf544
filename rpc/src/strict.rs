//! Reads request bodies strictly: one JSON object, no unknown field, no field twice, nothing after it.

use std::{fmt, marker::PhantomData};

use http::StatusCode;
use rpp_http::Problem;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::error::Category;

use crate::error::shown;

/// Reads a body as `T`, whose derive refuses unknown fields.
///
/// # Errors
/// `400`: `malformed_json` when it is no JSON, `invalid_request` when it is JSON of another kind.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0).map_err(|error| {
        let code = match error.classify() {
            Category::Data => "invalid_request",
            Category::Io | Category::Syntax | Category::Eof => "malformed_json",
        };
        Problem::new(StatusCode::BAD_REQUEST, code, format!("the body cannot be read: {}", shown(&error.to_string())))
    })
}

/// A `T` written as a JSON object. A derived struct alone would also accept an array of its fields.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}
