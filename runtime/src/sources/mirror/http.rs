//! The HTTP layer below `object_store`. It follows a bounded number of redirects, checks that an answer is the range
//! that was asked for and that the file has not changed, and has a value for every other failure of a server.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, builderstates::WantsSchemes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rpp_p2p::error::Cause;
use tokio::time::Sleep;

use super::{trouble::MirrorTrouble, warm::Warm};
use crate::limits::{MAX_MIRROR_ANSWER, MAX_REDIRECTS, MIRROR_CONNECT};

/// Files whose ETag and length are remembered.
const MAX_SEEN: usize = 64;

/// Makes the client of one mirror.
pub(super) struct Connector {
    basic: Option<HeaderValue>,
    patience: Duration,
    warm: usize,
}

impl Connector {
    /// `credentials`: user and password for this server. `patience`: how long it may send nothing. `warm`: the number
    /// of connections that are made beside the first one.
    pub(super) fn new(credentials: Option<(String, String)>, patience: Duration, warm: usize) -> Self {
        let basic = credentials.and_then(|(user, password)| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { basic, patience, warm }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(MIRROR_CONNECT));
        tcp.set_nodelay(true);
        let tls = tls().map_err(|error| object_store::Error::Generic { store: "TLS", source: Box::new(error) })?;
        let connector = Warm::new(tls.https_or_http().enable_http1().wrap_connector(tcp), self.warm);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let seen = Mutex::default();
        let (basic, patience) = (self.basic.clone(), self.patience);
        Ok(HttpClient::new(Service { client, basic, patience, seen: Arc::new(seen) }))
    }
}

/// Uses the system's root certificates. If the system has none, mirrors without TLS can still be read; those with TLS
/// cannot be verified.
fn tls() -> Result<HttpsConnectorBuilder<WantsSchemes>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    if let Ok(tls) = HttpsConnectorBuilder::new().with_provider_and_native_roots(Arc::clone(&provider)) {
        return Ok(tls);
    }
    tracing::warn!(
        "this system has no root certificates, so no mirror with https can be verified: install ca-certificates"
    );
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config))
}

struct Service {
    client: Client<Warm<HttpsConnector<TcpConnector>>, HttpRequestBody>,
    basic: Option<HeaderValue>,
    patience: Duration,
    /// The properties of each file when its first range arrived.
    seen: Arc<Mutex<HashMap<String, SeenFile>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenFile {
    etag: Option<HeaderValue>,
    length: u64,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(basic) = &self.basic {
            request.headers_mut().insert(header::AUTHORIZATION, basic.clone());
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (name, range) = (request.uri().path().to_owned(), request.headers().get(header::RANGE).cloned());
        let has_body = *request.method() != Method::HEAD;
        let response = self.follow(request).await.map_err(failed)?;
        check_status(&response, is_read).map_err(failed)?;
        if let Some(range) = range.filter(|_| is_read) {
            self.check_range(&name, &range, &response).map_err(failed)?;
        }
        let (parts, body) = response.into_parts();
        if !has_body {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(Bytes::new())));
        }
        if content_length(&parts.headers).is_some_and(|announced| announced > MAX_MIRROR_ANSWER) {
            return Err(failed(MirrorTrouble::TooLong));
        }
        let answer = Answer { body, left: MAX_MIRROR_ANSWER, patience: self.patience, waits: None };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(answer)))
    }
}

/// The body of an answer as it arrives. It may not be longer than its limit, and no pause without a byte may be longer
/// than the patience. Time in which nobody reads it does not count.
struct Answer {
    body: Incoming,
    left: u64,
    patience: Duration,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let told = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                let patience = self.patience;
                let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(waits.as_mut().poll(cx));
                return Poll::Ready(Some(Err(failed(MirrorTrouble::Slow { waited: patience }))));
            }
            Poll::Ready(told) => told,
        };
        self.waits = None;
        let length =
            told.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64);
        Poll::Ready(told.map(|frame| match self.left.checked_sub(length) {
            None => Err(failed(MirrorTrouble::TooLong)),
            Some(left) => {
                self.left = left;
                frame.map_err(|_| failed(MirrorTrouble::ClosedEarly))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Service {
    /// Sends a request, and follows the redirects of a read.
    async fn follow(&self, request: HttpRequest) -> Result<Response<Incoming>, MirrorTrouble> {
        let (mut parts, mut body) = request.into_parts();
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        for _ in 0..=MAX_REDIRECTS {
            let (uri, method, headers) = (parts.uri.clone(), parts.method.clone(), parts.headers.clone());
            let sent = HttpRequest::from_parts(parts, body);
            let answer = tokio::time::timeout(self.patience, self.client.request(sent)).await;
            let response = answer.map_err(|_| MirrorTrouble::Slow { waited: self.patience })?.map_err(|error| {
                match error.is_connect() {
                    true => MirrorTrouble::Unreachable { reason: Cause::innermost(error) },
                    false => MirrorTrouble::ClosedEarly,
                }
            })?;
            if !(is_read && is_redirect(response.status())) {
                return Ok(response);
            }
            let target = target(&uri, response.headers())?;
            let mut next = HttpRequest::new(HttpRequestBody::empty());
            (*next.method_mut(), *next.headers_mut()) = (method, headers);
            if target.authority() != uri.authority() {
                keep_harmless(next.headers_mut());
            }
            *next.uri_mut() = target;
            (parts, body) = next.into_parts();
        }
        Err(MirrorTrouble::Redirect { how: "more than 5 times" })
    }

    /// Checks that an answer is the range that was asked for, and that the file is still the same as before.
    fn check_range(&self, name: &str, range: &HeaderValue, response: &Response<Incoming>) -> Result<(), MirrorTrouble> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => return Err(MirrorTrouble::IgnoresRanges),
            // A status such as `404` is handled elsewhere.
            _ => return Ok(()),
        }
        let headers = response.headers();
        let asked = range.to_str().ok().and_then(|text| bounds(text.strip_prefix("bytes=")?));
        let answered = headers.get(header::CONTENT_RANGE).and_then(|value| {
            let (range, length) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
            Some((bounds(range)?, length.parse::<u64>().ok()?))
        });
        let (Some(asked), Some((answered, length))) = (asked, answered) else { return Err(MirrorTrouble::Range) };
        if asked != answered {
            return Err(MirrorTrouble::Range);
        }
        let (expected, announced) = (asked.1 - asked.0 + 1, content_length(headers));
        if let Some(received) = announced.filter(|announced| *announced != expected) {
            return Err(MirrorTrouble::Length { expected, received });
        }
        let now = SeenFile { etag: headers.get(header::ETAG).cloned(), length };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        let before = seen.entry(name.to_owned()).or_insert_with(|| now.clone());
        match before {
            SeenFile { length, .. } if *length != now.length => Err(MirrorTrouble::Changed { what: "length" }),
            SeenFile { etag, .. } if *etag != now.etag => Err(MirrorTrouble::Changed { what: "ETag" }),
            _ => Ok(()),
        }
    }
}

/// Makes an error for `object_store`, which repeats only requests whose error may pass.
fn failed(trouble: MirrorTrouble) -> HttpError {
    let kind = if trouble.may_pass() { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
    HttpError::new(kind, trouble)
}

/// Turns a status into an error, unless `object_store` itself handles it.
fn check_status(response: &Response<Incoming>, is_read: bool) -> Result<(), MirrorTrouble> {
    let status = response.status();
    let code = status.as_u16();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(MirrorTrouble::Later { status: code, retry_after: retry_after(response.headers()) })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(MirrorTrouble::Access { status: code }),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(MirrorTrouble::Range),
        StatusCode::NOT_FOUND if is_read => Err(MirrorTrouble::NotFound { what: "such file" }),
        StatusCode::NOT_FOUND
        | StatusCode::CONFLICT
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::NOT_MODIFIED
        | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
        _ if status.is_success() => Ok(()),
        _ => Err(MirrorTrouble::Status { status: code }),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn target(from: &Uri, headers: &HeaderMap) -> Result<Uri, MirrorTrouble> {
    let refused = |how| MirrorTrouble::Redirect { how };
    let base = url::Url::parse(&from.to_string()).map_err(|_| refused("to nowhere"))?;
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| base.join(location).ok()).ok_or_else(|| refused("to nowhere"))?;
    if url.scheme() != base.scheme() {
        return Err(refused("to another scheme"));
    }
    url.as_str().parse().map_err(|_| refused("to nowhere"))
}

/// Removes all headers that may hold secrets, because the request goes to another server.
fn keep_harmless(headers: &mut HeaderMap) {
    let harmless: [HeaderName; 4] = [header::RANGE, header::IF_MATCH, header::ACCEPT, header::USER_AGENT];
    let kept: Vec<_> = harmless.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect();
    headers.clear();
    headers.extend(kept);
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const LONGEST: u64 = 24 * 60 * 60;
    // A date is rare here. Without a number, the usual back-off applies.
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST)))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Parses `0-15`: the first and the last byte.
fn bounds(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}
