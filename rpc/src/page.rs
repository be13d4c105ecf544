//! The node's page: files that are part of the program. They contain no data of the node, so they need no token. The
//! page gets its data from the routes, with the token that the operator gives it.

use http::{HeaderName, HeaderValue, Method};
use rpp_http::{Problem, page_file};
use warp::reply::Response;

/// Paths of the page's files.
pub(crate) const PATHS: [&str; 8] =
    ["/", "/app.js", "/model.js", "/downloads.js", "/panels.js", "/limits.js", "/style.css", "/favicon.svg"];

/// Allows nothing inline and nothing from other origins, forbids framing, and never lets text become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The answer for a path of the page; `None` for every other path.
pub(crate) fn answer(method: &Method, path: &str) -> Option<Result<Response, Problem>> {
    let (kind, content) = content(path)?;
    if method != Method::GET {
        return Some(Err(Problem::method_not_allowed(Some(HeaderValue::from_static("GET, HEAD")))));
    }
    Some(Ok(file(kind, content)))
}

fn content(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/app.js" => (SCRIPT, include_str!("page/app.js")),
        "/model.js" => (SCRIPT, include_str!("page/model.js")),
        "/downloads.js" => (SCRIPT, include_str!("page/downloads.js")),
        "/panels.js" => (SCRIPT, include_str!("page/panels.js")),
        "/limits.js" => (SCRIPT, include_str!("page/limits.js")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("page/style.css")),
        "/favicon.svg" => ("image/svg+xml", include_str!("page/favicon.svg")),
        _ => return None,
    })
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let mut response = page_file(kind, content, POLICY);
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}
