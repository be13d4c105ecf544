//! The gate in front of a port's routes.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, header, request};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{Bearer, HostOriginRules, body};
use crate::{Limits, Problem};

type Observer = Box<dyn Fn(&Problem) + Send + Sync>;

/// Which requests reach the routes: [`HostOriginRules`], then the token, then the body, in this order.
pub struct Gate {
    rules: HostOriginRules,
    bearer: Option<Bearer>,
    open: Vec<String>,
    observer: Option<Observer>,
}

impl Gate {
    /// A gate that asks for no token.
    #[must_use]
    pub fn new(rules: HostOriginRules) -> Self {
        Self { rules, bearer: None, open: Vec::new(), observer: None }
    }

    /// Asks for a token on every path but the open ones, also on those that do not exist.
    #[must_use]
    pub fn with_bearer(mut self, bearer: Bearer) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// A path, exactly as it stands in a request, that needs no token.
    #[must_use]
    pub fn with_open_path(mut self, path: impl Into<String>) -> Self {
        self.open.push(path.into());
        self
    }

    /// Is told of every refusal, to count it.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The request with its body read, or why it is refused.
    pub(crate) async fn admit(
        &self,
        from: SocketAddr,
        limits: &Limits,
        request: Request<Incoming>,
    ) -> Result<Request<Full<Bytes>>, Problem> {
        self.judge(from, limits, request).await.inspect_err(|problem| {
            if let Some(observer) = &self.observer {
                observer(problem);
            }
        })
    }

    async fn judge(
        &self,
        from: SocketAddr,
        limits: &Limits,
        request: Request<Incoming>,
    ) -> Result<Request<Full<Bytes>>, Problem> {
        let (mut parts, body) = request.into_parts();
        let unread = !body.is_end_stream();
        self.admit_head(from, &mut parts).map_err(|problem| if unread { problem.and_close() } else { problem })?;
        let body = body::read(&parts.headers, body, limits).await?;
        // The body is whole now: what described its way here no longer holds.
        if parts.headers.remove(header::TRANSFER_ENCODING).is_some() {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    fn admit_head(&self, from: SocketAddr, parts: &mut request::Parts) -> Result<(), Problem> {
        self.rules.check(&parts.uri, &parts.headers)?;
        match &self.bearer {
            Some(bearer) if !self.open.iter().any(|path| path == parts.uri.path()) => {
                bearer.check(from.ip(), Instant::now(), parts)
            }
            _ => {
                parts.headers.remove(header::AUTHORIZATION);
                Ok(())
            }
        }
    }
}
