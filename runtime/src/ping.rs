//! Stops pinging a connection on which nobody answers.
//!
//! libp2p's ping asks for a new stream when one fails. If the peer does not know ping and streams are negotiated
//! lazily, each stream looks usable until its answer does not come. So ping tries again forever, and each try makes the
//! connection look busy, so that it never closes for being idle. Here a connection's pings end when the first one gets
//! no answer, or later three in a row get none. Pings of the peer are answered in any case.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    ping,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, handler::ConnectionEvent,
    },
};

use crate::limits::MAX_SILENT_PINGS;

/// [`ping::Behaviour`] with the limits of this module.
pub(crate) struct Behaviour(ping::Behaviour);

impl Behaviour {
    /// A ping after each `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self(ping::Behaviour::new(ping::Config::new().with_interval(interval)))
    }
}

type PlainHandler = THandler<ping::Behaviour>;

/// Pings on one connection.
pub(crate) struct Handler {
    inner: PlainHandler,
    /// Whether any was answered.
    answered: bool,
    /// Streams since the last answer.
    silent: u32,
}

impl Handler {
    fn new(inner: PlainHandler) -> Self {
        Self { inner, answered: false, silent: 0 }
    }

    /// Whether another stream may be tried.
    fn may_try(&mut self) -> bool {
        self.silent += 1;
        self.silent <= if self.answered { MAX_SILENT_PINGS } else { 1 }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = <PlainHandler as ConnectionHandler>::FromBehaviour;
    type ToBehaviour = <PlainHandler as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <PlainHandler as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <PlainHandler as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = <PlainHandler as ConnectionHandler>::InboundOpenInfo;
    type OutboundOpenInfo = <PlainHandler as ConnectionHandler>::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        loop {
            let event = std::task::ready!(self.inner.poll(cx));
            match &event {
                ConnectionHandlerEvent::NotifyBehaviour(Ok(_)) => {
                    self.answered = true;
                    self.silent = 0;
                }
                // ping waits for a stream that it never gets, and still answers the peer's pings.
                ConnectionHandlerEvent::OutboundSubstreamRequest { .. } if !self.may_try() => continue,
                _ => {}
            }
            return Poll::Ready(event);
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.inner.on_connection_event(event);
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = ping::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_inbound_connection(connection, peer, local, remote).map(Handler::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_outbound_connection(connection, peer, address, role, port_use).map(Handler::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.0.poll(cx)
    }
}
