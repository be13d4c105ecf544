//! Publish, fetch, inspect, remove: all commands on two real nodes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, eventually, json, stderr, succeed};

/// A directory of a little over 2 MiB.
fn sample(folder: &Path) -> PathBuf {
    let dir = folder.join("state");
    fs::create_dir_all(dir.join("inner/empty")).unwrap();
    let bytes: Vec<u8> = (0..2_200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(dir.join("inner/big"), bytes).unwrap();
    fs::write(dir.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("inner/big", dir.join("link")).unwrap();
    dir
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

#[test]
fn what_needs_the_store_does_not_make_a_missing_data_folder() {
    let place = Place::new(&["--publisher"]);
    let data = place.path("data");
    let (root, dest) = ("07".repeat(32), place.path("dest").display().to_string());
    let mirror = format!("file://{}", place.path("mirror").display());
    let input = place.path("input");
    fs::write(&input, "some").unwrap();
    for state in ["does not exist", "is empty"] {
        fs::remove_dir_all(&data).unwrap();
        if state == "is empty" {
            // What a new file system has.
            fs::create_dir_all(data.join("lost+found")).unwrap();
        }
        for (command, arguments) in [
            ("list", vec![]),
            ("list", vec!["--json"]),
            ("verify", vec![&*root]),
            ("remove", vec![&*root]),
            ("unpack", vec![&*root, &*dest]),
            ("mirror", vec![&*mirror]),
            // The key may have published before: a second chain would contradict the first one.
            ("publish", vec!["--height", "1", input.to_str().unwrap()]),
        ] {
            let said = place.fail(command, &arguments);
            let folder = data.display().to_string();
            assert!(said.contains(&folder) && said.contains(state), "{command}: {said}");
            assert!(!data.join("snapshots").exists(), "{command} made it");
        }
        assert_eq!(data.exists(), state == "is empty");
        fs::create_dir_all(&data).unwrap();
    }
    // `init` makes the folder, also for a key that is there already.
    succeed(["init", "--publisher", "--dir", place.path("").to_str().unwrap()]);
    place.publish(1, &input);
    assert!(place.succeed("list", &[]).contains("height 1"));
}

#[test]
fn the_first_publish_makes_key_and_data_folder() {
    let place = Place::new(&[]);
    fs::remove_dir_all(place.path("data")).unwrap();
    let input = place.path("input");
    fs::write(&input, "some").unwrap();
    place.publish(1, &input);
}

#[test]
fn a_directory_goes_from_one_node_to_another_and_on_to_a_third() {
    let provider = Place::new(&["--publisher"]);
    let input = sample(&provider.path(""));
    let published = provider.publish(3, &input);
    for (field, digits) in [("root", 64), ("commitment", 64), ("genesis", 64), ("publisher", 64)] {
        assert_eq!(text(&published, field).len(), digits);
    }
    assert_eq!((&published["height"], &published["step"], text(&published, "format")), (&3.into(), &1.into(), "tar"));
    assert_eq!(published["genesis"], provider.made["publisher"]["genesis"]);
    let (genesis, root) = (text(&published, "genesis"), text(&published, "root"));

    let serving = provider.start(&[]);
    let consumer = Place::new(&["--genesis", genesis]);
    for (protocol, name) in [("auto", "/rpp/snapshots/2.0.0"), ("1.0.0", "/rpp/snapshots/1.0.0")] {
        let flags = ["--json", "--chunk-size", "65536", "--snapshots-protocol", protocol, "--peer", serving.address()];
        let measured = json(&consumer.succeed("bench", &flags));
        assert_eq!((text(&measured, "protocol"), text(&measured, "root")), (name, root), "{measured}");
        assert_eq!((&measured["height"], &measured["chunk_size"]), (&3.into(), &65536.into()));
        // All but the first chunk, with which the measurement begins.
        assert_eq!(measured["bytes"], published["bytes"].as_u64().unwrap() - 65536);
        assert!(
            measured["bytes_per_second"].as_u64().unwrap() > 0 && measured["round_trip_ms"].as_f64().unwrap() > 0.0
        );
    }
    assert!(consumer.succeed("bench", &["--peer", serving.address()]).contains("rate"));
    assert_eq!(consumer.succeed("list", &["--json"]).trim(), "[]", "it stores nothing");
    let _consuming = consumer.start(&[]);
    let done = json(&consumer.succeed("fetch", &["--json", "--chunk-size", "65536", "--peer", serving.address()]));
    assert_eq!((text(&done, "state"), &done["verified"], text(&done, "root")), ("complete", &true.into(), root));
    assert_eq!(done["chunk_size"], 65536);
    assert_eq!(done["bytes_durable"], published["bytes"]);

    let session = done["session"].to_string();
    let line = consumer.succeed("status", &[]);
    assert!(line.contains(&session) && line.contains("complete") && line.contains("verified"), "{line}");
    let again = consumer.succeed("fetch", &["--resume", &session]);
    assert!(again.contains(root) && again.contains("payload"), "{again}");

    let listed = json(&consumer.succeed("list", &["--json"]));
    assert_eq!((text(&listed[0], "root"), &listed[0]["offers"][0]["height"]), (root, &3.into()));
    assert!(consumer.succeed("list", &[]).contains(root));
    consumer.succeed("verify", &[root]);
    let dest = consumer.path("unpacked");
    consumer.succeed("unpack", &[root, dest.to_str().unwrap()]);
    let diff =
        std::process::Command::new("diff").args(["-r", "--no-dereference"]).args([&input, &dest]).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert!(fs::metadata(dest.join("script")).unwrap().permissions().mode() & 0o100 != 0);
    let error = consumer.fail("unpack", &[root, dest.to_str().unwrap()]);
    assert!(error.contains("exists"), "{error}");

    // A mirror still serves when the provider is gone.
    drop(serving);
    let third = Place::new(&["--genesis", genesis]);
    let _third = third.start(&[]);
    let done = json(&third.succeed("fetch", &["--json", "--peer", _consuming.address(), "--root", root]));
    assert_eq!((&done["verified"], text(&done, "root")), (&true.into(), root));
}

#[test]
fn publishing_again_gives_the_same_output_and_heights_rise() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("file");
    fs::write(&input, "one").unwrap();
    let first = place.publish(5, &input);
    assert_eq!(text(&first, "format"), "raw");
    assert_eq!(text(&first, "root"), blake3::hash(b"one").to_hex().as_str());
    assert_eq!(place.publish(5, &input), first);
    fs::write(&input, "two").unwrap();
    let input = input.to_str().unwrap();
    for height in ["5", "4"] {
        let error = place.fail("publish", &["--height", height, input]);
        assert!(error.contains("height") && error.contains('5'), "{error}");
    }
    let lines = place.succeed("publish", &["--height", "6", input]);
    assert!(lines.contains("height     6") && lines.contains("step       2") && lines.contains("genesis"), "{lines}");
    assert_eq!(json(&place.succeed("list", &["--json"])).as_array().unwrap().len(), 2);
    assert!(place.fail("publish", &["--height", "7", "/nonexistent"]).contains("/nonexistent"));
}

#[test]
fn a_running_node_offers_what_is_published_beside_it() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("file");
    fs::write(&input, "something").unwrap();
    let node = place.start(&[]);
    let published = place.publish(1, &input);
    let consumer = Place::new(&["--genesis", text(&published, "genesis")]);
    let _consuming = consumer.start(&[]);
    // The node checks about once a second; a consumer that asks earlier gets `not_found`.
    let done = eventually("the offer", || {
        let output = consumer.output("fetch", &["--json", "--peer", node.address()]);
        output.status.success().then(|| json(&String::from_utf8(output.stdout).unwrap()))
    });
    assert_eq!(done["root"], published["root"]);

    let root = text(&published, "root");
    place.succeed("remove", &["--force", root]);
    assert_eq!(place.succeed("list", &["--json"]).trim(), "[]");
    let error = place.fail("verify", &[root]);
    assert!(error.contains(root) && error.contains("rpp-node list"), "{error}");
}

#[test]
fn remove_needs_no_force_when_no_node_runs() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("file");
    fs::write(&input, "something").unwrap();
    let published = place.publish(1, &input);
    place.succeed("remove", &[text(&published, "root")]);
    assert_eq!(place.succeed("list", &["--json"]).trim(), "[]");
}

#[test]
fn verify_finds_a_changed_bit() {
    let place = Place::new(&["--publisher"]);
    let input = place.path("file");
    fs::write(&input, vec![7; 100_000]).unwrap();
    let published = place.publish(1, &input);
    let root = text(&published, "root");
    let report = json(&place.succeed("verify", &["--json", root]));
    assert_eq!(report["root"], published["root"]);
    let payload = place.path(&format!("data/snapshots/store/{root}/payload"));
    let mut bytes = fs::read(&payload).unwrap();
    bytes[50_000] ^= 1;
    fs::set_permissions(&payload, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&payload, bytes).unwrap();
    place.fail("verify", &[root]);
}

#[test]
fn fetch_says_what_is_missing() {
    let place = Place::new(&[]);
    let peer = place.made["peer_id"].as_str().unwrap();
    let _node = place.start(&[]);
    let error = place.fail("fetch", &["--peer", peer]);
    assert!(error.contains("no_trust_anchor") && error.contains("[trust]"), "{error}");
    let place = Place::new(&["--genesis", &"11".repeat(32)]);
    let _node = place.start(&[]);
    let error = place.fail("fetch", &["--peer", peer]);
    assert!(error.contains("unknown_address") && error.contains("/p2p/"), "{error}");
    let error = place.fail("fetch", &["--peer", "nobody"]);
    assert!(error.contains("invalid_peer"), "{error}");
    let error = place.fail("fetch", &["--peer", place.made["peer_id"].as_str().unwrap()]);
    assert!(error.contains("invalid_peer") && error.contains("this node itself"), "{error}");
    let error = place.fail("fetch", &["--resume", "4711"]);
    assert!(error.contains("unknown_session"), "{error}");
}

#[test]
fn ctrl_c_leaves_the_session_to_the_node() {
    let place = Place::new(&["--genesis", &"11".repeat(32)]);
    let _node = place.start(&[]);
    // Nobody listens there, so the session waits for a connection until it is cancelled.
    let peer = Place::new(&[]);
    let peer = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", peer.made["peer_id"].as_str().unwrap());
    let mut command = place.command("fetch");
    command.args(["--peer", &peer]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let session = eventually("the session", || {
        let sessions = json(&place.succeed("status", &["--json"]));
        sessions[0]["session"].as_u64()
    });
    // The client shows the session's first line once it has begun to watch; from then on it catches the signal.
    let output = {
        let mut child = child;
        let mut first = [0; 1];
        std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut first).unwrap();
        rustix::process::kill_process(pid, Signal::INT).unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&format!("--resume {session}")) && said.contains("goes on"), "{said}");
    assert_eq!(json(&place.succeed("status", &["--json"]))[0]["session"], session);
}
