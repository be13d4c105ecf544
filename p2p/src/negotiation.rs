//! Decides for each peer how the protocol of a substream is agreed on.
//!
//! A dialer that proposes a single protocol may send its request together with the proposal (`V1Lazy` of
//! multistream-select), which saves a round trip. Listeners of rust-libp2p accept that; a listener of js-libp2p 3.3
//! never answers. The swarm has one setting for all peers and protocols, so it is set to `V1Lazy`. The handlers here
//! turn it into plain `V1` for every peer that is not known to accept it: they propose a second name that no substream
//! can have, which makes the dialer wait for the answer to the first one. A refusal then ends the negotiation at once,
//! and reaches the handler as a refusal.
//!
//! In a swarm that is set to `V1`, every negotiation is plain.

use std::{
    collections::HashSet,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{OutboundUpgrade, ProtocolError, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, Stream,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound, OutboundUpgradeSend, UpgradeInfoSend},
    },
};

/// A behaviour whose substreams get a plain negotiation with every peer.
pub struct Plain<B>(B);

impl<B> Plain<B> {
    /// Wraps `inner`.
    pub fn new(inner: B) -> Self {
        Self(inner)
    }
}

impl<B> Deref for Plain<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B> DerefMut for Plain<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Plain<B> {
    type ConnectionHandler = Handler<B::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_inbound_connection(connection, peer, local, remote).map(Handler::plain)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.0.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_outbound_connection(connection, peer, address, role, port_use).map(Handler::plain)
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

/// The peers that accept a request before they have confirmed its protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lazy(Arc<Mutex<HashSet<PeerId>>>);

impl Lazy {
    pub(crate) fn insert(&self, peer: PeerId) {
        self.peers().insert(peer);
    }

    pub(crate) fn remove(&self, peer: &PeerId) {
        self.peers().remove(peer);
    }

    fn peers(&self) -> MutexGuard<'_, HashSet<PeerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler whose own substreams are negotiated in the way that its peer supports.
pub struct Handler<H> {
    inner: H,
    peers: Option<(PeerId, Lazy)>,
    timeout: Option<Duration>,
}

impl<H> Handler<H> {
    fn plain(inner: H) -> Self {
        Self { inner, peers: None, timeout: None }
    }

    /// Lazy as soon as `peer` is one of the `lazy` peers. A negotiation of either kind may take as long as `timeout`.
    pub(crate) fn knowing(inner: H, peer: PeerId, lazy: &Lazy, timeout: Duration) -> Self {
        Self { inner, peers: Some((peer, lazy.clone())), timeout: Some(timeout) }
    }

    fn is_lazy(&self) -> bool {
        self.peers.as_ref().is_some_and(|(peer, lazy)| lazy.peers().contains(peer))
    }
}

impl<H: ConnectionHandler> ConnectionHandler for Handler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = Proposal<H::OutboundProtocol>;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        let protocol = self.inner.listen_protocol();
        match self.timeout {
            Some(timeout) => protocol.with_timeout(timeout),
            None => protocol,
        }
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        self.inner.poll(cx).map(|event| {
            match event.map_protocol(|upgrade| Proposal { upgrade, lazy: self.is_lazy() }) {
                ConnectionHandlerEvent::OutboundSubstreamRequest { protocol } => {
                    let timeout = self.timeout.unwrap_or(*protocol.timeout());
                    ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: protocol.with_timeout(timeout) }
                }
                other => other,
            }
        })
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
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
        self.inner.on_connection_event(match event {
            ConnectionEvent::FullyNegotiatedInbound(event) => ConnectionEvent::FullyNegotiatedInbound(event),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info })
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error: refusal(error) })
            }
            ConnectionEvent::AddressChange(event) => ConnectionEvent::AddressChange(event),
            ConnectionEvent::ListenUpgradeError(event) => ConnectionEvent::ListenUpgradeError(event),
            ConnectionEvent::LocalProtocolsChange(event) => ConnectionEvent::LocalProtocolsChange(event),
            ConnectionEvent::RemoteProtocolsChange(event) => ConnectionEvent::RemoteProtocolsChange(event),
            _ => return,
        });
    }
}

/// A peer that refuses the protocol is then offered the impossible name; this error is the refusal.
fn refusal<E>(error: StreamUpgradeError<E>) -> StreamUpgradeError<E> {
    match error {
        StreamUpgradeError::Io(error)
            if error
                .get_ref()
                .and_then(|inner| inner.downcast_ref())
                .is_some_and(|inner| matches!(inner, ProtocolError::InvalidProtocol)) =>
        {
            StreamUpgradeError::NegotiationFailed
        }
        other => other,
    }
}

/// The proposal of a handler for a substream, and how it is negotiated.
pub struct Proposal<U> {
    upgrade: U,
    lazy: bool,
}

/// The name of a protocol, or the one that no substream can have.
#[derive(Clone, Debug)]
pub enum Name<N> {
    /// A name.
    Of(N),
    /// Without the slash with which every name begins.
    Nobody,
}

impl<N: AsRef<str>> AsRef<str> for Name<N> {
    fn as_ref(&self) -> &str {
        match self {
            Self::Of(name) => name.as_ref(),
            Self::Nobody => "nobody",
        }
    }
}

impl<U: UpgradeInfoSend> UpgradeInfo for Proposal<U> {
    type Info = Name<U::Info>;
    type InfoIter =
        std::iter::Chain<std::iter::Map<U::InfoIter, fn(U::Info) -> Self::Info>, std::option::IntoIter<Self::Info>>;

    fn protocol_info(&self) -> Self::InfoIter {
        let name: fn(U::Info) -> Self::Info = Name::Of;
        self.upgrade.protocol_info().map(name).chain((!self.lazy).then_some(Name::Nobody))
    }
}

impl<U: OutboundUpgradeSend> OutboundUpgrade<Stream> for Proposal<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_outbound(self, stream: Stream, name: Self::Info) -> Self::Future {
        match name {
            Name::Of(name) => self.upgrade.upgrade_outbound(stream, name),
            Name::Nobody => unreachable!("nobody can agree on a name that is never sent"),
        }
    }
}
