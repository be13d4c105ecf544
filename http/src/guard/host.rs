//! Checks `Host` and `Origin`. This keeps out web pages of other sites, and DNS names that were rebound to this
//! address.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, StatusCode, header, uri::Authority};

use crate::Problem;

/// Which `Host` and `Origin` a port accepts.
///
/// By default it accepts IP literals and `localhost` as host, with any port (a forwarded port is not the listener's).
/// As origin it accepts only the host and port that the request was sent to, over `http`.
#[derive(Clone, Debug, Default)]
pub struct HostOriginRules {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl HostOriginRules {
    /// Further names that `Host` may carry, without port.
    #[must_use]
    pub fn with_hosts<S: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = S>) -> Self {
        self.hosts.extend(hosts.into_iter().map(|host| host.as_ref().to_ascii_lowercase()));
        self
    }

    /// Further origins, such as `https://observer.example:8443`.
    #[must_use]
    pub fn with_origins<S: AsRef<str>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.origins.extend(origins.into_iter().map(|origin| normal_origin(origin.as_ref())));
        self
    }

    /// With `may_lack`, a request without `Host` passes. Browsers always send one.
    ///
    /// # Errors
    /// `403` unless both are allowed.
    pub(crate) fn check(&self, headers: &HeaderMap, may_lack: bool) -> Result<(), Problem> {
        if may_lack && !headers.contains_key(header::HOST) && !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let host = self.check_host(headers)?;
        self.check_origin(&host, headers)
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<Authority, Problem> {
        let refused = || {
            let message = "the Host header must be an IP address, localhost, or a name that the configuration allows";
            Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
        };
        let host = single(headers, &header::HOST).and_then(|text| text.parse().ok()).ok_or_else(refused)?;
        if self.host_allowed(&host) { Ok(host) } else { Err(refused()) }
    }

    fn host_allowed(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let literal = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok(),
        };
        literal
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    fn check_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<(), Problem> {
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let given = single(headers, &header::ORIGIN).map(normal_origin);
        let own = normal_origin(&format!("http://{host}"));
        match given {
            Some(origin) if origin == own || self.origins.contains(&origin) => Ok(()),
            _ => {
                let message = "requests from web pages of another origin are not allowed here";
                Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", message))
            }
        }
    }
}

/// The header's value, if the header is there exactly once and is plain text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Lower case, without the default port of the scheme.
fn normal_origin(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let bare = match origin.split_once("://") {
        Some(("http" | "ws", rest)) => rest.strip_suffix(":80"),
        Some(("https" | "wss", rest)) => rest.strip_suffix(":443"),
        _ => None,
    };
    match (bare, origin.split_once("://")) {
        // `[::80]` looks as if it ended in a port but does not.
        (Some(bare), Some((scheme, _))) if !bare.starts_with('[') || bare.ends_with(']') => {
            format!("{scheme}://{bare}")
        }
        _ => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rules: &HostOriginRules, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        verdict_of(rules, false, headers)
    }

    fn verdict_of(rules: &HostOriginRules, may_lack: bool, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        rules.check(&map, may_lack).map_err(|problem| problem.code())
    }

    #[test]
    fn hosts_are_literals_localhost_or_configured() {
        let rules = HostOriginRules::default().with_hosts(["Node.Example"]);
        for host in ["127.0.0.1", "127.0.0.1:7070", "[::1]", "[::1]:7070", "localhost", "LOCALHOST:9", "node.example:1"]
        {
            assert_eq!(verdict(&rules, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost.",
            "127.1",
            "0x7f.0.0.1",
            "::1",
            "x@127.0.0.1",
            "127.0.0.1@evil.example",
            "",
            "[::1",
            "[localhost]",
            "127.0.0.1/evil",
            "127.0.0.1, evil.example",
        ] {
            assert_eq!(verdict(&rules, &[("host", host)]), Err("host_not_allowed"), "{host}");
        }
        assert_eq!(verdict(&rules, &[]), Err("host_not_allowed"));
        let twice = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
        assert_eq!(verdict(&rules, &twice), Err("host_not_allowed"));
    }

    #[test]
    fn a_probe_may_lack_its_host_but_has_no_wrong_one() {
        let rules = HostOriginRules::default();
        assert_eq!(verdict_of(&rules, true, &[]), Ok(()));
        for headers in [&[("host", "evil.example")][..], &[("host", "")], &[("origin", "http://evil.example")]] {
            assert_eq!(verdict_of(&rules, true, headers), Err("host_not_allowed"), "{headers:?}");
        }
    }

    #[test]
    fn origins_are_our_own_or_configured() {
        let rules = HostOriginRules::default().with_origins(["https://UI.example:443", "http://localhost:3000"]);
        let with = |host, origin| verdict(&rules, &[("host", host), ("origin", origin)]);
        assert_eq!(with("127.0.0.1:7070", "http://127.0.0.1:7070"), Ok(()));
        assert_eq!(with("127.0.0.1", "http://127.0.0.1:80"), Ok(()));
        assert_eq!(with("[::80]", "http://[::80]"), Ok(()));
        assert_eq!(with("[::80]:80", "http://[::80]"), Ok(()));
        assert_eq!(with("localhost:7070", "https://ui.example"), Ok(()));
        assert_eq!(with("localhost:7070", "http://localhost:3000"), Ok(()));
        for origin in [
            "http://localhost:7071",
            "https://localhost:7070",
            "null",
            "",
            "http://evil.example",
            "http://127.0.0.1:7070",
        ] {
            assert_eq!(with("localhost:7070", origin), Err("origin_not_allowed"), "{origin}");
        }
        let own = "http://localhost:7070";
        let twice = [("host", "localhost:7070"), ("origin", own), ("origin", own)];
        assert_eq!(verdict(&rules, &twice), Err("origin_not_allowed"));
    }
}
