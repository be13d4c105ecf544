//! What a link reports about itself.

use std::time::Instant;

use super::{Connection, InFlight, Link, LinkState};
use crate::{
    consumer::{View, Waiting},
    download::Demand,
    limits::REQUEST_IDLE,
    messages::SnapshotsRequest,
    status::{SessionState, WaitKind},
    tree::chunk_range,
};

impl Link {
    /// What holds up a download that needs the peer: `None` while the peer streams, or is not needed.
    pub(crate) fn obstacle(&self, demand: &Demand) -> Option<SessionState> {
        if !self.is_needed(demand) {
            return None;
        }
        match self.state {
            LinkState::BackingOff(_) => Some(SessionState::BackingOff),
            LinkState::Down | LinkState::Dialing { .. } => Some(SessionState::Connecting),
            LinkState::Up => Some(SessionState::Planning),
            LinkState::Open { .. } => None,
        }
    }

    /// Fills in what is known about the peer.
    pub(crate) fn tell(&self, view: &mut View) {
        view.bytes_received = self.received;
        view.bytes_wasted += self.wasted;
        view.failed_tries = self.backoff.tries();
        view.protocol = self.protocol;
        view.tries = match self.state {
            LinkState::Open { tries } => tries,
            _ => self.backoff.tries() + 1,
        };
    }

    /// What the session waits for from the peer.
    pub(crate) fn waiting(&self, demand: &Demand) -> Option<Waiting> {
        if let Some(waiting) = self.waiting_on_stream(demand) {
            return Some(waiting);
        }
        match (&self.state, self.in_flight()) {
            // During a back-off, the request in flight is one that was lost with the connection.
            (LinkState::BackingOff(_), _) | (_, None) if !self.is_needed(demand) => None,
            (LinkState::BackingOff(retry), _) if retry.is_barred => {
                let reason = format!("{} is {}; it is asked again by itself then", self.peer, retry.cause);
                Some(Waiting { retry_at: Some(retry.at), ..wait(WaitKind::Retry, retry.since, reason) })
            }
            (LinkState::BackingOff(retry), _) => {
                let reason = format!(
                    "try {} failed: {}; the next one comes by itself, or at once by a resume of this session; look at {} if \
                     it goes on",
                    self.backoff.tries(),
                    retry.cause,
                    self.peer
                );
                Some(Waiting { retry_at: Some(retry.at), ..wait(WaitKind::Retry, retry.since, reason) })
            }
            (_, Some(in_flight)) => Some(self.waiting_on_answer(in_flight)),
            (state, None) => match state.connection() {
                Connection::Dialing { since } => Some(self.waiting_on_connection(since)),
                Connection::Down => Some(self.waiting_on_connection(self.started)),
                Connection::Up => None,
            },
        }
    }

    fn waiting_on_connection(&self, since: Instant) -> Waiting {
        let reason = format!("connecting to {}; check its address and that it runs if this takes long", self.peer);
        wait(WaitKind::Connection, since, reason)
    }

    fn waiting_on_answer(&self, in_flight: &InFlight) -> Waiting {
        let (what, index, thing) = match &in_flight.request {
            SnapshotsRequest::Plan { .. } => (WaitKind::Plan, None, "a plan".to_owned()),
            SnapshotsRequest::Resume { chunk_index, update_index, .. } => {
                (WaitKind::Plan, None, format!("to go on at chunk {chunk_index} and update {update_index}"))
            }
            SnapshotsRequest::Chunk { chunk_index, .. } => {
                (WaitKind::Chunk, Some(*chunk_index), format!("for chunk {chunk_index}"))
            }
            SnapshotsRequest::LightClientUpdate { update_index, .. } => {
                (WaitKind::LightClientUpdate, Some(*update_index), format!("for update {update_index}"))
            }
            SnapshotsRequest::Ack { index, .. } => {
                (WaitKind::Ack, Some(*index), format!("to record what is durable here, up to {index}"))
            }
            SnapshotsRequest::Error { .. } => (WaitKind::Ack, None, "to end the session".to_owned()),
        };
        let reason = format!(
            "asked {} {thing}, not answered yet; a request is given up after {} s without a byte and tried again",
            self.peer,
            REQUEST_IDLE.as_secs()
        );
        Waiting { index, ..wait(what, in_flight.since, reason) }
    }
}

impl Link {
    /// What is expected on the stream next, or why nothing may arrive.
    fn waiting_on_stream(&self, demand: &Demand) -> Option<Waiting> {
        let (stream, want) = (self.stream.as_ref().filter(|_| self.is_streaming())?, self.said.want());
        let (since, peer, idle) = (stream.since(), self.peer, REQUEST_IDLE.as_secs());
        if !want.updates.is_empty() {
            let index = want.updates.start;
            let reason = format!(
                "{peer} streams the updates; {index} is next; it counts as stalled after {idle} s without a byte"
            );
            return Some(Waiting { index: Some(index), ..wait(WaitKind::LightClientUpdate, since, reason) });
        }
        let (index, plan) = (want.first_chunk()?, demand.plan.as_deref()?);
        let range = chunk_range(plan.snapshot.checkpoint.payload_bytes, plan.chunk_size, index);
        let (what, reason) = if range.end - range.start <= self.said.left() {
            let reason = format!(
                "{peer} streams the chunks; {index} is next; it counts as stalled after {idle} s without a byte"
            );
            (WaitKind::Chunk, reason)
        } else {
            let reason = format!(
                "{peer} may send no more for now: the {} bytes of this path's window (at most [snapshots] window, {}) are \
                 received and not durable yet; a slow disk shows here",
                self.window.bytes(plan.chunk_size),
                self.options.window
            );
            (WaitKind::Credit, reason)
        };
        Some(Waiting { index: Some(index), ..wait(what, since, reason) })
    }
}

fn wait(what: WaitKind, since: Instant, reason: String) -> Waiting {
    Waiting { what, index: None, session: None, since, reason, retry_at: None }
}
