//! `POST /p2p/snapshots`: the command that reaches the node, and when each answer is sent.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::node::{
    PEER, Port, Sessions, TOKEN, failed, full, id, listening, open, open_with, planned, status, with_sessions,
};
use crate::support::{DEADLINE, soon};
use rpp_p2p::{Hash, PlanWishes};
use rpp_rpc::Options;
use rpp_runtime::{
    InvalidArgument, PeerMismatch, ResumeMismatch, SessionState, SnapshotRuntimeError, SnapshotStreamStatus,
    StorageFault,
    handle::{Command, ResumeStream, StartStream},
    status::FailureCode,
};
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// A node whose only session is the one that a `POST` starts or resumes. The test changes its status.
struct Stage {
    port: Port,
    status: Arc<watch::Sender<SnapshotStreamStatus>>,
    /// Receives a message when a start or a resume has arrived.
    asked: mpsc::Receiver<()>,
}

fn stage(first: SnapshotStreamStatus, wait: Duration) -> Stage {
    let status = Arc::new(watch::Sender::new(first));
    let (tell, asked) = mpsc::channel(8);
    let shown = Arc::clone(&status);
    let port = open_with(Options::new(TOKEN.into()).with_first_answer(wait), move |command| match command {
        Command::Start(_, reply) | Command::Resume(_, reply) => {
            drop(reply.send(Ok(shown.subscribe())));
            tell.try_send(()).unwrap();
        }
        Command::Status(_, reply) => drop(reply.send(Ok(shown.borrow().clone()))),
        _ => panic!("not asked for"),
    });
    Stage { port, status, asked }
}

fn start() -> String {
    json!({ "peer": PEER }).to_string()
}

fn resume() -> String {
    json!({ "resume": { "session": 7 } }).to_string()
}

#[tokio::test]
async fn a_start_reaches_the_node_as_it_was_sent() {
    let (port, seen) = listening();
    let root = Hash([0xab; 32]);
    let address = format!("/ip4/10.0.0.7/tcp/4001/p2p/{PEER}");
    let answer = port
        .post(
            &json!({ "peer": address, "chunk_size": 32_768, "min_chunk_size": 16_384, "max_chunk_size": 65_536,
                "root": root, "height": 1200 })
            .to_string(),
        )
        .await;
    assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(full(7)).unwrap()));
    assert_eq!(port.post(&start()).await.status, 200);
    assert_eq!(port.post("{}").await.status, 200);
    let seen = seen.lock().unwrap();
    let [first, second, third] = &**seen else { panic!("{seen:?}") };
    let of = |start: &StartStream| {
        let target = start.peer.as_ref().unwrap();
        (target.peer.to_string(), target.address.as_ref().map(ToString::to_string))
    };
    assert_eq!(of(first), (PEER.into(), Some(address)));
    let wishes = PlanWishes {
        chunk_size: Some(32_768),
        min_chunk_size: Some(16_384),
        max_chunk_size: Some(65_536),
        root: Some(root),
        height: Some(1200),
    };
    assert_eq!(first.wishes, wishes);
    assert_eq!(of(second), (PEER.into(), None));
    assert_eq!(second.wishes, PlanWishes::default());
    assert_eq!((&third.peer, third.wishes), (&None, PlanWishes::default()), "from anybody");
}

#[tokio::test]
async fn a_resume_reaches_the_node_as_it_was_sent() {
    let seen: Arc<Mutex<Vec<ResumeStream>>> = Arc::default();
    let heard = Arc::clone(&seen);
    let sessions = Sessions::default();
    sessions.put(full(7));
    let port = open(move |command| match command {
        Command::Resume(request, reply) => {
            heard.lock().unwrap().push(request);
            drop(reply.send(Ok(sessions.watch(id(7)).unwrap())));
        }
        other => sessions.play(other),
    });
    let plan = Hash([2; 32]);
    let marker = json!({ "session": 7, "plan_id": plan, "chunk_index": 304, "update_index": 11 });
    let body = json!({ "peer": PEER, "chunk_size": 1 << 20, "resume": marker }).to_string();
    assert_eq!(port.post(&body).await.status, 200);
    assert_eq!(port.post(&resume()).await.status, 200);
    let seen = seen.lock().unwrap();
    let [first, second] = &**seen else { panic!("{seen:?}") };
    assert_eq!((first.session, first.peer.as_ref().unwrap().peer.to_string()), (id(7), PEER.into()));
    assert_eq!((first.chunk_size, first.plan_id), (Some(1 << 20), Some(plan)));
    assert_eq!((first.chunk_index, first.update_index), (Some(304), Some(11)));
    assert_eq!((second.session, &second.peer, second.chunk_size), (id(7), &None, None));
    assert_eq!((second.plan_id, second.chunk_index, second.update_index), (None, None, None));
}

#[tokio::test]
async fn a_start_waits_for_the_plan() {
    let mut stage = stage(status(7, SessionState::Connecting), DEADLINE);
    let mut client = stage.port.connect().await;
    client.send(stage.port.request("POST", "/p2p/snapshots", &start())).await;
    soon(stage.asked.recv()).await.unwrap();
    for state in [SessionState::BackingOff, SessionState::Connecting, SessionState::Planning] {
        stage
            .status
            .send_replace(status(7, state).with(|status| {
                status.error_code = (state == SessionState::BackingOff).then_some(FailureCode::Network)
            }));
        tokio::task::yield_now().await;
    }
    stage.status.send_replace(planned(7, SessionState::Verifying));
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some("verifying")));
    assert_eq!(answer.json()["total_chunks"], 1024);
}

#[tokio::test]
async fn a_resume_waits_until_it_is_accepted() {
    let mut stage = stage(planned(7, SessionState::Connecting), DEADLINE);
    let mut client = stage.port.connect().await;
    client.send(stage.port.request("POST", "/p2p/snapshots", &resume())).await;
    soon(stage.asked.recv()).await.unwrap();
    stage.status.send_replace(planned(7, SessionState::Planning));
    tokio::task::yield_now().await;
    stage.status.send_replace(planned(7, SessionState::Streaming));
    assert_eq!(client.answer().await.json()["state"], "streaming");
}

#[tokio::test]
async fn what_needs_no_waiting_is_answered_at_once() {
    let busy = status(7, SessionState::BackingOff).with(|status| status.error_code = Some(FailureCode::Provider));
    for first in [
        planned(7, SessionState::Planning),
        planned(7, SessionState::Streaming),
        status(7, SessionState::Paused),
        planned(7, SessionState::Complete),
        busy.clone(),
    ] {
        let stage = stage(first.clone(), DEADLINE);
        let answer = stage.port.post(&start()).await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(first).unwrap()));
    }
    for first in [
        planned(7, SessionState::Streaming),
        planned(7, SessionState::Verifying),
        planned(7, SessionState::Paused),
        planned(7, SessionState::Complete),
        busy,
    ] {
        let stage = stage(first.clone(), DEADLINE);
        let answer = stage.port.post(&resume()).await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(first).unwrap()));
    }
}

#[tokio::test]
async fn time_up_is_a_success() {
    for (first, body) in [
        (status(7, SessionState::Connecting), start()),
        (status(7, SessionState::Planning), start()),
        (status(7, SessionState::BackingOff), start()),
        (planned(7, SessionState::Planning), resume()),
    ] {
        let stage = stage(first.clone(), Duration::from_millis(50));
        let answer = stage.port.post(&body).await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::to_value(first).unwrap()));
    }
}

#[tokio::test]
async fn a_final_refusal_meanwhile_is_an_error_that_names_the_session() {
    use FailureCode as C;
    for (code, expected, word) in [
        (C::ResumeMismatch, 500, "resume_mismatch"),
        (C::Storage, 500, "storage"),
        (C::Provider, 502, "provider"),
        (C::Checksum, 502, "checksum"),
        (C::Authentication, 502, "authentication"),
        (C::Proof, 502, "proof"),
        (C::Stale, 502, "stale"),
        (C::Equivocation, 502, "equivocation"),
        (C::Network, 502, "network"),
    ] {
        for (first, body) in
            [(status(7, SessionState::Connecting), start()), (planned(7, SessionState::Connecting), resume())]
        {
            let mut stage = stage(first, DEADLINE);
            let mut client = stage.port.connect().await;
            client.send(stage.port.request("POST", "/p2p/snapshots", &body)).await;
            soon(stage.asked.recv()).await.unwrap();
            stage.status.send_replace(failed(7, code, "chunk 3 is behind: expected chunk 5"));
            let answer = client.answer().await;
            // A start is answered as soon as its plan is known. Here it fails before that.
            assert_eq!(answer.problem(), (expected, word.into()));
            let sentence = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(sentence.contains("session 7") && sentence.contains("expected chunk 5"), "{sentence}");
            let location = (code != C::Storage).then_some("/p2p/snapshots/7");
            assert_eq!(answer.header("location"), location);
        }
    }
}

#[tokio::test]
async fn a_cancelled_session_is_unknown_to_the_one_who_waits() {
    let sessions = Sessions::default();
    sessions.put(planned(7, SessionState::Connecting));
    let (tell, mut asked) = mpsc::channel(1);
    let played = sessions.clone();
    let port = open(move |command| {
        let resumed = matches!(command, Command::Resume(..));
        played.play(command);
        if resumed {
            tell.try_send(()).unwrap();
        }
    });
    let mut client = port.connect().await;
    client.send(port.request("POST", "/p2p/snapshots", &resume())).await;
    soon(asked.recv()).await.unwrap();
    assert_eq!(port.ask("DELETE", "/p2p/snapshots/7", "").await.status, 204);
    assert_eq!(client.answer().await.problem(), (404, "unknown_session".into()));
}

#[tokio::test]
async fn a_shutdown_ends_the_waiting() {
    let mut stage = stage(status(7, SessionState::Connecting), DEADLINE);
    let mut client = stage.port.connect().await;
    client.send(stage.port.request("POST", "/p2p/snapshots", &start())).await;
    soon(stage.asked.recv()).await.unwrap();
    stage.port.shutdown.cancel();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["state"].as_str()), (200, Some("connecting")));
    stage.port.stopped().await;
}

#[tokio::test]
async fn refusals_of_the_node_come_through() {
    let errors = [
        (SnapshotRuntimeError::UnknownAddress { peer: PEER.parse().unwrap() }, (400, "unknown_address")),
        (SnapshotRuntimeError::NoTrustAnchor, (400, "no_trust_anchor")),
        (
            SnapshotRuntimeError::InvalidArgument(InvalidArgument::Zero { name: "chunk_size" }),
            (400, "invalid_argument"),
        ),
        (SnapshotRuntimeError::TooManySessions { max: 256 }, (409, "too_many_sessions")),
        (SnapshotRuntimeError::NotReady(rpp_runtime::NotReady::Starting), (503, "not_ready")),
        (SnapshotRuntimeError::ShuttingDown, (503, "shutting_down")),
        (SnapshotRuntimeError::TimedOut { seconds: 5 }, (504, "timed_out")),
        (StorageFault::new(std::io::Error::other("the disk cannot be written")).into(), (500, "storage")),
        (PeerMismatch::ChunkSize { session: id(7), size: 1024, asked: 2048 }.into(), (400, "peer_mismatch")),
        (
            ResumeMismatch::Behind { session: id(7), marker: "chunk", asked: 3, expected: 5 }.into(),
            (500, "resume_mismatch"),
        ),
        (
            SnapshotRuntimeError::Distrusted {
                sources: vec![PEER.to_owned()],
                status: Box::new(failed(7, FailureCode::Provider, "it lied")),
            },
            (502, "provider"),
        ),
    ];
    for (error, (expected, code)) in errors {
        let given = error.clone();
        let port = open(move |command| match command {
            Command::Start(_, reply) | Command::Resume(_, reply) => drop(reply.send(Err(given.clone()))),
            _ => panic!("not asked for"),
        });
        for body in [start(), resume()] {
            let answer = port.post(&body).await;
            assert_eq!(answer.problem(), (expected, code.into()));
            assert_eq!(answer.json()["error"], error.to_string());
        }
    }
    let port = open(with_sessions(&Sessions::default()));
    assert_eq!(port.post(&resume()).await.problem(), (404, "unknown_session".into()));
}
