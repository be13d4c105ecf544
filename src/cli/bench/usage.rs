//! The processor time and memory that this process used, as Linux counts them.

use std::fs;

/// Ticks of the system's clock a second, in `/proc`: the same on every Linux.
const TICKS: f64 = 100.0;

/// Processor seconds of this process so far; 0 if the system does not report them.
pub(super) fn cpu_seconds() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| ticks(&stat)).map_or(0.0, |ticks| ticks / TICKS)
}

/// The peak resident memory of this process; 0 if the system does not report it.
pub(super) fn peak_memory_bytes() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| peak(&status)).unwrap_or(0)
}

fn ticks(stat: &str) -> Option<f64> {
    // The process's name in front of them may have spaces and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("nothing"), None);
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(peak("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(peak_memory_bytes() > 1 << 20);
        assert!(cpu_seconds() >= 0.0);
    }
}
