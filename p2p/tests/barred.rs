//! Barred sources: the driver asks nothing of them for a while.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use rpp_p2p::{
    FailureCode, RequestId, SessionState, SnapshotSessionId, SnapshotsRequest, WaitKind,
    consumer::{
        Action, DownloadSource, MirrorFailure, MirrorId, MirrorJob, MirrorJobId, Options, Session, SourceView, Waiting,
    },
    error::Cause,
    status::SourceState,
};

const TEN_MINUTES: Duration = Duration::from_secs(600);
const WHY: &str = "banned until noon";
const MIRROR: MirrorId = MirrorId(3);

fn id(number: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(number).unwrap()
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, number]).unwrap()
}

fn options(give_up_after: Option<Duration>) -> Options {
    Options { give_up_after, seed: 1, ..Options::default() }
}

fn of_peer(now: Instant, give_up_after: Option<Duration>) -> Session {
    Session::new(id(1), peer(0), options(give_up_after), now)
}

fn of_mirror(now: Instant, give_up_after: Option<Duration>) -> Session {
    let mut session = Session::without_sources(id(1), options(give_up_after), now);
    assert!(session.add_mirror(MIRROR));
    session
}

/// Begins a session with one source, which it asks first.
type Begun = (fn(Instant, Option<Duration>) -> Session, DownloadSource);

fn both() -> [Begun; 2] {
    [(of_peer, DownloadSource::Peer(peer(0))), (of_mirror, DownloadSource::Mirror(MIRROR))]
}

/// Whether the session asks something of its source now.
fn asks(session: &mut Session, now: Instant) -> bool {
    match session.poll_action(now) {
        None => false,
        Some(Action::Connect(_) | Action::Mirror(_, _, MirrorJob::Plan { .. })) => true,
        Some(other) => panic!("{other:?}"),
    }
}

fn view(session: &Session, now: Instant) -> SourceView {
    session.sources(now).remove(0)
}

#[test]
fn it_is_not_asked_before_and_says_until_when_and_why() {
    for (begin, source) in both() {
        let start = Instant::now();
        let mut session = begin(start, None);
        assert!(asks(&mut session, start));
        let until = start + TEN_MINUTES;
        session.handle_barred(start, source, until, WHY);
        let told = |waiting: Option<Waiting>| {
            let waiting = waiting.expect("a wait");
            assert_eq!((waiting.what, waiting.retry_at), (WaitKind::Retry, Some(until)), "{source:?}");
            assert_eq!(waiting.reason.matches(WHY).count(), 1, "{}", waiting.reason);
            assert!(!waiting.reason.contains("failed"), "{}", waiting.reason);
        };
        let mut now = start;
        while now < until {
            assert!(!asks(&mut session, now), "{source:?}");
            told(session.view().waiting);
            let seen = view(&session, now);
            told(seen.waiting);
            assert_eq!(
                (seen.state, seen.trouble),
                (SourceState::BackingOff, Some((FailureCode::Provider, WHY.into())))
            );
            assert_eq!((session.view().failed_tries, session.poll_timeout()), (0, Some(until)), "nothing failed");
            now += Duration::from_secs(50);
            session.handle_timeout(now.min(until));
        }
        assert!(asks(&mut session, until), "{source:?}");
        assert_eq!(view(&session, until).trouble, None, "that is over");
    }
}

#[test]
fn it_is_asked_at_once_when_that_ends_earlier() {
    for (begin, source) in both() {
        for ends in [
            |session: &mut Session, source, _| session.retry_source(source),
            |session: &mut Session, _, now| session.retry_now(now),
        ] as [fn(&mut Session, DownloadSource, Instant); 2]
        {
            let now = Instant::now();
            let mut session = begin(now, None);
            assert!(asks(&mut session, now));
            session.handle_barred(now, source, now + TEN_MINUTES, WHY);
            ends(&mut session, source, now);
            assert!(asks(&mut session, now), "{source:?}");
            assert_eq!(view(&session, now).trouble, None);
        }
    }
}

#[test]
fn the_patience_of_a_session_ends_a_wait_that_is_longer() {
    for (begin, source) in both() {
        let now = Instant::now();
        let mut session = begin(now, Some(TEN_MINUTES));
        assert!(asks(&mut session, now));
        session.handle_barred(now, source, now + 10 * TEN_MINUTES, WHY);
        let end = now + TEN_MINUTES;
        assert_eq!(session.poll_timeout(), Some(end));
        session.handle_timeout(end);
        assert!(asks(&mut session, end));
        session.handle_barred(end, source, now + 10 * TEN_MINUTES, WHY);
        let ended = session.view();
        assert_eq!(ended.state, SessionState::Failed, "{source:?}");
        let failure = ended.failure.unwrap();
        assert_eq!((failure.code, failure.distrust), (FailureCode::Provider, false));
        assert!(failure.message.contains("give_up_after_s") && failure.message.contains(WHY), "{}", failure.message);
    }
}

#[test]
fn what_a_mirror_was_asked_for_is_given_up_and_comes_late() {
    let now = Instant::now();
    let mut session = of_mirror(now, None);
    let Some(Action::Mirror(_, job, _)) = session.poll_action(now) else { panic!("nothing is asked") };
    session.handle_barred(now, DownloadSource::Mirror(MIRROR), now + TEN_MINUTES, WHY);
    let late = || MirrorFailure::Passing { reason: Cause::told("late"), retry_after: None };
    session.handle_mirror_failed(now, MIRROR, job, late()).unwrap();
    assert!(session.handle_mirror_failed(now, MIRROR, MirrorJobId(job.0 + 1), late()).is_err());
    assert_eq!(session.poll_timeout(), Some(now + TEN_MINUTES));
}

#[test]
fn another_source_does_its_work() {
    let now = Instant::now();
    let mut session = of_peer(now, None);
    assert!(session.add_peer(now, peer(1), id(2)));
    let mut asked = Vec::new();
    while let Some(action) = session.poll_action(now) {
        match action {
            Action::Connect(to) if to == peer(0) => {
                session.handle_barred(now, DownloadSource::Peer(to), now + TEN_MINUTES, WHY);
            }
            Action::Connect(to) => session.handle_connected(now, to),
            Action::Request(to, exchange) => {
                asked.push((to, matches!(exchange.request(), SnapshotsRequest::Plan { .. })));
                session.handle_sent(now, Ok(RequestId::new(1))).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, [(peer(1), true)]);
    let view = session.view();
    assert_eq!((view.state, view.waits_for), (SessionState::Planning, Some(DownloadSource::Peer(peer(1)))));
}
