//! The threads of the proof system: rayon's global pool.
//!
//! rayon builds that pool at its first use and never again. If no threads can be started at that moment, every use of the pool
//! panics until the process ends. So the pool is built here, before its first use, and only when as many threads have just
//! been started and ended. If they cannot be started, that is an error, and the next check tries again.
//!
//! The checks themselves stay on the thread of their caller. Inside the pool, a thread that waits for a part of one check takes
//! up another check meanwhile, and two checks on one stack may wait for each other.

use std::{
    error::Error as _,
    io,
    sync::{Mutex, OnceLock, PoisonError},
    thread::{Builder, JoinHandle},
};

use rayon::{ThreadBuilder, ThreadPoolBuildError, ThreadPoolBuilder};

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
        probe(ThreadPoolBuilder::new(), |thread| Builder::new().spawn(|| thread.run()))?;
        match ThreadPoolBuilder::new().build_global() {
            // It could not start its threads.
            Err(error) if error.source().is_some() => return Err(not_started(&error)),
            // Otherwise another part of the program has built it.
            Ok(()) | Err(_) => {}
        }
        let _ = READY.set(());
    }
    Ok(())
}

fn not_started(error: &ThreadPoolBuildError) -> SetupError {
    SetupError::Threads { reason: error.to_string() }
}

/// Builds such a pool, and waits until its threads have ended.
fn probe(
    pool: ThreadPoolBuilder,
    mut spawn: impl FnMut(ThreadBuilder) -> io::Result<JoinHandle<()>>,
) -> Result<(), SetupError> {
    let mut started = Vec::new();
    let pool = pool.spawn_handler(|thread| {
        started.push(spawn(thread)?);
        Ok(())
    });
    let built = pool.build().map(drop).map_err(|error| not_started(&error));
    for thread in started {
        let _ = thread.join(); // It only waited for work.
    }
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_do_not_start_are_no_fault_of_a_proof() {
        let mut left = 2;
        let spawn = |thread: ThreadBuilder| {
            left -= 1;
            if left < 0 { Err(io::Error::from_raw_os_error(11)) } else { Builder::new().spawn(|| thread.run()) }
        };
        let error = probe(ThreadPoolBuilder::new().num_threads(3), spawn).unwrap_err();
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
