//! Tables for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, TableStyle, presets};

use crate::domain::format_character::is_format_character;

/// Lines above and below, and under the header; none between rows.
const STYLE: TableStyle = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// A table that shows every character of its cells.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Adds a row.
    pub(crate) fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| visible(cell.as_ref()));
        self.0.add_row(cells.collect::<Vec<_>>());
    }

    /// Adds several rows.
    pub(crate) fn add_rows<T: AsRef<str>, R: IntoIterator<Item = T>>(
        &mut self,
        rows: impl IntoIterator<Item = R>,
    ) {
        rows.into_iter().for_each(|row| self.add_row(row));
    }
}

/// A table with a header; columns named in `right` are flush right.
pub(crate) fn table(header: &[&str], right: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled).set_header(
        header.iter().map(|name| Cell::new(name).set_alignment(alignment(name, right))),
    );
    for (at, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(alignment(name, right));
        }
    }
    Table(table)
}

fn alignment(name: &str, right: &[&str]) -> CellAlignment {
    if right.contains(&name) { CellAlignment::Right } else { CellAlignment::Left }
}

/// A text whose control and format characters are written out: one that turns the direction of writing around, or that moves
/// the cursor, would make a terminal show something else than what is there.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_format_character(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The table as lines without blanks at their ends.
pub(crate) fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.0.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_character_of_a_cell_is_escaped() {
        let mut table = table(&["id"], &[]);
        table.add_row(["a\u{202E}b\u{1B}[2J\u{200B}", "größe-中"]);
        let shown = render(&table);
        assert!(shown.contains("a\\u{202e}b\\u{1b}[2J\\u{200b}"), "{shown}");
        assert!(shown.contains("größe-中"), "{shown}");
    }
}
