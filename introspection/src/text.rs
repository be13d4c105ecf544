//! Text from outside.

pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(512)]
}

pub(crate) fn escape(text: &str) -> String {
    cut(text).escape_debug().to_string()
}
