//! `introspect`: its outputs for programs, not those for people.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use rpp_introspection::{client::Connection, proto::server_message::Payload};
use serde_json::Value;

use crate::harness::{Place, fail, json, rpp_node};

/// `introspect` with `--json` and its first line; killed when dropped.
struct Looking {
    child: Child,
    first: Value,
}

impl Looking {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = rpp_node();
        command.arg("introspect").arg("--config").arg(place.config()).arg("--json").args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, first: json(&line) }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_address_shows_the_node_without_a_token() {
    let place = Place::new(&[]);
    let node = place.start(&[]);
    let serving = Looking::start(&place, &["--serve", "127.0.0.1:0"]);
    let short = serving.first["serve"].as_str().unwrap().to_owned();
    // The forwarder adds the right token; what the client sends does not matter.
    let mut client = Connection::open(&short, &"no-token-at-all".to_owned().into()).await.unwrap();
    let Some(Payload::Runtime(runtime)) = client.next().await.unwrap().message.payload else { panic!("the runtime") };
    assert_eq!(runtime.peer_id, node.said["peer_id"].as_str().unwrap());
    client.close().await;

    // The same for a program that reads lines.
    let watching = Looking::start(&place, &[]);
    assert_eq!(watching.first["runtime"]["peer_id"], node.said["peer_id"]);

    let error = fail(["introspect", "--config", place.config().to_str().unwrap(), "--serve", "0.0.0.0:0"]);
    assert!(error.contains("reachable from other machines") && error.contains("127.0.0.1"), "{error}");
}
