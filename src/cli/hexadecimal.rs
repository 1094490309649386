//! Hashes as text, and links of the log read back from it.

use std::fmt::Write as _;

use crate::store::LINK_BYTES;

/// Two lower-case digits for each byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A link of the log, if the text is what [`hexadecimal`] makes of one.
pub(super) fn link(text: &str) -> Option<[u8; LINK_BYTES]> {
    let digits = |at: usize| text.get(2 * at..2 * at + 2);
    let bytes = (0..LINK_BYTES).map(|at| u8::from_str_radix(digits(at)?, 16).ok());
    let link: [u8; LINK_BYTES] = bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    // `from_str_radix` takes signs as well.
    (text == hexadecimal(&link)).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_digits_of_a_link_are_one() {
        assert_eq!(link(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(hexadecimal(&[0, 15, 255]), "000fff");
        for text in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &format!("{}0", "0f".repeat(31))]
        {
            assert_eq!(link(text), None, "{text}");
        }
        for text in ["0F", "+f"].map(|digits| digits.repeat(32)) {
            assert_eq!(link(&text), None, "{text}");
        }
    }
}
