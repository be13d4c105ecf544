//! Reads a request's body: JSON, bounded, in time.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use crate::{Limits, Problem};

/// The whole body; empty when there is none.
///
/// # Errors
/// `415`, `413`, `408`, or `400` when the client's framing is broken.
pub(crate) async fn read(headers: &HeaderMap, body: Incoming, limits: &Limits) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if !is_json(headers) {
        let message = "a body must be sent with content-type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message).and_close());
    }
    let max = limits.max_body();
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    match tokio::time::timeout(limits.body_timeout(), Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_body", "the body ended early or is badly framed")
                .and_close())
        }
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", limits.body_timeout());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).and_close())
        }
    }
}

fn too_large(max: usize) -> Problem {
    let message = format!("the body is larger than the {max} bytes allowed");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).and_close()
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
