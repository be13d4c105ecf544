//! The side of the processes: one reader and one writer task for each connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    task::{JoinSet, spawn_blocking},
};

use super::{
    cut::Answer,
    events::{Event, EventKind},
    hub::{Hub, Verdict},
    roster::ConnectionId,
};
use rpp_common::text::cut_to;
use rpp_http::Failures;

use crate::{
    frame::{self, Budget, Frame, FrameError, Reader},
    limits::{MAX_FRAMES_BYTES, MAX_PARSERS, MAX_PROCESS_NAME_BYTES, MAX_REPLY_BYTES},
    socket,
    wire::{self, SkipError},
};

/// Frames up to this size are parsed on the reader's task; larger ones on a blocking thread.
const PARSE_INLINE_BYTES: usize = 128 * 1024;

/// The first bytes of the later protocol, read as a length.
const MOIRE: usize = u32::from_be_bytes(*b"MOIR") as usize;
const SPEAKS_MOIRE: &str =
    "the connection speaks moire, a later protocol than this collector's: report with a client of peeps";

/// Logs that connections of another protocol were refused, at most once in ten seconds, because such programs try again
/// and again.
#[derive(Default)]
struct Strangers(Mutex<(Option<Instant>, u64)>);

impl Strangers {
    fn refused(&self, from: SocketAddr) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, unsaid) = &mut *state;
        *unsaid += 1;
        if said.is_none_or(|said| said.elapsed() >= Duration::from_secs(10)) {
            tracing::warn!(%from, connections = *unsaid, "refused: {SPEAKS_MOIRE}");
            (*said, *unsaid) = (Some(Instant::now()), 0);
        }
    }
}

/// Accepts connections until it is dropped; its tasks end with it.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>, deadline: Duration) {
    let budget = Budget::new(MAX_FRAMES_BYTES);
    let parsers = Arc::new(Semaphore::new(MAX_PARSERS));
    let strangers = Arc::new(Strangers::default());
    let mut tasks = JoinSet::new();
    let mut failures = Failures::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match hub.enter(from.to_string()) {
                    Some((id, requests)) => {
                        let (hub, parsers, strangers) =
                            (Arc::clone(&hub), Arc::clone(&parsers), Arc::clone(&strangers));
                        let process = Attached { id, hub, from, parsers, strangers, deadline };
                        tasks.spawn(process.run(stream, requests, budget.clone()));
                    }
                    None => hub.event(Event::new(EventKind::ConnectionRefused, &format!("{from}: too many connections"))),
                },
                Err(error) => {
                    let tell = |why: &str| tracing::warn!("no process's connection could be accepted: {why}");
                    failures.pause_after(&error, tell).await;
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// One connection. Dropping it removes it from the hub, whatever ended it.
struct Attached {
    id: ConnectionId,
    hub: Arc<Hub>,
    from: SocketAddr,
    parsers: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    deadline: Duration,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

impl Attached {
    async fn run(self, stream: TcpStream, requests: mpsc::Receiver<Arc<[u8]>>, budget: Budget) {
        socket::keep_alive(&stream);
        let (read, write) = stream.into_split();
        // A set, because dropping it ends the task.
        let mut writer = JoinSet::new();
        writer.spawn(write_all(write, requests));
        let error = self.read_all(read, budget).await;
        drop(writer);
        if let Some(event) = event_of(&error) {
            if event.kind == EventKind::OtherProtocol {
                self.strangers.refused(self.from);
            }
            self.hub.event(event.of(self.hub.name(self.id)));
        }
        tracing::debug!(connection = self.id.0, %error, "a process's connection ended");
    }

    async fn read_all(&self, read: OwnedReadHalf, budget: Budget) -> FrameError {
        let mut reader = Reader::new(read, MAX_REPLY_BYTES, self.deadline, budget);
        loop {
            match reader.next().await {
                Ok(frame) if frame.len() <= PARSE_INLINE_BYTES => self.take_in(&frame),
                Ok(frame) => self.take_in_large(frame).await,
                Err(error) => return error,
            }
        }
    }

    async fn take_in_large(&self, frame: Frame) {
        let Ok(permit) = Arc::clone(&self.parsers).acquire_owned().await else { return };
        let reader = FrameReader { id: self.id, hub: Arc::clone(&self.hub) };
        let parsed = spawn_blocking(move || {
            reader.take_in(&frame);
            drop((frame, permit));
        });
        if let Err(error) = parsed.await {
            tracing::error!(%error, "reading a frame failed");
        }
    }

    fn take_in(&self, frame: &[u8]) {
        FrameReader { id: self.id, hub: Arc::clone(&self.hub) }.take_in(frame);
    }
}

/// Turns frames into answers and events.
struct FrameReader {
    id: ConnectionId,
    hub: Arc<Hub>,
}

impl FrameReader {
    fn take_in(&self, frame: &[u8]) {
        let reply = match wire::decode_reply(frame) {
            Ok(reply) => reply,
            Err(error) => return self.skip(&error),
        };
        let process = cut_to(&reply.process, MAX_PROCESS_NAME_BYTES);
        if let Verdict::Unwanted = self.hub.judge(self.id, reply.snapshot_id, process, reply.pid) {
            return;
        }
        let answer = match reply.graph_and_unreadable() {
            Ok(Some((graph, unreadable))) => Answer::Graph(graph, unreadable),
            Ok(None) => Answer::Nothing,
            Err(error) => Answer::Unreadable(crate::escape(&format!("the graph cannot be read: {error}"))),
        };
        self.hub.answered(self.id, reply.snapshot_id, process, reply.pid, answer);
    }

    fn skip(&self, error: &SkipError) {
        let kind = match error {
            SkipError::Unreadable(_) => EventKind::UnreadableFrame,
            SkipError::UnknownType(_) => EventKind::UnknownType,
        };
        self.hub.event(Event::new(kind, &error.to_string()).of(self.hub.name(self.id)));
    }
}

async fn write_all(mut write: OwnedWriteHalf, mut requests: mpsc::Receiver<Arc<[u8]>>) {
    while let Some(request) = requests.recv().await {
        if let Err(error) = frame::write(&mut write, &request).await {
            tracing::debug!(%error, "a request could not be written");
            return;
        }
    }
}

fn event_of(error: &FrameError) -> Option<Event> {
    let kind = match error {
        FrameError::Closed => return None,
        FrameError::Truncated { .. } => EventKind::TruncatedFrame,
        FrameError::TooLong { announced, .. } if *announced == MOIRE => {
            return Some(Event::new(EventKind::OtherProtocol, SPEAKS_MOIRE));
        }
        FrameError::TooLong { .. } => EventKind::OversizeFrame,
        FrameError::Slow(_) => EventKind::SlowFrame,
        FrameError::Io(_) => EventKind::ConnectionLost,
    };
    Some(Event::new(kind, &error.to_string()))
}
