//! `init` and `config check`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use crate::harness::{Place, fail, json, repository, rpp_node, run, stderr, succeed};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn init_makes_private_files_and_prints_the_peer_id() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/node");
    let text = succeed(["init", "--publisher", "--dir", dir.to_str().unwrap()]);
    for (file, private) in
        [("node.toml", false), ("rpc.token", true), ("publisher.key", true), ("data/identity.key", true)]
    {
        assert!(dir.join(file).is_file(), "{file}");
        assert!(!private || mode(&dir.join(file)) == 0o600, "{file}");
    }
    assert_eq!(mode(&dir.join("data")), 0o700);
    assert!(text.contains("peer id          12D3KooW"), "{text}");
    assert!(text.contains("genesis") && text.contains("(made)") && !text.contains("(kept)"), "{text}");
}

#[test]
fn init_keeps_what_is_there() {
    let place = Place::new(&["--publisher"]);
    let before: Vec<_> = ["node.toml", "rpc.token", "publisher.key", "data/identity.key"]
        .map(|file| fs::read(place.path(file)).unwrap())
        .to_vec();
    let dir = place.path("");
    let again = json(&succeed(["init", "--publisher", "--json", "--dir", dir.to_str().unwrap()]));
    assert_eq!(again["created"], serde_json::json!([]));
    assert_eq!(again["peer_id"], place.made["peer_id"]);
    assert_eq!(again["publisher"], place.made["publisher"]);
    let after: Vec<_> = ["node.toml", "rpc.token", "publisher.key", "data/identity.key"]
        .map(|file| fs::read(place.path(file)).unwrap())
        .to_vec();
    assert_eq!(before, after);
}

#[test]
fn init_writes_the_genesis_to_trust_into_a_new_configuration_only() {
    let genesis = "11".repeat(32);
    let place = Place::new(&["--genesis", &genesis]);
    assert!(fs::read_to_string(place.config()).unwrap().contains(&format!("\ngenesis = \"{genesis}\"\n")));
    let error = fail(["init", "--genesis", &genesis, "--dir", place.path("").to_str().unwrap()]);
    assert!(error.contains("[trust]"), "{error}");
}

#[test]
fn the_commented_file_holds_every_key_with_its_default() {
    let place = Place::new(&[]);
    let shown = |path: &Path| {
        json(&succeed(["config", "check", "--json", "--config", path.to_str().unwrap()]))["settings"].take()
    };
    let (written, none) = (place.config(), place.path("empty.toml"));
    fs::write(&none, "").unwrap();
    let (written, none) = (shown(&written), shown(&none));
    for (row, default) in written.as_array().unwrap().iter().zip(none.as_array().unwrap()) {
        assert!(row["source"].as_str().unwrap().starts_with("file, line "), "{row} is not in the file");
        assert_eq!(default["source"], "default");
        assert_eq!((&row["key"], &row["value"]), (&default["key"], &default["value"]));
    }
    assert_eq!(fs::read(place.config()).unwrap(), fs::read(repository().join("config/node.toml")).unwrap());
}

#[test]
fn config_check_prints_values_and_sources_as_a_configuration_file() {
    let place = Place::new(&[]);
    let output = rpp_node()
        .args(["config", "check", "--rpc-listen", "127.0.0.1:9", "--config"])
        .arg(place.config())
        .env("RPP_SNAPSHOTS_ACK_MS", "250")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("listen = \"127.0.0.1:9\"").ends_with("# flag --rpc-listen"));
    assert!(line("ack_ms = 250").ends_with("# environment, RPP_SNAPSHOTS_ACK_MS"));
    assert!(line("window = 16777216").contains("# file, line"));
    text.parse::<toml::Table>().expect("the output is a configuration file");
}

#[test]
fn config_check_refuses_what_run_would_refuse() {
    let place = Place::new(&[]);
    let config = place.config();
    let config = config.to_str().unwrap();
    let check = |flags: &[&str]| fail(["config", "check", "--quiet", "--config", config].iter().chain(flags));
    assert!(check(&["--log-filter", "a=b=c"]).contains("log.filter"));
    assert!(check(&["--rpc-token-file", "absent"]).contains("rpc.token_file"));
    assert!(check(&["--snapshots-chunk-size", "1"]).contains("snapshots.chunk_size"));
    fs::set_permissions(place.path("rpc.token"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check(&[]).contains("chmod 600"));
    fs::set_permissions(place.path("rpc.token"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(place.path("rpc.token"), "short").unwrap();
    assert!(check(&[]).contains("16"));
    fs::write(place.config(), "[p2p]\nlisten_on = []\n").unwrap();
    let error = check(&[]);
    assert!(
        error.contains("p2p.listen_on") && error.contains("line 2") && error.contains("max_connections"),
        "{error}"
    );
}

/// `config check` refuses the same data folders as `run`, with the same words, and leaves nothing behind.
#[test]
fn a_data_folder_that_cannot_be_used_is_refused_by_check_and_run_alike() {
    let place = Place::new(&[]);
    let config = place.config();
    let file = place.path("a-file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let below = format!("{file}/data");
    for (folder, reason) in [
        (file, "is not a folder"),
        ("/dev/null", "is not a folder"),
        (&below, "cannot be reached"),
        ("/proc/rpp-node/data", "cannot be made in /proc"),
    ] {
        let data_dir = format!("--data-dir={folder}");
        let arguments = ["--config", config.to_str().unwrap(), &data_dir];
        let checked = fail(["config", "check", "--quiet"].iter().chain(&arguments));
        let ports = ["--p2p-listen=/ip4/127.0.0.1/tcp/0", "--rpc-listen=127.0.0.1:0"];
        let refused = fail(["run"].iter().chain(&arguments).chain(&ports));
        for said in [&checked, &refused] {
            assert!(said.contains("`data_dir`") && said.contains(folder) && said.contains(reason), "{said}");
        }
    }
    let unmade = place.path("deep/er/data");
    let before = fs::read_dir(place.path("")).unwrap().count();
    succeed([
        "config",
        "check",
        "--quiet",
        "--config",
        config.to_str().unwrap(),
        "--data-dir",
        unmade.to_str().unwrap(),
    ]);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), before);
}

#[test]
fn a_token_in_the_environment_needs_no_file_and_an_empty_one_counts_as_unset() {
    let place = Place::new(&[]);
    fs::remove_file(place.path("rpc.token")).unwrap();
    let check = |token: &str| {
        rpp_node()
            .args(["config", "check", "--quiet", "--config"])
            .arg(place.config())
            .env("RPP_RPC_TOKEN", token)
            .output()
            .unwrap()
    };
    assert!(check("a-token-of-16-or-more").status.success());
    let output = check("");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("RPP_RPC_TOKEN"));
    let output = check("too-short-secret");
    assert!(output.status.success(), "16 bytes are enough");
    let output = check("too-short-token");
    assert!(!output.status.success() && !stderr(&output).contains("too-short-token"), "a token is never shown");
}

#[test]
fn the_pair_of_examples_is_usable_and_does_not_collide() {
    let mut listens = Vec::new();
    for role in ["provider", "consumer"] {
        let path = repository().join(format!("config/{role}/node.toml"));
        let output = rpp_node()
            .args(["config", "check", "--json", "--config"])
            .arg(path)
            .env("RPP_RPC_TOKEN", "only-for-this-check")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let settings = json(&String::from_utf8(output.stdout).unwrap())["settings"].take();
        for row in settings.as_array().unwrap() {
            if row["key"].as_str().unwrap().ends_with(".listen") {
                listens.push(row["value"].to_string());
            }
        }
    }
    let all = listens.len();
    listens.sort();
    listens.dedup();
    assert_eq!((all, listens.len()), (6, 6));
}

#[test]
fn the_configuration_may_be_named_by_a_variable() {
    let place = Place::new(&[]);
    let output = rpp_node().args(["config", "check", "--quiet"]).env("RPP_CONFIG", place.config()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(run(["config", "check"]).status.code(), Some(2));
}
