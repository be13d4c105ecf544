//! The common form of every answer that is not a success.

use std::convert::Infallible;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use warp::{
    Reply,
    reject::{
        InvalidHeader, InvalidQuery, LengthRequired, MethodNotAllowed, MissingHeader, PayloadTooLarge, Reject,
        UnsupportedMediaType,
    },
    reply::Response,
};

/// A status, a stable word for programs and one clear sentence for people:
/// `{"error":"<sentence>","code":"<word>"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem. Text from outside must be escaped and cut before it becomes part of `message`.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Closes the connection after the answer. For answers that leave a body unread.
    #[must_use]
    pub(crate) fn and_close(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// `404`, of a route that does not exist.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such route")
    }

    /// `405`, with the methods that the route knows (as in `"GET, POST"`) when they are known.
    #[must_use]
    pub fn method_not_allowed(allow: Option<HeaderValue>) -> Self {
        let problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this route does not know that method");
        match allow {
            Some(allow) => problem.with_header(header::ALLOW, allow),
            None => problem,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::json!({ "error": self.message, "code": self.code }).to_string()
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.body());
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// A filter may reject with a problem: `Err(warp::reject::custom(problem))`.
impl Reject for Problem {}

/// A JSON answer.
#[must_use]
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => json_response(status, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be written as JSON")
                .into_response()
        }
    }
}

fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Turns a rejection of warp into a [`Problem`]. [`serve`](crate::serve) applies it to every filter.
///
/// # Errors
/// Never.
pub async fn recover(rejection: warp::Rejection) -> Result<Response, Infallible> {
    Ok(problem_of(&rejection).into_response())
}

fn problem_of(rejection: &warp::Rejection) -> Problem {
    if let Some(problem) = rejection.find::<Problem>() {
        return problem.clone();
    }
    if rejection.is_not_found() {
        return Problem::not_found();
    }
    let invalid = |message: String| Problem::new(StatusCode::BAD_REQUEST, "invalid", message);
    if let Some(missing) = rejection.find::<MissingHeader>() {
        return invalid(format!("the request needs a {:?} header", missing.name()));
    }
    if let Some(wrong) = rejection.find::<InvalidHeader>() {
        return invalid(format!("the {:?} header does not say what this route needs", wrong.name()));
    }
    if rejection.find::<warp::ws::MissingConnectionUpgrade>().is_some() {
        return invalid("this route speaks WebSocket only".into());
    }
    if rejection.find::<InvalidQuery>().is_some() {
        return invalid("the query string cannot be read".into());
    }
    if rejection.find::<LengthRequired>().is_some() {
        return Problem::new(StatusCode::LENGTH_REQUIRED, "length_required", "the request needs a content-length");
    }
    if rejection.find::<PayloadTooLarge>().is_some() {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large");
    }
    if rejection.find::<UnsupportedMediaType>().is_some() {
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be JSON");
    }
    // Checked last, because warp adds it to the other rejections of routes with another method.
    if rejection.find::<MethodNotAllowed>().is_some() {
        return Problem::method_not_allowed(None);
    }
    tracing::error!(?rejection, "a request was rejected without a known cause");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be handled")
}
