//! The prover's state: what it survives, and which states it refuses to continue.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::support::{checkpoint, genesis};
use rpp_proofs::{Chain, ChainError, Checkpoint, Prover, ProverError, StateError, Tip, VERIFIER_KEY_SHA256, Verifier};

/// A folder with the state of a chain of some steps.
fn chain(steps: u64) -> (tempfile::TempDir, Tip) {
    let dir = tempfile::tempdir().unwrap();
    let mut prover = Prover::open(dir.path(), genesis("one")).unwrap();
    let tip = (1..=steps).map(|step| prover.extend(&checkpoint(step)).unwrap()).last().unwrap();
    (dir, tip)
}

fn state(dir: &Path) -> PathBuf {
    dir.join("state")
}

#[track_caller]
fn refusal(dir: &Path) -> StateError {
    match Prover::open(dir, genesis("one")).map(drop) {
        Err(ProverError::State { path, reason }) => {
            assert_eq!(path, state(dir));
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let (dir, tip) = chain(2);
    let size = fs::metadata(state(dir.path())).unwrap().len();
    let mut prover = Prover::open(dir.path(), genesis("one")).unwrap();
    assert_eq!(prover.tip(), Some(tip));
    let last = prover.last().unwrap();
    assert_eq!((last.checkpoint, last.commitment), (checkpoint(2), tip.commitment));
    let tip = prover.extend(&checkpoint(3)).unwrap();
    drop(prover);

    let prover = Prover::open(dir.path(), genesis("one")).unwrap();
    let mut native = Chain::genesis(&genesis("one"));
    for step in 1..=3 {
        native.extend(&checkpoint(step)).unwrap();
    }
    assert_eq!((prover.tip(), native.tip()), (Some(tip), tip));
    let proof = prover.prove().unwrap();
    Verifier::shared().verify(&genesis("one"), &tip, &proof).unwrap();

    let metadata = fs::metadata(state(dir.path())).unwrap();
    assert_eq!(metadata.len(), size, "constant");
    assert!(size < 2_000_000, "{size}");
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

#[test]
fn what_does_not_follow_changes_nothing() {
    let (dir, tip) = chain(1);
    let before = fs::read(state(dir.path())).unwrap();
    let mut prover = Prover::open(dir.path(), genesis("one")).unwrap();
    let refused = |prover: &mut Prover, checkpoint: Checkpoint| match prover.extend(&checkpoint) {
        Err(ProverError::Chain(error)) => error,
        other => panic!("{other:?}"),
    };
    for height in [0, tip.height - 1, tip.height] {
        let error = refused(&mut prover, Checkpoint { height, ..checkpoint(2) });
        assert_eq!(error, ChainError::Height { after: tip.height, found: height });
    }
    for step in [0, 1, 3, u64::MAX] {
        let error = refused(&mut prover, Checkpoint { step, ..checkpoint(2) });
        assert_eq!(error, ChainError::Step { after: 1, found: step });
    }
    assert_eq!(prover.tip(), Some(tip));
    assert_eq!(fs::read(state(dir.path())).unwrap(), before);
    prover.extend(&checkpoint(2)).unwrap();
}

#[test]
fn an_empty_chain_refuses_to_prove_and_to_start_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut prover = Prover::open(dir.path(), genesis("one")).unwrap();
    assert_eq!((prover.tip(), prover.last()), (None, None));
    assert!(matches!(prover.prove(), Err(ProverError::Empty)));
    let error = prover.extend(&Checkpoint { height: 0, ..checkpoint(1) }).unwrap_err();
    assert!(matches!(error, ProverError::Chain(ChainError::Height { after: 0, found: 0 })), "{error}");
    assert!(!state(dir.path()).exists());
}

#[test]
fn a_flipped_byte_anywhere_is_noticed() {
    let (dir, _) = chain(1);
    let whole = fs::read(state(dir.path())).unwrap();
    // Each byte of the header and of the end, and a sample of the rest.
    let header = 0..264;
    let sampled = (264..whole.len() - 64).step_by(whole.len() / 100);
    let end = whole.len() - 64..whole.len();
    for index in header.chain(sampled).chain(end) {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x10;
        fs::write(state(dir.path()), &damaged).unwrap();
        let expected = if index < 8 { StateError::Format } else { StateError::Checksum };
        assert_eq!(refusal(dir.path()), expected, "byte {index}");
    }
    assert_ne!(fs::read(state(dir.path())).unwrap(), whole, "a damaged state is left as it is");
    fs::write(state(dir.path()), &whole).unwrap();
    Prover::open(dir.path(), genesis("one")).unwrap();
}

#[test]
fn a_half_written_file_is_noticed() {
    let (dir, _) = chain(1);
    let whole = fs::read(state(dir.path())).unwrap();
    for length in [0, 1, 7, 31] {
        fs::write(state(dir.path()), &whole[..length]).unwrap();
        assert_eq!(refusal(dir.path()), StateError::Length, "{length} bytes");
    }
    for length in [41, 100, 264, whole.len() / 2, whole.len() - 32, whole.len() - 1] {
        fs::write(state(dir.path()), &whole[..length]).unwrap();
        assert_eq!(refusal(dir.path()), StateError::Checksum, "{length} bytes");
    }
    for longer in [[&whole[..], &[0]].concat(), [&whole[..], &whole[..]].concat()] {
        fs::write(state(dir.path()), &longer).unwrap();
        assert_eq!(refusal(dir.path()), StateError::Checksum);
    }
    // All bytes are there, but the end is still zeros, as after a power loss on some file systems.
    let mut zeros = whole.clone();
    zeros[whole.len() / 2..].fill(0);
    fs::write(state(dir.path()), &zeros).unwrap();
    assert_eq!(refusal(dir.path()), StateError::Checksum);
}

/// A checksum protects against accidents; the folded chain itself shows what the state claims.
#[test]
fn a_rewritten_state_with_a_right_checksum_is_noticed() {
    let (dir, _) = chain(2);
    let whole = fs::read(state(dir.path())).unwrap();
    let rewrite = |range: std::ops::Range<usize>, bytes: &[u8]| {
        let mut forged = whole.clone();
        forged[range].copy_from_slice(bytes);
        let content = forged.len() - 32;
        let checksum = blake3::hash(&forged[..content]);
        forged[content..].copy_from_slice(checksum.as_bytes());
        fs::write(state(dir.path()), &forged).unwrap();
        refusal(dir.path())
    };
    assert_eq!(rewrite(7..8, &[2]), StateError::Format, "another format version");
    let key = hex::decode(VERIFIER_KEY_SHA256).unwrap();
    assert_eq!(whole[8..40], key);
    assert_eq!(rewrite(8..40, &[0; 32]), StateError::ProofSystem);
    let other = genesis("two").commitment();
    assert_eq!(rewrite(40..72, other.as_bytes()), StateError::Genesis(other));
    assert_eq!(rewrite(72..104, &[0; 32]), StateError::Proof, "previous commitment");
    assert_eq!(rewrite(72..104, &[0xff; 32]), StateError::Format, "not a commitment");
    assert_eq!(rewrite(104..112, &3_u64.to_le_bytes()), StateError::Proof, "step");
    assert_eq!(rewrite(112..120, &201_u64.to_le_bytes()), StateError::Proof, "height");
    assert_eq!(rewrite(120..152, &[0; 32]), StateError::Proof, "block hash");
    assert_eq!(rewrite(184..192, &0_u64.to_le_bytes()), StateError::Proof, "payload bytes");
    assert_eq!(rewrite(192..224, &[0; 32]), StateError::Proof, "commitment");
    assert_eq!(rewrite(224..232, &1_u64.to_le_bytes()), StateError::Length);
    let witness = whole.len() / 2;
    assert_eq!(rewrite(witness..witness + 1, &[whole[witness] ^ 1]), StateError::Proof, "witness");
}

#[test]
fn another_chains_state_is_refused() {
    let (dir, _) = chain(1);
    match Prover::open(dir.path(), genesis("two")).map(drop) {
        Err(ProverError::State { reason, .. }) => {
            assert_eq!(reason, StateError::Genesis(genesis("one").commitment()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_publishers_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("chain");
    let first = Prover::open(&folder, genesis("one")).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700, "a folder it makes is its own");
    let second = Prover::open(&folder, genesis("one"));
    assert!(matches!(second, Err(ProverError::InUse(_))), "{second:?}");
    drop(first);
    Prover::open(&folder, genesis("one")).unwrap();
}

#[test]
fn symbolic_links_are_not_followed() {
    let (dir, _) = chain(1);
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(state(dir.path()), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, state(dir.path())).unwrap();
    let refused = Prover::open(dir.path(), genesis("one"));
    assert!(matches!(refused, Err(ProverError::Io { .. })), "{refused:?}");
}

#[test]
fn a_state_that_cannot_be_written_is_reported_and_the_old_one_stays() {
    let (dir, tip) = chain(1);
    let mut prover = Prover::open(dir.path(), genesis("one")).unwrap();
    // A folder stands in the place where the new state would be written first; this fails even for root.
    fs::create_dir(dir.path().join("state.tmp")).unwrap();
    let refused = prover.extend(&checkpoint(2));
    assert!(matches!(refused, Err(ProverError::Io { .. })), "{refused:?}");
    assert_eq!(prover.tip(), Some(tip));
    fs::remove_dir(dir.path().join("state.tmp")).unwrap();
    assert_eq!(prover.extend(&checkpoint(2)).unwrap().step, 2);
}
