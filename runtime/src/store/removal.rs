//! Removes payloads from the store.

use std::{collections::BTreeSet, io, sync::Arc};

use rpp_p2p::{GenesisDescriptor, Hash};

use super::{
    Inner, Lock, REMOVED, Store,
    error::StoreError,
    manifest::Offer,
    stored::{Stored, lock_alone, read_manifest},
};

/// The offers of a payload, by height and commitment.
type Keys = BTreeSet<(u64, Hash)>;

impl Store {
    /// Removes a payload with all its offers. A session that is streaming it goes on, because its files stay open. But
    /// once that session has ended, it cannot be resumed. So a payload that is being served is removed only with
    /// `force`.
    ///
    /// An older snapshot whose updates led through the removed one keeps these updates.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], and [`StoreError::Served`] unless forced.
    pub fn remove(&self, root: &Hash, force: bool) -> Result<(), StoreError> {
        let lock = self.inner.lock()?;
        self.inner.rescan()?;
        self.inner.remove(&lock, root, force)?;
        drop(lock);
        self.inner.rescan()
    }

    /// Keeps the `keep` newest offers of a chain, or all with 0. A payload that is being served is left for a later
    /// call. Returns the roots of the removed payloads.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn keep(&self, genesis: &GenesisDescriptor, keep: usize) -> Result<Vec<Hash>, StoreError> {
        if keep == 0 {
            return Ok(Vec::new());
        }
        let lock = self.inner.lock()?;
        self.inner.rescan()?;
        let mut removed = Vec::new();
        for (stored, kept) in self.inner.to_drop(genesis, keep) {
            if kept.len() == stored.offers().len() {
                continue;
            }
            if kept.is_empty() {
                match self.inner.remove(&lock, &stored.root(), false) {
                    Ok(()) => removed.push(stored.root()),
                    Err(StoreError::Served { .. }) => {}
                    Err(error) => return Err(error),
                }
            } else {
                self.inner.retain(&stored, &kept)?;
            }
        }
        drop(lock);
        self.inner.rescan()?;
        Ok(removed)
    }
}

impl Inner {
    /// Each payload of this chain that loses offers, with the keys of the offers that stay.
    fn to_drop(&self, genesis: &GenesisDescriptor, keep: usize) -> Vec<(Arc<Stored>, Keys)> {
        let catalog = self.catalog();
        let of_chain = |offer: &Arc<Offer>| offer.genesis == *genesis;
        let mut newest: Vec<(u64, Hash)> = catalog
            .stored
            .values()
            .flat_map(|stored| stored.offers())
            .filter(|offer| of_chain(offer))
            .map(|offer| offer.key())
            .collect();
        newest.sort_unstable();
        newest.reverse();
        newest.truncate(keep);
        catalog
            .stored
            .values()
            .map(|stored| {
                let kept = stored.offers().iter().filter(|offer| !of_chain(offer) || newest.contains(&offer.key()));
                (stored.clone(), kept.map(|offer| offer.key()).collect())
            })
            .collect()
    }

    /// Removes some offers of a payload that stays.
    fn retain(&self, stored: &Stored, kept: &Keys) -> Result<(), StoreError> {
        let path = stored.folder_path().to_owned();
        let folder =
            self.store.dir(&stored.root().to_string()).map_err(|source| self.io("open", path.clone(), source))?;
        let mut manifest =
            read_manifest(&folder, &stored.root()).map_err(|reason| StoreError::Damaged { path, reason })?;
        manifest.offers.retain(|offer| kept.contains(&offer.key()));
        self.write_manifest(&folder, &manifest)
    }

    fn remove(&self, lock: &Lock, root: &Hash, force: bool) -> Result<(), StoreError> {
        let name = root.to_string();
        let failed = |source| self.io("remove", self.store.path().join(&name), source);
        if !self.store.exists(&name).map_err(failed)? {
            return Err(StoreError::Unknown { root: *root });
        }
        let alone = match self.store.dir(&name).and_then(|folder| lock_alone(&folder)) {
            Ok(None) if !force => return Err(StoreError::Served { root: *root }),
            // The entry is not one of our folders, or is unreadable. Nobody can serve it.
            other => other.ok().flatten(),
        };
        self.bridge(lock, root)?;
        let aside = self.rename_aside(&name).map_err(failed)?;
        self.condemned().remove(root);
        drop(alone);
        self.store.remove_all(&aside).map_err(failed)
    }

    /// Adds the updates of `root` to the offers that need them to reach the newest tip.
    fn bridge(&self, lock: &Lock, root: &Hash) -> Result<(), StoreError> {
        let catalog = self.catalog();
        let Some(stored) = catalog.stored.get(root) else { return Ok(()) };
        for removed in stored.offers() {
            let before = removed.updates[0].previous_commitment;
            let needy = catalog.stored.values().filter(|other| other.root() != *root).flat_map(|other| {
                other.offers().iter().filter(|offer| offer.tip.commitment == before).map(move |offer| (other, offer))
            });
            for (other, offer) in needy {
                let mut longer = Offer::clone(offer);
                longer.updates.extend_from_slice(&removed.updates);
                longer.tip = removed.tip;
                match self.add_offer(lock, &other.root(), longer) {
                    // The offer would have too many updates, so it keeps its own tip.
                    Ok(_) | Err(StoreError::Unfit { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Renames an entry away and removes it.
    pub(super) fn set_aside(&self, name: &str) -> io::Result<()> {
        let aside = self.rename_aside(name)?;
        self.store.remove_all(&aside)
    }

    fn rename_aside(&self, name: &str) -> io::Result<String> {
        let aside = format!("{REMOVED}{name}-{}", std::process::id());
        self.store.remove_all(&aside)?;
        self.store.rename_new(name, &self.store, &aside)?;
        self.store.sync()?;
        Ok(aside)
    }
}
