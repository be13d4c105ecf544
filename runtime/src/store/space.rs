//! How much may still be written.

use std::{
    fmt::Debug,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Tells mounts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The file system, or a part of one that nothing can be renamed out of.
    pub device: u64,
    /// The mount: one file system may be mounted at several places. 0 where the kernel does not say.
    pub id: u64,
}

/// Says how much room there is. The store asks it before it begins and before each write.
pub trait Space: Debug + Send + Sync {
    /// Bytes that may still be written in `folder`.
    ///
    /// # Errors
    /// When the file system cannot say.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    /// Which mount a folder is on.
    ///
    /// # Errors
    /// When there is no such folder, or the file system cannot say.
    fn mount_of(&self, folder: &Path) -> io::Result<Mount> {
        crate::files::mount_of(folder)
    }

    /// Called before `bytes` are written; an error of kind `StorageFull` stops the write as a full disk would.
    ///
    /// # Errors
    /// When there is no room.
    fn before_write(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Called before `bytes` that are on the disk already are written again in their place.
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
    /// Stands for the failure of that.
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What the file system says.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSpace;

impl Space for DiskSpace {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        crate::files::free_bytes(folder)
    }
}

/// A bound of its own, below what the disk has: each write takes from it until somebody makes room.
#[derive(Debug)]
pub struct Quota {
    free: AtomicU64,
}

impl Quota {
    /// So many bytes may be written.
    #[must_use]
    pub fn new(free: u64) -> Self {
        Self { free: AtomicU64::new(free) }
    }

    /// From now on so many bytes may be written.
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
