//! A connection to a node's introspection port.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header};
use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        protocol::{WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    envelope::{self, EnvelopeError, Messages, Part, VERSION},
    limits::MAX_SERVER_MESSAGE_BYTES,
    proto::{
        ClientCommand, Configuration, Version,
        client_command::{Command, Source},
    },
    text::escape,
};

/// Why there is no connection to a node, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The text is not an address. The caller is at fault.
    #[error("{url:?} is not an address like ws://127.0.0.1:7071/introspect")]
    Url {
        /// The text as it was given.
        url: String,
    },
    /// The token cannot stand in a header. The caller is at fault.
    #[error("the token has characters that a header cannot carry")]
    Token,
    /// The node refused this client.
    #[error("the node refused the connection: {status} {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason that the node gives.
        reason: String,
    },
    /// The node disconnected this client.
    #[error("the node closed the connection: {reason} ({code})")]
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The reason that the node gives.
        reason: String,
    },
    /// The connection cannot be made, or it broke.
    #[error("no connection to the node: {0}")]
    Transport(#[source] Box<Error>),
    /// The node sent something that is not an introspection message.
    #[error("the node sent what is no introspection message: {0}")]
    Envelope(#[from] EnvelopeError),
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                let said = serde_json::from_slice::<serde_json::Value>(body).ok();
                let said = said.as_ref().and_then(|body| body["error"].as_str());
                let known = response.status().canonical_reason().unwrap_or_default();
                Self::Refused { status: response.status().as_u16(), reason: escape(said.unwrap_or(known)) }
            }
            other => Self::Transport(Box::new(other)),
        }
    }
}

/// A client of one node.
#[derive(Debug)]
pub struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    unread: Option<Messages>,
    last_id: u64,
}

impl Connection {
    /// Connects to a URL like `ws://127.0.0.1:7071/introspect`.
    ///
    /// # Errors
    /// The URL is not valid, or the node is absent or refuses.
    pub async fn open(url: &str, token: &SecretString) -> Result<Self, ClientError> {
        let mut request = url.into_client_request().map_err(|_| ClientError::Url { url: escape(url) })?;
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| ClientError::Token)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_SERVER_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_SERVER_MESSAGE_BYTES));
        let (socket, _) = connect_async_with_config(request, Some(config), true).await?;
        Ok(Self { socket, unread: None, last_id: 0 })
    }

    /// The next message. Safe to drop and call again.
    ///
    /// # Errors
    /// The connection ended, or the node sent something that is not a message.
    pub async fn next(&mut self) -> Result<Part, ClientError> {
        loop {
            if let Some(part) = self.unread.as_mut().and_then(Iterator::next) {
                return Ok(part?);
            }
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => self.unread = Some(envelope::messages(bytes)?),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map_or((CloseCode::Status, String::new()), |frame| {
                        (frame.code, escape(frame.reason.as_str()))
                    });
                    return Err(ClientError::Closed { code: code.into(), reason });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Error::ConnectionClosed.into()),
            }
        }
    }

    /// Says ready for the next state, with a text message.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn ready(&mut self) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::text("ready")).await?)
    }

    /// Sends a command and returns its id.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn command(&mut self, command: Command, source: Source) -> Result<u64, ClientError> {
        self.send(command, source, None).await
    }

    /// Sends HELLO and asks for a configuration; zero leaves a value to the node.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn hello(&mut self, config: Configuration) -> Result<u64, ClientError> {
        self.send(Command::Hello, Source::State, Some(config)).await
    }

    /// The bare socket, from which nothing has been read.
    pub(super) fn into_socket(self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        self.socket
    }

    /// Closes the connection.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }

    async fn send(
        &mut self,
        command: Command,
        source: Source,
        config: Option<Configuration>,
    ) -> Result<u64, ClientError> {
        self.last_id += 1;
        let message = ClientCommand {
            version: Some(Version { version: VERSION }),
            id: self.last_id,
            command: command.into(),
            source: source.into(),
            config,
        };
        self.socket.send(Message::Binary(Bytes::from(message.encode_to_vec()))).await?;
        Ok(self.last_id)
    }
}
