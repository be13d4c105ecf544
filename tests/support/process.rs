//! An `rpp-node` process on its own ports, which tests kill and start again.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use serde_json::Value;

use crate::harness::{self, DEADLINE, Place};

/// Changes a command before it is started.
pub type Prepare = Box<dyn Fn(&mut Command)>;

pub struct Process {
    pub place: Place,
    port: u16,
    flags: Vec<String>,
    token: String,
    running: Option<Child>,
    rpc: Option<SocketAddr>,
    /// Changes the command before it is started.
    pub prepare: Option<Prepare>,
}

impl Process {
    pub fn new(init_flags: &[&str], port: u16) -> Self {
        let place = Place::new(init_flags);
        let token = fs::read_to_string(place.path("rpc.token")).unwrap().trim().to_owned();
        Self { place, port, flags: Vec::new(), token, running: None, rpc: None, prepare: None }
    }

    pub fn flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// The address at which peers find it.
    pub fn address(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", self.port, self.place.made["peer_id"].as_str().unwrap())
    }

    pub fn log(&self) -> PathBuf {
        self.place.path("log")
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) {
        assert!(self.running.is_none());
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = harness::rpp_node();
        if let Some(prepare) = &self.prepare {
            prepare(&mut command);
        }
        let child = command
            .arg("run")
            .arg("--config")
            .arg(self.place.config())
            .arg(format!("--p2p-listen=/ip4/127.0.0.1/tcp/{}", self.port))
            .args(["--rpc-listen=127.0.0.1:0", "--introspection-enabled=false"])
            .args(&self.flags)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(child);
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        assert!(self.try_start(), "it did not start: {}", self.logged());
    }

    /// The same; `false` if the process ended before it was ready.
    pub fn try_start(&mut self) -> bool {
        self.launch();
        let said = self.running.as_mut().unwrap().stdout.take().unwrap();
        let (line, first) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = BufReader::new(said).read_line(&mut text);
            let _ = line.send(text);
        });
        let line = first.recv_timeout(DEADLINE).unwrap_or_default();
        if line.is_empty() {
            self.kill();
            return false;
        }
        self.rpc = Some(harness::json(&line)["rpc"].as_str().unwrap().parse().unwrap());
        true
    }

    pub fn logged(&self) -> String {
        let mut text = String::new();
        let _ = File::open(self.log()).and_then(|mut log| log.read_to_string(&mut text));
        text
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.rpc = None;
    }

    pub fn is_running(&self) -> bool {
        self.rpc.is_some()
    }

    /// Status and body of the control plane's answer to this request.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let address = self.rpc.expect("it runs");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let body = body.map_or_else(String::new, Value::to_string);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let text = self.logged();
            let start = text.len().saturating_sub(4000);
            eprintln!("--- end of the log of {}\n{}", self.address(), text.get(start..).unwrap_or(&text));
        }
    }
}
