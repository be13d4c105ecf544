//! The threads of the proof system.
//!
//! rayon's global pool is built at its first use and never again: a process that could not start threads at that moment has
//! none until it ends, and each use of the pool panics. This pool is built again at the next use, and its absence is an error.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::params::SetupError;

static POOL: OnceLock<ThreadPool> = OnceLock::new();

/// Runs `work` on the pool, which parallel iterators in it use as well, and waits for its end. A panic in it goes on here.
///
/// # Errors
/// [`SetupError::Threads`]: the pool is not there yet, and its threads cannot be started now.
pub(crate) fn run<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, SetupError> {
    let pool = match POOL.get() {
        Some(pool) => pool,
        None => {
            let pool = named().build().map_err(|error| not_started(&error))?;
            // Another thread may have been faster; then this pool ends here.
            POOL.get_or_init(|| pool)
        }
    };
    Ok(pool.install(work))
}

fn named() -> ThreadPoolBuilder {
    ThreadPoolBuilder::new().thread_name(|index| format!("rpp-proof-{index}"))
}

fn not_started(error: &ThreadPoolBuildError) -> SetupError {
    SetupError::Threads { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_do_not_start_are_no_fault_of_a_proof() {
        let refused = named().num_threads(2).spawn_handler(|_| Err(std::io::Error::from_raw_os_error(11))).build();
        let error = not_started(&refused.unwrap_err());
        let told = error.to_string();
        assert!(told.contains("os error 11") && told.contains("TasksMax") && told.contains("ulimit -u"), "{told}");
        assert!(crate::ProofError::from(error).is_local());
    }

    #[test]
    fn work_runs_on_the_pools_threads_and_its_panic_is_the_callers() {
        let name = run(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.unwrap().starts_with("rpp-proof-"));
        assert!(std::panic::catch_unwind(|| run(|| panic!("in the work"))).is_err());
        assert_eq!(run(|| 7).unwrap(), 7, "the pool goes on");
    }
}
