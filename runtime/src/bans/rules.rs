//! The rules: how long, how often, how many. Times are wall-clock times, because a ban outlives the process.

use std::{collections::BTreeMap, fmt};

use libp2p::PeerId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rpp_p2p::{Evidence, SnapshotSessionId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    clock,
    limits::{BAN_FIRST, BAN_LONGEST, BAN_MEMORY, MAX_BAN_EVIDENCE, MAX_BANS},
};

/// A source that can be banned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BanSource {
    /// A peer.
    Peer(PeerId),
    /// A web server or an object store: the origin of its URLs, as `https://host:port`, without user, password, path and query.
    Mirror(String),
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BanKind {
    Peer,
    Mirror,
}

impl BanKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Mirror => "mirror",
        }
    }
}

impl BanSource {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> BanKind {
        match self {
            Self::Peer(_) => BanKind::Peer,
            Self::Mirror(_) => BanKind::Mirror,
        }
    }

    /// Parses what an operator names: a peer id, or the origin of a mirror.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(peer) = crate::address::peer_id(text) {
            return Some(Self::Peer(peer));
        }
        let is_origin = text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty()
                && text.len() <= MAX_ORIGIN
                && !rest.contains(['@', '?', '#', ' '])
                && !text.chars().any(char::is_control)
        });
        is_origin.then(|| Self::Mirror(text.trim_end_matches('/').to_owned()))
    }
}

/// The characters that are encoded in a segment of a URL's path: all except the unreserved ones.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Largest origin in bytes: more than a scheme, a host name of 253 bytes and a port take.
const MAX_ORIGIN: usize = 512;

impl fmt::Display for BanSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Mirror(origin) => origin.fmt(f),
        }
    }
}

/// One ban, as it is stored and as `GET /p2p/bans` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ban {
    /// A peer id, or the origin of a mirror.
    pub source: String,
    /// The kind of the source.
    pub kind: BanKind,
    /// RFC 3339.
    #[serde(with = "clock::rfc3339")]
    pub since: OffsetDateTime,
    /// RFC 3339.
    #[serde(with = "clock::rfc3339")]
    pub until: OffsetDateTime,
    /// How often it was banned; forgotten 30 days after the last time.
    pub count: u32,
    /// Its offences, the newest last.
    pub evidence: Vec<BanEvidence>,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BanEvidence {
    /// The time of the offence; RFC 3339.
    #[serde(with = "clock::rfc3339")]
    pub at: OffsetDateTime,
    /// The session in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SnapshotSessionId>,
    /// The evidence itself.
    #[serde(flatten)]
    pub evidence: Evidence,
}

impl Ban {
    /// One sentence: until when, and why.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = self.evidence.last().map_or("it broke the rules", |piece| piece.evidence.reason.as_str());
        format!("{}: {why}", self.until_when())
    }

    /// `banned until T`, with the time in RFC 3339.
    #[must_use]
    pub fn until_when(&self) -> String {
        format!("banned until {}", clock::text(self.until))
    }

    /// How to lift it: the command, and the HTTP call in brackets.
    #[must_use]
    pub fn lifting(&self) -> String {
        let source = &self.source;
        let in_path = utf8_percent_encode(source, SEGMENT);
        format!("`rpp-node bans --lift {source}` (DELETE /p2p/bans/{in_path})")
    }

    /// Until when the source is banned, why, and how to lift the ban.
    #[must_use]
    pub fn notice(&self) -> String {
        format!("{}; {} lifts the ban", self.sentence(), self.lifting())
    }

    fn is_active(&self, now: OffsetDateTime) -> bool {
        now < self.until
    }

    fn is_forgotten(&self, now: OffsetDateTime) -> bool {
        !self.is_active(now) && now - self.since >= BAN_MEMORY
    }
}

/// All bans, including those that have ended and still count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bans {
    all: BTreeMap<BanSource, Ban>,
}

impl Bans {
    /// The bans from the disk. If the clock was set back, no ban becomes longer than the longest one.
    pub(super) fn restore(bans: Vec<Ban>, now: OffsetDateTime) -> Self {
        let mut table = Self::default();
        for mut ban in bans {
            let Some(source) = BanSource::parse(&ban.source) else { continue };
            ban.since = ban.since.min(now);
            ban.until = ban.until.min(now + BAN_LONGEST);
            trim(&mut ban.evidence);
            table.all.insert(source, ban);
            table.make_room(now);
        }
        table.all.retain(|_, ban| !ban.is_forgotten(now));
        table
    }

    /// `source` broke the rules. Further evidence during a ban does not make the ban longer, because it may be from the
    /// same moment.
    pub(super) fn ban(&mut self, now: OffsetDateTime, source: &BanSource, piece: BanEvidence) -> &Ban {
        if !self.all.contains_key(source) {
            self.make_room_for_one(now);
        }
        let ban = self.all.entry(source.clone()).or_insert_with(|| Ban {
            source: source.to_string(),
            kind: source.kind(),
            since: now,
            until: now,
            count: 0,
            evidence: Vec::new(),
        });
        if !ban.is_active(now) {
            if ban.is_forgotten(now) {
                ban.count = 0;
                ban.evidence.clear();
            }
            ban.count = ban.count.saturating_add(1);
            ban.since = now;
            ban.until = now + duration(ban.count);
        }
        ban.evidence.push(piece);
        trim(&mut ban.evidence);
        ban
    }

    /// Forgets everything about `source`. `None`: it is not banned.
    pub(super) fn lift(&mut self, now: OffsetDateTime, source: &BanSource) -> Option<Ban> {
        self.active(now, source)?;
        self.all.remove(source)
    }

    /// Drops bans that no longer count; returns whether there were any.
    pub(super) fn forget(&mut self, now: OffsetDateTime) -> bool {
        let before = self.all.len();
        self.all.retain(|_, ban| !ban.is_forgotten(now));
        self.all.len() != before
    }

    /// The ban of `source`, while it lasts.
    pub(super) fn active(&self, now: OffsetDateTime, source: &BanSource) -> Option<&Ban> {
        self.all.get(source).filter(|ban| ban.is_active(now))
    }

    /// The bans in force, by source.
    pub(super) fn list(&self, now: OffsetDateTime) -> impl Iterator<Item = (&BanSource, &Ban)> {
        self.all.iter().filter(move |(_, ban)| ban.is_active(now))
    }

    /// The bans that have ended and still count.
    pub(super) fn ended(&self, now: OffsetDateTime) -> impl Iterator<Item = &BanSource> {
        self.all.iter().filter(move |(_, ban)| !ban.is_active(now)).map(|(source, _)| source)
    }

    /// Everything that must be stored.
    pub(super) fn all(&self) -> impl Iterator<Item = &Ban> {
        self.all.values()
    }

    fn make_room_for_one(&mut self, now: OffsetDateTime) {
        self.forget(now);
        while self.all.len() >= MAX_BANS {
            self.evict(now);
        }
    }

    fn make_room(&mut self, now: OffsetDateTime) {
        while self.all.len() > MAX_BANS {
            self.evict(now);
        }
    }

    /// Evicts the ban that ended longest ago, or, if none has ended, the one that ends first.
    fn evict(&mut self, now: OffsetDateTime) {
        let first = self.all.iter().min_by_key(|(_, ban)| (ban.is_active(now), ban.until));
        if let Some(source) = first.map(|(source, _)| source.clone()) {
            self.all.remove(&source);
        }
    }
}

/// 10 minutes, doubling up to 7 days.
fn duration(count: u32) -> std::time::Duration {
    let doublings = count.saturating_sub(1).min(31);
    BAN_FIRST.saturating_mul(1 << doublings).min(BAN_LONGEST)
}

fn trim(evidence: &mut Vec<BanEvidence>) {
    evidence.drain(..evidence.len().saturating_sub(MAX_BAN_EVIDENCE));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpp_p2p::Offence;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn piece(at: OffsetDateTime, index: u64) -> BanEvidence {
        let evidence = Evidence::new(Offence::Chunk, format!("chunk {index} does not verify")).at(index);
        BanEvidence { at, session: SnapshotSessionId::new(7), evidence }
    }

    fn peer() -> BanSource {
        BanSource::Peer(PeerId::random())
    }

    #[test]
    fn each_ban_is_twice_as_long_up_to_a_week_and_is_forgotten_a_month_after_the_last() {
        let (mut bans, mut now, liar) = (Bans::default(), start(), peer());
        let mut minutes = Vec::new();
        for count in 1..=13 {
            let ban = bans.ban(now, &liar, piece(now, count)).clone();
            assert_eq!(
                (ban.count, ban.since, u64::try_from(ban.evidence.len()).unwrap()),
                (count as u32, now, count.min(8))
            );
            minutes.push((ban.until - now).whole_minutes());
            assert!(bans.active(ban.until - Duration::from_millis(1), &liar).is_some());
            assert!(bans.active(ban.until, &liar).is_none(), "it runs out");
            now = ban.until;
        }
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_080, 10_080, 10_080]);
        let last = bans.ban(now, &liar, piece(now, 14)).clone();
        assert_eq!(last.evidence.first().and_then(|piece| piece.evidence.index), Some(7), "the newest eight are kept");
        let before = now + 30 * DAY - Duration::from_secs(1);
        assert!(!bans.forget(before));
        assert_eq!(bans.clone().ban(before, &liar, piece(before, 1)).count, 15);
        let after = now + 30 * DAY;
        assert_eq!(bans.clone().ban(after, &liar, piece(after, 1)).count, 1);
        assert!(bans.forget(after));
        assert_eq!(bans.all().count(), 0);
    }

    #[test]
    fn more_evidence_during_a_ban_is_kept_and_makes_it_no_longer() {
        let (mut bans, now, liar) = (Bans::default(), start(), peer());
        let until = bans.ban(now, &liar, piece(now, 1)).until;
        let later = now + 5 * MINUTE;
        let ban = bans.ban(later, &liar, piece(later, 2));
        assert_eq!((ban.until, ban.count, ban.evidence.len()), (until, 1, 2));
    }

    #[test]
    fn a_lifted_one_begins_anew() {
        let (mut bans, now, liar) = (Bans::default(), start(), peer());
        assert!(bans.lift(now, &liar).is_none());
        bans.ban(now, &liar, piece(now, 1));
        bans.ban(now + 11 * MINUTE, &liar, piece(now, 2));
        let lifted = bans.lift(now + 12 * MINUTE, &liar).unwrap();
        assert_eq!(lifted.count, 2);
        assert_eq!(bans.ban(now + 13 * MINUTE, &liar, piece(now, 3)).count, 1);
    }

    #[test]
    fn the_oldest_that_ran_out_gives_way_and_then_the_one_that_runs_out_first() {
        let (mut bans, now) = (Bans::default(), start());
        let mut sources: Vec<_> = (0..MAX_BANS).map(|_| peer()).collect();
        for (second, source) in sources.iter().enumerate() {
            let at = now + Duration::from_secs(second as u64);
            bans.ban(at, source, piece(at, 0));
        }
        // At this moment the first ten have run out.
        let later = now + 10 * MINUTE + Duration::from_millis(9500);
        assert_eq!(bans.ended(later).count(), 10);
        for step in 0..12 {
            let new = peer();
            bans.ban(later, &new, piece(later, 0));
            sources.push(new);
            assert_eq!(bans.all().count(), MAX_BANS, "{step}");
        }
        for (place, source) in sources.iter().enumerate() {
            assert_eq!(bans.all.contains_key(source), place >= 12, "{place}");
        }
    }

    #[test]
    fn what_was_kept_is_taken_up_within_the_bounds() {
        let (mut bans, now, liar) = (Bans::default(), start(), peer());
        bans.ban(now, &liar, piece(now, 1));
        bans.ban(now, &BanSource::Mirror("https://mirror.example:8443".to_owned()), piece(now, 2));
        let kept: Vec<_> = bans.all().cloned().collect();
        assert_eq!(Bans::restore(kept.clone(), now), bans);
        // The clock was set back by a year: no ban is longer than a week.
        let back = Bans::restore(kept.clone(), now - 365 * DAY);
        assert!(back.active(now - 365 * DAY, &liar).is_some_and(|ban| ban.until == now - 358 * DAY));
        assert_eq!(Bans::restore(kept, now + 31 * DAY).all().count(), 0);
    }

    #[test]
    fn a_ban_is_told_once_with_the_command_and_the_call_that_lift_it() {
        let (mut bans, now) = (Bans::default(), start());
        let (liar, mirror) = (peer(), BanSource::Mirror("https://mirror.example:8443".to_owned()));
        let in_path = "https%3A%2F%2Fmirror.example%3A8443";
        for (source, in_path) in [(&liar, liar.to_string().as_str()), (&mirror, in_path)] {
            let notice = bans.ban(now, source, piece(now, 3)).notice();
            let expected = format!(
                "banned until 2027-01-15T08:10:00Z: chunk 3 does not verify; `rpp-node bans --lift {source}` (DELETE /p2p/bans/{in_path}) \
                 lifts the ban"
            );
            assert_eq!(notice, expected);
        }
    }

    #[test]
    fn a_source_is_named_as_it_is_shown() {
        for source in [peer(), BanSource::Mirror("s3://bucket".to_owned())] {
            assert_eq!(BanSource::parse(&source.to_string()), Some(source));
        }
        for text in ["", "x", "https://user:word@host", "https://host/?token=1", "://x"] {
            assert_eq!(BanSource::parse(text), None, "{text}");
        }
    }
}
