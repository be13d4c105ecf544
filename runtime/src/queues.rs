//! How full the node's queues are.

/// Entries that wait, or jobs that run, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queues {
    /// Chunks and flushes that wait for the disk workers.
    pub disk: usize,
    /// Session records that wait to be written.
    pub recorder: usize,
    /// Reports of finished blocking work that the node's task has not handled yet.
    pub reports: usize,
    /// Answers being checked.
    pub check: usize,
    /// Provider calls that are running.
    pub provide: usize,
}

impl Queues {
    /// Each number with its name in metrics and cuts.
    #[must_use]
    pub fn named(&self) -> [(&'static str, usize); 5] {
        let Self { disk, recorder, reports, check, provide } = *self;
        [("disk", disk), ("recorder", recorder), ("reports", reports), ("check", check), ("provide", provide)]
    }
}
