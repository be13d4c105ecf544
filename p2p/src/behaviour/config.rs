//! The settings of the behaviour. Every bound of `docs/protocol.md` has its default here.

use std::{fmt, sync::Arc, time::Duration};

use super::observer::{Observer, Unobserved};
use crate::{
    limits,
    pace::PaceLimits,
    plan::{PlanBounds, TrustAnchor},
    provider::{BudgetLimits, SlotLimits},
    stream::Protocols,
};

/// Settings of a [`Behaviour`](super::Behaviour); the defaults are those of the protocol.
#[derive(Clone)]
pub struct Config {
    pub(super) trust: Arc<TrustAnchor>,
    pub(super) plan_bounds: PlanBounds,
    pub(super) pace: PaceLimits,
    pub(super) max_request_bytes: usize,
    pub(super) max_response_bytes: usize,
    pub(super) max_streams_per_connection: usize,
    pub(super) max_sessions: usize,
    pub(super) max_checks: usize,
    pub(super) max_provider_jobs: usize,
    pub(super) slots: SlotLimits,
    pub(super) budget: BudgetLimits,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) protocols: Protocols,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trust: Arc::new(TrustAnchor::default()),
            plan_bounds: PlanBounds::default(),
            pace: PaceLimits::default(),
            max_request_bytes: limits::MAX_REQUEST_BYTES,
            max_response_bytes: limits::MAX_RESPONSE_BYTES,
            max_streams_per_connection: limits::MAX_STREAMS_PER_CONNECTION,
            max_sessions: limits::MAX_SESSIONS,
            max_checks: limits::MAX_BLOCKING_JOBS,
            max_provider_jobs: limits::MAX_BLOCKING_JOBS,
            slots: SlotLimits::default(),
            budget: BudgetLimits::default(),
            observer: Arc::new(Unobserved),
            protocols: Protocols::default(),
        }
    }
}

impl Config {
    /// Sets what a consumer trusts. Without it no plan is accepted.
    #[must_use]
    pub fn with_trust(mut self, trust: TrustAnchor) -> Self {
        self.trust = Arc::new(trust);
        self
    }

    /// Sets the bounds on plans that a consumer accepts.
    #[must_use]
    pub fn with_plan_bounds(mut self, bounds: PlanBounds) -> Self {
        self.plan_bounds = bounds;
        self
    }

    /// Sets how slow a request or its answer may be (default: 30 s without a byte, and 1 KiB/s over 60 s). The time
    /// without a byte is also the time for a negotiation and for a provider's call.
    #[must_use]
    pub fn with_pace(mut self, pace: PaceLimits) -> Self {
        self.pace = pace;
        self
    }

    /// Largest request, in bytes (default 64 KiB).
    #[must_use]
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// Largest response, in bytes (default 8 MiB).
    #[must_use]
    pub fn with_max_response_bytes(mut self, bytes: usize) -> Self {
        self.max_response_bytes = bytes;
        self
    }

    /// Sets the request streams for each connection, both directions together (default 16). This is also the most
    /// requests in flight to one peer.
    #[must_use]
    pub fn with_max_streams_per_connection(mut self, streams: usize) -> Self {
        self.max_streams_per_connection = streams;
        self
    }

    /// Sets the number of consumer sessions that may be open (default 256).
    #[must_use]
    pub fn with_max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets how many responses are checked on blocking threads at the same time (default 4).
    #[must_use]
    pub fn with_max_checks(mut self, checks: usize) -> Self {
        self.max_checks = checks;
        self
    }

    /// Sets how many calls of the provider run at the same time for requests, and how many for prefetching (default 4
    /// each).
    #[must_use]
    pub fn with_max_provider_jobs(mut self, jobs: usize) -> Self {
        self.max_provider_jobs = jobs;
        self
    }

    /// Sets the session slots, in all and for each peer (defaults 64 and 8; freed after 60 s without a request).
    #[must_use]
    pub fn with_slots(mut self, limits: SlotLimits) -> Self {
        self.slots = limits;
        self
    }

    /// Sets the response bytes in flight, in all and for each peer, and how long an answer waits for that budget before
    /// it becomes `busy` (defaults 32 MiB, 8 MiB, 5 s).
    #[must_use]
    pub fn with_budget(mut self, limits: BudgetLimits) -> Self {
        self.budget = limits;
        self
    }

    /// Sets which versions of the protocol are spoken, in both roles (default: both). Sessions that are driven call by call
    /// speak 1.0.0 only.
    #[must_use]
    pub fn with_protocols(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Sets the observer of requests, responses and blocking jobs.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }
}

impl Config {
    /// The time that request-response gives one exchange: the most that its messages at the slowest rate and the
    /// provider's call can take. The rate limits end an exchange long before that, unless it is that slow all the time.
    pub(super) fn whole_exchange(&self) -> Duration {
        let bytes = self.max_request_bytes.saturating_add(self.max_response_bytes);
        self.pace.longest(bytes).saturating_add(self.pace.idle)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("pace", &self.pace)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("max_sessions", &self.max_sessions)
            .finish_non_exhaustive()
    }
}
