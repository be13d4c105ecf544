//! What a stream works for, handed down to it by whoever polls it.
//!
//! A codec (or whatever else reads and writes a stream) sets tags while it is polled; the counting wrapper at the bottom
//! sees them whenever bytes move and keeps the newest on the stream's record.
//!
//! ```
//! use rpp_introspection::tags;
//!
//! # async fn write_the_response() {}
//! # async fn example() {
//! tags::scope(tags::Tags::from(["session=7".to_owned(), "chunk=312".to_owned()]), write_the_response()).await;
//! # }
//! ```
//!
//! A library that must not depend on this crate keeps a task-local of its own and the node names it with
//! [`Registry::with_tag_source`](crate::Registry::with_tag_source).

use std::{cell::RefCell, future::Future, pin::Pin, sync::Arc, task};

/// A stream's tags. Two equal pointers are equal tags.
pub type Tags = Arc<[String]>;

/// Calls its argument with the tags in force, if there are any.
pub type TagSource = fn(&mut dyn FnMut(&Tags));

thread_local! {
    static CURRENT: RefCell<Option<Tags>> = const { RefCell::new(None) };
}

/// Runs a future with these tags in force whenever it is polled.
pub fn scope<F: Future>(tags: Tags, future: F) -> Scope<F> {
    Scope { tags, future: Box::pin(future) }
}

/// See [`scope`].
#[derive(Debug)]
pub struct Scope<F> {
    tags: Tags,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<Self::Output> {
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(&self.tags))));
        self.future.as_mut().poll(cx)
    }
}

/// The tags that [`scope`] put in force: the default source.
pub fn current(visit: &mut dyn FnMut(&Tags)) {
    CURRENT.with_borrow(|tags| {
        if let Some(tags) = tags {
            visit(tags);
        }
    });
}

/// Puts the outer scope's tags back, also when the inner future panics.
struct Restore(Option<Tags>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future};

    use super::*;

    fn seen() -> Vec<String> {
        let mut seen = Vec::new();
        current(&mut |tags| seen = tags.to_vec());
        seen
    }

    #[test]
    fn tags_hold_while_the_future_is_polled_and_nest() {
        let inner = scope(Tags::from(["b".to_owned()]), future::lazy(|_| seen()));
        let outer = scope(Tags::from(["a".to_owned()]), inner.map(|inner| (inner, seen())));
        assert_eq!(outer.now_or_never(), Some((vec!["b".to_owned()], vec!["a".to_owned()])));
        assert!(seen().is_empty());
    }
}
