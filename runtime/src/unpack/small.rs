//! Creates small files one after the other; a second thread writes their content. Creating the next file takes about as
//! long as writing the last one.
//!
//! At most [`BATCHES`] batches wait for that thread, each of at most [`FILES`] open files and [`BYTES`] bytes. A third
//! thread makes the system write data back early, so that little is left when everything must be durable.

use std::{
    fs::File,
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::files::sparse;

/// The largest file that is written here.
pub(super) const LARGEST: u64 = 64 * 1024;
const FILES: usize = 64;
const BYTES: usize = 512 * 1024;
const BATCHES: usize = 2;
/// The system is asked to write back after this many bytes and files. Each file counts as a page more.
const WRITE_BACK_EVERY: u64 = 64 * 1024 * 1024;
const PAGE: u64 = 4096;

/// Files that were created, and the content for them.
#[derive(Default)]
struct Batch {
    files: Vec<SmallFile>,
    content: Vec<u8>,
}

struct SmallFile {
    file: File,
    /// Where its content ends. It begins where the previous file's content ends.
    end: usize,
    path: Vec<u8>,
}

enum SmallJob {
    Write(Batch),
    /// Answered when all earlier jobs are done.
    Settle(SyncSender<()>),
}

/// The first file that could not be written.
pub(super) struct Failed {
    pub(super) path: Vec<u8>,
    pub(super) error: io::Error,
}

/// The writer stopped. It returns the reason itself.
pub(super) struct Stopped;

/// The side of the extraction: it creates files.
pub(super) struct SmallFiles {
    batch: Batch,
    jobs: SyncSender<SmallJob>,
    nudge: SyncSender<()>,
    /// Bytes since the last time that the system was asked to write back.
    since: u64,
}

/// The side that writes the content.
pub(super) struct BatchWriter<'a> {
    jobs: Receiver<SmallJob>,
    nudged: Receiver<()>,
    folder: &'a File,
}

/// Creates both sides. `folder` tells which file system is to be written back.
pub(super) fn pair(folder: &File) -> (SmallFiles, BatchWriter<'_>) {
    let (sender, jobs) = sync_channel(BATCHES);
    let (nudge, nudged) = sync_channel(1);
    (SmallFiles { batch: Batch::default(), jobs: sender, nudge, since: 0 }, BatchWriter { jobs, nudged, folder })
}

impl SmallFiles {
    /// The buffer in which the next file's content is collected, before [`Self::add`] is called.
    pub(super) fn content(&mut self) -> &mut Vec<u8> {
        &mut self.batch.content
    }

    /// Adds the file whose content was collected last.
    pub(super) fn add(&mut self, file: File, path: &[u8]) -> Result<(), Stopped> {
        self.batch.files.push(SmallFile { file, end: self.batch.content.len(), path: path.to_vec() });
        if self.batch.files.len() < FILES && self.batch.content.len() < BYTES {
            return Ok(());
        }
        self.send()
    }

    /// Waits until every file is written.
    pub(super) fn settle(&mut self) -> Result<(), Stopped> {
        self.send()?;
        let (sender, settled) = sync_channel(1);
        self.jobs.send(SmallJob::Settle(sender)).map_err(|_| Stopped)?;
        settled.recv().map_err(|_| Stopped)
    }

    /// Counts bytes that were written here or elsewhere.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= WRITE_BACK_EVERY {
            self.since = 0;
            // If the channel is full, a write-back is already requested.
            let _ = self.nudge.try_send(());
        }
    }

    /// Hands over the remaining files and ends the writer.
    pub(super) fn finish(mut self) -> Result<(), Stopped> {
        self.send()
    }

    fn send(&mut self) -> Result<(), Stopped> {
        let batch = std::mem::take(&mut self.batch);
        if batch.files.is_empty() {
            return Ok(());
        }
        let bytes = batch.content.len() as u64 + batch.files.len() as u64 * PAGE;
        self.jobs.send(SmallJob::Write(batch)).map_err(|_| Stopped)?;
        self.wrote(bytes);
        Ok(())
    }
}

impl BatchWriter<'_> {
    /// Writes until the other side is gone, or something fails.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub(super) fn run(self) -> Result<(), Failed> {
        let Self { jobs, nudged, folder } = self;
        thread::scope(|scope| {
            // If this thread's `syncfs` fails, its error is the result: the system reports such an error only once, so
            // the last flush would not see it.
            let flushing = scope.spawn(move || nudged.iter().try_for_each(|()| rustix::fs::syncfs(folder)));
            for job in jobs {
                match job {
                    SmallJob::Write(batch) => write(batch)?,
                    SmallJob::Settle(settled) => {
                        let _ = settled.send(());
                    }
                }
            }
            let flushed = flushing.join().unwrap_or(Err(rustix::io::Errno::IO));
            flushed.map_err(|error| Failed { path: Vec::new(), error: error.into() })
        })
    }
}

fn write(batch: Batch) -> Result<(), Failed> {
    let mut start = 0;
    for SmallFile { file, end, path } in batch.files {
        let content = &batch.content[start..end];
        start = end;
        let written = sparse::write_new_at(&file, content, 0).and_then(|written| {
            // Zeros at the end are not written, so the length is set.
            let length = content.len() as u64;
            if written.unwrap_or(0) < length { file.set_len(length) } else { Ok(()) }
        });
        written.map_err(|error| Failed { path, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    /// The writer's result after `fill` has handed over its files.
    fn written(
        folder: &std::path::Path,
        fill: impl FnOnce(&mut SmallFiles) -> Result<(), Stopped>,
    ) -> Result<(), Failed> {
        let folder = File::open(folder).unwrap();
        let (mut small, writer) = pair(&folder);
        thread::scope(|scope| {
            let writing = scope.spawn(move || writer.run());
            let _ = fill(&mut small).and_then(|()| small.finish());
            writing.join().unwrap()
        })
    }

    #[test]
    fn every_file_gets_its_own_content_whatever_the_batch() {
        let place = tempfile::tempdir().unwrap();
        let content = |index: usize| vec![(index % 250) as u8; (index * 37) % 5000];
        let done = written(place.path(), |small| {
            for index in 0..3 * FILES + 7 {
                let file = File::create_new(place.path().join(index.to_string())).unwrap();
                small.content().extend_from_slice(&content(index));
                small.add(file, index.to_string().as_bytes())?;
                if index == FILES / 2 {
                    small.settle()?;
                    let length = fs::metadata(place.path().join(index.to_string())).unwrap().len();
                    assert_eq!(length, content(index).len() as u64, "it was not waited for");
                }
            }
            Ok(())
        });
        assert!(done.is_ok());
        for index in 0..3 * FILES + 7 {
            assert!(fs::read(place.path().join(index.to_string())).unwrap() == content(index), "{index}");
        }
    }

    #[test]
    fn zeros_take_no_room() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("zeros");
        let done = written(place.path(), |small| {
            let file = File::create_new(&path).unwrap();
            small.content().resize(LARGEST as usize, 0);
            small.add(file, b"zeros")
        });
        assert!(done.is_ok());
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.blocks()), (LARGEST, 0));
    }

    #[test]
    fn the_first_file_that_cannot_be_written_is_named_and_ends_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("read only");
        fs::write(&path, "").unwrap();
        let mut taken = 0;
        let failed = written(place.path(), |small| {
            loop {
                small.content().push(1);
                small.add(File::open(&path).unwrap(), format!("file {taken}").as_bytes())?;
                taken += 1;
                assert!(taken < 100 * FILES, "it goes on without a writer");
            }
        });
        assert_eq!(failed.err().unwrap().path, b"file 0");
    }
}
