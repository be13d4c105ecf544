//! The kinds of events, their properties, and their announcement.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    envelope,
    proto::{self, event_type::EventProperty, event_type::event_property::PropertyType, server_message::Payload},
    text::cut,
};

use PropertyType::{Number, Peerid, String as Text, Time};

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The first connection to a peer was established.
    PeerConnected,
    /// The last connection to a peer was closed.
    PeerDisconnected,
    /// A session started, or started again.
    SessionStarted,
    /// A session made progress.
    SessionProgress,
    /// A session's payload is verified and in place.
    SessionCompleted,
    /// A session ended with an error.
    SessionFailed,
    /// What a session waits for changed.
    SessionWaiting,
    /// A peer broke the protocol.
    ProtocolViolation,
}

type Properties = &'static [(&'static str, PropertyType)];

impl Kind {
    /// All kinds, in the order in which they are announced.
    pub const ALL: [Self; 8] = [
        Self::PeerConnected,
        Self::PeerDisconnected,
        Self::SessionStarted,
        Self::SessionProgress,
        Self::SessionCompleted,
        Self::SessionFailed,
        Self::SessionWaiting,
        Self::ProtocolViolation,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerConnected => "PeerConnected",
            Self::PeerDisconnected => "PeerDisconnected",
            Self::SessionStarted => "SessionStarted",
            Self::SessionProgress => "SessionProgress",
            Self::SessionCompleted => "SessionCompleted",
            Self::SessionFailed => "SessionFailed",
            Self::SessionWaiting => "SessionWaiting",
            Self::ProtocolViolation => "ProtocolViolation",
        }
    }

    /// The properties that its content may have.
    fn properties(self) -> Properties {
        match self {
            // The observer toolkit reads a MULTIADDR as bytes, but ours is text.
            Self::PeerConnected => &[("peer", Peerid), ("address", Text), ("role", Text)],
            Self::PeerDisconnected => &[("peer", Peerid), ("address", Text), ("reason", Text)],
            Self::SessionStarted => &[
                ("session", Number),
                ("peer", Peerid),
                ("state", Text),
                ("root", Text),
                ("height", Number),
                ("total_chunks", Number),
                ("total_updates", Number),
                ("total_bytes", Number),
            ],
            Self::SessionProgress => &[
                ("session", Number),
                ("peer", Peerid),
                ("state", Text),
                ("root", Text),
                ("last_chunk_index", Number),
                ("total_chunks", Number),
                ("last_update_index", Number),
                ("total_updates", Number),
                ("confirmed_chunk_index", Number),
                ("confirmed_update_index", Number),
                ("bytes_received", Number),
                ("bytes_verified", Number),
                ("bytes_durable", Number),
                ("total_bytes", Number),
                ("bytes_per_second", Number),
            ],
            Self::SessionCompleted => &[
                ("session", Number),
                ("peer", Peerid),
                ("root", Text),
                ("height", Number),
                ("total_bytes", Number),
                ("bytes_durable", Number),
            ],
            Self::SessionFailed => &[("session", Number), ("peer", Peerid), ("code", Text), ("error", Text)],
            Self::SessionWaiting => &[
                ("session", Number),
                ("peer", Peerid),
                ("state", Text),
                ("what", Text),
                ("index", Number),
                ("on", Text),
                ("since", Time),
                ("reason", Text),
                ("retry_at", Time),
            ],
            Self::ProtocolViolation => &[("peer", Peerid), ("session", Number), ("reason", Text)],
        }
    }

    /// The announcement: the name with the types of all properties.
    #[must_use]
    pub fn announcement(self) -> proto::EventType {
        let property = |(name, kind): &(&str, PropertyType)| EventProperty {
            name: (*name).to_owned(),
            r#type: (*kind).into(),
            has_multiple: false,
        };
        proto::EventType {
            name: self.name().to_owned(),
            property_types: self.properties().iter().map(property).collect(),
        }
    }
}

/// An event that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    kind: Kind,
    at_ms: u64,
    content: Map<String, Value>,
}

impl Event {
    pub(crate) fn new(kind: Kind, at_ms: u64) -> Self {
        Self { kind, at_ms, content: Map::new() }
    }

    /// Sets a property; one without a value is left out. A property that is not announced is not sent.
    pub(crate) fn with<V: IntoProperty>(mut self, name: &'static str, value: V) -> Self {
        debug_assert!(self.kind.properties().iter().any(|(known, _)| *known == name), "{name} is not announced");
        if let Some(value) = value.into_property() {
            self.content.insert(name.to_owned(), value);
        }
        self
    }

    /// The kind of event.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Its properties.
    #[must_use]
    pub fn content(&self) -> &Map<String, Value> {
        &self.content
    }

    pub(crate) fn frame(&self) -> Frame {
        let event = proto::Event {
            r#type: Some(proto::EventType { name: self.kind.name().to_owned(), property_types: Vec::new() }),
            ts: self.at_ms,
            content: Value::Object(self.content.clone()).to_string(),
        };
        Frame { at_ms: self.at_ms, bytes: envelope::encode(Payload::Event(event)) }
    }
}

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it happened.
    pub(crate) at_ms: u64,
    /// The complete WebSocket message.
    pub(crate) bytes: Bytes,
}

/// A property's value, if it has one.
pub(crate) trait IntoProperty {
    fn into_property(self) -> Option<Value>;
}

impl IntoProperty for u64 {
    fn into_property(self) -> Option<Value> {
        Some(self.into())
    }
}

impl IntoProperty for &str {
    /// The text may come from a stranger. It is cut here; whoever shows it must escape it.
    fn into_property(self) -> Option<Value> {
        Some(cut(self).into())
    }
}

impl IntoProperty for &String {
    fn into_property(self) -> Option<Value> {
        self.as_str().into_property()
    }
}

impl<V: IntoProperty> IntoProperty for Option<V> {
    fn into_property(self) -> Option<Value> {
        self.and_then(V::into_property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_carries_the_name_alone_and_its_content_as_json() {
        let event =
            Event::new(Kind::ProtocolViolation, 7).with("peer", "P").with("session", 3).with("reason", None::<u64>);
        let message = envelope::messages(event.frame().bytes).unwrap().next().unwrap().unwrap().message;
        let Some(Payload::Event(event)) = message.payload else { panic!("{message:?}") };
        assert_eq!(
            event.r#type.unwrap(),
            proto::EventType { name: "ProtocolViolation".into(), property_types: vec![] }
        );
        assert_eq!((event.ts, event.content.as_str()), (7, r#"{"peer":"P","session":3}"#));
    }

    #[test]
    fn every_kind_is_announced_with_typed_properties() {
        for kind in Kind::ALL {
            let announced = kind.announcement();
            assert_eq!(announced.name, kind.name());
            assert!(announced.property_types.iter().any(|property| property.r#type() == Peerid), "{}", kind.name());
        }
    }

    #[test]
    fn a_text_is_cut_to_its_bound() {
        let event = Event::new(Kind::SessionFailed, 0).with("error", "x".repeat(10_000).as_str());
        assert_eq!(event.content()["error"].as_str().unwrap().len(), crate::limits::MAX_TEXT_BYTES);
    }
}
