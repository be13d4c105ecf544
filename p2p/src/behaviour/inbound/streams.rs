//! Streams that peers opened (`/rpp/snapshots/2.0.0`). Each does what [`Served`] says, one call of the provider at a time.
//!
//! ```text
//! idle ── something to do ──> asks for a slot and bytes ──> at work: message, update or a batch of chunks, in turn
//!   ^                              └── refused: `busy`          │  │ the budget has no more: asks again, behind the others
//!   └────────────── everything is written ──────────────────────┘  └──> (asks)
//! ```
//!
//! A batch is read on a blocking thread and passed on to the connection's task. While it is written, the next batch is
//! read, as far as the byte budget allows. A stream holds a slot and bytes of the budget only while it is at work.

mod jobs;

use std::{collections::HashMap, time::Instant};

use libp2p::{PeerId, swarm::ConnectionId};

use self::jobs::ReadJob;
pub(super) use self::jobs::{Made, pool};
use super::{Event, Inbound, Outcome, RequestId, RequestKind, serve};
use crate::{
    behaviour::{
        admission::Verdict,
        observer::{Activity, Ended},
        pool::{Done, Pool},
        serve::{Answer, Effect},
        streams::{Heard, OutFrame, Outlet},
    },
    error::{Invalid, PipelineError, Unserved},
    limits::{MAX_STREAM_BYTES, STREAM_BATCH},
    messages::SnapshotsRequest,
    provider::{SessionKey, SnapshotProvider, Source},
    stream::{Breach, ConsumerFrame, Protocol, Served, StreamWork, Totals},
    tree::total_chunks,
    types::SnapshotSessionId,
};

/// A stream: its connection, and its number there.
pub(in crate::behaviour) type StreamKey = (ConnectionId, u64);

pub(super) struct Streams {
    streams: HashMap<StreamKey, InStream>,
    /// The newest stream of each session.
    by_session: HashMap<SessionKey, StreamKey>,
    /// The stream to which a verdict of the admission, or the end of a job, belongs.
    asked: HashMap<RequestId, StreamKey>,
    jobs: Pool<Made>,
}

struct InStream {
    peer: PeerId,
    source: Source,
    outlet: Outlet<OutFrame>,
    served: Served,
    admitted: Admitted,
    running: Option<ReadJob>,
    /// Payload bytes that are being read or are not written yet.
    unwritten: usize,
    /// The older stream of the same session whose job still runs.
    after: Option<StreamKey>,
    /// Nothing more will be sent.
    is_over: bool,
    since: Instant,
}

enum Admitted {
    No,
    Asked(Activity),
    /// `fresh`: the stream's share of the byte budget is enough for one chunk.
    Yes {
        activity: Activity,
        fresh: bool,
    },
}

impl Streams {
    pub(super) fn new(jobs: Pool<Made>) -> Self {
        Self { streams: HashMap::new(), by_session: HashMap::new(), asked: HashMap::new(), jobs }
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn jobs(&self) -> (usize, usize) {
        (self.jobs.queued(), self.jobs.running())
    }

    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Done<Made>> {
        self.jobs.poll(cx)
    }

    pub(super) fn is_of(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id)
    }
}

impl<P: SnapshotProvider> Inbound<P> {
    /// A peer opened a stream.
    pub(in crate::behaviour) fn handle_stream(
        &mut self,
        (peer, source): (PeerId, Source),
        key: StreamKey,
        outlet: Outlet<OutFrame>,
    ) {
        let stream = InStream {
            peer,
            source,
            outlet,
            served: Served::default(),
            admitted: Admitted::No,
            running: None,
            unwritten: 0,
            after: None,
            is_over: false,
            since: Instant::now(),
        };
        self.streams.streams.insert(key, stream);
    }

    /// Something happened on a stream.
    pub(in crate::behaviour) fn handle_heard(&mut self, key: StreamKey, heard: Heard, events: &mut Events) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        match heard {
            Heard::Frame(_) | Heard::Broken(_) if stream.is_over => {}
            Heard::Frame(frame) => self.hear(key, frame, events),
            Heard::Broken(error) => self.breach(key, error.into(), events),
            Heard::Answered => stream.served.answer_written(),
            Heard::Written(bytes) => {
                stream.unwritten = stream.unwritten.saturating_sub(bytes);
                if let Admitted::Yes { activity, .. } = &stream.admitted {
                    self.admission.resize(activity, stream.unwritten);
                }
                self.advance(key, events);
            }
            Heard::Ended(reason) => {
                if let Some(reason) = reason.filter(|_| !stream.is_over) {
                    self.note_failure(key, Outcome::Lost, reason, events);
                }
                self.end_stream(key, events);
            }
        }
    }

    /// A connection is gone, with its streams.
    pub(in crate::behaviour) fn handle_connection_closed(&mut self, connection: ConnectionId, events: &mut Events) {
        let gone: Vec<_> = self.streams.streams.keys().filter(|key| key.0 == connection).copied().collect();
        for key in gone {
            self.end_stream(key, events);
        }
    }

    fn hear(&mut self, key: StreamKey, frame: ConsumerFrame, events: &mut Events) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let is_first = stream.served.session().is_none();
        stream.since = Instant::now();
        if let Err(breach) = stream.served.heard(frame) {
            return self.breach(key, breach, events);
        }
        if let (true, Some(session)) = (is_first, stream.served.session()) {
            let peer = stream.peer;
            // A session has one stream: a newer one replaces the older one.
            if let Some(older) = self.streams.by_session.insert((peer, session), key) {
                self.end_stream(older, events);
                let is_running = self.streams.streams.contains_key(&older);
                if let Some(stream) = self.streams.streams.get_mut(&key) {
                    stream.after = is_running.then_some(older);
                }
            }
        }
        self.advance(key, events);
    }

    /// Starts the next piece of work, if there is any and it may start now.
    fn advance(&mut self, key: StreamKey, events: &mut Events) {
        loop {
            let Some(stream) = self.streams.streams.get_mut(&key) else { return };
            if stream.running.is_some() || stream.after.is_some() || matches!(stream.admitted, Admitted::Asked(_)) {
                return;
            }
            let next = stream.served.next_request();
            let is_cancel = matches!(next, Some((SnapshotsRequest::Error { .. }, _)));
            if stream.is_over && !is_cancel {
                return self.remove_stream(key, events);
            }
            let Some((request, bytes)) = next else {
                if stream.unwritten == 0 {
                    self.release(key, false);
                }
                return;
            };
            let Admitted::Yes { activity, fresh } = stream.admitted else {
                let (peer, source) = (stream.peer, stream.source);
                let activity = Activity::of(Protocol::V2, self.request_ids.next(), peer, Some(&request));
                self.streams.asked.insert(activity.id, key);
                let verdict = self.admission.arrive(Instant::now(), source, activity, request);
                return self.stream_verdict(activity, verdict, events);
            };
            match request {
                SnapshotsRequest::Chunk { .. } => {}
                SnapshotsRequest::LightClientUpdate { .. } if stream.unwritten > MAX_STREAM_BYTES - STREAM_BATCH => {
                    return;
                }
                _ => return self.begin(key, 0, events),
            }
            let size = usize::try_from(bytes).unwrap_or(usize::MAX);
            if self.admission.is_limited() {
                match stream.unwritten {
                    _ if fresh => return self.begin(key, size, events),
                    0 => self.release(key, false),
                    _ => return,
                }
                continue;
            }
            // A batch, or a chunk, is read while the one before it is written.
            if stream.unwritten > (MAX_STREAM_BYTES - STREAM_BATCH).max(size) {
                return; // It goes on when more is written.
            }
            let (unwritten, most) = (stream.unwritten, STREAM_BATCH.max(size));
            for most in [most, size] {
                if self.admission.resize(&activity, unwritten + most) {
                    return self.begin(key, most, events);
                }
            }
            match unwritten {
                0 if fresh => return self.begin(key, size, events),
                // Other streams wait for bytes, too: this one queues behind them.
                0 => self.release(key, false),
                _ => return,
            }
        }
    }

    /// Whether a stream may do what it asked for.
    pub(super) fn stream_verdict(&mut self, activity: Activity, verdict: Verdict, events: &mut Events) {
        let Some(key) = self.streams.asked.get(&activity.id).copied() else { return };
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        match verdict {
            Verdict::Wait => stream.admitted = Admitted::Asked(activity),
            Verdict::Serve(_) => {
                let fresh = activity.kind == Some(RequestKind::Chunk);
                stream.admitted = Admitted::Yes { activity, fresh };
                self.advance(key, events);
            }
            Verdict::Refuse(refusal) => {
                self.release(key, false);
                self.streams.asked.remove(&activity.id);
                let Some(stream) = self.streams.streams.get_mut(&key) else { return };
                if let Ok(Some(StreamWork::Message(message))) = stream.served.poll_work(0) {
                    let activity = Activity::of(Protocol::V2, self.request_ids.next(), stream.peer, Some(&message));
                    self.observer.response_started(&activity);
                    let answer = serve::refusal(activity.session, refusal.code(), &refusal.to_string(), Effect::Keep);
                    self.answer(key, activity, answer, events);
                } else {
                    self.refuse_stream(key, &refusal);
                }
            }
        }
    }

    /// A message or an update is answered.
    fn answer(&mut self, key: StreamKey, activity: Activity, answer: Answer, events: &mut Events) {
        let Activity { peer, session, kind, .. } = activity;
        let (outcome, bytes) = (answer.outcome, answer.body.len());
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let elapsed = stream.since.elapsed();
        let is_update = kind == Some(RequestKind::LightClientUpdate);
        if !is_update {
            stream.served.answered();
        }
        let mut breach = None;
        if let Effect::Open { chunk_size, payload_bytes, updates } = answer.effect {
            let chunks = total_chunks(payload_bytes, chunk_size);
            breach = stream.served.opened(Totals { payload_bytes, chunk_size, chunks, updates }).err();
            self.admission.opened(&activity, chunk_size);
        }
        stream.outlet.push([match is_update {
            true => OutFrame::unasked(&answer.body),
            false => OutFrame::answer(&answer.body),
        }]);
        stream.unwritten += if is_update { bytes } else { 0 };
        // After a refusal of the opening message or of an update, and after a cancel, nothing can follow.
        let is_refused = outcome != Outcome::Served;
        if is_refused && kind != Some(RequestKind::Ack) {
            stream.outlet.close();
            stream.is_over = true;
        }
        if answer.effect == Effect::Free {
            self.release(key, true);
        }
        let ended = Ended { outcome, request_bytes: 0, response_bytes: bytes, elapsed };
        self.observer.response_finished(&activity, &ended);
        events.push_back(Event::Inbound {
            peer,
            session,
            request_id: activity.id,
            kind,
            outcome,
            bytes,
            elapsed,
            error: None,
        });
        match breach {
            Some(breach) => self.breach(key, breach, events),
            None => self.advance(key, events),
        }
    }

    /// Ends a stream with a refusal that answers no message.
    fn refuse_stream(&mut self, key: StreamKey, refusal: &PipelineError) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let session = stream.served.session().unwrap_or(SnapshotSessionId::UNREADABLE);
        let answer = serve::refusal(session, refusal.code(), &refusal.to_string(), Effect::Keep);
        stream.unwritten += answer.body.len();
        stream.outlet.push([OutFrame::unasked(&answer.body)]);
        stream.outlet.close();
        stream.is_over = true;
    }

    /// The consumer broke the protocol: it is told so, and the stream ends.
    fn breach(&mut self, key: StreamKey, breach: Breach, events: &mut Events) {
        let refusal = PipelineError::from(Invalid::Stream(breach.clone()));
        self.note_failure(key, Outcome::Refused(refusal.code()), breach.into(), events);
        self.refuse_stream(key, &refusal);
        self.advance(key, events);
    }

    fn note_failure(&mut self, key: StreamKey, outcome: Outcome, failure: Unserved, events: &mut Events) {
        let Some(stream) = self.streams.streams.get(&key) else { return };
        self.failures += 1;
        events.push_back(Event::Inbound {
            peer: stream.peer,
            session: stream.served.session().unwrap_or(SnapshotSessionId::UNREADABLE),
            request_id: self.request_ids.next(),
            kind: None,
            outcome,
            bytes: 0,
            elapsed: stream.since.elapsed(),
            error: Some(failure.into()),
        });
    }

    /// The stream has ended, or another one replaces it. It stays registered while the provider works for it.
    fn end_stream(&mut self, key: StreamKey, events: &mut Events) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        stream.is_over = true;
        stream.outlet.abandon();
        stream.unwritten = 0;
        if matches!(stream.admitted, Admitted::Asked(_)) {
            self.release(key, false);
        }
        self.advance(key, events);
    }

    fn remove_stream(&mut self, key: StreamKey, events: &mut Events) {
        let Some(stream) = self.streams.streams.get(&key) else { return };
        // Bytes that were passed to the stream count against the budget until they are written or the stream has ended.
        if !stream.outlet.is_closed() || stream.unwritten > 0 {
            return;
        }
        self.release(key, false);
        let Some(stream) = self.streams.streams.remove(&key) else { return };
        if let Some(session) = stream.served.session() {
            let session = (stream.peer, session);
            if self.streams.by_session.get(&session) == Some(&key) {
                self.streams.by_session.remove(&session);
            }
        }
        let waiting = self.streams.streams.iter_mut().find(|(_, stream)| stream.after == Some(key));
        if let Some((next, stream)) = waiting {
            let next = *next;
            stream.after = None;
            self.advance(next, events);
        }
    }

    /// The stream is not at work any more. `free`: its session needs no slot.
    fn release(&mut self, key: StreamKey, free: bool) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let (Admitted::Asked(activity) | Admitted::Yes { activity, .. }) =
            std::mem::replace(&mut stream.admitted, Admitted::No)
        else {
            return;
        };
        self.streams.asked.remove(&activity.id);
        self.admission.end(Instant::now(), &activity, free);
    }
}

type Events = std::collections::VecDeque<Event>;
