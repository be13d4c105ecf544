//! A prover that proves nothing and takes no time. The tests of the disk need many publishes and no proofs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rpp_p2p::Hash;
use rpp_proofs::{Chain, Checkpoint, Genesis, ProofError, ProverError, Signer, Tip};

use super::{OpenProver, Prove, PublishError, PublishRequest, Published};
use crate::{files, store::DiskSpace};

pub(crate) struct FakeProver {
    path: PathBuf,
    genesis: Genesis,
    tip: Option<Tip>,
}

impl Prove for FakeProver {
    fn last(&self) -> Option<Tip> {
        self.tip
    }

    fn extend(&mut self, checkpoint: &Checkpoint) -> Result<(), ProverError> {
        let mut chain = match self.tip {
            Some(tip) => Chain::at(tip.step, tip.height, tip.commitment),
            None => Chain::genesis(&self.genesis),
        };
        chain.extend(checkpoint)?;
        files::write_atomic(&self.path, &serde_json::to_vec(&chain.tip()).unwrap(), 0o600).unwrap();
        self.tip = Some(chain.tip());
        Ok(())
    }

    fn prove(&self) -> Result<Vec<u8>, ProverError> {
        Ok(proof(&self.tip.ok_or(ProverError::Empty)?))
    }
}

pub(crate) fn proof(tip: &Tip) -> Vec<u8> {
    format!("proof of {}", tip.commitment).into_bytes()
}

/// Accepts what [`FakeProver`] makes.
pub(crate) fn check_proof(_: &Genesis, tip: &Tip, bytes: &[u8]) -> Result<(), ProofError> {
    if bytes == proof(tip) { Ok(()) } else { Err(ProofError::Invalid("not its proof".to_owned())) }
}

pub(crate) fn open(folder: &Path, genesis: &Genesis) -> Result<Box<dyn Prove>, ProverError> {
    files::create_dir_private(folder).unwrap();
    let path = folder.join("state");
    let tip = std::fs::read(&path).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
    Ok(Box::new(FakeProver { path, genesis: genesis.clone(), tip }))
}

pub(crate) const OPEN: OpenProver<'static> = &open;

pub(crate) fn signer() -> Signer {
    Signer::from_seed([7; 32])
}

pub(crate) fn genesis() -> Genesis {
    Genesis::new("example".to_owned(), vec![signer().public()], 1).unwrap()
}

/// A request for tests; `request.keep` and other fields may be changed.
pub(crate) fn request<'a>(snapshots: &'a Path, input: &'a Path, height: u64, signer: &'a Signer) -> PublishRequest<'a> {
    PublishRequest {
        snapshots_dir: snapshots,
        input,
        height,
        block_hash: None,
        chain_id: "example",
        signer,
        keep: 0,
        allow_links: false,
    }
}

pub(crate) fn publish(snapshots: &Path, input: &Path, height: u64) -> Result<Published, PublishError> {
    super::run(&request(snapshots, input, height, &signer()), Arc::new(DiskSpace), OPEN, &mut |_| {})
}

/// Publishes these bytes.
pub(crate) fn publish_bytes(snapshots: &Path, bytes: &[u8], height: u64) -> Published {
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), bytes).unwrap();
    let published = publish(snapshots, input.path(), height).unwrap();
    assert_eq!(published.root, Hash::from(blake3::hash(bytes)));
    published
}

/// Bytes without repetition.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    reader.fill(&mut bytes);
    bytes
}
