//! `/rpp/snapshots/1.0.0` and `/rpp/snapshots/2.0.0` as a [`NetworkBehaviour`].
//!
//! The behaviour has both roles at once: it sends requests to other peers on behalf of the application (`outbound`),
//! and serves their requests through a [`SnapshotProvider`] (`inbound`). It decides nothing. Which request comes next
//! is decided by the application or by [`consumer::Session`](crate::consumer::Session).

mod admission;
mod config;
mod estimate;
mod event;
mod inbound;
mod observer;
mod outbound;
mod pool;
mod read_ahead;
mod serve;
mod session_events;
mod streams;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use either::Either;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    request_response::{self, Message, ProtocolSupport},
    swarm::{
        ConnectionDenied, ConnectionHandler as _, ConnectionHandlerSelect, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};

pub use self::{
    config::Config,
    event::{Event, Outcome, RequestId, RequestKind},
    observer::{Activity, Ended, Job, Observer, Unobserved},
};
use self::{
    inbound::{Inbound, StreamKey},
    outbound::{Outbound, StreamCommand, is_refused_protocol},
    streams::{FromStreams, StreamHandler, StreamSettings, ToStreams},
};
use crate::{
    by_hand::ByHand,
    codec::{Codec, PROTOCOL, RequestFrame, ResponseFrame},
    consumer::Grant,
    error::{NotSent, SnapshotProtocolError},
    exchange::Exchange,
    limits::MAX_QUEUED_EVENTS,
    messages::{ArtefactKind, Plan, PlanWishes, SnapshotsRequest},
    negotiation::{Handler, Lazy},
    provider::{SnapshotProvider, Source},
    text,
    types::SnapshotSessionId,
};

/// Streams snapshots from other peers and serves them through `P`.
///
/// It must be polled within a tokio runtime with time enabled, because provider calls and checks run on its blocking
/// threads.
///
/// [`request`](Self::request) sends what a [`consumer::Session`](crate::consumer::Session) wants. It returns the id
/// that the request's event will carry, or [`NotSent`]. The most frequent reason is [`NotSent::Busy`]: **the session
/// has a request in flight** (or as many requests to that peer are in flight as a connection has streams).
///
/// An application that decides itself what to ask next has one call for each kind of request. These return `None` when
/// nothing was sent. `None` alone means busy: ask again after the session's next event. For a call that cannot be
/// carried out (an unknown session, an index outside the plan, too many sessions) they return `None` as well, and an
/// [`Event::Error`] says why.
pub struct Behaviour<P> {
    wire: request_response::Behaviour<Codec>,
    outbound: Outbound,
    inbound: Inbound<P>,
    /// Connected peers that accept a request before they have confirmed its protocol.
    lazy: Lazy,
    /// Time for one negotiation.
    negotiation: Duration,
    streams: StreamSettings,
    /// The source of each connection; one entry for each.
    sources: HashMap<ConnectionId, Source>,
    /// Delivered before anything new is handled.
    events: VecDeque<Event>,
}

/// How much work is in flight; for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Consumer sessions that are open here.
    pub sessions: usize,
    /// Our requests that are not answered or not checked yet.
    pub requests_in_flight: usize,
    /// Peers' requests that are not answered yet.
    pub responses_in_flight: usize,
    /// Response bytes in flight to peers.
    pub response_bytes_in_flight: usize,
    /// Answers that wait for the byte budget.
    pub waiting_for_budget: usize,
    /// Bytes of chunks that were or are being read ahead of their requests.
    pub read_ahead_bytes: usize,
    /// Slots taken by peers' sessions.
    pub slots: usize,
    /// Peers' sessions that wait for a slot.
    pub waiting_for_slot: usize,
    /// Slots that were taken from a quiet session for another, since the start.
    pub slots_that_gave_way: u64,
    /// Responses waiting for a blocking thread.
    pub checks_queued: usize,
    /// Responses being checked.
    pub checks_running: usize,
    /// Provider calls waiting for a blocking thread.
    pub provider_jobs_queued: usize,
    /// Provider calls that run.
    pub provider_jobs_running: usize,
    /// Peers' requests that could not be answered since the start.
    pub inbound_failures: u64,
    /// Events that were not delivered yet.
    pub events_queued: usize,
    /// Streams that peers opened.
    pub streams_served: usize,
    /// Streams that are open to peers.
    pub streams_open: usize,
}

impl<P: SnapshotProvider> Behaviour<P> {
    /// Serves through `provider`, and consumes as `config` says.
    #[must_use]
    pub fn new(provider: Arc<P>, config: Config) -> Self {
        let codec = Codec::new(config.max_request_bytes, config.max_response_bytes).with_pace(config.pace);
        let wire = request_response::Config::default()
            .with_request_timeout(config.whole_exchange())
            .with_max_concurrent_streams(config.max_streams_per_connection);
        let requests = config.protocols.has_v1().then_some((PROTOCOL, ProtocolSupport::Full));
        let streams = StreamSettings {
            takes: config.protocols.has_v2(),
            most: config.max_streams_per_connection,
            pace: config.pace,
            negotiation: config.pace.idle,
        };
        Self {
            wire: request_response::Behaviour::with_codec(codec, requests, wire),
            streams,
            outbound: Outbound::new(&config),
            inbound: Inbound::new(provider, &config),
            lazy: Lazy::default(),
            negotiation: config.pace.idle,
            sources: HashMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks `peer` for a plan. Opens the session, or starts it anew if it is open.
    pub fn request_plan(&mut self, peer: PeerId, session: SnapshotSessionId, wishes: PlanWishes) -> Option<RequestId> {
        self.by_hand(peer, SnapshotsRequest::Plan { session_id: session, wishes }, None)
    }

    /// Reopens a session after a lost connection or a restart of either side. Adopts its plan and markers here, and
    /// asks `peer` to continue at `chunk_index` and `update_index`, the next ones wanted.
    pub fn resume(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        plan: Arc<Plan>,
        chunk_index: u64,
        update_index: u64,
    ) -> Option<RequestId> {
        let plan_id = plan.plan_id;
        let request = SnapshotsRequest::Resume { session_id: session, plan_id, chunk_index, update_index };
        self.by_hand(peer, request, Some(ByHand::resumed(plan, chunk_index, update_index)))
    }

    /// Asks for one chunk.
    pub fn request_chunk(&mut self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Option<RequestId> {
        self.by_hand(peer, SnapshotsRequest::Chunk { session_id: session, chunk_index: index }, None)
    }

    /// Asks for one light-client update.
    pub fn request_update(&mut self, peer: PeerId, session: SnapshotSessionId, index: u64) -> Option<RequestId> {
        self.by_hand(peer, SnapshotsRequest::LightClientUpdate { session_id: session, update_index: index }, None)
    }

    /// Acknowledges that everything of `kind` up to and including `index` is durable here.
    pub fn acknowledge(
        &mut self,
        peer: PeerId,
        session: SnapshotSessionId,
        kind: ArtefactKind,
        index: u64,
    ) -> Option<RequestId> {
        self.by_hand(peer, SnapshotsRequest::Ack { session_id: session, kind, index }, None)
    }

    /// Cancels the session; [`Event::Cancelled`] follows. [`forget`](Self::forget) drops it without telling the peer.
    pub fn cancel(&mut self, peer: PeerId, session: SnapshotSessionId, message: &str) -> Option<RequestId> {
        let message = text::cut(message).to_owned();
        self.by_hand(peer, SnapshotsRequest::Error { session_id: session, message }, None)
    }

    /// Sends the request that a [`consumer::Session`](crate::consumer::Session) wants. A plan or a resume opens the
    /// session here unless it is open. Pass the result to
    /// [`Session::handle_sent`](crate::consumer::Session::handle_sent).
    ///
    /// # Errors
    /// Nothing was sent: a request is in flight, the session is unknown, or the request does not fit it. No event follows.
    pub fn request(&mut self, peer: PeerId, exchange: Exchange) -> Result<RequestId, NotSent> {
        self.outbound.send(&mut self.wire, peer, exchange, true)
    }

    /// Tells a session's peer which ranges are wanted and how much is granted, as
    /// [`Action::Grant`](crate::consumer::Action::Grant) says. If the stream has ended, nothing happens; its event is
    /// delivered soon.
    pub fn grant(&mut self, peer: PeerId, grant: Grant) {
        self.outbound.grant(peer, grant);
    }

    /// Drops the session on our side, even with a request in flight. An answer that still comes is ignored.
    pub fn forget(&mut self, peer: PeerId, session: SnapshotSessionId) {
        self.outbound.forget(peer, session);
    }

    /// From now on, while `peer` is connected, sends requests together with the proposal of their protocol. Call it for
    /// peers that are known to support this (those of this crate do), for instance when identify has reported their
    /// agent. It saves a round trip for each request in a swarm whose substreams are set to `V1Lazy`, and changes
    /// nothing in others. All other peers get a plain negotiation.
    pub fn negotiate_lazily(&mut self, peer: PeerId) {
        if self.wire.is_connected(&peer) {
            self.lazy.insert(peer);
        }
    }

    /// The next chunk and update of a session that is driven call by call; only verified responses move them. `None`
    /// for other sessions: a [`consumer::Session`](crate::consumer::Session) has its own markers.
    #[must_use]
    pub fn markers(&self, peer: PeerId, session: SnapshotSessionId) -> Option<(u64, u64)> {
        self.outbound.by_hand(peer, session).map(ByHand::markers)
    }

    /// Whether the session has a request in flight; `None` if it is unknown.
    #[must_use]
    pub fn is_in_flight(&self, peer: PeerId, session: SnapshotSessionId) -> Option<bool> {
        self.outbound.is_busy(peer, session)
    }

    /// The provider that serves here.
    #[must_use]
    pub fn provider(&self) -> &Arc<P> {
        self.inbound.provider()
    }

    /// The peers of the inbound sessions that have a slot or wait for one. A peer may appear several times.
    pub fn served_peers(&self) -> impl Iterator<Item = PeerId> {
        self.inbound.slots().peers()
    }

    /// Limits the payload that is served, in bytes per second, in all and to each peer; 0: no limit. The limit holds
    /// from the next chunk on. A chunk that is asked for too early waits; it is not answered `busy`.
    pub fn limit_upload(&mut self, total: u64, per_peer: u64) {
        self.inbound.set_rates(total, per_peer);
    }

    /// How much work is in flight.
    #[must_use]
    pub fn load(&self) -> Load {
        let (checks_queued, checks_running) = self.outbound.checks();
        let (provider_jobs_queued, provider_jobs_running) = self.inbound.jobs();
        Load {
            sessions: self.outbound.sessions(),
            requests_in_flight: self.outbound.in_flight(),
            responses_in_flight: self.inbound.in_flight(),
            response_bytes_in_flight: self.inbound.budget().under_way(),
            waiting_for_budget: self.inbound.budget().waiting(),
            read_ahead_bytes: self.inbound.read_ahead_bytes(),
            slots: self.inbound.slots().len(),
            waiting_for_slot: self.inbound.slots().waiting(),
            slots_that_gave_way: self.inbound.slots().gave_way(),
            checks_queued,
            checks_running,
            provider_jobs_queued,
            provider_jobs_running,
            inbound_failures: self.inbound.failures(),
            events_queued: self.events.len(),
            streams_served: self.inbound.streams(),
            streams_open: self.outbound.streams_open(),
        }
    }

    /// [`request`](Self::request) in a session that is driven by hand. `resumed`: the plan and markers at which it
    /// continues.
    fn by_hand(&mut self, peer: PeerId, request: SnapshotsRequest, resumed: Option<ByHand>) -> Option<RequestId> {
        let session = request.session_id();
        let opens = matches!(request, SnapshotsRequest::Plan { .. } | SnapshotsRequest::Resume { .. });
        let exchange = match resumed.as_ref().or_else(|| self.outbound.by_hand(peer, session)) {
            Some(markers) => markers.exchange(request),
            None => Exchange::new(request, None, None),
        };
        let error = match self.outbound.send(&mut self.wire, peer, exchange, false) {
            Ok(id) => {
                if opens {
                    self.outbound.keep_by_hand(peer, session, resumed);
                }
                return Some(id);
            }
            Err(NotSent::Busy) => return None,
            Err(NotSent::UnknownSession(session)) => SnapshotProtocolError::UnknownSession(session),
            Err(NotSent::Unfit(unfit)) => SnapshotProtocolError::Unfit(unfit),
        };
        // An application may make any number of impossible calls between two polls; further ones need no event.
        if self.events.len() < MAX_QUEUED_EVENTS {
            self.events.push_back(Event::Error { peer, session, request_id: None, error });
        }
        None
    }

    fn handler(&self, peer: PeerId, requests: RequestHandler) -> THandler<Self> {
        let both = requests.select(StreamHandler::new(self.streams));
        Handler::knowing(both, peer, &self.lazy, self.negotiation)
    }

    fn handle_streams(&mut self, peer: PeerId, connection: ConnectionId, event: FromStreams) {
        match event {
            FromStreams::Taken { number, outlet } => {
                let source = self.source(peer, connection);
                self.inbound.handle_stream((peer, source), (connection, number), outlet);
            }
            FromStreams::Heard { number, heard } => {
                let key: StreamKey = (connection, number);
                self.inbound.handle_heard(key, heard, &mut self.events);
            }
            FromStreams::Received { id, received } => {
                self.outbound.handle_received(&mut self.wire, id, received, &mut self.events);
            }
        }
    }

    fn source(&self, peer: PeerId, connection: ConnectionId) -> Source {
        let source = self.sources.get(&connection).copied();
        source.unwrap_or_else(|| Source::of_peer(&Multiaddr::empty(), peer))
    }

    fn handle_wire(&mut self, event: request_response::Event<RequestFrame, ResponseFrame>) {
        use request_response::Event as Wire;
        match event {
            Wire::Message { peer, connection_id, message: Message::Request { request_id, request, channel } } => {
                // Only frames that were read arrive here, never those to be sent.
                if let RequestFrame::Incoming { bytes, request } = request {
                    let from = (peer, self.source(peer, connection_id));
                    self.inbound.handle_request(&mut self.wire, from, request_id, (bytes, request), channel);
                }
            }
            Wire::Message { message: Message::Response { request_id, response }, .. } => {
                self.outbound.handle_response(request_id, response, &mut self.events);
            }
            Wire::OutboundFailure { request_id, error, .. } => {
                self.outbound.handle_failure(request_id, error, &mut self.events);
            }
            Wire::InboundFailure { request_id, error, .. } => {
                self.inbound.handle_failure(request_id, &error, &mut self.events);
            }
            Wire::ResponseSent { request_id, .. } => self.inbound.handle_sent(request_id, &mut self.events),
        }
    }
}

type RequestHandler = THandler<request_response::Behaviour<Codec>>;

impl<P: SnapshotProvider> NetworkBehaviour for Behaviour<P> {
    type ConnectionHandler = Handler<ConnectionHandlerSelect<RequestHandler, StreamHandler>>;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.wire.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self.wire.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.handler(peer, handler))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.wire.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self.wire.handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        Ok(self.handler(peer, handler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(failure) = &event
            && let Some(peer) = failure.peer_id
        {
            self.outbound.note_dial_failure(peer, failure.error);
            self.outbound.handle_dial_failure(peer, failure.error, &mut self.events);
        }
        match &event {
            FromSwarm::ConnectionEstablished(made) => {
                let source = Source::of_peer(made.endpoint.get_remote_address(), made.peer_id);
                self.sources.insert(made.connection_id, source);
                self.outbound.handle_connected(made.peer_id, made.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.sources.remove(&closed.connection_id);
                self.inbound.handle_connection_closed(closed.connection_id, &mut self.events);
                self.outbound.handle_connection_closed(closed.peer_id, closed.connection_id, &mut self.events);
                if closed.remaining_established == 0 {
                    self.lazy.remove(&closed.peer_id);
                }
            }
            _ => {}
        }
        self.wire.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.wire.on_connection_handler_event(peer, connection, event),
            Either::Right(event) => self.handle_streams(peer, connection, event),
        }
    }

    // Finished local work first, then events from the wire.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            if self.outbound.poll(cx, &mut self.events).is_ready()
                || self.inbound.poll(cx, &mut self.wire, &mut self.events).is_ready()
            {
                continue;
            }
            match self.outbound.next_command() {
                Some(StreamCommand::Open { connection, opening }) => {
                    let (peer_id, handler) = (opening.peer, NotifyHandler::One(connection));
                    let event = Either::Right(ToStreams::Open(opening));
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
                }
                Some(StreamCommand::Dial(peer)) => {
                    let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
                    return Poll::Ready(ToSwarm::Dial { opts });
                }
                None => {}
            }
            match self.wire.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ToSwarm::GenerateEvent(event)) => self.handle_wire(event),
                Poll::Ready(ToSwarm::Dial { opts }) => return Poll::Ready(ToSwarm::Dial { opts }),
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) => {
                    let event = Either::Left(event);
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
                }
                Poll::Ready(other) => tracing::debug!(?other, "request-response asks for something it never did"),
            }
        }
    }
}
