//! A publisher killed between any two steps of a publish.
//!
//! The test starts its own executable again as the publisher, which kills itself (SIGKILL: nothing is flushed, dropped
//! or cleaned up) at the given moment. The next publisher must continue from what was left.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Signal, getpid, kill_process};

use super::*;
use crate::signature::Signer;

const FOLDER: &str = "RPP_TEST_CRASH_FOLDER";
const STEP: &str = "RPP_TEST_CRASH_STEP";
const MOMENT: &str = "RPP_TEST_CRASH_MOMENT";

/// The moments of a publish before the new state has taken the old one's place. The first finds no state at all.
const BEFORE: [&str; 4] = ["HalfWritten", "Created", "Written", "Synced"];
/// The moments after that. What follows the last, making and verifying the proof, writes nothing.
const AFTER: [&str; 2] = ["Renamed", "Durable"];

fn genesis() -> Genesis {
    Genesis::new("crash".into(), vec![Signer::from_seed([1; 32]).public()], 1).unwrap()
}

fn checkpoint(step: u64) -> Checkpoint {
    Checkpoint { step, height: step, block_hash: [1; 32], state_root: [2; 32], payload_bytes: step }
}

/// Not a test of its own: the publisher that the other tests start. Without its environment it does nothing.
#[test]
fn publisher() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let moment = std::env::var(MOMENT).unwrap();
    let die_at = |reached: &str| {
        if reached == moment {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    };
    let mut prover = Prover::open(Path::new(&folder), genesis()).unwrap();
    let step = std::env::var(STEP).unwrap().parse().unwrap();
    prover.extend_observed(&checkpoint(step), &mut |moment| die_at(&format!("{moment:?}"))).unwrap();
    panic!("not killed at {moment}");
}

fn crash(folder: &Path, step: u64, moment: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "prover::tests::publisher", "--nocapture", "--test-threads=1"])
        .envs([(STEP, step.to_string().as_str()), (MOMENT, moment)])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "at {moment}: {status}");
}

#[test]
fn a_publish_killed_at_any_moment_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("chain");
    // Each crash hits the publish of the chain's next step.
    for (step, moment) in (1..).zip(BEFORE.into_iter().chain(AFTER)) {
        crash(&folder, step, moment);
        let mut prover = Prover::open(&folder, genesis()).unwrap_or_else(|error| panic!("after {moment}: {error}"));
        if AFTER.contains(&moment) {
            assert_eq!(prover.last().unwrap().checkpoint, checkpoint(step), "after {moment}");
        } else {
            assert_eq!(prover.tip().map_or(0, |tip| tip.step), step - 1, "after {moment}");
            prover.extend(&checkpoint(step)).unwrap();
        }
        assert_eq!(prover.tip(), Some(native_tip(step)), "after {moment}");
        drop(prover);
        // Opening verifies the whole chain: an interrupted publish leads to the same chain as one that was never
        // interrupted.
        assert_eq!(Prover::open(&folder, genesis()).unwrap().tip(), Some(native_tip(step)), "after {moment}");
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "only the state and its lock: {names:?}");
    }
}

/// The other way for a first publish to end early: its state is in place, and nothing else.
#[test]
fn a_first_publish_killed_after_its_state_is_in_place_has_taken_its_step() {
    let dir = tempfile::tempdir().unwrap();
    crash(dir.path(), 1, "Renamed");
    assert_eq!(Prover::open(dir.path(), genesis()).unwrap().tip(), Some(native_tip(1)));
}

/// A file that cannot be opened is named, and not its folder alone.
#[test]
fn what_cannot_be_opened_in_the_folder_is_named() {
    for name in ["state.lock", "state"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let error = Prover::open(dir.path(), genesis()).unwrap_err();
        assert!(matches!(&error, ProverError::Io { path, .. } if path.ends_with(name)), "{error}");
    }
}

fn native_tip(steps: u64) -> Tip {
    let mut chain = Chain::genesis(&genesis());
    for step in 1..=steps {
        chain.extend(&checkpoint(step)).unwrap();
    }
    chain.tip()
}
