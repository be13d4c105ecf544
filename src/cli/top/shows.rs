//! What a terminal can show: colours, and characters beyond ASCII.

use std::ffi::OsString;

use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier},
};

/// What the environment says about the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shows {
    /// Whether the terminal can be drawn on at all.
    pub(super) screen: bool,
    colours: bool,
    unicode: bool,
}

impl Shows {
    /// Decides by environment variables, which `get` reads.
    pub(super) fn of(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| get(name).filter(|value| !value.is_empty());
        // The first of these that is set decides. If none is set, the terminal is assumed to have UTF-8, as most have.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let unicode = locale.is_none_or(|locale| {
            let locale = locale.to_string_lossy().to_ascii_lowercase();
            locale.ends_with("utf-8") || locale.ends_with("utf8")
        });
        Self { screen: set("TERM").is_some_and(|term| term != "dumb"), colours: set("NO_COLOR").is_none(), unicode }
    }

    /// Removes from a picture everything that the terminal cannot show.
    pub(super) fn fit(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            if !self.colours {
                if cell.bg != Color::Reset {
                    cell.modifier.insert(Modifier::REVERSED);
                }
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
            if !self.unicode && !cell.symbol().is_ascii() {
                let ascii = cell.symbol().chars().next().map_or(' ', ascii);
                cell.set_char(ascii);
            }
        }
    }

    /// The same for text.
    pub(super) fn text(self, text: String) -> String {
        match self.unicode {
            true => text,
            false => text.chars().map(ascii).collect(),
        }
    }
}

/// The ASCII character that replaces another one.
fn ascii(shown: char) -> char {
    match shown {
        '\u{0}'..='\u{7f}' => shown,
        '\u{2588}' => '#',
        '\u{2593}' => '=',
        '\u{2592}' => '-',
        '\u{2591}' | '\u{2581}' | '\u{2582}' => '.',
        '\u{2583}' | '\u{2584}' | '\u{2585}' => ':',
        '\u{2586}' | '\u{2587}' => '|',
        '\u{25b8}' => '>',
        '\u{25cf}' => '*',
        '\u{25cb}' => 'o',
        '\u{2026}' => '~',
        '\u{2191}' => '^',
        '\u{2193}' => 'v',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{layout::Rect, style::Style};

    use super::*;

    fn shows(set: &[(&str, &str)]) -> Shows {
        Shows::of(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_environment_says_what_is_shown() {
        let of = |set: &[(&str, &str)]| {
            let Shows { screen, colours, unicode } = shows(set);
            (screen, colours, unicode)
        };
        assert_eq!(of(&[("TERM", "xterm")]), (true, true, true));
        assert_eq!(of(&[("TERM", "dumb"), ("NO_COLOR", ""), ("LC_ALL", "")]), (false, true, true));
        assert_eq!(of(&[]), (false, true, true));
        assert_eq!(of(&[("TERM", "vt100"), ("NO_COLOR", "1"), ("LANG", "C")]), (true, false, false));
        assert_eq!(of(&[("TERM", "vt100"), ("LC_ALL", "C.UTF-8"), ("LANG", "C")]), (true, true, true));
        assert_eq!(
            of(&[("TERM", "vt100"), ("LC_CTYPE", "de_DE.iso88591"), ("LANG", "de_DE.utf8")]),
            (true, true, false)
        );
    }

    #[test]
    fn colours_and_letters_are_taken_out_and_what_was_marked_stays_marked() {
        let area = Rect::new(0, 0, 6, 1);
        let mut buffer = Buffer::empty(area);
        buffer.set_string(0, 0, "\u{2588}\u{25b8}a\u{e9}", Style::new().fg(Color::Red).bg(Color::Yellow));
        let whole = buffer.clone();
        shows(&[]).fit(&mut buffer);
        assert_eq!(buffer, whole);
        shows(&[("NO_COLOR", "1"), ("LANG", "C")]).fit(&mut buffer);
        let row: String = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert_eq!(row, "#>a?  ");
        assert!(buffer.content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
        assert!(buffer.content[0].modifier.contains(Modifier::REVERSED));
        assert_eq!(shows(&[("LANG", "C")]).text("12D3Ko\u{2026}".into()), "12D3Ko~");
    }
}
