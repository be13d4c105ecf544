//! Different environments: logs without a reader, signals, containers, machines without DNS or without IPv6.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{DEADLINE, Place, Running, eventually, json, repository, rpp_node, stderr};

fn log_file(path: &Path) -> File {
    File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap()
}

/// A process that is killed when dropped.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap(), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the process to end", || self.0.try_wait().unwrap())
    }

    fn ends_well_on_sigterm(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the node to write its addresses, and returns that of the control plane.
fn rpc(place: &Place) -> String {
    eventually("run.json", || {
        let text = fs::read_to_string(place.path("data/run.json")).ok()?;
        Some(serde_json::from_str::<Value>(&text).ok()?["rpc"].as_str()?.to_owned())
    })
}

fn ask(address: &str, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn status(address: &str, path: &str, token: &str) -> u16 {
    ask(address, "GET", path, token, "").0
}

fn token(place: &Place) -> String {
    fs::read_to_string(place.path("rpc.token")).unwrap().trim().to_owned()
}

fn dropped(address: &str, token: &str) -> u64 {
    let (status, text) = ask(address, "GET", "/metrics", token, "");
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix("rpp_log_dropped_lines_total "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Runs with a verbose log until lines are dropped because nobody reads it.
fn stalled(place: &Place) -> (Process, String) {
    let mut command = place.command("run");
    command.args(["--log-filter=trace", "--log-format=json"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Process(command.spawn().unwrap());
    let (address, token) = (rpc(place), token(place));
    let run = json(&fs::read_to_string(place.path("data/run.json")).unwrap());
    let port: u16 = run["listen"][0].as_str().unwrap().split('/').nth(4).unwrap().parse().unwrap();
    eventually("lines to be dropped", || {
        // Each refused connection writes some lines.
        for _ in 0..200 {
            drop(TcpStream::connect(("127.0.0.1", port)).map(|mut stream| stream.write_all(b"nobody you know\n")));
        }
        (dropped(&address, &token) > 0).then_some(())
    });
    (process, address)
}

#[test]
fn a_log_whose_reader_stalls_stops_nothing_and_says_what_it_dropped() {
    let place = Place::new(&[]);
    let (mut process, address) = stalled(&place);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(&address, path, ""), 200);
    }
    // The reader comes back. It gets complete lines, and one of them says how many are missing.
    let log = BufReader::new(process.0.stderr.take().unwrap());
    let (said, heard) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        for line in log.lines().map(|line| json(&line.unwrap())) {
            if line["message"].as_str().is_some_and(|text| text.contains("lines were dropped")) {
                let _ = said.try_send(line);
            }
        }
    });
    let told = heard.recv_timeout(DEADLINE).expect("a word on dropped lines");
    assert!(told["level"] == "WARN" && told["lines"].as_u64() > Some(0), "{told}");
    process.ends_well_on_sigterm();
    reader.join().unwrap();
}

#[test]
fn a_node_whose_log_is_stalled_still_ends_on_sigterm() {
    let place = Place::new(&[]);
    let (mut process, _) = stalled(&place);
    process.ends_well_on_sigterm();
    assert!(!place.path("data/run.json").exists(), "it ended gracefully");
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let place = Place::new(&[]);
    let mut command = place.command("run");
    command.arg("--log-filter=debug").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    drop(process.0.stderr.take());
    let address = rpc(&place);
    let token = token(&place);
    eventually("lost lines to be counted", || (dropped(&address, &token) > 0).then_some(()));
    assert_eq!(status(&address, "/healthz", ""), 200);
    process.ends_well_on_sigterm();
}

#[test]
fn a_standard_output_that_nobody_reads_ends_nothing() {
    // Full: a pipe holds 64 KiB.
    let (_full, writer) = std::io::pipe().unwrap();
    (&writer).write_all(&[b'x'; 65_536]).unwrap();
    // Gone.
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    for (output, said) in [(writer, None), (gone, Some("nobody reads standard output"))] {
        let place = Place::new(&[]);
        let log = place.path("log");
        let mut command = place.command("run");
        let mut process = Process(command.stdout(output).stderr(log_file(&log)).spawn().unwrap());
        drop(command); // It holds the pipe's end, too.
        let address = rpc(&place);
        assert_eq!(status(&address, "/healthz", ""), 200);
        if let Some(said) = said {
            eventually(said, || fs::read_to_string(&log).unwrap().contains(said).then_some(()));
        }
        process.ends_well_on_sigterm();
    }
}

#[test]
fn a_collector_lives_on_without_readers_and_through_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let log = folder.path().join("log");
    let mut command = rpp_node();
    command.args(["collect", "--json", "--listen=127.0.0.1:0", "--http=127.0.0.1:0"]);
    command.arg("--db").arg(folder.path().join("cuts.sqlite")).stdout(gone).stderr(log_file(&log));
    let mut process = Process(command.spawn().unwrap());
    let line = |words: &str| fs::read_to_string(&log).unwrap().lines().find(|line| line.contains(words)).map(json);
    let said = eventually("the addresses in the log", || line("collecting"));
    eventually("the word on standard output", || line("nobody reads standard output"));
    process.signal(Signal::HUP);
    eventually("SIGHUP in the log", || line("SIGHUP"));
    assert_eq!(status(said["http"].as_str().unwrap(), "/", ""), 200);
    process.ends_well_on_sigterm();
}

/// Whether a thread of the process waits in `write` to standard output; `None` if the system does not tell.
fn waits_for_its_reader(process: &Process) -> Option<bool> {
    let write = if cfg!(target_arch = "x86_64") { "1" } else { "64" };
    let tasks = fs::read_dir(format!("/proc/{}/task", process.0.id())).ok()?;
    let calls =
        tasks.map(|task| fs::read_to_string(task.ok()?.path().join("syscall")).ok()).collect::<Option<Vec<_>>>()?;
    Some(calls.iter().any(|call| call.starts_with(&format!("{write} 0x1 "))))
}

#[test]
fn a_watcher_whose_reader_stalls_still_ends() {
    let place = Place::new(&[]);
    let node = place.start(&[]);
    let (_full, writer) = std::io::pipe().unwrap();
    (&writer).write_all(&[b'x'; 65_536]).unwrap();
    let mut command = rpp_node();
    command.args(["introspect", "--url"]);
    command.arg(format!("ws://{}/introspect", node.said["introspection"].as_str().unwrap()));
    command.env("RPP_INTROSPECTION_TOKEN", token(&place));
    let mut process = Process(command.stdout(writer).stderr(Stdio::null()).spawn().unwrap());
    if waits_for_its_reader(&process).is_none() {
        return eprintln!("this system does not say what a process waits for");
    }
    eventually("the watcher to wait for its reader", || waits_for_its_reader(&process)?.then_some(()));
    process.signal(Signal::TERM);
    process.wait();
}

#[test]
fn a_token_file_that_changes_counts_and_sighup_reads_the_logs_filter_again() {
    let place = Place::new(&[]);
    let (ui, first) = (place.path("ui.token"), token(&place));
    fs::write(&ui, "a-read-only-token").unwrap();
    fs::set_permissions(&ui, fs::Permissions::from_mode(0o600)).unwrap();
    let log = place.path("log");
    let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words).then_some(());
    let mut command = place.command("run");
    command.arg("--introspection-token-file=ui.token");
    let mut node = Running::start_logging(&mut command, log_file(&log));
    let rpc = node.said["rpc"].as_str().unwrap().to_owned();
    let window = node.said["introspection"].as_str().unwrap().to_owned();
    assert_eq!(status(&rpc, "/p2p/peers", &first), 200);
    assert_ne!(status(&window, "/introspect", "a-read-only-token"), 401);

    // Without a signal, as a mounted secret changes: another file replaces it.
    for (file, new) in [("rpc.token", "the-second-token-of-the-node"), ("ui.token", "another-read-only-token")] {
        fs::write(place.path("new"), new).unwrap();
        fs::set_permissions(place.path("new"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(place.path("new"), place.path(file)).unwrap();
    }
    let second = "the-second-token-of-the-node";
    eventually("the new token to count", || (status(&rpc, "/p2p/peers", second) == 200).then_some(()));
    // 429, because so many wrong tokens were sent while waiting.
    let refused = |address, path, token| [401, 429].contains(&status(address, path, token));
    assert!(refused(&rpc, "/p2p/peers", &first), "the earlier one counts no longer");
    eventually("the new token of introspection", || {
        (!refused(&window, "/introspect", "another-read-only-token")).then_some(())
    });
    assert!(refused(&window, "/introspect", "a-read-only-token"));
    // A file that cannot be used changes nothing, and is reported once.
    fs::write(place.path("rpc.token"), "short").unwrap();
    eventually("the warning", || said("cannot be used as it is now"));
    assert_eq!(status(&rpc, "/p2p/peers", second), 200);
    // A reload does not say that it was read.
    node.signal(Signal::HUP);
    eventually("the filter to be read again", || said("was read again, but not every token file"));
    assert!(said("were read again").is_none());

    // SIGHUP: the filter, and at once the token.
    fs::write(place.path("rpc.token"), "the-third-token-of-the-node").unwrap();
    let file = fs::read_to_string(place.config()).unwrap();
    let file = file.replace("filter = \"info\"", "filter = \"rpp_http=debug,info\"");
    fs::write(place.config(), file.replace("max_connections = 256", "max_connections = 7")).unwrap();
    node.signal(Signal::HUP);
    eventually("the file to be read again", || said("were read again"));
    assert_eq!(status(&rpc, "/p2p/peers", "the-third-token-of-the-node"), 200);
    eventually("what takes a restart", || said("p2p.max_connections"));
    eventually("the filter", || {
        // A connection that breaks off within a head is logged at this level only.
        drop(TcpStream::connect(&rpc).map(|mut stream| stream.write_all(b"GET / HTT")));
        said("\"level\":\"DEBUG\"")
    });
    // A file with a mistake changes nothing either.
    fs::write(place.config(), "[log]\nfilter = 7\n").unwrap();
    node.signal(Signal::HUP);
    eventually("the refusal", || said("stays as it was"));
    fs::remove_file(place.config()).unwrap();
    node.signal(Signal::HUP);
    let cause = std::io::Error::from_raw_os_error(2).to_string();
    let refusal = eventually("the second refusal", || {
        fs::read_to_string(&log).unwrap().lines().find(|line| line.contains(&cause)).map(str::to_owned)
    });
    assert_eq!(refusal.matches(&cause).count(), 1, "a cause is said twice: {refusal}");
    assert_eq!(status(&rpc, "/healthz", ""), 200);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn variables_that_kubernetes_makes_for_services_are_skipped_with_one_warning() {
    let place = Place::new(&[]);
    let variables = [
        ("RPP_SERVICE_HOST", "10.96.0.12"),
        ("RPP_SERVICE_PORT", "7070"),
        ("RPP_PORT", "tcp://10.96.0.12:7070"),
        ("RPP_RPC_SERVICE_HOST", "10.96.0.12"),
        ("RPP_RPC_PORT", "tcp://10.96.0.12:7070"),
        ("RPP_RPC_PORT_7070_TCP_ADDR", "10.96.0.12"),
    ];
    let log = place.path("log");
    let _node = Running::start_logging(place.command("run").envs(variables), log_file(&log));
    let text = logged(&log, |text| text.lines().any(|line| line.contains("Kubernetes")));
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("Kubernetes")).map(json).collect();
    assert_eq!((warnings.len(), &warnings[0]["level"]), (1, &Value::from("WARN")), "{text}");
    for (name, _) in variables {
        assert!(warnings[0]["message"].as_str().unwrap().contains(name), "{}", warnings[0]);
    }
    let check = |name, value| {
        let mut command = rpp_node();
        command.args(["config", "check", "--quiet", "--config"]).arg(place.config()).envs(variables).env(name, value);
        command.output().unwrap()
    };
    let output = check("RPP_RPC_SERVICE_PORT_HTTP", "7070");
    assert!(output.status.success() && stderr(&output).matches("warning: ").count() == 1, "{}", stderr(&output));
    // A variable that only looks a little like it is still a mistake.
    for (name, value) in [("RPP_RPC_PORT", "7070"), ("RPP_RPC_LISTN", "127.0.0.1:1")] {
        let output = check(name, value);
        assert!(output.status.code() == Some(1) && stderr(&output).contains(name), "{}", stderr(&output));
    }
}

#[test]
fn a_variable_that_names_no_section_changes_nothing_and_is_said() {
    let place = Place::new(&[]);
    let check = |variables: &[(&str, &str)]| {
        let mut command = rpp_node();
        command.args(["config", "check", "--quiet", "--config"]).arg(place.config()).envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = check(&[("RPP_SNAPSHOT_WINDOW", "1"), ("RPP_LINE\nFEED", "1"), ("RPP_EMPTY_ONE", "")]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("RPP_SNAPSHOT_WINDOW") && said.contains("RPP_LINE\\u{a}FEED") && said.contains("snapshots"),
        "{said}"
    );
    assert!(!said.contains("RPP_EMPTY_ONE"), "{said}");
    // Variables that our other programs read are not a mistake.
    assert_eq!(
        check(&[("RPP_RPC_TOKEN", "0123456789abcdef"), ("RPP_COLLECTOR_TOKEN", "x"), ("RPP_TEST_SEED", "1")]),
        ""
    );
}

/// A command in namespaces of its own, which `prepare` sets up; `None` with the reason if that is not allowed.
fn in_namespaces(flags: &str, prepare: &str, command: &Command) -> Option<Command> {
    let mut inside = Command::new("unshare");
    inside.arg(flags).args(["sh", "-c", &format!("{prepare} && exec \"$0\" \"$@\"")]);
    let allowed = Command::new("unshare").arg(flags).args(["sh", "-c", prepare]).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("no namespaces here: {}", stderr(&output).trim());
            return None;
        }
        Err(error) => {
            eprintln!("no unshare here: {error}");
            return None;
        }
    }
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Some(inside)
}

#[test]
fn what_is_on_a_read_only_disk_can_be_listed_verified_and_unpacked() {
    let place = Place::new(&["--publisher"]);
    fs::create_dir(place.path("state")).unwrap();
    fs::write(place.path("state/file"), "content").unwrap();
    let root = place.publish(5, &place.path("state"))["root"].as_str().unwrap().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let dest = elsewhere.path().join("dest");
    let data = place.path("data");
    let prepare = format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", data.display());
    for (name, arguments, words) in [
        ("list", vec![], Some(&*root)),
        ("verify", vec![&*root], Some("proof       ok")),
        ("unpack", vec![&*root, dest.to_str().unwrap()], Some("1 entries")),
        ("remove", vec![&*root], None),
    ] {
        let mut command = place.command(name);
        command.args(arguments);
        let Some(mut command) = in_namespaces("-m", &prepare, &command) else { return };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        match words {
            Some(words) => {
                assert!(output.status.success() && said.contains(words), "{name}: {said}{}", stderr(&output))
            }
            None => assert!(stderr(&output).contains("Read-only file system"), "{name}: {}", stderr(&output)),
        }
    }
    assert_eq!(fs::read_to_string(dest.join("file")).unwrap(), "content");
}

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

#[test]
fn without_a_usable_resolv_conf_a_node_starts_and_names_fail_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, odd, nothing) = (folder.path().join("empty"), folder.path().join("odd"), folder.path().join("etc"));
    fs::write(&empty, "").unwrap();
    fs::write(&odd, "# made by a VPN client\nnameserver fe80::1%eth9\noptions edns0 no-such-option\nnot a line\n")
        .unwrap();
    fs::create_dir(&nothing).unwrap();
    for (what, prepare, warning) in [
        ("an empty file", format!("mount --bind {} /etc/resolv.conf", empty.display()), "no name server"),
        ("odd lines", format!("mount --bind {} /etc/resolv.conf", odd.display()), ""),
        ("no file", format!("mount --bind {} /etc", nothing.display()), "no name server"),
    ] {
        let genesis = "11".repeat(32);
        let place = Place::new(&["--genesis", &genesis]);
        let mut command = place.command("run");
        command.arg(format!("--p2p-peers=/dns4/nobody.example/tcp/4001/p2p/{PEER}"));
        let Some(mut command) = in_namespaces("-m", &prepare, &command) else { return };
        let log = place.path("log");
        let node = Running::start_logging(&mut command, log_file(&log));
        let rpc = node.said["rpc"].as_str().unwrap();
        assert_eq!(status(rpc, "/readyz", ""), 200, "{what}");
        logged(&log, |text| text.lines().any(|line| line.contains("WARN") && line.contains(warning)));
        let token = token(&place);
        let body = format!("{{\"peer\":\"{PEER}\"}}");
        let (code, session) = ask(rpc, "POST", "/p2p/snapshots", &token, &body);
        assert_eq!(code, 200, "{what}: {session}");
        let path = format!("/p2p/snapshots/{}", json(&session)["session"]);
        let status = eventually("the name to fail", || {
            let status = json(&ask(rpc, "GET", &path, &token, "").1);
            (status["state"] == "backing_off").then_some(status)
        });
        assert!(status["error"].as_str().unwrap().contains("nobody.example"), "{what}: {status}");
    }
}

/// The log, once `holds` returns true for it. A node writes its log on a thread of its own, so a line may come after
/// the event that it reports.
fn logged(log: &Path, holds: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap();
        if holds(&text) {
            return text;
        }
        assert!(begun.elapsed() < DEADLINE, "the log does not say it: {text}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// `run` with other addresses.
fn listening_on(place: &Place, listen: &str) -> Command {
    let mut command = rpp_node();
    command.args(["run", "--rpc-listen=127.0.0.1:0", "--introspection-listen=127.0.0.1:0", "--config"]);
    command.arg(place.config()).arg(format!("--p2p-listen={listen}"));
    command
}

#[test]
fn an_address_that_this_machine_has_not_does_not_keep_a_node_unready() {
    // From a block that is reserved for documentation.
    let place = Place::new(&[]);
    let log = place.path("log");
    let mut command = listening_on(&place, "/ip4/127.0.0.1/tcp/0,/ip4/192.0.2.1/tcp/0");
    let node = Running::start_logging(&mut command, log_file(&log));
    assert_eq!(status(node.said["rpc"].as_str().unwrap(), "/readyz", ""), 200);
    assert_eq!(node.said["listen"].as_array().unwrap().len(), 1);
    logged(&log, |text| text.contains("/ip4/192.0.2.1/tcp/0") && text.contains("goes on without it"));
    drop(node);
    // Starting fails if no other address is left, and if a port is taken.
    let refused = |listen: &str| {
        let output = listening_on(&place, listen).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{listen}: {}", stderr(&output));
        stderr(&output)
    };
    let error = refused("/ip4/192.0.2.1/tcp/0");
    assert!(error.contains("cannot listen on /ip4/192.0.2.1/tcp/0") && error.contains("(os error 99)"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = refused(&format!("/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/{port}"));
    assert!(error.contains(&format!("/tcp/{port}")), "{error}");
}

#[test]
fn a_machine_without_ipv6_is_ready() {
    let place = Place::new(&[]);
    let command = listening_on(&place, "/ip4/0.0.0.0/tcp/0,/ip6/::/tcp/0,/ip6/::/udp/0/quic-v1,/ip6/::1/tcp/0");
    let prepare = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    let Some(mut command) = in_namespaces("-n", prepare, &command) else { return };
    let log = place.path("log");
    let mut node = Running::start_logging(&mut command, log_file(&log));
    let listen: Vec<_> = node.said["listen"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(!listen.is_empty() && listen.iter().all(|one| one.starts_with("/ip4/")), "{listen:?}");
    logged(&log, |text| text.contains("is IPv6 off?"));
    node.signal(Signal::TERM);
    assert!(node.wait().success());
}

#[test]
fn a_node_connects_where_proc_shows_nothing_but_processes() {
    let (other, place) = (Place::new(&[]), Place::new(&[]));
    let other = other.start(&[]);
    let mut command = place.command("run");
    command.arg(format!("--p2p-peers={}", other.address()));
    let Some(mut command) = in_namespaces("-m", "mount -t proc -o subset=pid proc /proc", &command) else { return };
    let node = Running::start(&mut command);
    let token = token(&place);
    eventually("the connection", || {
        let (_, peers) = ask(node.said["rpc"].as_str().unwrap(), "GET", "/p2p/peers", &token, "");
        (json(&peers)[0]["connected"] == true).then_some(())
    });
}

#[test]
fn secrets_as_orchestrators_mount_them_are_taken() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("only root can hand out such files");
    }
    const USER: u32 = 54_321;
    const GROUP: u32 = 54_322;
    let place = Place::new(&[]);
    let secret = place.path("mounted/rpc.token");
    fs::create_dir(place.path("mounted")).unwrap();
    fs::rename(place.path("rpc.token"), &secret).unwrap();
    for path in ["", "data", "data/identity.key", "node.toml", "mounted"] {
        chown(place.path(path), Some(USER), Some(USER)).unwrap();
    }
    let check = |owner: u32, group: u32, mode: u32, credentials: &Path| {
        chown(&secret, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let output = check_as(&place, USER, GROUP, credentials);
        (output.status.code(), stderr(&output))
    };
    let nowhere = Path::new("/nonexistent");
    for mode in [0o440, 0o640] {
        assert_eq!(check(0, GROUP, mode, nowhere).0, Some(0), "root's, and readable for our group");
        let (code, error) = check(54_323, GROUP, mode, nowhere);
        assert!(code == Some(1) && error.contains("0440 or 0640"), "another user's: {error}");
    }
    assert_eq!(check(0, GROUP, 0o444, nowhere).0, Some(1), "everybody's");
    // systemd 254 and later: 0440 of this user or root with an access list. Without one, this process must own it to read it.
    assert_eq!(check(USER, 54_323, 0o440, &place.path("mounted")).0, Some(0));
    assert_eq!(check(USER, 54_323, 0o440, nowhere).0, Some(1));
    assert_eq!(check(USER, 54_323, 0o440, &place.path("data")).0, Some(1), "not below that folder");
    assert_eq!(check(USER, 54_323, 0o444, &place.path("mounted")).0, Some(1), "everybody's");
    // systemd itself makes them like this: owned by root, with root's group, and a list by which only this user may
    // read.
    check(0, 0, 0o400, nowhere);
    if let Err(error) =
        rustix::fs::setxattr(&secret, "system.posix_acl_access", &readable_by(USER), rustix::fs::XattrFlags::empty())
    {
        return eprintln!("this file system has no access lists: {error}");
    }
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o440, "the group's bits show the list's mask");
    let with_list = |credentials: &Path| {
        let output = check_as(&place, USER, GROUP, credentials);
        (output.status.code(), stderr(&output))
    };
    assert_eq!(with_list(&place.path("mounted")).0, Some(0), "a credential");
    let (code, error) = with_list(nowhere);
    assert!(code == Some(1) && error.contains("0440 or 0640"), "the same elsewhere: {error}");
}

/// An access list as Linux keeps it: the owner and one user may read, nobody else.
fn readable_by(user: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 4, NOBODY), (0x02, 4, user), (0x04, 0, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, right, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(right.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Whether `config check` accepts, as another user, a configuration whose token is `mounted/rpc.token`.
fn check_as(place: &Place, user: u32, group: u32, credentials: &Path) -> Output {
    Command::new("setpriv")
        .args([&format!("--reuid={user}"), &format!("--regid={user}"), &format!("--groups={group}")])
        .arg(rpp_node().get_program())
        .args(["config", "check", "--quiet", "--rpc-token-file", "mounted/rpc.token", "--config"])
        .arg(place.config())
        .env("CREDENTIALS_DIRECTORY", credentials)
        .env_remove("RPP_RPC_TOKEN")
        .output()
        .unwrap()
}

#[test]
fn an_address_that_no_transport_can_dial_is_refused_by_name_wherever_it_is_given() {
    let genesis = "11".repeat(32);
    let place = Place::new(&["--genesis", &genesis]);
    let node = place.start(&[]);
    let (rpc, token) = (node.said["rpc"].as_str().unwrap(), token(&place));
    for (address, part) in [
        ("/dns4/node.example/tcp/443/wss", "/wss"),
        ("/ip4/10.0.0.7/udp/4001/quic", "/quic"),
        (&format!("/ip4/10.0.0.7/tcp/4001/p2p/{PEER}/p2p-circuit"), "/p2p-circuit"),
        ("/ip4/10.0.0.7/udp/4001/webrtc-direct", "/webrtc-direct"),
    ] {
        let address = format!("{address}/p2p/{PEER}");
        let (code, answer) = ask(rpc, "POST", "/p2p/snapshots", &token, &format!("{{\"peer\":\"{address}\"}}"));
        assert_eq!((code, &json(&answer)["code"]), (400, &Value::from("undialable_address")), "{answer}");
        let named = format!("can dial {part}:");
        assert!(json(&answer)["error"].as_str().unwrap().contains(&named), "{answer}");
        let error = place.fail("fetch", &["--peer", &address]);
        assert!(error.contains(&named), "{error}");
        let error = place.fail_with("run", &[&format!("--p2p-peers={address}")]);
        assert!(error.contains("p2p.peers") && error.contains(&named), "{error}");
    }
    assert_eq!(ask(rpc, "GET", "/p2p/snapshots", &token, "").1, "[]", "none of them is dialled");
}

#[test]
fn a_peer_id_written_as_a_cid_is_understood() {
    let genesis = "11".repeat(32);
    let place = Place::new(&["--genesis", &genesis]);
    // The CID of PEER: version 1, libp2p-key, base 32.
    let cid = "bafzaajaiaejcao3ke66m5nvefvrkhkgqfjxq243fgikxohpciotdvqciugfvtwrj";
    let node = place.start(&[&format!("--p2p-peers=/ip4/127.0.0.1/tcp/1/p2p/{cid}")]);
    let (rpc, token) = (node.said["rpc"].as_str().unwrap(), token(&place));
    assert_eq!(json(&ask(rpc, "GET", "/p2p/peers", &token, "").1)[0]["peer_id"], PEER);
    for peer in [cid.to_owned(), format!("/ip4/127.0.0.1/tcp/1/p2p/{cid}")] {
        let (code, answer) = ask(rpc, "POST", "/p2p/snapshots", &token, &format!("{{\"peer\":\"{peer}\"}}"));
        assert_eq!((code, &json(&answer)["peer"]), (200, &Value::from(PEER)), "{answer}");
    }
}

#[test]
fn the_unit_starts_again_whatever_ended_the_node_and_reloads_it_by_sighup() {
    let unit = fs::read_to_string(repository().join("config/rpp-node.service")).unwrap();
    for line in [
        "Restart=always",
        "ExecReload=/bin/sh -c \"kill -HUP $MAINPID\"",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "RemoveIPC=true",
        "PrivateUsers=true",
        "PrivateMounts=true",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let page = fs::read_to_string(repository().join("docs/service.md")).unwrap();
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(repository().join("config/rpp-node.service"))
        .output();
    match analysed {
        Ok(output) if output.status.success() => {}
        // 1.5 of 10, in its own tenths.
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("exposure") => {
            panic!("{}", String::from_utf8_lossy(&output.stdout))
        }
        _ => eprintln!("there is no systemd-analyze here that can do this"),
    }
    assert!(page.contains("systemd-analyze security"));
}
