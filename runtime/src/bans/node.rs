//! What the node does about bans: connections, sessions, log and events.

use libp2p::PeerId;
use rpp_p2p::{Evidence, SnapshotSessionId};
use time::OffsetDateTime;

use super::{BanSource, rules::Ban};
use crate::{
    error::{SnapshotRuntimeError, StorageFault},
    handle::Reply,
    node::Node,
    status::NodeEvent,
};

/// A source that broke the rules, where that happened, and the evidence.
#[derive(Clone, Debug)]
pub(crate) struct Blame {
    pub(crate) source: BanSource,
    pub(crate) session: Option<SnapshotSessionId>,
    pub(crate) evidence: Evidence,
}

impl Node {
    /// Puts the bans from the disk in force, before any peer is dialled.
    pub(crate) fn restore_bans(&mut self) {
        let now = OffsetDateTime::now_utc();
        for source in self.warden.in_force().cloned().collect::<Vec<_>>() {
            self.enforce(&source, now);
        }
        for source in self.warden.ended(now).cloned().collect::<Vec<_>>() {
            self.readmit(&source);
        }
    }

    /// Bans the sources that sessions blame.
    pub(crate) fn settle_blames(&mut self) {
        for blame in self.manager.take_blames() {
            self.accuse(blame);
        }
    }

    /// Bans a source, or adds to the evidence against it.
    pub(crate) fn accuse(&mut self, blame: Blame) {
        let Blame { source, session, evidence } = blame;
        let now = OffsetDateTime::now_utc();
        let offence = evidence.kind;
        let (ban, is_new) = self.warden.accuse(now, &source, session, evidence);
        if !is_new {
            tracing::debug!(%source, "a banned source broke the rules again");
            return;
        }
        self.metrics.bans.banned(&ban, offence);
        let sentence = ban.sentence();
        let of = self.note_on_configured(&source);
        tracing::warn!(
            %source, offence = offence.as_str(), count = ban.count,
            "{sentence}.{of} `rpp-node bans` shows the evidence, `rpp-node bans --lift {source}` lifts the ban"
        );
        let _ = self.events.send(NodeEvent::Banned(ban));
        self.enforce(&source, now);
    }

    fn note_on_configured(&self, source: &BanSource) -> &'static str {
        match source {
            BanSource::Peer(peer) if !self.peers.addresses(peer).is_empty() => {
                " It is one of [p2p] peers and is not dialled until then."
            }
            _ => "",
        }
    }

    /// Lifts a ban. Answers when this is on the disk.
    pub(crate) fn lift_ban(&mut self, source: &BanSource, reply: Reply<()>) {
        let Some(lifted) = self.warden.lift(OffsetDateTime::now_utc(), source) else {
            let _ = reply.send(Err(SnapshotRuntimeError::UnknownBan { source_name: source.to_string() }));
            return;
        };
        tracing::info!(%source, "its ban is lifted; it was {}", lifted.sentence());
        self.metrics.bans.lifted();
        let _ = self.events.send(NodeEvent::BanEnded { source: source.to_string(), kind: source.kind(), lifted: true });
        self.readmit(source);
        let saved = self.warden.saved();
        tokio::spawn(async move {
            let saved = saved.await.map_err(|error| StorageFault::new(error).into());
            let _ = reply.send(saved);
        });
    }

    /// The bans in force. Answers when they are on the disk, or, if the disk accepts no writes, after a moment.
    pub(crate) fn list_bans(&self, reply: Reply<Vec<Ban>>) {
        let (bans, saved) = (self.warden.list(OffsetDateTime::now_utc()), self.warden.saved());
        tokio::spawn(async move {
            // The log says why they are not on the disk; the bans are in force nevertheless.
            let _ = saved.await;
            let _ = reply.send(Ok(bans));
        });
    }

    /// Applies the passing of time.
    pub(crate) fn tend_bans(&mut self) {
        let now = OffsetDateTime::now_utc();
        let passed = self.warden.tend(now);
        for source in passed.ended {
            tracing::info!(%source, "its ban has run out");
            let ended = NodeEvent::BanEnded { source: source.to_string(), kind: source.kind(), lifted: false };
            let _ = self.events.send(ended);
            self.readmit(&source);
        }
        for source in passed.begun {
            self.enforce(&source, now);
        }
    }

    /// Sets the gauges.
    pub(crate) fn observe_bans(&self) {
        self.metrics.bans.observe(&self.warden.list(OffsetDateTime::now_utc()));
    }

    /// Whether a peer is banned.
    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.swarm.behaviour().blocked.blocked_peers().contains(peer)
    }

    /// Closes the connections of a banned peer, and tells its sessions.
    fn enforce(&mut self, source: &BanSource, now: OffsetDateTime) {
        let Some(ban) = self.warden.ban_of(now, source).cloned() else { return };
        if let BanSource::Peer(peer) = source {
            self.swarm.behaviour_mut().blocked.block_peer(*peer);
        }
        self.manager.ban(source, ban, std::time::Instant::now());
    }

    fn readmit(&mut self, source: &BanSource) {
        if let BanSource::Peer(peer) = source {
            self.swarm.behaviour_mut().blocked.unblock_peer(*peer);
        }
        self.manager.end_ban(source, std::time::Instant::now());
    }
}
