use std::{
    fs,
    ops::Range,
    path::{Path as FsPath, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rpp_p2p::{
    Hash, Plan, PlanWishes, Violation,
    plan::{PlanBounds, TrustAnchor, check_authority_signatures, check_plan},
    snapshots::PaceLimits,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    publish::fake::{bytes, publish_bytes},
    store::Store,
};

const CHUNK: u64 = 16 * 1024;
const SIZE: usize = 40 * CHUNK as usize + 777;

/// A node's store with one payload of [`SIZE`] bytes.
struct Source {
    folder: tempfile::TempDir,
    root: Hash,
}

impl Source {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = publish_bytes(folder.path(), &bytes(SIZE, 1), 100).root;
        Self { folder, root }
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path()).unwrap()
    }

    /// The files that a static web server would serve.
    fn files(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

fn file_url(folder: &FsPath) -> MirrorUrl {
    format!("file://{}", folder.display()).parse().unwrap()
}

fn wishes(root: Option<Hash>) -> PlanWishes {
    PlanWishes { chunk_size: Some(CHUNK), root, ..PlanWishes::default() }
}

async fn copied(source: &Source, to: &FsPath, plan: &CopyPlan) -> Copied {
    copy(&source.store(), &file_url(to), plan, &mut |_| {}).await.unwrap()
}

/// Reads everything, as a download would, and returns the bytes.
async fn read_all(reader: &MirrorReader, plan: &Plan) -> Vec<u8> {
    let mut all = Vec::new();
    for start in (0..plan.total_chunks).step_by(7) {
        let chunks = reader.chunks(plan, start..start + 7).await.unwrap();
        chunks.iter().for_each(|chunk| all.extend_from_slice(&chunk.bytes));
    }
    all
}

#[tokio::test]
async fn what_is_copied_to_a_folder_is_listed_planned_and_read() {
    let (source, target) = (Source::new(), tempfile::tempdir().unwrap());
    let to = target.path().join("not/there/yet");
    let looked = copied(&source, &to, &CopyPlan { dry_run: true, ..CopyPlan::default() }).await;
    assert!(looked.sent == [source.root] && looked.bytes > SIZE as u64 && !to.exists(), "{looked:?}");
    let mut files = Vec::new();
    let done = copy(&source.store(), &file_url(&to), &CopyPlan::default(), &mut |at| {
        if at.done == at.total {
            files.push(at.file);
        }
    })
    .await
    .unwrap();
    assert_eq!((files.as_slice(), done.bytes), (&["payload", "outboard", "manifest.json"][..], looked.bytes));
    let reader = MirrorReader::open(&file_url(&to)).unwrap();
    assert_eq!(reader.snapshots().await.unwrap().snapshots, done.snapshots);
    for root in [None, Some(source.root)] {
        let (plan, updates) = reader.plan(&wishes(root)).await.unwrap();
        let genesis = rpp_p2p::plan::genesis(&plan.genesis).unwrap().commitment();
        let trust = TrustAnchor::new(Hash(genesis.to_bytes()));
        check_plan(&plan, &trust, &PlanBounds::default()).unwrap();
        check_authority_signatures(&plan, &updates, &trust).unwrap();
        assert!(read_all(&reader, &plan).await == bytes(SIZE, 1), "the payload differs");
    }
    let absent = reader.plan(&PlanWishes { height: Some(7), ..PlanWishes::default() }).await;
    assert_eq!(absent.unwrap_err(), MirrorTrouble::NotFound { what: "such snapshot" });
    // Everything is already there, so nothing is sent again.
    let again = copied(&source, &to, &CopyPlan::default()).await;
    assert_eq!((again.bytes, again.sent.len(), again.snapshots), (0, 0, done.snapshots));
}

#[tokio::test]
async fn a_copy_goes_on_file_by_file_and_the_list_comes_last() {
    let (source, target) = (Source::new(), tempfile::tempdir().unwrap());
    copied(&source, target.path(), &CopyPlan::default()).await;
    let of_root = target.path().join(source.root.to_string());
    // This is the state after a kill between two files.
    fs::remove_file(target.path().join("snapshots.json")).unwrap();
    fs::remove_file(of_root.join("manifest.json")).unwrap();
    fs::write(of_root.join("outboard"), b"short").unwrap();
    let again = copied(&source, target.path(), &CopyPlan::default()).await;
    assert!(again.bytes > 0 && again.bytes < SIZE as u64, "the payload is not sent again: {again:?}");
    let reader = MirrorReader::open(&file_url(target.path())).unwrap();
    let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
    assert!(read_all(&reader, &plan).await == bytes(SIZE, 1), "the payload differs");
}

#[tokio::test]
async fn what_killed_copies_left_in_a_folder_goes_with_the_next_copy() {
    let (source, target) = (Source::new(), tempfile::tempdir().unwrap());
    copied(&source, target.path(), &CopyPlan::default()).await;
    let of_root = target.path().join(source.root.to_string());
    let old = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let write = |path: PathBuf, is_old: bool| {
        let file = fs::File::create(&path).unwrap();
        if is_old {
            file.set_modified(old).unwrap();
        }
        path
    };
    let left = [
        write(of_root.join("payload#1"), true),
        write(of_root.join("outboard#1"), true),
        write(of_root.join("manifest.json#12"), true),
        write(target.path().join("snapshots.json#1"), true),
    ];
    // One is being written, and the others are not ours.
    let others = [
        write(of_root.join("payload#2"), false),
        write(of_root.join("notes#1"), true),
        write(target.path().join("payload#1"), true),
    ];
    copied(&source, target.path(), &CopyPlan { dry_run: true, ..CopyPlan::default() }).await;
    assert!(left.iter().all(|path| path.exists()), "a dry run removes nothing");
    // The payload itself is there already, and is not written again.
    copied(&source, target.path(), &CopyPlan::default()).await;
    assert_eq!(left.iter().filter(|path| path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    assert!(others.iter().all(|path| path.exists()), "{others:?}");
}

#[tokio::test]
async fn the_newest_are_kept_and_two_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let roots: Vec<_> =
        (1..=3).map(|number| publish_bytes(folder.path(), &bytes(50_000, number), 100 * number).root).collect();
    let (store, target) = (Store::open(folder.path()).unwrap(), tempfile::tempdir().unwrap());
    let url = file_url(target.path());
    for root in &roots {
        let one = CopyPlan { roots: vec![*root], ..CopyPlan::default() };
        copy(&store, &url, &one, &mut |_| {}).await.unwrap();
    }
    let list = MirrorReader::open(&url).unwrap().snapshots().await.unwrap();
    assert_eq!(list.snapshots.iter().map(|one| one.height).collect::<Vec<_>>(), [300, 200, 100]);
    let done = copy(&store, &url, &CopyPlan { keep: 2, ..CopyPlan::default() }, &mut |_| {}).await.unwrap();
    assert_eq!(done.removed, [roots[0]]);
    assert!(!target.path().join(roots[0].to_string()).join("payload").exists());
    assert_eq!(MirrorReader::open(&url).unwrap().snapshots().await.unwrap().snapshots.len(), 2);
    let unknown = CopyPlan { roots: vec![Hash([7; 32])], ..CopyPlan::default() };
    assert!(matches!(copy(&store, &url, &unknown, &mut |_| {}).await, Err(CopyError::NotStored { .. })));
}

#[tokio::test]
async fn a_damaged_payload_is_not_put_on_a_mirror() {
    let (source, target) = (Source::new(), tempfile::tempdir().unwrap());
    let store = source.store();
    let path = source.files().join(source.root.to_string()).join("payload");
    let mut content = fs::read(&path).unwrap();
    content[4711] ^= 1;
    fs::write(&path, content).unwrap();
    let error = copy(&store, &file_url(target.path()), &CopyPlan::default(), &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CopyError::Damaged { root, .. } if root == source.root), "{error}");
    assert!(!target.path().join("snapshots.json").exists());
}

/// How a server answers a request for a part of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    IgnoresRanges,
    AnnouncesMore,
    AnotherRange,
    ClosesEarly,
    Silent,
    /// Sends a byte now and then.
    Drips,
    /// Says that it compresses.
    Gzip,
    /// Answers to every request in pieces, without the whole length.
    Chunked,
    /// Answers to every request without a length; the answer ends with the connection.
    Unmeasured,
    /// In pieces, and more of them than were asked for.
    ChunkedMore,
    Says(u16),
    /// A status with `Retry-After`.
    Later(u16),
    ChangesEtag,
    Grows,
    Lies,
    /// Redirects to itself, again and again.
    Redirects,
    RedirectsOnce,
    RedirectsToHttps,
}

/// A small static server.
struct Server {
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
    /// The ranges of payloads that were asked for.
    ranges: Arc<Mutex<Vec<(usize, usize)>>>,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (manner, asked) = (Arc::new(Mutex::new(Manner::Honest)), Arc::new(AtomicUsize::new(0)));
        let (manners, count) = (Arc::clone(&manner), Arc::clone(&asked));
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let of_payload = Arc::clone(&ranges);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (folder, manners, count) = (folder.clone(), Arc::clone(&manners), Arc::clone(&count));
                let ranges = Arc::clone(&of_payload);
                tokio::spawn(async move {
                    let _ = serve(socket, folder, manners, (count, ranges)).await;
                });
            }
        });
        Self { manner, asked, ranges, url, task }
    }

    fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// First and last byte of each range that was asked for.
type Ranges = Arc<Mutex<Vec<(usize, usize)>>>;

/// Answers one request, and closes the connection.
async fn serve(
    mut socket: TcpStream,
    folder: PathBuf,
    manners: Arc<Mutex<Manner>>,
    (asked, ranges): (Arc<AtomicUsize>, Ranges),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let moved = path.starts_with("/moved/");
    let path = path.trim_start_matches("/moved").trim_start_matches('/');
    let count = asked.fetch_add(1, Ordering::SeqCst);
    let Ok(mut content) = fs::read(folder.join(path)) else {
        return socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    };
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")).map(|range| {
        let (first, last) = range.split_once('-').unwrap();
        (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap().min(content.len() - 1))
    });
    if range.is_some_and(|(first, last)| first > last) {
        return socket.write_all(b"HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    }
    let manner = *manners.lock().unwrap();
    if matches!(manner, Manner::Chunked | Manner::Unmeasured) {
        return without_length(&mut socket, &content, range, manner == Manner::Chunked).await;
    }
    let (Some((first, last)), true) = (range, path.ends_with("payload")) else {
        let body = range.map_or(content.clone(), |(first, last)| content[first..=last].to_vec());
        let status = match range {
            Some((first, last)) => {
                format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", content.len())
            }
            None => "200 OK".to_owned(),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).await?;
        return socket.write_all(&body).await;
    };
    ranges.lock().unwrap().push((first, last + 1));
    if manner == Manner::Lies {
        content[first] ^= 1;
    }
    let body = &content[first..=last];
    let total = content.len() + if manner == Manner::Grows { count } else { 0 };
    let etag = if manner == Manner::ChangesEtag { format!("\"{count}\"") } else { "\"same\"".to_owned() };
    let redirect =
        |to: String| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let partial = |first: usize, length: usize| {
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}\r\nETag: {etag}\r\nContent-Length: \
             {length}\r\nConnection: close\r\n\r\n",
            first + body.len() - 1
        )
    };
    let head = match manner {
        Manner::Honest | Manner::ChangesEtag | Manner::Grows | Manner::Lies => partial(first, body.len()),
        Manner::ClosesEarly => {
            socket.write_all(partial(first, body.len()).as_bytes()).await?;
            return socket.write_all(&body[..body.len() / 2]).await;
        }
        Manner::AnnouncesMore => partial(first, body.len() + 1),
        Manner::AnotherRange => partial(first + 1, body.len()),
        Manner::IgnoresRanges => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            socket.write_all(head.as_bytes()).await?;
            return socket.write_all(&content).await;
        }
        Manner::Silent => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            return Ok(());
        }
        Manner::Drips => {
            socket.write_all(partial(first, body.len()).as_bytes()).await?;
            for byte in body {
                socket.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return Ok(());
        }
        Manner::Gzip => partial(first, body.len()).replace("ETag", "Content-Encoding: gzip\r\nETag"),
        Manner::ChunkedMore => {
            let head = partial(first, body.len()).replace("Content-Length", "Transfer-Encoding: chunked\r\nX-Length");
            socket.write_all(head.as_bytes()).await?;
            return pieces(&mut socket, &[body, &[0; 100]].concat()).await;
        }
        Manner::Chunked | Manner::Unmeasured => unreachable!("answered above"),
        Manner::Says(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        Manner::Later(status) => {
            format!("HTTP/1.1 {status} No\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Manner::Redirects => redirect(format!("/{path}?{query}")),
        Manner::RedirectsOnce if moved => partial(first, body.len()),
        Manner::RedirectsOnce => redirect(format!("/moved/{path}")),
        Manner::RedirectsToHttps => redirect("https://127.0.0.1:1/payload".to_owned()),
    };
    let has_body = head.contains(" 206 ");
    socket.write_all(head.as_bytes()).await?;
    if has_body { socket.write_all(body).await } else { Ok(()) }
}

/// Answers with a file, or a part of it, but not with its length.
async fn without_length(
    socket: &mut TcpStream,
    content: &[u8],
    range: Option<(usize, usize)>,
    is_chunked: bool,
) -> std::io::Result<()> {
    let (status, body) = match range {
        Some((first, last)) => (
            format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", content.len()),
            &content[first..=last],
        ),
        None => ("200 OK".to_owned(), content),
    };
    let (version, coding) = if is_chunked { ("1.1", "Transfer-Encoding: chunked\r\n") } else { ("1.0", "") };
    let head = format!("HTTP/{version} {status}\r\n{coding}Connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    if is_chunked { pieces(socket, body).await } else { socket.write_all(body).await }
}

/// Sends a body in pieces, as `Transfer-Encoding: chunked` has it.
async fn pieces(socket: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    for piece in body.chunks(1000) {
        let piece = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        socket.write_all(&piece).await?;
    }
    socket.write_all(b"0\r\n\r\n").await
}

#[tokio::test]
async fn a_mirror_that_says_of_no_answer_how_long_it_is_is_read_all_the_same() {
    let source = Source::new();
    copied(&source, &source.files(), &CopyPlan::default()).await;
    let server = Server::start(source.files()).await;
    let url: MirrorUrl = server.url.parse().unwrap();
    for manner in [Manner::Chunked, Manner::Unmeasured] {
        server.now(manner);
        let reader = MirrorReader::open(&url).unwrap();
        let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
        assert!(read_all(&reader, &plan).await == bytes(SIZE, 1), "the payload differs: {manner:?}");
    }
    // A copy asks for the length alone.
    let looks = CopyPlan { dry_run: true, ..CopyPlan::default() };
    match copy(&source.store(), &url, &looks, &mut |_| {}).await {
        Err(CopyError::Mirror { trouble, .. }) => {
            assert_eq!(trouble, MirrorTrouble::NoLength);
            assert!(trouble.to_string().contains("no Content-Length") && !trouble.may_pass(), "{trouble}");
        }
        other => panic!("{other:?}"),
    }
    // An answer without a length is not read beyond its range.
    server.now(Manner::ChunkedMore);
    let reader = MirrorReader::open(&url).unwrap();
    let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
    let trouble = reader.chunks(&plan, 3..4).await.unwrap_err();
    assert!(matches!(trouble, MirrorTrouble::Length { expected: CHUNK, received } if received > CHUNK), "{trouble:?}");
}

#[tokio::test]
async fn a_store_behind_any_web_server_is_a_mirror_and_neighbours_are_one_request() {
    let source = Source::new();
    copied(&source, &source.files(), &CopyPlan::default()).await;
    let server = Server::start(source.files()).await;
    let reader = MirrorReader::open(&server.url.parse().unwrap()).unwrap();
    let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
    let before = server.asked.load(Ordering::SeqCst);
    assert_eq!(reader.chunks(&plan, 0..20).await.unwrap().len(), 20);
    // One request is for the payload, one for the hashes, which lie near each other.
    assert_eq!(server.asked.load(Ordering::SeqCst) - before, 2);
    assert!(read_all(&reader, &plan).await == bytes(SIZE, 1), "the payload differs");
}

#[tokio::test]
async fn what_is_asked_for_beside_the_manifest_is_what_the_first_reads_take() {
    let source = Source::new();
    copied(&source, &source.files(), &CopyPlan::default()).await;
    let server = Server::start(source.files()).await;
    let url: MirrorUrl = server.url.parse().unwrap();
    let asked = || {
        let mut ranges = std::mem::take(&mut *server.ranges.lock().unwrap());
        ranges.sort_unstable();
        ranges
    };
    let chunks_of = |read: &Range<u64>| read.start / CHUNK..read.end.div_ceil(CHUNK);
    for root in [None, Some(source.root)] {
        let reader = MirrorReader::open(&url).unwrap();
        let part = 0..30 * CHUNK;
        let (plan, _) = reader.plan_and_begin(&wishes(root), part.clone()).await.unwrap();
        let (mut all, mut due) = (Vec::new(), Vec::new());
        for read in rpp_p2p::mirror::reads(part, CHUNK).chain(std::iter::once(30 * CHUNK..SIZE as u64)) {
            let chunks = reader.chunks(&plan, chunks_of(&read)).await.unwrap();
            chunks.iter().for_each(|chunk| all.extend_from_slice(&chunk.bytes));
            due.push((read.start as usize, read.end as usize));
        }
        assert!(all == bytes(SIZE, 1), "the payload differs");
        assert_eq!(asked(), due, "nothing is asked for twice");
    }
    // The payload is shorter than the part: once the list says so, once this shows only later.
    let reader = MirrorReader::open(&url).unwrap();
    let (plan, _) = reader.plan_and_begin(&wishes(None), 30 * CHUNK..90 * CHUNK).await.unwrap();
    let first = rpp_p2p::mirror::reads(30 * CHUNK..SIZE as u64, CHUNK).next().unwrap();
    assert_eq!(reader.chunks(&plan, chunks_of(&first)).await.unwrap()[0].index, 30);
    assert_eq!(asked()[0], (first.start as usize, first.end as usize));
    let reader = MirrorReader::open(&url).unwrap();
    let (plan, _) = reader.plan_and_begin(&wishes(Some(source.root)), 39 * CHUNK..99 * CHUNK).await.unwrap();
    assert_eq!(reader.chunks(&plan, 39..41).await.unwrap().len(), 2);
    // Trouble with an answer is reported when it is read, and then the range is requested again.
    let reader = MirrorReader::open(&url).unwrap();
    server.now(Manner::Later(503));
    let (plan, _) = reader.plan_and_begin(&wishes(None), 0..30 * CHUNK).await.unwrap();
    let trouble = reader.chunks(&plan, 0..5).await.unwrap_err();
    assert!(matches!(trouble, MirrorTrouble::Later { status: 503, .. }), "{trouble:?}");
    server.now(Manner::Honest);
    assert_eq!(reader.chunks(&plan, 0..5).await.unwrap().len(), 5);
    server.now(Manner::Lies);
    let (plan, _) = reader.plan_and_begin(&wishes(None), 0..30 * CHUNK).await.unwrap();
    let trouble = reader.chunks(&plan, 10..15).await.unwrap_err();
    assert!(matches!(trouble, MirrorTrouble::Lied(Violation::Chunk { index: 10, .. })), "{trouble:?}");
}

#[tokio::test]
async fn whatever_a_server_does_has_its_own_word_and_passes_when_it_may() {
    let source = Source::new();
    copied(&source, &source.files(), &CopyPlan::default()).await;
    let server = Server::start(source.files()).await;
    // Parts of a URL that may be secret appear in no text.
    let url: MirrorUrl =
        format!("{}/?token=secret", server.url.replace("http://", "http://user:word@")).parse().unwrap();
    let shown = |trouble: &MirrorTrouble| {
        let text = format!("{trouble} {trouble:?}");
        assert!(!["secret", "token", "user", "word"].iter().any(|secret| text.contains(secret)), "{text}");
    };
    let chunk = CHUNK;
    for (manner, expected, may_pass) in [
        (Manner::IgnoresRanges, MirrorTrouble::IgnoresRanges, false),
        (Manner::AnnouncesMore, MirrorTrouble::Length { expected: chunk, received: chunk + 1 }, true),
        (Manner::AnotherRange, MirrorTrouble::Range, false),
        (Manner::ClosesEarly, MirrorTrouble::ClosedEarly, true),
        (Manner::Silent, MirrorTrouble::Slow { waited: Duration::from_millis(300) }, true),
        (Manner::Drips, MirrorTrouble::TooSlow { slowest: 1024, over: Duration::from_millis(300) }, true),
        (Manner::Gzip, MirrorTrouble::Compressed { encoding: "gzip" }, false),
        (Manner::Says(404), MirrorTrouble::NotFound { what: "payload" }, false),
        (Manner::Says(416), MirrorTrouble::Range, false),
        (Manner::Says(403), MirrorTrouble::Access { status: 403 }, false),
        (Manner::Says(418), MirrorTrouble::Status { status: 418 }, false),
        (Manner::Says(500), MirrorTrouble::Status { status: 500 }, true),
        (Manner::Says(503), MirrorTrouble::Later { status: 503, retry_after: None }, true),
        (Manner::Later(429), MirrorTrouble::Later { status: 429, retry_after: Some(Duration::from_secs(7)) }, true),
        (Manner::Redirects, MirrorTrouble::Redirect { how: "more than 5 times" }, false),
        (Manner::RedirectsToHttps, MirrorTrouble::Redirect { how: "to another scheme" }, false),
    ] {
        server.now(Manner::Honest);
        let (short, patient) = (Duration::from_millis(300), PaceLimits::default().with_idle(Duration::from_secs(60)));
        let pace = match manner {
            Manner::Silent => patient.with_idle(short),
            Manner::Drips => patient.with_slowest(1024, short),
            _ => patient,
        };
        let (plan, _) = MirrorReader::open(&url).unwrap().plan(&wishes(None)).await.unwrap();
        let reader = MirrorReader::open_with(&url, pace).unwrap();
        server.now(manner);
        let trouble = reader.chunks(&plan, 3..4).await.unwrap_err();
        assert_eq!((&trouble, trouble.may_pass()), (&expected, may_pass), "{manner:?}");
        shown(&trouble);
        if matches!(manner, Manner::Silent | Manner::Drips) {
            continue; // A busy machine is as slow.
        }
        // When the mirror works again, the same reader asks it again.
        server.now(Manner::Honest);
        assert_eq!(reader.chunks(&plan, 3..4).await.unwrap()[0].index, 3, "{manner:?}");
    }
    for (manner, what) in [(Manner::ChangesEtag, "ETag"), (Manner::Grows, "length")] {
        server.now(manner);
        let reader = MirrorReader::open(&url).unwrap();
        let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
        reader.chunks(&plan, 0..1).await.unwrap();
        assert_eq!(reader.chunks(&plan, 1..2).await.unwrap_err(), MirrorTrouble::Changed { what });
    }
    server.now(Manner::RedirectsOnce);
    let reader = MirrorReader::open(&url).unwrap();
    let (plan, _) = reader.plan(&wishes(None)).await.unwrap();
    assert_eq!(reader.chunks(&plan, 1..2).await.unwrap().len(), 1, "a redirect within bounds is followed");
    server.now(Manner::Lies);
    match reader.chunks(&plan, 5..9).await.unwrap_err() {
        MirrorTrouble::Lied(Violation::Chunk { index: 5, received, .. }) => assert_eq!(received, CHUNK),
        other => panic!("{other:?}"),
    }
    drop(server);
    // This reader has no connections yet.
    let trouble = MirrorReader::open(&url).unwrap().chunks(&plan, 1..2).await.unwrap_err();
    assert!(matches!(trouble, MirrorTrouble::Unreachable { .. } | MirrorTrouble::ClosedEarly), "{trouble:?}");
    shown(&trouble);
}

#[tokio::test]
#[ignore = "needs a server that speaks S3: tests/mirror/run.sh starts one"]
async fn what_is_copied_to_a_bucket_is_read_and_two_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The first size is sent in several parts, the second in one.
    let sizes = [20 * 1024 * 1024 + 3, 50_000];
    let roots: Vec<_> = (1..)
        .zip(sizes)
        .map(|(height, size)| publish_bytes(folder.path(), &bytes(size, height), height).root)
        .collect();
    let store = Store::open(folder.path()).unwrap();
    let url: MirrorUrl = "s3://mirror/some/folder".parse().unwrap();
    let one = |root: Hash| CopyPlan { roots: vec![root], ..CopyPlan::default() };
    let (first, second) = (one(roots[0]), one(roots[1]));
    let (mut quiet, mut silent) = (|_: CopyProgress| {}, |_: CopyProgress| {});
    let (first, second) =
        tokio::join!(copy(&store, &url, &first, &mut quiet), copy(&store, &url, &second, &mut silent));
    assert_eq!((first.unwrap().sent, second.unwrap().sent), (vec![roots[0]], vec![roots[1]]));
    let reader = MirrorReader::open(&url).unwrap();
    assert_eq!(reader.snapshots().await.unwrap().snapshots.len(), 2);
    for ((height, size), root) in (1..).zip(sizes).zip(roots) {
        let (plan, _) = reader.plan(&PlanWishes { root: Some(root), ..PlanWishes::default() }).await.unwrap();
        assert!(read_all(&reader, &plan).await == bytes(size, height), "the payload differs");
    }
    let again = copy(&store, &url, &CopyPlan::default(), &mut |_| {}).await.unwrap();
    assert_eq!((again.bytes, again.snapshots.len()), (0, 2));
}
