//! The node's table of bans: the rules, the floods and the file together.

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use libp2p::PeerId;
use rpp_p2p::{
    ErrorCode, Evidence, SnapshotSessionId,
    snapshots::{Event, Outcome},
};
use time::OffsetDateTime;

use super::{
    file::{self, Saver, Unsaved},
    flood::Floods,
    rules::{Ban, BanEvidence, BanSource, Bans},
};

/// Keeps the table, and saves each change.
pub(crate) struct Warden {
    bans: Bans,
    /// The bans that were in force at the last check.
    in_force: BTreeSet<BanSource>,
    floods: Floods,
    saver: Saver,
}

/// The changes that the passing of time caused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// These bans ran out.
    pub(crate) ended: Vec<BanSource>,
    /// These are in force again, because the clock was set back.
    pub(crate) begun: Vec<BanSource>,
}

/// Reads the bans from the disk. Blocks.
pub(crate) fn load(data_dir: &std::path::Path) -> (Vec<Ban>, Option<String>) {
    file::load(data_dir)
}

impl Warden {
    /// Starts with the bans from the disk; must be called within a runtime.
    pub(crate) fn new(kept: Vec<Ban>, data_dir: PathBuf, now: OffsetDateTime) -> Self {
        let bans = Bans::restore(kept, now);
        let in_force = bans.list(now).map(|(source, _)| source.clone()).collect();
        Self { bans, in_force, floods: Floods::default(), saver: Saver::spawn(data_dir) }
    }

    /// Records the end of a peer's request. `Some`: the peer broke the rules of credit, or floods the node.
    pub(crate) fn note(&mut self, now: Instant, event: &Event) -> Option<(PeerId, Evidence)> {
        let Event::Inbound { peer, outcome: Outcome::Refused(code), error, .. } = event else { return None };
        if let Some(evidence) = error.as_ref().and_then(Evidence::of_error) {
            return Some((*peer, evidence));
        }
        // `cancelled` is the answer to a cancel, and `internal` is this node's own fault.
        if matches!(code, ErrorCode::Cancelled | ErrorCode::Internal) {
            return None;
        }
        self.floods.refused(now, *peer).map(|evidence| (*peer, evidence))
    }

    /// `source` broke the rules. Returns its ban, and whether it is a new one.
    pub(crate) fn accuse(
        &mut self,
        now: OffsetDateTime,
        source: &BanSource,
        session: Option<SnapshotSessionId>,
        evidence: Evidence,
    ) -> (Ban, bool) {
        let is_new = self.bans.active(now, source).is_none();
        let ban = self.bans.ban(now, source, BanEvidence { at: now, session, evidence }).clone();
        self.in_force.insert(source.clone());
        self.save();
        (ban, is_new)
    }

    /// Lifts a ban; `None` if there is none.
    pub(crate) fn lift(&mut self, now: OffsetDateTime, source: &BanSource) -> Option<Ban> {
        let lifted = self.bans.lift(now, source)?;
        self.in_force.remove(source);
        self.save();
        Some(lifted)
    }

    /// Applies the passing of time.
    pub(crate) fn tend(&mut self, now: OffsetDateTime) -> Passed {
        if self.bans.forget(now) {
            self.save();
        }
        let in_force: BTreeSet<BanSource> = self.bans.list(now).map(|(source, _)| source.clone()).collect();
        let passed = Passed {
            ended: self.in_force.difference(&in_force).cloned().collect(),
            begun: in_force.difference(&self.in_force).cloned().collect(),
        };
        self.in_force = in_force;
        passed
    }

    /// The bans in force, by source.
    pub(crate) fn list(&self, now: OffsetDateTime) -> Vec<Ban> {
        self.bans.list(now).map(|(_, ban)| ban.clone()).collect()
    }

    /// The ban of a source, while it is in force.
    pub(crate) fn ban_of(&self, now: OffsetDateTime, source: &BanSource) -> Option<&Ban> {
        self.bans.active(now, source)
    }

    /// The sources whose ban is in force.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &BanSource> {
        self.in_force.iter()
    }

    /// The sources whose ban has ended and still counts.
    pub(crate) fn ended(&self, now: OffsetDateTime) -> impl Iterator<Item = &BanSource> {
        self.bans.ended(now)
    }

    /// Resolves when the file holds everything up to now, or with the reason why it does not.
    pub(crate) fn saved(&self) -> impl Future<Output = Result<(), Unsaved>> + Send + use<> {
        self.saver.saved()
    }

    fn save(&self) {
        self.saver.save(self.bans.all().cloned().collect());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpp_p2p::Offence;

    use super::*;

    #[tokio::test]
    async fn time_ends_bans_and_a_clock_that_is_set_back_brings_them_again() {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let mut warden = Warden::new(Vec::new(), folder.path().to_owned(), now);
        let liar = BanSource::Peer(PeerId::random());
        let evidence = Evidence::new(Offence::Chunk, "a lie".to_owned());
        assert!(warden.accuse(now, &liar, None, evidence.clone()).1);
        assert!(!warden.accuse(now, &liar, None, evidence).1, "it is banned already");
        let later = now + Duration::from_secs(600);
        assert_eq!(warden.tend(later - Duration::from_secs(1)), Passed::default());
        assert_eq!(warden.tend(later), Passed { ended: vec![liar.clone()], begun: vec![] });
        assert_eq!((warden.list(later).len(), warden.ended(later).count()), (0, 1));
        assert_eq!(warden.tend(now), Passed { ended: vec![], begun: vec![liar.clone()] });
        assert!(warden.lift(now, &liar).is_some() && warden.lift(now, &liar).is_none());
        warden.saved().await.unwrap();
        assert_eq!(load(folder.path()), (Vec::new(), None));
    }
}
