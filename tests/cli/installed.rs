//! What an installation needs: manual pages, the health command, messages to the service manager, the files of an
//! image.

use std::{
    fs::{self, create_dir_all},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixDatagram,
    },
    path::Path,
    process::Command,
    sync::mpsc,
};

use rustix::process::Signal;

use crate::{
    harness::{DEADLINE, Place, Running, repository, rpp_node, run, stderr, succeed},
    usage::COMMANDS,
};

#[test]
fn every_command_has_a_manual_page_that_man_shows_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let written = succeed(["man", pages.to_str().unwrap()]);
    let top = fs::read_to_string(pages.join("rpp-node.1")).unwrap();
    for command in COMMANDS {
        let page = if command == "config" { "config-check" } else { command };
        let path = pages.join(format!("rpp-node-{page}.1"));
        assert!(written.contains(path.to_str().unwrap()), "{command}: {written}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(".SH EXAMPLES\n.nf\nrpp\\-node "), "{command}: {text}");
        assert!(top.contains(&format!("rpp\\-node\\-{command}(1)")), "{command}: {top}");
    }
    for path in written.lines() {
        let shown = Command::new("man")
            .args(["--warnings=w", "-l", path])
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .output();
        let Ok(shown) = shown else { return eprintln!("there is no man here") };
        assert!(shown.status.success() && shown.stderr.is_empty(), "{path}: {}", stderr(&shown));
        assert!(String::from_utf8(shown.stdout).unwrap().contains("SYNOPSIS"), "{path}");
    }
}

#[test]
fn health_says_by_its_exit_code_whether_the_node_is_well() {
    let place = Place::new(&[]);
    let error = place.fail("health", &[]);
    assert!(error.contains("is it running"), "{error}");
    let node = place.start(&[]);
    assert_eq!(place.succeed("health", &[]).trim(), "alive");
    assert_eq!(place.succeed("health", &["--ready"]).trim(), "ready");
    // The command needs no token, and a wrong one does not matter.
    let mut command = place.command("health");
    assert!(command.env("RPP_RPC_TOKEN", "not-the-token-of-the-node").output().unwrap().status.success());
    let address = node.said["rpc"].as_str().unwrap().to_owned();
    drop(node);
    let output =
        rpp_node().args(["health", "--rpc-listen", &address, "--config"]).arg(place.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no node answers"), "{}", stderr(&output));
}

/// Reads messages from a socket that stands for the service manager's.
fn listen(path: &Path) -> mpsc::Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (told, messages) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            if told.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    messages
}

/// The next message with this line.
fn until(messages: &mpsc::Receiver<String>, line: &str) -> String {
    loop {
        let message = messages.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{line}: {error}"));
        if message.lines().any(|found| found == line) {
            return message;
        }
    }
}

#[test]
fn the_service_manager_is_told_when_the_node_is_ready_alive_reloading_and_stopping() {
    let place = Place::new(&[]);
    let messages = listen(&place.path("notify"));
    let mut command = place.command("run");
    command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "300000");
    let mut node = Running::start(&mut command);
    let ready = until(&messages, "READY=1");
    let control_plane = format!("STATUS=control plane on http://{}", node.said["rpc"].as_str().unwrap());
    assert!(ready.lines().any(|line| line == control_plane), "{ready}");
    for _ in 0..3 {
        until(&messages, "WATCHDOG=1");
    }
    node.signal(Signal::HUP);
    let reloading = until(&messages, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "systemd 253 and later want it: {reloading}");
    until(&messages, "READY=1");
    node.signal(Signal::TERM);
    until(&messages, "STOPPING=1");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn what_the_manager_is_told_as_ready_answers_at_that_moment() {
    let place = Place::new(&[]);
    let messages = listen(&place.path("notify"));
    let mut child = place.command("run").env("NOTIFY_SOCKET", place.path("notify")).spawn().unwrap();
    let ready = until(&messages, "READY=1");
    let address = ready.split("http://").nth(1).unwrap().trim().to_owned();
    let output =
        rpp_node().args(["health", "--ready", "--rpc-listen", &address, "--config"]).arg(place.config()).output();
    child.kill().unwrap();
    child.wait().unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_manager_that_does_not_listen_keeps_no_node_from_ending() {
    let place = Place::new(&[]);
    // The socket queues about ten messages, and nobody reads them.
    let _stalled = UnixDatagram::bind(place.path("notify")).unwrap();
    let mut command = place.command("run");
    command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "3000");
    let mut node = Running::start(&mut command);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn the_unit_and_the_packaging_name_what_the_binary_does() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let unit = read("config/rpp-node.service");
    for line in ["Type=notify", "WatchdogSec=30", "ExecStart=rpp-node run --config /var/lib/rpp-node/node.toml"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let drop_in = read("config/rpp-node.service.d/credentials.conf");
    for line in ["LoadCredential=rpc.token:/etc/rpp-node/rpc.token", "Environment=RPP_RPC_TOKEN_FILE=%d/rpc.token"] {
        assert!(drop_in.lines().any(|found| found == line), "{line}");
        assert!(read("docs/service.md").contains(line), "{line}");
    }
    // The command of the image's health check, taken from its file.
    let image = read("packaging/Containerfile");
    assert!(image.contains(r#"CMD ["/usr/bin/rpp-node", "health"]"#) && image.contains("\nUSER 65532:65532\n"));
    // Every file that the Debian package takes from the repository is there.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    assert!(assets.len() > 5);
    for asset in assets {
        let path = asset[0].as_str().unwrap();
        let file = if path.contains('*') { Path::new(path).parent().unwrap() } else { Path::new(path) };
        assert!(path.starts_with("target/") || repository().join(file).exists(), "{path}");
    }
}

/// The libraries that the program may be linked with: the C library's and the compiler's. `packaging/Containerfile` copies them.
const LIBRARIES: [&str; 5] = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux", "linux-vdso"];

#[test]
fn the_binary_runs_where_there_is_nothing_but_the_images_files() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("only root can change the root folder");
    }
    const USER: u32 = 65_532;
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
    let put = |from: &str, to: &str| {
        create_dir_all(inside(to).parent().unwrap()).unwrap();
        fs::copy(from, inside(to)).unwrap();
    };
    let binary = rpp_node().get_program().to_str().unwrap().to_owned();
    put(&binary, "/usr/bin/rpp-node");
    let linked = Command::new("ldd").arg(&binary).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        assert!(LIBRARIES.iter().any(|name| line.contains(name)), "the image has no {line}");
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            put(path, path);
        }
    }
    create_dir_all(inside("/var/lib/rpp-node")).unwrap();
    chown(inside("/var/lib/rpp-node"), Some(USER), Some(USER)).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={USER}:{USER}")).arg(root.path()).arg("/usr/bin/rpp-node").args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("RPP_CONFIG", "/var/lib/rpp-node/node.toml").env("RPP_RPC_LISTEN", "127.0.0.1:0");
        command.env("RPP_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0").env("RPP_INTROSPECTION_LISTEN", "127.0.0.1:0");
        command
    };
    let made = command(&["init", "--dir", "/var/lib/rpp-node"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let mut node = Running::start(&mut command(&["run"]));
    let healthy = command(&["health"]).output().unwrap();
    assert!(healthy.status.success(), "{}", stderr(&healthy));
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    assert_eq!(command(&["health"]).output().unwrap().status.code(), Some(1));
    assert_eq!(run(["--version"]).status.code(), Some(0));
}
