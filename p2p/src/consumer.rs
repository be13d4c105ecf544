//! The policy of a consumer's session. Pure: events go in together with the time, and actions come out.
//!
//! ```text
//! connect -> plan (or resume) -> updates, in order -> authority -> storage -> chunks -> place
//! ```
//!
//! * **Authority first.** No chunk is asked for before signatures, chain and proof are checked.
//! * **Order at the disk.** Verify, write, make durable, record, acknowledge; each has its own counter. An ack never
//!   covers more than what is durable and recorded.
//! * **One request in flight** with each peer that speaks 1.0.0. The next chunk is asked for while earlier ones are
//!   being written, as long as the bytes that are verified and not durable fit the window. An ack is sent before the
//!   next chunk is asked for.
//! * **Recovery by itself.** After a failure that may pass, the session backs off and resumes. If the provider lost the
//!   session or changed its plan, the session is planned again, once, with the same root and height. Any other failure
//!   ends the session with its reason.
//! * **Smaller chunks on a slow line.** If a chunk does not arrive in time, or twice not completely, the same snapshot
//!   is planned again in smaller chunks. Durable bytes are kept.
//! * **Only bytes that this process verified count.** The driver hashes bytes from before its start again while new
//!   chunks arrive. Chunks that do not match are asked for again. The payload is not placed before all of it counts.
//!   The proof is handled in the same way: if the driver knows the tip from an earlier check, chunks arrive while the
//!   proof is checked again.
//! * **A provider that cannot record acks goes on serving.** An ack that is refused as `busy` or `internal` is sent
//!   again later; chunks are asked for meanwhile.
//! * **The last ack is optional.** When every byte is durable, the payload is placed even if the provider disconnects
//!   before it has confirmed the last ack.
//!
//! A session joins machines that do not know each other. The download concerns the root: plan, authority, window,
//! storage. Each source has a link with a peer (dial, opening, back-off, acks, requests) or a mirror. The schedule
//! decides which source delivers what. Each machine's states are drawn where they are defined. The download says what
//! it wants and how many bytes may arrive. Each link asks its peer for a part of that: over `/rpp/snapshots/1.0.0` with
//! one request at a time.
//!
//! # Many sources
//!
//! * **One source leads.** Its plan is the download's, and it delivers the updates. Until authority over a plan is
//!   given, nothing is fixed: if a leader delivers nothing, the next source takes over, and the old plan is forgotten.
//! * **The first plan with authority fixes** root, length and chunk size. The other sources are asked for exactly that
//!   payload. Only the snapshot's header in their plans has to be the same.
//! * **A source that fails does not hold up the others.** Its chunks are given to the others at once. A source that
//!   refuses, or breaks the protocol, is not used any more. When the last source is lost, the session fails.
//! * **Mirrors are prefetched from** while the authority is checked, within the window and in memory only.
//! * A session with one source behaves as if there were no others.
//!
//! The machine has no clock and does no I/O. It is never stuck: at every moment there is an action to take, an answer
//! to wait for, or a timeout, or the session is over. The driver's loop:
//!
//! ```text
//! loop {
//!     while let Some(action) = session.poll_action(now) { start(action) }
//!     wait for an answer (then call its handle_*) or for session.poll_timeout() (then call handle_timeout)
//! }
//! ```
//!
//! Every input of a driver answers something that the session asked for, or is late: the session has given that up
//! since. A late answer changes nothing. An input that answers nothing is an [`Unexpected`]: the driver, or the
//! session, has a bug.

mod barred;
mod early;
mod lead;
mod links;
mod local;
mod mirror;
mod mirrors;
mod sources;
mod status;
mod types;
mod unexpected;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use libp2p::PeerId;

use self::{
    early::Early,
    mirror::MirrorLink,
    sources::{LinkKind, Out, Sources},
};
pub use self::{
    types::{
        Action, Blame, DownloadSource, ExplicitResume, Failure, Fault, MirrorFailure, MirrorId, MirrorJob, MirrorJobId,
        Options, Saved, SourceView, Storage, View, Waiting,
    },
    unexpected::{Input, Unexpected},
};
pub use crate::link::Grant;
use crate::{
    authority::AuthorityError,
    download::{Demand, Download, Hold},
    exchange::Exchange,
    limits::{LEAD_PATIENCE, MAX_SOURCES},
    link::{Link, Setback},
    messages::{Plan, PlanWishes, SnapshotsRequest, Update},
    ranges::IndexRanges,
    schedule::{Missing, Number, Schedule},
    status::FailureCode,
    types::SnapshotSessionId,
};

/// One download of a consumer, from one source or many.
#[derive(Debug)]
pub struct Session {
    id: SnapshotSessionId,
    options: Options,
    sources: Sources,
    schedule: Schedule,
    /// Chunks that mirrors delivered before the place was open.
    early: Early,
    download: Download,
    course: Course,
    /// The failure from which it is recovering.
    trouble: Option<Setback>,
    /// An operator named offsets. They are sent to the first source, which must accept them.
    is_explicit: bool,
    /// Root, length and chunk size are fixed, and every source was told.
    is_fixed: bool,
    /// Since when the leader leads, or has last delivered something.
    lead_since: Instant,
    /// Since when there is no source, if there is none.
    sourceless_since: Instant,
    /// Something has happened since missing chunks were last divided among the sources.
    is_unshared: bool,
    /// The source that was asked for something last.
    turn: Number,
    blames: VecDeque<Blame>,
}

/// Whether a session is still running.
///
/// ```text
///   Running ──> Complete     the payload is in its place, and nobody is left to be told
///      └──────> Failed       the last source, the operator or the disk ended it
/// ```
#[derive(Debug)]
enum Course {
    Running,
    Complete,
    Failed { failure: Failure, since: Instant },
}

impl Session {
    /// A new session with one peer; others can be added.
    #[must_use]
    pub fn new(session: SnapshotSessionId, peer: PeerId, options: Options, now: Instant) -> Self {
        let mut new = Self::without_sources(session, options, now);
        new.add_link(Link::new(session, peer, new.options.clone(), None, now), None);
        new
    }

    /// A new session that has no source yet, and waits until it gets one.
    #[must_use]
    pub fn without_sources(session: SnapshotSessionId, options: Options, now: Instant) -> Self {
        Self {
            id: session,
            download: Download::new(&options, now),
            options,
            sources: Sources::default(),
            schedule: Schedule::default(),
            early: Early::default(),
            course: Course::Running,
            trouble: None,
            is_explicit: false,
            is_fixed: false,
            lead_since: now,
            sourceless_since: now,
            is_unshared: true,
            turn: 0,
            blames: VecDeque::new(),
        }
    }

    /// A session that an earlier process ran, or that failed and is tried again. It continues after what is confirmed,
    /// and its authority is checked again. Explicit offsets are put into the first `resume`; if that names another
    /// plan, the session fails at once.
    #[must_use]
    pub fn restore(
        session: SnapshotSessionId,
        peer: PeerId,
        options: Options,
        saved: Saved,
        explicit: Option<ExplicitResume>,
        now: Instant,
    ) -> Self {
        let plan = Arc::clone(&saved.plan);
        let mut restored = Self::restore_without_sources(session, options, saved, now);
        restored.is_explicit = explicit.is_some();
        restored.add_link(Link::new(session, peer, restored.options.clone(), explicit, now), Some(Arc::clone(&plan)));
        if let Some(explicit) = explicit.filter(|explicit| explicit.plan_id != plan.plan_id) {
            let message = format!("session {session} streams plan {}, not {}", plan.plan_id, explicit.plan_id);
            restored.fail(now, FailureCode::ResumeMismatch, message, false);
        }
        restored
    }

    /// The same with no source yet: it waits until it gets one.
    #[must_use]
    pub fn restore_without_sources(session: SnapshotSessionId, options: Options, saved: Saved, now: Instant) -> Self {
        let download = Download::restore(&options, saved, now);
        let mut restored = Self { download, ..Self::without_sources(session, options, now) };
        restored.fix();
        restored
    }

    fn add_link(&mut self, link: Link, plan: Option<Arc<Plan>>) {
        self.sources.add(LinkKind::Peer(Box::new(link)), plan);
        self.touch();
    }

    /// Adds a peer. Its wire session has the id `link`, which is random and used only with this peer. `false`: the peer
    /// is already a source, there are [`MAX_SOURCES`], or the session is over. A peer that was refused is tried again;
    /// one that broke the protocol is not.
    pub fn add_peer(&mut self, now: Instant, peer: PeerId, link: SnapshotSessionId) -> bool {
        if !self.may_add(DownloadSource::Peer(peer)) {
            return false;
        }
        let mut link = Link::new(link, peer, self.options.clone(), None, now);
        link.set_wishes(self.wishes());
        self.add_link(link, None);
        true
    }

    /// Adds a mirror; `false` as with a peer.
    pub fn add_mirror(&mut self, mirror: MirrorId) -> bool {
        if !self.may_add(DownloadSource::Mirror(mirror)) {
            return false;
        }
        let seed = self.options.seed ^ u64::from(mirror.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let link = MirrorLink::new(mirror, self.wishes(), self.options.give_up_after, seed);
        self.sources.add(LinkKind::Mirror(Box::new(link)), None);
        self.touch();
        true
    }

    /// Whether this source can be added. A refused source that is added again frees its own place.
    fn may_add(&mut self, source: DownloadSource) -> bool {
        if self.is_over() {
            return false;
        }
        if let Some(number) = self.sources.number_of(source) {
            let may_come_back =
                self.sources.get(number).and_then(|known| known.out.as_ref()).is_some_and(|out| !out.is_banned);
            if !may_come_back {
                return false;
            }
            self.sources.remove(number);
        }
        self.sources.len() < MAX_SOURCES
    }

    /// Like [`Self::retry_now`], for one source.
    pub fn retry_source(&mut self, source: DownloadSource) {
        let Some(number) = self.sources.number_of(source) else { return };
        match self.sources.get_mut(number).map(|delivery| &mut delivery.kind) {
            Some(LinkKind::Peer(link)) => link.retry_now(),
            Some(LinkKind::Mirror(mirror)) => mirror.retry_now(),
            None => {}
        }
        self.touch();
    }

    /// A mirror is read in another way from now on, for instance with other credentials. Reads in flight are given up,
    /// and the mirror is asked at once. `false`: there is no such mirror, or it is not used any more.
    pub fn renew_mirror(&mut self, mirror: MirrorId) -> bool {
        let Some((_, link)) = self.sources.mirror_mut(mirror) else { return false };
        link.renew();
        self.touch();
        true
    }

    /// Removes a source; `false`: there is no such source. A session without sources waits.
    pub fn remove_source(&mut self, now: Instant, source: DownloadSource) -> bool {
        let Some(number) = self.sources.number_of(source) else { return false };
        self.schedule.remove(number);
        self.sources.remove(number);
        self.sourceless_since = now;
        self.touch();
        true
    }

    /// The wishes that are sent to a source: the operator's, or the fixed root, length and chunk size.
    fn wishes(&self) -> PlanWishes {
        let Some(plan) = self.download.plan().filter(|_| self.is_fixed) else { return self.options.wishes };
        let snapshot = &plan.snapshot.checkpoint;
        PlanWishes {
            chunk_size: Some(plan.chunk_size),
            min_chunk_size: Some(plan.chunk_size),
            max_chunk_size: Some(plan.chunk_size),
            root: Some(snapshot.state_root),
            height: Some(snapshot.height),
        }
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SnapshotSessionId {
        self.id
    }

    /// The source whose plan the session uses.
    #[must_use]
    pub fn source(&self) -> Option<DownloadSource> {
        self.sources.leading().map(sources::Delivery::source)
    }

    /// The session's wire sessions with its peers. Events of any of them go to this session.
    pub fn links(&self) -> impl Iterator<Item = (PeerId, SnapshotSessionId)> + '_ {
        self.sources.links().map(|(_, link)| (link.peer(), link.session()))
    }

    /// Whether this is one of its wire sessions.
    #[must_use]
    pub fn has_link(&self, peer: PeerId, link: SnapshotSessionId) -> bool {
        self.links().any(|known| known == (peer, link))
    }

    /// The accepted plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.download.plan()
    }

    /// The verified updates of the plan, from the first on.
    #[must_use]
    pub fn updates(&self) -> Option<&Arc<Vec<Update>>> {
        self.download.updates()
    }

    /// Whether a request is in flight with any peer, or a mirror is being read.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.sources.iter().any(|(_, delivery)| match &delivery.kind {
            LinkKind::Peer(link) => link.in_flight().is_some(),
            LinkKind::Mirror(mirror) => mirror.is_busy(),
        })
    }

    /// Whether the session is complete or failed, so that it wants nothing any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.course, Course::Running)
    }

    /// A source that broke the protocol and is not used any more; each is returned once, even after the end of the
    /// session.
    pub fn poll_blame(&mut self) -> Option<Blame> {
        self.blames.pop_front()
    }

    /// The next thing to do; `None` if there is nothing now. Finished local work comes first, then requests.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.is_over() {
            return None;
        }
        if let Some((peer, link)) = self.sources.poll_close() {
            return Some(Action::Close(peer, link));
        }
        self.choose_lead(now);
        if let Some(action) = self.download.poll_action(now, self.hold()) {
            self.touch();
            return Some(action);
        }
        let demand = self.download.demand();
        self.share(now, &demand);
        if let Some(action) = self.poll_sources(now, &demand) {
            return Some(action);
        }
        // The provider gets the last ack first, if possible.
        if self.is_told() { self.download.place_action(now) } else { None }
    }

    /// Whether the source whose plan is used has received everything that it should.
    fn is_told(&self) -> bool {
        let Some(number) = self.sources.lead else { return true };
        let demand = self.demand_of(number);
        self.sources.link_of(number).is_none_or(|link| link.in_flight().is_none() && !link.can_ack(&demand))
    }

    /// What must not start before the next opening of the only source is answered.
    fn hold(&self) -> Hold {
        match self.sources.alone().and_then(|number| self.sources.link_of(number)) {
            Some(link) => link.hold(),
            None if self.is_explicit => self.sources.lead_link().map_or(Hold::Nothing, Link::hold),
            None => Hold::Nothing,
        }
    }

    fn poll_sources(&mut self, now: Instant, all: &Demand) -> Option<Action> {
        let mut numbers: Vec<Number> = self.sources.alive().map(|(number, _)| number).collect();
        if self.is_fixed && self.download.is_limited() {
            // Little may arrive at a time, so the source that was asked last comes last.
            numbers.sort_by_key(|number| number.wrapping_sub(self.turn.wrapping_add(1)));
        } else {
            numbers.sort_by_key(|number| self.sources.lead != Some(*number));
        }
        for number in numbers {
            let demand = self.sources.demand_of(number, all, &self.schedule, self.is_fixed);
            let early = self.early_demand(now, number);
            let leads = self.sources.lead == Some(number);
            let Some(delivery) = self.sources.get_mut(number) else { continue };
            match &mut delivery.kind {
                LinkKind::Peer(link) => {
                    let peer = link.peer();
                    let download = &self.download;
                    if let Some(grant) = link.poll_grant(&demand, |update| download.previous(update)) {
                        self.turn = number;
                        return Some(Action::Grant(peer, grant));
                    }
                    if let Some(request) = link.poll_request(now, &demand) {
                        self.turn = number;
                        return Some(Action::Request(peer, self.exchange(request, demand.plan)));
                    }
                    // The peer is connected early. Its plan is asked for when there is one to compare it with.
                    let demand = Demand { is_needed: all.is_needed, ..demand };
                    if link.poll_connect(now, &demand) {
                        return Some(Action::Connect(peer));
                    }
                }
                LinkKind::Mirror(mirror) => {
                    // The mirror's manifest is read at the same time as the leader's. It counts only when the payload
                    // is fixed.
                    let may_plan = leads || self.is_fixed || mirror.may_plan_early();
                    let demand = Demand { is_needed: all.is_needed && may_plan, ..early.unwrap_or(demand) };
                    if let Some((job, mut begun)) = mirror.poll_job(now, &demand) {
                        self.turn = number;
                        let (id, begins_early) = (mirror.id(), mirror.begins_early());
                        if let (MirrorJob::Plan { wishes, ahead }, true) = (&mut begun, begins_early) {
                            *ahead = self.early_part(number, wishes);
                        }
                        return Some(Action::Mirror(id, job, begun));
                    }
                }
            }
        }
        None
    }

    fn exchange(&self, request: SnapshotsRequest, plan: Option<Arc<Plan>>) -> Exchange {
        let previous = match &request {
            SnapshotsRequest::LightClientUpdate { update_index, .. } => self.download.previous(*update_index),
            _ => None,
        };
        Exchange::new(request, plan, previous)
    }

    /// Something happened: missing chunks are divided again.
    fn touch(&mut self) {
        self.is_unshared = true;
    }

    /// Decides which source delivers what.
    fn share(&mut self, now: Instant, all: &Demand) {
        if self.early.is_reading() && !self.download.takes_chunks() {
            return; // Who reads what ahead is settled.
        }
        let is_due = self.schedule.next_look().is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.is_unshared) && !is_due {
            return;
        }
        let Some(plan) = all.plan.as_deref() else { return };
        for (number, delivery) in self.sources.iter() {
            self.schedule.set_ready(number, delivery.is_open());
            self.schedule.set_under_way(number, delivery.under_way());
        }
        let missing: IndexRanges = all.want.chunks.iter().cloned().collect();
        self.schedule.share(now, Missing { missing: &missing, chunk: plan.chunk_size, window: self.options.window });
    }

    /// When `handle_timeout` must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let sources = self.sources.alive().filter_map(|(_, delivery)| match &delivery.kind {
            LinkKind::Peer(link) => link.poll_timeout(),
            LinkKind::Mirror(mirror) => mirror.poll_timeout(),
        });
        let is_open = !self.is_fixed || self.download.wants_updates();
        let patience = (is_open && self.sources.alive().nth(1).is_some()).then(|| self.lead_since + LEAD_PATIENCE);
        sources.chain([self.download.poll_timeout(), self.schedule.next_look(), patience].into_iter().flatten()).min()
    }

    /// Sets the limit that this and all other sessions share, in bytes of payload per second; `None`: no limit. Under a
    /// limit nothing arrives that was not granted by [`allow`](Self::allow).
    pub fn limit_rate(&mut self, limit: Option<u64>) {
        self.touch();
        self.download.limit_rate(limit);
    }

    /// How many bytes of payload the session would accept next under its limit; `None` while it would accept none. Call
    /// it after each round of actions.
    pub fn thirst(&mut self, now: Instant) -> Option<u64> {
        let is_reached = !self.is_over() && self.obstacle().is_none() && self.sources.alive().next().is_some();
        let open = self.sources.alive().filter(|(_, delivery)| delivery.is_open()).count() as u64;
        if is_reached { self.download.thirst(now, open) } else { None }
    }

    /// Grants this many further bytes; see [`thirst`](Self::thirst).
    pub fn allow(&mut self, bytes: u64) {
        self.touch();
        self.download.allow(bytes);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (_, delivery) in self.sources.iter_mut().filter(|(_, delivery)| delivery.is_alive()) {
            match &mut delivery.kind {
                LinkKind::Peer(link) => link.timeout(now),
                LinkKind::Mirror(mirror) => mirror.timeout(now),
            }
        }
        self.download.handle_timeout(now);
        self.choose_lead(now);
        if self.lead_since + LEAD_PATIENCE <= now {
            self.lead_since = now; // Nobody else can be asked.
        }
        let demand = self.download.demand();
        self.share(now, &demand);
    }

    /// The operator (or something that knows of a change) wants the session to go on. Ends a back-off or a pause at
    /// once; otherwise changes nothing.
    pub fn retry_now(&mut self, _now: Instant) {
        for (_, delivery) in self.sources.iter_mut() {
            match &mut delivery.kind {
                LinkKind::Peer(link) => link.retry_now(),
                LinkKind::Mirror(mirror) => mirror.retry_now(),
            }
        }
        self.download.retry_now();
        self.touch();
    }

    /// A source broke the protocol.
    fn blame(&mut self, number: Number, fault: Fault) {
        let Some(delivery) = self.sources.get(number) else { return };
        let link = self.sources.link_of(number).map(Link::session);
        let plan_id = delivery.plan.as_ref().map(|plan| plan.plan_id);
        self.blames.push_back(Blame { source: delivery.source(), link, plan_id, fault });
    }

    /// A source is not used any more. Its chunks are given to the others; if there are none, the session fails.
    fn put_out(&mut self, now: Instant, number: Number, failure: Failure, is_banned: bool) {
        self.schedule.remove(number);
        if let Some(delivery) = self.sources.get_mut(number) {
            delivery.out = Some(Out { failure: failure.clone(), is_banned });
            delivery.is_to_close = matches!(delivery.kind, LinkKind::Peer(_));
            if let LinkKind::Peer(link) = &mut delivery.kind {
                link.give_up();
            }
        }
        self.touch();
        let is_refused_offset = self.is_explicit && failure.code == FailureCode::ResumeMismatch;
        if self.sources.alive().next().is_none() || is_refused_offset {
            return self.end(now, failure);
        }
        // While nothing is fixed, its plan is dropped with it.
        self.choose_lead(now);
    }

    fn fail(&mut self, now: Instant, code: FailureCode, message: String, distrust: bool) {
        self.end(now, Failure { code, message, distrust });
    }

    fn end(&mut self, now: Instant, failure: Failure) {
        if !self.is_over() {
            self.course = Course::Failed { failure, since: now };
            self.download.close();
            self.drop_early();
        }
    }

    /// Completes the session when the payload is in its place and no ack remains to be sent.
    fn settle(&mut self) {
        if self.is_over() || !self.download.is_finished() {
            return;
        }
        if self.is_told() {
            self.course = Course::Complete;
        }
    }
}

/// Whether this plan has the same snapshot in the same chunks; its tip may differ.
fn serves(own: &Plan, plan: &Plan) -> bool {
    own.snapshot == plan.snapshot && own.chunk_size == plan.chunk_size
}

/// Whether the plan proves that a rule was broken. Lack of trust and age do not.
fn is_offence(error: &AuthorityError) -> bool {
    match error {
        AuthorityError::Signatures(rpp_proofs::SignatureError::BelowThreshold { wrong, .. }) => *wrong > 0,
        AuthorityError::Chain { .. } => true,
        AuthorityError::Proof { reason } => !reason.is_local(),
        _ => false,
    }
}

fn name(source: &DownloadSource) -> String {
    match source {
        DownloadSource::Peer(peer) => peer.to_string(),
        DownloadSource::Mirror(_) => "a mirror".to_owned(),
    }
}
