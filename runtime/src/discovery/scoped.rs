//! Treats public and private peers separately.
//!
//! A behaviour that names addresses (identify, Kademlia) exists twice. One of the two sees the connections to public
//! addresses, and this node's public addresses. The other one sees the private ones. So a private address is never
//! named to a public peer, and a private address that a public peer names is not dialled. The remote address of a
//! connection decides to which of the two it belongs.

use std::{
    collections::HashMap,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionEstablished, ExternalAddrConfirmed, ExternalAddrExpired},
    },
};

use super::scope::is_public;

/// A group of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Peers at addresses that can be reached from the whole network.
    Public,
    /// Peers at other addresses.
    Private,
}

impl Scope {
    pub(crate) const BOTH: [Self; 2] = [Self::Private, Self::Public];

    pub(crate) fn of(address: &Multiaddr) -> Self {
        if is_public(address) { Self::Public } else { Self::Private }
    }
}

/// A behaviour for public peers, and one for private ones.
pub(crate) struct Scoped<B> {
    public: B,
    private: B,
    /// One entry for each connection.
    connections: HashMap<ConnectionId, (PeerId, Scope)>,
}

impl<B: NetworkBehaviour> Scoped<B> {
    pub(crate) fn new(mut make: impl FnMut() -> B) -> Self {
        Self { public: make(), private: make(), connections: HashMap::new() }
    }

    pub(crate) fn of(&mut self, scope: Scope) -> &mut B {
        match scope {
            Scope::Public => &mut self.public,
            Scope::Private => &mut self.private,
        }
    }

    fn placed(&mut self, connection: ConnectionId, peer: PeerId, remote: &Multiaddr) -> &mut B {
        let scope = Scope::of(remote);
        self.connections.insert(connection, (peer, scope));
        self.of(scope)
    }

    /// Connections of a peer besides this one, in the same scope.
    fn others(&self, peer: PeerId, scope: Scope, connection: ConnectionId) -> usize {
        self.connections.iter().filter(|(id, place)| **id != connection && **place == (peer, scope)).count()
    }

    /// An address of this node: only peers of its scope are told.
    fn on_own_address(&mut self, address: &Multiaddr, event: FromSwarm<'_>, is_new: bool) {
        let behaviour = self.of(Scope::of(address));
        behaviour.on_swarm_event(event);
        behaviour.on_swarm_event(if is_new {
            FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr: address })
        } else {
            FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr: address })
        });
    }

    /// If the behaviour lets the swarm choose the handler, the choice might be a handler of the other scope.
    fn directed(
        connections: &HashMap<ConnectionId, (PeerId, Scope)>,
        scope: Scope,
        event: ToSwarm<B::ToSwarm, THandlerInEvent<B>>,
    ) -> ToSwarm<(Scope, B::ToSwarm), THandlerInEvent<B>> {
        match event {
            ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event } => {
                let own = connections.iter().find(|(_, place)| **place == (peer_id, scope)).map(|(id, _)| *id);
                let handler = own.map_or(NotifyHandler::Any, NotifyHandler::One);
                ToSwarm::NotifyHandler { peer_id, handler, event }
            }
            other => other.map_out(|event| (scope, event)),
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Scoped<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = (Scope, B::ToSwarm);

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.of(Scope::of(remote)).handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.placed(connection, peer, remote).handle_established_inbound_connection(connection, peer, local, remote)
    }

    /// Each of the two names only addresses of its own scope, whatever its peers told it.
    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut all = Vec::new();
        for scope in Scope::BOTH {
            let named = self.of(scope).handle_pending_outbound_connection(connection, peer, addresses, role)?;
            all.extend(named.into_iter().filter(|address| Scope::of(address) == scope));
        }
        Ok(all)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.placed(connection, peer, address)
            .handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                let scope = Scope::of(made.endpoint.get_remote_address());
                self.connections.insert(made.connection_id, (made.peer_id, scope));
                let other_established = self.others(made.peer_id, scope, made.connection_id);
                let made = ConnectionEstablished { other_established, ..made };
                self.of(scope).on_swarm_event(FromSwarm::ConnectionEstablished(made));
            }
            FromSwarm::ConnectionClosed(closed) => {
                let Some((peer, scope)) = self.connections.remove(&closed.connection_id) else { return };
                let remaining_established = self.others(peer, scope, closed.connection_id);
                let closed = ConnectionClosed { remaining_established, ..closed };
                self.of(scope).on_swarm_event(FromSwarm::ConnectionClosed(closed));
            }
            FromSwarm::AddressChange(change) => {
                let Some((_, scope)) = self.connections.get(&change.connection_id).copied() else { return };
                self.of(scope).on_swarm_event(event);
            }
            FromSwarm::NewListenAddr(new) => self.on_own_address(new.addr, event, true),
            FromSwarm::ExpiredListenAddr(expired) => self.on_own_address(expired.addr, event, false),
            FromSwarm::ExternalAddrConfirmed(own) => self.of(Scope::of(own.addr)).on_swarm_event(event),
            FromSwarm::ExternalAddrExpired(own) => self.of(Scope::of(own.addr)).on_swarm_event(event),
            FromSwarm::NewExternalAddrCandidate(own) => self.of(Scope::of(own.addr)).on_swarm_event(event),
            FromSwarm::NewExternalAddrOfPeer(theirs) => self.of(Scope::of(theirs.addr)).on_swarm_event(event),
            other => {
                if let FromSwarm::DialFailure(failure) = &other {
                    self.connections.remove(&failure.connection_id);
                }
                if let FromSwarm::ListenFailure(failure) = &other {
                    self.connections.remove(&failure.connection_id);
                }
                self.public.on_swarm_event(other);
                self.private.on_swarm_event(other);
            }
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if let Some((_, scope)) = self.connections.get(&connection).copied() {
            self.of(scope).on_connection_handler_event(peer, connection, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        for scope in Scope::BOTH {
            if let Poll::Ready(event) = self.of(scope).poll(cx) {
                return Poll::Ready(Self::directed(&self.connections, scope, event));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
