use std::fs;

use super::*;
use crate::{
    publish::fake::{bytes, publish_bytes},
    store::Store,
};

/// Plans of one chain, by the step of the snapshot and the step of the tip.
struct Plans {
    _temp: tempfile::TempDir,
    plans: BTreeMap<(u64, u64), (Plan, Vec<Update>)>,
}

impl Plans {
    fn new(fork: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut plans = BTreeMap::new();
        for tip in 1..=5 {
            let seed = if tip < 3 { tip } else { tip + fork };
            publish_bytes(temp.path(), &bytes(100, seed), tip * 10);
            let store = Store::open(temp.path()).unwrap();
            for step in 1..=tip {
                let (_, offer) = store.best_offer(None, Some(step * 10)).unwrap();
                plans.insert((step, tip), (offer.plan(16_384).unwrap(), offer.updates.clone()));
            }
        }
        Self { _temp: temp, plans }
    }

    fn get(&self, step: u64, tip: u64) -> (&Plan, &[Update]) {
        let (plan, updates) = &self.plans[&(step, tip)];
        (plan, updates)
    }
}

const GENESIS: Hash = Hash([1; 32]);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("head.json")
    }

    fn load(&self) -> HeadFile {
        HeadFile::load(&self.path(), GENESIS).unwrap()
    }

    fn accepted(&self, accepted: &[(&Plan, &[Update])]) -> HeadFile {
        let mut head = self.load();
        for (plan, updates) in accepted {
            head.accept(plan, updates).unwrap();
        }
        self.load()
    }
}

#[test]
fn the_head_moves_only_forwards_and_survives() {
    let plans = Plans::new(0);
    let place = Place::new();
    let mut head = place.load();
    assert!(head.newest().is_none());
    let (plan, updates) = plans.get(2, 3);
    assert_eq!(head.judge(plan, updates), Verdict::Newer);
    assert!(head.accept(plan, updates).unwrap());
    let head = place.load();
    let newest = head.newest().unwrap();
    assert_eq!((newest.step, newest.height, newest.commitment), (3, 30, plan.tip.commitment));
    assert_eq!(head.judge(plan, updates), Verdict::Known);
    let (older, older_updates) = plans.get(1, 2);
    assert_eq!(head.judge(older, older_updates), Verdict::Known);
    let mut head = head;
    assert!(!head.accept(older, older_updates).unwrap());
    assert_eq!(head.newest().unwrap().step, 3);
    let (newer, newer_updates) = plans.get(4, 5);
    assert_eq!(head.judge(newer, newer_updates), Verdict::Newer);
    assert!(head.accept(newer, newer_updates).unwrap());
    assert_eq!(place.load().newest().unwrap().step, 5);
}

#[test]
fn an_older_tip_needs_a_connection_to_what_was_accepted() {
    let plans = Plans::new(0);
    let place = Place::new();
    let head = place.accepted(&[plans.get(5, 5)]);
    for (step, tip) in [(1, 1), (1, 2), (2, 4), (4, 4)] {
        let (plan, updates) = plans.get(step, tip);
        assert_eq!(head.judge(plan, updates), Verdict::Stale { newest: 5 }, "{step}..{tip}");
    }
    let (plan, updates) = plans.get(1, 5);
    assert_eq!(head.judge(plan, updates), Verdict::Known);
    // Accepting it makes its ancestors known.
    let head = place.accepted(&[plans.get(1, 5)]);
    for (step, tip) in [(1, 1), (2, 4), (4, 4)] {
        let (plan, updates) = plans.get(step, tip);
        assert_eq!(head.judge(plan, updates), Verdict::Known, "{step}..{tip}");
    }
}

#[test]
fn two_signed_histories_are_equivocation_and_the_evidence_is_kept() {
    // Both chains are the same up to step 2; then one forks.
    let (plans, fork) = (Plans::new(0), Plans::new(100));
    let place = Place::new();
    let head = place.accepted(&[plans.get(1, 1), plans.get(3, 3)]);
    let at = |step, tip| {
        let (plan, updates) = fork.get(step, tip);
        match head.judge(plan, updates) {
            Verdict::Equivocation { step, accepted, offered } => {
                assert_eq!(accepted, plans.get(3, 3).0.tip.commitment);
                assert_eq!(offered, fork.get(3, 3).0.tip.commitment);
                Some(step)
            }
            _ => None,
        }
    };
    // The tip itself, in the middle of a longer chain, and just before its first update.
    assert_eq!([at(3, 3), at(1, 5), at(3, 4), at(4, 5)], [Some(3); 4]);
    assert_eq!(at(2, 2), None);
    // Nothing contradicts a step beyond what was accepted.
    let (plan, updates) = fork.get(5, 5);
    assert_eq!(head.judge(plan, updates), Verdict::Newer);

    let (plan, updates) = fork.get(3, 3);
    let evidence = head.keep_evidence(plan, updates).unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&evidence).unwrap()).unwrap();
    assert_eq!(kept["offered"]["tip"]["step"], 3);
    assert!(kept["offered_updates"][0]["signatures"][0]["signature"].is_string());
    assert!(kept["accepted"]["newest"]["signatures"][0]["signature"].is_string());
    assert_ne!(kept["accepted"]["newest"]["checkpoint"]["commitment"], kept["offered"]["tip"]["commitment"]);
    assert_eq!(head.keep_evidence(plan, updates).unwrap().unwrap(), evidence);
    assert_eq!(place.load().newest().unwrap().commitment, plans.get(3, 3).0.tip.commitment);
}

#[test]
fn evidence_is_bounded() {
    let fork = Plans::new(1);
    let place = Place::new();
    let head = place.load();
    for i in 0..MAX_EVIDENCE {
        fs::write(place.0.path().join(format!("{EVIDENCE}{i}")), "").unwrap();
    }
    let (plan, updates) = fork.get(3, 3);
    assert!(head.keep_evidence(plan, updates).unwrap().is_none());
}

#[test]
fn an_unreadable_file_says_how_to_confirm_a_reset() {
    let plans = Plans::new(0);
    let place = Place::new();
    place.accepted(&[plans.get(1, 1)]);
    let good = fs::read(place.path()).unwrap();
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for bad in [good[..good.len() - 1].to_vec(), flipped, Vec::new()] {
        fs::write(place.path(), bad).unwrap();
        let error = HeadFile::load(&place.path(), GENESIS).unwrap_err();
        assert!(matches!(error, HeadError::Unreadable { .. }));
        assert!(error.to_string().contains("mv "), "{error}");
    }
    fs::remove_file(place.path()).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.path()).unwrap();
    assert!(HeadFile::load(&place.path(), GENESIS).is_err());
    fs::remove_file(place.path()).unwrap();
    assert!(place.load().newest().is_none());
}

#[test]
fn each_trusted_chain_has_its_own_head() {
    let plans = Plans::new(0);
    let place = Place::new();
    place.accepted(&[plans.get(1, 5)]);
    let (plan, updates) = plans.get(1, 1);
    let mut other = HeadFile::load(&place.path(), Hash([2; 32])).unwrap();
    assert!(other.newest().is_none());
    other.accept(plan, updates).unwrap();
    assert_eq!(place.load().newest().unwrap().step, 5);
}

#[test]
fn what_is_remembered_is_bounded() {
    let plans = Plans::new(0);
    let (plan, updates) = plans.get(1, 1);
    let update = &updates[0];
    let mut chain = Chain::default();
    let points: Vec<Checkpoint> =
        (0..MAX_ACCEPTED as u64 + 10).map(|step| Checkpoint { step, ..update.checkpoint }).chain([plan.tip]).collect();
    chain.add(points.iter());
    assert_eq!(chain.accepted.len(), MAX_ACCEPTED);
    assert_eq!(chain.accepted[0].step, 10);
}
