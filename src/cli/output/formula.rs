//! Cells that spreadsheets would take for formulas.

/// What formulas begin with, and white space that spreadsheets read over in front of them (OWASP, CSV injection); the second
/// half is what East Asian keyboards write.
const BEGINNINGS: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}'];

/// A cell that is shown as it is: with a quotation mark in front of what could be a formula. Numbers stay numbers.
pub(super) fn neutral(cell: &str) -> String {
    if cell.starts_with(BEGINNINGS) && !is_number(cell) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

/// Whether a cell is a decimal number: anything else that can be added up could also be a formula.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole) && are_digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formula_gets_a_quotation_mark() {
        for cell in [
            "=cmd|'/C calc'!A0",
            "+1+2",
            "-1-2",
            "-",
            "-5e3",
            "-5.",
            "-.5",
            "@SUM(1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
        ] {
            assert_eq!(neutral(cell), format!("'{cell}"));
        }
    }

    #[test]
    fn number_and_plain_text_stay_as_they_are() {
        for cell in ["-5", "+5", "-0.25", "12", "", "a=b", "/v1/x", "'x", "2026-11-20T00:00:00Z"] {
            assert_eq!(neutral(cell), cell);
        }
    }
}
