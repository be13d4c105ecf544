//! A client of a running node's control plane.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use rpp_runtime::{Config, SnapshotStreamStatus, keys};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::net::TcpStream;

use super::{output::escape, run_file::RunFile};

/// Longer answers are refused; the answer for 256 sessions is far shorter.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The node answers a POST within 5 s, everything else at once.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call returned no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No node answered.
    #[error("no node answers on http://{address}: {reason}; start it with `rpp-node run`")]
    Unreachable {
        /// The address where the node should be.
        address: SocketAddr,
        /// The system's error.
        reason: String,
    },
    /// The node answered with a problem.
    #[error("{message}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The node's stable word.
        code: Option<String>,
        /// The node's sentence.
        message: String,
    },
    /// The answer is not one of a node.
    #[error("http://{address} answers, but not like a node: {reason}")]
    Strange {
        /// The address.
        address: SocketAddr,
        /// What was wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Problem {
    error: String,
    #[serde(default)]
    code: Option<String>,
}

/// The address of a node's control plane, and its token.
pub(crate) struct Api {
    address: SocketAddr,
    token: SecretString,
}

impl Api {
    /// From the node's configuration and `RPP_RPC_TOKEN`. If the configured port is 0, the address comes from the file
    /// that the running node wrote.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let variable = std::env::var("RPP_RPC_TOKEN").ok();
        let token = keys::load_token(variable.as_deref(), &config.rpc.token_file)?;
        Ok(Self { address: address(config)?, token })
    }

    /// The same for [`probe`](Self::probe) only, which needs no token.
    pub(crate) fn without_token(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { address: address(config)?, token: SecretString::default() })
    }

    /// With a known address.
    pub(crate) fn at(address: SocketAddr, token: SecretString) -> Self {
        Self { address: reachable(address), token }
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, ApiError> {
        self.call(Method::GET, path, None).await
    }

    /// One session.
    pub(crate) async fn session(&self, session: u64) -> Result<SnapshotStreamStatus, ApiError> {
        self.decode(&self.get(&format!("/p2p/snapshots/{session}")).await?)
    }

    /// All sessions.
    pub(crate) async fn sessions(&self) -> Result<Vec<SnapshotStreamStatus>, ApiError> {
        self.decode(&self.get("/p2p/snapshots").await?)
    }

    /// Starts or resumes a session.
    pub(crate) async fn start(&self, request: &serde_json::Value) -> Result<SnapshotStreamStatus, ApiError> {
        self.decode(&self.call(Method::POST, "/p2p/snapshots", Some(request.to_string())).await?)
    }

    /// Cancels a session; a finished payload stays.
    pub(crate) async fn cancel(&self, session: u64) -> Result<(), ApiError> {
        self.delete(&format!("/p2p/snapshots/{session}")).await.map(drop)
    }

    /// `POST path`.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Bytes, ApiError> {
        self.call(Method::POST, path, Some(body.to_string())).await
    }

    /// `PATCH path`.
    pub(crate) async fn patch(&self, path: &str, body: &serde_json::Value) -> Result<Bytes, ApiError> {
        self.call(Method::PATCH, path, Some(body.to_string())).await
    }

    /// `DELETE path`; the answer may be empty.
    pub(crate) async fn delete(&self, path: &str) -> Result<Bytes, ApiError> {
        self.call(Method::DELETE, path, None).await
    }

    /// `GET path` without the token. If the answer is not a success, the error has the node's message.
    pub(crate) async fn probe(&self, path: &str) -> Result<(), ApiError> {
        let (status, bytes) = self.exchange(self.request(Method::GET, path, None, false)?).await?;
        if status.is_success() { Ok(()) } else { Err(refusal(status, &bytes)) }
    }

    /// The status code of a GET that carries no token.
    pub(crate) async fn status_without_token(&self, path: &str) -> Result<StatusCode, ApiError> {
        Ok(self.exchange(self.request(Method::GET, path, None, false)?).await?.0)
    }

    pub(crate) fn decode<T: for<'de> Deserialize<'de>>(&self, body: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(body).map_err(|error| self.strange(&error))
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Bytes, ApiError> {
        let (status, bytes) = self.exchange(self.request(method, path, body, true)?).await?;
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        with_token: bool,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut builder = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        if with_token {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose_secret()));
        }
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        builder.body(Full::from(body.unwrap_or_default())).map_err(|error| self.strange(&error))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ApiError> {
        match tokio::time::timeout(TIMEOUT, self.exchange_untimed(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn exchange_untimed(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ApiError> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.strange(&error))?;
        // The connection ends when its sender is dropped.
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        driver.abort();
        Ok((status, body.map_err(|error| self.unreachable(&error))?.to_bytes()))
    }

    fn unreachable(&self, reason: &impl ToString) -> ApiError {
        ApiError::Unreachable { address: self.address, reason: escape(&reason.to_string()) }
    }

    fn strange(&self, reason: &impl ToString) -> ApiError {
        ApiError::Strange { address: self.address, reason: escape(&reason.to_string()) }
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            ApiError::Refused { status, code: problem.code.as_deref().map(escape), message: escape(&problem.error) }
        }
        Err(_) => ApiError::Refused { status, code: None, message: format!("the node answers {status}") },
    }
}

fn address(config: &Config) -> anyhow::Result<SocketAddr> {
    Ok(match config.rpc.listen {
        listen if listen.port() != 0 => reachable(listen),
        _ => reachable(running_address(&config.data_dir)?),
    })
}

/// A node that listens on all addresses is reached over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn running_address(data_dir: &Path) -> anyhow::Result<SocketAddr> {
    let path = RunFile::path(data_dir);
    let text = fs::read(&path).with_context(|| RunFile::missing("rpc.listen", data_dir))?;
    let file: RunFile = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(file.rpc)
}
