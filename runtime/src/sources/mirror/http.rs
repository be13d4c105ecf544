//! The HTTP layer below `object_store`. It follows a bounded number of redirects, checks that an answer is the range
//! that was asked for and that the file has not changed, and has a value for every other failure of a server.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use bytes::Bytes;
use hyper::body::Incoming;
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
use rpp_p2p::{error::Cause, snapshots::PaceLimits};

use super::{answer::Answer, trouble::MirrorTrouble, warm::Warm};
use crate::limits::{MAX_MIRROR_ANSWER, MAX_REDIRECTS, MIRROR_CONNECT};

/// Files whose ETag and length are remembered.
const MAX_SEEN: usize = 64;

/// Makes the client of one mirror.
pub(super) struct Connector {
    basic: Option<HeaderValue>,
    pace: PaceLimits,
    warm: usize,
}

impl Connector {
    /// `credentials`: user and password for this server. `pace`: how slow it may be. `warm`: the number
    /// of connections that are made beside the first one.
    pub(super) fn new(credentials: Option<(String, String)>, pace: PaceLimits, warm: usize) -> Self {
        let basic = credentials.and_then(|(user, password)| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { basic, pace, warm }
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
        let (basic, pace) = (self.basic.clone(), self.pace);
        Ok(HttpClient::new(Service { client, basic, pace, seen: Arc::new(seen) }))
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
    pace: PaceLimits,
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
        let is_file = is_read && response.status().is_success();
        if is_file {
            check_encoding(response.headers()).map_err(failed)?;
        }
        let expected = match range.filter(|_| is_read) {
            Some(range) => self.check_range(&name, &range, &response).map_err(failed)?,
            None => None,
        };
        let (mut parts, body) = response.into_parts();
        let announced = content_length(&parts.headers);
        if !has_body {
            if is_file && announced.is_none() {
                return Err(failed(MirrorTrouble::NoLength));
            }
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(Bytes::new())));
        }
        if announced.is_some_and(|announced| announced > MAX_MIRROR_ANSWER) {
            return Err(failed(MirrorTrouble::TooLong));
        }
        let body = HttpResponseBody::new(Answer::new(body, expected, self.pace));
        if !is_file || announced.is_some() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // The server does not say how long its answer is, and `object_store` reads only files that say so.
        let (length, body) = match expected {
            Some(expected) => (expected, body),
            None => {
                let whole = body.bytes().await?;
                (whole.len() as u64, HttpResponseBody::from(whole))
            }
        };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        Ok(HttpResponse::from_parts(parts, body))
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
            let answer = tokio::time::timeout(self.pace.idle, self.client.request(sent)).await;
            let response = answer.map_err(|_| MirrorTrouble::Slow { waited: self.pace.idle })?.map_err(|error| {
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

    /// Checks that an answer is the range that was asked for, and that the file is still the same as before. Returns
    /// the number of bytes of the range.
    fn check_range(
        &self,
        name: &str,
        range: &HeaderValue,
        response: &Response<Incoming>,
    ) -> Result<Option<u64>, MirrorTrouble> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => return Err(MirrorTrouble::IgnoresRanges),
            // A status such as `404` is handled elsewhere.
            _ => return Ok(None),
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
            _ => Ok(Some(expected)),
        }
    }
}

/// Makes an error for `object_store`, which repeats only requests whose error may pass.
pub(super) fn failed(trouble: MirrorTrouble) -> HttpError {
    let kind = if trouble.may_pass() { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
    HttpError::new(kind, trouble)
}

/// Turns a status into an error, unless `object_store` itself handles it.
fn check_status(response: &Response<Incoming>, is_read: bool) -> Result<(), MirrorTrouble> {
    let status = response.status();
    let code = status.as_u16();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(MirrorTrouble::Later { status: code, retry_after: retry_after(response.headers(), SystemTime::now()) })
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

/// Checks that a file comes as it is. A compressed one has other bytes than its root and its ranges.
fn check_encoding(headers: &HeaderMap) -> Result<(), MirrorTrouble> {
    // A server's own text is not repeated.
    const KNOWN: [&str; 5] = ["gzip", "br", "zstd", "deflate", "compress"];
    // `aws-chunked` says how an object came into its bucket.
    const PLAIN: [&str; 3] = ["", "identity", "aws-chunked"];
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        if let Some(encoding) = text.split(',').map(str::trim).find(|encoding| !PLAIN.contains(encoding)) {
            let known = KNOWN.into_iter().find(|known| *known == encoding.trim_start_matches("x-"));
            return Err(MirrorTrouble::Compressed { encoding: known.unwrap_or("an unknown one") });
        }
    }
    Ok(())
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

/// The value of `Retry-After`: a number of seconds, or a date. A date counts from the server's own `Date`, so that it
/// does not matter whose clock is wrong. Any other value is as good as none: then the usual back-off applies.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let wished = text(header::RETRY_AFTER)?;
    let is_number = !wished.is_empty() && wished.bytes().all(|byte| byte.is_ascii_digit());
    let wait = match is_number {
        // Only a number that is too large does not fit.
        true => Duration::from_secs(wished.parse().unwrap_or(u64::MAX)),
        false => date(wished)?.duration_since(text(header::DATE).and_then(date).unwrap_or(now)).unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_and_at_most_a_day() {
        const DAY: u64 = 24 * 60 * 60;
        // Sun, 29 Nov 2026 12:00:00 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_953_600);
        for (wished, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("86401", Some(DAY)),
            ("99999999999999999999999999", Some(DAY)),
            ("Sun, 29 Nov 2026 12:02:00 GMT", Some(120)),
            ("Sunday, 29-Nov-26 12:02:00 GMT", Some(120)),
            ("Sun Nov 29 12:02:00 2026", Some(120)),
            ("Tue, 29 Nov 2050 12:00:00 GMT", Some(DAY)),
            ("Sun, 29 Nov 2026 11:59:59 GMT", Some(0)),
            ("", None),
            ("-7", None),
            ("+7", None),
            ("7.5", None),
            ("soon", None),
        ] {
            let told = retry_after(&headers(&[(header::RETRY_AFTER, wished)]), now);
            assert_eq!(told, seconds.map(Duration::from_secs), "{wished}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        // The clock of this node, or of the server, is a year wrong.
        let dates =
            [(header::DATE, "Mon, 29 Nov 2027 12:00:00 GMT"), (header::RETRY_AFTER, "Mon, 29 Nov 2027 12:00:30 GMT")];
        assert_eq!(retry_after(&headers(&dates), now), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_compressed_file_is_refused_by_its_header_and_no_text_of_the_server_is_repeated() {
        let check = |value: &str| check_encoding(&headers(&[(header::CONTENT_ENCODING, value)]));
        for plain in ["", "identity", "Identity", "aws-chunked", "aws-chunked, identity"] {
            assert_eq!(check(plain), Ok(()), "{plain}");
        }
        assert_eq!(check_encoding(&HeaderMap::new()), Ok(()));
        for (value, encoding) in
            [("gzip", "gzip"), ("X-GZIP", "gzip"), ("aws-chunked,br", "br"), ("secret", "an unknown one")]
        {
            assert_eq!(check(value), Err(MirrorTrouble::Compressed { encoding }), "{value}");
        }
    }
}
