//! Extends the chain by one checkpoint at a time, and proves its last step.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use nova_snark::errors::NovaError;

use crate::{
    chain::{Chain, ChainError, Checkpoint, Tip, next_commitment},
    circuit,
    encoding::{self, EncodingError},
    field::Scalar,
    genesis::Genesis,
    params::{self, Compressed, Folded, Proving, SetupError},
    state::{Folder, FolderError, Link, Moment, State, StateError},
    verifier::{ProofError, Verifier},
};

/// A publisher's chain on disk: `dir/state`, of constant size, replaced atomically at every step.
///
/// A crash leaves the last step or the one before; [`Prover::last`] tells which. If a publisher finds there the
/// checkpoint that it was about to publish, it continues with [`Prover::prove`].
///
/// Everything here blocks. Opening takes about 0.3 s (once per process), a step about 0.15 s, a proof several seconds.
pub struct Prover {
    genesis: Genesis,
    folder: Folder,
    params: Arc<Proving>,
    current: Option<Current>,
}

/// The chain so far.
struct Current {
    last: Link,
    folded: Folded,
}

/// Why the prover cannot continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// Another process has the folder open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder or the state file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The state file is damaged, or belongs to another chain. It is left unchanged.
    #[error("{} cannot be continued: {reason}; restore it from a backup", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: StateError,
    },
    /// The checkpoint does not follow the last one; nothing was changed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// There is nothing to prove before the first checkpoint.
    #[error("the chain has no checkpoint yet")]
    Empty,
    /// The parameters could not be computed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The library failed.
    #[error("the proof system failed: {0}")]
    Library(#[from] NovaError),
    /// The new proof does not verify.
    #[error("the proof made does not verify: {0}")]
    Unsound(#[source] ProofError),
    /// The new proof does not have the shape that every proof has.
    #[error("the proof made cannot be encoded: {0}")]
    Encoding(#[from] EncodingError),
}

impl Prover {
    /// Opens the chain of `genesis` in `dir`, which is created if absent and locked. Verifies the state found there.
    ///
    /// # Errors
    /// When the folder is in use or unreadable, or the state is damaged or another chain's.
    pub fn open(dir: &Path, genesis: Genesis) -> Result<Self, ProverError> {
        let folder = Folder::open(dir).map_err(|error| match error {
            FolderError::Held => ProverError::InUse(dir.to_owned()),
            FolderError::Io { path, source } => ProverError::Io { path, source },
        })?;
        let path = folder.file();
        let bytes = folder.load().map_err(|source| ProverError::Io { path: path.clone(), source })?;
        // A damaged file is reported before any time is spent on parameters.
        let state = bytes.as_deref().map(State::decode).transpose();
        let state = state.map_err(|reason| ProverError::State { path: path.clone(), reason })?;
        let params = params::proving()?;
        let current = state.map(|state| resume(&params, &genesis, &state)).transpose();
        let current = current.map_err(|reason| ProverError::State { path, reason })?;
        Ok(Self { genesis, folder, params, current })
    }

    /// The chain's last step; `None` before the first checkpoint.
    #[must_use]
    pub fn tip(&self) -> Option<Tip> {
        self.last().map(|link| tip(&link))
    }

    /// The last link, with everything that an update contains.
    #[must_use]
    pub fn last(&self) -> Option<Link> {
        self.current.as_ref().map(|current| current.last)
    }

    /// The chain's genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Adds one step. Once this returns, the step is durable.
    ///
    /// # Errors
    /// When the checkpoint does not follow or the state cannot be written. The chain is then unchanged. Only after a
    /// [`ProverError::Io`] may the file already hold the new step: open it again to see.
    pub fn extend(&mut self, checkpoint: &Checkpoint) -> Result<Tip, ProverError> {
        self.extend_observed(checkpoint, &mut |_| {})
    }

    pub(crate) fn extend_observed(
        &mut self,
        checkpoint: &Checkpoint,
        observe: &mut dyn FnMut(Moment),
    ) -> Result<Tip, ProverError> {
        let mut chain = self.chain();
        let before = chain.tip();
        // The library would fold an unsatisfied step without an error, so a checkpoint that does not follow must not
        // get there.
        let commitment = chain.extend(checkpoint)?;
        let last = Link { previous: before.commitment, checkpoint: *checkpoint, commitment };
        let folded = self.fold(&before, checkpoint)?;
        if folded.outputs() != outputs(&chain.tip()) {
            return Err(NovaError::IncorrectWitness.into());
        }
        self.save(&last, &folded, observe)?;
        self.current = Some(Current { last, folded });
        Ok(chain.tip())
    }

    /// Compresses the chain into a proof of [`crate::PROOF_BYTES`] bytes and verifies it. Each call gives a different
    /// proof.
    ///
    /// # Errors
    /// When there is no checkpoint yet, or the library fails.
    pub fn prove(&self) -> Result<Vec<u8>, ProverError> {
        let current = self.current.as_ref().ok_or(ProverError::Empty)?;
        let proof = Compressed::prove(&self.params.public, &self.params.compressing, &current.folded)?;
        let bytes = encoding::encode(&proof)?;
        Verifier::shared().verify(&self.genesis, &tip(&current.last), &bytes).map_err(ProverError::Unsound)?;
        Ok(bytes)
    }

    fn chain(&self) -> Chain {
        match self.tip() {
            Some(tip) => Chain::at(tip.step, tip.height, tip.commitment),
            None => Chain::genesis(&self.genesis),
        }
    }

    fn fold(&self, before: &Tip, checkpoint: &Checkpoint) -> Result<Folded, NovaError> {
        let public = &self.params.public;
        let circuit = circuit::ChainStep::new(before, checkpoint);
        let mut folded = match &self.current {
            Some(current) => current.folded.clone(),
            None => Folded::new(public, &circuit, &outputs(before))?,
        };
        // `new` has already performed the first step; this call only counts it.
        folded.prove_step(public, &circuit)?;
        Ok(folded)
    }

    fn save(&self, last: &Link, folded: &Folded, observe: &mut dyn FnMut(Moment)) -> Result<(), ProverError> {
        let folded =
            bincode::serde::encode_to_vec(folded, bincode::config::legacy()).map_err(|_| NovaError::InternalError)?;
        let bytes = State { genesis: self.genesis.commitment(), last: *last, folded }.encode();
        let path = self.folder.file();
        self.folder.save(&bytes, observe).map_err(|source| ProverError::Io { path, source })
    }
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("genesis", &self.genesis).field("last", &self.last()).finish_non_exhaustive()
    }
}

/// Decodes the folded chain. Verifies that it starts at this genesis and ends where the state says.
fn resume(params: &Proving, genesis: &Genesis, state: &State) -> Result<Current, StateError> {
    if state.genesis != genesis.commitment() {
        return Err(StateError::Genesis(state.genesis));
    }
    let Link { previous, checkpoint, commitment } = &state.last;
    if next_commitment(previous, checkpoint) != *commitment {
        return Err(StateError::Proof);
    }
    let (folded, read): (Folded, usize) =
        bincode::serde::decode_from_slice(&state.folded, bincode::config::legacy().with_limit::<{ 16 << 20 }>())
            .map_err(|_| StateError::Format)?;
    let steps = usize::try_from(checkpoint.step).map_err(|_| StateError::Format)?;
    let start = outputs(&Chain::genesis(genesis).tip());
    let end = folded.verify(&params.public, steps, &start).map_err(|_| StateError::Proof)?;
    if end != outputs(&tip(&state.last)) || read != state.folded.len() {
        return Err(StateError::Proof);
    }
    Ok(Current { last: state.last, folded })
}

fn tip(link: &Link) -> Tip {
    Tip { step: link.checkpoint.step, height: link.checkpoint.height, commitment: link.commitment }
}

/// The values that the circuit carries from step to step.
fn outputs(tip: &Tip) -> [Scalar; 2] {
    [tip.commitment.scalar(), Scalar::from(tip.height)]
}

#[cfg(test)]
mod tests;
