//! Checks the authority over a plan, on blocking threads: signatures, chain, head and proof.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use rpp_p2p::{AuthorityError, LightClientSync, Plan, SignedChain, SnapshotSessionId, Update, error::Cause};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinError,
};

use super::{
    Done,
    trouble::{Shared, unwritable},
};
use crate::{
    error::{SnapshotRuntimeError, explain},
    head::{HeadError, HeadFile, Verdict},
    hooks::{Watchers, Work},
    status::Head,
    writable::{Part, Writable},
};

/// The result of checking authority.
#[derive(Debug)]
pub(crate) enum Authority {
    /// All of it was checked.
    Settled(Head),
    /// The tip is known. Its proof is being checked again, and [`Done::Proof`](super::Done::Proof) follows.
    Known(Head),
}

/// Why authority could not be established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsettled {
    /// The plan has no authority here.
    #[error(transparent)]
    Refused(AuthorityError),
    /// This node cannot decide: it cannot check the proof. That shows nothing about the plan.
    #[error(transparent)]
    Unchecked(AuthorityError),
    /// This node has no trust anchor, or its head cannot be read.
    #[error(transparent)]
    NoHead(#[from] Shared<NoHead>),
    /// This node cannot decide: the check did not finish.
    #[error(transparent)]
    Unfinished(#[from] JoinError),
    /// This node cannot decide: its head cannot be read.
    #[error("{}", explain(.0))]
    Unreadable(HeadError),
    /// This node cannot decide now: its head cannot be written. It will be tried again.
    #[error("{}", unwritable(.0))]
    Unwritable(HeadError),
    /// A fault of this node.
    #[error("the head is empty after it was written")]
    EmptyHead,
}

impl From<AuthorityError> for Unsettled {
    fn from(error: AuthorityError) -> Self {
        match &error {
            AuthorityError::Proof { reason } if reason.is_local() => Self::Unchecked(error),
            _ => Self::Refused(error),
        }
    }
}

impl Unsettled {
    /// Whether the check gave no answer for a reason other than this node's files.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self {
            Self::Unfinished(_) | Self::Unchecked(_) => true,
            Self::NoHead(reason) => matches!(**reason, NoHead::NoTrustAnchor),
            _ => false,
        }
    }
}

/// Why this node can accept no head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHead {
    /// The operator's choice: it only provides.
    #[error("{}", SnapshotRuntimeError::NoTrustAnchor)]
    NoTrustAnchor,
    /// `head.json` cannot be read.
    #[error("{}", explain(.0))]
    Unreadable(HeadError),
}

/// The head, or why there is none.
pub(crate) type SharedHead = Result<Arc<Mutex<HeadFile>>, Shared<NoHead>>;

/// Checks signatures and chain of a plan, everything but the recursive proof. Returns a head if this node verified the
/// proof of its tip before: then the plan is also judged against the head, and the proof may be checked again while
/// chunks arrive. Blocking.
pub(crate) fn check_chain(
    plan: &Arc<Plan>,
    updates: &[Update],
    light: &LightClientSync,
    head: &Mutex<HeadFile>,
    writable: &Writable,
) -> Result<(SignedChain, Option<Head>), Unsettled> {
    unforeseen(|| {
        let chain = light.check_chain(Arc::clone(plan), updates).map_err(AuthorityError::from)?;
        let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
        let known = head.is_accepted(&plan.tip).then(|| accept(plan, updates, &mut head, writable)).transpose()?;
        Ok((chain, known))
    })
}

/// Checks the recursive proof of a valid chain. Blocking: about 0.1 s, and 0.1 s more once in a process.
pub(crate) fn check_proof(chain: &SignedChain, light: &LightClientSync) -> Result<(), Unsettled> {
    unforeseen(|| Ok(light.check_proof(chain).map(drop).map_err(AuthorityError::from)?))
}

/// Judges a plan with a valid chain and proof, and accepts it.
pub(crate) fn check_head(
    plan: &Plan,
    updates: &[Update],
    head: &Mutex<HeadFile>,
    writable: &Writable,
) -> Result<Head, Unsettled> {
    accept(plan, updates, &mut head.lock().unwrap_or_else(PoisonError::into_inner), writable)
}

fn unforeseen<T>(check: impl FnOnce() -> Result<T, Unsettled>) -> Result<T, Unsettled> {
    catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|_| Err(AuthorityError::Proof { reason: rpp_proofs::ProofError::Panicked }.into()))
}

/// Applies the rollback and equivocation rules (`docs/storage.md`, The head). Durable on return.
fn accept(plan: &Plan, updates: &[Update], head: &mut HeadFile, writable: &Writable) -> Result<Head, Unsettled> {
    match head.judge(plan, updates) {
        Verdict::Newer | Verdict::Known => {}
        Verdict::Stale { newest } => {
            return Err(AuthorityError::Stale { tip: plan.tip.step, head: newest }.into());
        }
        Verdict::Equivocation { step, accepted, offered } => {
            let evidence = match head.keep_evidence(plan, updates) {
                Ok(Some(path)) => format!("the evidence is kept in {}", path.display()),
                Ok(None) => "there is evidence enough already".to_owned(),
                Err(error) => format!("the evidence could not be kept: {}", explain(&error)),
            };
            return Err(AuthorityError::Equivocation { step, accepted, offered, evidence }.into());
        }
    }
    head.accept(plan, updates).map_err(|error| match &error {
        // The disk is full or failing. Nothing was accepted, and the same head is written again later.
        HeadError::Write { .. } => {
            writable.failed(Part::Head, Cause::told(&explain(&error)));
            Unsettled::Unwritable(error)
        }
        HeadError::Unreadable { .. } => Unsettled::Unreadable(error),
    })?;
    writable.works(Part::Head);
    head.newest().ok_or(Unsettled::EmptyHead)
}

/// One check.
pub(crate) struct AuthorityCheck {
    pub(crate) session: SnapshotSessionId,
    pub(crate) epoch: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) updates: Arc<Vec<Update>>,
    pub(crate) head: SharedHead,
    /// `None` without a trust anchor.
    pub(crate) light: Option<LightClientSync>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) done: mpsc::Sender<Done>,
    pub(crate) watchers: Watchers,
    pub(crate) writable: Arc<Writable>,
}

impl AuthorityCheck {
    /// Checks, and reports by [`Done::Authority`]; for a known tip [`Done::Proof`] follows.
    pub(crate) async fn run(self) {
        let (session, epoch, done) = (self.session, self.epoch, self.done.clone());
        let plan_id = self.plan.plan_id;
        let report = match self.check().await {
            Ok((is_known, proven)) => match proven {
                Ok(Some(head)) => Done::Authority { session, epoch, result: Ok(Authority::Settled(head)) },
                Ok(None) => Done::Proof { session, epoch, plan_id, result: Ok(()) },
                Err(error) if is_known => Done::Proof { session, epoch, plan_id, result: Err(error) },
                Err(error) => Done::Authority { session, epoch, result: Err(error) },
            },
            Err(error) => Done::Authority { session, epoch, result: Err(error) },
        };
        let _ = done.send(report).await;
    }

    /// Checks the chain, then the proof. Returns whether the tip was known, and the result for the proof.
    async fn check(self) -> Result<(bool, Result<Option<Head>, Unsettled>), Unsettled> {
        let Self { session, epoch, plan, updates, head, light, permits, done, watchers, writable } = self;
        let light = light.ok_or_else(|| Shared::new(NoHead::NoTrustAnchor))?;
        let head = head?;
        let (chain, known) = blocking({
            let (plan, updates, head, watchers) = (plan.clone(), updates.clone(), head.clone(), watchers.clone());
            let (light, writable) = (light.clone(), Arc::clone(&writable));
            move || {
                let _work = watchers.work(Work::Chain, session);
                check_chain(&plan, &updates, &light, &head, &writable)
            }
        })
        .await?;
        let is_known = known.is_some();
        if let Some(head) = known {
            let _ = done.send(Done::Authority { session, epoch, result: Ok(Authority::Known(head)) }).await;
        }
        let permit = permits.acquire_owned().await;
        let proven = blocking(move || {
            let _permit = permit;
            let _work = watchers.work(Work::Proof, session);
            check_proof(&chain, &light)?;
            if is_known { Ok(None) } else { check_head(&plan, &updates, &head, &writable).map(Some) }
        })
        .await;
        Ok((is_known, proven))
    }
}

/// Runs a check on a blocking thread.
async fn blocking<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, Unsettled> + Send + 'static,
) -> Result<T, Unsettled> {
    tokio::task::spawn_blocking(check).await?
}
