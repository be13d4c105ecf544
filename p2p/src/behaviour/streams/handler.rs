//! The streams of one connection, in both directions.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    StreamProtocol,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{
    outlet::Outlet,
    receiving::{Ending, FromProvider, Receiving, StreamOpening},
    sending::{Heard, OutFrame, Sending},
    upgrade::Upgrade,
};
use crate::{
    error::{Cause, RequestFailure, StreamFailure, TooSlow},
    pace::PaceLimits,
    stream_tags,
};

const PROTOCOL: StreamProtocol = StreamProtocol::new(crate::PROTOCOL_V2);

/// The settings of all streams.
#[derive(Clone, Copy, Debug)]
pub(in crate::behaviour) struct StreamSettings {
    /// Whether inbound streams are accepted.
    pub(in crate::behaviour) takes: bool,
    /// Largest number of streams of a connection in each direction; further ones are dropped.
    pub(in crate::behaviour) most: usize,
    pub(in crate::behaviour) pace: PaceLimits,
    /// Time for one negotiation.
    pub(in crate::behaviour) negotiation: Duration,
}

/// Commands of the behaviour.
#[derive(Debug)]
pub enum ToStreams {
    /// Open a stream.
    Open(Box<StreamOpening>),
}

/// Events for the behaviour.
#[derive(Debug)]
pub enum FromStreams {
    /// A peer opened stream `number` of this connection.
    #[allow(private_interfaces, reason = "of the behaviour alone")]
    Taken { number: u64, outlet: Outlet<OutFrame> },
    /// An event on a stream that a peer opened.
    #[allow(private_interfaces, reason = "of the behaviour alone")]
    Heard { number: u64, heard: Heard },
    /// An event on a stream that we opened.
    #[allow(private_interfaces, reason = "of the behaviour alone")]
    Received { id: super::StreamId, received: FromProvider },
}

/// The handler.
pub struct StreamHandler {
    settings: StreamSettings,
    openings: VecDeque<StreamOpening>,
    events: VecDeque<FromStreams>,
    streams: Vec<OpenStream>,
    /// The stream that is polled first; it changes, so that no stream is always last.
    turn: usize,
    next_number: u64,
}

enum OpenStream {
    Sending(u64, Box<Sending>),
    Receiving(Box<Receiving>),
}

impl StreamHandler {
    pub(in crate::behaviour) fn new(settings: StreamSettings) -> Self {
        let (openings, events) = (VecDeque::new(), VecDeque::new());
        Self { settings, openings, events, streams: Vec::new(), turn: 0, next_number: 0 }
    }

    /// Polls each stream once.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<FromStreams> {
        let count = self.streams.len();
        for offset in 0..count {
            let at = (self.turn + offset) % count;
            let (event, is_over) = match &mut self.streams[at] {
                OpenStream::Sending(number, sending) => {
                    let (number, tags) = (*number, sending.tags.clone());
                    let Poll::Ready(heard) = stream_tags::within(&tags, || sending.poll(cx)) else { continue };
                    let is_over = matches!(heard, Heard::Ended(_));
                    (FromStreams::Heard { number, heard }, is_over)
                }
                OpenStream::Receiving(receiving) => {
                    let (id, tags) = (receiving.id, receiving.tags.clone());
                    let Poll::Ready(received) = stream_tags::within(&tags, || receiving.poll(cx)) else { continue };
                    let is_over = matches!(received, FromProvider::Ended(_));
                    (FromStreams::Received { id, received }, is_over)
                }
            };
            if is_over {
                self.streams.swap_remove(at);
            }
            self.turn = at + 1;
            return Poll::Ready(event);
        }
        Poll::Pending
    }

    fn taken(&self) -> usize {
        self.streams.iter().filter(|stream| matches!(stream, OpenStream::Sending(..))).count()
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = ToStreams;
    type ToBehaviour = FromStreams;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = StreamOpening;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade(self.settings.takes.then_some(PROTOCOL)), ())
            .with_timeout(self.settings.negotiation)
    }

    fn connection_keep_alive(&self) -> bool {
        !self.streams.is_empty() || !self.openings.is_empty() || !self.events.is_empty()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, StreamOpening, FromStreams>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(opening) = self.openings.pop_front() {
            let protocol =
                SubstreamProtocol::new(Upgrade(Some(PROTOCOL)), opening).with_timeout(self.settings.negotiation);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.poll_streams(cx).map(ConnectionHandlerEvent::NotifyBehaviour)
    }

    fn on_behaviour_event(&mut self, event: ToStreams) {
        let ToStreams::Open(opening) = event;
        self.openings.push_back(*opening);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), StreamOpening>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                if self.taken() >= self.settings.most {
                    return;
                }
                let (number, outlet) = (self.next_number, Outlet::default());
                self.next_number += 1;
                self.events.push_back(FromStreams::Taken { number, outlet: outlet.clone() });
                let sending = Sending::new(stream, outlet, self.settings.pace);
                self.streams.push(OpenStream::Sending(number, Box::new(sending)));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                let receiving = Receiving::new(stream, info, self.settings.pace);
                self.streams.push(OpenStream::Receiving(Box::new(receiving)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let ending = match error {
                    StreamUpgradeError::NegotiationFailed => Ending::Unsupported,
                    StreamUpgradeError::Timeout => {
                        Ending::Failure(RequestFailure::Timeout { reason: TooSlow::Negotiation, received: 0 })
                    }
                    StreamUpgradeError::Io(error) if crate::codec::is_end(&error) => {
                        Ending::Failure(RequestFailure::ConnectionClosed { received: 0 })
                    }
                    StreamUpgradeError::Io(error) => {
                        Ending::Failure(StreamFailure::Transport(Cause::new(error)).into())
                    }
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.events.push_back(FromStreams::Received { id: info.id, received: FromProvider::Ended(ending) });
            }
            _ => {}
        }
    }
}
