//! Small files of one folder, opened and read by several threads before their turn.
//!
//! Opening a file and asking for its properties take longer than reading 4 KiB. So the files that come next are opened
//! ahead, and read if they have at most [`SMALL`] bytes. Nothing fails here: what could not be read, or has changed
//! meanwhile, is left to the packer, which comes to it in order and reports what it finds.

use std::{
    collections::VecDeque,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IndexedParallelIterator as _, IntoParallelRefMutIterator as _, ParallelIterator as _},
};
use rustix::fs::{FileType, OFlags};

use super::{Name, Stamp, may_read, open_at, stat_at};

/// Files that one thread reads, one after the other.
const BATCH: usize = 32;
/// Batches that are under way or wait for their turn. With [`SMALL`] this bounds the memory: 4 MiB.
const BATCHES: usize = 4;
/// Files of at most this many bytes are read ahead.
const SMALL: u64 = 32 * 1024;
/// With fewer files than this, waking a thread takes longer than doing it alone.
const LEAST: usize = 16;
/// More threads would wait for each other in the kernel.
const THREADS: usize = 4;

/// The threads.
pub(super) struct Ahead(Option<Arc<ThreadPool>>);

/// A small file that was read before its turn, and did not change meanwhile.
pub(super) struct Small {
    pub(super) stamp: Stamp,
    pub(super) content: Vec<u8>,
}

impl Ahead {
    /// Without a second processor, or if no thread can be started, nothing is done ahead.
    pub(super) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let pool = || {
            let named = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "publish-read".to_owned());
            // Without a handler, a panic would end the process.
            named.panic_handler(drop).build()
        };
        Self((threads > 1).then(pool).and_then(Result::ok).map(Arc::new))
    }

    /// The files that follow `at`, up to the next folder: nothing is kept while a folder is read.
    pub(super) fn run(&self, folder: &Arc<File>, names: &Arc<[Name]>, at: usize) -> Run {
        let rest = names.get(at..).unwrap_or_default();
        let count = rest.iter().take_while(|name| name.kind != FileType::Directory).count();
        let threads = self.0.clone().filter(|_| count >= LEAST);
        let (folder, names) = (folder.clone(), names.clone());
        Run { threads, folder, names, left: at..at + count, batches: VecDeque::new(), read: Vec::new().into_iter() }
    }

    /// Finds out kind and properties of each name, and whether it may be read.
    pub(super) fn look(&self, folder: &File, names: &mut [Name]) {
        if let Some(threads) = self.0.as_ref().filter(|_| names.len() >= LEAST) {
            threads.install(|| names.par_iter_mut().with_min_len(BATCH).for_each(|name| look(folder, name)));
        }
    }
}

/// Files that are read ahead, in order.
pub(super) struct Run {
    threads: Option<Arc<ThreadPool>>,
    folder: Arc<File>,
    names: Arc<[Name]>,
    /// The names for which no batch was begun.
    left: Range<usize>,
    /// Those that were begun, and how many names each has.
    batches: VecDeque<(usize, Receiver<Vec<Option<Small>>>)>,
    read: std::vec::IntoIter<Option<Small>>,
}

impl Run {
    /// Whether it has nothing about any further name.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty() && self.batches.is_empty() && self.read.len() == 0
    }

    /// The file of the next name, unless it has to be read now.
    pub(super) fn next(&mut self) -> Option<Small> {
        let Some(threads) = &self.threads else {
            self.left.next();
            return None;
        };
        if self.read.len() == 0 {
            while self.batches.len() < BATCHES && !self.left.is_empty() {
                let batch = self.left.start..self.left.end.min(self.left.start + BATCH);
                self.left.start = batch.end;
                let (folder, names, count) = (self.folder.clone(), self.names.clone(), batch.len());
                let (done, read) = sync_channel(1);
                // Nobody waits for it any more if the packer has failed.
                threads.spawn(move || {
                    drop(done.send(names[batch].iter().map(|name| read_small(&folder, name)).collect()))
                });
                self.batches.push_back((count, read));
            }
            let (count, batch) = self.batches.pop_front()?;
            // A thread that panicked has read nothing.
            self.read = batch.recv().unwrap_or_else(|_| (0..count).map(|_| None).collect()).into_iter();
        }
        self.read.next().flatten()
    }
}

fn read_small(folder: &File, name: &Name) -> Option<Small> {
    if name.kind != FileType::RegularFile {
        return None;
    }
    // NONBLOCK, because the file may have become a FIFO.
    let file = File::from(open_at(folder, &name.bytes, OFlags::NONBLOCK).ok()?);
    let stamp = Stamp::of(&file).ok()?;
    let is_file = FileType::from_raw_mode(stamp.mode) == FileType::RegularFile;
    // A file without a size may have bytes nevertheless, and one with holes is read in another way.
    if !is_file || !stamp.full || stamp.size == 0 || stamp.size > SMALL {
        return None;
    }
    let mut content = vec![0; usize::try_from(stamp.size).ok()?];
    file.read_exact_at(&mut content, 0).ok()?;
    (Stamp::of(&file).ok()? == stamp).then_some(Small { stamp, content })
}

fn look(folder: &File, name: &mut Name) {
    let Ok(found) = stat_at(folder, &name.bytes) else { return };
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    name.is_readable = is_file && may_read(folder, &name.bytes).is_ok();
    name.stat = Some(found);
}
