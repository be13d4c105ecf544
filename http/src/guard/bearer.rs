//! The bearer token.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request, uri::PathAndQuery};
use secrecy::SecretString;

use super::{
    Token, TokenTooShort,
    throttle::{Verdict, WrongTokens},
};
use crate::Problem;

/// Checks `Authorization: Bearer <token>`.
///
/// A right token always passes; after 20 wrong ones within a minute from one address (one /64 of IPv6) further wrong ones
/// get `429`.
pub struct Bearer {
    token: Token,
    query: bool,
    wrong: Mutex<WrongTokens>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("query", &self.query).finish_non_exhaustive()
    }
}

impl Bearer {
    /// Accepts exactly this token.
    ///
    /// # Errors
    /// It has fewer than [`MIN_TOKEN_BYTES`](super::MIN_TOKEN_BYTES) bytes.
    pub fn new(token: &SecretString) -> Result<Self, TokenTooShort> {
        Ok(Self::shared(Token::new(token)?))
    }

    /// Accepts the present value of `token`, even after it was replaced.
    #[must_use]
    pub fn shared(token: Token) -> Self {
        Self { token, query: false, wrong: Mutex::default() }
    }

    /// Also accepts the token as `?token=`, for browsers, which cannot set the header on a WebSocket. It is taken out of
    /// the URI before a route sees it.
    #[must_use]
    pub fn with_query_token(mut self) -> Self {
        self.query = true;
        self
    }

    /// Checks a request, and removes the token from it.
    ///
    /// # Errors
    /// `401` or `429`.
    pub(crate) fn check(&self, from: IpAddr, now: Instant, request: &mut request::Parts) -> Result<(), Problem> {
        let given = self.take_tokens(request);
        if given.iter().any(|token| self.token.is(token)) {
            return Ok(());
        }
        if given.is_empty() {
            return Err(unauthorized("the request needs an Authorization: Bearer <token> header"));
        }
        match self.wrong.lock().unwrap_or_else(PoisonError::into_inner).note(from, now) {
            Verdict::Refused => Err(unauthorized("the token is wrong")),
            Verdict::Throttled(wait) => {
                let seconds = HeaderValue::from(wait.as_secs() + 1);
                let message = "too many wrong tokens from this address: a right one still passes";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_tokens", message)
                    .with_header(header::RETRY_AFTER, seconds))
            }
        }
    }

    fn take_tokens(&self, request: &mut request::Parts) -> Vec<Vec<u8>> {
        let mut tokens: Vec<_> = header_token(&request.headers).into_iter().collect();
        request.headers.remove(header::AUTHORIZATION);
        if self.query {
            tokens.extend(take_query_token(&mut request.uri));
        }
        tokens
    }
}

fn unauthorized(message: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// The token in the `Authorization` header. Several headers, or another scheme, yield an empty token, which is wrong
/// and is counted.
fn header_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return Some(Vec::new());
    }
    let (scheme, token) = value.split_at(value.iter().position(|b| *b == b' ').unwrap_or(value.len()));
    let token = if scheme.eq_ignore_ascii_case(b"bearer") { token.trim_ascii() } else { b"" };
    Some(token.to_vec())
}

/// Removes the `token` pairs from the query and returns the first one's value.
fn take_query_token(uri: &mut Uri) -> Option<Vec<u8>> {
    let is_token = |pair: &&str| *pair == "token" || pair.starts_with("token=");
    let query = uri.query()?;
    let token = query.split('&').find(is_token)?;
    let token = percent_decoded(token.strip_prefix("token=").unwrap_or_default().as_bytes());
    let kept: Vec<_> = query.split('&').filter(|pair| !is_token(pair)).collect();
    let path = if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) };
    let mut parts = uri.clone().into_parts();
    // Parts of a valid URI form a valid URI. If not, the whole query is dropped.
    parts.path_and_query = Some(path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
    Some(token)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TOKEN: &str = "s3cret+/=token-of-32-characters!";

    fn bearer() -> Bearer {
        Bearer::new(&TOKEN.into()).unwrap()
    }

    fn check(bearer: &Bearer, uri: &str, headers: &[&str]) -> (Result<(), u16>, request::Parts) {
        let mut request = http::Request::builder().uri(uri);
        for value in headers {
            request = request.header(header::AUTHORIZATION, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let verdict = bearer.check(Ipv4Addr::LOCALHOST.into(), Instant::now(), &mut parts);
        (verdict.map_err(|problem| problem.status().as_u16()), parts)
    }

    #[test]
    fn only_the_token_passes() {
        let bearer = bearer();
        for good in [format!("Bearer {TOKEN}"), format!("bearer   {TOKEN}"), format!("BEARER {TOKEN} ")] {
            assert_eq!(check(&bearer, "/", &[&good]).0, Ok(()), "{good}");
        }
        let right = format!("Bearer {TOKEN}");
        for bad in [
            vec![],
            vec!["Bearer"],
            vec!["Bearer "],
            vec![TOKEN],
            vec!["Basic czNjcmV0"],
            vec!["Bearer s3cret+/=token-of-32-characters"],
            vec!["Bearer s3cret+/=token-of-32-characters!!"],
            vec!["Bearer S3CRET+/=TOKEN-OF-32-CHARACTERS!"],
            vec![&*right, &*right],
        ] {
            assert_eq!(check(&bearer, "/", &bad).0, Err(401), "{bad:?}");
        }
        assert_eq!(check(&bearer, "/?token=s3cret%2B/=token-of-32-characters!", &[]).0, Err(401), "not asked for");
    }

    #[test]
    fn the_query_may_carry_it_and_loses_it() {
        let bearer = bearer().with_query_token();
        for (uri, left) in [
            ("/introspect?token=s3cret%2B/=token-of-32-characters!", "/introspect"),
            ("/introspect?token=s3cret+/=token-of-32-characters!&a=b", "/introspect?a=b"),
            ("/i?a=b&token=s3cret%2b%2F%3dtoken-of-32-characters%21&token=x&c", "/i?a=b&c"),
        ] {
            let (verdict, parts) = check(&bearer, uri, &[]);
            assert_eq!((verdict, parts.uri.to_string().as_str()), (Ok(()), left));
        }
        for uri in ["/", "/?token", "/?token=", "/?token=%", "/?token=%2", "/?tokens=s3cret+/=token-of-32-characters!"]
        {
            assert_eq!(check(&bearer, uri, &[]).0, Err(401), "{uri}");
        }
    }

    #[test]
    fn the_header_is_taken_out_whatever_the_verdict() {
        for value in [format!("Bearer {TOKEN}"), "Bearer wrong".into()] {
            assert!(check(&bearer(), "/", &[&value]).1.headers.is_empty());
        }
    }

    #[test]
    fn wrong_ones_are_throttled_missing_ones_not_and_a_right_one_passes() {
        let bearer = bearer();
        for _ in 0..20 {
            assert_eq!(check(&bearer, "/", &["Bearer wrong"]).0, Err(401));
        }
        assert_eq!(check(&bearer, "/", &["Bearer wrong"]).0, Err(429));
        assert_eq!(check(&bearer, "/", &[]).0, Err(401));
        assert_eq!(check(&bearer, "/", &[&format!("Bearer {TOKEN}")]).0, Ok(()));
    }

    #[test]
    fn short_tokens_are_refused_and_none_is_shown() {
        assert_eq!(Bearer::new(&"fifteen--bytes-".into()).unwrap_err(), TokenTooShort);
        assert!(Bearer::new(&"sixteen---bytes-".into()).is_ok());
        assert!(Bearer::new(&"".into()).is_err());
        assert!(!format!("{:?}", bearer()).contains("s3cret"));
    }
}
