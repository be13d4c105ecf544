//! Bad bodies: each gets a `400` (or `413`, `415`) of the common form, and none reaches the node.

use crate::node::{PEER, TOKEN, open};
use crate::support::{Client, once, soon};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[tokio::test]
async fn a_body_must_be_one_object_with_known_fields() {
    let port = open(|_| panic!("nothing may reach the node"));
    let peer = format!("\"peer\":\"{PEER}\"");
    let deep = |open: &str, close: &str| {
        let times = 60_000 / (open.len() + close.len());
        format!("{}{}", open.repeat(times), close.repeat(times))
    };
    for malformed in [
        String::new(),
        "{".into(),
        format!("{{{peer}"),
        format!("{{{peer}}} {{}}"),
        format!("{{{peer},}}"),
        format!("{{{peer}}}x"),
        format!("\u{feff}{{{peer}}}"),
        format!("{{'peer':'{PEER}'}}"),
        "not json".into(),
        "{\"peer\":\"\u{1}\"}".into(),
        "{\"peer\":\"\\ud800\"}".into(),
        deep("{\"resume\":", "}"),
    ] {
        assert_eq!(port.post(&malformed).await.problem(), (400, "malformed_json".into()), "{malformed}");
    }
    for wrong in [
        "[]".into(),
        "null".into(),
        "7".into(),
        format!("\"{PEER}\""),
        format!("[\"{PEER}\",1,1,1,null,1,null]"),
        format!("{{{peer},\"extra\":1}}"),
        format!("{{{peer},\"Peer\":\"x\"}}"),
        format!("{{{peer},{peer}}}"),
        format!("{{{peer},\"chunk_size\":1,\"chunk_size\":2}}"),
        format!("{{{peer},\"chunk_size\":-1}}"),
        format!("{{{peer},\"chunk_size\":1.5}}"),
        format!("{{{peer},\"chunk_size\":1e-3}}"),
        format!("{{{peer},\"chunk_size\":\"1\"}}"),
        format!("{{{peer},\"chunk_size\":18446744073709551616}}"),
        format!("{{{peer},\"root\":\"abc\"}}"),
        format!("{{{peer},\"root\":\"{}\"}}", "AB".repeat(32)),
        format!("{{{peer},\"height\":true}}"),
        format!("{{{peer},\"height\":-0.5}}"),
        // `null` is a value. Only an absent field counts as left out.
        "{\"peer\":null}".into(),
        format!("{{{peer},\"root\":null}}"),
        format!("{{{peer},\"height\":null}}"),
        format!("{{{peer},\"chunk_size\":null}}"),
        format!("{{{peer},\"resume\":null}}"),
        "{\"peer\":null,\"resume\":{\"session\":7}}".into(),
        "{\"resume\":{\"session\":null}}".into(),
        "{\"resume\":{\"session\":7,\"plan_id\":null}}".into(),
        "{\"resume\":{\"session\":7,\"chunk_index\":null}}".into(),
        "{\"resume\":{\"session\":7,\"update_index\":null}}".into(),
        "{\"resume\":{\"session\":18446744073709551616}}".into(),
        format!("{{{peer},\"resume\":7}}"),
        format!("{{{peer},\"resume\":[7,null,1,1]}}"),
        format!("{{{peer},\"resume\":{{}}}}"),
        "{\"resume\":{\"session\":\"7\"}}".into(),
        "{\"resume\":{\"session\":-7}}".into(),
        "{\"resume\":{\"session\":7,\"session\":8}}".into(),
        "{\"resume\":{\"session\":7,\"chunk\":8}}".into(),
        "{\"resume\":{\"session\":7,\"plan_id\":\"7\"}}".into(),
        "{\"resume\":{\"session\":7},\"root\":\"0000000000000000000000000000000000000000000000000000000000000000\"}"
            .into(),
        "{\"resume\":{\"session\":7},\"height\":7}".into(),
        "{\"resume\":{\"session\":7},\"min_chunk_size\":7}".into(),
        "{\"resume\":{\"session\":7},\"max_chunk_size\":7}".into(),
        deep("[", "]"),
        deep("{\"peer\":", "}"),
        format!("{{\"x\":{}}}", deep("[", "]")),
    ] {
        let answer = port.post(&wrong).await;
        assert_eq!(answer.problem(), (400, "invalid_request".into()), "{:.200}", wrong);
        assert!(answer.text().len() < 1024, "{}", answer.text());
    }
    for (body, code, status) in [
        ("{\"peer\":\"x\"}".into(), "invalid_peer", 400),
        ("{\"peer\":\"\"}".into(), "invalid_peer", 400),
        ("{\"peer\":\"13WKQ84Vu\"}".into(), "invalid_peer", 400),
        ("{\"peer\":\"/ip4/10.0.0.7/tcp/4001/p2p/13WKQ84Vu\"}".into(), "invalid_peer", 400),
        ("{\"peer\":\"/ip4/10.0.0.7/tcp/4001\"}".into(), "invalid_peer", 400),
        (format!("{{\"peer\":\"/p2p/{PEER}/tcp/4001\"}}"), "invalid_peer", 400),
        (format!("{{\"peer\":\"{}\"}}", "x".repeat(60_000)), "invalid_peer", 400),
        ("{\"peer\":\"x\",\"resume\":{\"session\":7}}".into(), "invalid_peer", 400),
        (format!("{{{peer},\"chunk_size\":9007199254740992}}"), "invalid_argument", 400),
        (format!("{{{peer},\"height\":9007199254740992}}"), "invalid_argument", 400),
        ("{\"resume\":{\"session\":0}}".into(), "unknown_session", 404),
        ("{\"resume\":{\"session\":9007199254740992}}".into(), "unknown_session", 404),
    ] {
        let answer = port.post(&body).await;
        assert_eq!(answer.problem(), (status, code.into()), "{body:.200}");
        assert!(answer.text().len() < 1024, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused_before_it_is_parsed() {
    let port = open(|_| panic!("nothing may reach the node"));
    let large = format!("{{\"peer\":\"{}\"}}", "x".repeat(64 * 1024));
    assert_eq!(port.post(&large).await.problem(), (413, "too_large".into()));
    let head = format!("POST /p2p/snapshots HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    let form = format!("{head}content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}");
    assert_eq!(once(port.address, form).await.problem(), (415, "unsupported_media_type".into()));
    let none = format!("{head}content-length: 2\r\n\r\n{{}}");
    assert_eq!(once(port.address, none).await.problem(), (415, "unsupported_media_type".into()));
    assert_eq!(once(port.address, format!("{head}\r\n")).await.problem(), (400, "malformed_json".into()));
}

#[test]
fn text_of_the_request_is_shown_escaped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let port = open(|_| panic!("nothing may reach the node"));
        for body in ["{\"\\u001b[31m\\u202e\":1}", "{\"peer\":\"\\u001b[31m\\u202e\"}"] {
            let answer = port.post(body).await;
            assert_eq!(answer.status, 400);
            let sentence = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(!sentence.contains(['\u{1b}', '\u{202e}']), "{sentence:?}");
        }
    });
}

fn json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("peer"),
        Just("peers"),
        Just("mirrors"),
        Just("chunk_size"),
        Just("min_chunk_size"),
        Just("max_chunk_size"),
        Just("root"),
        Just("height"),
        Just("resume"),
        Just("session"),
        Just("plan_id"),
        Just("chunk_index"),
        Just("update_index"),
        Just("x"),
    ];
    let word = word.prop_map(|word| format!("\"{word}\""));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| value.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        word.clone(),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Neither a valid peer or session nor a wish for whatever is on offer: the answer is `400`, and the node is never asked.
#[test]
fn random_bodies_are_always_a_problem() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = runtime.block_on(async { open(|_| panic!("nothing may reach the node")) });
    let bytes = proptest::collection::vec(any::<u8>(), 1..300);
    let bodies = prop_oneof![bytes, json().prop_map(String::into_bytes)];
    let client = std::cell::RefCell::new(runtime.block_on(Client::connect(port.address)));
    let config = Config { cases: 1000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&bodies, |body| {
            // An unknown session's number reaches the node. Other tests cover that.
            prop_assume!(!String::from_utf8_lossy(&body).contains("\"session\""));
            // So does a request that names no source: it gets the newest offer.
            let names_nobody = serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| {
                let wishes = ["root", "height", "chunk_size", "min_chunk_size", "max_chunk_size"];
                let is_wish = |(key, value): (&String, &serde_json::Value)| {
                    wishes.contains(&key.as_str()) || (key == "mirrors" && value.as_array().is_some_and(Vec::is_empty))
                };
                body.as_object().is_some_and(|fields| fields.iter().all(is_wish))
            });
            prop_assume!(!names_nobody);
            let head = format!(
                "POST /p2p/snapshots HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let request = [head.as_bytes(), &body].concat();
            let answer = runtime.block_on(soon(client.borrow_mut().exchange(request)));
            let (status, code) = answer.problem();
            prop_assert_eq!(status, 400);
            prop_assert!(
                ["malformed_json", "invalid_request", "invalid_peer", "invalid_argument", "invalid_source"]
                    .contains(&&*code)
            );
            Ok(())
        })
        .unwrap();
}

/// A refusal shows the value as it was sent.
#[tokio::test]
async fn numbers_are_named_as_they_were_sent() {
    let port = open(|_| panic!("nothing may reach the node"));
    for (number, named) in [
        ("18446744073709551616", "18446744073709551616 is above"),
        ("-7", "-7 is negative"),
        ("0.5", "0.5 is no integer"),
        ("-1e3", "-1e3 is negative"),
        ("null", "null is no integer: leave the field out"),
    ] {
        for body in
            [format!("{{\"peer\":\"{PEER}\",\"height\":{number}}}"), format!("{{\"resume\":{{\"session\":{number}}}}}")]
        {
            let answer = port.post(&body).await;
            let sentence = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(sentence.contains(named), "{body}: {sentence}");
        }
    }
    // -0 is 0 in JSON, and 0.0 and 0e3 are 0 in JSON Schema. No session has that number.
    for zero in ["-0", "0.0", "0e3"] {
        let answer = port.post(&format!("{{\"resume\":{{\"session\":{zero}}}}}")).await;
        assert_eq!(answer.problem(), (404, "unknown_session".into()), "{zero}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_named_by_its_field() {
    let port = open(|_| panic!("nothing may reach the node"));
    let path = |path: &str| format!("/p2p/{path}");
    let (start, limits, sources) = (path("snapshots"), path("limits"), path("snapshots/7/sources"));
    for (method, path, body, told) in [
        ("PATCH", &limits, r#"{"upload_bytes_per_second":-1}"#, "\"upload_bytes_per_second\": -1 is negative"),
        ("PATCH", &limits, r#"{"download_bytes_per_second":1.5}"#, "\"download_bytes_per_second\": 1.5 is no integer"),
        ("PATCH", &limits, r#"{"upload_bytes_per_second_per_peer":"1"}"#, "\"upload_bytes_per_second_per_peer\": "),
        ("PATCH", &limits, r#"{"upload_bytes_per_second":1,"persist":1}"#, "\"persist\": invalid type"),
        ("PATCH", &limits, r#"{"rate":1}"#, "unknown field `rate`"),
        ("PATCH", &limits, r#"{"persist":true,"persist":true}"#, "duplicate field `persist`"),
        ("POST", &start, r#"{"height":-1}"#, "\"height\": -1 is negative"),
        ("POST", &start, r#"{"peer":7}"#, "\"peer\": invalid type"),
        ("POST", &start, r#"{"peer":"x"}"#, "\"peer\": "),
        ("POST", &start, r#"{"root":"ab"}"#, "\"root\": "),
        ("POST", &start, r#"{"resume":7}"#, "\"resume\": invalid type"),
        ("POST", &start, r#"{"resume":{"session":-7}}"#, "\"resume.session\": -7 is negative"),
        ("POST", &start, r#"{"resume":{"session":7,"plan_id":7}}"#, "\"resume.plan_id\": "),
        ("POST", &start, r#"{"resume":{}}"#, "\"resume\": missing field `session`"),
        ("POST", &sources, r#"{"peer":[]}"#, "\"peer\": invalid type"),
        ("POST", &sources, r#"{"mirror":7}"#, "\"mirror\": it must be one URL"),
    ] {
        let answer = port.ask(method, path, body).await;
        assert_eq!(answer.status, 400, "{method} {path} {body}: {}", answer.text());
        let sentence = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(sentence.contains(told), "{method} {path} {body}: {sentence}");
    }
}
