//! Thousands of simulated nodes with several sessions. They run the real rules between sessions, the real store worker,
//! and the protocol's own consumer. The disk may crash before any step; the database may be full, unreadable at first,
//! or lost.
//!
//! The simulation checks that nothing is shown before it is recorded, that a root never has two writers, that no ack is
//! sent before the data that it covers is durable and recorded, that a cancelled session never comes back, that workers
//! are dismissed only when they are idle, and that everything ends.
//!
//! `RPP_SIM_RUNS` sets the number of runs, `RPP_SIM_SEED` the seed of the first one; a failing run prints its seed.

mod disk;
mod node;
#[path = "../../../p2p/tests/simulation/rng.rs"]
#[allow(unreachable_pub)] // as is the world, it is the fixture of the protocol's own simulation
mod rng;
#[path = "../../../p2p/tests/simulation/world.rs"]
#[allow(dead_code, unreachable_pub)]
mod world;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rpp_p2p::SnapshotSessionId;

use self::{disk::SimDisk, node::SimNode, rng::Rng};

/// Steps during which trouble happens. After them everything behaves.
const TROUBLE: u64 = 1_500;
/// All sessions must have ended by this step.
const END: u64 = 60_000;
/// The wanted snapshots, by step of the chain: payloads with no bytes, with less than a chunk, and with several chunks.
const STEPS: [u64; 4] = [1, 3, 7, 9];

struct Simulation {
    rng: Rng,
    disk: SimDisk,
    node: SimNode,
    now: Instant,
    max_active: usize,
    auto_resume: bool,
    /// Sessions whose removal was answered. They must never appear again.
    cancelled: BTreeSet<SnapshotSessionId>,
    crashes: u64,
    started: u64,
}

/// The counts of a run.
#[derive(Default)]
struct Tally {
    crashes: u64,
    completed: u64,
    cancelled: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (max_active, auto_resume, now) = (1 + rng.below(3) as usize, rng.chance(80), Instant::now());
        let disk = SimDisk::default();
        let node = SimNode::new(disk.clone(), max_active);
        Self { rng, disk, node, now, max_active, auto_resume, cancelled: BTreeSet::new(), crashes: 0, started: 0 }
    }

    fn run(mut self) -> Tally {
        for _ in 0..TROUBLE {
            self.trouble();
            self.go_on();
        }
        self.calm();
        for step in 0.. {
            assert!(step < END, "no end in sight: {}", self.node.describe());
            if !self.go_on() {
                break;
            }
        }
        let completed = self.node.check_end(self.now);
        Tally { crashes: self.crashes, completed, cancelled: self.cancelled.len() as u64 }
    }

    /// Random actions of an operator, the disk and the process.
    fn trouble(&mut self) {
        match self.rng.below(200) {
            0..6 if self.started < 6 => {
                self.started += 1;
                let session = SnapshotSessionId::new(self.started * 10 + self.rng.below(10)).unwrap();
                let step = self.rng.pick(&STEPS);
                self.node.start(session, step, self.now);
            }
            6..8 => {
                if let Some(session) = self.some_session() {
                    self.node.start_again(session);
                }
            }
            8..11 if self.rng.chance(8) => {
                if let Some(session) = self.some_session() {
                    self.node.cancel(session);
                }
            }
            11..14 => {
                if let Some(session) = self.some_session() {
                    self.node.resume(session, self.now);
                }
            }
            14..18 => self.disk.crash_in(self.rng.below(12) as u32),
            18 => self.disk.set_full(self.rng.chance(30)),
            19 => self.restart(),
            20 => self.node.take_up(self.now),
            21..30 => self.now += Duration::from_millis(self.rng.below(3_000)),
            _ => {}
        }
        self.look();
    }

    fn calm(&mut self) {
        self.disk.never_crash();
        self.look();
        self.disk.set_full(false);
        self.node.take_up(self.now);
        for session in self.node.sessions() {
            self.node.resume(session, self.now);
        }
    }

    /// Does one thing that can happen now. If there is none, time passes. Returns `false` if nothing will ever happen
    /// again.
    fn go_on(&mut self) -> bool {
        let did = self.node.happen(&mut self.rng, self.now);
        self.look();
        if did {
            return true;
        }
        match self.node.next_timeout() {
            Some(at) => {
                self.now = self.now.max(at);
                self.node.on_time(self.now);
                true
            }
            None => false,
        }
    }

    /// Restarts after a crash, and takes note of the removals that were answered.
    fn look(&mut self) {
        if self.disk.is_crashed() {
            return self.restart();
        }
        for session in self.node.take_removed() {
            self.disk.assert_gone(session);
            self.cancelled.insert(session);
        }
    }

    fn restart(&mut self) {
        self.crashes += 1;
        // Removals that the database had not taken yet were only in memory, as the log said.
        for session in self.disk.restart(&mut self.rng) {
            self.cancelled.remove(&session);
        }
        for session in &self.cancelled {
            self.disk.assert_gone(*session);
        }
        let is_readable = self.rng.chance(85);
        self.node = SimNode::new(self.disk.clone(), self.max_active);
        self.node.load(is_readable, self.auto_resume, self.now);
        for session in self.node.sessions() {
            assert!(!self.cancelled.contains(&session), "{session} was cancelled, and is back");
        }
    }

    fn some_session(&mut self) -> Option<SnapshotSessionId> {
        let sessions = self.node.sessions();
        if sessions.is_empty() { None } else { Some(self.rng.pick(&sessions)) }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_is_lost_shown_early_or_brought_back() {
    let (runs, first) = (number("RPP_SIM_RUNS", 300), number("RPP_SIM_SEED", 1));
    let mut total = Tally::default();
    for seed in first..first + runs {
        let tally = catch_unwind(AssertUnwindSafe(|| Simulation::new(seed).run())).unwrap_or_else(|panic| {
            eprintln!("seed {seed}: RPP_SIM_SEED={seed} RPP_SIM_RUNS=1 repeats it");
            std::panic::resume_unwind(panic)
        });
        total.crashes += tally.crashes;
        total.completed += tally.completed;
        total.cancelled += tally.cancelled;
    }
    println!("{runs} runs: {} crashes, {} complete, {} cancelled", total.crashes, total.completed, total.cancelled);
    // The runs must really have covered crashes, completions and cancellations.
    assert!(runs < 100 || (total.crashes > runs && total.completed > runs && total.cancelled > runs / 2));
}
