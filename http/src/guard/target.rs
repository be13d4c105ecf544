//! The request's target: only origin form (`/path?query`) reaches the routes.
//!
//! The other three forms (RFC 9112, 3.2) are for proxies and for a server as a whole. None of our ports is either, and
//! routers do not expect these forms.

use http::{HeaderValue, Method, StatusCode, Uri};

use crate::Problem;

/// # Errors
/// `405` for `CONNECT`, `404` for `*`, `400` for a whole URL and for anything else that does not begin with a slash.
pub(crate) fn check(method: &Method, uri: &Uri) -> Result<(), Problem> {
    if *method == Method::CONNECT {
        return Err(Problem::method_not_allowed(Some(HeaderValue::from_static(""))));
    }
    let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
    if uri.scheme().is_none() && uri.authority().is_none() {
        if target.starts_with('/') {
            return Ok(());
        }
        if target == "*" {
            return Err(Problem::not_found());
        }
    }
    let message = "the request's target must be a path that begins with a slash: this port is no proxy";
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_target", message))
}
