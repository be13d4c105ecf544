//! Files of a page that are part of a program.

use http::{HeaderName, HeaderValue, header};
use warp::reply::Response;

/// The answer with one file of this content type, under this content security policy. Its headers make browsers check
/// each time whether the file has changed. They also forbid browsers to guess the type, to send a referrer to other
/// sites, and to share the page's window with them.
#[must_use]
pub fn page_file(kind: &'static str, content: &'static str, policy: &'static str) -> Response {
    let mut response = Response::new(content.into());
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
