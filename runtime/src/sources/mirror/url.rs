//! The URL of a mirror, in the form that an operator gives and in the form that may be shown.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

/// A URL that a mirror can have. [`fmt::Display`] and [`fmt::Debug`] leave out user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct MirrorUrl {
    url: Url,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    File,
    Http,
    Https,
    S3,
    Gs,
    Az,
}

/// Why a URL does not name a mirror. The error contains no text of the URL, because that may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorUrlError {
    /// It is no URL.
    #[error("it is not a URL such as https://host/folder, s3://bucket/folder or file:///folder")]
    Unreadable,
    /// Its scheme is not one that a mirror can have.
    #[error("its scheme is none of s3, gs, az, https, http and file")]
    Scheme,
    /// It has a `#` and a fragment.
    #[error("it has a fragment (#...), which no server gets to see")]
    Fragment,
    /// No bucket, or no host.
    #[error("it names no {0}")]
    NoHost(&'static str),
    /// A file URL that names another host, or no absolute path.
    #[error("a file URL must be file:/// and an absolute path on this machine")]
    File,
    /// It is too long.
    #[error("it is longer than {MAX_URL} bytes")]
    TooLong,
}

/// The most bytes of a URL.
const MAX_URL: usize = 2048;

impl FromStr for MirrorUrl {
    type Err = MirrorUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_URL {
            return Err(MirrorUrlError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| MirrorUrlError::Unreadable)?;
        let scheme = match url.scheme() {
            "file" => Scheme::File,
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            _ => return Err(MirrorUrlError::Scheme),
        };
        if url.fragment().is_some() {
            return Err(MirrorUrlError::Fragment);
        }
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        match scheme {
            Scheme::File if has_host || url.to_file_path().is_err() => return Err(MirrorUrlError::File),
            Scheme::File => {}
            Scheme::Http | Scheme::Https if !has_host => return Err(MirrorUrlError::NoHost("host")),
            Scheme::S3 | Scheme::Gs if !has_host => return Err(MirrorUrlError::NoHost("bucket")),
            Scheme::Az if !has_host => return Err(MirrorUrlError::NoHost("container")),
            _ => {}
        }
        // A trailing slash makes no difference.
        let mut url = url;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url, scheme })
    }
}

impl<'de> Deserialize<'de> for MirrorUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The form that may be shown. If it is read back, user, password and query are missing.
impl Serialize for MirrorUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl MirrorUrl {
    /// Scheme, host and port. A ban applies to these.
    #[must_use]
    pub fn origin(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        match self.scheme {
            Scheme::File => format!("file://{}", self.url.path()),
            _ => format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default()),
        }
    }

    /// Whether its content can be read and changed on the way: `http` to another machine.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let is_here = match self.url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        self.scheme == Scheme::Http && !is_here
    }

    /// The whole URL including its secrets, for the node's own records.
    pub(crate) fn secret_text(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// User and password, for `http` and `https` only.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let is_web = matches!(self.scheme, Scheme::Http | Scheme::Https) && !self.url.username().is_empty();
        is_web.then(|| (decode(self.url.username()), decode(self.url.password().unwrap_or_default())))
    }

    /// The URL with its query, which the server may need.
    pub(super) fn without_credentials(&self) -> String {
        let mut url = self.url.clone();
        // Neither can fail for a URL that has a host.
        let _ = (url.set_username(""), url.set_password(None));
        if url.path().ends_with('/') && url.path() != "/" {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
        }
        url.into()
    }

    pub(super) fn bucket(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    /// The folder on this machine that a `file` URL names.
    pub(crate) fn local_folder(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| self.folder())
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.url.to_file_path().unwrap_or_default()
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::File => f.write_str(&self.origin()),
            _ => write!(f, "{}{}", self.origin(), self.url.path()),
        }
    }
}

impl fmt::Debug for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_never_shown() {
        let url: MirrorUrl = "https://user:word@mirror.example:8443/a/b?token=secret".parse().unwrap();
        for shown in [url.to_string(), format!("{url:?}"), url.origin()] {
            for secret in ["user", "word", "token", "secret", "@", "?"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        assert_eq!(url.to_string(), "https://mirror.example:8443/a/b");
        assert_eq!(url.origin(), "https://mirror.example:8443");
        assert_eq!(url.credentials(), Some(("user".to_owned(), "word".to_owned())));
        assert_eq!(url.without_credentials(), "https://mirror.example:8443/a/b?token=secret");
        // The error does not repeat the URL either.
        let error = "gopher://user:word@host".parse::<MirrorUrl>().unwrap_err().to_string();
        assert!(!error.contains("word"), "{error}");
    }

    #[test]
    fn what_names_no_mirror_is_refused_with_the_reason() {
        use MirrorUrlError::{File, Fragment, NoHost, Scheme, TooLong, Unreadable};
        let long = format!("https://host/{}", "a".repeat(MAX_URL));
        for (text, error) in [
            ("", Unreadable),
            ("mirror.example/a", Unreadable),
            ("ftp://mirror.example", Scheme),
            ("https://mirror.example/a#b", Fragment),
            ("s3://", NoHost("bucket")),
            ("s3:///a", NoHost("bucket")),
            ("az:///a", NoHost("container")),
            ("file://host/a", File),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(text.parse::<MirrorUrl>(), Err(error), "{text}");
        }
        for text in
            ["s3://bucket", "gs://bucket/a", "az://container/a", "file:///srv/mirror", "http://127.0.0.1:1/a?b=c"]
        {
            assert!(text.parse::<MirrorUrl>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_slash_at_the_end_makes_no_other_mirror() {
        for (text, shown) in [
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/", "s3://bucket/a"),
            ("https://host", "https://host/"),
            ("https://host/a//?b=c", "https://host/a"),
            ("file:///srv/mirror/", "file:///srv/mirror"),
            ("file:///", "file:///"),
        ] {
            let url: MirrorUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse::<MirrorUrl>().unwrap().to_string(), shown, "what is shown names the same");
        }
        let url: MirrorUrl = "https://user:word@host/a?b=c".parse().unwrap();
        assert_eq!(serde_json::to_value(&url).unwrap(), "https://host/a");
        assert!(serde_json::from_str::<MirrorUrl>("\"s3://user:word@\"").unwrap_err().to_string().contains("bucket"));
    }

    #[test]
    fn http_to_another_machine_is_open() {
        for (text, is_open) in [
            ("http://10.0.0.7/", true),
            ("http://127.0.0.1:80/", false),
            ("http://[::1]/", false),
            ("http://localhost/", false),
            ("https://host/", false),
            ("s3://bucket", false),
        ] {
            assert_eq!(text.parse::<MirrorUrl>().unwrap().is_open(), is_open, "{text}");
        }
    }
}
