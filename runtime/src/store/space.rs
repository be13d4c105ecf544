//! The space that may still be written.

use std::{
    fmt::Debug,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Identifies a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The file system, or a part of it (such as a subvolume) out of which nothing can be renamed.
    pub device: u64,
    /// The id of the mount, because one file system may be mounted at several places. 0 if the kernel does not tell it.
    pub id: u64,
}

/// Tells how much space is free. The store asks it at the start and before each write.
pub trait Space: Debug + Send + Sync {
    /// Bytes that may still be written in `folder`.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    /// Whether another file may be made in `folder`.
    ///
    /// # Errors
    /// The file system cannot tell.
    fn has_inodes(&self, folder: &Path) -> io::Result<bool> {
        crate::files::has_inodes(folder)
    }

    /// The mount of a folder.
    ///
    /// # Errors
    /// There is no such folder, or the file system cannot tell.
    fn mount_of(&self, folder: &Path) -> io::Result<Mount> {
        crate::files::mount_of(folder)
    }

    /// Called before `bytes` are written; an error of kind `StorageFull` stops the write as a full disk would.
    ///
    /// # Errors
    /// There is no space.
    fn before_write(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Called before `bytes` that are already on the disk are written again at their place.
    ///
    /// # Errors
    /// Stops the write.
    fn before_rewrite(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Called before a payload is made durable.
    ///
    /// # Errors
    /// An error here counts as a failed flush.
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The file system's own figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSpace;

impl Space for DiskSpace {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        crate::files::free_bytes(folder)
    }
}

/// A limit below the space of the disk. Each write uses up some of it, until more is allowed.
#[derive(Debug)]
pub struct Quota {
    free: AtomicU64,
}

impl Quota {
    /// Allows this many bytes to be written.
    #[must_use]
    pub fn new(free: u64) -> Self {
        Self { free: AtomicU64::new(free) }
    }

    /// Allows this many bytes to be written from now on.
    pub fn set_free(&self, free: u64) {
        self.free.store(free, Ordering::SeqCst);
    }
}

impl Space for Quota {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        Ok(crate::files::free_bytes(folder)?.min(self.free.load(Ordering::SeqCst)))
    }

    fn before_write(&self, bytes: u64) -> io::Result<()> {
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(bytes))
            .map(|_| ())
            .map_err(|_| io::ErrorKind::StorageFull.into())
    }
}
