//! The JSON of the wire protocol. Everything that is written can be read back, and everything that is not exactly right
//! is refused.

use bytes::Bytes;
use proptest::prelude::*;
use rpp_p2p::{
    ArtefactKind, Checkpoint, ErrorCode, GenesisDescriptor, Hash, PayloadFormat, Plan, PlanWishes, Signature,
    SnapshotHeader, SnapshotSessionId, SnapshotsRequest, SnapshotsResponse, Update,
    json::{DecodeError, decode_request, decode_request_within, decode_response, encode_request, encode_response},
    limits::{MAX_JSON_DEPTH, MAX_JSON_MEMBERS, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES},
    types::MAX_INTEGER,
};

#[path = "json/documents.rs"]
mod documents;

const HEX: &str = "00ff112233445566778899aabbccddeeff00112233445566778899aabbccddee";

fn read(text: &str) -> Result<SnapshotsRequest, DecodeError> {
    decode_request(text.as_bytes())
}

fn chunk_request(index: &str) -> String {
    format!(r#"{{"type":"chunk","session_id":7,"chunk_index":{index}}}"#)
}

fn session(id: u64) -> SnapshotSessionId {
    SnapshotSessionId::new(id).unwrap()
}

#[test]
fn integers_are_literals_from_0_to_2_to_the_53() {
    for (text, number) in [("0", 0), ("7", 7), ("9007199254740991", MAX_INTEGER)] {
        let expected = SnapshotsRequest::Chunk { session_id: session(7), chunk_index: number };
        assert_eq!(read(&chunk_request(text)), Ok(expected));
    }
    for text in [
        "1.0",
        "1e3",
        "1E3",
        "-0",
        "-1",
        "0.0",
        "9007199254740992",
        "18446744073709551616",
        "99999999999999999999999",
        "\"1\"",
        "null",
        "true",
        "[1]",
        "{}",
        "01",
        "+1",
        "1.",
        ".5",
        "0x1",
        "1_000",
        "NaN",
        "Infinity",
        "",
        "--1",
        "1e",
        "١",
    ] {
        assert!(read(&chunk_request(text)).is_err(), "{text} was taken for an integer");
    }
}

#[test]
fn session_ids_are_never_0_but_in_an_error_response() {
    assert!(read(r#"{"type":"chunk","session_id":0,"chunk_index":1}"#).is_err());
    assert!(read(r#"{"type":"error","session_id":0,"message":""}"#).is_err());
    assert!(decode_response(br#"{"type":"ack","session_id":0,"kind":"chunk","index":1}"#).is_err());
    let response = decode_response(br#"{"type":"error","session_id":0,"code":"invalid","message":"no"}"#).unwrap();
    assert_eq!(response.session_id(), SnapshotSessionId::UNREADABLE);
}

#[test]
fn duplicate_keys_are_refused_wherever_they_are() {
    for text in [
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"chunk_index":1}"#,
        r#"{"type":"chunk","type":"chunk","session_id":7,"chunk_index":1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"\u0063hunk_index":1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":{"a":1,"b":2,"a":3}}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":[[{"":1,"":1}]]}"#,
        r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"e":1}"#,
    ] {
        assert!(matches!(read(text), Err(DecodeError::DuplicateKey { .. })), "{text}");
    }
}

#[test]
fn depth_is_counted_from_the_document_and_refused_at_seventeen() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| {
            let (open, close) = (open.repeat(depth - 1), close.repeat(depth - 1));
            format!(r#"{{"type":"chunk","session_id":7,"chunk_index":1,"x":{open}0{close}}}"#)
        };
        assert!(read(&nested(MAX_JSON_DEPTH)).is_ok());
        assert!(matches!(read(&nested(MAX_JSON_DEPTH + 1)), Err(DecodeError::TooDeep { .. })));
        let endless = open.repeat(10_000);
        assert!(read(&format!(r#"{{"type":"chunk","x":{endless}"#)).is_err());
    }
}

#[test]
fn members_are_bounded() {
    let with = |members: usize| {
        let others: String = (3..members).map(|i| format!(r#","x{i}":0"#)).collect();
        format!(r#"{{"type":"chunk","session_id":7,"chunk_index":1{others}}}"#)
    };
    assert!(read(&with(MAX_JSON_MEMBERS)).is_ok());
    assert_eq!(read(&with(MAX_JSON_MEMBERS + 1)), Err(DecodeError::TooManyMembers));
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let text = r#" { "extra" : { "deep" : [ 1.5 , -2e-7 , null , true , "\"\\\/\b\f\n\r\t\u00e9\ud83e\udd80" , { } , [ ] ] } ,
        "chunk_index" : 5 , "session_id" : 7 , "type" : "chunk" , "": "" } "#;
    assert_eq!(read(text), Ok(SnapshotsRequest::Chunk { session_id: session(7), chunk_index: 5 }));
}

#[test]
fn an_unknown_type_is_refused_by_name() {
    assert_eq!(
        read(r#"{"type":"chunks\u202e","session_id":7}"#),
        Err(DecodeError::UnknownType { found: "chunks\\u{202e}".to_owned() })
    );
    assert!(read(r#"{"session_id":7,"chunk_index":1}"#).is_err());
    assert!(decode_response(br#"{"type":"snapshot","session_id":7}"#).is_err());
    // A response is not a request.
    assert!(read(r#"{"type":"plan_changed","session_id":7}"#).is_err());
}

#[test]
fn nothing_but_one_document_and_white_space() {
    let good = chunk_request("1");
    assert!(read(&format!(" \t\r\n{good} \t\r\n")).is_ok());
    for bad in [
        format!("{good}{good}"),
        format!("{good},"),
        format!("{good}\0"),
        format!("{good}\u{a0}"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
        format!("// {good}"),
        good[..good.len() - 1].to_owned(),
        String::new(),
        " ".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn broken_json_is_refused() {
    for bad in [
        r#"{"type":"chunk","session_id":7,"chunk_index":1,}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":[1,]}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1 "x":1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x" 1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,x:1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,'x':1}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":tru}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\x"}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\u12g4"}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\ud800"}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\ud800\u0041"}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\udc00"}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":"\u12"#,
        "{\"type\":\"chunk\",\"session_id\":7,\"chunk_index\":1,\"x\":\"a\nb\"}",
        "{\"type\":\"chunk\",\"session_id\":7,\"chunk_index\":1,\"x\":\"a\u{1f}b\"}",
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":-}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":1.e5}"#,
        r#"{"type":"chunk","session_id":7,"chunk_index":1,"x":00}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    assert_eq!(decode_request(b"{\"type\":\"\xff\"}"), Err(DecodeError::Utf8));
}

#[test]
fn hashes_are_lower_case_and_of_the_exact_length() {
    let resume = |hash: &str| {
        read(&format!(r#"{{"type":"resume","session_id":7,"plan_id":"{hash}","chunk_index":1,"update_index":2}}"#))
    };
    assert!(resume(HEX).is_ok());
    for bad in [
        HEX.to_uppercase(),
        HEX[..62].to_owned(),
        format!("{HEX}00"),
        format!("0x{}", &HEX[2..]),
        format!(" {}", &HEX[1..]),
        HEX.replace('a', "g"),
        String::new(),
    ] {
        assert!(resume(&bad).is_err(), "{bad}");
    }
}

#[test]
fn base64_is_standard_padded_and_canonical() {
    let chunk = |text: &str| {
        decode_response(
            format!(r#"{{"type":"chunk","session_id":7,"chunk_index":1,"chunk":"{text}","proof":[]}}"#).as_bytes(),
        )
    };
    let bytes = |text: &str| match chunk(text) {
        Ok(SnapshotsResponse::Chunk { chunk, .. }) => chunk,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(bytes(""), Bytes::new());
    assert_eq!(bytes("+/8="), Bytes::from_static(&[0xfb, 0xff]));
    assert_eq!(bytes(r"+\/8="), Bytes::from_static(&[0xfb, 0xff]), "an escaped slash is a slash");
    for bad in ["+/8", "-_8=", "+/9=", "+/8==", "A", "AA", "AAA", "AA=A", " +/8=", "+/8=\\n", "====", "+/8=AAAA"] {
        assert!(chunk(bad).is_err(), "{bad}");
    }
}

#[test]
fn optional_fields_may_be_absent_or_null_and_others_may_not() {
    let expected = SnapshotsRequest::Plan { session_id: session(7), wishes: PlanWishes::default() };
    assert_eq!(read(r#"{"type":"plan","session_id":7}"#), Ok(expected.clone()));
    assert_eq!(read(r#"{"type":"plan","session_id":7,"chunk_size":null,"root":null,"height":null}"#), Ok(expected));
    assert!(read(r#"{"type":"plan","session_id":7,"chunk_size":"1"}"#).is_err());
    assert!(read(r#"{"type":"plan"}"#).is_err());
    assert!(read(r#"{"type":"ack","session_id":7,"kind":"chunk"}"#).is_err());
    assert!(read(r#"{"type":"ack","session_id":7,"kind":"chunks","index":1}"#).is_err());
    assert!(read(r#"{"type":"error","session_id":7}"#).is_err());
}

#[test]
fn a_missing_code_is_internal_and_an_unknown_one_is_refused() {
    let read = |text: &str| decode_response(text.as_bytes());
    let error = |code| SnapshotsResponse::Error { session_id: session(7), code, message: "m".to_owned() };
    assert_eq!(read(r#"{"type":"error","session_id":7,"message":"m"}"#), Ok(error(ErrorCode::Internal)));
    assert_eq!(
        read(r#"{"type":"error","session_id":7,"code":"plan_changed","message":"m"}"#),
        Ok(error(ErrorCode::PlanChanged))
    );
    assert!(read(r#"{"type":"error","session_id":7,"code":"teapot","message":"m"}"#).is_err());
    assert!(read(r#"{"type":"error","session_id":7,"code":"busy"}"#).is_err());
}

#[test]
fn a_peers_words_are_cut() {
    let text = format!(r#"{{"type":"error","session_id":7,"message":"{}"}}"#, "ß".repeat(2000));
    let Ok(SnapshotsRequest::Error { message, .. }) = read(&text) else { panic!() };
    assert_eq!(message.len(), 512);
}

#[test]
fn a_message_above_its_bound_is_refused_naming_both() {
    let padded = |size: usize| {
        let mut text = chunk_request("1").into_bytes();
        text.resize(size, b' ');
        text
    };
    assert!(decode_request(&padded(MAX_REQUEST_BYTES)).is_ok());
    assert_eq!(
        decode_request(&padded(MAX_REQUEST_BYTES + 1)),
        Err(DecodeError::TooLarge { size: MAX_REQUEST_BYTES + 1, bound: MAX_REQUEST_BYTES })
    );
    assert!(matches!(decode_response(&padded(MAX_RESPONSE_BYTES + 1)), Err(DecodeError::TooLarge { .. })));
    assert!(matches!(decode_request_within(&padded(100), 99), Err(DecodeError::TooLarge { size: 100, bound: 99 })));
}

#[test]
fn the_largest_chunk_fits_a_response() {
    let response = SnapshotsResponse::Chunk {
        session_id: session(MAX_INTEGER),
        chunk_index: MAX_INTEGER,
        chunk: Bytes::from(vec![0xa5; 4 << 20]),
        proof: vec![Hash([0xff; 32]); 64],
    };
    let text = encode_response(&response);
    assert!(text.len() <= MAX_RESPONSE_BYTES);
    assert!(text.capacity() < text.len() + 1024, "allocated once, at about its size");
    assert_eq!(decode_response(&text), Ok(response));
}

#[test]
fn lists_are_bounded() {
    let hashes = |count: usize| vec![format!("\"{HEX}\""); count].join(",");
    let chunk = |count: usize| {
        let proof = hashes(count);
        decode_response(
            format!(r#"{{"type":"chunk","session_id":7,"chunk_index":1,"chunk":"","proof":[{proof}]}}"#).as_bytes(),
        )
    };
    assert!(chunk(64).is_ok());
    assert!(chunk(65).is_err());
    assert!(chunk(50_000).is_err());
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![0..=MAX_INTEGER, Just(0), Just(MAX_INTEGER), 0..100_u64]
}

fn session_id() -> impl Strategy<Value = SnapshotSessionId> {
    (1..=MAX_INTEGER).prop_map(session)
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn words() -> impl Strategy<Value = String> {
    "[\\x00-\\x7fß🦀\u{202e}\"\\\\]{0,40}"
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    (integer(), integer(), hash(), hash(), integer(), hash()).prop_map(
        |(step, height, block_hash, state_root, payload_bytes, commitment)| Checkpoint {
            step,
            height,
            block_hash,
            state_root,
            payload_bytes,
            commitment,
        },
    )
}

fn kind() -> impl Strategy<Value = ArtefactKind> {
    prop::sample::select(vec![ArtefactKind::Plan, ArtefactKind::Chunk, ArtefactKind::LightClientUpdate])
}

fn plan() -> impl Strategy<Value = Plan> {
    let genesis = (words(), prop::collection::vec(hash(), 0..4), integer())
        .prop_map(|(chain_id, publishers, threshold)| GenesisDescriptor { chain_id, publishers, threshold });
    let format = prop::sample::select(vec![PayloadFormat::Raw, PayloadFormat::Tar]);
    (hash(), words(), genesis, checkpoint(), format, checkpoint(), (integer(), integer(), integer())).prop_map(
        |(plan_id, proof, genesis, snapshot, format, tip, (chunk_size, total_chunks, total_updates))| Plan {
            plan_id,
            proof,
            genesis,
            snapshot: SnapshotHeader { checkpoint: snapshot, format },
            tip,
            chunk_size,
            total_chunks,
            total_updates,
        },
    )
}

fn update() -> impl Strategy<Value = Update> {
    let signature = (hash(), any::<[u8; 32]>(), any::<[u8; 32]>())
        .prop_map(|(publisher, a, b)| Signature { publisher, signature: Bytes::from([a, b].concat()) });
    (checkpoint(), hash(), prop::option::of(bytes(80)), prop::collection::vec(signature, 0..3)).prop_map(
        |(checkpoint, previous_commitment, recursive_proof, signatures)| Update {
            checkpoint,
            previous_commitment,
            recursive_proof,
            signatures,
        },
    )
}

fn request() -> impl Strategy<Value = SnapshotsRequest> {
    let option = || prop::option::of(integer());
    prop_oneof![
        (session_id(), option(), option(), option(), prop::option::of(hash()), option()).prop_map(
            |(session_id, chunk_size, min_chunk_size, max_chunk_size, root, height)| SnapshotsRequest::Plan {
                session_id,
                wishes: PlanWishes { chunk_size, min_chunk_size, max_chunk_size, root, height },
            }
        ),
        (session_id(), integer())
            .prop_map(|(session_id, chunk_index)| SnapshotsRequest::Chunk { session_id, chunk_index }),
        (session_id(), integer())
            .prop_map(|(session_id, update_index)| SnapshotsRequest::LightClientUpdate { session_id, update_index }),
        (session_id(), hash(), integer(), integer()).prop_map(|(session_id, plan_id, chunk_index, update_index)| {
            SnapshotsRequest::Resume { session_id, plan_id, chunk_index, update_index }
        }),
        (session_id(), kind(), integer()).prop_map(|(session_id, kind, index)| SnapshotsRequest::Ack {
            session_id,
            kind,
            index
        }),
        (session_id(), words()).prop_map(|(session_id, message)| SnapshotsRequest::Error { session_id, message }),
    ]
}

fn response() -> impl Strategy<Value = SnapshotsResponse> {
    prop_oneof![
        (session_id(), plan(), integer(), integer()).prop_map(|(session_id, plan, min_chunk_size, max_chunk_size)| {
            SnapshotsResponse::Plan { session_id, plan: Box::new(plan), min_chunk_size, max_chunk_size }
        }),
        (session_id(), integer(), bytes(300), prop::collection::vec(hash(), 0..6)).prop_map(
            |(session_id, chunk_index, chunk, proof)| SnapshotsResponse::Chunk {
                session_id,
                chunk_index,
                chunk,
                proof
            }
        ),
        (session_id(), integer(), update()).prop_map(|(session_id, update_index, update)| {
            SnapshotsResponse::LightClientUpdate { session_id, update_index, update: Box::new(update) }
        }),
        (session_id(), hash(), integer(), integer(), integer()).prop_map(
            |(session_id, plan_id, chunk_index, update_index, chunk_size)| SnapshotsResponse::Resume {
                session_id,
                plan_id,
                chunk_index,
                update_index,
                chunk_size
            }
        ),
        (session_id(), kind(), integer()).prop_map(|(session_id, kind, index)| SnapshotsResponse::Ack {
            session_id,
            kind,
            index
        }),
        (prop::option::of(session_id()), words()).prop_map(|(session_id, message)| SnapshotsResponse::Error {
            session_id: session_id.unwrap_or(SnapshotSessionId::UNREADABLE),
            code: ErrorCode::Busy,
            message
        }),
    ]
}

proptest! {
    #[test]
    fn requests_survive_the_wire(request in request()) {
        let text = encode_request(&request);
        // An independent parser agrees that it is JSON.
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        prop_assert_eq!(decode_request(&text), Ok(request));
    }

    #[test]
    fn responses_survive_the_wire(response in response()) {
        let text = encode_response(&response);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        prop_assert_eq!(decode_response(&text), Ok(response));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
        let _ = decode_response(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(response in response(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = encode_response(&response);
        let at = at.index(text.len());
        text[at] = byte;
        let _ = decode_response(&text);
        text.truncate(at);
        prop_assert!(decode_response(&text).is_err());
    }

    /// An ordinary parser accepts everything that the strict reader accepts.
    #[test]
    fn nothing_is_taken_that_is_not_json(text in "[\\{\\}\\[\\]:,\"\\\\0-9eE.tn+ -]{0,40}") {
        let wrapped = format!(r#"{{"type":"chunk","session_id":7,"chunk_index":1,"x":{text}}}"#);
        if decode_request(wrapped.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&wrapped).is_ok(), "{}", wrapped);
        }
    }
}

/// A message that is cut off anywhere is recognised as such, and no other text is mistaken for one: over some
/// transports a lost connection looks like a clean end.
#[test]
fn the_beginning_of_a_document_is_told_from_a_wrong_one() {
    let whole = concat!(
        r#" { "type" : "error", "session_id": 7, "message": "\u00e9\ud83d\ude00 é€😀 \\ \n","#,
        r#" "more": [ true , false, null, -1.5e+3, {}, [], "x" ] }"#
    );
    assert!(read(whole).is_ok());
    for end in 0..whole.len() {
        let cut = decode_request(&whole.as_bytes()[..end]);
        assert!(matches!(cut, Err(DecodeError::Incomplete { .. })), "cut at {end}: {cut:?}");
    }
    for after in [&b"x"[..], b"{}", b"\0", b"\x0c", b"\xff", b"\xe2\x82", b" ,", b"}"] {
        let followed = decode_request(&[whole.as_bytes(), after].concat());
        let is_wrong = matches!(followed, Err(DecodeError::Syntax { .. } | DecodeError::Utf8));
        assert!(is_wrong, "{after:?} after the end: {followed:?}");
    }
    for wrong in [
        "x",
        "{]",
        "{\"a\":nul ",
        "{\"a\":tx",
        "{\"a\":-x",
        "{\"a\":\"\\x",
        "{\"a\":\"\\u12g",
        "{\"a\" 1",
        "[",
        "\u{feff}{",
    ] {
        let error = decode_request(wrong.as_bytes());
        assert!(matches!(error, Err(DecodeError::Syntax { .. })), "{wrong}: {error:?}");
    }
}
