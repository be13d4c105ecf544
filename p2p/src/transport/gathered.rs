//! Reads a socket in larger pieces than the layer above asks for.
//!
//! TLS asks for 4 KiB, so a record of 16 KiB takes several system calls, and a message of 44 KiB seven of them. While
//! much arrives, [`Gathered`] reads up to [`GATHERED_BYTES`] at once and hands out what was asked for. Between such
//! times it keeps [`QUIET`] bytes. `futures::io::BufReader` would keep the large buffer for every idle connection.
//!
//! yamux reads until the socket is empty, and only then do the streams take what came. While much arrives that is
//! several MiB, which are no longer in the processor's cache. So [`Gathered`] pauses after [`TURN_BYTES`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

use crate::limits::{GATHERED_BYTES, TURN_BYTES};

/// The buffer of a connection on which little arrives.
const QUIET: usize = 4 * 1024;
/// After this many reads in a row that would have fitted into [`QUIET`] bytes, little arrives.
const QUIET_READS: u32 = 16;

/// A connection whose reads are gathered. Writes pass through.
#[derive(Debug)]
pub struct Gathered<C> {
    inner: C,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that were read and not handed out.
    from: usize,
    to: usize,
    /// How many of the last reads were small.
    small: u32,
    /// Bytes that were read since the task was last told to wait.
    turn: usize,
}

impl<C> Gathered<C> {
    /// Wraps a connection from which nothing was read yet.
    pub fn new(inner: C) -> Self {
        Self { inner, buffer: Vec::new(), from: 0, to: 0, small: 0, turn: 0 }
    }

    /// Chooses the buffer for the next read by what the last one brought.
    fn resize(&mut self, read: usize) {
        self.small = if read < QUIET { self.small.saturating_add(1) } else { 0 };
        let size = match self.buffer.len() {
            QUIET if read == QUIET => GATHERED_BYTES,
            GATHERED_BYTES if self.small >= QUIET_READS => QUIET,
            same => same,
        };
        // What was read is still in the present one.
        if size != self.buffer.len() {
            let mut buffer = vec![0; size];
            let rest = &self.buffer[..read];
            buffer[..read].copy_from_slice(rest);
            self.buffer = buffer;
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Gathered<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.from == this.to {
            // More was asked for than a read could bring: a copy would gain nothing.
            if bytes.len() >= GATHERED_BYTES {
                return poll_turn(&mut this.inner, &mut this.turn, cx, bytes);
            }
            if this.buffer.is_empty() {
                this.buffer = vec![0; QUIET];
            }
            let read = ready!(poll_turn(&mut this.inner, &mut this.turn, cx, &mut this.buffer))?;
            (this.from, this.to) = (0, read);
            this.resize(read);
        }
        let taken = bytes.len().min(this.to - this.from);
        bytes[..taken].copy_from_slice(&this.buffer[this.from..this.from + taken]);
        this.from += taken;
        Poll::Ready(Ok(taken))
    }
}

/// Reads, or, after a whole turn without a pause, asks to be polled again.
fn poll_turn<C: AsyncRead + Unpin>(
    inner: &mut C,
    turn: &mut usize,
    cx: &mut Context<'_>,
    bytes: &mut [u8],
) -> Poll<io::Result<usize>> {
    if *turn >= TURN_BYTES {
        *turn = 0;
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    let read = Pin::new(inner).poll_read(cx, bytes);
    match &read {
        Poll::Ready(Ok(read)) => *turn += read,
        Poll::Ready(Err(_)) | Poll::Pending => *turn = 0,
    }
    read
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gathered<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use futures::{AsyncReadExt as _, executor::block_on};
    use proptest::prelude::*;

    use super::*;

    /// Has these pieces to read, each in a call of its own, and is not ready before each.
    struct Pieces {
        pieces: Vec<Vec<u8>>,
        ready: bool,
        calls: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if !self.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.calls += 1;
            let Some(piece) = self.pieces.first_mut() else { return Poll::Ready(Ok(0)) };
            let taken = piece.len().min(bytes.len());
            bytes[..taken].copy_from_slice(&piece[..taken]);
            piece.drain(..taken);
            if piece.is_empty() {
                self.pieces.remove(0);
            }
            Poll::Ready(Ok(taken))
        }
    }

    fn gathered(pieces: Vec<Vec<u8>>) -> Gathered<Pieces> {
        Gathered::new(Pieces { pieces, ready: true, calls: 0 })
    }

    #[test]
    fn what_comes_together_is_read_together() {
        let mut connection = gathered(vec![vec![7; 4 * GATHERED_BYTES]]);
        let mut bytes = vec![0; 4 * GATHERED_BYTES];
        block_on(async {
            for piece in bytes.chunks_mut(1000) {
                connection.read_exact(piece).await.unwrap();
            }
        });
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(connection.inner.calls, 5, "a small read, then large ones");
    }

    #[test]
    fn a_connection_that_became_quiet_keeps_little() {
        let mut pieces = vec![vec![1; 2 * GATHERED_BYTES]];
        pieces.extend((0..=QUIET_READS).map(|_| vec![2; 10]));
        let total = pieces.iter().map(Vec::len).sum();
        let mut connection = gathered(pieces);
        let mut bytes = vec![0; total];
        block_on(connection.read_exact(&mut bytes[..QUIET])).unwrap();
        assert_eq!(connection.buffer.len(), GATHERED_BYTES);
        block_on(async {
            for piece in bytes[QUIET..].chunks_mut(10) {
                connection.read_exact(piece).await.unwrap();
            }
        });
        assert_eq!(connection.buffer.capacity(), QUIET);
    }

    #[test]
    fn the_rest_of_the_task_gets_its_turn() {
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        // As a socket that always has more.
        for asked in [1000, GATHERED_BYTES] {
            let mut connection = Gathered::new(futures::io::repeat(7));
            let woken = Arc::new(Woken(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&woken));
            let mut bytes = vec![0; asked];
            for turn in 1..4 {
                let mut came = 0;
                while let Poll::Ready(read) =
                    Pin::new(&mut connection).poll_read(&mut Context::from_waker(&waker), &mut bytes)
                {
                    came += read.unwrap();
                }
                assert!((TURN_BYTES..TURN_BYTES + GATHERED_BYTES).contains(&came), "{came}");
                assert_eq!(woken.0.load(Ordering::Relaxed), turn);
            }
        }
    }

    #[test]
    fn the_end_is_the_end() {
        let mut connection = gathered(vec![b"all".to_vec()]);
        let mut bytes = Vec::new();
        block_on(connection.read_to_end(&mut bytes)).unwrap();
        assert_eq!(bytes, b"all");
    }

    proptest! {
        #[test]
        fn every_byte_comes_in_order(
            lengths in prop::collection::vec(1_usize..200_000, 0..8),
            asked in prop::collection::vec(1_usize..100_000, 1..8),
        ) {
            let total: usize = lengths.iter().sum();
            let all: Vec<u8> = (0..total).map(|at| (at % 251) as u8).collect();
            let mut rest = all.as_slice();
            let pieces = lengths.iter().map(|length| {
                let (piece, after) = rest.split_at(*length);
                rest = after;
                piece.to_vec()
            });
            let mut connection = gathered(pieces.collect());
            let mut came = Vec::new();
            block_on(async {
                for length in asked.iter().cycle() {
                    let mut bytes = vec![0; *length];
                    match connection.read(&mut bytes).await.unwrap() {
                        0 => break,
                        read => came.extend_from_slice(&bytes[..read]),
                    }
                }
            });
            prop_assert_eq!(came, all);
        }
    }
}
