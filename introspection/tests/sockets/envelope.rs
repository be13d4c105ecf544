//! The envelope against bytes made by hand from its definition.

use bytes::Bytes;
use rpp_introspection::{
    envelope::{self, EnvelopeError, fnv1a32},
    proto::{ServerNotice, server_message::Payload},
};

/// `ServerMessage { version: { 1 }, notice: { DISCARDING_EVENTS } }`: field 1, two bytes, field 1 = 1; field 6, empty.
const MESSAGE: [u8; 6] = [0x0a, 0x02, 0x08, 0x01, 0x32, 0x00];

fn frame() -> Vec<u8> {
    let mut frame = vec![1, 0, 0, 0]; // version
    frame.extend([0x88, 0x32, 0x5d, 0xbb]); // checksum
    frame.extend([6, 0, 0, 0]); // length
    frame.extend(MESSAGE);
    frame
}

#[test]
fn the_checksum_is_fnv_1a_with_32_bits() {
    // Published test vectors of the function.
    assert_eq!(fnv1a32(b""), 0x811c_9dc5);
    assert_eq!(fnv1a32(b"a"), 0xe40c_292c);
    assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
}

#[test]
fn a_message_is_enveloped_byte_for_byte() {
    assert_eq!(envelope::encode(Payload::Notice(ServerNotice::default())), frame());
}

#[test]
fn several_messages_may_follow_one_version() {
    let bytes = [frame(), frame()[4..].to_vec()].concat();
    let parts: Vec<_> = envelope::messages(Bytes::from(bytes)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.bytes == frame()[4..]));
}

#[test]
fn damage_is_found_and_named() {
    let check = |bytes: Vec<u8>| envelope::messages(Bytes::from(bytes)).and_then(|mut all| all.next().unwrap());
    assert_eq!(check(vec![1, 0, 0]), Err(EnvelopeError::Truncated { offset: 0 }));
    assert_eq!(check(vec![2, 0, 0, 0]), Err(EnvelopeError::Version { found: 2 }));
    assert_eq!(check(frame()[..17].to_vec()), Err(EnvelopeError::Truncated { offset: 4 }));
    let mut flipped = frame();
    flipped[17] ^= 1;
    assert_eq!(check(flipped), Err(EnvelopeError::Checksum { offset: 4 }));
    let mut long = frame();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(check(long), Err(EnvelopeError::TooLong { offset: 4, length: u32::MAX, max: 18 }));
    let garbage = [0xff; 3];
    let mut unreadable = vec![1, 0, 0, 0];
    unreadable.extend(fnv1a32(&garbage).to_le_bytes());
    unreadable.extend([3, 0, 0, 0]);
    unreadable.extend(garbage);
    assert!(matches!(check(unreadable), Err(EnvelopeError::Message { offset: 4, .. })));
}

/// Numbers of fields as the protocol fixes them, on the wire.
#[test]
fn field_numbers_are_those_of_the_protocol() {
    use prost::Message as _;
    use rpp_introspection::proto::*;
    let state = State {
        subsystems: Some(Subsystems {
            connections: vec![Connection {
                latency_ns: 5,
                user_provided_tags: vec!["t".into()],
                streams: Some(StreamList {
                    stream_ids: vec![],
                    streams: vec![Stream { latency_ns: 3, user_provided_tags: vec!["u".into()], ..Stream::default() }],
                }),
                relayed_over: Some(connection::RelayedOver::ConnId(Bytes::from_static(b"r"))),
                ..Connection::default()
            }],
            dht: None,
        }),
        instant_ts: 7,
        ..State::default()
    };
    let stream = [0x80, 0x01, 3, 0x9a, 0x06, 1, b'u'];
    let list = [&[0x12, 7][..], &stream].concat();
    let connection = [&[0x50, 5, 0x5a, 9][..], &list, &[0x82, 0x01, 1, b'r', 0x9a, 0x06, 1, b't']].concat();
    let subsystems = [&[0x0a, connection.len() as u8][..], &connection].concat();
    let wire = [&[0x0a, subsystems.len() as u8][..], &subsystems, &[0x18, 7]].concat();
    assert_eq!(state.encode_to_vec(), wire);
    assert_eq!(
        Runtime { event_types: vec![EventType { name: "E".into(), property_types: vec![] }], ..Runtime::default() }
            .encode_to_vec(),
        [0x3a, 3, 0x0a, 1, b'E']
    );
}
