//! Text that came from outside, made fit for logs and messages.

use std::fmt::Write as _;

use crate::limits::MAX_TEXT_BYTES;

/// At most 512 bytes of `text`, with control, bidirectional and invisible characters escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    for c in text.chars() {
        let before = out.len();
        if is_unsafe(c) {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
        if out.len() > MAX_TEXT_BYTES {
            out.truncate(before);
            return cut(&out, MAX_TEXT_BYTES - '\u{2026}'.len_utf8()).to_owned() + "\u{2026}";
        }
    }
    out
}

/// The longest start of `text` that has at most `max` bytes and ends between characters.
#[must_use]
pub(crate) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_cuts() {
        assert_eq!(escape("plain - \u{fc}ber"), "plain - \u{fc}ber");
        assert_eq!(escape("a\nb\u{202e}c\u{7f}"), "a\\u{a}b\\u{202e}c\\u{7f}");
        for text in ["x".repeat(9999), "\u{1f600}".repeat(300), "\u{202e}".repeat(300)] {
            let shown = escape(&text);
            assert!(shown.len() <= MAX_TEXT_BYTES && shown.ends_with('\u{2026}'), "{}", shown.len());
        }
        assert_eq!(cut("a\u{fc}", 2), "a");
    }
}
