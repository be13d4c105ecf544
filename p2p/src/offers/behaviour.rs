//! The substreams of `/rpp/offers/1.0.0` around the machines: this file decides nothing.

use std::{
    collections::{HashMap, VecDeque},
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    request_response::{self, Message, OutboundRequestId, ProtocolSupport},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use tokio::time::Sleep;

use super::{
    answers::Answers,
    asker::{Asker, PeerSaid},
    book::{Book, BookLimits},
    check::{Judged, check_all},
    codec::{AnswerFrame, OffersCodec, PROTOCOL, Question},
    messages::{Offer, OffersRequest, OffersResponse},
};
use crate::{
    json,
    limits::{ASK_INTERVAL, ASK_TIME, MAX_RESPONSE_BYTES},
    plan::{PlanBounds, TrustAnchor},
    text,
    types::Hash,
};

/// Decides which offers count: the trust anchor, and the bounds on plans.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The trust anchor.
    pub trust: TrustAnchor,
    /// The bounds on plans.
    pub bounds: PlanBounds,
}

/// An event of the behaviour.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OffersEvent {
    /// A peer was asked and answered this.
    Said {
        /// Who.
        peer: PeerId,
        /// The answer.
        said: PeerSaid,
        /// Whether it differs from the last answer.
        is_news: bool,
    },
}

/// Asks every peer what it offers, keeps the [`Book`], and answers for this node.
///
/// It must be polled within a tokio runtime with time enabled. Answers are read and checked on its blocking threads, at
/// most [`MAX_ASKS`](crate::limits::MAX_ASKS) at a time.
pub struct OffersBehaviour {
    wire: request_response::Behaviour<OffersCodec>,
    /// `None`: no peer is asked.
    judge: Option<Arc<Judge>>,
    answers: Answers,
    asker: Asker,
    book: Book,
    asked: HashMap<OutboundRequestId, PeerId>,
    checks: FuturesUnordered<BoxFuture<'static, (PeerId, Result<Judged, PeerSaid>)>>,
    /// Until when something needs offers.
    wanted: Option<Instant>,
    /// Rises whenever the book changes in more than its times.
    changes: u64,
    timer: Option<Pin<Box<Sleep>>>,
    events: VecDeque<OffersEvent>,
}

impl OffersBehaviour {
    /// `judge`: decides which offers count; without one, no peer is asked.
    #[must_use]
    pub fn new(judge: Option<Judge>) -> Self {
        let wire = request_response::Config::default().with_request_timeout(ASK_TIME).with_max_concurrent_streams(2);
        Self {
            wire: request_response::Behaviour::with_codec(
                OffersCodec::default(),
                [(PROTOCOL, ProtocolSupport::Full)],
                wire,
            ),
            judge: judge.map(Arc::new),
            answers: Answers::default(),
            asker: Asker::new(rand::random()),
            book: Book::new(BookLimits::default()),
            asked: HashMap::new(),
            checks: FuturesUnordered::new(),
            wanted: None,
            changes: 0,
            timer: None,
            events: VecDeque::new(),
        }
    }

    /// Sets what this node offers, newest first, each with its genesis commitment.
    pub fn set_offers(&mut self, offers: Arc<[(Hash, Offer)]>) {
        self.answers.set_offers(offers);
    }

    /// Sets how many further sessions this node could serve now.
    pub fn set_free_slots(&mut self, free: u64) {
        self.answers.set_free_slots(free);
    }

    /// What peers offer.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// A number that rises whenever the book changes in more than its times, or a peer answers something new.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The peers that were asked, and their answers; `None`: none yet.
    pub fn said(&self) -> impl Iterator<Item = (&PeerId, Option<&PeerSaid>)> {
        self.asker.said()
    }

    /// Something needs offers: for the next two minutes every peer is asked once a minute, the first time at once.
    pub fn want(&mut self, now: Instant) {
        if self.wanted.is_none_or(|until| until <= now) {
            self.asker.ask_now(now);
            self.timer = None;
        }
        self.wanted = Some(now + 2 * ASK_INTERVAL);
    }

    /// The same on an operator's request: every peer is asked now.
    pub fn ask_now(&mut self, now: Instant) {
        self.wanted = None;
        self.want(now);
    }

    /// A peer could not be reached, or did not serve what it offered. Its offers count again when it has answered
    /// again.
    pub fn forget(&mut self, peer: &PeerId) {
        self.changes += u64::from(self.book.forget(peer));
    }

    fn handle_said(&mut self, peer: PeerId, said: PeerSaid, now: Instant) {
        let is_news = self.asker.handle_said(&peer, said.clone(), now);
        self.changes += u64::from(is_news);
        self.events.push_back(OffersEvent::Said { peer, said, is_news });
    }

    fn handle_checked(&mut self, peer: PeerId, result: Result<Judged, PeerSaid>) {
        let now = Instant::now();
        match result {
            Ok(Judged { found, refused, reason }) => {
                self.changes += u64::from(self.book.record(peer, &found, now));
                self.handle_said(peer, PeerSaid::Offers { found: found.len(), refused, reason }, now);
            }
            Err(said) => self.handle_said(peer, said, now),
        }
    }

    fn handle_answer(&mut self, peer: PeerId, answer: AnswerFrame) {
        let (Some(judge), AnswerFrame::Theirs(body)) = (self.judge.clone(), answer) else {
            let reason = format!("it is larger than {MAX_RESPONSE_BYTES} bytes");
            return self.handle_said(peer, PeerSaid::Unreadable { reason }, Instant::now());
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            let reason = "there is no runtime to check its answer on".to_owned();
            return self.handle_said(peer, PeerSaid::Failed { reason }, Instant::now());
        };
        let check = runtime.spawn_blocking(move || read(&body, &judge));
        self.checks.push(Box::pin(async move {
            let checked =
                check.await.unwrap_or_else(|error| Err(PeerSaid::Failed { reason: text::escape(&error.to_string()) }));
            (peer, checked)
        }));
    }

    fn handle_wire(&mut self, event: request_response::Event<Question, AnswerFrame>) {
        use request_response::{Event as Wire, OutboundFailure};
        match event {
            Wire::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let answer = self.answers.answer(peer, &request, Instant::now());
                let _ = self.wire.send_response(channel, AnswerFrame::Ours(answer)); // The peer may be gone.
            }
            Wire::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(peer) = self.asked.remove(&request_id) {
                    self.handle_answer(peer, response);
                }
            }
            Wire::OutboundFailure { request_id, error, .. } => {
                let Some(peer) = self.asked.remove(&request_id) else { return };
                let said = match error {
                    OutboundFailure::UnsupportedProtocols => PeerSaid::Unsupported,
                    OutboundFailure::Timeout => {
                        PeerSaid::Failed { reason: format!("nothing within {} s", ASK_TIME.as_secs()) }
                    }
                    error => PeerSaid::Failed { reason: text::escape(&error.to_string()) },
                };
                self.handle_said(peer, said, Instant::now());
            }
            Wire::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a peer asked for offers and was not answered");
            }
            Wire::ResponseSent { .. } => {}
        }
    }

    /// Ready when a peer must be asked or an offer forgotten.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = match &mut self.timer {
            Some(timer) if timer.deadline() == at.into() => timer,
            timer => timer.insert(Box::pin(tokio::time::sleep_until(at.into()))),
        };
        timer.as_mut().poll(cx)
    }

    /// Asks the peers that are due and forgets old offers; returns when to check again.
    fn turn(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.changes += u64::from(self.book.expire(now));
        let judge = self.judge.as_ref()?;
        let wanted = self.wanted.is_some_and(|until| now < until);
        while let Some(peer) = self.asker.poll_ask(now, wanted) {
            let request = OffersRequest::Offers { genesis: judge.trust.genesis };
            self.asked.insert(self.wire.send_request(&peer, Ok(request)), peer);
        }
        let ends = self.wanted.filter(|until| *until > now);
        [self.asker.poll_timeout(wanted), self.book.poll_timeout(), ends].into_iter().flatten().min()
    }
}

/// Reads and checks an answer. Blocks for as long as the signatures take.
fn read(body: &[u8], judge: &Judge) -> Result<Judged, PeerSaid> {
    match json::decode_offers_response(body) {
        Ok(OffersResponse::Offers { offers }) => Ok(check_all(&offers, &judge.trust, &judge.bounds)),
        Ok(OffersResponse::Error { code, message }) => {
            Err(PeerSaid::Refused { message: text::escape(&format!("{} ({})", message, code.as_str())) })
        }
        Err(error) => Err(PeerSaid::Unreadable { reason: error.to_string() }),
    }
}

impl NetworkBehaviour for OffersBehaviour {
    type ConnectionHandler = THandler<request_response::Behaviour<OffersCodec>>;
    type ToSwarm = OffersEvent;

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
        self.wire.handle_established_inbound_connection(connection, peer, local, remote)
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
        self.wire.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(made) if made.other_established == 0 && self.judge.is_some() => {
                self.asker.handle_connected(made.peer_id, Instant::now());
            }
            FromSwarm::ConnectionClosed(closed) if closed.remaining_established == 0 => {
                self.asker.handle_disconnected(&closed.peer_id);
                self.answers.handle_disconnected(&closed.peer_id);
                self.changes += 1;
            }
            _ => {}
        }
        self.wire.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.wire.on_connection_handler_event(peer, connection, event);
    }

    // Finished local work first, then work that is due, then events from the network.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            if let Poll::Ready(Some((peer, result))) = self.checks.poll_next_unpin(cx) {
                self.handle_checked(peer, result);
                continue;
            }
            let next = self.turn();
            match self.wire.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    self.handle_wire(event);
                    continue;
                }
                Poll::Ready(event) => return Poll::Ready(event.map_out(|_| unreachable!("it was matched above"))),
                Poll::Pending => {}
            }
            if self.poll_timer(cx, next).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl std::fmt::Debug for OffersBehaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffersBehaviour").field("book", &self.book).field("asker", &self.asker).finish_non_exhaustive()
    }
}
