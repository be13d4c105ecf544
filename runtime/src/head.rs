//! `head.json`: the checkpoints of each chain that this node has accepted. It protects the node from rollback and from
//! forks.
//!
//! The file is written atomically with a checksum. It is durable before a head counts as accepted. It does not depend
//! on anything else: losing the database does not change it. If it cannot be read, the node does not consume until the
//! operator confirms a reset.
//!
//! The rules, for a plan whose chain, signatures and proof were verified ([`HeadFile::judge`]):
//!
//! | the plan | verdict |
//! |---|---|
//! | has, at a step that was accepted before, another commitment (also the one before its first update) | equivocation |
//! | has a tip beyond the newest accepted step | newer |
//! | has an older tip, and its updates reach a commitment that was accepted before | known |
//! | has an older tip that is not connected to what was accepted | stale |

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use rpp_p2p::{Checkpoint, Hash, Plan, Signature, Update};
use serde::{Deserialize, Serialize};

use crate::{
    files::{
        Dir,
        sealed::{self, SealError},
        split_error,
    },
    status::Head,
};

const VERSION: u32 = 1;
/// The most accepted steps that are kept for one chain; the lowest are dropped first.
pub const MAX_ACCEPTED: usize = 16_384;
/// The most files of evidence; further evidence is not written.
pub const MAX_EVIDENCE: usize = 64;
const EVIDENCE: &str = "equivocation-";
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why the head cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The disk's fault: the file exists, but is damaged.
    #[error(
        "{path} cannot be read ({reason}). It protects this node from being led back to an old state, so nothing is \
         consumed until it is restored, or you confirm a reset by moving it away: mv {path} {path}.unreadable"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: HeadFlaw,
    },
    /// The machine's fault: it cannot be written, so nothing was accepted.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What is wrong with a head file that exists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadFlaw {
    /// The disk returns an error for it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its checksum or its shape is wrong.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Another version of this program wrote it.
    #[error("version {found} is unknown here")]
    Version {
        /// The version that it names.
        found: u32,
    },
}

/// The verdict on a verified plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its tip moves the head.
    Newer,
    /// An older tip that is connected to what was accepted.
    Known,
    /// An older tip that is not.
    Stale {
        /// The newest accepted step.
        newest: u64,
    },
    /// There are two signed histories.
    Equivocation {
        /// The step where they differ.
        step: u64,
        /// The accepted commitment there.
        accepted: Hash,
        /// The plan's commitment there.
        offered: Hash,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    step: u64,
    height: u64,
    commitment: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    checkpoint: Checkpoint,
    /// One half of the evidence if a different tip of this step appears.
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chain {
    newest: Option<Newest>,
    /// Sorted by step.
    accepted: Vec<Accepted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    chains: BTreeMap<Hash, Chain>,
}

/// The open file, and its content for one chain.
#[derive(Debug)]
pub struct HeadFile {
    folder: Dir,
    name: String,
    genesis: Hash,
    document: Document,
}

impl HeadFile {
    /// Reads the file; if it is missing, the node starts without a head. `genesis` is the trusted chain; the heads of
    /// other chains are kept.
    ///
    /// # Errors
    /// [`HeadError::Unreadable`] says how to confirm a reset.
    pub fn load(path: &Path, genesis: Hash) -> Result<Self, HeadError> {
        let unreadable = |reason| HeadError::Unreadable { path: path.to_owned(), reason };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("head.json").to_owned();
        let folder = path.parent().unwrap_or(Path::new("."));
        let folder = Dir::create(folder).map_err(|error| unreadable(error.into()))?;
        let document = match folder.read(&name, MAX_FILE) {
            Ok(bytes) => read(&bytes).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Document { version: VERSION, chains: BTreeMap::new() }
            }
            Err(error) => return Err(unreadable(split_error(error).1.into())),
        };
        Ok(Self { folder, name, genesis, document })
    }

    /// The newest accepted checkpoint.
    #[must_use]
    pub fn newest(&self) -> Option<Head> {
        let Checkpoint { step, height, block_hash, state_root, commitment, .. } =
            self.chain()?.newest.as_ref()?.checkpoint;
        Some(Head { step, height, block_hash, state_root, commitment })
    }

    /// Whether this checkpoint was accepted before: its commitment was proven to this node.
    #[must_use]
    pub fn is_accepted(&self, point: &Checkpoint) -> bool {
        let known = self.chain().and_then(|chain| chain.at(point.step));
        known.is_some_and(|known| known.commitment == point.commitment && known.height == point.height)
    }

    /// Judges a plan whose updates, signatures and proof were verified.
    #[must_use]
    pub fn judge(&self, plan: &Plan, updates: &[Update]) -> Verdict {
        let Some((chain, newest)) = self.chain().and_then(|chain| Some((chain, chain.newest.as_ref()?))) else {
            return Verdict::Newer;
        };
        if let Some(first) = updates.first()
            && let Some(fork) = chain.fork(first.checkpoint.step.saturating_sub(1), &first.previous_commitment)
        {
            return fork;
        }
        let commitments = || updates.iter().map(|update| &update.checkpoint).chain([&plan.tip]);
        if let Some(fork) = commitments().find_map(|point| chain.fork(point.step, &point.commitment)) {
            return fork;
        }
        if plan.tip.step > newest.checkpoint.step {
            Verdict::Newer
        } else if commitments().any(|point| chain.at(point.step).is_some()) {
            Verdict::Known
        } else {
            Verdict::Stale { newest: newest.checkpoint.step }
        }
    }

    /// Accepts a plan that was judged newer or known: all its commitments, and its tip as the head if it is newer.
    /// Durable on return. Returns whether the head moved.
    ///
    /// # Errors
    /// [`HeadError::Write`]: nothing was accepted.
    pub fn accept(&mut self, plan: &Plan, updates: &[Update]) -> Result<bool, HeadError> {
        let mut document = self.document.clone();
        let chain = document.chains.entry(self.genesis).or_default();
        let moved = chain.newest.as_ref().is_none_or(|newest| plan.tip.step > newest.checkpoint.step);
        if moved {
            let signatures = updates.last().map(|update| update.signatures.clone()).unwrap_or_default();
            chain.newest = Some(Newest { checkpoint: plan.tip, signatures });
        }
        chain.add(updates.iter().map(|update| &update.checkpoint).chain([&plan.tip]));
        if self.document.chains.get(&self.genesis) != document.chains.get(&self.genesis) {
            self.write(&self.name, &document)?;
            self.document = document;
        }
        Ok(moved)
    }

    /// Stores the evidence that publishers signed two histories: `equivocation-<step>-<commitment>.json` beside the
    /// head. `None` if there is already as much evidence as is kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_evidence(&self, plan: &Plan, updates: &[Update]) -> Result<Option<PathBuf>, HeadError> {
        #[derive(Serialize)]
        struct Evidence<'a> {
            accepted: Option<&'a Chain>,
            offered: &'a Plan,
            offered_updates: &'a [Update],
        }
        // Only the end of a long history matters.
        const UPDATES: usize = 64;
        let commitment = plan.tip.commitment.to_string();
        let name = format!("{EVIDENCE}{}-{}.json", plan.tip.step, &commitment[..16]);
        let names = self.folder.names().map_err(|source| self.failed(&name, source))?;
        if names.contains(&name) {
            return Ok(Some(self.folder.path().join(name)));
        }
        if names.iter().filter(|name| name.starts_with(EVIDENCE)).count() >= MAX_EVIDENCE {
            return Ok(None);
        }
        let offered_updates = &updates[updates.len().saturating_sub(UPDATES)..];
        self.write(&name, &Evidence { accepted: self.chain(), offered: plan, offered_updates })?;
        Ok(Some(self.folder.path().join(name)))
    }

    fn chain(&self) -> Option<&Chain> {
        self.document.chains.get(&self.genesis)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), HeadError> {
        let written = sealed::seal(value)
            .map_err(io::Error::from)
            .and_then(|bytes| self.folder.write_atomic(name, &bytes, 0o600));
        written.map_err(|source| self.failed(name, source))
    }

    fn failed(&self, name: &str, source: io::Error) -> HeadError {
        HeadError::Write { path: self.folder.path().join(name), source }
    }
}

fn read(bytes: &[u8]) -> Result<Document, HeadFlaw> {
    let document: Document = sealed::open(bytes)?;
    if document.version != VERSION {
        return Err(HeadFlaw::Version { found: document.version });
    }
    Ok(document)
}

impl Chain {
    fn at(&self, step: u64) -> Option<&Accepted> {
        self.accepted.binary_search_by_key(&step, |accepted| accepted.step).ok().map(|index| &self.accepted[index])
    }

    fn fork(&self, step: u64, offered: &Hash) -> Option<Verdict> {
        let accepted = self.at(step)?.commitment;
        (accepted != *offered).then_some(Verdict::Equivocation { step, accepted, offered: *offered })
    }

    fn add<'a>(&mut self, points: impl Iterator<Item = &'a Checkpoint>) {
        let mut all: BTreeMap<u64, Accepted> =
            self.accepted.iter().map(|accepted| (accepted.step, *accepted)).collect();
        for point in points {
            let accepted = Accepted { step: point.step, height: point.height, commitment: point.commitment };
            all.entry(point.step).or_insert(accepted);
        }
        while all.len() > MAX_ACCEPTED {
            all.pop_first();
        }
        self.accepted = all.into_values().collect();
    }
}

#[cfg(test)]
mod tests;
