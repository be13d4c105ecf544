//! One pass over the input: it reads, hashes, makes the outboard, and writes a durable copy.
//!
//! Two threads share the work: one reads and hashes, this one writes. [`BUFFERS`] pieces of [`PIECE`] bytes circulate
//! between them, and no more memory is used. A third thread flushes written data early, so that the last flush is
//! short.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rpp_p2p::{
    Hash,
    outboard::{GROUP, Layout, NODE},
};

use super::{PublishError, PublishProgress, input::Input};
use crate::{
    files::{
        Dir,
        direct::Direct,
        in_file,
        sparse::{self, Extent, Map, ZEROS},
        split_error,
    },
    store::{OUTBOARD, PAYLOAD, Space, nodes},
    tar::{self, TarError},
};

const PIECE: usize = 1024 * 1024;
const BUFFERS: usize = 8;
/// A background flush begins after this many written bytes.
const FLUSH_EVERY: u64 = 128 * 1024 * 1024;
/// Space for the manifest, the history and folder entries.
const SLACK: u64 = 4 * 1024 * 1024;

/// The payload's hash and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ingested {
    pub(super) root: Hash,
    pub(super) bytes: u64,
}

/// Reads the input. With `staging` it copies the input there, and the copy is durable when this returns. Otherwise it
/// only computes the hash; `scratch` then holds the hashes in a file without a name.
pub(super) fn run(
    input: &Input,
    staging: Option<&Dir>,
    scratch: &Path,
    space: &dyn Space,
    progress: &mut dyn FnMut(PublishProgress),
) -> Result<Ingested, PublishError> {
    let mut sink = match staging {
        Some(folder) => {
            preflight(input, folder, space)?;
            Sink::copy(folder, space)?
        }
        None => Sink::hash_only(scratch, space)?,
    };
    let (full, pieces) = sync_channel(BUFFERS);
    let (free, spare) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // The channel has space for all of them.
        let _ = free.try_send(Vec::with_capacity(PIECE));
    }
    let bytes = thread::scope(|scope| {
        let reader = scope.spawn(move || read(input, Pieces { full, spare, piece: Vec::new(), start: 0 }));
        let written = write(&mut sink, pieces, &free, input.bytes(), progress);
        // This unblocks the reader if writing failed.
        drop(free);
        let read = reader.join().unwrap_or_else(|_| Err(TarError::Write(io::Error::other("the reader panicked"))));
        // The cause comes first: a failed write also ends the reader.
        written.and_then(|()| Ok(read?))
    })?;
    input.check_unchanged(bytes)?;
    progress(PublishProgress::Flushing);
    let root = sink.finish(bytes)?;
    Ok(Ingested { root, bytes })
}

fn preflight(input: &Input, folder: &Dir, space: &dyn Space) -> Result<(), PublishError> {
    let outboard = Layout::new(input.bytes()).file_len();
    let needed = input.data_bytes()?.saturating_add(outboard).saturating_add(SLACK);
    let path = folder.path();
    let free = space.free_bytes(path).map_err(|source| PublishError::Io { path: path.to_owned(), source })?;
    if needed > free { Err(PublishError::Full { path: None, needed, free }) } else { Ok(()) }
}

/// A piece of the payload, and the hashes of its groups.
struct HashedPiece {
    start: u64,
    bytes: Vec<u8>,
    groups: Vec<u8>,
}

fn read(input: &Input, mut pieces: Pieces) -> Result<u64, TarError> {
    match input {
        Input::Folder { path, .. } => tar::pack(path, &mut pieces)?,
        Input::File { path, file, before } => {
            read_file(file, before.size, &mut pieces)
                .map_err(|source| TarError::Read { path: path.clone(), source })?;
        }
    }
    pieces.finish().map_err(TarError::Write)
}

/// Reads as many bytes as the file had when it was opened, or fewer if it became shorter.
fn read_file(file: &File, size: u64, pieces: &mut Pieces) -> io::Result<()> {
    let mut map = Map::new(file, size)?;
    let mut at = 0;
    while at < size {
        let read = match map.at(at)? {
            Extent::Data(length) => pieces.fill(file, at, length)?,
            Extent::Hole(length) => pieces.write(&ZEROS[..length.min(ZEROS.len() as u64) as usize])? as u64,
        };
        if read == 0 {
            break;
        }
        at += read;
    }
    Ok(())
}

/// Collects what is read into pieces, hashes them and passes them on.
struct Pieces {
    full: SyncSender<HashedPiece>,
    spare: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    start: u64,
}

impl Pieces {
    /// Reads at most `length` bytes, up to the end of the piece.
    fn fill(&mut self, file: &File, at: u64, length: u64) -> io::Result<u64> {
        self.begin()?;
        let room = (PIECE - self.piece.len()).min(usize::try_from(length).unwrap_or(PIECE));
        let bytes = read_into(file, at, room, &mut self.piece)?;
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(bytes as u64)
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.piece.capacity() == 0 {
            self.piece = self.spare.recv().map_err(|_| gone())?;
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.piece);
        let start = self.start;
        self.start += bytes.len() as u64;
        let groups = nodes::groups(start, &bytes);
        self.full.send(HashedPiece { start, bytes, groups }).map_err(|_| gone())
    }

    fn finish(mut self) -> io::Result<u64> {
        if !self.piece.is_empty() {
            self.send()?;
        }
        Ok(self.start)
    }
}

/// Appends at most `length` bytes of a file; fewer at its end.
fn read_into(file: &File, at: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let before = bytes.len();
    while bytes.len() - before < length {
        let read = (bytes.len() - before) as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), at + read) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The buffer may have more space than was asked for.
    bytes.truncate(before + length);
    Ok(bytes.len() - before)
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin()?;
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other side stopped, and its own error says why.
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "writing stopped")
}

fn write(
    sink: &mut Sink<'_>,
    pieces: Receiver<HashedPiece>,
    free: &SyncSender<Vec<u8>>,
    total: u64,
    progress: &mut dyn FnMut(PublishProgress),
) -> Result<(), PublishError> {
    progress(PublishProgress::Reading { done: 0, total });
    for piece in pieces {
        sink.write(&piece)?;
        let done = piece.start + piece.bytes.len() as u64;
        progress(PublishProgress::Reading { done, total: total.max(done) });
        let mut bytes = piece.bytes;
        bytes.clear();
        // The reader may have finished already.
        let _ = free.try_send(bytes);
    }
    Ok(())
}

/// The destination of the pieces.
struct Sink<'a> {
    space: &'a dyn Space,
    /// `None` if only the hash is wanted.
    payload: Option<(File, Direct)>,
    outboard: File,
    path: PathBuf,
    flusher: Option<Flusher>,
    since_flush: u64,
    /// The content of a payload that is a single group.
    first: Vec<u8>,
}

impl<'a> Sink<'a> {
    fn copy(folder: &Dir, space: &'a dyn Space) -> Result<Self, PublishError> {
        let path = folder.path().join(PAYLOAD);
        let create = |name| {
            let path = folder.path().join(name);
            folder.create_new(name).map_err(|source| PublishError::unwritten(path, source))
        };
        let (payload, outboard) = (create(PAYLOAD)?, create(OUTBOARD)?);
        let direct = Direct::open(folder, PAYLOAD);
        let flusher = Flusher::start(&payload).map_err(|source| PublishError::Io { path: path.clone(), source })?;
        Ok(Self {
            space,
            payload: Some((payload, direct)),
            outboard,
            path,
            flusher: Some(flusher),
            since_flush: 0,
            first: Vec::new(),
        })
    }

    fn hash_only(scratch: &Path, space: &'a dyn Space) -> Result<Self, PublishError> {
        let path = scratch.to_owned();
        let outboard =
            tempfile::tempfile_in(scratch).map_err(|source| PublishError::unwritten(path.clone(), source))?;
        Ok(Self { space, payload: None, outboard, path, flusher: None, since_flush: 0, first: Vec::new() })
    }

    fn write(&mut self, piece: &HashedPiece) -> Result<(), PublishError> {
        if piece.start == 0 && piece.bytes.len() as u64 <= GROUP {
            self.first.clone_from(&piece.bytes);
        }
        let length = piece.bytes.len() as u64;
        let written = match &mut self.payload {
            Some((payload, direct)) => {
                self.space.before_write(sparse::data_len(&piece.bytes, piece.start)).and_then(|()| {
                    let write = |bytes: &[u8], at| direct.write_all_at(payload, bytes, at);
                    sparse::write_new_at_with(&piece.bytes, piece.start, write).map(drop)
                })
            }
            None => Ok(()),
        };
        written
            .and_then(|()| {
                self.outboard.write_all_at(&piece.groups, piece.start / GROUP * NODE).map_err(in_file(OUTBOARD))
            })
            .map_err(|error| self.failed(error, length))?;
        self.since_flush += length;
        if self.since_flush >= FLUSH_EVERY {
            self.since_flush = 0;
            if let Some(flusher) = &self.flusher {
                flusher.nudge();
            }
        }
        Ok(())
    }

    /// Completes the outboard, makes everything durable, and returns the root.
    fn finish(mut self, bytes: u64) -> Result<Hash, PublishError> {
        let layout = Layout::new(bytes);
        if let Some((payload, _)) = &self.payload {
            // The payload may end in zeros, which were not written.
            payload.set_len(bytes).map_err(|error| self.failed(error, 0))?;
        }
        let done = self.outboard.set_len(layout.file_len()).and_then(|()| nodes::fill(&self.outboard, &layout));
        let root = done.map_err(|error| self.failed(in_file(OUTBOARD)(error), layout.file_len()))?;
        let root = root.unwrap_or_else(|| blake3::hash(&self.first).into());
        let flushed = match self.flusher.take() {
            Some(flusher) => flusher.stop(),
            None => Ok(()),
        };
        let flushed = flushed.and_then(|()| match &self.payload {
            Some((payload, _)) => {
                payload.sync_data().and_then(|()| self.outboard.sync_data().map_err(in_file(OUTBOARD)))
            }
            None => Ok(()),
        });
        flushed.map_err(|error| self.failed(error, bytes))?;
        Ok(root)
    }

    fn failed(&self, source: io::Error, needed: u64) -> PublishError {
        let (name, source) = split_error(source);
        let path = match name {
            Some(named) if named.is_absolute() => named,
            Some(name) if self.payload.is_some() => self.path.with_file_name(name),
            _ => self.path.clone(),
        };
        PublishError::lacking(path, source, needed, self.space, self.path.parent().unwrap_or(&self.path))
    }
}

/// Flushes in the background. At most one flush is running and one more is requested.
struct Flusher {
    nudge: SyncSender<()>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl Flusher {
    fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (nudge, nudged) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("publish-flush".to_owned())
            .spawn(move || nudged.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { nudge, thread })
    }

    fn nudge(&self) {
        // If the channel is full, a flush is requested already.
        let _ = self.nudge.try_send(());
    }

    fn stop(self) -> io::Result<()> {
        drop(self.nudge);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the flush panicked")))
    }
}
