//! Sessions that were complete before this process began. Their records are not trusted. Before a status says
//! `verified`, the payload is hashed again, and the manifest's chain, signatures and proof are checked. Sessions are
//! checked one after the other; the one that ended longest ago comes first.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use rpp_p2p::{
    AuthorityError, Hash, Plan, SnapshotSessionId,
    light_client::{LightClientSync, SyncError},
};
use rpp_proofs::GenesisError;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinError,
};

use super::{Manager, Tracked, heal::root};
use crate::{
    error::explain,
    hooks::{Watchers, Work},
    limits::RESTORE_RETRY,
    sessions::{Done, authority},
    status::SessionState,
    store::{Damage, MANIFEST, Offer, OfferFlaw, Store, StoreError, Stored},
};

/// The least time between two reports of how far hashing is.
const TOLD: Duration = Duration::from_millis(250);

/// The state or result of a check.
pub(crate) enum Kept {
    /// The bytes up to this offset are correct; hashing continues.
    Hashed(u64),
    /// Payload, chain, signatures and proof are correct.
    Holds,
    /// The payload is no longer in the store, because it was removed or found damaged.
    Gone,
    /// The stored files are intact, but this node cannot call them verified, for this reason.
    Unsettled(NotVerified),
    /// The payload cannot be read now, for this reason.
    Unreadable(NotVerified),
    /// A payload that could not be read is to be tried again.
    Again,
}

/// Why a stored payload cannot be called verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotVerified {
    /// A fault of this node: the check did not finish.
    #[error("it could not be checked: {0}")]
    Unfinished(#[from] JoinError),
    /// The payload was published or fetched again, as another snapshot.
    #[error("the manifest of its payload does not have this snapshot any more")]
    OtherSnapshot,
    /// The operator's choice: this node only provides snapshots.
    #[error("no [trust] genesis is configured, so nothing can be called verified")]
    NoTrustAnchor,
    /// It does not belong to the chain that is trusted now.
    #[error("its chain has no authority under [trust]: {0}")]
    NoAuthority(#[from] SyncError),
    /// It cannot be read from the disk.
    #[error("its payload cannot be read: {}", explain(.0))]
    Unread(#[source] StoreError),
    /// A fault of this node: the proof of its chain could not be checked.
    #[error("it could not be checked: {0}")]
    Unchecked(#[source] authority::Unsettled),
    /// It is damaged, and the catalog could not be read again.
    #[error("its payload is damaged: {0}")]
    Damaged(#[source] KeptFlaw),
}

/// Which part of a stored payload is damaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptFlaw {
    #[error(transparent)]
    Bytes(#[from] Damage),
    #[error(transparent)]
    Offer(#[from] OfferFlaw),
    #[error("{MANIFEST}: {0}")]
    Genesis(#[from] GenesisError),
    #[error("{MANIFEST}: {0}")]
    Proof(#[from] AuthorityError),
}

/// The state of these checks.
#[derive(Default)]
pub(super) struct Checks {
    current: Option<SnapshotSessionId>,
    /// Commitments of tips whose proof this process has checked in this module; at most one for each session.
    proven: Arc<Mutex<HashSet<Hash>>>,
    /// Dropped with the manager, so that the hashing ends when the node does.
    alive: Arc<()>,
}

impl Manager {
    /// Starts the check of the next complete session whose payload this process has not verified.
    pub(super) fn check_kept(&mut self) {
        if self.checks.current.is_some() {
            return;
        }
        let waits = |tracked: &&Tracked| {
            tracked.record.state == SessionState::Complete
                && tracked.machine.is_none()
                && !tracked.here.is_verified
                && tracked.here.unsettled.is_none()
        };
        let stored = |tracked: &Tracked| {
            let plan = tracked.record.plan.clone()?;
            Some((self.disk.store.get(&root(&tracked.record)?)?, plan, tracked.record.session))
        };
        let mut waiting: Vec<_> = self.sessions.values().filter(waits).collect();
        waiting.sort_by(|one, other| one.record.updated_at.cmp(&other.record.updated_at));
        let Some((stored, plan, session)) = waiting.into_iter().find_map(stored) else { return };
        self.checks.current = Some(session);
        let check = KeptCheck {
            session,
            plan,
            stored,
            store: Arc::clone(&self.disk.store),
            light: self.light.clone(),
            proven: Arc::clone(&self.checks.proven),
            proofs: Arc::clone(&self.proofs),
            done: self.done.clone(),
            watchers: self.watchers.clone(),
            alive: Arc::downgrade(&self.checks.alive),
        };
        tokio::spawn(check.run());
    }

    pub(super) fn on_kept(&mut self, session: SnapshotSessionId, kept: Kept, now: Instant) {
        if !matches!(kept, Kept::Hashed(_)) && self.checks.current == Some(session) {
            self.checks.current = None;
        }
        let is_kept =
            |tracked: &&mut Tracked| tracked.record.state == SessionState::Complete && tracked.machine.is_none();
        if let Some(tracked) = self.sessions.get_mut(&session).filter(is_kept) {
            let here = &mut tracked.here;
            here.hashed = 0;
            match kept {
                Kept::Hashed(bytes) => here.hashed = bytes,
                Kept::Holds => {
                    // Its files may have been touched meanwhile.
                    let stored = root(&tracked.record).and_then(|root| self.disk.store.get(&root));
                    here.is_verified = stored.is_some_and(|stored| stored.is_verified());
                    if here.is_verified {
                        tracing::info!(%session, "the payload of a complete session is verified again");
                    }
                }
                Kept::Gone => {}
                Kept::Unsettled(reason) => {
                    tracing::warn!(%session, "a complete session is not called verified: {reason}");
                    here.unsettled = Some(reason);
                }
                Kept::Unreadable(reason) => {
                    tracing::warn!(%session, "a complete session is not called verified: {reason}");
                    here.unsettled = Some(reason);
                    let done = self.done.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(RESTORE_RETRY).await;
                        let _ = done.send(Done::Kept { session, kept: Kept::Again }).await;
                    });
                }
                Kept::Again => here.unsettled = None,
            }
            self.publish(session, now);
        }
        self.check_kept();
    }
}

/// The check of one session.
struct KeptCheck {
    session: SnapshotSessionId,
    plan: Plan,
    stored: Arc<Stored>,
    store: Arc<Store>,
    light: Option<LightClientSync>,
    proven: Arc<Mutex<HashSet<Hash>>>,
    proofs: Arc<Semaphore>,
    done: mpsc::Sender<Done>,
    watchers: Watchers,
    alive: Weak<()>,
}

impl KeptCheck {
    async fn run(self) {
        let (session, done, proofs) = (self.session, self.done.clone(), Arc::clone(&self.proofs));
        let check = Arc::new(self);
        let hashed = tokio::task::spawn_blocking({
            let check = Arc::clone(&check);
            move || check.hash()
        });
        let kept = match hashed.await {
            Ok(Kept::Holds) => {
                let permit = proofs.acquire_owned().await;
                let checked = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    check.authority()
                });
                checked.await
            }
            other => other,
        };
        let kept = kept.unwrap_or_else(|error| Kept::Unsettled(error.into()));
        let _ = done.send(Done::Kept { session, kept }).await;
    }

    /// Hashes every byte of the payload, and checks the hashes stored beside it. Blocks.
    fn hash(&self) -> Kept {
        let _work = self.watchers.work(Work::Recheck, self.session);
        let mut told = Instant::now();
        let verified = self.stored.verify(&mut |bytes| {
            if told.elapsed() >= TOLD {
                told = Instant::now();
                // If the queue is full, there are more urgent reports.
                let _ = self.done.try_send(Done::Kept { session: self.session, kept: Kept::Hashed(bytes) });
            }
            self.alive.strong_count() > 0
        });
        match verified {
            Ok(true) => Kept::Holds,
            Ok(false) => Kept::Gone,
            Err(StoreError::Damaged { reason, .. }) => self.damaged(reason.into()),
            Err(error) => {
                let looked = self.store.look();
                match self.store.get(&self.stored.root()) {
                    None if looked.is_ok() => Kept::Gone,
                    _ => Kept::Unreadable(NotVerified::Unread(error)),
                }
            }
        }
    }

    /// Checks the chain, signatures and proof of the session's snapshot in the manifest. Blocks.
    fn authority(&self) -> Kept {
        let _work = self.watchers.work(Work::Proof, self.session);
        if let Some(reason) = self.stored.offers().iter().find_map(|offer| offer.check_chain().err()) {
            return self.damaged(reason.into());
        }
        let of_session =
            |offer: &&Arc<Offer>| offer.snapshot == self.plan.snapshot && offer.genesis == self.plan.genesis;
        let Some(offer) = self.stored.offers().iter().find(of_session) else {
            return Kept::Unsettled(NotVerified::OtherSnapshot);
        };
        let Some(light) = &self.light else {
            return Kept::Unsettled(NotVerified::NoTrustAnchor);
        };
        let (plan, updates) = match offer.plan(self.plan.chunk_size) {
            Ok(plan) => (Arc::new(plan), offer.wire_updates()),
            Err(error) => return self.damaged(error.into()),
        };
        let tip = plan.tip.commitment;
        let chain = match light.check_chain(plan, &updates) {
            Ok(chain) => chain,
            Err(error) => return Kept::Unsettled(error.into()),
        };
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if !proven.contains(&tip) {
            match authority::check_proof(&chain, light) {
                Ok(()) => {}
                Err(authority::Unsettled::Refused(error)) => return self.damaged(error.into()),
                // That this node cannot check it shows nothing about the payload.
                Err(error) => return Kept::Unreadable(NotVerified::Unchecked(error)),
            }
            proven.insert(tip);
        }
        Kept::Holds
    }

    fn damaged(&self, reason: KeptFlaw) -> Kept {
        let root = self.stored.root();
        // Another entry took its place while this one was read. That one gets a check of its own.
        if self.store.get(&root).is_none_or(|now| !Arc::ptr_eq(&now, &self.stored)) {
            return Kept::Gone;
        }
        self.store.condemn(&root, &reason);
        match self.store.get(&root) {
            None => Kept::Gone,
            // The catalog could not be read again.
            Some(_) => Kept::Unreadable(NotVerified::Damaged(reason)),
        }
    }
}
