//! Reads a request's body: JSON, of bounded length, in bounded time.

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
    let max = limits.max_body();
    // A body with a transfer encoding may turn out to be empty; one of a known length does not.
    let read = if is_json(headers) {
        if body.size_hint().lower() > max as u64 {
            return Err(too_large(max));
        }
        tokio::time::timeout(limits.body_timeout(), whole(body, max)).await
    } else if body.size_hint().lower() > 0 {
        Ok(Err(unsupported()))
    } else {
        tokio::time::timeout(limits.body_timeout(), nothing(body)).await
    };
    read.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {:?}", limits.body_timeout());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).and_close())
    })
}

async fn whole(body: Incoming, max: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Err(_) => Err(malformed()),
    }
}

/// A body without a content type must be empty.
async fn nothing(mut body: Incoming) -> Result<Bytes, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| malformed())?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Err(unsupported());
        }
    }
    Ok(Bytes::new())
}

fn unsupported() -> Problem {
    let message = "a body must be sent with content-type: application/json";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message).and_close()
}

fn malformed() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_body", "the body ended early or is badly framed").and_close()
}

fn too_large(max: usize) -> Problem {
    let message = format!("the body is larger than the {max} bytes allowed");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).and_close()
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let media = value.to_str().ok().and_then(|value| value.parse::<mime::Mime>().ok());
    media.is_some_and(|media| media.essence_str() == mime::APPLICATION_JSON.essence_str())
}
