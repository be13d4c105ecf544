//! The rules of [`super::rules`] as a [`NetworkBehaviour`].

use std::{
    collections::HashSet,
    convert::Infallible,
    task::{Context, Poll, Waker},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use rpp_p2p::provider::Source;

use super::{
    report::RefusalSummary,
    rules::{ConnectionRules, Counts, Doors, Wire},
};

/// Accepts connections, and closes those that must make room.
pub(crate) struct Doorkeeper {
    doors: Doors,
    waker: Option<Waker>,
}

impl Doorkeeper {
    /// `max` connections in all, `max_per_peer` of one peer.
    pub(crate) fn new(rules: ConnectionRules, max: u32, max_per_peer: u32) -> Self {
        let count = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
        Self { doors: Doors::new(rules, count(max), count(max_per_peer)), waker: None }
    }

    /// Whether [`Self::settle`] must be called at once.
    pub(crate) fn is_crowded(&self) -> bool {
        self.doors.is_crowded()
    }

    /// Makes room. `in_use`: peers that are configured, or that have a session in either direction.
    pub(crate) fn settle(&mut self, now: Instant, in_use: HashSet<PeerId>) {
        self.doors.settle(now, in_use);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What to log, at most once a minute.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<RefusalSummary> {
        self.doors.poll_report(now)
    }

    /// For metrics.
    pub(crate) fn counts(&self) -> Counts {
        self.doors.counts()
    }
}

impl NetworkBehaviour for Doorkeeper {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let wire = if remote.iter().any(|part| part == Protocol::QuicV1) { Wire::Quic } else { Wire::Tcp };
        self.doors.arrive(Instant::now(), connection, Source::of_address(remote), wire).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.doors
            .establish(Instant::now(), connection, Source::of_peer(remote, peer), peer)
            .map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) if matches!(made.endpoint, ConnectedPoint::Dialer { .. }) => {
                let source = Source::of_peer(made.endpoint.get_remote_address(), made.peer_id);
                self.doors.established_ours(Instant::now(), made.connection_id, source, made.peer_id);
            }
            // A connection that another behaviour refuses counts as established for the rules.
            FromSwarm::ListenFailure(failure) => self.doors.close(failure.connection_id),
            FromSwarm::ConnectionClosed(closed) => self.doors.close(closed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.doors.poll_close() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
