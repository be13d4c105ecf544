//! The settings of a collector, and which of them it refuses.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};

use crate::limits::{CUT_TIMEOUT, DEFAULT_DB_BYTES, FRAME_DEADLINE, MIN_DB_BYTES};

/// All settings of a collector. The defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    listen: String,
    http: String,
    db: PathBuf,
    db_max_bytes: u64,
    token: Option<SecretString>,
    insecure_tcp: bool,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    timeout: Duration,
    frame_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9119".into(),
            http: "127.0.0.1:9130".into(),
            db: "./peeps-web.sqlite".into(),
            db_max_bytes: DEFAULT_DB_BYTES,
            token: None,
            insecure_tcp: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            timeout: CUT_TIMEOUT,
            frame_deadline: FRAME_DEADLINE,
        }
    }
}

impl Options {
    /// `host:port` for processes (default `127.0.0.1:9119`). An address other than loopback needs
    /// [`with_insecure_tcp`](Self::with_insecure_tcp).
    #[must_use]
    pub fn with_listen(mut self, listen: impl Into<String>) -> Self {
        self.listen = listen.into();
        self
    }

    /// `host:port` for HTTP (default `127.0.0.1:9130`). An address other than loopback needs a token.
    #[must_use]
    pub fn with_http(mut self, http: impl Into<String>) -> Self {
        self.http = http.into();
        self
    }

    /// The SQLite file (default `./peeps-web.sqlite`).
    #[must_use]
    pub fn with_db(mut self, db: impl Into<PathBuf>) -> Self {
        self.db = db.into();
        self
    }

    /// Bound of the SQLite file (default 8 GiB, at least 256 KiB).
    #[must_use]
    pub fn with_db_max_bytes(mut self, bytes: u64) -> Self {
        self.db_max_bytes = bytes;
        self
    }

    /// Token for HTTP, at least 16 bytes (default none; an empty one counts as none).
    #[must_use]
    pub fn with_token(mut self, token: Option<SecretString>) -> Self {
        self.token = token.filter(|token| !token.expose_secret().is_empty());
        self
    }

    /// Allows listening for processes on addresses other than loopback, although the protocol has no authentication.
    #[must_use]
    pub fn with_insecure_tcp(mut self, allowed: bool) -> Self {
        self.insecure_tcp = allowed;
        self
    }

    /// Further names that the `Host` of an HTTP request may carry.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: Vec<String>) -> Self {
        self.allowed_hosts = hosts;
        self
    }

    /// Further origins whose web pages may send requests, such as `https://fleet.example`.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: Vec<String>) -> Self {
        self.allowed_origins = origins;
        self
    }

    /// How long a cut waits for answers (default 5 s; 500 ms of grace are added).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long after its first byte a frame must be complete (default 30 s).
    #[must_use]
    pub fn with_frame_deadline(mut self, deadline: Duration) -> Self {
        self.frame_deadline = deadline;
        self
    }

    pub(super) fn frame_deadline(&self) -> Duration {
        self.frame_deadline
    }

    pub(super) fn db(&self) -> &PathBuf {
        &self.db
    }

    pub(super) fn db_max_bytes(&self) -> u64 {
        self.db_max_bytes
    }

    pub(super) fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    pub(super) fn allowed_hosts(&self) -> &[String] {
        &self.allowed_hosts
    }

    pub(super) fn allowed_origins(&self) -> &[String] {
        &self.allowed_origins
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Resolves the addresses and refuses unsafe settings. May block on a name look-up.
    ///
    /// # Errors
    /// What is wrong, naming the setting and what is allowed.
    pub(super) fn addresses(&self) -> Result<(SocketAddr, SocketAddr), OptionsError> {
        let listen = resolve("PEEPS_LISTEN", &self.listen)?;
        let http = resolve("PEEPS_HTTP", &self.http)?;
        if !is_loopback(listen) && !self.insecure_tcp {
            return Err(OptionsError::InsecureTcp(listen));
        }
        if !is_loopback(http) && self.token.is_none() {
            return Err(OptionsError::NoToken(http));
        }
        if self.db_max_bytes < MIN_DB_BYTES {
            return Err(OptionsError::DbTooSmall(self.db_max_bytes));
        }
        Ok((listen, http))
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn resolve(name: &'static str, text: &str) -> Result<SocketAddr, OptionsError> {
    let failed = |source| OptionsError::Address { name, text: crate::escape(text), source };
    let mut addresses = text.to_socket_addrs().map_err(failed)?;
    addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not `host:port`, or an unknown name.
    #[error("{name}={text:?} is not an address; `host:port` is needed")]
    Address {
        /// The setting.
        name: &'static str,
        /// Its value.
        text: String,
        /// Why not.
        source: io::Error,
    },
    /// The protocol has no authentication.
    #[error(
        "PEEPS_LISTEN={0} is reachable from other machines, and the protocol has no authentication: listen on loopback, \
         or set RPP_COLLECTOR_INSECURE_TCP=1 if the network is trusted"
    )]
    InsecureTcp(SocketAddr),
    /// HTTP must not be open to others without a token.
    #[error("PEEPS_HTTP={0} is reachable from other machines: set RPP_COLLECTOR_TOKEN, or listen on loopback")]
    NoToken(SocketAddr),
    /// Too small to store anything.
    #[error("PEEPS_DB_MAX_BYTES={0} is too small: at least 262144 are needed")]
    DbTooSmall(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_addresses_need_permission_or_a_token() {
        let open = Options::default().with_listen("0.0.0.0:0");
        assert!(matches!(open.addresses(), Err(OptionsError::InsecureTcp(_))));
        assert!(open.clone().with_insecure_tcp(true).addresses().is_ok());
        let http = Options::default().with_http("[::]:0");
        assert!(matches!(http.addresses(), Err(OptionsError::NoToken(_))));
        let empty = http.clone().with_token(Some(SecretString::from("")));
        assert!(matches!(empty.addresses(), Err(OptionsError::NoToken(_))));
        assert!(http.with_token(Some("0123456789abcdef".into())).addresses().is_ok());
        assert!(Options::default().with_http("[::ffff:127.0.0.1]:0").addresses().is_ok());
        assert!(matches!(Options::default().with_listen("nonsense").addresses(), Err(OptionsError::Address { .. })));
        assert!(Options::default().with_db_max_bytes(1).addresses().is_err());
    }
}
