//! Tables for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};

/// Lines above and below, and under the header; none between rows.
const STYLE: TableStyle = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// A table with a header; columns named in `right` are flush right.
pub(crate) fn table(header: &[&str], right: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled).set_header(
        header.iter().map(|name| Cell::new(name).set_alignment(alignment(name, right))),
    );
    for (at, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(alignment(name, right));
        }
    }
    table
}

fn alignment(name: &str, right: &[&str]) -> CellAlignment {
    if right.contains(&name) { CellAlignment::Right } else { CellAlignment::Left }
}

/// The table as lines without blanks at their ends.
pub(crate) fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
