//! Sessions without a named provider. They take the newest snapshot that some peer offers. If that peer cannot serve
//! it, they go on to the next one.
//!
//! ```text
//! seeking ──(an offer)──> its turn ──> ... ──> complete
//!    ^                                  │
//!    └──(this peer cannot serve it)─────┘
//! ```

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, Swarm};
use rpp_p2p::{
    SnapshotSessionId,
    consumer::{DownloadSource, View},
    offers,
};

use super::{Manager, Tracked, heal::root, tracked::trouble};
use crate::{
    discovery::Finder,
    limits::{MAX_PEERS, MAX_REFUSED},
    sessions::{record, rules::Hold},
    status::{FailureCode, SessionState},
    swarm::NodeBehaviour,
};

/// The time until a peer that could not serve is tried again, if there is no other.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The time between two looks at the offers while nothing changes.
const LOOK: Duration = Duration::from_millis(500);

/// Further peers that a session uses because they offer the same snapshot as its provider.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Their known addresses.
    pub(super) addresses: HashMap<PeerId, Vec<Multiaddr>>,
    /// The time of the last look, and the number of changes in the book of offers at that time.
    looked: Option<(Instant, u64)>,
}

/// What a session without a named provider knows about the peers that it tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// The peers that could not serve: when, and why. At most [`MAX_REFUSED`].
    peers: Vec<(PeerId, Instant, String)>,
    /// The time of the last look, and the number of changes in the book of offers at that time.
    looked: Option<(Instant, u64)>,
    /// The reason that the status shows.
    reason: String,
}

impl Tried {
    pub(super) fn reason(&self) -> &str {
        match self.reason.as_str() {
            "" => "peers are asked what they offer",
            reason => reason,
        }
    }

    fn note(&mut self, peer: PeerId, now: Instant, reason: String) {
        self.peers.retain(|(tried, ..)| *tried != peer);
        self.peers.push((peer, now, reason));
        if self.peers.len() > MAX_REFUSED {
            self.peers.remove(0);
        }
        self.looked = None;
    }

    fn is_usable(&self, peer: &PeerId, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < TRY_AGAIN;
        !self.peers.iter().any(|(tried, at, _)| tried == peer && lately(*at))
    }
}

impl Manager {
    /// Gives the best provider to every session that has none.
    pub(crate) fn seek(&mut self, swarm: &mut Swarm<NodeBehaviour>, discovery: &Finder, now: Instant) {
        let seeking = |session: &&SnapshotSessionId| self.rules.standing(**session).hold == Some(Hold::Seek);
        let seeking: Vec<_> = self.sessions.keys().filter(seeking).copied().collect();
        self.join(swarm, discovery, now);
        if seeking.is_empty() {
            return;
        }
        let banned = self.banned();
        let offers = &mut swarm.behaviour_mut().offers;
        offers.want(now);
        for session in seeking {
            let Some(tracked) = self.sessions.get_mut(&session) else { continue };
            let looked = (now, offers.changes());
            let is_due =
                |(at, changes): (Instant, u64)| changes != looked.1 || now.saturating_duration_since(at) >= LOOK;
            if !tracked.tried.looked.is_none_or(is_due) {
                continue;
            }
            tracked.tried.looked = Some(looked);
            let usable = |peer: PeerId| tracked.tried.is_usable(&peer, now) && !banned.contains(&peer);
            if let Some((snapshot, holder)) = choose_among(tracked, offers, usable) {
                if tracked.record.beside.is_some() {
                    // The session uses its configured sources again, and this peer in addition.
                    self.rules.found(session);
                    self.publish(session, now);
                    continue;
                }
                let root = snapshot.checkpoint.state_root;
                tracing::info!(%session, peer = %holder.peer, %root, height = snapshot.checkpoint.height, "found by itself");
                take(tracked, &snapshot, holder.peer, discovery);
                self.rules.found(session);
                self.publish(session, now);
                continue;
            }
            let reason = discovery.explain(offers, &tracked.tried.told());
            if tracked.tried.reason != reason {
                tracked.tried.reason = reason;
                self.publish(session, now);
            }
        }
    }

    /// Adds further peers to downloads that may use any provider, if they offer the same snapshot.
    fn join(&mut self, swarm: &mut Swarm<NodeBehaviour>, discovery: &Finder, now: Instant) {
        let takes_any = |tracked: &Tracked| {
            let is_chosen = tracked.record.sought.as_ref().is_some_and(|sought| sought.is_chosen);
            (is_chosen || tracked.record.beside.is_some())
                && tracked.machine.as_ref().is_some_and(|machine| !machine.is_over())
        };
        let open: Vec<_> =
            self.sessions.iter().filter(|(_, tracked)| takes_any(tracked)).map(|(session, _)| *session).collect();
        if open.is_empty() {
            return;
        }
        let offers = &mut swarm.behaviour_mut().offers;
        offers.want(now);
        let looked = (now, offers.changes());
        let is_due = |(at, changes): (Instant, u64)| changes != looked.1 && now.saturating_duration_since(at) >= LOOK;
        let due = |session: &SnapshotSessionId| {
            self.sessions.get(session).is_some_and(|tracked| tracked.joined.looked.is_none_or(is_due))
        };
        let due: Vec<_> = open.into_iter().filter(due).collect();
        // This function is called in each turn of the node.
        if due.is_empty() {
            return;
        }
        let banned = self.banned();
        for session in due {
            let Some(tracked) = self.sessions.get_mut(&session) else { continue };
            let Some(looked_for) = tracked.record.looked_for() else { continue };
            tracked.joined.looked = Some(looked);
            let usable =
                |peer: PeerId| tracked.tried.is_usable(&peer, now) && !banned.contains(&peer) && peer != self.me;
            let newest = || choose_among(tracked, offers, usable).map(|(found, _)| found.checkpoint.state_root);
            let chosen = root(&tracked.record).or(tracked.record.wanted.root);
            let Some(root) = chosen.or_else(newest) else { continue };
            // The chosen snapshot has not begun, and a newer one is offered by now. If the only source fails, the
            // session takes the newer one, so no further source of the older one is added.
            if tracked.record.plan.is_none() && newest().is_some_and(|newest| newest != root) {
                continue;
            }
            let refused: HashSet<PeerId> =
                offers.book().newest_first().iter().flat_map(|known| &known.peers).map(|holder| holder.peer).collect();
            let refused: HashSet<PeerId> = refused.into_iter().filter(|peer| looked_for.refuses(peer)).collect();
            let Some(machine) = &mut tracked.machine else { continue };
            let of_root = offers.book().newest_first().into_iter();
            let of_root = of_root.filter(|known| known.snapshot.checkpoint.state_root == root);
            let holders: HashSet<PeerId> = of_root.flat_map(|known| &known.peers).map(|holder| holder.peer).collect();
            for peer in holders {
                let is_usable = !refused.contains(&peer)
                    && !banned.contains(&peer)
                    && peer != self.me
                    && tracked.tried.is_usable(&peer, now);
                let links = machine.links().count();
                if !is_usable || links >= MAX_PEERS || machine.links().any(|(known, _)| known == peer) {
                    continue;
                }
                let link = SnapshotSessionId::random();
                if machine.add_peer(now, peer, link) {
                    tracing::info!(%session, %peer, "offers the same, so it is asked as well");
                    self.links.insert(link, session);
                    tracked.joined.addresses.insert(peer, discovery.addresses(&peer));
                }
            }
        }
    }

    /// The roots that are wanted by sessions without a provider, or with none that serves. `None` if there is no such
    /// session.
    pub(crate) fn sought(&self) -> Option<Vec<rpp_p2p::Hash>> {
        let seeks = |(session, tracked): &(&SnapshotSessionId, &Tracked)| {
            let backs_off = |machine: &rpp_p2p::consumer::Session| machine.state() == SessionState::BackingOff;
            self.rules.standing(**session).hold == Some(Hold::Seek)
                || (tracked.record.sought.is_some() && tracked.machine.as_ref().is_some_and(backs_off))
                || (tracked.record.beside.is_some()
                    && tracked.machine.as_ref().is_some_and(|machine| !machine.is_over()))
        };
        let seeking: Vec<_> = self.sessions.iter().filter(seeks).map(|(_, tracked)| tracked).collect();
        let root = |tracked: &&Tracked| {
            let of_plan = || root(&tracked.record).filter(|_| tracked.record.beside.is_some());
            tracked.record.looked_for()?.root.or_else(of_plan)
        };
        (!seeking.is_empty()).then(|| seeking.iter().filter_map(root).collect())
    }

    /// Replaces a provider that cannot serve, if the node chose it and the operator did not name it. This happens when
    /// the download fails, or while it backs off as soon as another peer offers the same snapshot.
    pub(super) fn leave_source(&mut self, session: SnapshotSessionId, swarm: &mut Swarm<NodeBehaviour>, now: Instant) {
        if self.sessions.get(&session).is_some_and(|tracked| tracked.record.beside.is_some()) {
            return self.look_besides(session, swarm, now);
        }
        let is_sought = self.sessions.get(&session).is_some_and(|tracked| tracked.record.sought.is_some());
        let banned = if is_sought { self.banned() } else { HashSet::new() };
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        if tracked.record.sought.is_none() || tracked.record.state.is_final() {
            return;
        }
        let Some(machine) = &tracked.machine else { return };
        let state = machine.state();
        if !matches!(state, SessionState::Failed | SessionState::BackingOff) {
            return;
        }
        let view = machine.view();
        let peer = tracked.record.peer;
        let (code, message) = why(&view);
        if !is_of_the_peer(code) {
            return;
        }
        let distrust = view.failure.as_ref().is_some_and(|failure| failure.distrust);
        if state == SessionState::BackingOff {
            let lasting = tracked.tried.looked.is_some_and(|(at, _)| now.saturating_duration_since(at) < LOOK);
            if lasting {
                return;
            }
            let offers = &mut swarm.behaviour_mut().offers;
            offers.want(now);
            tracked.tried.looked = Some((now, offers.changes()));
            // The current provider is as good as any that failed a moment ago.
            let others = |tracked: &Tracked| {
                let usable =
                    |other: PeerId| other != peer && tracked.tried.is_usable(&other, now) && !banned.contains(&other);
                choose_among(tracked, offers, usable).is_some()
            };
            if !others(tracked) {
                return;
            }
        }
        tracing::warn!(%session, %peer, "cannot serve what it offers, so others are tried: {message}");
        tracked.tried.note(peer, now, message);
        if distrust && let Some(sought) = &mut tracked.record.sought {
            sought.refuse(peer);
        }
        swarm.behaviour_mut().offers.forget(&peer);
        tracked.seek_again(now);
        self.rules.seek_again(session);
    }
}

impl Manager {
    /// No source of the configuration works, so the session looks for any peer that offers the snapshot.
    fn look_besides(&mut self, session: SnapshotSessionId, swarm: &mut Swarm<NodeBehaviour>, now: Instant) {
        let Some(tracked) = self.sessions.get_mut(&session).filter(|tracked| !tracked.record.state.is_final()) else {
            return;
        };
        let Some(machine) = tracked.machine.as_ref().filter(|machine| machine.state() == SessionState::Failed) else {
            return;
        };
        let view = machine.view();
        let (code, message) = why(&view);
        if !is_of_the_peer(code) {
            return;
        }
        for source in machine.sources(now) {
            if let DownloadSource::Peer(peer) = source.source {
                let reason = source.trouble.map_or_else(|| message.clone(), |(_, reason)| reason);
                tracked.tried.note(peer, now, reason);
            }
        }
        tracing::warn!(%session, "no source of the configuration serves it, so whoever offers it is looked for: {message}");
        swarm.behaviour_mut().offers.want(now);
        tracked.seek_again(now);
        self.rules.seek_again(session);
    }
}

impl Tracked {
    /// Makes the session wait for an offer again.
    pub(super) fn seek_again(&mut self, now: Instant) {
        self.held_since = now;
        self.record.begin();
        self.here.set_bans(Vec::new());
        if let Some(sought) = &mut self.record.sought {
            sought.is_chosen = false;
        }
    }
}

impl Tried {
    /// The peers that were tried, and why each did not serve.
    fn told(&self) -> Vec<(PeerId, String)> {
        self.peers.iter().map(|(peer, _, reason)| (*peer, reason.clone())).collect()
    }
}

type Choice = (rpp_p2p::SnapshotHeader, offers::Holder);

/// Prefers the snapshot that the session has begun, then the newest one.
fn choose_among(
    tracked: &Tracked,
    offers: &offers::OffersBehaviour,
    is_usable: impl Fn(PeerId) -> bool,
) -> Option<Choice> {
    let sought = tracked.record.looked_for()?;
    let usable =
        |_: &rpp_p2p::SnapshotHeader, holder: &offers::Holder| !sought.refuses(&holder.peer) && is_usable(holder.peer);
    let begun = tracked.record.plan.as_ref().map(|plan| plan.snapshot.checkpoint);
    let book = offers.book();
    begun
        .and_then(|begun| book.choose(Some(begun.state_root), Some(begun.height), usable))
        .or_else(|| book.choose(sought.root, sought.height, usable))
}

fn take(tracked: &mut Tracked, snapshot: &rpp_p2p::SnapshotHeader, peer: PeerId, discovery: &Finder) {
    let record = &mut tracked.record;
    let (root, height) = (snapshot.checkpoint.state_root, snapshot.checkpoint.height);
    if record.plan.as_ref().is_some_and(|plan| plan.snapshot.checkpoint.state_root != root) {
        (record.plan, record.plan_source) = (None, None);
        tracked.progress = record::Progress::default();
    }
    record.peer = peer;
    record.addresses = discovery.addresses(&peer);
    (record.wanted.root, record.wanted.height) = (Some(root), Some(height));
    if let Some(sought) = &mut record.sought {
        sought.is_chosen = true;
    }
}

/// Why the session makes no progress. If its source is banned, it has no trouble, but a reason to wait.
fn why(view: &View) -> (FailureCode, String) {
    let waits = || view.waiting.as_ref().map(|waiting| (FailureCode::Provider, waiting.reason.clone()));
    trouble(view).or_else(waits).unwrap_or((FailureCode::Network, "it does not serve".to_owned()))
}

/// Whether another peer may help. A full disk here, or two histories signed by the publishers, need the operator.
fn is_of_the_peer(code: FailureCode) -> bool {
    !matches!(code, FailureCode::Storage | FailureCode::Equivocation)
}
