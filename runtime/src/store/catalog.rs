//! The catalog of stored payloads, and the links between their snapshots.
//!
//! Each publish adds a snapshot with a single update: its own checkpoint. An older snapshot is offered with the updates
//! from it to the newest checkpoint that can be reached through stored snapshots. So a consumer that has seen the
//! newest checkpoint can still accept it. No file is rewritten for this: the catalog follows the commitments.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rpp_p2p::{Hash, Plan, limits};

use super::{
    damage::Damage,
    manifest::Offer,
    stored::{Mark, Stored},
};

/// The most extended offers that are cached; others are made again when they are needed.
const MAX_READY: usize = 64;

/// An entry of `store/` that is not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The folder.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: Damage,
    pub(crate) mark: Option<Mark>,
}

impl std::fmt::Display for Damaged {
    /// Writes which file is damaged, and what is wrong with it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = self.path.display().to_string();
        let reason = self.reason.to_string();
        if !reason.starts_with(&folder) {
            write!(f, "{folder}: ")?;
        }
        f.write_str(&reason)
    }
}

/// One state of `store/`.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) stored: BTreeMap<Hash, Arc<Stored>>,
    pub(crate) damaged: BTreeMap<Hash, Damaged>,
    /// By the preceding commitment: the update that continues from there, in the offer that leads to the highest tip.
    next: HashMap<Hash, (Arc<Offer>, usize)>,
    /// By commitment: an update that has its proof.
    proven: HashMap<Hash, (Arc<Offer>, usize)>,
    ready: Mutex<HashMap<Hash, Arc<Offer>>>,
}

impl Catalog {
    pub(crate) fn new(stored: BTreeMap<Hash, Arc<Stored>>, damaged: BTreeMap<Hash, Damaged>) -> Self {
        let mut catalog = Self { stored, damaged, ..Self::default() };
        for offer in catalog.stored.values().flat_map(|stored| stored.offers()) {
            for (index, update) in offer.updates.iter().enumerate() {
                let place = (offer.clone(), index);
                catalog
                    .next
                    .entry(update.previous_commitment)
                    .and_modify(|known| {
                        if known.0.tip.step < offer.tip.step {
                            *known = place.clone();
                        }
                    })
                    .or_insert_with(|| place.clone());
                if update.recursive_proof.is_some() {
                    catalog.proven.insert(update.checkpoint.commitment, place);
                }
            }
        }
        catalog
    }

    /// The highest matching offer, with the updates to the newest tip.
    pub(crate) fn best(&self, root: Option<Hash>, height: Option<u64>) -> Option<(Arc<Stored>, Arc<Offer>)> {
        let (stored, offer) = self
            .stored
            .values()
            .filter(|stored| root.is_none_or(|root| stored.root() == root))
            .flat_map(|stored| stored.offers().iter().map(move |offer| (stored, offer)))
            .filter(|(_, offer)| height.is_none_or(|height| offer.snapshot.checkpoint.height == height))
            .max_by_key(|(_, offer)| (offer.snapshot.checkpoint.height, offer.tip.step))?;
        Some((stored.clone(), self.extended(offer)))
    }

    /// The source of a plan that was once offered: its snapshot and all updates to its tip are here.
    pub(crate) fn resolve(&self, plan: &Plan) -> Option<(Arc<Stored>, Arc<Offer>)> {
        let stored = self.stored.get(&plan.snapshot.checkpoint.state_root)?;
        let offer =
            stored.offers().iter().find(|offer| offer.snapshot == plan.snapshot && offer.genesis == plan.genesis)?;
        if offer.tip == plan.tip {
            return Some((stored.clone(), offer.clone()));
        }
        let extended = self.extended(offer);
        if extended.tip == plan.tip {
            return Some((stored.clone(), extended));
        }
        self.cut(&extended, plan).map(|offer| (stored.clone(), Arc::new(offer)))
    }

    /// The part of an offer that leads to an earlier tip whose proof is stored.
    fn cut(&self, offer: &Offer, plan: &Plan) -> Option<Offer> {
        let last = usize::try_from(plan.tip.step.checked_sub(plan.snapshot.checkpoint.step)?).ok()?;
        if offer.updates.get(last)?.checkpoint != plan.tip {
            return None;
        }
        let (proven, index) = self.proven.get(&plan.tip.commitment)?;
        let mut updates = offer.updates[..=last].to_vec();
        updates[last] = proven.updates[*index].clone();
        Some(Offer { tip: plan.tip, updates, ..offer.clone() })
    }

    /// The offer, extended by stored updates beyond its tip.
    pub(crate) fn extended(&self, offer: &Arc<Offer>) -> Arc<Offer> {
        if !self.next.contains_key(&offer.tip.commitment) {
            return offer.clone();
        }
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(extended) = ready.get(&offer.snapshot.checkpoint.commitment) {
            return extended.clone();
        }
        let extended = Arc::new(self.extend(offer));
        if ready.len() >= MAX_READY {
            ready.clear();
        }
        ready.insert(offer.snapshot.checkpoint.commitment, extended.clone());
        extended
    }

    fn extend(&self, offer: &Arc<Offer>) -> Offer {
        let mut extended = Offer::clone(offer);
        while let Some((more, from)) = self.next.get(&extended.tip.commitment) {
            let updates = &more.updates[*from..];
            if extended.updates.len() + updates.len() > limits::MAX_UPDATES as usize {
                break;
            }
            extended.updates.extend_from_slice(updates);
            extended.tip = more.tip;
        }
        extended
    }
}
