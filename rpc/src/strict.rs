//! Reads request bodies strictly: one JSON object, no unknown field, no field twice, nothing after it. A complaint
//! about a value names its field.

use std::{cell::RefCell, fmt, marker::PhantomData};

use http::StatusCode;
use rpp_http::Problem;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{error::Category, value::RawValue};

use crate::error::shown;

/// Reads a body as `T`, whose derive refuses unknown fields.
///
/// # Errors
/// `400`: `malformed_json` when it is no JSON, `invalid_request` when it is JSON of another kind.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read_at("", body)
}

/// The same for the object that a field of a body holds.
///
/// # Errors
/// As [`read`]'s.
pub(crate) fn read_field<T: DeserializeOwned>(field: &str, value: &RawValue) -> Result<T, Problem> {
    read_at(field, value.get().as_bytes())
}

fn read_at<T: DeserializeOwned>(outer: &str, json: &[u8]) -> Result<T, Problem> {
    let field = RefCell::default();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Object { field: &field, kind: PhantomData }.deserialize(&mut reader);
    read.and_then(|value| reader.end().map(|()| value)).map_err(|error| {
        let code = match error.classify() {
            Category::Data => "invalid_request",
            Category::Io | Category::Syntax | Category::Eof => "malformed_json",
        };
        let mut text = error.to_string();
        if !outer.is_empty()
            && let Some(place) = text.rfind(" at line ")
        {
            text.truncate(place); // It would be a place in that field.
        }
        let path: Vec<String> = [outer.to_owned(), field.take()].into_iter().filter(|name| !name.is_empty()).collect();
        let at = if path.is_empty() { String::new() } else { format!("\"{}\": ", path.join(".")) };
        Problem::new(StatusCode::BAD_REQUEST, code, format!("the body cannot be read: {at}{}", shown(&text)))
    })
}

/// A `T` written as a JSON object. A derived struct alone would also accept an array of its fields.
struct Object<'a, T> {
    /// The field that is being read; it is one of `T`'s.
    field: &'a RefCell<String>,
    kind: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Fields { map, field: self.field, key: String::new() }))
    }
}

/// The fields of an object; notes which one is being read.
struct Fields<'a, A> {
    map: A,
    field: &'a RefCell<String>,
    key: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else { return Ok(None) };
        let known = seed.deserialize(key.as_str().into_deserializer())?;
        self.key = key;
        Ok(Some(known))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.field.replace(std::mem::take(&mut self.key));
        let value = self.map.next_value_seed(seed)?;
        self.field.take();
        Ok(value)
    }
}
