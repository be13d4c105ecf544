//! A slow link in user space: packets of one TUN device come out of another, with a delay and at a limited rate.
//!
//! The devices pass data that the kernel has not yet cut into packets (up to 64 KiB), so the relay makes few system
//! calls. Its queue is bounded, like that of a router: packets that do not fit are dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

/// A packet of the kernel with its header.
const LARGEST: usize = 65_536 + 64;
/// The most that may wait for the line, as time on it.
const QUEUE: Duration = Duration::from_millis(50);

/// Makes both devices, reports that, and relays until it is killed.
pub(crate) fn run(one: &str, other: &str, rtt_ms: u64, mbit: u64) -> Result<()> {
    let device = |name: &str| {
        let made = DeviceBuilder::new().name(name).offload(true).build_sync();
        made.map(Arc::new).with_context(|| format!("cannot make {name}: this needs root and /dev/net/tun"))
    };
    let (one, other) = (device(one)?, device(other)?);
    println!("ready");
    let line = || Line::new(Duration::from_micros(rtt_ms * 500), mbit as f64 * 1e6 / 8.0);
    thread::scope(|scope| {
        for (from, to) in [(&one, &other), (&other, &one)] {
            let line = Arc::new(line());
            let far = line.clone();
            scope.spawn(move || line.take(from));
            scope.spawn(move || far.give(to));
        }
    });
    Ok(())
}

/// One direction.
struct Line {
    delay: Duration,
    bytes_per_second: f64,
    state: Mutex<State>,
    filled: Condvar,
}

struct State {
    /// When the line will have sent everything that was put on it.
    free_at: Instant,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Line {
    fn new(delay: Duration, bytes_per_second: f64) -> Self {
        let state = State { free_at: Instant::now(), under_way: VecDeque::new(), spare: Vec::new() };
        Self { delay, bytes_per_second, state: Mutex::new(state), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts packets on the line.
    fn take(&self, from: &SyncDevice) {
        loop {
            let mut packet = self.lock().spare.pop().unwrap_or_default();
            packet.resize(LARGEST, 0);
            let Ok(length) = from.recv(&mut packet) else {
                // The device is down until the script has moved it.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            packet.truncate(length);
            let now = Instant::now();
            let mut state = self.lock();
            let begins = state.free_at.max(now);
            if begins - now > QUEUE {
                state.spare.push(packet);
                continue;
            }
            state.free_at = begins + Duration::from_secs_f64(length as f64 / self.bytes_per_second);
            let arrives = state.free_at + self.delay;
            state.under_way.push_back((arrives, packet));
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Delivers packets when it is their time.
    fn give(&self, to: &SyncDevice) {
        let mut state = self.lock();
        loop {
            let Some((arrives, _)) = state.under_way.front() else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = arrives.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                drop(state);
                thread::sleep(left);
                state = self.lock();
                continue;
            }
            let Some((_, packet)) = state.under_way.pop_front() else { continue };
            drop(state);
            // Packets that the other side does not accept are lost, as on any link.
            let _ = to.send(&packet);
            state = self.lock();
            state.spare.push(packet);
        }
    }
}
