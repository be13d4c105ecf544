//! Strangers, crashes and full disks: a collector reports each, loses nothing else, and keeps working.

use std::{
    io::BufRead as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::common::{Fleet, PATIENCE, Process, graph, http, options, patiently, until};
use rpp_fleet::{
    collector::{Collector, Options, StartError, StoreError},
    limits,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

#[tokio::test]
async fn oversize_truncated_and_slow_frames_end_their_connection_only() {
    let fleet = Fleet::start_with(|o| o.with_timeout(PATIENCE).with_frame_deadline(Duration::from_millis(300))).await;
    let mut good = fleet.connect_all(1).await.remove(0);
    let mut oversize = fleet.connect().await;
    oversize.stream.write_all(&(limits::MAX_REPLY_BYTES as u32 + 1).to_be_bytes()).await.unwrap();
    oversize.until_closed().await;
    let mut slow = fleet.connect().await;
    slow.stream.write_all(&[0, 0, 1, 0, b'{']).await.unwrap();
    slow.until_closed().await;
    let mut slow_header = fleet.connect().await;
    slow_header.stream.write_all(&[0]).await.unwrap();
    slow_header.until_closed().await;
    let mut truncated = fleet.connect().await;
    truncated.stream.write_all(&[0, 0, 1, 0, b'{']).await.unwrap();
    drop(truncated);
    assert!(fleet.until_events("oversize_frame", 1).await[0].contains("134217729 bytes"));
    assert_eq!(fleet.until_events("slow_frame", 2).await.len(), 2);
    assert!(fleet.until_events("truncated_frame", 1).await[0].contains("256 bytes, after 1"));
    fleet.until_connected(1).await;
    let cut = fleet.cut(&mut [(&mut good, graph(&[("x", "Lock")], &[]))]).await;
    assert_eq!((cut["requested"].clone(), cut["nodes"].clone()), (json!(1), json!(1)));
}

#[tokio::test]
async fn the_later_protocol_is_called_what_it_is() {
    let fleet = Fleet::start().await;
    let mut moire = fleet.connect().await;
    moire.stream.write_all(b"MOIR\x01\x00\x00\x00").await.unwrap();
    moire.until_closed().await;
    assert!(fleet.until_events("other_protocol", 1).await[0].contains("speaks moire, a later protocol"));
    assert_eq!(fleet.events("oversize_frame"), Vec::<String>::new());
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_its_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(include_str!("fixtures/version-1.sql")).unwrap();
    drop(db);
    let fleet = Fleet { collector: Collector::start(options(&dir)).await.unwrap(), dir };
    let listed = fleet.get("/api/snapshots").await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let edges = "SELECT src_id, dst_id, kind, attrs_json, src_proc_key, dst_proc_key FROM edges";
    assert_eq!(
        fleet.rows(&json!(1), edges).await,
        json!([["session:7", "request:r1", "needs", "{\"age_ms\":9}", "operator-1", "operator-1"]])
    );
    assert_eq!(fleet.rows(&json!(2), edges).await, json!([["l1", "l2", "needs", "{}", "locks-3", "locks-3"]]));
    let unresolved = "SELECT src_id, dst_id, missing_side, reason, src_proc_key, dst_proc_key FROM unresolved_edges";
    assert_eq!(
        fleet.rows(&json!(1), unresolved).await,
        json!([["request:r1", "response:r1", "dst", "no process reported it", "operator-1", ""]])
    );
    let waits = fleet.get("/api/snapshots/1/waits").await;
    assert_eq!((waits["chains"][0]["length"].clone(), waits["chains"][0]["wait_ms"].clone()), (json!(3), json!(9)));
    let mut process = fleet.connect_all(1).await.remove(0);
    assert_eq!(fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await["snapshot_id"], 3);
}

/// SQLite keeps writing to a removed file. The collector creates a new one instead, and the ids of cuts go on.
#[tokio::test]
async fn a_database_that_was_removed_or_replaced_loses_no_later_cut() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    let mut cut = async |id: u64| {
        let saved = fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await;
        assert_eq!(saved["snapshot_id"], id);
    };
    let stored = async || {
        let listed = fleet.get("/api/snapshots").await;
        let ids = listed.as_array().unwrap().iter().map(|cut| cut["snapshot_id"].as_u64().unwrap());
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids
    };
    cut(1).await;
    // Like `rm fleet.sqlite*`, which also removes the lock.
    for file in std::fs::read_dir(fleet.dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("fleet.sqlite") {
            std::fs::remove_file(path).unwrap();
        }
    }
    cut(2).await;
    assert_eq!(stored().await, [2]);
    // Like `rm fleet.sqlite`, which leaves the log of the removed file.
    std::fs::remove_file(fleet.db()).unwrap();
    cut(3).await;
    assert_eq!(stored().await, [3]);
    // The file is replaced by another one, such as an older backup.
    let moved = fleet.dir.path().join("moved");
    std::fs::rename(fleet.db(), &moved).unwrap();
    let backup = Connection::open(fleet.db()).unwrap();
    backup.execute_batch(include_str!("fixtures/version-1.sql")).unwrap();
    drop(backup);
    cut(4).await;
    assert_eq!(stored().await, [1, 2, 4]);
    // Another collector still may not use it.
    let other = Collector::start(options(&fleet.dir)).await.err().unwrap();
    assert!(matches!(other, StartError::Store(StoreError::InUse { .. })), "{other}");
    // Without its folder, the file cannot be created: the cut fails and says so.
    let away = fleet.dir.path().with_extension("away");
    std::fs::rename(fleet.dir.path(), &away).unwrap();
    let refused = http(fleet.collector.http(), "POST", "/api/jump-now", &[], None).await;
    std::fs::rename(&away, fleet.dir.path()).unwrap();
    assert_eq!(refused.status, 500, "{}", refused.json());
    cut(5).await;
    assert_eq!(stored().await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn garbage_is_noted_in_bounded_numbers() {
    let fleet = Fleet::start().await;
    let [mut flood, mut good]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let mut garbage = Vec::new();
    for _ in 0..20_000 {
        garbage.extend_from_slice(&5u32.to_be_bytes());
        garbage.extend_from_slice(b"junk\x00");
    }
    let answers = async {
        flood.stream.write_all(&garbage).await.unwrap();
        let id = flood.request().await;
        flood.reply(id, graph(&[], &[])).await;
        let id = good.request().await;
        good.reply(id, graph(&[], &[])).await;
    };
    let (cut, ()) = tokio::join!(fleet.jump(), answers);
    assert_eq!(cut["responded"], 2);
    // The next frame in a later second writes the row that counts the dropped ones.
    until("the row of dropped events", async || {
        flood.send(b"junk").await;
        !fleet.events("events_dropped").is_empty()
    })
    .await;
    assert!(fleet.events("unreadable_frame").len() < 19_000);
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_hold_up_a_cut() {
    let fleet = Fleet::start_with(|options| options.with_timeout(Duration::from_secs(10))).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(patiently(TcpStream::connect(fleet.collector.tcp())).await.unwrap());
    }
    let mut good = fleet.connect().await;
    fleet.until_connected(1001).await;
    let cut = fleet.cut(&mut [(&mut good, graph(&[("x", "Lock")], &[]))]).await;
    let count = |name: &str| cut[name].as_u64().unwrap();
    assert_eq!((count("requested"), count("responded"), count("timed_out"), count("nodes")), (1001, 1, 1000, 1));
    drop(idle);
    fleet.until_connected(1).await;
}

#[tokio::test]
async fn silent_and_leaving_processes_are_recorded_in_time() {
    let fleet = Fleet::start_with(|options| options.with_timeout(Duration::from_secs(5))).await;
    let [mut silent, mut leaves]: [Process; 2] = fleet.connect_all(2).await.try_into().ok().unwrap();
    let acts = async {
        silent.request().await;
        leaves.request().await;
        drop(leaves);
    };
    let (cut, ()) = tokio::join!(fleet.jump(), acts);
    assert_eq!((cut["timed_out"].clone(), cut["disconnected"].clone()), (json!(1), json!(1)));
    // By the database's times the cut took the time-out, the grace period, and the time to store it.
    let listed = fleet.get("/api/snapshots").await[0].clone();
    let nanos = |name: &str| listed[name].as_i64().unwrap();
    let took = Duration::from_nanos((nanos("completed_at_ns") - nanos("requested_at_ns")) as u64);
    assert!(took >= Duration::from_millis(5500), "{took:?}");
    assert_eq!(listed["timeout_ms"], 5000);
}

#[tokio::test]
async fn the_newest_500_cuts_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    Collector::start(options(&dir)).await.unwrap().stop().await;
    let path = dir.path().join("fleet.sqlite");
    let db = Connection::open(&path).unwrap();
    for id in 1..=620 {
        db.execute("INSERT INTO snapshots VALUES (?1, ?1, ?1, 5000)", [id]).unwrap();
        db.execute("INSERT INTO nodes VALUES (?1, 'n', 'l', 'lock', 'p', 'p-1', '{}')", [id]).unwrap();
    }
    // An old event is evicted, a new one stays.
    let insert = "INSERT INTO ingest_events (event_at_ns, event_kind, detail) VALUES (?1, 'late_reply', 'x')";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    db.execute(insert, [now - 8 * 24 * 3600 * 1_000_000_000]).unwrap();
    db.execute(insert, [now - 6 * 24 * 3600 * 1_000_000_000]).unwrap();
    drop(db);
    let fleet = Fleet { collector: Collector::start(options(&dir)).await.unwrap(), dir };
    let listed = fleet.get("/api/snapshots").await;
    let ids: Vec<i64> = listed.as_array().unwrap().iter().map(|cut| cut["snapshot_id"].as_i64().unwrap()).collect();
    assert_eq!((ids.len(), ids[0], ids[499]), (500, 620, 121));
    assert_eq!(fleet.events("late_reply").len(), 1);
    let mut process = fleet.connect_all(1).await.remove(0);
    let cut = fleet.cut(&mut [(&mut process, graph(&[], &[]))]).await;
    assert_eq!(cut["snapshot_id"], 621);
    until("the oldest to be forgotten", async || {
        let db = Connection::open(fleet.db()).unwrap();
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        count("SELECT count(*) FROM snapshots") == 500 && count("SELECT min(snapshot_id) FROM nodes") == 122
    })
    .await;
}

fn large_graph(prefix: &str, nodes: usize) -> Value {
    let filler = "y".repeat(200);
    let nodes: Vec<Value> = (0..nodes)
        .map(|n| json!({"id": format!("{prefix}:{n}"), "kind": "Lock", "label": filler, "attrs_json": "{}"}))
        .collect();
    json!({"process_name": "svc", "proc_key": "svc-1", "nodes": nodes, "edges": []})
}

#[tokio::test]
async fn the_database_stays_below_its_bound_and_forgets_the_oldest() {
    const MAX: u64 = 2 * 1024 * 1024;
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENCE).with_db_max_bytes(MAX)).await;
    let mut process = fleet.connect_all(1).await.remove(0);
    for n in 0..12 {
        let cut = fleet.cut(&mut [(&mut process, large_graph(&n.to_string(), 1500))]).await;
        assert_eq!(cut["nodes"], 1500);
        assert!(std::fs::metadata(fleet.db()).unwrap().len() <= MAX);
    }
    let listed = fleet.get("/api/snapshots").await;
    let ids: Vec<i64> = listed.as_array().unwrap().iter().map(|cut| cut["snapshot_id"].as_i64().unwrap()).collect();
    assert!(ids[0] == 12 && ids.len() < 12 && !ids.contains(&1), "{ids:?}");
    // A cut that can never fit is refused with that reason. It evicts no older cut, and the collector keeps working.
    let answer = async {
        let id = process.request().await;
        process.reply(id, large_graph("huge", 20_000)).await;
    };
    let ((status, body), ()) = tokio::join!(fleet.send("POST", "/api/jump-now", None), answer);
    assert_eq!((status, body["code"].as_str().unwrap()), (507, "full"));
    assert!(body["error"].as_str().unwrap().contains("PEEPS_DB_MAX_BYTES"), "{body}");
    assert_eq!(fleet.get("/api/snapshots").await, listed);
    assert_eq!(fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await["nodes"], 1);
}

/// The size of the database file and its log on disk.
fn disk_bytes(db: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    size(db) + size(&PathBuf::from(format!("{}-wal", db.display())))
}

#[tokio::test]
async fn a_reader_that_stays_cannot_make_the_log_grow_beyond_the_bound() {
    const MAX: u64 = 3 * 1024 * 1024;
    let fleet = Fleet::start_with(|options| options.with_timeout(PATIENCE).with_db_max_bytes(MAX)).await;
    let mut process = fleet.connect_all(1).await.remove(0);
    fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await;
    // A reader that starts a query and does not read it to its end, as a notebook does.
    let reader = Holder::start(&fleet.db(), "BEGIN; SELECT count(*) FROM nodes");
    let refused = loop {
        let answer = async {
            let id = process.request().await;
            process.reply(id, large_graph("n", 1500)).await;
        };
        let jump = async {
            let answered = fleet.send("POST", "/api/jump-now", None).await;
            assert!(disk_bytes(&fleet.db()) <= MAX, "{}", disk_bytes(&fleet.db()));
            answered
        };
        // The cut is refused either before any process is asked or when it is stored.
        let mut jump = std::pin::pin!(jump);
        let (status, body) = tokio::select! {
            answered = &mut jump => answered,
            () = answer => jump.await,
        };
        if status != 200 {
            assert_eq!(status, 507, "{body}");
            break body;
        }
    };
    assert_eq!(refused["code"], "full");
    let text = refused["error"].as_str().unwrap();
    assert!(text.contains("stays in an old state of the database") && text.contains("PEEPS_DB_MAX_BYTES"), "{text}");
    assert!(text.contains(&format!("(process {})", reader.0.id())), "{text}");
    // Older cuts can be read meanwhile, and new ones are stored once the reader has gone.
    assert_eq!(fleet.get("/api/snapshots/1").await["nodes"], 1);
    drop(reader);
    let cut = fleet.cut(&mut [(&mut process, large_graph("after", 1500))]).await;
    assert_eq!(cut["nodes"], 1500);
    until("the log to be emptied", async || disk_bytes(&fleet.db()) == std::fs::metadata(fleet.db()).unwrap().len())
        .await;
}

#[tokio::test]
async fn a_lock_of_a_shell_is_called_what_it_is() {
    let fleet = Fleet::start().await;
    let mut process = fleet.connect_all(1).await.remove(0);
    fleet.cut(&mut [(&mut process, graph(&[("x", "Lock")], &[]))]).await;
    let shell = Holder::start(&fleet.db(), "BEGIN IMMEDIATE");
    let (status, body) = fleet.send("POST", "/api/jump-now", None).await;
    assert_eq!((status, body["code"].as_str().unwrap()), (503, "locked"), "{body}");
    let text = body["error"].as_str().unwrap();
    assert!(text.contains(&format!("(process {})", shell.0.id())) && text.contains("ROLLBACK"), "{text}");
    assert!(!text.contains("collector"), "{text}");
    drop(shell);
    assert_eq!(fleet.cut(&mut [(&mut process, graph(&[("y", "Lock")], &[]))]).await["nodes"], 1);

    // The same at start-up. The error "in use" is kept for a real second collector.
    let Fleet { collector, dir } = fleet;
    let second = Collector::start(options(&dir)).await;
    assert!(matches!(second, Err(StartError::Store(StoreError::InUse { .. }))), "{second:?}");
    collector.stop().await;
    let shell = Holder::start(&dir.path().join("fleet.sqlite"), "BEGIN IMMEDIATE");
    let refused = Collector::start(options(&dir)).await;
    let Err(StartError::Store(StoreError::Locked { by: Some(by) })) = &refused else { panic!("{refused:?}") };
    assert!(by.contains(&shell.0.id().to_string()), "{by}");
    drop(shell);
    Collector::start(options(&dir)).await.unwrap().stop().await;
}

// ---- another program that holds the database open

const HOLD: &str = "RPP_FLEET_TEST_HOLD";

/// Not a test: the program that holds the database open.
#[test]
fn hold() {
    let Ok(what) = std::env::var(HOLD) else { return };
    let (path, sql) = what.split_once('\n').unwrap();
    let db = Connection::open(path).unwrap();
    let statements: Vec<&str> = sql.split(';').collect();
    let (last, first) = statements.split_last().unwrap();
    db.execute_batch(&first.join(";")).unwrap();
    let mut last = db.prepare(last).unwrap();
    let mut rows = last.query([]).unwrap();
    let _ = rows.next().unwrap();
    println!("\nholding");
    // Until it is killed.
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Holder(Child);

impl Holder {
    fn start(db: &Path, sql: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::hold", "--nocapture"])
            .env(HOLD, format!("{}\n{sql}", db.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "holding"), "the program ended");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn another_program_s_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);").unwrap();
    let refused = Collector::start(options(&dir)).await;
    assert!(matches!(refused, Err(StartError::Store(_))), "{refused:?}");
    let count = |path: &Path| {
        Connection::open(path)
            .unwrap()
            .query_row("SELECT count(*) FROM theirs", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(count(&path), 1);
    std::fs::write(&path, "this is no database, and longer than a header of one would be: ".repeat(20)).unwrap();
    assert!(matches!(Collector::start(options(&dir)).await, Err(StartError::Store(_))));
    let nowhere =
        Options::default().with_listen("127.0.0.1:0").with_http("127.0.0.1:0").with_db("/nonexistent/x.sqlite");
    assert!(matches!(Collector::start(nowhere).await, Err(StartError::Store(_))));
}

// ---- a collector in its own process, which is killed or runs out of disk space

const CHILD: &str = "RPP_FLEET_TEST_CHILD";

/// Not a test: the collector that the tests below start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    let options = Options::default()
        .with_listen("127.0.0.1:0")
        .with_http("127.0.0.1:0")
        .with_db(dir.join("db/fleet.sqlite"))
        .with_timeout(PATIENCE);
    let collector = Collector::start(options).await.unwrap();
    std::fs::write(dir.join("addresses.new"), format!("{} {}", collector.tcp(), collector.http())).unwrap();
    std::fs::rename(dir.join("addresses.new"), dir.join("addresses")).unwrap();
    collector.wait().await;
}

struct Remote {
    child: Child,
    tcp: std::net::SocketAddr,
    http: std::net::SocketAddr,
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Remote {
    /// `None` when `wrapper` does not work on this machine.
    async fn start(dir: &Path, wrapper: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(dir.join("db")).unwrap();
        let _ = std::fs::remove_file(dir.join("addresses"));
        let me = std::env::current_exe().unwrap();
        let command: Vec<&str> =
            wrapper.iter().copied().chain([me.to_str().unwrap(), "--exact", "faults::child"]).collect();
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .env(CHILD, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut addresses = None;
        until("the child to listen, or to end", async || {
            addresses = std::fs::read_to_string(dir.join("addresses")).ok();
            addresses.is_some() || child.try_wait().unwrap().is_some()
        })
        .await;
        let addresses = addresses?;
        let (tcp, http) = addresses.split_once(' ').unwrap();
        Some(Self { child, tcp: tcp.parse().unwrap(), http: http.parse().unwrap() })
    }

    async fn send(&self, method: &str, path: &str) -> (u16, Value) {
        let response = http(self.http, method, path, &[], None).await;
        (response.status, response.json())
    }

    async fn connect(&self, count: usize) -> Vec<Process> {
        self.connect_to_have(count, count).await
    }

    async fn connect_to_have(&self, count: usize, total: usize) -> Vec<Process> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Process::connect(self.tcp).await);
        }
        until("the processes to be connected", async || {
            self.send("GET", "/api/connections").await.1.as_array().unwrap().len() == total
        })
        .await;
        all
    }

    async fn cut(&self, process: &mut Process, graph: Value) -> (u16, Value) {
        let answer = async {
            let id = process.request().await;
            process.reply(id, graph).await;
        };
        tokio::join!(self.send("POST", "/api/jump-now"), answer).0
    }

    /// Sends SIGKILL and waits for the end.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn check(dir: &Path) -> i64 {
    let db = Connection::open(dir.join("db/fleet.sqlite")).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    // Each cut is stored completely or not at all.
    let strays: i64 = db
        .query_row(
            "SELECT count(*) FROM nodes WHERE snapshot_id NOT IN (SELECT snapshot_id FROM snapshots)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(strays, 0);
    let mut counts = db
        .prepare("SELECT s.snapshot_id, count(n.id) FROM snapshots s LEFT JOIN nodes n USING (snapshot_id) GROUP BY 1")
        .unwrap();
    let counts: Vec<(i64, i64)> =
        counts.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(counts.iter().all(|(_, nodes)| [1, NODES as i64].contains(nodes)), "{counts:?}");
    counts.len() as i64
}

const NODES: usize = 30_000;

#[tokio::test]
async fn sigkill_during_a_cut_leaves_no_half_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let remote = Remote::start(dir.path(), &["env"]).await.unwrap();
    let mut processes = remote.connect(2).await;
    let (one, rest) = processes.split_at_mut(1);
    // A complete cut: one process answers, one disconnects.
    let (first, ()) = tokio::join!(remote.send("POST", "/api/jump-now"), async {
        let id = one[0].request().await;
        one[0].reply(id, graph(&[("x", "Lock")], &[])).await;
        rest[0].stream.shutdown().await.unwrap();
    });
    assert_eq!(first.0, 200, "{first:?}");
    // The collector is killed during a cut, when half of the answers have arrived.
    let _silent = remote.connect_to_have(2, 3).await;
    let http = remote.http;
    let caller = tokio::spawn(async move {
        let mut stream = TcpStream::connect(http).await.unwrap();
        stream.write_all(b"POST /api/jump-now HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream
    });
    let id = one[0].request().await;
    one[0].reply(id, large_graph("half", 1000)).await;
    // A caller that hangs up ends its cut, so this one stays connected until the kill.
    let caller = caller.await.unwrap();
    remote.kill();
    drop(caller);
    assert_eq!(check(dir.path()), 1);
    // The restarted collector lists only the complete cut, reuses no id, and works.
    let remote = Remote::start(dir.path(), &["env"]).await.unwrap();
    let listed = remote.send("GET", "/api/snapshots").await.1;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let mut process = remote.connect(1).await.remove(0);
    let (status, cut) = remote.cut(&mut process, graph(&[("x", "Lock")], &[])).await;
    assert_eq!(status, 200);
    assert!(cut["snapshot_id"].as_u64().unwrap() > id, "{cut} after {id}");
}

#[tokio::test]
async fn sigkill_while_a_cut_is_stored_leaves_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let remote = Remote::start(dir.path(), &["env"]).await.unwrap();
        let mut process = remote.connect(1).await.remove(0);
        let wal = dir.path().join("db/fleet.sqlite-wal");
        let size = || std::fs::metadata(&wal).map_or(0, |meta| meta.len());
        let before = size();
        let answer = remote.cut(&mut process, large_graph("big", NODES));
        // A growing log shows that storing has begun. Each round kills at a later point.
        let grown = until("the database to be written", async || size() > before + 100_000 + round * 1_500_000);
        tokio::select! {
            _ = answer => {}
            () = grown => {}
        }
        remote.kill();
        check(dir.path());
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    std::fs::create_dir(&db).unwrap();
    let mount = format!("mount -t tmpfs -o size=4m none {} && exec \"$0\" \"$@\"", db.display());
    let Some(remote) = Remote::start(dir.path(), &["unshare", "-Urm", "sh", "-c", &mount]).await else {
        println!("skipped: no small disk can be mounted here");
        return;
    };
    let mut process = remote.connect(1).await.remove(0);
    assert_eq!(remote.cut(&mut process, graph(&[("x", "Lock")], &[])).await.0, 200);
    let (status, body) = remote.cut(&mut process, large_graph("big", NODES)).await;
    assert_eq!((status, body["code"].as_str().unwrap()), (507, "full"), "{body}");
    assert!(body["error"].as_str().unwrap().contains("no room"), "{body}");
    // The collector still has its older cuts and accepts new ones that fit.
    assert_eq!(remote.send("GET", "/health").await.0, 200);
    let (status, cut) = remote.cut(&mut process, graph(&[("y", "Lock")], &[])).await;
    assert_eq!(status, 200, "{cut}");
    let listed = remote.send("GET", "/api/snapshots").await.1;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
}
