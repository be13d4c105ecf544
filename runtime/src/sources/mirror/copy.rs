//! Writing a mirror.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion, path::Path};
use rpp_p2p::Hash;

use super::{
    MirrorFile, MirrorPlace, SNAPSHOTS,
    leftovers::remove_leftovers,
    list::{ListedSnapshot, SnapshotList},
    pace,
    trouble::MirrorTrouble,
    url::{MirrorUrl, Scheme},
};
use crate::{
    limits::{MAX_MIRROR_PUT, MIRROR_PART},
    store::{MANIFEST, OUTBOARD, PAYLOAD, Store, StoreError, Stored, read_at},
};

/// How often the list is written again because another writer was faster.
const LIST_TRIES: u32 = 8;

/// What to copy.
#[derive(Clone, Debug, Default)]
pub struct CopyPlan {
    /// The payloads. If empty, all stored ones.
    pub roots: Vec<Hash>,
    /// The number of newest snapshots that the mirror keeps. 0: all.
    pub keep: usize,
    /// Only find out what would be done.
    pub dry_run: bool,
}

/// The progress of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// The payload.
    pub root: Hash,
    /// The file of that payload.
    pub file: &'static str,
    /// Bytes of the file that the mirror already has.
    pub done: u64,
    /// Bytes of the file in total.
    pub total: u64,
}

/// What was copied, or would be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Copied {
    /// The snapshots that are on the list now.
    pub snapshots: Vec<ListedSnapshot>,
    /// Payloads of which at least one file had to be sent.
    pub sent: Vec<Hash>,
    /// Payloads that were removed from the mirror.
    pub removed: Vec<Hash>,
    /// Bytes sent.
    pub bytes: u64,
}

/// Why a copy ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is no such payload.
    #[error("{root} is not stored here")]
    NotStored {
        /// Which.
        root: Hash,
    },
    /// The mirror.
    #[error("{mirror}: {trouble}")]
    Mirror {
        /// The mirror's URL without its secrets.
        mirror: String,
        /// Why.
        #[source]
        trouble: MirrorTrouble,
    },
    /// The store of this node.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store cannot be read.
    #[error("the stored files of {root} cannot be read")]
    Read {
        /// Of which payload.
        root: Hash,
        /// How.
        source: io::Error,
    },
    /// The stored bytes do not match their root. Nothing of this payload was published.
    #[error("the stored payload {root} is damaged: it hashes to {computed}. Nothing of it was put on the mirror")]
    Damaged {
        /// The payload.
        root: Hash,
        /// What its bytes hash to.
        computed: Hash,
    },
}

/// Copies stored payloads to a mirror. For each payload it sends the payload, the outboard, then the manifest; the list
/// comes last. A file that is there with the right length is not sent again. So after a kill, the next copy continues
/// with the first missing file. What a kill left half written in a folder, the next copy removes when it is an hour old.
///
/// # Errors
/// See [`CopyError`]. Readers do not see anything that was not put on the list; the next copy uses it.
pub async fn copy(
    store: &Store,
    to: &MirrorUrl,
    plan: &CopyPlan,
    watch: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Copied, CopyError> {
    let mirror = |trouble| told(to, trouble);
    let place = match plan.dry_run && to.scheme() == Scheme::File && !to.folder().exists() {
        true => None,
        false => Some(MirrorPlace::open(to, !plan.dry_run, pace()).map_err(mirror)?),
    };
    let mut copied = Copied::default();
    for stored in chosen(store, &plan.roots)? {
        let listed = stored.offers().iter().map(|offer| ListedSnapshot {
            root: stored.root(),
            height: offer.snapshot.checkpoint.height,
            bytes: stored.bytes(),
            format: offer.snapshot.format,
        });
        copied.snapshots.extend(listed);
        let mut work = PayloadCopy { place: place.as_ref(), to, plan, stored: &stored, watch: &mut *watch };
        let sent = work.files().await?;
        if sent > 0 {
            copied.sent.push(stored.root());
            copied.bytes += sent;
        }
    }
    if let (Some(place), false) = (&place, plan.dry_run) {
        if let Some(folder) = to.local_folder() {
            remove_leftovers(folder, &[SNAPSHOTS]).await;
        }
        copied.removed = publish(place, &copied.snapshots, plan.keep).await.map_err(mirror)?;
        for root in &copied.removed {
            remove_leftovers_of(to, root).await;
            // The manifest goes first: a reader with the old list then finds no half snapshot.
            for file in [MirrorFile::Manifest, MirrorFile::Outboard, MirrorFile::Payload] {
                match place.store.delete(&place.file(root, file)).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(mirror(MirrorTrouble::of(&error, file.name()))),
                }
            }
        }
    }
    Ok(copied)
}

fn chosen(store: &Store, roots: &[Hash]) -> Result<Vec<Arc<Stored>>, CopyError> {
    if roots.is_empty() {
        return Ok(store.list());
    }
    roots.iter().map(|root| store.get(root).ok_or(CopyError::NotStored { root: *root })).collect()
}

/// The copy of one payload.
struct PayloadCopy<'a> {
    place: Option<&'a MirrorPlace>,
    to: &'a MirrorUrl,
    plan: &'a CopyPlan,
    stored: &'a Stored,
    watch: &'a mut (dyn FnMut(CopyProgress) + Send),
}

impl PayloadCopy<'_> {
    /// Returns how many bytes had to be sent.
    async fn files(&mut self) -> Result<u64, CopyError> {
        let root = self.stored.root();
        if !self.plan.dry_run {
            remove_leftovers_of(self.to, &root).await;
        }
        // While it is open, nobody removes it.
        let payload = self.stored.open()?;
        let unread = |source| CopyError::Read { root, source };
        let mut sent = 0;
        let file = payload.reader().map_err(unread)?;
        sent += self.large(MirrorFile::Payload, file, self.stored.bytes()).await?;
        let outboard = payload.outboard().map_err(unread)?;
        let length = outboard.metadata().map_err(unread)?.len();
        sent += self.large(MirrorFile::Outboard, outboard, length).await?;
        let manifest = self.stored.folder_path().join(MirrorFile::Manifest.name());
        let manifest = tokio::fs::read(manifest).await.map_err(unread)?;
        sent += self.manifest(manifest).await?;
        Ok(sent)
    }

    async fn large(&mut self, kind: MirrorFile, file: File, total: u64) -> Result<u64, CopyError> {
        let root = self.stored.root();
        if self.has(kind, total).await? {
            self.tell(kind, total, total);
            return Ok(0);
        }
        let Some(place) = self.place.filter(|_| !self.plan.dry_run) else { return Ok(total) };
        let path = place.file(&root, kind);
        let to = self.to;
        let mirror = move |error: object_store::Error| told(to, MirrorTrouble::of(&error, kind.name()));
        let file = Arc::new(file);
        let mut hasher = (kind == MirrorFile::Payload).then(blake3::Hasher::new);
        let is_whole = total <= MIRROR_PART || matches!(self.to.scheme(), Scheme::Http | Scheme::Https);
        if is_whole {
            if total > MAX_MIRROR_PUT {
                return Err(told(to, MirrorTrouble::TooLargeToPut { bytes: total }));
            }
            let bytes = read(&file, 0, total).await.map_err(|source| CopyError::Read { root, source })?;
            check(root, hasher.take(), &bytes)?;
            place.store.put(&path, PutPayload::from(bytes)).await.map_err(mirror)?;
            self.tell(kind, total, total);
            return Ok(total);
        }
        let mut upload = place.store.put_multipart(&path).await.map_err(mirror)?;
        let mut done = 0;
        while done < total {
            let length = MIRROR_PART.min(total - done);
            let part = match read(&file, done, length).await {
                Ok(part) => part,
                Err(source) => {
                    let _ = upload.abort().await; // What is left over, the store's owner may remove.
                    return Err(CopyError::Read { root, source });
                }
            };
            if let Some(hasher) = &mut hasher {
                // Without threads, rayon's global pool panics.
                hasher.update(&part);
            }
            upload.put_part(PutPayload::from(part)).await.map_err(mirror)?;
            done += length;
            self.tell(kind, done, total);
        }
        if let Err(damaged) = check(root, hasher, &[]) {
            let _ = upload.abort().await;
            return Err(damaged);
        }
        upload.complete().await.map_err(mirror)?;
        Ok(total)
    }

    async fn manifest(&mut self, bytes: Vec<u8>) -> Result<u64, CopyError> {
        let kind = MirrorFile::Manifest;
        let total = bytes.len() as u64;
        let Some(place) = self.place else { return Ok(total) };
        let path = place.file(&self.stored.root(), kind);
        let to = self.to;
        let mirror = move |error: object_store::Error| told(to, MirrorTrouble::of(&error, kind.name()));
        // Another offer of the same payload changes the manifest, perhaps without changing its length.
        let there = match place.store.get(&path).await {
            Ok(there) => Some(there.bytes().await.map_err(mirror)?),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(mirror(error)),
        };
        if there.is_some_and(|there| *there == *bytes) {
            return Ok(0);
        }
        if !self.plan.dry_run {
            place.store.put(&path, PutPayload::from(bytes)).await.map_err(mirror)?;
            self.tell(kind, total, total);
        }
        Ok(total)
    }

    /// Whether the mirror has the file in the right length. Objects appear only as a whole, so this check is enough.
    async fn has(&self, kind: MirrorFile, total: u64) -> Result<bool, CopyError> {
        let Some(place) = self.place else { return Ok(false) };
        match place.store.head(&place.file(&self.stored.root(), kind)).await {
            Ok(there) => Ok(there.size == total),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(told(self.to, MirrorTrouble::of(&error, kind.name()))),
        }
    }

    fn tell(&mut self, kind: MirrorFile, done: u64, total: u64) {
        (self.watch)(CopyProgress { root: self.stored.root(), file: kind.name(), done, total });
    }
}

/// Removes what killed copies left of a payload's files, if the mirror is a folder.
async fn remove_leftovers_of(to: &MirrorUrl, root: &Hash) {
    if let Some(folder) = to.local_folder() {
        remove_leftovers(folder.join(root.to_string()), &[PAYLOAD, OUTBOARD, MANIFEST]).await;
    }
}

fn told(to: &MirrorUrl, mut trouble: MirrorTrouble) -> CopyError {
    if let Some(folder) = to.local_folder() {
        trouble = trouble.in_folder(&folder);
    }
    CopyError::Mirror { mirror: to.to_string(), trouble }
}

fn is_absent(error: &object_store::Error) -> bool {
    matches!(MirrorTrouble::of(error, ""), MirrorTrouble::NotFound { .. })
}

/// Checks that the hashed bytes match the root. With `None`, there is nothing to check.
fn check(root: Hash, hasher: Option<blake3::Hasher>, rest: &[u8]) -> Result<(), CopyError> {
    let Some(mut hasher) = hasher else { return Ok(()) };
    hasher.update(rest);
    let computed = Hash::from(hasher.finalize());
    if computed == root { Ok(()) } else { Err(CopyError::Damaged { root, computed }) }
}

async fn read(file: &Arc<File>, start: u64, length: u64) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let read = tokio::task::spawn_blocking(move || read_at(&file, start, length)).await;
    read.map_err(io::Error::other)?.map(Bytes::from)
}

/// Puts snapshots on the list, even if other writers do so at the same time. Returns the roots that are no longer on
/// it.
async fn publish(place: &MirrorPlace, new: &[ListedSnapshot], keep: usize) -> Result<Vec<Hash>, MirrorTrouble> {
    const WHAT: &str = "snapshots.json";
    let path: Path = place.snapshots();
    for _ in 0..LIST_TRIES {
        let (mut list, version) = match place.store.get(&path).await {
            Ok(there) => {
                let version = UpdateVersion { e_tag: there.meta.e_tag.clone(), version: there.meta.version.clone() };
                let bytes = there.bytes().await.map_err(|error| MirrorTrouble::of(&error, WHAT))?;
                (SnapshotList::read(&bytes)?, Some(version))
            }
            Err(error) if is_absent(&error) => (SnapshotList::default(), None),
            Err(error) => return Err(MirrorTrouble::of(&error, WHAT)),
        };
        let before = list.clone();
        let gone = list.add(new, keep);
        if version.is_some() && list == before {
            return Ok(gone);
        }
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        let put = |mode| place.store.put_opts(&path, PutPayload::from(list.write()), PutOptions::from(mode));
        let written = match put(mode).await {
            // A web server or a folder replaces the list unconditionally.
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                put(PutMode::Overwrite).await
            }
            other => other,
        };
        match written {
            Ok(_) => return Ok(gone),
            // Another writer was faster.
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(MirrorTrouble::of(&error, WHAT)),
        }
    }
    Err(MirrorTrouble::Contended { what: WHAT, tries: LIST_TRIES })
}
