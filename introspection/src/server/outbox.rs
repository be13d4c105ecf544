//! The bounded queue of messages to one client.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::machine::Violation;
use crate::limits::{EVENT_WATERMARK_BYTES, SEND_BUFFER_BYTES};

/// What a queued message costs besides its bytes.
const OVERHEAD_BYTES: usize = 64;
/// A message that is larger than the buffer itself may be queued behind this many bytes.
const SLACK_BYTES: usize = 64 * 1024;

/// The buffer is full because the client does not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Shared by a client's task and the task that writes to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of all items, including the one that is being written.
    bytes: usize,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Frame(Bytes),
    Ping,
    /// The last one.
    Close(Violation),
}

impl Item {
    fn cost(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len() + OVERHEAD_BYTES,
            Self::Ping | Self::Close(_) => OVERHEAD_BYTES,
        }
    }
}

impl Outbox {
    /// Queues a message.
    pub(super) fn push(&self, frame: Bytes) -> Result<(), Full> {
        let item = Item::Frame(frame);
        let mut queue = self.queue();
        let bound = SEND_BUFFER_BYTES.max(item.cost() + SLACK_BYTES);
        if queue.bytes + item.cost() > bound {
            return Err(Full);
        }
        queue.bytes += item.cost();
        queue.items.push_back(item);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Queues a ping, unless something else is queued that tests the connection as well.
    pub(super) fn ping(&self) {
        let mut queue = self.queue();
        if queue.bytes == 0 {
            queue.bytes += Item::Ping.cost();
            queue.items.push_back(Item::Ping);
            self.0.filled.notify_one();
        }
    }

    /// Drops everything queued and queues the close message.
    pub(super) fn close(&self, why: Violation) {
        self.queue().items = VecDeque::from([Item::Close(why)]);
        self.0.filled.notify_one();
    }

    /// Whether so few bytes are queued that events may follow.
    pub(super) fn has_room(&self) -> bool {
        self.queue().bytes <= EVENT_WATERMARK_BYTES
    }

    /// Waits until something was written since the last call.
    pub(super) async fn emptied(&self) {
        self.0.emptied.notified().await;
    }

    /// The next item to write, when there is one.
    pub(super) async fn next(&self) -> Item {
        loop {
            if let Some(item) = self.queue().items.pop_front() {
                return item;
            }
            self.0.filled.notified().await;
        }
    }

    /// The item was written.
    pub(super) fn written(&self, cost: usize) {
        let mut queue = self.queue();
        queue.bytes = queue.bytes.saturating_sub(cost);
        self.0.emptied.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes everything queued, until the close message or an error.
pub(super) async fn write<S>(outbox: Outbox, mut sink: S)
where
    S: futures::Sink<warp::ws::Message, Error = warp::Error> + Unpin,
{
    use futures::SinkExt as _;
    loop {
        let item = outbox.next().await;
        let cost = item.cost();
        let (message, last) = match item {
            Item::Frame(bytes) => (warp::ws::Message::binary(bytes), false),
            Item::Ping => (warp::ws::Message::ping(Bytes::new()), false),
            Item::Close(why) => (warp::ws::Message::close_with(why.code, why.reason), true),
        };
        if sink.send(message).await.is_err() || last {
            return;
        }
        outbox.written(cost);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn it_is_full_at_its_bound() {
        let outbox = Outbox::default();
        let frame = Bytes::from(vec![0; 1024 * 1024 - OVERHEAD_BYTES]);
        for _ in 0..4 {
            assert_eq!(outbox.push(frame.clone()), Ok(()));
        }
        assert_eq!(outbox.push(Bytes::new()), Err(Full));
        let Some(Item::Frame(first)) = outbox.next().now_or_never() else { panic!() };
        assert_eq!(outbox.push(Bytes::new()), Err(Full), "the one being written still counts");
        outbox.written(first.len() + OVERHEAD_BYTES);
        assert_eq!(outbox.push(Bytes::new()), Ok(()));
    }

    #[test]
    fn one_state_fits_however_large_it_is_and_two_do_not() {
        let outbox = Outbox::default();
        let (runtime, state) = (Bytes::from(vec![0; 2_000]), Bytes::from(vec![0; 3 * SEND_BUFFER_BYTES]));
        assert_eq!(outbox.push(runtime), Ok(()));
        assert_eq!(outbox.push(state.clone()), Ok(()));
        assert_eq!(outbox.push(state), Err(Full));
    }

    #[test]
    fn small_messages_have_a_bound_too() {
        let outbox = Outbox::default();
        let taken = (0..1_000_000).take_while(|_| outbox.push(Bytes::new()).is_ok()).count();
        assert_eq!(taken, SEND_BUFFER_BYTES / OVERHEAD_BYTES);
    }
}
