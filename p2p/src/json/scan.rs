//! The strict scanner. It splits a document into raw slices, and checks every byte of it.

use std::borrow::Cow;

use super::DecodeError;
use crate::{
    limits::{MAX_JSON_DEPTH, MAX_JSON_MEMBERS},
    text::escape,
};

/// The members of an object; each value is still raw text.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// Splits a document that must be one object; white space around it is allowed.
pub(super) fn document(text: &str) -> Result<Members<'_>, DecodeError> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.white_space();
    let members = scanner.object(1)?;
    scanner.white_space();
    match scanner.peek() {
        None => Ok(members),
        Some(_) => Err(scanner.wrong("something after the document")),
    }
}

/// Splits a raw value that [`document`] has checked. `None` if it is not an object.
pub(super) fn object(raw: &str) -> Option<Members<'_>> {
    Scanner { text: raw, at: 0 }.object(1).ok()
}

/// Splits a raw value that [`document`] has checked into at most `most` elements. `None` if it is not an array, or a
/// longer one.
pub(super) fn array(raw: &str, most: usize) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let mut scanner = Scanner { text: raw, at: 0 };
    scanner
        .array(1, |element| {
            elements.push(element);
            elements.len() <= most
        })
        .ok()?;
    (elements.len() <= most).then_some(elements)
}

/// The content of a raw string that [`document`] has checked. `None` if it is not a string.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    Scanner { text: raw, at: 0 }.string().ok()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, what: &'static str) -> DecodeError {
        if self.at < self.text.len() { DecodeError::Syntax { at: self.at, what } } else { self.cut() }
    }

    /// The error for a text that could still have become a document.
    fn cut(&self) -> DecodeError {
        DecodeError::Incomplete { at: self.text.len() }
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), DecodeError> {
        if self.peek() != Some(byte) {
            return Err(self.wrong(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Skips one value and returns its text. `depth` counts the objects and arrays around it, including itself.
    fn value(&mut self, depth: usize) -> Result<&'a str, DecodeError> {
        let start = self.at;
        match self.peek() {
            Some(b'{') => drop(self.object(depth)?),
            Some(b'[') => self.array(depth, |_| true)?,
            Some(b'"') => self.skip_string().map(drop)?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.wrong("a value is expected")),
        }
        Ok(&self.text[start..self.at])
    }

    fn object(&mut self, depth: usize) -> Result<Members<'a>, DecodeError> {
        self.expect(b'{', "an object is expected")?;
        self.check_depth(depth)?;
        let mut members: Members<'a> = Vec::new();
        self.white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            if members.len() == MAX_JSON_MEMBERS {
                return Err(DecodeError::TooManyMembers);
            }
            self.white_space();
            let key = self.string()?;
            self.white_space();
            self.expect(b':', "a colon is expected")?;
            self.white_space();
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.wrong("a comma or the end of the object is expected")),
            }
        }
        self.at += 1;
        check_keys(&members)?;
        Ok(members)
    }

    fn array(&mut self, depth: usize, mut element: impl FnMut(&'a str) -> bool) -> Result<(), DecodeError> {
        self.expect(b'[', "an array is expected")?;
        self.check_depth(depth)?;
        self.white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.white_space();
            let value = self.value(depth + 1)?;
            if !element(value) {
                return Err(self.wrong("too many elements"));
            }
            self.white_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.wrong("a comma or the end of the array is expected")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_JSON_DEPTH { Err(DecodeError::TooDeep { at: self.at - 1 }) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), DecodeError> {
        let rest = &self.text.as_bytes()[self.at..];
        if !rest.starts_with(word.as_bytes()) {
            return Err(if word.as_bytes().starts_with(rest) { self.cut() } else { self.wrong("a value is expected") });
        }
        self.at += word.len();
        Ok(())
    }

    /// Any JSON number; the reader of the field decides which ones it accepts.
    fn number(&mut self) -> Result<(), DecodeError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit is expected")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let (inner, escaped) = self.skip_string()?;
        if !escaped {
            return Ok(Cow::Borrowed(inner));
        }
        // Rare: names and base64 need no escapes. `serde_json` reads exactly the escapes that JSON has, surrogates
        // included.
        serde_json::from_str(&self.text[self.at - inner.len() - 2..self.at])
            .map(Cow::Owned)
            .map_err(|_| self.wrong("an escape that makes no character"))
    }

    /// Skips a string; returns what is between its quotes, and whether it has an escape. Plain text is skipped in
    /// blocks, which the compiler turns into vector code.
    fn skip_string(&mut self) -> Result<(&'a str, bool), DecodeError> {
        const BLOCK: usize = 64;
        self.expect(b'"', "a string is expected")?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            let block = &bytes[self.at..bytes.len().min(self.at + BLOCK)];
            if block.is_empty() {
                return Err(self.wrong("the end of the string is missing"));
            }
            if block.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
                self.at += block.len();
                continue;
            }
            let end = self.at + block.len();
            while self.at < end {
                match bytes[self.at] {
                    b'"' => {
                        self.at += 1;
                        return Ok((&self.text[start..self.at - 1], escaped));
                    }
                    b'\\' => {
                        escaped = true;
                        self.escape()?;
                    }
                    byte if byte < b' ' => return Err(self.wrong("a control character in a string")),
                    _ => self.at += 1,
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), DecodeError> {
        let unit = self.unit()?;
        match unit {
            Some(0xdc00..=0xdfff) => Err(self.wrong("half a surrogate pair")),
            Some(0xd800..=0xdbff) => match self.unit() {
                Ok(Some(0xdc00..=0xdfff)) => Ok(()),
                Err(cut @ DecodeError::Incomplete { .. }) => Err(cut),
                _ => Err(self.wrong("half a surrogate pair")),
            },
            _ => Ok(()),
        }
    }

    /// One escape; returns its number if it is a `\u`.
    fn unit(&mut self) -> Result<Option<u16>, DecodeError> {
        let bytes = self.text.as_bytes();
        if self.peek() != Some(b'\\') {
            return Err(self.wrong("an escape is expected"));
        }
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(None)
            }
            Some(b'u') => {
                let digits = &bytes[self.at + 2..bytes.len().min(self.at + 6)];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.wrong("four hex digits are expected"));
                }
                if digits.len() < 4 {
                    return Err(self.cut());
                }
                let unit = digits.iter().fold(0, |unit, digit| unit * 16 + hex_digit(*digit));
                self.at += 6;
                Ok(Some(unit))
            }
            Some(_) => Err(self.wrong("an unknown escape")),
            None => Err(self.cut()),
        }
    }
}

fn hex_digit(digit: u8) -> u16 {
    u16::from(match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    })
}

fn is_plain(byte: u8) -> bool {
    (byte != b'"') & (byte != b'\\') & (byte >= b' ')
}

fn check_keys(members: &Members<'_>) -> Result<(), DecodeError> {
    const FEW: usize = 8;
    let twice = if members.len() <= FEW {
        members
            .iter()
            .enumerate()
            .find(|(place, (key, _))| members[..*place].iter().any(|(other, _)| other == key))
            .map(|(_, (key, _))| key.as_ref())
    } else {
        let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    };
    twice.map_or(Ok(()), |key| Err(DecodeError::DuplicateKey { key: escape(key) }))
}
