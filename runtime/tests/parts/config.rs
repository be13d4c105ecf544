//! The configuration: precedence, provenance, and every kind of mistake.

use std::{fs, path::Path};

use rpp_runtime::{
    Config,
    config::{ConfigError, Durability, Effective, Overrides, Protocol, Source},
};

fn load_with(text: &str, overrides: &Overrides) -> Result<Effective, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path, overrides)
}

fn load(text: &str) -> Result<Effective, ConfigError> {
    load_with(text, &Overrides::none())
}

fn refusal(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

fn source_of(effective: &Effective, section: &str, name: &str) -> Source {
    effective.settings.iter().find(|s| s.section == section && s.name == name).unwrap().source.clone()
}

#[test]
fn an_empty_file_means_all_defaults() {
    let config = load("").unwrap().config;
    assert_eq!(config.p2p.listen.len(), 2);
    assert_eq!(config.rpc.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.snapshots.chunk_size, 1 << 20);
    assert_eq!(config.snapshots.min_chunk_size, 16384);
    assert_eq!(config.snapshots.max_chunk_size, 4 << 20);
    assert_eq!(config.snapshots.protocol, Protocol::Auto);
    assert_eq!(config.snapshots.durability, Durability::Strict);
    assert_eq!(config.snapshots.window, 16 << 20);
    assert_eq!(config.snapshots.ack_bytes, 16 << 20);
    assert_eq!((config.snapshots.ack_ms, config.snapshots.session_retention_s), (500, 86_400));
    assert_eq!((config.snapshots.max_sessions, config.snapshots.max_active_sessions), (256, 8));
    assert!(config.snapshots.auto_resume);
    assert_eq!(config.trust.genesis, None);
    assert_eq!(config.introspection.token_file, None);
    assert_eq!(config.introspection.max_clients, 32);
    assert_eq!(config.publisher.chain_id, "example");
    assert_eq!(config.log.filter, "info");
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(&path, "data_dir = \"state\"\n[publisher]\nkey_file = \"/keys/one\"\n").unwrap();
    let config = Config::load(&path, &Overrides::none()).unwrap().config;
    assert_eq!(config.data_dir, folder.path().join("state"));
    assert_eq!(config.rpc.token_file, folder.path().join("rpc.token"));
    assert_eq!(config.publisher.key_file, Path::new("/keys/one"));
    assert!(Config::defaults_in(folder.path()).unwrap().data_dir.is_absolute());
}

#[test]
fn flags_win_over_environment_over_file_and_each_value_knows_its_source() {
    let overrides = Overrides::none()
        .with_env("RPP_SNAPSHOTS_CHUNK_SIZE", "65536")
        .with_env("RPP_RPC_LISTEN", "127.0.0.1:1")
        .with_env("RPP_DATA_DIR", "elsewhere")
        .with_flag("rpc.listen", "127.0.0.1:2");
    let effective =
        load_with("[snapshots]\nchunk_size = 32768\nack_ms = 7\n[rpc]\nlisten = \"127.0.0.1:3\"\n", &overrides)
            .unwrap();
    assert_eq!(effective.config.snapshots.chunk_size, 65536);
    assert_eq!(effective.config.rpc.listen.port(), 2);
    assert!(effective.config.data_dir.ends_with("elsewhere"));
    assert_eq!(source_of(&effective, "rpc", "listen"), Source::Flag("--rpc-listen".into()));
    assert_eq!(source_of(&effective, "snapshots", "chunk_size"), Source::Env("RPP_SNAPSHOTS_CHUNK_SIZE".into()));
    assert_eq!(source_of(&effective, "snapshots", "ack_ms"), Source::File { line: 3 });
    assert_eq!(source_of(&effective, "snapshots", "keep"), Source::Default);
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for (section, name, _) in Config::keys() {
        let effective = load("").unwrap();
        let setting = effective.settings.iter().find(|s| s.section == section && s.name == name).unwrap();
        let text = match &setting.value {
            toml::Value::String(text) if text.is_empty() => continue, // an empty variable counts as unset
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let variable = format!("RPP_{section}_{name}").replace("__", "_").to_uppercase();
        let effective = load_with("", &Overrides::none().with_env(&variable, text)).unwrap();
        assert_eq!(source_of(&effective, section, name), Source::Env(variable));
    }
}

#[test]
fn lists_come_from_variables_with_commas_or_as_in_the_file() {
    for text in ["a.example, b.example", "[\"a.example\", \"b.example\"]"] {
        let effective = load_with("", &Overrides::none().with_env("RPP_RPC_ALLOWED_HOSTS", text)).unwrap();
        assert_eq!(effective.config.rpc.allowed_hosts, ["a.example", "b.example"]);
    }
}

#[test]
fn tokens_and_foreign_variables_are_no_keys_and_an_empty_variable_is_unset() {
    let overrides = Overrides::none()
        .with_env("RPP_RPC_TOKEN", "secret")
        .with_env("RPP_INTROSPECTION_TOKEN", "secret")
        .with_env("RPP_COLLECTOR_TOKEN", "secret")
        .with_env("RPP_LOG_FILTER", "")
        .with_env("PATH", "/bin");
    let effective = load_with("[log]\nfilter = \"debug\"", &overrides).unwrap();
    assert_eq!(effective.config.log.filter, "debug");
    let error = load_with("", &Overrides::none().with_env("RPP_RPC_LISTN", "x")).unwrap_err().to_string();
    assert!(error.contains("rpc.listn") && error.contains("RPP_RPC_LISTN") && error.contains("listen"), "{error}");
}

#[test]
fn unknown_keys_and_sections_are_refused_naming_what_exists() {
    let error = refusal("[rpc]\nlisten = \"127.0.0.1:1\"\nlisen = 1\n");
    assert!(error.contains("rpc.lisen") && error.contains("line 3") && error.contains("token_file"), "{error}");
    let error = refusal("[rcp]\n");
    assert!(error.contains("`rcp`") && error.contains("[rpc]"), "{error}");
    assert!(refusal("datadir = \"x\"").contains("data_dir"));
    assert!(refusal("rpc = 5").contains("[rpc]"));
    assert!(refusal("[rpc.listen]\nx = 1").contains("rpc.listen"));
}

#[test]
fn every_kind_of_bad_value_is_refused_naming_key_and_what_is_allowed() {
    for (text, key, allowed) in [
        ("[p2p]\nmax_connections = 0", "p2p.max_connections", "from 1 to 65536"),
        ("[p2p]\nmax_connections = -1", "p2p.max_connections", "from 1 to 65536"),
        ("[p2p]\nmax_connections = \"9\"", "p2p.max_connections", "whole number"),
        ("[p2p]\nmax_connections = 99999999999999999999", "p2p.max_connections", "from 1 to 65536"),
        ("[p2p]\nmax_connections = 1.5", "p2p.max_connections", "whole number"),
        ("[p2p]\nlisten = [\"127.0.0.1\"]", "p2p.listen", "/ip4/0.0.0.0/tcp/4001"),
        ("[p2p]\nlisten = \"/ip4/0.0.0.0/tcp/1\"", "p2p.listen", "list"),
        ("[p2p]\npeers = [\"/ip4/10.0.0.7/tcp/4001\"]", "p2p.peers", "peer id"),
        ("[p2p]\npeers = [\"/ip4/10.0.0.7/tcp/4001/p2p/13WKQ84Vu\"]", "p2p.peers", "secp256k1"),
        ("[rpc]\nlisten = \"localhost\"", "rpc.listen", "127.0.0.1:7070"),
        ("[rpc]\ntoken_file = \"\"", "rpc.token_file", "path"),
        ("[rpc]\nallowed_hosts = [\"http://x/\"]", "rpc.allowed_hosts", "host names"),
        ("[snapshots]\nchunk_size = 0", "snapshots.chunk_size", "from 16384 to 4194304"),
        ("[snapshots]\nmin_chunk_size = 20000", "snapshots.min_chunk_size", "power of two"),
        ("[snapshots]\nmax_chunk_size = 8388608", "snapshots.max_chunk_size", "4194304"),
        ("[snapshots]\nprotocol = \"3.0.0\"", "snapshots.protocol", "allowed: \"auto\", \"1.0.0\", \"2.0.0\""),
        ("[snapshots]\ndurability = \"none\"", "snapshots.durability", "\"strict\", \"process\""),
        ("[snapshots]\nauto_resume = \"yes\"", "snapshots.auto_resume", "true or false"),
        ("[snapshots]\nack_ms = 0", "snapshots.ack_ms", "from 1 to 60000"),
        ("[trust]\ngenesis = \"ABC\"", "trust.genesis", "64 lower-case hex digits"),
        ("[trust]\npublishers = [\"00\"]", "trust.publishers", "64 lower-case hex digits"),
        ("[publisher]\nchain_id = \"with space\"", "publisher.chain_id", "A-Z a-z 0-9"),
        ("[rpc]\nallowed_origins = [\"node.example\"]", "rpc.allowed_origins", "https://"),
        ("[introspection]\nallowed_origins = [\"x\"]", "introspection.allowed_origins", "https://"),
        ("[introspection]\nmax_clients = 0", "introspection.max_clients", "from 1 to 1024"),
        ("[fleet]\ndashboard = \"nowhere\"", "fleet.dashboard", "host:port"),
        ("[log]\nformat = \"xml\"", "log.format", "\"auto\", \"text\", \"json\""),
        ("[log]\nfilter = \"\"", "log.filter", "level"),
        (
            "[snapshots]\nmin_chunk_size = 65536\nmax_chunk_size = 32768",
            "snapshots.min_chunk_size",
            "`snapshots.max_chunk_size`, which is 32768",
        ),
        ("[snapshots]\nwindow = 8388607", "snapshots.window", "twice `snapshots.max_chunk_size`, which is 4194304"),
        ("[introspection]\nlisten = \"127.0.0.1:7070\"", "introspection.listen", "`rpc.listen` has 127.0.0.1:7070"),
        ("[rpc]\nlisten = \"127.0.0.1:4001\"", "p2p.listen", "`rpc.listen` has 127.0.0.1:4001"),
        ("[p2p]\nlisten = [\"/ip6/::/tcp/1\", \"/ip6/::1/tcp/1\"]", "p2p.listen", "a port of its own"),
    ] {
        let error = refusal(text);
        assert!(error.contains(&format!("`{key}`")) && error.contains(allowed), "{text}: {error}");
    }
    // No chain can have this genesis, so it must be a copying mistake.
    let genesis = |digits: String| load(&format!("[trust]\ngenesis = \"{digits}\""));
    for wrong in ["ff".repeat(32), "11".repeat(31) + "41"] {
        let error = genesis(wrong).unwrap_err().to_string();
        assert!(error.contains("`trust.genesis`") && error.contains("below the field's modulus"), "{error}");
    }
    genesis("11".repeat(32)).unwrap();
    for apart in [
        "[rpc]\nlisten = \"127.0.0.1:7071\"\n[introspection]\nenabled = false",
        "[rpc]\nlisten = \"127.0.0.1:0\"\n[introspection]\nlisten = \"127.0.0.1:0\"",
        "[rpc]\nlisten = \"[::]:7070\"\n[introspection]\nlisten = \"127.0.0.1:7070\"",
        "[rpc]\nlisten = \"127.0.0.2:7070\"\n[introspection]\nlisten = \"127.0.0.1:7070\"",
    ] {
        load(apart).unwrap();
    }
    let error = refusal(&format!("[trust]\npublishers = [\"{}\"]\nthreshold = 2", "ab".repeat(32)));
    assert!(error.contains("trust.threshold"), "{error}");
}

#[test]
fn files_that_are_missing_malformed_or_huge_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.toml");
    let error = Config::load(&path, &Overrides::none()).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }) && error.to_string().contains("absent.toml"));
    assert!(matches!(load("[rpc"), Err(ConfigError::Syntax { .. })));
    assert!(matches!(load("[rpc]\nlisten=\"127.0.0.1:1\"\nlisten=\"127.0.0.1:2\""), Err(ConfigError::Syntax { .. })));
    assert!(matches!(load(&"#".repeat((1 << 20) + 1)), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn a_missing_token_file_is_named_unless_the_variable_is_set() {
    let config = load("[introspection]\ntoken_file = \"ui.token\"").unwrap().config;
    let error = config.check_token_files(false, true).unwrap_err().to_string();
    assert!(error.contains("rpc.token_file") && error.contains("RPP_RPC_TOKEN"), "{error}");
    let error = config.check_token_files(true, false).unwrap_err().to_string();
    assert!(error.contains("introspection.token_file") && error.contains("ui.token"), "{error}");
    config.check_token_files(true, true).unwrap();
}

#[test]
fn sources_are_peers_and_mirrors_and_a_password_is_never_shown() {
    let peer = "/ip4/10.0.0.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let url = "https://user:word@host/a?key=1";
    let effective = load(&format!("[sources]\npeers = [{peer:?}]\nmirrors = [{url:?}, \"s3://bucket\"]\n")).unwrap();
    let sources = &effective.config.sources;
    assert_eq!((sources.peers[0].to_string(), sources.mirrors.len()), (peer.to_owned(), 2));
    assert_eq!(sources.file_roots, [Path::new("/")]);
    let shown = effective.settings.iter().find(|s| s.path() == "sources.mirrors").unwrap().value.to_string();
    assert_eq!(shown, "[\"https://host/a\", \"s3://bucket\"]");
    let defaults = load("").unwrap().config.sources;
    assert!(defaults.peers.is_empty() && defaults.mirrors.is_empty());

    for (text, words) in [
        (format!("mirrors = [\"s3://\", {url:?}]"), ["sources.mirrors", "item 1", "bucket"]),
        (format!("mirrors = [{url:?}, \"ftp://user:word@host\"]"), ["sources.mirrors", "item 2", "scheme"]),
        (format!("mirrors = {url:?}"), ["sources.mirrors", "https://host/a", "a list of at most 8"]),
        (format!("mirrors = [{url:?}, \"https://host/a/\"]"), ["sources.mirrors", "twice", "https://host/a"]),
        (format!("mirrors = [{}]", ["\"s3://user:word@b\""; 9].join(", ")), ["sources.mirrors", "at most 8", "line 2"]),
        (format!("mirrors = [{url:?}"), ["TOML", "line 2", ""]),
        (format!("peers = [{peer:?}, {peer:?}]"), ["sources.peers", "twice", "12D3KooWDpJ7"]),
        (
            "peers = [\"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN\"]".to_owned(),
            ["sources.peers", "multiaddr", ""],
        ),
        ("file_roots = [\"\"]".to_owned(), ["sources.file_roots", "paths", ""]),
        ("mirror = []".to_owned(), ["sources.mirror", "file_roots", "peers"]),
    ] {
        let error = refusal(&format!("[sources]\n{text}\n"));
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        assert!(!error.contains("word") && !error.contains("user:") && !error.contains("key=1"), "{error}");
    }
    let bad = load_with("", &Overrides::none().with_env("RPP_SOURCES_MIRRORS", format!("[{url:?}"))).unwrap_err();
    assert!(!bad.to_string().contains("word"), "{bad}");
    let both = load_with("", &Overrides::none().with_env("RPP_SOURCES_MIRRORS", "s3://a, s3://b")).unwrap();
    assert_eq!(both.config.sources.mirrors.len(), 2);
}

#[test]
fn folders_of_mirrors_are_checked_before_the_node_starts() {
    let place = tempfile::tempdir().unwrap();
    for folder in ["data/snapshots/store", "mirrors/one", "other"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let path = place.path().join("node.toml");
    let check = |folder: &str, roots: &str| {
        let url = format!("file://{}", place.path().join(folder).display());
        fs::write(&path, format!("[sources]\nmirrors = [{url:?}]\n{roots}\n")).unwrap();
        Config::load(&path, &Overrides::none())
            .unwrap()
            .config
            .check_source_folders()
            .map_err(|error| error.to_string())
    };
    check("mirrors/one", "").unwrap();
    check("mirrors/one", "file_roots = [\"mirrors\"]").unwrap();
    for (folder, roots, word) in [
        ("absent", "", "cannot be opened"),
        ("data/snapshots/store", "", "own data folder"),
        ("other", "file_roots = [\"mirrors\"]", "file_roots"),
        ("other", "file_roots = []", "file_roots"),
    ] {
        let error = check(folder, roots).unwrap_err();
        assert!(error.contains("`sources.mirrors`") && error.contains(word), "{error}");
    }
}
