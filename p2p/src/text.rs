//! Text that came from outside, made safe to log or show.

use std::fmt::Write as _;

use crate::limits::MAX_PEER_TEXT_BYTES;

/// Escapes control and bidirectional characters and cuts the result to 512 bytes.
///
/// The one helper through which messages of peers, agent names and labels are shown. What was cut ends in `…`.
#[must_use]
pub fn escape(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    let mut shown = String::with_capacity(text.len().min(MAX_PEER_TEXT_BYTES));
    let mut kept = 0; // what stays if the next characters do not fit
    for c in text.chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
        if shown.len() > MAX_PEER_TEXT_BYTES {
            shown.truncate(kept);
            shown.push_str(ELLIPSIS);
            return shown;
        }
        if shown.len() <= MAX_PEER_TEXT_BYTES - ELLIPSIS.len() {
            kept = shown.len();
        }
    }
    shown
}

/// Cuts text to 512 bytes at a character's edge, without escaping: what is kept of a peer's words.
#[must_use]
pub fn cut(text: &str) -> &str {
    if text.len() <= MAX_PEER_TEXT_BYTES {
        return text;
    }
    let mut end = MAX_PEER_TEXT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What a panic said, escaped.
pub(crate) fn of_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&'static str>().copied();
    escape(words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message"))
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        assert_eq!(escape("disk is full: 3 GiB, größer"), "disk is full: 3 GiB, größer");
    }

    #[test]
    fn control_and_bidi_are_escaped() {
        assert_eq!(escape("a\x1b[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}");
    }

    #[test]
    fn never_longer_than_the_bound_and_never_inside_a_character() {
        for filler in ["x", "ß", "\u{202e}", "🦀"] {
            let shown = escape(&filler.repeat(600));
            assert!(shown.len() <= MAX_PEER_TEXT_BYTES, "{}", shown.len());
            assert!(shown.ends_with('…'));
        }
        assert_eq!(escape(&"x".repeat(512)).len(), 512);
        assert_eq!(cut(&"ß".repeat(300)).len(), 512);
        assert_eq!(cut(&format!("x{}", "ß".repeat(300))).len(), 511);
    }
}
