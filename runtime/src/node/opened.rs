//! Everything that a start opens or creates on the disk.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rpp_p2p::{TrustAnchor, plan::check_plan, provider::RecordLimits};

use super::{StartError, trust_anchor};
use crate::{
    bans::{self, Ban},
    config::Config,
    db::{Db, Known, Notice},
    head::{HeadError, HeadFile},
    lock::DataLock,
    rates::ByteLimits,
    serve::{Provider, ProviderConfig},
    sessions::{Reloaded, from_partials, plan_bounds, record},
    status::SessionState,
    store::{Space, Store},
    writable::Writable,
};

/// What the start opens on a blocking thread, in this order: folder, lock, catalog, head, database.
pub(super) struct OpenedParts {
    pub(super) lock: DataLock,
    pub(super) store: Arc<Store>,
    /// `None` without a trust anchor.
    pub(super) head: Result<Option<HeadFile>, HeadError>,
    pub(super) db: Db,
    pub(super) provider: Provider,
    pub(super) sessions: Vec<Reloaded>,
    pub(super) bans: Vec<Ban>,
    pub(super) limits: ByteLimits,
    pub(super) notices: Vec<Notice>,
}

impl OpenedParts {
    pub(super) fn open(config: &Config, space: Arc<dyn Space>, writable: Arc<Writable>) -> Result<Self, StartError> {
        let io = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| StartError::Io { path, source }
        };
        crate::files::create_dir_private(&config.data_dir).map_err(io(&config.data_dir))?;
        keep_private(&config.data_dir);
        let lock = DataLock::acquire(&config.data_dir)?;
        let snapshots = config.data_dir.join("snapshots");
        crate::files::create_dir_private(&snapshots).map_err(io(&snapshots))?;
        let store = Arc::new(Store::open_with(&snapshots, space)?);
        let head = match config.trust.genesis {
            Some(genesis) => HeadFile::load(&snapshots.join("head.json"), genesis).map(Some),
            None => Ok(None),
        };
        if let Err(error) = &head {
            tracing::error!("{error}");
        }
        let (bans, unreadable) = bans::load(&config.data_dir);
        if let Some(unreadable) = unreadable {
            tracing::error!("{unreadable}");
        }
        let limits = crate::rates::load(&config.data_dir).unwrap_or_else(|unreadable| {
            tracing::error!("{unreadable}");
            None
        });
        let limits = limits.unwrap_or(config.limits);
        let sessions = snapshots.join("sessions");
        // sled would follow a link. If the path cannot be examined here, sled cannot open it either.
        if let Ok(Some(link)) = crate::files::first_link(&sessions) {
            return Err(io(&link)(rustix::io::Errno::LOOP.into()));
        }
        let (db, mut notices) = Db::open(&sessions, config.snapshots.durability, writable)?;
        let (mut sessions, more) = db.sessions();
        notices.extend(more);
        // A damaged database may still open, with fewer or older records. The note beside a payload is written only
        // once its session has a plan.
        let known = sessions
            .iter()
            .filter(|(record, _)| record.plan.is_some() || record.state.is_final())
            .map(|(record, _)| record.session)
            .collect();
        let mut rebuilt_ids = BTreeSet::new();
        for rebuilt in from_partials(&snapshots.join("partial"), &known) {
            rebuilt_ids.insert(rebuilt.0.session);
            match sessions.iter_mut().find(|(record, _)| record.session == rebuilt.0.session) {
                Some(older) => *older = rebuilt,
                None => sessions.push(rebuilt),
            }
        }
        let mut sessions = reloaded(&store, config, sessions);
        for found in &mut sessions {
            found.is_rebuilt = rebuilt_ids.contains(&found.record.session);
        }
        let bounds = ProviderConfig::default()
            .with_chunk_sizes(config.snapshots.min_chunk_size, config.snapshots.max_chunk_size)
            .with_records(
                RecordLimits::default().with_retention(Duration::from_secs(config.snapshots.session_retention_s)),
            );
        let provider = Provider::new((*store).clone(), Arc::new(db.clone()), bounds).map_err(|error| {
            StartError::Io { path: snapshots.join("sessions"), source: std::io::Error::other(error) }
        })?;
        Ok(Self { lock, store, head, db, provider, sessions, bans, limits, notices })
    }
}

/// Removes everybody else's access to the data folder. Another program, such as a service manager, may have created it.
fn keep_private(folder: &std::path::Path) {
    let shown = folder.display();
    match crate::files::restrict_to_owner(folder) {
        Ok(None) => {}
        Ok(Some(mode)) => tracing::info!("{shown} had mode {mode:04o}, now 0700: it is its owner's alone"),
        Err(error) => tracing::warn!("{shown} should have mode 0700, which cannot be set: {error}"),
    }
}

/// The sessions, with the updates that are stored beside their partial payloads.
pub(super) fn reloaded(store: &Store, config: &Config, sessions: Vec<Known>) -> Vec<Reloaded> {
    let trust = trust_anchor(config);
    let updates = |record: &record::Session| {
        let plan = record.plan.as_ref().filter(|_| !record.state.is_final())?;
        let found = store.partial_plan(&plan.snapshot.checkpoint.state_root).ok()?;
        (found.plan.plan_id == plan.plan_id).then_some(found.updates)
    };
    let reload = |(record, progress)| {
        let (record, progress) = believable(store, config, trust.as_deref(), record, progress);
        Reloaded { updates: updates(&record).unwrap_or_default(), record, progress, is_rebuilt: false }
    };
    sessions.into_iter().map(reload).collect()
}

/// Reduces a record to the part that can be trusted after a start: the disk and the configuration may have changed.
fn believable(
    store: &Store,
    config: &Config,
    trust: Option<&TrustAnchor>,
    mut record: record::Session,
    mut progress: record::Progress,
) -> (record::Session, record::Progress) {
    let Some(plan) = &record.plan else { return (record, progress) };
    let root = plan.snapshot.checkpoint.state_root;
    // The damaged payload was moved back to be fetched again, and then the process ended.
    if record.state == SessionState::Complete && store.get(&root).is_none() && store.is_demoted(&root) {
        record.state = SessionState::Connecting;
    }
    let (false, Some(trust)) = (record.state.is_final(), trust) else { return (record, progress) };
    if let Err(error) = check_plan(plan, trust, &plan_bounds(config)) {
        tracing::warn!(session = %record.session, "its recorded plan is not used, and it is planned anew: {error}");
        record.plan = None;
        progress = record::Progress::default();
    }
    (record, progress)
}
