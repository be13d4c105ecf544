//! Scans of `store/` and `partial/`: an opening store repairs what a crash left half done, and each scan updates the
//! catalog.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use rpp_p2p::Hash;

use super::{
    Damage, Damaged, Inner, LOCK, MANIFEST, REMOVED, StoreError,
    catalog::Catalog,
    manifest::PLAN,
    stored::{Mark, Stored},
};
use crate::files::Dir;

impl Inner {
    pub(super) fn recover(&self) -> io::Result<()> {
        let file = self.store.open_write(LOCK)?;
        file.lock()?;
        for name in self.store.names()? {
            if name.starts_with(REMOVED) {
                self.store.remove_all(&name)?;
            } else if name.parse::<Hash>().is_ok() {
                // The scan reports what cannot be cleaned up.
                let _ = self.store.dir(&name).and_then(|folder| {
                    folder.remove_temporaries()?;
                    folder.remove_file(PLAN)
                });
            }
        }
        for name in self.partial.names()? {
            if let (Ok(root), Ok(folder)) = (name.parse::<Hash>(), self.partial.dir(&name)) {
                self.complete(&name, &root, &folder)?;
            }
        }
        Ok(())
    }

    /// A partial payload whose manifest was written needs only the rename.
    fn complete(&self, name: &str, root: &Hash, folder: &Dir) -> io::Result<()> {
        if !folder.exists(MANIFEST)? {
            return Ok(());
        }
        if let Err(reason) = Stored::load(folder, root) {
            tracing::warn!(%root, %reason, "a payload was not finished: it goes on as a partial one");
            return folder.remove_file(MANIFEST);
        }
        if self.store.exists(name)? {
            return self.partial.remove_all(name);
        }
        self.partial.rename_new(name, &self.store, name)?;
        self.store.sync()?;
        self.partial.sync()?;
        folder.remove_file(PLAN)
    }

    /// Updates the catalog; returns whether it changed.
    pub(super) fn scan(&self) -> io::Result<bool> {
        let _one = self.scan.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.catalog();
        if !self.store.is_in_place()? {
            return Err(self.leave(&old));
        }
        let (mut stored, mut damaged) = (BTreeMap::new(), BTreeMap::new());
        let mut changed = false;
        for name in self.store.names()? {
            let Ok(root) = name.parse::<Hash>() else { continue };
            match self.entry(&name, &root, &old) {
                Listed::Known(known) => drop(stored.insert(root, known)),
                Listed::New(mut new) => {
                    changed = true;
                    if let Some(before) = old.damaged.get(&root) {
                        tracing::info!(%root, before = %before.reason, "a stored payload can be read again");
                    }
                    if let Some(before) = old.stored.get(&root) {
                        new.take_over(before);
                    }
                    stored.insert(root, Arc::new(*new));
                }
                Listed::Damaged(entry) => {
                    if old.damaged.get(&root) != Some(&*entry) {
                        tracing::warn!(path = %entry.path.display(), reason = %entry.reason, "left out of the store");
                    }
                    damaged.insert(root, *entry);
                }
                Listed::Gone => {}
            }
        }
        changed |= stored.len() != old.stored.len() || damaged != old.damaged;
        if changed {
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Catalog::new(stored, damaged));
            self.news.store(true, Ordering::Release);
        }
        Ok(changed)
    }

    /// The folder is not at its path any more. A path of a payload there would lead nowhere, or to bytes that nobody verified.
    /// So nothing counts as stored until the folder is back.
    fn leave(&self, old: &Catalog) -> io::Error {
        if !old.stored.is_empty() || !old.damaged.is_empty() {
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
            self.news.store(true, Ordering::Release);
        }
        io::Error::other(NotInPlace { path: self.store.path().to_owned() })
    }

    fn entry(&self, name: &str, root: &Hash, old: &Catalog) -> Listed {
        let path = self.store.path().join(name);
        let damaged = |mark, reason| Listed::Damaged(Box::new(Damaged { path: path.clone(), reason, mark }));
        let folder = match self.store.dir(name) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Listed::Gone,
            Err(error) => return damaged(None, Damage::Unopened(error.into())),
        };
        if let Some(reason) = self.condemned().get(root) {
            return damaged(None, reason.clone());
        }
        let mark = Mark::of(&folder).ok().flatten();
        if let Some(known) = old.stored.get(root).filter(|known| Some(known.mark) == mark) {
            return Listed::Known(known.clone());
        }
        if let Some(known) = old.damaged.get(root).filter(|known| mark.is_some() && known.mark == mark) {
            return Listed::Damaged(Box::new(known.clone()));
        }
        match Stored::load(&folder, root) {
            Ok(stored) => Listed::New(Box::new(stored)),
            // Removed between listing and reading.
            Err(_) if matches!(self.store.exists(name), Ok(false)) => Listed::Gone,
            Err(damage) => damaged(mark.filter(|_| !damage.may_pass()), damage),
        }
    }

    pub(super) fn rescan(&self) -> Result<(), StoreError> {
        self.scan().map(drop).map_err(|source| self.io("list", self.store.path().to_owned(), source))
    }
}

/// The operator's fault: the folder of the store is not where it was.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} was moved, removed or replaced while it was in use: stop the node, put the folder back, and start it again",
    path.display()
)]
pub(crate) struct NotInPlace {
    path: PathBuf,
}

impl NotInPlace {
    /// Whether a scan failed for this reason.
    pub(crate) fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

enum Listed {
    Known(Arc<Stored>),
    New(Box<Stored>),
    Damaged(Box<Damaged>),
    Gone,
}
