//! Checks a stored payload without a network: payload, outboard, chain, signatures and proof.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use rpp_p2p::{
    Hash, PayloadFormat, TrustAnchor, limits,
    outboard::{GROUP, Layout, NODE},
    plan::{self, PlanBounds, check_authority_signatures, check_plan},
};
use rpp_proofs::{Genesis, GenesisError, NotCanonical, ProofError, SetupError, Tip, Verifier};
use serde::Serialize;

use crate::store::{Damage, MANIFEST, Offer, Store, Stored, nodes};

/// Bytes read at a time; a whole number of groups.
const PIECE: usize = 4 * 1024 * 1024;

/// The result of checking a stored payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The payload's root.
    pub root: Hash,
    /// Its length.
    pub bytes: u64,
    /// The format, which is a hint.
    pub format: PayloadFormat,
    /// Whether its bytes hash to the root.
    pub payload: Check,
    /// Whether the outboard's hashes are those of the bytes.
    pub outboard: Check,
    /// One entry for each snapshot whose payload this is.
    pub offers: Vec<OfferReport>,
    /// Whether every check passed.
    pub ok: bool,
}

/// The result for one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferReport {
    /// Its height.
    pub height: u64,
    /// Its step.
    pub step: u64,
    /// The tip that its updates lead to.
    pub tip_height: u64,
    /// The tip's step.
    pub tip_step: u64,
    /// The genesis commitment of its chain.
    pub genesis: Hash,
    /// Whether that is the configured genesis. Absent if none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// Whether plan and updates are an unbroken chain.
    pub chain: Check,
    /// Whether enough publishers signed the tip.
    pub signatures: Check,
    /// Whether the recursive proof leads from genesis to the tip.
    pub proof: Check,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "reason")]
pub enum Check {
    /// Passed.
    Ok,
    /// Did not pass, and why.
    Failed(String),
}

impl Check {
    /// Whether it passed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        *self == Self::Ok
    }

    fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The operator's fault: there is no such payload.
    #[error("no payload {root} is stored")]
    Unknown {
        /// Which.
        root: Hash,
    },
    /// The disk's fault: the payload exists, but the store does not offer it.
    #[error("payload {root} is damaged: {reason}")]
    Damaged {
        /// Which.
        root: Hash,
        /// What is wrong.
        #[source]
        reason: Damage,
    },
    /// The machine's fault: it cannot check proofs now.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The machine's fault: reading failed.
    #[error("cannot read payload {root}")]
    Read {
        /// Which.
        root: Hash,
        /// Why not.
        source: io::Error,
    },
}

/// Checks everything about a stored payload. `trust` is the configured anchor. Without one, signatures are checked
/// against the publishers that the offer itself names. Blocks while it reads the payload.
///
/// # Errors
/// There is nothing to check, or it cannot be read. A check that does not pass is in the report.
pub fn verify(store: &Store, root: &Hash, trust: Option<&TrustAnchor>) -> Result<VerifyReport, VerifyError> {
    verify_shown(store, root, trust, &mut |_, _| {})
}

/// [`verify`] that calls `progress` with the bytes of the payload read so far and in all.
///
/// # Errors
/// As [`verify`].
pub fn verify_shown(
    store: &Store,
    root: &Hash,
    trust: Option<&TrustAnchor>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    // That a proof cannot be checked here shows nothing about the payload, so it is no part of a report.
    find(store, root)?;
    Verifier::shared().prepare()?;
    verify_with(store, root, trust, &verify_proof, progress)
}

pub(crate) type CheckProof<'a> = &'a dyn Fn(&Genesis, &Tip, &[u8]) -> Result<(), ProofError>;

fn verify_proof(genesis: &Genesis, tip: &Tip, proof: &[u8]) -> Result<(), ProofError> {
    Verifier::shared().verify(genesis, tip, proof)
}

pub(crate) fn verify_with(
    store: &Store,
    root: &Hash,
    trust: Option<&TrustAnchor>,
    check_proof: CheckProof<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    let stored = find(store, root)?;
    let (payload, outboard) =
        check_bytes(&stored, progress).map_err(|source| VerifyError::Read { root: *root, source })?;
    let offers: Vec<_> = stored.offers().iter().map(|offer| check_offer(offer, trust, check_proof)).collect();
    let ok = payload.is_ok() && outboard.is_ok() && offers.iter().all(OfferReport::is_ok);
    Ok(VerifyReport { root: *root, bytes: stored.bytes(), format: stored.format(), payload, outboard, offers, ok })
}

fn find(store: &Store, root: &Hash) -> Result<Arc<Stored>, VerifyError> {
    if let Some(stored) = store.get(root) {
        return Ok(stored);
    }
    let name = root.to_string();
    match store.damaged().into_iter().find(|damaged| damaged.path.ends_with(&name)) {
        Some(damaged) => Err(VerifyError::Damaged { root: *root, reason: damaged.reason }),
        None => Err(VerifyError::Unknown { root: *root }),
    }
}

/// Hashes the payload again and compares the outboard with the result.
fn check_bytes(stored: &Stored, progress: &mut dyn FnMut(u64, u64)) -> io::Result<(Check, Check)> {
    let layout = Layout::new(stored.bytes());
    let open = stored.open().map_err(io::Error::other)?;
    // A file without a name, on the store's disk if that is writable.
    let fresh = tempfile::tempfile_in(stored.folder_path()).or_else(|error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => tempfile::tempfile(),
        _ => Err(error),
    })?;
    let root = hash(&open.reader()?, &fresh, &layout, progress)?;
    if root != stored.root() {
        let unknown = Check::Failed("not checked, because the payload is damaged".to_owned());
        return Ok((Check::Failed(format!("its bytes hash to {root}")), unknown));
    }
    let outboard = match first_difference(&open.outboard()?, &fresh)? {
        None => Check::Ok,
        Some(at) => Check::Failed(format!("it differs from what the payload makes at byte {at}")),
    };
    Ok((Check::Ok, outboard))
}

/// Computes the outboard of a payload into `fresh`, and returns the root.
fn hash(payload: &File, fresh: &File, layout: &Layout, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Hash> {
    let total = layout.payload_bytes();
    if layout.levels() == 0 {
        return nodes::single(payload, total);
    }
    fresh.set_len(layout.file_len())?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < total {
        progress(at, total);
        let want = PIECE.min(usize::try_from(total - at).unwrap_or(PIECE));
        payload.read_exact_at(&mut buffer[..want], at)?;
        fresh.write_all_at(&nodes::groups(at, &buffer[..want]), at / GROUP * NODE)?;
        at += want as u64;
    }
    progress(total, total);
    nodes::fill(fresh, layout)?.ok_or_else(|| io::Error::other("a tree without a root"))
}

fn first_difference(left: &File, right: &File) -> io::Result<Option<u64>> {
    let length = right.metadata()?.len();
    if left.metadata()?.len() != length {
        return Ok(Some(length.min(left.metadata()?.len())));
    }
    let (mut one, mut other) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    let mut at = 0;
    while at < length {
        let want = one.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        left.read_exact_at(&mut one[..want], at)?;
        right.read_exact_at(&mut other[..want], at)?;
        if let Some(place) = one[..want].iter().zip(&other[..want]).position(|(a, b)| a != b) {
            return Ok(Some(at + place as u64));
        }
        at += want as u64;
    }
    Ok(None)
}

impl OfferReport {
    fn is_ok(&self) -> bool {
        self.trusted != Some(false) && self.chain.is_ok() && self.signatures.is_ok() && self.proof.is_ok()
    }
}

fn check_offer(offer: &Offer, trust: Option<&TrustAnchor>, check_proof: CheckProof<'_>) -> OfferReport {
    let genesis = plan::genesis(&offer.genesis);
    let named = genesis.as_ref().map_or(Hash::default(), |genesis| Hash(genesis.commitment().to_bytes()));
    let revoked = trust.map(|trust| trust.revoked.clone()).unwrap_or_default();
    let own = TrustAnchor::new(named).with_revoked(revoked);
    let mut report = OfferReport {
        height: offer.snapshot.checkpoint.height,
        step: offer.snapshot.checkpoint.step,
        tip_height: offer.tip.height,
        tip_step: offer.tip.step,
        genesis: named,
        trusted: trust.map(|trust| trust.genesis == named),
        chain: Check::Ok,
        signatures: Check::Ok,
        proof: Check::Ok,
    };
    let genesis = match genesis {
        Ok(genesis) => genesis,
        Err(error) => {
            report.chain = Check::Failed(error.to_string());
            return report;
        }
    };
    check_chain(offer, &own, &mut report);
    report.proof = Check::of(check_tip(offer, &genesis, check_proof));
    report
}

/// Checks that the recursive proof of an offer leads from its genesis to its tip. Blocks for about 85 ms, longer the
/// first time.
///
/// # Errors
/// What is wrong with the proof. The message names the file.
pub(crate) fn check_proof(offer: &Offer) -> Result<(), UnprovenOffer> {
    let wrong = |reason| UnprovenOffer { height: offer.snapshot.checkpoint.height, reason };
    let genesis = plan::genesis(&offer.genesis).map_err(|error| wrong(error.into()))?;
    check_tip(offer, &genesis, &verify_proof).map_err(wrong)
}

/// An offer in a manifest whose recursive proof does not hold. The author of the manifest is at fault, or the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof of the offer at height {height} in {MANIFEST} does not hold: {reason}")]
pub(crate) struct UnprovenOffer {
    height: u64,
    reason: Unproven,
}

impl UnprovenOffer {
    /// Whether this machine could not check the proof, which shows nothing about it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(&self.reason, Unproven::Proof(error) if error.is_local())
    }
}

/// Why a tip is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unproven {
    #[error("there is none")]
    NoProof,
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    #[error(transparent)]
    Commitment(#[from] NotCanonical),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

fn check_chain(offer: &Offer, own: &TrustAnchor, report: &mut OfferReport) {
    let plan = match offer.plan(limits::DEFAULT_CHUNK_SIZE) {
        Ok(plan) => plan,
        Err(error) => return report.chain = Check::Failed(error.to_string()),
    };
    if let Err(error) = check_plan(&plan, own, &PlanBounds::default()) {
        return report.chain = Check::Failed(error.to_string());
    }
    match check_authority_signatures(&plan, &offer.wire_updates(), own) {
        Ok(()) => {}
        Err(error @ (plan::AuthorityError::Signatures(_) | plan::AuthorityError::Authentication { .. })) => {
            report.signatures = Check::Failed(error.to_string());
        }
        Err(error) => report.chain = Check::Failed(error.to_string()),
    }
}

fn check_tip(offer: &Offer, genesis: &Genesis, check_proof: CheckProof<'_>) -> Result<(), Unproven> {
    let proof = offer.updates.last().and_then(|update| update.recursive_proof.as_ref()).ok_or(Unproven::NoProof)?;
    let commitment = plan::commitment(&offer.tip.commitment)?;
    Ok(check_proof(genesis, &Tip { step: offer.tip.step, height: offer.tip.height, commitment }, proof)?)
}

#[cfg(test)]
mod tests;
