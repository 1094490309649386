//! Horizontal bars of Unicode blocks.

use std::fmt::Write as _;

use super::grouped;

/// Eighths of a column, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const CYAN: &str = "\u{1b}[36m";
const RESET: &str = "\u{1b}[0m";

/// Draws one line for each label and quantity. The longest bar fills what `width` leaves; a quantity
/// above zero always shows.
pub(crate) fn bars(rows: &[(String, u128)], width: usize, colour: bool) -> String {
    let labels = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let numbers = rows.iter().map(|(_, quantity)| grouped(*quantity).len()).max().unwrap_or(0);
    let columns = width.saturating_sub(labels + numbers + 4).max(8) as u128;
    let largest = rows.iter().map(|(_, quantity)| *quantity).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for (label, quantity) in rows {
        let eighths = eighths(*quantity, largest, columns * 8);
        let mut bar = "█".repeat(eighths / 8);
        bar.push_str(EIGHTHS.get(eighths % 8).copied().unwrap_or_default());
        if colour && !bar.is_empty() {
            bar = format!("{CYAN}{bar}{RESET}");
        }
        let number = grouped(*quantity);
        let line = format!("{label:<labels$}  {number:>numbers$}  {bar}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `quantity / largest` of `full`, rounded down, but at least one for what is not zero.
fn eighths(quantity: u128, largest: u128, full: u128) -> usize {
    // Quantities may fill 128 bits; giving up low bits of both keeps their ratio.
    let spare = largest.leading_zeros();
    let (quantity_scaled, largest_scaled) =
        if spare >= 16 { (quantity, largest) } else { (quantity >> 16, largest >> 16) };
    let length = quantity_scaled * full / largest_scaled.max(1);
    usize::try_from(length).unwrap_or(usize::MAX).max(usize::from(quantity > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_the_quantities() {
        let rows = [("a", 0), ("bb", 1), ("c", 500), ("d", 1000)];
        let rows: Vec<_> = rows.map(|(label, quantity)| (label.to_owned(), quantity)).into();
        assert_eq!(
            bars(&rows, 19, false),
            "a       0\n\
             bb      1  ▏\n\
             c     500  ████\n\
             d   1,000  ████████\n"
        );
    }

    #[test]
    fn the_largest_quantities_do_not_overflow() {
        assert_eq!(eighths(u128::MAX, u128::MAX, 1600), 1600);
        assert_eq!(eighths(u128::MAX / 2, u128::MAX, 1600), 799);
    }
}
