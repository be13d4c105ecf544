//! Passes on only as many dials at unproven addresses as [`unproven`](super::unproven) admits.

use std::{
    ops::{Deref, DerefMut},
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};

use super::{
    addresses::without_peer,
    unproven::{Admitted, UnprovenDials, Wish, Withheld},
};

/// A behaviour whose addresses of other peers are what somebody said. Addresses that come with a dial are the operator's,
/// or were admitted before ([`Self::admit`]).
pub(crate) struct Gate<B> {
    inner: B,
    unproven: UnprovenDials,
    /// The dial that the node is about to make: for what, and what was admitted.
    own: Option<(Wish, Vec<Multiaddr>)>,
}

impl<B> Gate<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, unproven: UnprovenDials::default(), own: None }
    }

    /// Dials of providers belong to another answer from now on.
    pub(crate) fn next_answer(&mut self) {
        self.unproven.next_answer();
    }

    /// The addresses for a dial of the node: all that the operator named, and as many of the others as may be dialled now.
    /// Also returns the number of those that may not. The dial must follow at once.
    pub(crate) fn admit(
        &mut self,
        peer: PeerId,
        mut operators: Vec<Multiaddr>,
        mut told: Vec<Multiaddr>,
        wish: Wish,
    ) -> (Vec<Multiaddr>, usize) {
        let given: Vec<_> = operators.iter().map(without_peer).collect();
        told.retain(|address| !given.contains(&without_peer(address)));
        let Admitted { addresses, taken, withheld } = self.unproven.admit(peer, told, Vec::new(), wish, Instant::now());
        self.own = Some((wish, taken));
        operators.extend(addresses);
        (operators, withheld)
    }

    /// The number of addresses that were not dialled since the start, for metrics.
    pub(crate) fn withheld(&self) -> u64 {
        self.unproven.withheld()
    }

    /// What to log about addresses that were not dialled, at most once a minute.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<Withheld> {
        self.unproven.poll_report(now)
    }
}

impl<B> Deref for Gate<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Gate<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut named = self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        let Some(peer) = peer else { return Ok(named) };
        let (wish, taken) = self.own.take().unwrap_or((Wish::Walk, Vec::new()));
        let given: Vec<_> = addresses.iter().map(without_peer).collect();
        named.retain(|address| !given.contains(&without_peer(address)));
        let Admitted { addresses, taken, .. } = self.unproven.admit(peer, named, taken, wish, Instant::now());
        self.unproven.on_dial(connection, taken);
        Ok(addresses)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(made) => {
                self.unproven.on_connected(made.connection_id, made.peer_id, made.endpoint, Instant::now());
            }
            FromSwarm::DialFailure(failed) => {
                if let Some((_, taken)) = self.own.take() {
                    self.unproven.on_no_dial(&taken);
                }
                self.unproven.on_failed(failed.connection_id, failed.peer_id, failed.error, Instant::now());
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}
