//! Text of unknown origin on a terminal.

/// The text with its control characters written out: what an image, a registry or a guest says must not
/// move the cursor, color the screen or hide a line.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Marks that change the direction of what follows.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out_and_other_text_stays() {
        assert_eq!(
            printable("\x1b[2Jh\u{e9}llo\n\u{202e}x\u{9b}"),
            "\\u{1b}[2Jh\u{e9}llo\\n\\u{202e}x\\u{9b}"
        );
    }
}
