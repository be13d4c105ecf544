//! Integers of a request, read from the digits as they were sent: nothing is rounded on the way.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

/// An integer without sign, fraction or exponent. `-0` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer(pub(super) u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse(raw.get()).map(Self).map_err(|wrong| D::Error::custom(format!("{} {wrong}", short(raw.get()))))
    }
}

/// `json` is one JSON value.
fn parse(json: &str) -> Result<u64, &'static str> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    match json.as_bytes() {
        b"null" => Err("is no integer: leave the field out instead"),
        b"-0" => Ok(0),
        [b'-' | b'0'..=b'9', ..] if digits.bytes().any(|byte| !byte.is_ascii_digit()) => {
            Err("is no integer as it stands: write it without fraction and exponent")
        }
        [b'-', ..] => Err("is negative"),
        [b'0'..=b'9', ..] => json.parse().map_err(|_| "is above every integer of the protocol"),
        _ => Err("is no integer"),
    }
}

/// Long text is named by its begin.
fn short(json: &str) -> String {
    match json.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &json[..end]),
        None => json.to_owned(),
    }
}

/// A field that may be left out, but is something when it is there: `null` is of the wrong type.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn digits_are_integers_and_nothing_else_is() {
        for (json, value) in [("0", 0), ("-0", 0), ("7", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(parse(json), Ok(value), "{json}");
        }
        for (json, word) in [
            ("null", "leave the field out"),
            ("-1", "negative"),
            ("-0.0", "fraction"),
            ("1.0", "fraction"),
            ("1e3", "exponent"),
            ("-1E3", "exponent"),
            ("18446744073709551616", "above"),
            ("\"1\"", "no integer"),
            ("true", "no integer"),
            ("[1]", "no integer"),
        ] {
            assert!(parse(json).unwrap_err().contains(word), "{json}");
        }
    }
}
