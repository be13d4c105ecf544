//! A headless Chromium, driven over the DevTools protocol.

use std::{
    collections::VecDeque,
    process::{Child, Command, Stdio},
};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::{patiently, until};

pub struct Browser {
    child: Child,
    _profile: TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    next: u64,
    /// The page's exceptions and console errors, in order.
    pub complaints: VecDeque<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// `None` when this machine has no Chromium; then it prints a line that says so.
    pub async fn open(url: &str) -> Option<Self> {
        let program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let Some(program) = program else {
            println!("skipped: there is no chromium on this machine");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1400,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut endpoint = None;
        until("the browser to start", async || {
            let port = std::fs::read_to_string(profile.path().join("DevToolsActivePort")).unwrap_or_default();
            endpoint = port.split_once('\n').map(|(port, path)| format!("ws://127.0.0.1:{port}{}", path.trim()));
            endpoint.is_some()
        })
        .await;
        let (socket, _) = patiently(connect_async(endpoint.unwrap())).await.unwrap();
        let mut browser =
            Self { child, _profile: profile, socket, session: String::new(), next: 0, complaints: VecDeque::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach).await["sessionId"].as_str().unwrap().into();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser.call("Page.navigate", json!({"url": url})).await;
        Some(browser)
    }

    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut command = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            let message = patiently(self.socket.next()).await.unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == self.next {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push_back(message["params"].to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.complaints.push_back(message["params"]["entry"]["text"].to_string());
                }
                _ => {}
            }
        }
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        while self.eval(&format!("Boolean({expression})")).await != true {
            let page = self.eval("document.body ? document.body.innerText.slice(0, 2000) : ''").await;
            assert!(tokio::time::Instant::now() < deadline, "waited too long for {expression}; the page says {page}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// A real click where the element is.
    pub async fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return {{x: r.left + r.width / 2, y: r.top + r.height / 2}}; }})()",
            json!(selector)
        );
        let at = self.eval(&place).await;
        self.click_at(at).await;
    }

    pub async fn click_at(&mut self, at: Value) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    pub async fn screenshot(&mut self, name: &str) {
        use std::io::Write as _;
        let Ok(dir) = std::env::var("RPP_FLEET_SCREENSHOTS") else { return };
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        let file = format!("{dir}/{name}.png.base64");
        std::fs::File::create(file).unwrap().write_all(shot["data"].as_str().unwrap().as_bytes()).unwrap();
    }
}
