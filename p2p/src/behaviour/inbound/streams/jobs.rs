//! The jobs that read for streams, on blocking threads: an answer, an update, or a batch of chunks.
//!
//! A stream has one job at a time. The job passes each chunk to the connection's task as soon as it is read. When the
//! job ends, the stream is told, and may start the next one.

use std::{sync::Arc, time::Instant};

use super::{Admitted, Events, StreamKey};
use crate::{
    behaviour::{
        event::Outcome,
        inbound::{Config, Inbound, RequestKind},
        observer::{Activity, Ended, Job, Observer, Unobserved},
        pool::{Done, Pool, Watch},
        serve::{self, Answer, Effect},
        streams::{OutFrame, Outlet},
    },
    error::PipelineError,
    limits::MAX_CHUNK_SIZE,
    messages::{ErrorCode, SnapshotsRequest},
    provider::{ChunkData, SnapshotProvider},
    stream::{Protocol, StreamWork, frame},
};

/// A job of a stream; each chunk that it reads is an activity of its own.
pub(super) struct ReadJob {
    chunks: Vec<Activity>,
    since: Instant,
}

/// The result of a job.
pub(in crate::behaviour::inbound) enum Made {
    Answer(Answer),
    /// The size of each chunk that was passed on, in order, and why the job stopped early, if it did.
    Chunks(Vec<usize>, Option<PipelineError>),
}

impl<P: SnapshotProvider> Inbound<P> {
    /// Takes the next piece of work and starts it; chunks of up to `most` bytes.
    pub(super) fn begin(&mut self, key: StreamKey, most: usize, events: &mut Events) {
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let Some(session) = stream.served.session() else { return };
        let work = match stream.served.poll_work(most as u64) {
            Ok(Some(work)) => work,
            Ok(None) => return,
            Err(breach) => return self.breach(key, breach, events),
        };
        // Bytes that were granted for a chunk are not used for a message that arrived meanwhile.
        if let Admitted::Yes { fresh, .. } = &mut stream.admitted
            && !matches!(work, StreamWork::Message(_))
        {
            *fresh = false;
        }
        let (peer, source, outlet) = (stream.peer, stream.source, stream.outlet.clone());
        let request = match &work {
            StreamWork::Message(message) => message.clone(),
            StreamWork::Update(update_index) => {
                SnapshotsRequest::LightClientUpdate { session_id: session, update_index: *update_index }
            }
            StreamWork::Chunks(chunks) => {
                let chunk_index = chunks.first().copied().unwrap_or(0);
                SnapshotsRequest::Chunk { session_id: session, chunk_index }
            }
        };
        let about = Activity::of(Protocol::V2, self.request_ids.next(), peer, Some(&request));
        let chunks: Vec<_> = match &work {
            StreamWork::Chunks(chunks) => {
                let one = |index: &u64| Activity { id: self.request_ids.next(), index: Some(*index), ..about };
                chunks.iter().map(one).collect()
            }
            StreamWork::Message(_) | StreamWork::Update(_) => Vec::new(),
        };
        stream.since = Instant::now();
        stream.running = Some(ReadJob { chunks: chunks.clone(), since: stream.since });
        self.streams.asked.insert(about.id, key);
        let (provider, max_response) = (Arc::clone(&self.provider), self.max_response);
        let observer = Arc::clone(&self.observer);
        match work {
            StreamWork::Chunks(indices) => {
                stream.unwritten += stream.served.bytes_of(&indices);
                chunks.iter().for_each(|chunk| self.observer.response_started(chunk));
                self.streams.jobs.push(about, move || read(provider.as_ref(), &chunks, &outlet, &observer));
            }
            StreamWork::Message(_) | StreamWork::Update(_) => {
                self.observer.response_started(&about);
                self.streams.jobs.push(about, move || {
                    let _watch = Watch::begin(Job::Provide, about, observer);
                    Made::Answer(serve::serve(provider.as_ref(), (peer, source), request, max_response))
                });
            }
        }
    }

    /// A job ended.
    pub(in crate::behaviour::inbound) fn handle_made(&mut self, (activity, result): Done<Made>, events: &mut Events) {
        let Some(key) = self.streams.asked.remove(&activity.id) else { return };
        let Some(stream) = self.streams.streams.get_mut(&key) else { return };
        let running = stream.running.take();
        let made = result.unwrap_or_else(|error| {
            let Activity { peer, session, .. } = activity;
            tracing::error!(%peer, %session, %error, "the provider did not answer");
            let opens = matches!(activity.kind, Some(RequestKind::Plan | RequestKind::Resume));
            let effect = if opens { Effect::Free } else { Effect::Keep };
            match activity.kind {
                Some(RequestKind::Chunk) => Made::Chunks(Vec::new(), Some(PipelineError::internal(error))),
                _ => Made::Answer(serve::refusal(session, ErrorCode::Internal, "the provider failed", effect)),
            }
        });
        match made {
            Made::Answer(answer) => self.answer(key, activity, answer, events),
            Made::Chunks(handed, failure) => {
                let ReadJob { chunks, since } =
                    running.unwrap_or(ReadJob { chunks: Vec::new(), since: Instant::now() });
                for (place, chunk) in chunks.iter().enumerate() {
                    let bytes = handed.get(place).copied();
                    let ended = Ended {
                        outcome: if bytes.is_some() { Outcome::Served } else { Outcome::Lost },
                        request_bytes: 0,
                        response_bytes: bytes.unwrap_or(0),
                        elapsed: since.elapsed(),
                    };
                    self.observer.response_finished(chunk, &ended);
                }
                if let Some(failure) = failure {
                    if let PipelineError::Internal(source) = &failure {
                        let error = crate::text::escape(&source.to_string());
                        tracing::warn!(peer = %activity.peer, session = %activity.session, %error, "provider failed");
                    }
                    self.refuse_stream(key, &failure);
                }
                self.advance(key, events);
            }
        }
    }
}

/// Reads chunks and passes them to the stream one by one. The stream's task is woken only if it waits for one.
fn read<P: SnapshotProvider>(
    provider: &P,
    chunks: &[Activity],
    outlet: &Outlet<OutFrame>,
    observer: &Arc<dyn Observer>,
) -> Made {
    let (mut handed, mut failure) = (Vec::with_capacity(chunks.len()), None);
    for chunk in chunks {
        if outlet.is_closed() {
            break;
        }
        let index = chunk.index.unwrap_or_default();
        let watch = Watch::begin(Job::Provide, *chunk, Arc::clone(observer));
        let read = provider.chunk(chunk.peer, chunk.session, index);
        drop(watch);
        match read {
            Ok(ChunkData { bytes: chunk, proof }) if chunk.len() as u64 <= MAX_CHUNK_SIZE => {
                let head = frame::chunk_head(index, &proof, chunk.len());
                handed.push(head.len() + chunk.len());
                outlet.push([OutFrame::chunk(head, chunk)]);
            }
            Ok(_) => {
                failure = Some(PipelineError::internal("a chunk of more than 4 MiB"));
                break;
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    Made::Chunks(handed, failure)
}

/// The pool for the jobs of streams, which report themselves to the observer.
pub(in crate::behaviour::inbound) fn pool(config: &Config) -> Pool<Made> {
    Pool::new(Job::Provide, config.max_provider_jobs, Arc::new(Unobserved))
}
