//! One client's task. It passes events to the client's machine, and the machine's output to the outbox.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use warp::ws::{Message, WebSocket};

use super::{
    hub::{Generation, Hub, Seat},
    machine::{Bounds, MALFORMED, Machine, Output, TOO_LARGE, Violation},
    outbox::{self, Full, Outbox},
};
use crate::{
    envelope,
    events::Frame,
    limits::CLOSE_DEADLINE,
    proto::{ServerNotice, server_message::Payload, server_notice::Kind},
};

const GOING_AWAY: Violation = Violation { code: 1001, reason: "the node stops" };
const GOODBYE: Violation = Violation { code: 1000, reason: "" };

/// How a client's task ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client left or its connection broke.
    Gone,
    /// It broke the rules: it is told why and disconnected.
    Told(Violation),
    /// It does not read, so telling it anything is useless.
    Slow,
    /// Nothing can be written to it any more.
    Broken,
}

pub(super) async fn run(
    socket: WebSocket,
    from: SocketAddr,
    hub: Arc<Hub>,
    bounds: Bounds,
    ping_interval: Duration,
    stop: CancellationToken,
) {
    let (sink, stream) = socket.split();
    let outbox = Outbox::default();
    let mut writer = tokio::spawn(outbox::write(outbox.clone(), sink));
    let machine = Machine::new(bounds);
    let seat = hub.join(machine.config());
    let newest = hub.newest();
    let mut client = Client { machine, seat, hub, newest, events: None, outbox: outbox.clone(), stream };
    let end = client.serve(&mut writer, ping_interval, &stop).await;
    let Client { stream, seat, newest, events, .. } = client;
    // From here on the client no longer counts; it only gets a close message.
    drop((seat, newest, events));
    match end {
        End::Gone => close(stream, writer, &outbox, GOODBYE).await,
        End::Told(why) => {
            tracing::info!(%from, reason = why.reason, "an introspection client is disconnected");
            close(stream, writer, &outbox, why).await;
        }
        End::Slow => {
            tracing::info!(%from, "an introspection client does not read and is dropped");
            writer.abort();
        }
        End::Broken => {}
    }
}

struct Client<S> {
    machine: Machine,
    seat: Seat,
    hub: Arc<Hub>,
    newest: watch::Receiver<Option<Arc<Generation>>>,
    events: Option<broadcast::Receiver<Arc<Frame>>>,
    outbox: Outbox,
    stream: S,
}

impl<S> Client<S>
where
    S: Stream<Item = Result<Message, warp::Error>> + Unpin,
{
    async fn serve(&mut self, writer: &mut JoinHandle<()>, ping_interval: Duration, stop: &CancellationToken) -> End {
        if self.flush().is_err() {
            return End::Slow;
        }
        self.hub.refresh(Duration::from_millis(self.machine.config().interval_ms)).await;
        // Keeps proxies from closing a quiet connection, and detects a vanished client so that its place is freed.
        let mut ping = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
        loop {
            if self.flush().is_err() {
                return End::Slow;
            }
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Err(End::Told(GOING_AWAY)),
                _ = &mut *writer => Err(End::Broken),
                message = self.stream.next() => self.handle_message(message),
                _ = self.newest.changed() => Ok(()),
                event = next_event(&mut self.events) => {
                    self.handle_event(event);
                    Ok(())
                }
                () = self.outbox.emptied() => Ok(()),
                _ = ping.tick() => {
                    self.outbox.ping();
                    Ok(())
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn handle_message(&mut self, message: Option<Result<Message, warp::Error>>) -> Result<(), End> {
        let message = match message {
            None => return Err(End::Gone),
            Some(Err(error)) => return Err(why_unreadable(&error)),
            Some(Ok(message)) => message,
        };
        let handled = if message.is_close() {
            return Err(End::Gone);
        } else if message.is_binary() {
            self.machine.handle_binary(message.as_bytes())
        } else if let Ok(text) = message.to_str() {
            self.machine.handle_text(text)
        } else {
            Ok(()) // pings and pongs
        };
        handled.map_err(End::Told)?;
        self.seat.configure(self.machine.config());
        self.listen_as_wanted();
        Ok(())
    }

    /// Starts or stops listening to events, as the machine wants.
    fn listen_as_wanted(&mut self) {
        match (self.machine.wants_events(), &self.events) {
            (true, None) => {
                let (present, receiver) = self.hub.registry.listen();
                present.into_iter().for_each(|event| self.machine.handle_event(event));
                self.events = Some(receiver);
            }
            (false, Some(_)) => self.events = None,
            _ => {}
        }
    }

    fn handle_event(&mut self, event: Result<Arc<Frame>, broadcast::error::RecvError>) {
        match event {
            Ok(event) => self.machine.handle_event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => self.machine.handle_lost_events(),
            Err(broadcast::error::RecvError::Closed) => self.events = None,
        }
    }

    /// Moves everything that may be sent now to the outbox.
    fn flush(&mut self) -> Result<(), Full> {
        loop {
            let newest = self.newest.borrow_and_update().clone();
            let number = newest.as_ref().map(|generation| generation.number);
            let now_ms = self.hub.registry.now_ms();
            let Some(output) = self.machine.poll(now_ms, number, self.outbox.has_room()) else { return Ok(()) };
            let frame = match output {
                Output::Runtime => self.hub.runtime.clone(),
                Output::State => match newest {
                    Some(generation) => generation.frame(self.machine.config().retention_ms),
                    None => continue,
                },
                Output::Response(response) => envelope::encode(Payload::Response(response)),
                Output::Notice => {
                    envelope::encode(Payload::Notice(ServerNotice { kind: Kind::DiscardingEvents.into() }))
                }
                Output::Event(event) => event.bytes.clone(),
            };
            self.outbox.push(frame)?;
        }
    }
}

async fn next_event(
    events: &mut Option<broadcast::Receiver<Arc<Frame>>>,
) -> Result<Arc<Frame>, broadcast::error::RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// A broken connection just ends; a message that breaks the rules is answered with a reason.
fn why_unreadable(error: &warp::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::Capacity(_)) => End::Told(TOO_LARGE),
        Some(Error::Utf8(_)) => End::Told(MALFORMED),
        Some(Error::Protocol(_)) => End::Told(Violation { code: 1002, reason: "this is not WebSocket" }),
        _ => End::Gone,
    }
}

/// Sends the close message, and reads on for a moment so that it arrives.
async fn close<S: Stream + Unpin>(mut stream: S, mut writer: JoinHandle<()>, outbox: &Outbox, why: Violation) {
    outbox.close(why);
    let farewell = async {
        let _ = (&mut writer).await;
        while stream.next().await.is_some() {}
    };
    let _ = timeout(CLOSE_DEADLINE, farewell).await;
    writer.abort();
}
