//! A queue of items to be sent on a stream: filled on any thread, emptied on the task of its connection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A queue to one stream. Its users bound it: by one unanswered message, by the number of open wants, and by the byte
/// budget.
#[derive(Debug)]
pub(in crate::behaviour) struct Outlet<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    closed: bool,
    waker: Option<Waker>,
}

impl<T> Default for Outlet<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { items: VecDeque::new(), closed: false, waker: None })))
    }
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Outlet<T> {
    /// Adds items; after the end they are ignored.
    pub(in crate::behaviour) fn push(&self, items: impl IntoIterator<Item = T>) {
        self.change(|inner| {
            if !inner.closed {
                inner.items.extend(items);
            }
        });
    }

    /// Marks the end: nothing follows what was added.
    pub(in crate::behaviour) fn close(&self) {
        self.change(|inner| inner.closed = true);
    }

    /// The stream has ended: nothing is sent any more.
    pub(in crate::behaviour) fn abandon(&self) {
        self.change(|inner| {
            inner.closed = true;
            inner.items.clear();
        });
    }

    /// Whether the queue accepts no more items.
    pub(in crate::behaviour) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// The next item; `None` at the end.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.inner();
        match inner.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if inner.closed => Poll::Ready(None),
            None => {
                if inner.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    inner.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Inner<T>)) {
        let mut inner = self.inner();
        change(&mut inner);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
