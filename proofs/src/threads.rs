//! The threads of the proof system: rayon's global pool.
//!
//! rayon builds that pool at its first use and never again. If no threads can be started at that moment, every use of the pool
//! panics until the process ends. So the pool is built here, before its first use, and only when as many threads have just
//! been started and ended. If they cannot be started, that is an error, and the next check tries again.
//!
//! The checks themselves stay on the thread of their caller. Inside the pool, a thread that waits for a part of one check takes
//! up another check meanwhile, and two checks on one stack may wait for each other.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    thread::{Builder, JoinHandle},
};

use rayon::ThreadPoolBuilder;

use crate::params::SetupError;

/// Makes sure that the pool is there. Cheap after the first success.
///
/// # Errors
/// [`SetupError::Threads`]: its threads cannot be started now.
pub(crate) fn ready() -> Result<(), SetupError> {
    static READY: OnceLock<()> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    // A thread of a pool shows that there is one.
    if READY.get().is_some() || rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if READY.get().is_none() {
        let builder = ThreadPoolBuilder::new();
        let count = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
        let count = count.filter(|count| *count > 0);
        let count = count.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
        probe(count, |work| Builder::new().spawn(work)).map_err(|error| not_started(&error))?;
        match builder.build_global() {
            Ok(()) => {}
            Err(error) => {
                // No source: another part of the program has built it.
                if let Some(error) = std::error::Error::source(&error) {
                    return Err(not_started(&error));
                }
            }
        }
        let _ = READY.set(());
    }
    Ok(())
}

fn not_started(error: &dyn std::fmt::Display) -> SetupError {
    SetupError::Threads { reason: error.to_string() }
}

type Work = Box<dyn FnOnce() + Send>;

/// Starts as many threads, all at once, and ends them.
fn probe(count: usize, mut spawn: impl FnMut(Work) -> io::Result<JoinHandle<()>>) -> io::Result<()> {
    let gate = Arc::new(RwLock::new(()));
    let mut started = Vec::new();
    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    let mut failed = Ok(());
    for _ in 0..count {
        let gate = Arc::clone(&gate);
        match spawn(Box::new(move || drop(gate.read()))) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    drop(closed);
    for thread in started {
        let _ = thread.join(); // It cannot panic.
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_do_not_start_are_no_fault_of_a_proof() {
        let mut left = 2;
        let spawn = |work| {
            left -= 1;
            if left < 0 { Err(io::Error::from_raw_os_error(11)) } else { Builder::new().spawn(work) }
        };
        let error = not_started(&probe(3, spawn).unwrap_err());
        let told = error.to_string();
        assert!(told.contains("os error 11") && told.contains("TasksMax") && told.contains("ulimit -u"), "{told}");
        assert!(crate::ProofError::from(error).is_local());
    }

    #[test]
    fn the_pool_is_there_once_it_is_ready() {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(ready)).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert!(rayon::current_num_threads() > 0);
        rayon::scope(|_| ready().unwrap());
    }
}
