//! `cargo bench -p rpp-proofs`: the cost of extending, proving and verifying a chain, for several lengths.
//!
//! The benchmark prints a table and compares it with the bars of this crate. It exits with 1 when a size is not
//! constant. `RPP_BENCH_STEPS=10,100` measures other lengths than 10, 100 and 1,000 (which take about three minutes on
//! two cores). Each proof is verified in a process of its own, because a verifier's memory is one of the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fmt::Display,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use rpp_proofs::{Checkpoint, Genesis, PROOF_BYTES, Prover, Signer, Tip, Verifier, next_commitment};

const VERIFY: &str = "RPP_BENCH_VERIFY";
const STEPS: &str = "RPP_BENCH_STEPS";

/// What a row must not exceed.
const VERIFY_BAR: Duration = Duration::from_millis(150);
const FIRST_BAR: Duration = Duration::from_millis(400);
const STEP_BAR: Duration = Duration::from_millis(250);
const MEMORY_BAR_MIB: f64 = 256.0;
const VERIFIER_MEMORY_BAR_MIB: f64 = 128.0;

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os(VERIFY) {
        verify(Path::new(&dir));
        return ExitCode::SUCCESS;
    }
    let steps = std::env::var(STEPS).unwrap_or_else(|_| "10,100,1000".into());
    let mut lengths: Vec<u64> = steps.split(',').map(|steps| steps.trim().parse().expect(STEPS)).collect();
    lengths.sort_unstable();
    if measure(&lengths) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn genesis() -> Genesis {
    Genesis::new("bench".into(), vec![Signer::from_seed([1; 32]).public()], 1).unwrap()
}

fn checkpoint(step: u64) -> Checkpoint {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&step.to_le_bytes());
    Checkpoint { step, height: step * 10, block_hash: digest, state_root: digest, payload_bytes: 1 << 30 }
}

/// One line of the table.
struct Row {
    steps: u64,
    step: Duration,
    state_bytes: u64,
    prove: Duration,
    proof_bytes: usize,
    verifier: Verified,
}

/// What the verifying process prints.
struct Verified {
    setup: Duration,
    /// Time from the start to the first verified proof.
    first: Duration,
    verify: Duration,
    peak_mib: f64,
    after_mib: f64,
}

fn measure(lengths: &[u64]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    println!("native commitment: {:.1} us", native().as_secs_f64() * 1e6);
    let started = Instant::now();
    let mut prover = Prover::open(&dir.path().join("chain"), genesis()).unwrap();
    println!("prover's set-up: {:.2} s; memory after it: {:.0} MiB", started.elapsed().as_secs_f64(), memory("VmRSS"));
    println!();
    println!(
        "| {:>5} | {:>8} | {:>10} | {:>8} | {:>11} | {:>8} | {:>9} | {:>15} | {:>14} |",
        "steps", "one step", "state", "proving", "proof", "set-up", "verifying", "verifier's peak", "verifier after"
    );
    println!(
        "|{}",
        "-".repeat(7)
            + "|"
            + &[
                "-".repeat(10),
                "-".repeat(12),
                "-".repeat(10),
                "-".repeat(13),
                "-".repeat(10),
                "-".repeat(11),
                "-".repeat(17),
                "-".repeat(16)
            ]
            .join("|")
            + "|"
    );
    let mut rows = vec![];
    for &steps in lengths {
        let row = row(&mut prover, dir.path(), steps);
        println!(
            "| {:>5} | {:>5.0} ms | {:>8} B | {:>6.2} s | {:>9} B | {:>6.2} s | {:>6.0} ms | {:>11.0} MiB | {:>10.0} MiB |",
            row.steps,
            millis(row.step),
            row.state_bytes,
            row.prove.as_secs_f64(),
            row.proof_bytes,
            row.verifier.setup.as_secs_f64(),
            millis(row.verifier.verify),
            row.verifier.peak_mib,
            row.verifier.after_mib,
        );
        rows.push(row);
    }
    println!();
    judge(&rows)
}

fn row(prover: &mut Prover, dir: &Path, steps: u64) -> Row {
    let from = prover.tip().map_or(0, |tip| tip.step);
    let started = Instant::now();
    for step in from + 1..=steps {
        prover.extend(&checkpoint(step)).unwrap();
    }
    // The first step includes work that later ones do not, and the reverse, so this is a mean over many.
    let step = started.elapsed() / u32::try_from(steps - from).unwrap();
    let started = Instant::now();
    let proof = prover.prove().unwrap();
    let prove = started.elapsed();
    fs::write(dir.join("proof"), &proof).unwrap();
    fs::write(dir.join("tip"), serde_json::to_vec(&prover.tip().unwrap()).unwrap()).unwrap();
    let state_bytes = fs::metadata(dir.join("chain/state")).unwrap().len();
    Row { steps, step, state_bytes, prove, proof_bytes: proof.len(), verifier: verify_elsewhere(dir) }
}

fn verify_elsewhere(dir: &Path) -> Verified {
    let output = Command::new(std::env::current_exe().unwrap()).env(VERIFY, dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [setup, first, verify, peak_mib, after_mib] = numbers[..] else { panic!("{text}") };
    let [setup, first, verify] = [setup, first, verify].map(Duration::from_secs_f64);
    Verified { setup, first, verify, peak_mib, after_mib }
}

/// The verifying process: prints set-up, set-up and first proof, and median of verifying in seconds, peak and present memory in MiB.
fn verify(dir: &Path) {
    let proof = fs::read(dir.join("proof")).unwrap();
    let tip: Tip = serde_json::from_slice(&fs::read(dir.join("tip")).unwrap()).unwrap();
    let started = Instant::now();
    Verifier::shared().prepare().unwrap();
    let setup = started.elapsed();
    Verifier::shared().verify(&genesis(), &tip, &proof).unwrap();
    let first = started.elapsed();
    let mut times: Vec<_> = (0..51)
        .map(|_| {
            let started = Instant::now();
            Verifier::shared().verify(&genesis(), &tip, &proof).unwrap();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let [setup, first, median] = [setup, first, times[25]].map(|time| time.as_secs_f64());
    println!("{setup} {first} {median} {} {}", memory("VmHWM"), memory("VmRSS"));
}

fn native() -> Duration {
    let count: u32 = 1000;
    let mut commitment = genesis().commitment();
    let started = Instant::now();
    for step in 1..=count {
        commitment = next_commitment(&commitment, &checkpoint(step.into()));
    }
    std::hint::black_box(commitment);
    started.elapsed() / count
}

fn judge(rows: &[Row]) -> bool {
    let slowest = |time: fn(&Row) -> Duration| rows.iter().map(time).max().unwrap_or_default();
    let peak = memory("VmHWM");
    let verifier_peak = rows.iter().map(|row| row.verifier.peak_mib).fold(0.0, f64::max);
    let proofs = rows.iter().all(|row| row.proof_bytes == PROOF_BYTES);
    let states = rows.windows(2).all(|pair| pair[0].state_bytes == pair[1].state_bytes);
    let (step, verify) = (slowest(|row| row.step), slowest(|row| row.verifier.verify));
    let first = slowest(|row| row.verifier.first);
    say("every proof has 10,624 bytes", proofs, rows.iter().map(|row| row.proof_bytes).max().unwrap_or_default());
    say("the state's size is constant", states, rows.iter().map(|row| row.state_bytes).max().unwrap_or_default());
    say("a step takes at most 250 ms", step <= STEP_BAR, format_args!("{:.0} ms", millis(step)));
    say("verifying takes at most 150 ms", verify <= VERIFY_BAR, format_args!("{:.0} ms", millis(verify)));
    say(
        "a fresh process verifies its first proof in 400 ms",
        first <= FIRST_BAR,
        format_args!("{:.0} ms", millis(first)),
    );
    say("proving peaks below 256 MiB", peak < MEMORY_BAR_MIB, format_args!("{peak:.0} MiB"));
    let small = verifier_peak < VERIFIER_MEMORY_BAR_MIB;
    say("verifying peaks below 128 MiB", small, format_args!("{verifier_peak:.0} MiB"));
    // Times and memory depend on the machine; sizes do not.
    proofs && states
}

fn say(bar: &str, holds: bool, found: impl Display) {
    println!("{} {bar}: {found}", if holds { "ok  " } else { "OVER" });
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A figure of this process in MiB, from Linux's `/proc`; elsewhere not a number.
fn memory(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
