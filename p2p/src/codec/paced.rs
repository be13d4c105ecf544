//! A substream that is abandoned when it is too slow (`pace`): each wait has a timer.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures::{AsyncRead, AsyncWrite, future::poll_fn};
use tokio::time::Sleep;

use crate::pace::{Pace, PaceLimits, Stall};

/// One message on a substream.
pub(crate) struct Paced<'a, T> {
    io: &'a mut T,
    pace: Pace,
    /// Created at the first wait. It may fire before the deadline, which moves with every byte.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a, T> Paced<'a, T> {
    pub(crate) fn new(io: &'a mut T, limits: PaceLimits) -> Self {
        Self { io, pace: Pace::new(limits, Instant::now()), timer: None }
    }

    /// Ready when the substream was too slow.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Stall> {
        loop {
            let (now, deadline) = (Instant::now(), self.pace.deadline());
            if deadline <= now {
                match self.pace.check(now) {
                    Err(stall) => return Poll::Ready(stall),
                    Ok(()) => continue,
                }
            }
            let timer = match &mut self.timer {
                Some(timer) => timer,
                // Without a runtime, only the bound on the whole exchange applies.
                None if tokio::runtime::Handle::try_current().is_err() => return Poll::Pending,
                None => self.timer.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
            };
            if timer.deadline() > deadline.into() {
                timer.as_mut().reset(deadline.into());
            }
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }

    fn poll_moved(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match moved {
            Poll::Ready(Ok(bytes)) => {
                self.pace.moved(Instant::now(), bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => self.poll_stall(cx).map(|stall| Err(io::Error::new(io::ErrorKind::TimedOut, stall))),
        }
    }
}

impl<T: AsyncRead + Unpin> Paced<'_, T> {
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            let read = Pin::new(&mut *self.io).poll_read(cx, buffer);
            self.poll_moved(cx, read)
        })
        .await
    }
}

impl<T: AsyncWrite + Unpin> Paced<'_, T> {
    /// Writes all of it, until the multiplexer holds nothing back on this side.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| {
                let written = Pin::new(&mut *self.io).poll_write(cx, bytes);
                self.poll_moved(cx, written)
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        poll_fn(|cx| {
            let flushed = Pin::new(&mut *self.io).poll_flush(cx).map_ok(|()| 0);
            self.poll_moved(cx, flushed)
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Neither returns nor accepts anything.
    struct Silent;

    impl AsyncRead for Silent {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Silent {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn who_is_silent_for_too_long_is_given_up() {
        let limits = PaceLimits::default().with_idle(Duration::from_millis(20));
        let is_stall = |error: io::Error| {
            error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_some_and(|inner| inner.is::<Stall>())
        };
        assert!(is_stall(Paced::new(&mut Silent, limits).read(&mut [0; 8]).await.unwrap_err()));
        assert!(is_stall(Paced::new(&mut Silent, limits).write_all(b"something").await.unwrap_err()));
        // Bytes that are written but stay on this side do not count as accepted either.
        assert!(is_stall(Paced::new(&mut Silent, limits).write_all(b"").await.unwrap_err()));
    }
}
