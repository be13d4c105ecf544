//! Reads the payload. One thread reads ahead and hashes; the extraction uses the same buffers without copying.
//! [`AHEAD`] pieces of [`PIECE`] bytes are in flight. Holes are not read.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use rpp_p2p::Hash;

use crate::files::sparse::{Extent, Map, ZEROS};

const PIECE: usize = 1024 * 1024;
const AHEAD: usize = 4;

/// The next part of the payload.
pub(super) enum Span<'a> {
    /// Bytes; none at the end.
    Data(&'a [u8]),
    /// This many zeros.
    Zeros(u64),
}

impl Span<'_> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }
}

/// The source of a tar's bytes.
pub(super) trait ByteSource {
    /// The next bytes, at most `max`.
    fn next(&mut self, max: u64) -> io::Result<Span<'_>>;

    /// Skips bytes.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            match self.next(left)?.len() {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => left -= length,
            }
        }
        Ok(())
    }
}

enum Piece {
    Data(Vec<u8>),
    Zeros(u64),
}

/// The side of the extraction: it consumes the bytes.
pub(super) struct PayloadReader<'a> {
    pieces: Receiver<Piece>,
    spare: SyncSender<Vec<u8>>,
    piece: Piece,
    /// Bytes of the piece that were consumed.
    taken: u64,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// The side that reads the file.
pub(super) struct Feeder<'a> {
    file: &'a File,
    length: u64,
    pieces: SyncSender<Piece>,
    spare: Receiver<Vec<u8>>,
}

/// Creates both sides for the first `length` bytes of a file. `progress` is called with the number of bytes consumed.
pub(super) fn open<'a, 'b>(
    file: &'a File,
    length: u64,
    progress: &'b mut dyn FnMut(u64),
) -> (PayloadReader<'b>, Feeder<'a>) {
    let (sender, pieces) = sync_channel(AHEAD);
    let (spare, returned) = sync_channel(AHEAD + 2);
    let source = PayloadReader { pieces, spare, piece: Piece::Zeros(0), taken: 0, done: 0, progress };
    (source, Feeder { file, length, pieces: sender, spare: returned })
}

impl PayloadReader<'_> {
    fn advance(&mut self) {
        let (length, old) = match std::mem::replace(&mut self.piece, Piece::Zeros(0)) {
            Piece::Data(bytes) => (bytes.len() as u64, Some(bytes)),
            Piece::Zeros(length) => (length, None),
        };
        if let Some(mut bytes) = old {
            bytes.clear();
            // The reader may have finished already.
            let _ = self.spare.try_send(bytes);
        }
        self.done += length;
        self.taken = 0;
        (self.progress)(self.done);
        // This is the end, or an error that the reader reports.
        self.piece = self.pieces.recv().unwrap_or(Piece::Zeros(0));
    }

    fn left(&self) -> u64 {
        let length = match &self.piece {
            Piece::Data(bytes) => bytes.len() as u64,
            Piece::Zeros(length) => *length,
        };
        length - self.taken
    }

    /// Consumes the rest, so that all of it is hashed.
    pub(super) fn drain(&mut self) {
        loop {
            self.taken += self.left();
            self.advance();
            if self.left() == 0 {
                return;
            }
        }
    }
}

impl ByteSource for PayloadReader<'_> {
    fn next(&mut self, max: u64) -> io::Result<Span<'_>> {
        if self.left() == 0 {
            self.advance();
        }
        let length = self.left().min(max);
        let start = self.taken;
        self.taken += length;
        Ok(match &self.piece {
            Piece::Data(bytes) => Span::Data(&bytes[start as usize..(start + length) as usize]),
            Piece::Zeros(_) if length == 0 => Span::Data(&[]),
            Piece::Zeros(_) => Span::Zeros(length),
        })
    }
}

impl Feeder<'_> {
    /// Reads and hashes everything. Ends early if the other side is gone.
    pub(super) fn run(self) -> io::Result<Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut map = Map::new(self.file, self.length)?;
        let mut at = 0;
        while at < self.length {
            let piece = match map.at(at)? {
                Extent::Hole(length) => {
                    at += length;
                    hash_zeros(&mut hasher, length);
                    Piece::Zeros(length)
                }
                Extent::Data(length) => {
                    let bytes = self.read(at, length)?;
                    at += bytes.len() as u64;
                    hasher.update(&bytes);
                    Piece::Data(bytes)
                }
            };
            if self.pieces.send(piece).is_err() {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, "extracting stopped"));
            }
        }
        Ok(hasher.finalize().into())
    }

    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = PIECE.min(usize::try_from(length).unwrap_or(PIECE));
        let buffer = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        fill(self.file, at, length, buffer)
    }
}

/// Reads exactly `length` bytes into an empty buffer, without filling it with zeros first.
fn fill(file: &File, start: u64, length: usize, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    while bytes.len() < length {
        let at = start + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The buffer may have more space than was requested.
    bytes.truncate(length);
    Ok(bytes)
}

fn hash_zeros(hasher: &mut blake3::Hasher, length: u64) {
    let mut left = length;
    while left > 0 {
        let part = left.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..part as usize]);
        left -= part;
    }
}

/// A file of which only headers are read.
pub(super) struct Headers<'a> {
    file: &'a File,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Headers<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self { file, at: 0, buffer: vec![0; 4096] }
    }
}

impl ByteSource for Headers<'_> {
    fn next(&mut self, max: u64) -> io::Result<Span<'_>> {
        let want = self.buffer.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut self.buffer[..want], self.at)?;
        self.at += read as u64;
        Ok(Span::Data(&self.buffer[..read]))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.at += bytes;
        Ok(())
    }
}
