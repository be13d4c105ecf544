//! Asks the provider and encodes its answer. Runs on blocking threads.

use libp2p::PeerId;

use super::event::Outcome;
use crate::{
    error::PipelineError,
    json,
    messages::{ErrorCode, SnapshotsRequest, SnapshotsResponse},
    provider::{PlanRequest, SnapshotProvider, Source},
    text,
    types::SnapshotSessionId,
};

/// An encoded answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) effect: Effect,
}

/// The effect of an answer on the session's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// None.
    Keep,
    /// The session streams chunks of this size, and has these totals.
    Open { chunk_size: u64, payload_bytes: u64, updates: u64 },
    /// The session no longer needs a slot.
    Free,
}

/// Asks `provider` for what `request` wants.
pub(super) fn serve<P: SnapshotProvider>(
    provider: &P,
    (peer, source): (PeerId, Source),
    request: SnapshotsRequest,
    max_response: usize,
) -> Answer {
    let session_id = request.session_id();
    let opens = matches!(request, SnapshotsRequest::Plan { .. } | SnapshotsRequest::Resume { .. });
    match provide(provider, peer, Some(source), request) {
        Ok((response, effect)) => encode(session_id, &response, effect, max_response),
        Err(error) => {
            if let PipelineError::Internal(source) = &error {
                tracing::warn!(%peer, session = %session_id, error = %text::escape(&source.to_string()), "provider failed");
            }
            let gone = opens || matches!(error.code(), ErrorCode::NotFound | ErrorCode::Cancelled);
            refusal(session_id, error.code(), &error.to_string(), if gone { Effect::Free } else { Effect::Keep })
        }
    }
}

/// One chunk, if it is available. Nobody has asked for it yet, so nobody needs to know why it is not.
pub(super) fn chunk<P: SnapshotProvider>(
    provider: &P,
    peer: PeerId,
    session_id: SnapshotSessionId,
    chunk_index: u64,
    max_response: usize,
) -> Option<Answer> {
    let (response, effect) = provide(provider, peer, None, SnapshotsRequest::Chunk { session_id, chunk_index }).ok()?;
    let answer = encode(session_id, &response, effect, max_response);
    (answer.outcome == Outcome::Served).then_some(answer)
}

/// An `error` response.
pub(super) fn refusal(session_id: SnapshotSessionId, code: ErrorCode, message: &str, effect: Effect) -> Answer {
    let response = SnapshotsResponse::Error { session_id, code, message: text::cut(message).to_owned() };
    Answer { body: json::encode_response(&response), outcome: Outcome::Refused(code), effect }
}

/// The index of the chunk or update that a request is about.
pub(super) fn index_of(request: &SnapshotsRequest) -> Option<u64> {
    match request {
        SnapshotsRequest::Chunk { chunk_index: index, .. }
        | SnapshotsRequest::LightClientUpdate { update_index: index, .. }
        | SnapshotsRequest::Ack { index, .. } => Some(*index),
        SnapshotsRequest::Plan { .. } | SnapshotsRequest::Resume { .. } | SnapshotsRequest::Error { .. } => None,
    }
}

fn provide<P: SnapshotProvider>(
    provider: &P,
    peer: PeerId,
    source: Option<Source>,
    request: SnapshotsRequest,
) -> Result<(SnapshotsResponse, Effect), PipelineError> {
    match request {
        SnapshotsRequest::Plan { session_id, wishes } => {
            let offer = provider.plan(peer, &PlanRequest { session: session_id, wishes, source })?;
            let effect = Effect::Open {
                chunk_size: offer.plan.chunk_size,
                payload_bytes: offer.plan.snapshot.checkpoint.payload_bytes,
                updates: offer.plan.total_updates,
            };
            let response = SnapshotsResponse::Plan {
                session_id,
                plan: Box::new(offer.plan),
                min_chunk_size: offer.min_chunk_size,
                max_chunk_size: offer.max_chunk_size,
            };
            Ok((response, effect))
        }
        SnapshotsRequest::Chunk { session_id, chunk_index } => {
            let data = provider.chunk(peer, session_id, chunk_index)?;
            let response = SnapshotsResponse::Chunk { session_id, chunk_index, chunk: data.bytes, proof: data.proof };
            Ok((response, Effect::Keep))
        }
        SnapshotsRequest::LightClientUpdate { session_id, update_index } => {
            let update = Box::new(provider.update(peer, session_id, update_index)?);
            Ok((SnapshotsResponse::LightClientUpdate { session_id, update_index, update }, Effect::Keep))
        }
        SnapshotsRequest::Resume { session_id, plan_id, chunk_index, update_index } => {
            let resumed = provider.resume_session(peer, session_id, plan_id, chunk_index, update_index)?;
            let effect = Effect::Open {
                chunk_size: resumed.chunk_size,
                payload_bytes: resumed.payload_bytes,
                updates: resumed.total_updates,
            };
            let response = SnapshotsResponse::Resume {
                session_id,
                plan_id: resumed.plan_id,
                chunk_index: resumed.chunk_index,
                update_index: resumed.update_index,
                chunk_size: resumed.chunk_size,
            };
            Ok((response, effect))
        }
        SnapshotsRequest::Ack { session_id, kind, index } => {
            let acknowledged = provider.acknowledge(peer, session_id, kind, index)?;
            let effect = if acknowledged.finished { Effect::Free } else { Effect::Keep };
            Ok((SnapshotsResponse::Ack { session_id, kind, index }, effect))
        }
        SnapshotsRequest::Error { session_id, message } => {
            tracing::debug!(%peer, session = %session_id, reason = %text::escape(&message), "cancelled by its consumer");
            provider.cancel(peer, session_id);
            Err(PipelineError::Cancelled)
        }
    }
}

fn encode(session_id: SnapshotSessionId, response: &SnapshotsResponse, effect: Effect, max_response: usize) -> Answer {
    let body = json::encode_response(response);
    if body.len() > max_response {
        let message = format!("the response has {} bytes, the bound is {max_response}", body.len());
        tracing::warn!(session = %session_id, message, "provider made an oversize response");
        return refusal(session_id, ErrorCode::Internal, &message, Effect::Keep);
    }
    Answer { body, outcome: Outcome::Served, effect }
}
