//! The sources of a download: which there are, which one leads, and what each of them delivers.

use std::{collections::BTreeMap, sync::Arc};

use libp2p::PeerId;

use super::{
    mirror::MirrorLink,
    types::{DownloadSource, Failure, MirrorId},
};
use crate::{
    download::{Demand, Durable, Want},
    link::Link,
    messages::{Plan, PlanWishes},
    schedule::{Number, Schedule},
    tree::chunk_range,
    types::SnapshotSessionId,
};

/// All sources, the lost ones included.
#[derive(Debug, Default)]
pub(super) struct Sources {
    all: BTreeMap<Number, Delivery>,
    next: Number,
    /// The source whose plan is the download's, and that delivers the updates.
    ///
    /// ```text
    ///   first source ──> leads ──> authority holds ──> leads on, and the others deliver
    ///                     │ ^ out, or no help while nothing is fixed yet
    ///                     v │
    ///                    the next source that is not out
    /// ```
    pub(super) lead: Option<Number>,
    /// Payload bytes of sources that were removed: received and wasted.
    pub(super) gone: (u64, u64),
}

/// One source and its results.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) kind: LinkKind,
    /// Its plan: the download's snapshot, perhaps under another tip.
    pub(super) plan: Option<Arc<Plan>>,
    /// Verified payload bytes that were used.
    pub(super) verified: u64,
    /// Why it is not used any more.
    pub(super) out: Option<Out>,
    /// Its link has ended, and the driver does not know yet.
    pub(super) is_to_close: bool,
}

/// The kind of link that delivers the chunks.
#[derive(Debug)]
pub(super) enum LinkKind {
    Peer(Box<Link>),
    Mirror(Box<MirrorLink>),
}

/// A source that is not used any more.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) failure: Failure,
    /// Whether it broke the protocol.
    pub(super) is_banned: bool,
}

impl Delivery {
    pub(super) fn source(&self) -> DownloadSource {
        match &self.kind {
            LinkKind::Peer(link) => DownloadSource::Peer(link.peer()),
            LinkKind::Mirror(link) => DownloadSource::Mirror(link.id()),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.out.is_none()
    }

    /// Whether it can deliver chunks now.
    pub(super) fn is_open(&self) -> bool {
        self.is_alive()
            && self.plan.is_some()
            && match &self.kind {
                LinkKind::Peer(link) => link.is_open(),
                LinkKind::Mirror(link) => link.is_open(),
            }
    }

    pub(super) fn is_backing_off(&self) -> bool {
        match &self.kind {
            LinkKind::Peer(link) => link.is_backing_off(),
            LinkKind::Mirror(link) => link.is_backing_off(),
        }
    }

    /// Whether a mirror's payload is being read.
    pub(super) fn is_read(&self) -> bool {
        matches!(&self.kind, LinkKind::Mirror(link) if link.is_open() && link.is_busy())
    }

    /// Payload bytes that may still arrive without another request.
    pub(super) fn under_way(&self) -> u64 {
        match (&self.kind, &self.plan) {
            (LinkKind::Peer(link), Some(plan)) => link.under_way(plan),
            (LinkKind::Mirror(link), Some(plan)) => link.under_way(plan),
            (_, None) => 0,
        }
    }

    /// Payload bytes received, and those of them that were wasted.
    pub(super) fn counts(&self) -> (u64, u64) {
        match &self.kind {
            LinkKind::Peer(link) => link.counts(),
            LinkKind::Mirror(link) => link.counts(),
        }
    }

    /// Sets the wishes for its next plan.
    pub(super) fn set_wishes(&mut self, wishes: PlanWishes) {
        match &mut self.kind {
            LinkKind::Peer(link) => link.set_wishes(wishes),
            LinkKind::Mirror(link) => link.set_wishes(wishes),
        }
    }

    /// It must plan again: its plan is not for the wanted payload.
    pub(super) fn plan_again(&mut self) {
        self.plan = None;
        match &mut self.kind {
            LinkKind::Peer(link) => link.reopen(),
            LinkKind::Mirror(link) => link.reopen(),
        }
    }
}

impl Sources {
    /// Adds a source; the first one leads.
    pub(super) fn add(&mut self, kind: LinkKind, plan: Option<Arc<Plan>>) -> Number {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, Delivery { kind, plan, verified: 0, out: None, is_to_close: false });
        self.lead.get_or_insert(number);
        number
    }

    pub(super) fn get(&self, number: Number) -> Option<&Delivery> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Delivery> {
        self.all.get_mut(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Delivery)> {
        self.all.iter().map(|(number, delivery)| (*number, delivery))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Number, &mut Delivery)> {
        self.all.iter_mut().map(|(number, delivery)| (*number, delivery))
    }

    /// Whether there was more than one source at any time.
    pub(super) fn had_many(&self) -> bool {
        self.next > 1
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (Number, &Delivery)> {
        self.iter().filter(|(_, delivery)| delivery.is_alive())
    }

    /// The only source in use, if there is exactly one.
    pub(super) fn alone(&self) -> Option<Number> {
        let mut alive = self.alive();
        let (number, _) = alive.next()?;
        alive.next().is_none().then_some(number)
    }

    pub(super) fn number_of(&self, source: DownloadSource) -> Option<Number> {
        self.iter().find(|(_, delivery)| delivery.source() == source).map(|(number, _)| number)
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Delivery> {
        let removed = self.all.remove(&number)?;
        let (received, wasted) = removed.counts();
        self.gone = (self.gone.0 + received, self.gone.1 + wasted);
        if self.lead == Some(number) {
            self.lead = None;
        }
        Some(removed)
    }

    /// The source whose plan the download uses.
    pub(super) fn leading(&self) -> Option<&Delivery> {
        self.get(self.lead?)
    }

    pub(super) fn lead_link(&self) -> Option<&Link> {
        match &self.leading()?.kind {
            LinkKind::Peer(link) => Some(link),
            LinkKind::Mirror(_) => None,
        }
    }

    pub(super) fn link_of(&self, number: Number) -> Option<&Link> {
        match &self.get(number)?.kind {
            LinkKind::Peer(link) => Some(link),
            LinkKind::Mirror(_) => None,
        }
    }

    pub(super) fn link_of_mut(&mut self, number: Number) -> Option<&mut Link> {
        match &mut self.get_mut(number)?.kind {
            LinkKind::Peer(link) => Some(link),
            LinkKind::Mirror(_) => None,
        }
    }

    /// The link with this peer, unless it is not used any more.
    pub(super) fn peer_mut(&mut self, peer: PeerId) -> Option<(Number, &mut Link)> {
        self.iter_mut().filter(|(_, delivery)| delivery.is_alive()).find_map(|(number, delivery)| {
            match &mut delivery.kind {
                LinkKind::Peer(link) if link.peer() == peer => Some((number, &mut **link)),
                _ => None,
            }
        })
    }

    /// The mirror with this number of the driver, unless it is not used any more.
    pub(super) fn mirror(&self, mirror: MirrorId) -> Option<(Number, &MirrorLink)> {
        self.alive().find_map(|(number, delivery)| match &delivery.kind {
            LinkKind::Mirror(link) if link.id() == mirror => Some((number, &**link)),
            _ => None,
        })
    }

    /// The same.
    pub(super) fn mirror_mut(&mut self, mirror: MirrorId) -> Option<(Number, &mut MirrorLink)> {
        self.iter_mut().filter(|(_, delivery)| delivery.is_alive()).find_map(|(number, delivery)| {
            match &mut delivery.kind {
                LinkKind::Mirror(link) if link.id() == mirror => Some((number, &mut **link)),
                _ => None,
            }
        })
    }

    /// The links with peers; each one until the driver is told to close it.
    pub(super) fn links(&self) -> impl Iterator<Item = (Number, &Link)> {
        self.iter().filter_map(|(number, delivery)| match &delivery.kind {
            LinkKind::Peer(link) => Some((number, &**link)),
            LinkKind::Mirror(_) => None,
        })
    }

    pub(super) fn links_mut(&mut self) -> impl Iterator<Item = (Number, &mut Link)> {
        self.iter_mut().filter_map(|(number, delivery)| match &mut delivery.kind {
            LinkKind::Peer(link) => Some((number, &mut **link)),
            LinkKind::Mirror(_) => None,
        })
    }

    /// A link that has ended while the download goes on.
    pub(super) fn poll_close(&mut self) -> Option<(PeerId, SnapshotSessionId)> {
        let (_, delivery) = self.iter_mut().find(|(_, delivery)| delivery.is_to_close)?;
        delivery.is_to_close = false;
        match &delivery.kind {
            LinkKind::Peer(link) => Some((link.peer(), link.session())),
            LinkKind::Mirror(_) => None,
        }
    }

    /// The demand on one source.
    ///
    /// `all`: what the download needs. `is_fixed`: its root, length and chunk size are settled.
    pub(super) fn demand_of(&self, number: Number, all: &Demand, schedule: &Schedule, is_fixed: bool) -> Demand {
        if self.alone() == Some(number) && self.lead == Some(number) {
            return all.clone();
        }
        let Some(delivery) = self.get(number) else { return Demand::without_plan() };
        let leads = self.lead == Some(number);
        let is_lead_plan =
            delivery.plan.as_ref().map(|plan| plan.plan_id) == all.plan.as_ref().map(|plan| plan.plan_id);
        let gives_updates = leads && is_lead_plan;
        let own_updates = delivery.plan.as_ref().map_or(0, |plan| plan.total_updates);
        Demand {
            plan: delivery.plan.clone(),
            is_needed: (leads || is_fixed) && all.is_needed,
            may_shrink: false,
            next: (all.next.0, if is_lead_plan { all.next.1 } else { own_updates }),
            want: Want {
                chunks: schedule.run(number).map_or_else(Vec::new, |run| run.iter().collect()),
                updates: if gives_updates { all.want.updates.clone() } else { 0..0 },
            },
            budget: self.budget_of(number, all, schedule),
            unwritten: all.unwritten,
            durable: Durable { chunks: all.durable.chunks, updates: all.durable.updates.filter(|_| is_lead_plan) },
            is_all_durable: all.is_all_durable,
            is_in_use: leads && !is_fixed && all.is_in_use,
            is_written: true,
        }
    }

    /// All sources share one window: bytes that may arrive from one source may not arrive from another.
    fn budget_of(&self, number: Number, all: &Demand, schedule: &Schedule) -> u64 {
        let others: u64 = self
            .iter()
            .filter(|(other, delivery)| *other != number && delivery.is_alive())
            // The bytes that a slow source still owes may never arrive.
            .filter(|(other, _)| schedule.slow_until(*other).is_none())
            .map(|(_, delivery)| delivery.under_way())
            .sum();
        // A mirror is read in parts of this amount: larger parts mean fewer requests. At the end, the parts that it has
        // not read yet can be fetched from other sources.
        let allowance = match self.get(number).map(|delivery| &delivery.kind) {
            Some(LinkKind::Mirror(_)) => schedule.allowance(number).saturating_mul(2),
            _ => schedule.allowance(number),
        };
        let budget = all.budget.saturating_sub(others).min(allowance);
        let (Some(plan), Some(run)) = (&all.plan, schedule.run(number)) else { return 0 };
        let total = plan.snapshot.checkpoint.payload_bytes;
        let at = |chunk: u64| chunk_range(total, plan.chunk_size, chunk).start;
        let wanted: u64 = run.iter().map(|range| at(range.end) - at(range.start)).sum();
        // Whole chunks: fractions that no source can use would add up.
        if wanted <= budget { wanted } else { budget / plan.chunk_size * plan.chunk_size }
    }
}
