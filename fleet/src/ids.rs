//! Ids that several processes derive alike without exchanging them.

use std::fmt::{self, Display, Write as _};

/// The common part of the ids of a consumer's request and the provider's answer.
///
/// It is derived from both peer ids, the session and the request, so that the edge from one to the other crosses
/// processes. Peer ids are used in their textual form. `request` says what is asked for ("chunk 7"); both sides must
/// use the same text.
///
/// ```
/// use rpp_fleet::ExchangeId;
/// let at_consumer = ExchangeId::derive(&"12D3KooWconsumer", &"12D3KooWprovider", 7, &"chunk 312");
/// let at_provider = ExchangeId::derive(&"12D3KooWconsumer", &"12D3KooWprovider", 7, &format_args!("chunk {}", 312));
/// assert_eq!(at_consumer.request(), at_provider.request());
/// assert!(at_provider.response().starts_with("response:"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeId([u8; 16]);

impl ExchangeId {
    /// The id of one request of `consumer`'s session at `provider`.
    #[must_use]
    pub fn derive(consumer: &dyn Display, provider: &dyn Display, session: u64, request: &dyn Display) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rpp-fleet exchange id 1");
        let mut text = String::new();
        for part in [consumer, provider, &session, request] {
            text.clear();
            let _ = write!(text, "{part}");
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }

    /// The consumer's node: `request:<id>`.
    #[must_use]
    pub fn request(&self) -> String {
        format!("request:{self}")
    }

    /// The provider's node: `response:<id>`.
    #[must_use]
    pub fn response(&self) -> String {
        format!("response:{self}")
    }
}

impl Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// `<process name>-<pid>`, as peeps makes it: A-Z become lower case, and every other character that is not one of a-z
/// 0-9 _ - . becomes `-`.
///
/// ```
/// assert_eq!(rpp_fleet::proc_key("MyService.Api v2", 7), "myservice.api-v2-7");
/// ```
#[must_use]
pub fn proc_key(process: &str, pid: u64) -> String {
    let kept = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
    let mut key: String =
        process.chars().map(|c| c.to_ascii_lowercase()).map(|c| if kept(c) { c } else { '-' }).collect();
    let _ = write!(key, "-{pid}");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_processes() {
        assert_eq!(proc_key("probe svc", 7), "probe-svc-7");
        assert_eq!(proc_key("a_b-c9", 1), "a_b-c9-1");
        assert_eq!(proc_key("Caf\u{e9}#1", 2), "caf--1-2");
        assert_eq!(proc_key("MyService.Api v2", 7), "myservice.api-v2-7");
    }

    #[test]
    fn exchange_ids_depend_on_every_part_and_its_length() {
        let id = |a: &str, b: &str, s: u64, r: &str| ExchangeId::derive(&a, &b, s, &r).to_string();
        let base = id("a", "b", 1, "plan");
        assert_eq!(base.len(), 32);
        for other in
            [id("b", "a", 1, "plan"), id("a", "b", 2, "plan"), id("a", "b", 1, "chunk 0"), id("ab", "", 1, "plan")]
        {
            assert_ne!(base, other);
        }
    }
}
