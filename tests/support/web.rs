//! A static web server on loopback. It answers honestly, ranges included, until its script says otherwise.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rpp_runtime::publish::Published;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{FIRST_BYTES, Home, made};

/// A copy of the published store, in the form of a web server's folder.
pub struct MirrorCopy {
    _home: Home,
    pub folder: PathBuf,
}

/// A copy whose list has only the first snapshot.
pub fn mirror() -> MirrorCopy {
    listing(&[(&made().first, FIRST_BYTES)])
}

/// A copy whose list has these snapshots.
pub fn listing(snapshots: &[(&Published, usize)]) -> MirrorCopy {
    let home = Home::provider();
    let folder = home.snapshots().join("store");
    let listed = |(made, bytes): &(&Published, usize)| json!({ "root": made.root.to_string(), "height": made.height, "bytes": bytes, "format": "raw" });
    let list: Vec<_> = snapshots.iter().map(listed).collect();
    fs::write(folder.join("snapshots.json"), json!({ "version": 1, "snapshots": list }).to_string()).unwrap();
    MirrorCopy { _home: home, folder }
}

/// A request for a file.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// The first byte, and the one after the last.
    pub range: Option<Range<usize>>,
    pub headers: BTreeMap<String, String>,
    /// The number of earlier requests for this path.
    pub before: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The server sends only this many bytes of the body and then closes the connection.
    pub cut: Option<usize>,
    /// The server never sends any of it.
    pub hangs: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, hangs: false }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }
}

type Script = Box<dyn Fn(&Asked, Reply) -> Reply + Send>;

/// The running server; ends when dropped.
pub struct Web {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    folder: PathBuf,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
}

impl Web {
    /// Serves the files below this folder.
    pub async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Box::new(|_, honest| honest);
        let shared = Shared { folder: folder.to_owned(), script: Mutex::new(script), asked: Mutex::default() };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    /// The URL, as the status shows it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers by this script from now on: the request, and the honest answer to it.
    pub fn now(&self, script: impl Fn(&Asked, Reply) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let reply = answer(&head, &shared);
        if reply.hangs {
            std::future::pending::<()>().await;
        }
        let mut text = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
        let written = stream.write_all(&[text.as_bytes(), sent].concat()).await;
        if written.is_err() || reply.cut.is_some() {
            return;
        }
    }
}

fn answer(head: &str, shared: &Shared) -> Reply {
    let mut lines = head.split("\r\n");
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let range = headers.get("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
    });
    let asked = {
        let mut all = shared.asked.lock().unwrap();
        let before = all.iter().filter(|asked| asked.path == path).count();
        let asked = Asked { path, range, headers, before };
        all.push(asked.clone());
        asked
    };
    let reply = honest(&asked, &shared.folder);
    (shared.script.lock().unwrap())(&asked, reply)
}

fn honest(asked: &Asked, folder: &Path) -> Reply {
    let Ok(bytes) = fs::read(folder.join(asked.path.trim_start_matches('/'))) else { return Reply::status(404) };
    let whole = bytes.len();
    let reply = match &asked.range {
        Some(range) if range.start >= whole => Reply::status(416),
        Some(range) => {
            let range = range.start..range.end.min(whole);
            let shown = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
            Reply { body: bytes[range].to_vec(), ..Reply::status(206).with("content-range", shown) }
        }
        None => Reply { body: bytes, ..Reply::status(200) },
    };
    reply.with("etag", "\"one\"").with("last-modified", "Sat, 28 Nov 2026 10:00:00 GMT")
}
