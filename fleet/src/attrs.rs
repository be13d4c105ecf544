//! Attributes of nodes and edges.

use std::time::Duration;

use rpp_common::text::cut_to;

use crate::limits::{MAX_ATTRS, MAX_TEXT_BYTES};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A count.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A measured value.
    Float(f64),
    /// A text, cut to 512 bytes.
    Text(Box<str>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

value_from!(bool => Bool, u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned,
    i32 => Signed, i64 => Signed, f64 => Float);

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Unsigned(value as u64)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(cut_to(text, MAX_TEXT_BYTES).into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// Milliseconds; name the attribute `..._ms`.
impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Unsigned(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The attributes of one node or edge, in the order in which they were set. At most 32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(Vec<(&'static str, Value)>);

impl Attrs {
    /// Sets `name`; an earlier value of that name is replaced.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        if let Some((_, old)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
        } else if self.0.len() < MAX_ATTRS {
            self.0.push((name, value));
        }
        self
    }

    /// The JSON text for the wire. It includes what `about` adds, except attributes that were set under the same names.
    ///
    /// Written by hand, because a graph has thousands of these and must be taken quickly. `json` is the buffer; its
    /// content is overwritten.
    pub(crate) fn to_json(&self, about: &About<'_>, json: &mut String) -> Box<str> {
        json.clear();
        json.push('{');
        if self.lacks("age_ms") {
            json.push_str("\"age_ms\":");
            push_unsigned(json, u64::try_from(about.age.as_millis()).unwrap_or(u64::MAX));
        }
        for (name, value) in &self.0 {
            if json.len() > 1 {
                json.push(',');
            }
            push_text(json, name);
            json.push(':');
            value.push_to(json);
        }
        if let Some(label) = about.label.filter(|_| self.lacks("label")) {
            json.push_str(if json.len() > 1 { ",\"label\":" } else { "\"label\":" });
            push_text(json, label);
        }
        if about.exchange && self.lacks("elapsed_ns") {
            json.push_str(if json.len() > 1 { ",\"elapsed_ns\":" } else { "\"elapsed_ns\":" });
            push_unsigned(json, u64::try_from(about.age.as_nanos()).unwrap_or(u64::MAX));
        }
        if let Some(Origin { created_at, source }) = about.origin {
            if self.lacks("created_at") {
                json.push_str(if json.len() > 1 { ",\"created_at\":" } else { "\"created_at\":" });
                push_unsigned(json, created_at);
            }
            if self.lacks("source") {
                json.push_str(if json.len() > 1 { ",\"source\":" } else { "\"source\":" });
                push_text(json, source);
            }
        }
        json.push('}');
        json.as_str().into()
    }

    fn lacks(&self, name: &str) -> bool {
        !self.0.iter().any(|(known, _)| *known == name)
    }
}

/// Attributes of a node or edge that are added to those that were set. The dashboard of peeps reads these names.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// How long it has existed: `age_ms`.
    pub(crate) age: Duration,
    /// A node's `label`.
    pub(crate) label: Option<&'a str>,
    /// Whether it is a request or a response, which has `elapsed_ns`.
    pub(crate) exchange: bool,
    /// Set for nodes only.
    pub(crate) origin: Option<Origin<'a>>,
}

/// The newest dashboard of peeps requires both. If one is missing, it stores nothing of the whole graph.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// When the node was added, in nanoseconds since 1970: `created_at`.
    pub(crate) created_at: u64,
    /// The name of the process that reports it: `source`.
    pub(crate) source: &'a str,
}

impl Value {
    fn push_to(&self, json: &mut String) {
        match self {
            Self::Bool(flag) => json.push_str(if *flag { "true" } else { "false" }),
            Self::Unsigned(number) => push_unsigned(json, *number),
            Self::Signed(number) => {
                if *number < 0 {
                    json.push('-');
                }
                push_unsigned(json, number.unsigned_abs());
            }
            // Floats are rare, so serde_json writes them.
            Self::Float(number) => json.push_str(&serde_json::to_string(number).unwrap_or_else(|_| "null".into())),
            Self::Text(text) => push_text(json, text),
        }
    }
}

fn push_text(json: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        json.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into()));
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

fn push_unsigned(json: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        // One decimal digit.
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    json.push_str(std::str::from_utf8(&digits[start..]).unwrap_or("0"));
}

/// What can be given as attributes: `()`, a closure that sets them, or an array of pairs.
///
/// None of it is evaluated while the registry is off.
pub trait IntoAttrs {
    /// The attributes.
    fn into_attrs(self) -> Attrs;
}

impl IntoAttrs for () {
    fn into_attrs(self) -> Attrs {
        Attrs::default()
    }
}

impl IntoAttrs for Attrs {
    fn into_attrs(self) -> Attrs {
        self
    }
}

impl<F: FnOnce(&mut Attrs)> IntoAttrs for F {
    fn into_attrs(self) -> Attrs {
        let mut attrs = Attrs::default();
        self(&mut attrs);
        attrs
    }
}

impl<V: Into<Value>, const N: usize> IntoAttrs for [(&'static str, V); N] {
    fn into_attrs(self) -> Attrs {
        let mut attrs = Attrs::default();
        for (name, value) in self {
            attrs.set(name, value);
        }
        attrs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(age: Duration) -> About<'static> {
        About { age, label: None, exchange: false, origin: None }
    }

    #[test]
    fn json_with_age() {
        let attrs = [("peer", Value::from("x\"y")), ("bytes", 7u64.into()), ("peer", "z".into())].into_attrs();
        assert_eq!(
            &*attrs.to_json(&aged(Duration::from_millis(12)), &mut String::new()),
            r#"{"age_ms":12,"peer":"z","bytes":7}"#
        );
        let own = (|a: &mut Attrs| {
            a.set("age_ms", Duration::from_secs(1)).set("fill", 0.5).set("nan", f64::NAN);
        })
        .into_attrs();
        assert_eq!(
            &*own.to_json(&aged(Duration::ZERO), &mut String::new()),
            r#"{"age_ms":1000,"fill":0.5,"nan":null}"#
        );
        let mut numbers = Attrs::default();
        numbers.set("a", u64::MAX).set("b", i64::MIN).set("c", 0u64).set("d", "t\ta\u{fc}\\").set("e", true);
        assert_eq!(
            &*numbers.to_json(&aged(Duration::MAX), &mut String::new()),
            r#"{"age_ms":18446744073709551615,"a":18446744073709551615,"b":-9223372036854775808,"c":0,"d":"t\taü\\","e":true}"#
        );
        assert_eq!(&*().into_attrs().to_json(&aged(Duration::ZERO), &mut String::new()), r#"{"age_ms":0}"#);
    }

    #[test]
    fn label_and_time_as_the_dashboard_of_peeps_reads_them() {
        let origin = Some(Origin { created_at: 1_795_872_106_321_239_130, source: "provider" });
        let about = About { age: Duration::from_micros(1500), label: Some("a \"b\""), exchange: true, origin };
        let json = |attrs: Attrs| attrs.to_json(&about, &mut String::new());
        assert_eq!(
            &*json(Attrs::default()),
            r#"{"age_ms":1,"label":"a \"b\"","elapsed_ns":1500000,"created_at":1795872106321239130,"source":"provider"}"#
        );
        let own = [
            ("label", Value::from("mine")),
            ("age_ms", 2u64.into()),
            ("elapsed_ns", 3u64.into()),
            ("created_at", 4u64.into()),
            ("source", "main.rs:7".into()),
        ]
        .into_attrs();
        assert_eq!(&*json(own), r#"{"label":"mine","age_ms":2,"elapsed_ns":3,"created_at":4,"source":"main.rs:7"}"#);
    }

    #[test]
    fn bounded() {
        let Value::Text(text) = Value::from("\u{fc}".repeat(600)) else { panic!("a text") };
        assert_eq!(text.len(), MAX_TEXT_BYTES);
        let mut attrs = Attrs::default();
        for i in 0..100u64 {
            attrs.set(Box::leak(i.to_string().into_boxed_str()), i);
        }
        assert_eq!(attrs.0.len(), MAX_ATTRS);
    }
}
