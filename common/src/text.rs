//! Makes text from outside safe to log or show.

use std::fmt::Write as _;

/// Text from outside is cut to this many bytes before it is kept or shown.
pub const MAX_TEXT_BYTES: usize = 512;

/// Escapes control, bidirectional and invisible characters and cuts the result to [`MAX_TEXT_BYTES`]. Text that was cut
/// ends in `…`.
///
/// Every message of a peer, agent name, label and path is shown through this function.
#[must_use]
pub fn escape(text: &str) -> String {
    const ELLIPSIS: &str = "…";
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    let mut kept = 0; // what stays if the next characters do not fit
    for c in text.chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        }
        if shown.len() > MAX_TEXT_BYTES {
            shown.truncate(kept);
            shown.push_str(ELLIPSIS);
            return shown;
        }
        if shown.len() <= MAX_TEXT_BYTES - ELLIPSIS.len() {
            kept = shown.len();
        }
    }
    shown
}

/// The longest start of `text` that has at most [`MAX_TEXT_BYTES`] and ends between characters. It is not escaped; use it
/// for text that is kept.
#[must_use]
pub fn cut(text: &str) -> &str {
    cut_to(text, MAX_TEXT_BYTES)
}

/// The longest start of `text` that has at most `most` bytes and ends between characters, not escaped.
#[must_use]
pub fn cut_to(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Control characters move a terminal's cursor. Bidirectional characters reorder the text beside them. Invisible
/// characters (soft hyphen, Mongolian vowel separator, zero widths, annotations, tags) make two different texts look
/// the same.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_stays() {
        assert_eq!(escape("disk is full: 3 GiB, größer"), "disk is full: 3 GiB, größer");
    }

    #[test]
    fn control_and_bidi_are_escaped() {
        assert_eq!(escape("a\x1b[31m\u{202e}b\n\u{7f}"), "a\\u{1b}[31m\\u{202e}b\\u{a}\\u{7f}");
    }

    #[test]
    fn every_character_that_does_harm_is_escaped_at_its_ranges_ends() {
        for (first, last) in [
            (0x00, 0x1f),
            (0x7f, 0x9f),
            (0xad, 0xad),
            (0x61c, 0x61c),
            (0x180e, 0x180e),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x206f),
            (0xfeff, 0xfeff),
            (0xfff9, 0xfffb),
            (0xe0000, 0xe007f),
        ] {
            for code in [first, last] {
                let c = char::from_u32(code).unwrap();
                assert_eq!(escape(&c.to_string()), format!("\\u{{{code:x}}}"));
            }
            for code in [first.wrapping_sub(1), last + 1] {
                if let Some(c) = char::from_u32(code) {
                    assert_eq!(escape(&c.to_string()), c.to_string(), "{code:x}");
                }
            }
        }
    }

    #[test]
    fn never_longer_than_the_bound_and_never_inside_a_character() {
        for filler in ["x", "ß", "\u{202e}", "🦀"] {
            let shown = escape(&filler.repeat(600));
            assert!(shown.len() <= MAX_TEXT_BYTES, "{}", shown.len());
            assert!(shown.ends_with('…'));
        }
        assert_eq!(escape(&"x".repeat(512)).len(), 512);
        assert_eq!(cut(&"ß".repeat(300)).len(), 512);
        assert_eq!(cut(&format!("x{}", "ß".repeat(300))).len(), 511);
        assert_eq!(cut_to("a\u{fc}", 2), "a");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_harmless_and_short(text in any::<String>(), times in 1_usize..200) {
            let shown = escape(&text.repeat(times));
            prop_assert!(shown.len() <= MAX_TEXT_BYTES && shown.chars().all(is_harmless));
            prop_assert_eq!(escape(&shown), shown);
        }
    }
}
