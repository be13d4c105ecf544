//! What a link tells its peer, whatever the transport: messages, wants, and credit.

use super::LinkState;
use crate::{
    download::{Demand, Want},
    messages::SnapshotsRequest,
    stream::frame::MAX_RANGES,
};

/// One intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A message. The next one is not sent before this one is answered.
    Message(SnapshotsRequest),
    /// The wanted chunks and updates, in this order. This replaces the part of earlier wants that is not sent yet.
    Want(Want),
    /// Payload bytes of chunks that may arrive, in all since the session was opened. Never falls.
    Credit(u64),
}

/// What the peer has been told since the session was opened, so that nothing is sent twice. Items that have arrived are
/// no longer wanted, on either side.
///
/// Example: chunks of 1 MiB, a window of 4 MiB. `Want 0..100` and `Credit 4 MiB` are sent. Two chunks arrive: 98 are
/// still wanted and 2 MiB are still granted, so nothing is sent. Both become durable: `Credit 6 MiB` is sent.
#[derive(Debug, Default)]
pub(super) struct Said {
    want: Want,
    credit: u64,
    /// Payload bytes of the chunks that have arrived.
    received: u64,
}

impl Said {
    /// The next intent that the peer has not been told. `message`: a message that is sent before wants and credit.
    /// `budget`: payload bytes that may be in flight. `step`: credit rises by at least this many bytes, unless the rest
    /// of it is smaller.
    pub(super) fn next(
        &mut self,
        state: &LinkState,
        message: Option<SnapshotsRequest>,
        demand: &Demand,
        budget: u64,
        step: u64,
    ) -> Option<Intent> {
        if let Some(message) = message {
            return Some(Intent::Message(message));
        }
        if !matches!(state, LinkState::Open { .. }) {
            return None;
        }
        let chunks = &demand.want.chunks[..demand.want.chunks.len().min(MAX_RANGES)];
        if self.want.chunks != chunks || self.want.updates != demand.want.updates {
            self.want = Want { chunks: chunks.to_vec(), updates: demand.want.updates.clone() };
            return Some(Intent::Want(self.want.clone()));
        }
        let credit = self.received.saturating_add(budget);
        let is_due = credit.saturating_sub(self.credit) >= step || self.left() < step;
        (credit > self.credit && is_due).then(|| {
            self.credit = credit;
            Intent::Credit(credit)
        })
    }

    /// The wanted items that have not arrived yet.
    pub(super) fn want(&self) -> &Want {
        &self.want
    }

    /// Payload bytes that may still arrive.
    pub(super) fn left(&self) -> u64 {
        self.credit.saturating_sub(self.received)
    }

    pub(super) fn chunk_came(&mut self, index: u64, bytes: u64) {
        self.want.without_chunk(index);
        self.received = self.received.saturating_add(bytes);
    }

    pub(super) fn update_came(&mut self, index: u64) {
        self.want.without_update(index);
    }
}
