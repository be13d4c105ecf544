//! Who is asked what it offers, and when. Pure; time is an argument.
//!
//! ```text
//! connected ──> due ──> asked ──> said something ──(a minute, while somebody wants to know)──> due
//! ```
//!
//! A minute is 45 to 60 s, at random, so that nodes that started together do not keep asking together.
//!
//! Each peer is asked once when it connects. A peer without the protocol is not asked again while it is connected. A
//! peer whose answers have no usable offer is asked after 1, 2, 4 .. 60 minutes.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::limits::{ASK_INTERVAL, MAX_ASK_INTERVAL, MAX_ASKS, MAX_GONE, MIN_ASK_INTERVAL};

/// The result of asking one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerSaid {
    /// It answered.
    Offers {
        /// Offers that count.
        found: usize,
        /// Offers that do not.
        refused: usize,
        /// Why the first of these does not count; escaped.
        reason: Option<String>,
    },
    /// It does not support the protocol, which is not a fault.
    Unsupported,
    /// It refused.
    Refused {
        /// Its message, escaped.
        message: String,
    },
    /// Its answer cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// There was no answer.
    Failed {
        /// What happened.
        reason: String,
    },
}

impl PeerSaid {
    /// One stable word for each, for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Offers { found: 0, refused: 0, .. } => "nothing",
            Self::Offers { found: 0, .. } => "foreign",
            Self::Offers { .. } => "offers",
            Self::Unsupported => "unsupported",
            Self::Refused { .. } => "refused",
            Self::Unreadable { .. } => "unreadable",
            Self::Failed { .. } => "failed",
        }
    }

    /// All those words.
    pub const WORDS: &'static [&'static str] =
        &["offers", "nothing", "foreign", "unsupported", "refused", "unreadable", "failed"];

    /// Whether asking again in a minute is useless: no offer in the answer counted.
    fn is_useless(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Offers { found: 0, refused: 1.., .. })
    }
}

impl fmt::Display for PeerSaid {
    /// The text after the peer's name, such as "offers 2 snapshots".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offers { found: 0, refused: 0, .. } => f.write_str("offers no snapshot of this chain"),
            Self::Offers { found, refused, reason } => {
                match found {
                    0 => f.write_str("offers nothing that counts")?,
                    1 => f.write_str("offers 1 snapshot")?,
                    _ => write!(f, "offers {found} snapshots")?,
                }
                match reason {
                    Some(reason) => write!(f, " ({refused} refused: {reason})"),
                    None => Ok(()),
                }
            }
            Self::Unsupported => f.write_str("does not say what it offers (it has no /rpp/offers/1.0.0)"),
            Self::Refused { message } => write!(f, "refused to say what it offers: {message}"),
            Self::Unreadable { reason } => write!(f, "sent an answer that cannot be read: {reason}"),
            Self::Failed { reason } => write!(f, "did not answer: {reason}"),
        }
    }
}

/// Decides whom to ask.
#[derive(Debug, Default)]
pub struct Asker {
    /// Seed of the random numbers.
    seed: u64,
    peers: HashMap<PeerId, Row>,
    gone: VecDeque<(PeerId, PeerSaid)>,
    asking: usize,
}

#[derive(Debug)]
struct Row {
    /// When it may be asked; `None` if never again.
    due: Option<Instant>,
    asking: bool,
    said: Option<PeerSaid>,
    /// When it answered.
    at: Option<Instant>,
    interval: Duration,
}

impl Asker {
    /// `seed`: for the random pauses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// A connection to a peer that had none.
    pub fn handle_connected(&mut self, peer: PeerId, now: Instant) {
        let row = Row { due: Some(now), asking: false, said: None, at: None, interval: ASK_INTERVAL };
        self.gone.retain(|(gone, _)| *gone != peer);
        self.forget(self.peers.get(&peer).is_some_and(|row| row.asking));
        self.peers.insert(peer, row);
    }

    /// The last connection to a peer is gone.
    pub fn handle_disconnected(&mut self, peer: &PeerId) {
        let Some(row) = self.peers.remove(peer) else { return };
        self.forget(row.asking);
        let said = row.said.unwrap_or(PeerSaid::Failed { reason: "the connection closed".to_owned() });
        self.gone.retain(|(gone, _)| gone != peer);
        self.gone.push_back((*peer, said));
        while self.gone.len() > MAX_GONE {
            self.gone.pop_front();
        }
    }

    fn forget(&mut self, asking: bool) {
        self.asking -= usize::from(asking);
    }

    /// The next peer to ask. `wanted`: something needs offers, so peers are asked again.
    pub fn poll_ask(&mut self, now: Instant, wanted: bool) -> Option<PeerId> {
        if self.asking >= MAX_ASKS {
            return None;
        }
        let due = self.peers.iter().filter_map(|(peer, row)| Some((row.next(wanted)?, *peer)));
        let (_, peer) = due.filter(|(at, _)| *at <= now).min()?;
        self.peers.get_mut(&peer)?.asking = true;
        self.asking += 1;
        Some(peer)
    }

    /// When the next peer is due, if it may be asked then.
    #[must_use]
    pub fn poll_timeout(&self, wanted: bool) -> Option<Instant> {
        if self.asking >= MAX_ASKS {
            return None; // An answer, or its absence, wakes.
        }
        self.peers.values().filter_map(|row| row.next(wanted)).min()
    }

    /// A peer's answer. Returns whether it differs from the last one.
    pub fn handle_said(&mut self, peer: &PeerId, said: PeerSaid, now: Instant) -> bool {
        let Some(row) = self.peers.get_mut(peer).filter(|row| row.asking) else { return false };
        row.asking = false;
        self.asking -= 1;
        row.interval = if said.is_useless() { (row.interval * 2).min(MAX_ASK_INTERVAL) } else { ASK_INTERVAL };
        row.due = (said != PeerSaid::Unsupported).then(|| now + shortened(row.interval, &mut self.seed));
        row.at = Some(now);
        let is_news = row.said.as_ref() != Some(&said);
        row.said = Some(said);
        is_news
    }

    /// Something needs offers now: every peer that did not answer in the last 5 s is due, except those whose answers
    /// are useless.
    pub fn ask_now(&mut self, now: Instant) {
        for row in self.peers.values_mut() {
            if let (Some(due), Some(at)) = (&mut row.due, row.at)
                && row.interval == ASK_INTERVAL
            {
                *due = (*due).min((at + MIN_ASK_INTERVAL).max(now));
            }
        }
    }

    /// The peers that were asked, and their answers (`None`: none yet): first the connected ones, then the disconnected
    /// ones.
    pub fn said(&self) -> impl Iterator<Item = (&PeerId, Option<&PeerSaid>)> {
        let connected = self.peers.iter().map(|(peer, row)| (peer, row.said.as_ref()));
        connected.chain(self.gone.iter().map(|(peer, said)| (peer, Some(said))))
    }
}

/// Between three quarters of the interval and all of it.
fn shortened(interval: Duration, seed: &mut u64) -> Duration {
    // splitmix64
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let thousandths = u32::try_from((mixed ^ (mixed >> 31)) % 251).unwrap_or_default();
    interval - interval * thousandths / 1000
}

impl Row {
    fn next(&self, wanted: bool) -> Option<Instant> {
        self.due.filter(|_| !self.asking && (wanted || self.said.is_none()))
    }
}
