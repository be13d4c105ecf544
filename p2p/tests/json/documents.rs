//! The rules of the wire's JSON, stated a second time: as tables over documents that `serde_json` has parsed. However a
//! message is changed, the reader must accept it exactly when these rules do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::{prelude::*, sample::Index};
use rpp_p2p::json::{decode_request, decode_response, encode_request, encode_response};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{HEX, request, response};

/// A document with all its members in order, including those with the same key.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Null,
    Flag(bool),
    Integer(u64),
    /// Any other number, in its original text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// The content that a field must have.
enum Shape {
    /// A literal of at most 2^53 - 1.
    Integer,
    /// Like [`Self::Integer`], but not 0.
    Session,
    Hash,
    Text,
    Base64,
    /// Base64 of this many bytes.
    Bytes(usize),
    Word(&'static [&'static str]),
    /// May be left out, and may be `null`.
    Optional(&'static Shape),
    /// May be `null`.
    OrNull(&'static Shape),
    /// A list with at most this many elements.
    List(&'static Shape, usize),
    Object(Fields),
}

type Fields = &'static [(&'static str, Shape)];
type Kinds = &'static [(&'static str, Fields)];

use Shape::*;

const KIND: Shape = Word(&["plan", "chunk", "light_client_update"]);
const CODE: Shape = Word(&[
    "not_found",
    "unauthorized",
    "busy",
    "invalid",
    "plan_changed",
    "resume_regressed",
    "resume_out_of_bounds",
    "cancelled",
    "internal",
]);

const GENESIS: Fields = &[("chain_id", Text), ("publishers", List(&Hash, 64)), ("threshold", Integer)];
const CHECKPOINT: Fields = &[
    ("step", Integer),
    ("height", Integer),
    ("block_hash", Hash),
    ("state_root", Hash),
    ("payload_bytes", Integer),
    ("commitment", Hash),
];
const SNAPSHOT: Fields = &[
    ("step", Integer),
    ("height", Integer),
    ("block_hash", Hash),
    ("state_root", Hash),
    ("payload_bytes", Integer),
    ("commitment", Hash),
    ("format", Word(&["raw", "tar"])),
];
const PLAN: Fields = &[
    ("plan_id", Hash),
    ("proof", Text),
    ("genesis", Object(GENESIS)),
    ("snapshot", Object(SNAPSHOT)),
    ("tip", Object(CHECKPOINT)),
    ("chunk_size", Integer),
    ("total_chunks", Integer),
    ("total_updates", Integer),
];
const SIGNATURE: Fields = &[("publisher", Hash), ("signature", Bytes(64))];
const UPDATE: Fields = &[
    ("step", Integer),
    ("height", Integer),
    ("block_hash", Hash),
    ("state_root", Hash),
    ("payload_bytes", Integer),
    ("commitment", Hash),
    ("previous_commitment", Hash),
    ("recursive_proof", OrNull(&Base64)),
    ("signatures", List(&Object(SIGNATURE), 256)),
];

const REQUESTS: Kinds = &[
    (
        "plan",
        &[
            ("session_id", Session),
            ("chunk_size", Optional(&Integer)),
            ("min_chunk_size", Optional(&Integer)),
            ("max_chunk_size", Optional(&Integer)),
            ("root", Optional(&Hash)),
            ("height", Optional(&Integer)),
        ],
    ),
    ("chunk", &[("session_id", Session), ("chunk_index", Integer)]),
    ("light_client_update", &[("session_id", Session), ("update_index", Integer)]),
    ("resume", &[("session_id", Session), ("plan_id", Hash), ("chunk_index", Integer), ("update_index", Integer)]),
    ("ack", &[("session_id", Session), ("kind", KIND), ("index", Integer)]),
    ("error", &[("session_id", Session), ("message", Text)]),
];

const RESPONSES: Kinds = &[
    (
        "plan",
        &[("session_id", Session), ("plan", Object(PLAN)), ("min_chunk_size", Integer), ("max_chunk_size", Integer)],
    ),
    ("chunk", &[("session_id", Session), ("chunk_index", Integer), ("chunk", Base64), ("proof", List(&Hash, 64))]),
    ("light_client_update", &[("session_id", Session), ("update_index", Integer), ("update", Object(UPDATE))]),
    (
        "resume",
        &[
            ("session_id", Session),
            ("plan_id", Hash),
            ("chunk_index", Integer),
            ("update_index", Integer),
            ("chunk_size", Integer),
        ],
    ),
    ("ack", &[("session_id", Session), ("kind", KIND), ("index", Integer)]),
    // The session id is 0 if the request could not be read.
    ("error", &[("session_id", Integer), ("code", Optional(&CODE)), ("message", Text)]),
];

/// Whether the rules accept this text as a message of one of these kinds.
fn is_message(text: &str, kinds: Kinds) -> bool {
    let Ok(document) = serde_json::from_str::<Node>(text) else { return false };
    let Node::Object(members) = &document else { return false };
    is_strict(&document, 1)
        && kinds
            .iter()
            .any(|(tag, fields)| find(members, "type") == Some(&Node::Text((*tag).to_owned())) && has(members, fields))
}

/// No key twice, no more than 1,024 members, no more than 16 objects and arrays inside one another.
fn is_strict(node: &Node, depth: usize) -> bool {
    match node {
        Node::List(items) => depth <= 16 && items.iter().all(|item| is_strict(item, depth + 1)),
        Node::Object(members) => {
            let keys: std::collections::HashSet<_> = members.iter().map(|(key, _)| key).collect();
            depth <= 16
                && members.len() <= 1024
                && keys.len() == members.len()
                && members.iter().all(|(_, value)| is_strict(value, depth + 1))
        }
        _ => true,
    }
}

fn find<'a>(members: &'a [(String, Node)], name: &str) -> Option<&'a Node> {
    members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn has(members: &[(String, Node)], fields: Fields) -> bool {
    fields.iter().all(|(name, shape)| fits(find(members, name), shape))
}

fn fits(node: Option<&Node>, shape: &Shape) -> bool {
    match (shape, node) {
        (Optional(_), None | Some(Node::Null)) | (OrNull(_), Some(Node::Null)) => true,
        (Optional(shape) | OrNull(shape), Some(_)) => fits(node, shape),
        (Integer, Some(Node::Integer(number))) => *number < 1 << 53,
        (Session, Some(Node::Integer(number))) => (1..1 << 53).contains(number),
        (Hash, Some(Node::Text(text))) => {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        }
        (Text, Some(Node::Text(_))) => true,
        (Base64, Some(Node::Text(text))) => STANDARD.decode(text).is_ok(),
        (Bytes(count), Some(Node::Text(text))) => STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == *count),
        (Word(words), Some(Node::Text(text))) => words.contains(&text.as_str()),
        (List(shape, most), Some(Node::List(items))) => {
            items.len() <= *most && items.iter().all(|item| fits(Some(item), shape))
        }
        (Object(fields), Some(Node::Object(members))) => has(members, fields),
        _ => false,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
                Ok(Node::Flag(flag))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Integer(number))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Number(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Node::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Node {
    fn write(&self, out: &mut String, escape_keys: bool) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Flag(flag) => out.push_str(&flag.to_string()),
            Self::Integer(number) => out.push_str(&number.to_string()),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&serde_json::to_string(text).unwrap()),
            Self::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { " , " } else { "" });
                    item.write(out, escape_keys);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    out.push_str(if place > 0 { ",\n" } else { "" });
                    if escape_keys && key.is_ascii() {
                        let escaped: String = key.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
                        out.push_str(&format!("\"{escaped}\""));
                    } else {
                        out.push_str(&serde_json::to_string(key).unwrap());
                    }
                    out.push(':');
                    value.write(out, escape_keys);
                }
                out.push('}');
            }
        }
    }

    fn children(&mut self) -> Vec<&mut Self> {
        match self {
            Self::List(items) => items.iter_mut().collect(),
            Self::Object(members) => members.iter_mut().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }

    fn count(&mut self) -> usize {
        1 + self.children().into_iter().map(Self::count).sum::<usize>()
    }

    /// The node with this number, counted from this node on.
    fn at(&mut self, place: usize) -> &mut Self {
        if place == 0 {
            return self;
        }
        let mut before = 1;
        // The lengths are computed first, because the borrow of a returned child would last for the whole function.
        let lengths: Vec<usize> = self.children().into_iter().map(Self::count).collect();
        let child = lengths.iter().position(|length| {
            before += length;
            place < before
        });
        let child = child.expect("a place in the document");
        let before = before - lengths[child];
        self.children().swap_remove(child).at(place - before)
    }

    /// Changes the node, which may make a different document.
    fn change(&mut self, change: &Change) {
        let Change { what, which, with } = change;
        match (self, what) {
            (Self::Object(members), 0) if !members.is_empty() => drop(members.remove(which.index(members.len()))),
            (Self::Object(members), 1) if !members.is_empty() => {
                members.push(members[which.index(members.len())].clone())
            }
            (Self::Object(members), 2) => members.push(("another".to_owned(), with.clone())),
            (Self::Object(members), 3) if !members.is_empty() => {
                let place = which.index(members.len());
                members.rotate_left(place);
            }
            (Self::Object(members), 4) if !members.is_empty() => {
                let place = which.index(members.len());
                members[place].1 = with.clone();
            }
            (Self::Object(members), 5) if !members.is_empty() => {
                let place = which.index(members.len());
                members[place].0.push('x');
            }
            (Self::List(items), 0) if !items.is_empty() => drop(items.pop()),
            (Self::List(items), 1) if !items.is_empty() => *items = vec![items[0].clone(); 60 + which.index(10)],
            (Self::List(items), 2) => items.push(with.clone()),
            (node, _) => *node = with.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Change {
    what: u8,
    which: Index,
    with: Node,
}

fn change() -> impl Strategy<Value = (Index, Change)> {
    (any::<Index>(), 0..8_u8, any::<Index>(), value())
        .prop_map(|(place, what, which, with)| (place, Change { what, which, with }))
}

fn value() -> impl Strategy<Value = Node> {
    let nested = |depth: usize, leaf: Node| (0..depth).fold(leaf, |node, _| Node::List(vec![node]));
    let texts = ["", "chunk", "plan", "raw", "busy", "null", "7", "+/8=", "+/9=", "+/8", "-_8=", "+/8=+/8=", "\u{0}é"];
    prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Flag),
        prop::sample::select(vec![0, 7, (1 << 53) - 1, 1 << 53, u64::MAX]).prop_map(Node::Integer),
        prop::sample::select(vec!["-0", "-7", "7.0", "7e0", "0.0", "18446744073709551616", "1E+2", "01", "-", "7."])
            .prop_map(|text| Node::Number(text.to_owned())),
        prop::sample::select(texts.to_vec()).prop_map(|text| Node::Text(text.to_owned())),
        prop::sample::select(vec![HEX.to_owned(), HEX.to_uppercase(), format!("{HEX}0"), HEX.replace('a', "g")])
            .prop_map(Node::Text),
        prop::sample::select(vec![62, 63, 64, 65, 66]).prop_map(|len| Node::Text(STANDARD.encode(vec![0xa5; len]))),
        Just(Node::List(Vec::new())),
        Just(Node::Object(Vec::new())),
        Just(Node::Object(vec![("a".to_owned(), Node::Null), ("a".to_owned(), Node::Null)])),
        // Some readers of enumerations accept this form.
        Just(Node::Object(vec![("chunk".to_owned(), Node::Null)])),
        (11..17_usize).prop_map(move |depth| nested(depth, Node::Integer(0))),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![request().prop_map(|message| encode_request(&message)), response().prop_map(|m| encode_response(&m))]
}

/// A changed message: its tree was changed, and single bytes of its text.
fn text() -> impl Strategy<Value = String> {
    let bytes = prop::sample::select(br#"{}[]:,"\ 07eE.+-tfnu"#.to_vec());
    let edits = prop::collection::vec((any::<Index>(), 0..3_u8, bytes), 0..2);
    (message(), prop::collection::vec(change(), 0..3), any::<bool>(), edits).prop_map(
        |(message, changes, escape_keys, edits)| {
            let mut document: Node = serde_json::from_slice(&message).unwrap();
            for (place, change) in &changes {
                let count = document.count();
                document.at(place.index(count)).change(change);
            }
            let mut text = String::new();
            document.write(&mut text, escape_keys);
            let mut text = text.into_bytes();
            for (place, what, byte) in edits {
                let place = place.index(text.len());
                match what {
                    0 => text[place] = byte,
                    1 => text.insert(place, byte),
                    _ => drop(text.remove(place)),
                }
            }
            String::from_utf8_lossy(&text).into_owned()
        },
    )
}

/// A number beyond the range of a floating-point type is valid JSON, and fine in a place that no field reads.
/// `serde_json` refuses it.
fn has_a_huge_number(text: &str) -> bool {
    serde_json::from_str::<Node>(text).is_err_and(|error| error.to_string().starts_with("number out of range"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_reader_takes_exactly_what_the_rules_take(text in text()) {
        prop_assume!(!has_a_huge_number(&text));
        let (as_request, as_response) = (decode_request(text.as_bytes()), decode_response(text.as_bytes()));
        prop_assert_eq!(as_request.is_ok(), is_message(&text, REQUESTS), "{:?} {}", as_request, text);
        prop_assert_eq!(as_response.is_ok(), is_message(&text, RESPONSES), "{:?} {}", as_response, text);
    }
}

/// Both verdicts must be frequent among these documents; otherwise the comparison would mean little.
#[test]
fn changed_messages_are_taken_and_refused() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let taken = (0..1000)
        .filter(|_| {
            let text = text().new_tree(&mut runner).unwrap().current();
            is_message(&text, REQUESTS) || is_message(&text, RESPONSES)
        })
        .count();
    assert!((200..800).contains(&taken), "{taken} of 1000");
}
