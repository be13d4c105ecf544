//! The `Idempotency-Key` header, with which a client marks a `POST` as a repetition.

use http::{HeaderMap, StatusCode};
use rpp_http::Problem;
use rpp_runtime::handle::IdempotencyKey;

use crate::limits::MAX_KEY_BYTES;

/// The header; `docs/http.md` explains it.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key of a request; `None` if there is no header.
///
/// # Errors
/// `400`: several keys, or a key that is empty, too long, or has characters other than visible ASCII and spaces.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.as_bytes();
    let readable = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if values.next().is_some() || !(1..=MAX_KEY_BYTES).contains(&key.len()) || !readable {
        let message =
            format!("Idempotency-Key must be one text of 1 to {MAX_KEY_BYTES} visible ASCII characters or spaces");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", message));
    }
    Ok(Some(IdempotencyKey::of(key)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(values: &[&[u8]]) -> Result<Option<IdempotencyKey>, (u16, &'static str)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers).map_err(|problem| (problem.status().as_u16(), problem.code()))
    }

    #[test]
    fn a_key_is_one_short_readable_text() {
        assert_eq!(with(&[]), Ok(None));
        let uuid = with(&[b"8e03978e-40d5-43dd-bc93-6894a57f9324"]).unwrap().unwrap();
        assert_ne!(Ok(Some(uuid)), with(&[b"8e03978e-40d5-43dd-bc93-6894a57f9325"]));
        assert_eq!(Ok(Some(uuid)), with(&[b"8e03978e-40d5-43dd-bc93-6894a57f9324"]));
        assert!(
            with(&[b"x"]).is_ok() && with(&[&[b'x'; MAX_KEY_BYTES]]).is_ok() && with(&[b"a key \"quoted\""]).is_ok()
        );
        for bad in [&[&b""[..]][..], &[&[b'x'; MAX_KEY_BYTES + 1]], &[b"one", b"two"], &["ü".as_bytes()], &[b"\t"]] {
            assert_eq!(with(bad), Err((400, "invalid_idempotency_key")), "{bad:?}");
        }
    }
}
