//! Integers of a request, read from the digits as they were sent, so nothing is rounded. JSON Schema, in which the
//! description is written, decides what counts as an integer: `259.0` and `1e3` do, and several clients write them.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

/// An integer that is not negative. `-0` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer(pub(super) u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse(raw.get()).map(Self).map_err(|wrong| D::Error::custom(format!("{} {wrong}", short(raw.get()))))
    }
}

const ABOVE: &str = "is above every integer of the protocol";

/// `json` is one JSON value.
fn parse(json: &str) -> Result<u64, &'static str> {
    match json.as_bytes() {
        b"null" => Err("is no integer: leave the field out instead"),
        [b'-', ..] => match magnitude(&json[1..])? {
            0 => Ok(0),
            _ => Err("is negative"),
        },
        [b'0'..=b'9', ..] => magnitude(json),
        _ => Err("is no integer"),
    }
}

/// The value of a JSON number without its sign, when it is a whole one.
fn magnitude(number: &str) -> Result<u64, &'static str> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // Zeros at both ends are dropped: they only move the decimal point.
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // An exponent beyond this type's range moves the point far out, to the left or to the right.
    let limit = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent = exponent.parse::<i64>().unwrap_or(limit);
    let trailing = digits.trim_start_matches('0').len() - significant.len();
    // Both lengths are at most the body's.
    let zeros = exponent.saturating_add(trailing as i64).saturating_sub(fraction.len() as i64);
    let Ok(zeros) = u32::try_from(zeros) else {
        return Err(if zeros < 0 { "is no integer" } else { ABOVE });
    };
    let value: u64 = significant.parse().map_err(|_| ABOVE)?;
    10_u64.checked_pow(zeros).and_then(|power| value.checked_mul(power)).ok_or(ABOVE)
}

/// Long text is cut to its beginning.
fn short(json: &str) -> String {
    match json.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &json[..end]),
        None => json.to_owned(),
    }
}

/// A field that may be left out but, if it is there, must have a value: `null` has the wrong type.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        for (json, value) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("0e99999999999999999999", 0),
            ("7", 7),
            ("259.0", 259),
            ("1e3", 1000),
            ("1.50E+1", 15),
            ("2500e-2", 25),
            ("9007199254740991.000", 9_007_199_254_740_991),
            ("18446744073709551615", u64::MAX),
            ("1844674407370955161.5e1", u64::MAX),
        ] {
            assert_eq!(parse(json), Ok(value), "{json}");
        }
        for (json, word) in [
            ("null", "leave the field out"),
            ("-1", "negative"),
            ("-1E3", "negative"),
            ("1.5", "no integer"),
            ("1e-1", "no integer"),
            ("1e-99999999999999999999", "no integer"),
            ("18446744073709551616", "above"),
            ("1e20", "above"),
            ("1e4294967296", "above"),
            ("1e99999999999999999999", "above"),
            ("\"1\"", "no integer"),
            ("true", "no integer"),
            ("[1]", "no integer"),
        ] {
            assert!(parse(json).unwrap_err().contains(word), "{json}");
        }
    }
}
