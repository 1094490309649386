//! Invisible characters, which make a text look like another one.
//!
//! Usage is billed by identifiers and names, so new ones must not hold any: a right-to-left override or a zero-width space makes
//! two of them look alike.

use super::limits::NAME_CHARS_MAX;

/// The general category Cf of Unicode 16.0: first and last of each range, in order.
const FORMAT: [(char, char); 21] = [
    ('\u{AD}', '\u{AD}'),
    ('\u{600}', '\u{605}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{6DD}', '\u{6DD}'),
    ('\u{70F}', '\u{70F}'),
    ('\u{890}', '\u{891}'),
    ('\u{8E2}', '\u{8E2}'),
    ('\u{180E}', '\u{180E}'),
    ('\u{200B}', '\u{200F}'),
    ('\u{202A}', '\u{202E}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206F}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFF9}', '\u{FFFB}'),
    ('\u{110BD}', '\u{110BD}'),
    ('\u{110CD}', '\u{110CD}'),
    ('\u{13430}', '\u{1343F}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{E0001}', '\u{E0001}'),
    ('\u{E0020}', '\u{E007F}'),
];

/// Whether a character is a format character (Cf), or separates lines or paragraphs (Zl, Zp).
#[must_use]
pub fn is_format_character(character: char) -> bool {
    // Nearly every character of an identifier is ASCII, which has none.
    !character.is_ascii()
        && (matches!(character, '\u{2028}' | '\u{2029}')
            || FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&character)))
}

/// The first character of a text that is a control or a format character.
#[must_use]
pub fn first_unprintable(text: &str) -> Option<char> {
    text.chars().find(|character| character.is_control() || is_format_character(*character))
}

/// A character as Unicode writes it, such as `U+202E`.
#[must_use]
pub fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// Checks a display name: at most [`NAME_CHARS_MAX`] characters, none of which is invisible.
///
/// # Errors
/// What is wrong with it.
pub fn check_new_name(name: &str) -> Result<(), String> {
    let chars = name.chars().count();
    if chars > NAME_CHARS_MAX {
        return Err(format!("has {chars} characters, at most {NAME_CHARS_MAX} are allowed"));
    }
    check_printable(name)
}

/// Checks that a text has no control and no invisible characters.
///
/// # Errors
/// Which one it has.
pub fn check_printable(text: &str) -> Result<(), String> {
    first_unprintable(text).map_or(Ok(()), |found| {
        Err(format!(
            "must not contain control or invisible characters, but has {}",
            code_point(found)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_do_not_overlap() {
        for (one, next) in FORMAT.iter().zip(FORMAT.iter().skip(1)) {
            assert!(one.0 <= one.1 && one.1 < next.0, "{one:?} {next:?}");
        }
    }

    #[test]
    fn invisible_characters_are_found() {
        for character in ['\u{AD}', '\u{200B}', '\u{200E}', '\u{202E}', '\u{2028}', '\u{E0041}'] {
            assert!(is_format_character(character), "{}", code_point(character));
            assert_eq!(first_unprintable(&format!("a{character}b")), Some(character));
        }
        assert_eq!(first_unprintable("a\tb"), Some('\t'));
        for character in ['a', 'é', 'ж', '中', '\u{301}', '\u{A0}', '\u{2027}', '\u{202F}', '🙂']
        {
            assert!(!is_format_character(character), "{}", code_point(character));
        }
        assert_eq!(first_unprintable("plain text, ж and 中"), None);
    }

    #[test]
    fn code_points_are_written_as_unicode_does() {
        assert_eq!(
            ['\0', '\u{202E}', '\u{E0041}'].map(code_point),
            ["U+0000", "U+202E", "U+E0041"]
        );
    }
}
