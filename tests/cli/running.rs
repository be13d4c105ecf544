//! `run`: its first line, its signals, and what it refuses.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Stdio,
};

use rustix::process::Signal;

use crate::{
    harness::{Place, Running, json, rpp_node, stderr},
    support::port::reserved_port,
};

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_says_where_it_listens_and_ends_well_on_sigterm_and_sigint() {
    let place = Place::new(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = place.start(&[]);
        assert_eq!(node.said["event"], "listening");
        assert_eq!(node.said["peer_id"], place.made["peer_id"]);
        assert!(node.address().ends_with(place.made["peer_id"].as_str().unwrap()));
        assert!(!node.address().contains("/tcp/0/"), "{}", node.address());
        let noted = json(&fs::read_to_string(place.path("data/run.json")).unwrap());
        assert_eq!(noted, node.said);
        let rpc = node.said["rpc"].as_str().unwrap();
        assert!(get(rpc, "/readyz").starts_with("HTTP/1.1 200"), "{}", get(rpc, "/readyz"));
        assert!(get(rpc, "/p2p/snapshots").starts_with("HTTP/1.1 401"));
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0));
        assert!(!place.path("data/run.json").exists(), "a node that ended well leaves no address behind");
    }
}

#[test]
fn a_stop_that_is_sent_twice_is_one_stop() {
    let place = Place::new(&[]);
    let mut node = place.start(&[]);
    // Stopped, so that both signals are there when it looks.
    for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
        node.signal(signal);
    }
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn status_finds_a_node_on_a_free_port() {
    let place = Place::new(&[]);
    let error = place.fail("status", &[]);
    assert!(error.contains("is it running"), "{error}");
    let _node = place.start(&[]);
    assert_eq!(place.succeed("status", &["--json"]).trim(), "[]");
    let error = place.fail("status", &["4711"]);
    assert!(error.contains("4711") && error.contains("unknown_session"), "{error}");
}

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let place = Place::new(&[]);
    let first = place.start(&[]);
    let error = place.fail("run", &[]);
    assert!(error.contains("another node") && error.contains(&first.said["pid"].to_string()), "{error}");
    assert_eq!(place.succeed("status", &["--json"]).trim(), "[]", "the first one goes on, and is still found");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = place.fail_with("run", &[&format!("--rpc-listen={address}")]);
    assert!(error.contains("rpc.listen") && error.contains(&address), "{error}");
}

#[test]
fn two_nodes_never_share_a_port() {
    let (place, other) = (Place::new(&[]), Place::new(&[]));
    let port = reserved_port();
    let listen = format!("--p2p-listen=/ip4/127.0.0.1/tcp/{port}");
    let flags = [&listen, "--rpc-listen=127.0.0.1:0", "--introspection-listen=127.0.0.1:0"];
    let start = |place: &Place| Running::start(rpp_node().arg("run").arg("--config").arg(place.config()).args(flags));
    let mut first = start(&place);
    let error = other.fail_with("run", &flags);
    assert!(error.contains("another program listens there") && error.contains(&format!("tcp/{port}")), "{error}");
    // The port is free as soon as the node has ended.
    first.signal(Signal::KILL);
    first.wait();
    drop(start(&other));
}

#[test]
fn the_data_folder_is_its_owner_s_alone() {
    let place = Place::new(&[]);
    let data = place.path("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o775)).unwrap();
    drop(place.start(&[]));
    let mode = |inside: &str| fs::metadata(place.path(inside)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("data"), mode("data/snapshots"), mode("data/snapshots/sessions")], [0o700; 3]);
}

#[test]
fn the_session_database_is_not_opened_through_a_symlink() {
    let place = Place::new(&[]);
    drop(place.start(&[]));
    let sessions = place.path("data/snapshots/sessions");
    for link in [sessions.join("db"), sessions] {
        let elsewhere = place.path("elsewhere");
        fs::rename(&link, &elsewhere).unwrap();
        symlink(&elsewhere, &link).unwrap();
        let error = place.fail("run", &[]);
        assert!(error.contains(&format!("cannot open {}", link.display())), "{error}");
        fs::remove_file(&link).unwrap();
        fs::rename(&elsewhere, &link).unwrap();
    }
    drop(place.start(&[]));
}

#[test]
fn secrets_that_others_can_read_or_that_are_weak_are_refused() {
    for (file, word) in [("rpc.token", "token"), ("data/identity.key", "identity")] {
        let place = Place::new(&[]);
        fs::set_permissions(place.path(file), fs::Permissions::from_mode(0o644)).unwrap();
        let error = place.fail("run", &[]);
        assert!(error.contains(word) && error.contains("chmod 600"), "{error}");
    }
    let place = Place::new(&[]);
    let output = place.command("run").env("RPP_RPC_TOKEN", "15-characters!!").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("RPP_RPC_TOKEN") && !stderr(&output).contains("15-characters!!"));
}

#[test]
fn an_identity_is_made_when_there_is_none_and_that_is_a_warning() {
    let place = Place::new(&[]);
    let log = place.path("log");
    let start = || Running::start_logging(&mut place.command("run"), fs::File::create(&log).unwrap());
    let is_told = || fs::read_to_string(&log).unwrap().contains("held no identity");
    drop(start());
    assert!(!is_told(), "a node with an identity");
    fs::remove_file(place.path("data/identity.key")).unwrap();
    let node = start();
    assert_ne!(node.said["peer_id"], place.made["peer_id"]);
    assert!(is_told(), "{}", fs::read_to_string(&log).unwrap());
    assert_eq!(fs::metadata(place.path("data/identity.key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn logs_are_json_lines_when_no_person_reads_them() {
    let place = Place::new(&[]);
    let log = place.path("log");
    let mut child = place.command("run");
    let mut node = Running::start_logging(&mut child, fs::File::create(&log).unwrap());
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().count() > 1, "{text}");
    for line in text.lines() {
        assert!(json(line)["level"].is_string(), "{line}");
    }
}

#[test]
fn introspect_tells_programs_one_object_a_line() {
    let place = Place::new(&[]);
    let node = place.start(&[]);
    let mut child = rpp_node()
        .args(["introspect", "--json", "--url"])
        .arg(format!("ws://{}/introspect", node.said["introspection"].as_str().unwrap()))
        .env("RPP_INTROSPECTION_TOKEN", fs::read_to_string(place.path("rpc.token")).unwrap().trim())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| json(&line.unwrap()));
    let runtime = lines.find(|object| object["runtime"].is_object()).unwrap();
    assert_eq!(runtime["runtime"]["peer_id"], place.made["peer_id"]);
    let state = lines.find(|object| object["state"].is_object()).unwrap();
    assert!(state["state"]["instant_ts"].is_u64() && state["state"]["connections"].is_array(), "{state}");
    child.kill().unwrap();
    child.wait().unwrap();
}
