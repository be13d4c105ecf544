//! Frames: a big-endian u32 length, then that many bytes.
//!
//! A buffer grows with the bytes that have arrived, never with the announced length. All buffers of a collector share
//! one [`Budget`].

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

const UNIT: usize = 16 * 1024;
const FIRST_BUFFER: usize = UNIT;

/// Bounds the memory of all frames in flight together. A frame for which there is no memory waits, within its deadline.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of `bytes`, rounded up to 16 KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.available_permits() * UNIT
    }
}

/// Why no further frame can be read. The caller should close the connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer closed between frames.
    #[error("the connection was closed")]
    Closed,
    /// The peer closed within a frame.
    #[error("the connection ended within a frame of {announced} bytes, after {received}")]
    Truncated {
        /// The announced length.
        announced: usize,
        /// The bytes that arrived.
        received: usize,
    },
    /// The peer announced more than is allowed.
    #[error("a frame of {announced} bytes is announced, {max} are allowed")]
    TooLong {
        /// The announced length.
        announced: usize,
        /// The allowed length.
        max: usize,
    },
    /// The peer did not finish the frame in time, or all memory for frames was in use.
    #[error("a frame was not complete {0:?} after its first byte")]
    Slow(Duration),
    /// The transport failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

/// The content of one frame, with its share of the budget.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    _held: Vec<OwnedSemaphorePermit>,
}

impl std::ops::Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads frames from one connection.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    max: usize,
    deadline: Duration,
    budget: Budget,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Frames of at most `max` bytes, each complete `deadline` after its first byte.
    pub fn new(inner: R, max: usize, deadline: Duration, budget: Budget) -> Self {
        Self { inner, max, deadline, budget }
    }

    /// The next frame. Between frames it waits without a limit. Do not call it again after an error, or after dropping
    /// a call half-way.
    ///
    /// # Errors
    /// No further frame can be read from this connection.
    pub async fn next(&mut self) -> Result<Frame, FrameError> {
        let mut header = [0; 4];
        if self.inner.read(&mut header[..1]).await.map_err(FrameError::Io)? == 0 {
            return Err(FrameError::Closed);
        }
        let deadline = self.deadline;
        timeout(deadline, self.rest(header)).await.unwrap_or(Err(FrameError::Slow(deadline)))
    }

    async fn rest(&mut self, mut header: [u8; 4]) -> Result<Frame, FrameError> {
        let ended = |announced, received| {
            move |error: io::Error| match error.kind() {
                io::ErrorKind::UnexpectedEof => FrameError::Truncated { announced, received },
                _ => FrameError::Io(error),
            }
        };
        self.inner.read_exact(&mut header[1..]).await.map_err(ended(0, 0))?;
        let announced = u32::from_be_bytes(header) as usize;
        if announced > self.max {
            return Err(FrameError::TooLong { announced, max: self.max });
        }
        let mut frame = Frame { bytes: Vec::new(), _held: Vec::new() };
        while frame.bytes.len() < announced {
            let received = frame.bytes.len();
            if received == frame.bytes.capacity() {
                self.grow(&mut frame, announced).await;
            }
            let room = (frame.bytes.capacity() - received).min(announced - received);
            let read = (&mut self.inner).take(room as u64).read_buf(&mut frame.bytes).await.map_err(FrameError::Io)?;
            if read == 0 {
                return Err(FrameError::Truncated { announced, received });
            }
        }
        Ok(frame)
    }

    async fn grow(&mut self, frame: &mut Frame, announced: usize) {
        let have = frame.bytes.len();
        let more = announced.min((have * 2).max(FIRST_BUFFER)) - have;
        // The semaphore is never closed, and the number of units fits: frames are bounded by `max`.
        let units = u32::try_from(more.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.budget.0).acquire_many_owned(units).await {
            frame._held.push(permit);
        }
        frame.bytes.reserve_exact(more);
    }
}

/// Writes one frame.
///
/// # Errors
/// The transport failed, or the content is longer than a frame's length can express.
pub async fn write(writer: &mut (impl AsyncWrite + Unpin), content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    if content.len() <= UNIT {
        let mut whole = Vec::with_capacity(4 + content.len());
        whole.extend_from_slice(&length.to_be_bytes());
        whole.extend_from_slice(content);
        writer.write_all(&whole).await?;
    } else {
        writer.write_all(&length.to_be_bytes()).await?;
        writer.write_all(content).await?;
    }
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8], max: usize) -> Reader<&[u8]> {
        Reader::new(bytes, max, Duration::from_secs(60), Budget::new(1 << 20))
    }

    #[tokio::test]
    async fn frames_of_all_sizes_come_back() {
        let mut wire = Vec::new();
        let contents = [0usize, 1, UNIT, UNIT + 1, 300_000].map(|n| vec![7u8; n]);
        for content in &contents {
            write(&mut wire, content).await.unwrap();
        }
        assert_eq!(wire[..5], [0, 0, 0, 0, 0]);
        let mut reader = reader(&wire, 300_000);
        for content in &contents {
            assert_eq!(&*reader.next().await.unwrap(), &content[..]);
        }
        assert!(matches!(reader.next().await, Err(FrameError::Closed)));
        assert_eq!(reader.budget.free(), 1 << 20);
    }

    #[tokio::test]
    async fn what_is_announced_reserves_nothing() {
        let mut wire = (100u32 << 20).to_be_bytes().to_vec();
        wire.extend([1; 10]);
        let mut long = reader(&wire, 128 << 20);
        assert!(matches!(long.next().await, Err(FrameError::Truncated { received: 10, .. })));
        let mut refused = reader(&wire, 1000);
        assert!(matches!(refused.next().await, Err(FrameError::TooLong { max: 1000, .. })));
        assert!(matches!(reader(&[0, 0], 10).next().await, Err(FrameError::Truncated { .. })));
    }

    #[tokio::test]
    async fn slow_frames_and_a_full_budget_end_at_the_deadline() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let short = Duration::from_millis(20);
        let mut reader = Reader::new(theirs, 1000, short, Budget::new(UNIT));
        ours.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        assert!(matches!(reader.next().await, Err(FrameError::Slow(_))));

        let budget = Budget::new(UNIT);
        let mut wire = Vec::new();
        write(&mut wire, b"one").await.unwrap();
        let mut first = Reader::new(&wire[..], 10, Duration::from_secs(60), budget.clone());
        let held = first.next().await.unwrap();
        let mut second = Reader::new(&wire[..], 10, short, budget);
        assert!(matches!(second.next().await, Err(FrameError::Slow(_))));
        drop(held);
    }
}
