//! What a link says to its peer, whatever the transport: messages, what it wants, and how much of it may come.

use super::LinkState;
use crate::{
    download::{Demand, Want},
    messages::SnapshotsRequest,
};

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A message of its own. The next one is not said before this one is answered.
    Message(SnapshotsRequest),
    /// What is wanted, in this order: it replaces what was wanted before and is not sent yet.
    Want(Want),
    /// Payload bytes of chunks that may have come, in all since the session was opened. Never falls.
    Credit(u64),
}

/// What was said since the session was opened, so that each thing is said once. What came is no longer wanted, on either
/// side.
///
/// Example: chunks of 1 MiB, a window of 4 MiB. `Want 0..100` and `Credit 4 MiB` are said. Two chunks come: 98 are still wanted
/// and 2 MiB are still granted, so there is nothing to say. Both become durable: `Credit 6 MiB`.
#[derive(Debug, Default)]
pub(super) struct Said {
    want: Want,
    credit: u64,
    /// Payload bytes of the chunks that came.
    received: u64,
}

impl Said {
    /// The next thing that a peer has not been told. `message`: what goes first.
    pub(super) fn next(
        &mut self,
        state: &LinkState,
        message: Option<SnapshotsRequest>,
        demand: &Demand,
    ) -> Option<Intent> {
        if let Some(message) = message {
            return Some(Intent::Message(message));
        }
        if !matches!(state, LinkState::Open { .. }) {
            return None;
        }
        if self.want != demand.want {
            self.want = demand.want.clone();
            return Some(Intent::Want(self.want.clone()));
        }
        let credit = self.received.saturating_add(demand.room);
        (credit > self.credit).then(|| {
            self.credit = credit;
            Intent::Credit(credit)
        })
    }

    pub(super) fn chunk_came(&mut self, index: u64, bytes: u64) {
        self.want.without_chunk(index);
        self.received = self.received.saturating_add(bytes);
    }

    pub(super) fn update_came(&mut self, index: u64) {
        self.want.without_update(index);
    }
}
