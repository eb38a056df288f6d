//! Lines of cells that stand under each other.

use std::io::{self, Write};

use anstyle::Style;

use super::cells::width;

/// Cells wider than this do not widen their column: one long text must not push all others away.
const MAX_WIDTH: usize = 48;
const GAP: &str = "  ";

/// One column: its name, its side, its width.
pub struct Column {
    name: String,
    right: bool,
    width: usize,
}

impl Column {
    /// A column as wide as its name. `right` lines its cells up at the right.
    pub fn new(name: &str, right: bool) -> Self {
        Self {
            name: name.to_owned(),
            right,
            width: width(name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the column as wide as `cell`.
    pub fn fit(&mut self, cell: &str) {
        self.width = self.width.max(width(cell).min(MAX_WIDTH));
    }
}

/// Writes the columns' names.
pub fn write_names(out: &mut impl Write, columns: &[Column], style: Style) -> io::Result<()> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let mut line = Vec::new();
    write_cells(&mut line, columns, &names)?;
    let line = String::from_utf8_lossy(&line);
    writeln!(out, "{style}{line}{style:#}")
}

/// Writes one line of cells.
pub fn write_line(
    out: &mut impl Write,
    columns: &[Column],
    cells: &[impl AsRef<str>],
) -> io::Result<()> {
    write_cells(out, columns, cells)?;
    out.write_all(b"\n")
}

/// Writes cells without the end of the line. The last one gets no blanks behind it.
pub fn write_cells(
    out: &mut impl Write,
    columns: &[Column],
    cells: &[impl AsRef<str>],
) -> io::Result<()> {
    for (number, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let cell = cell.as_ref();
        let gap = if number == 0 { "" } else { GAP };
        let blanks = column.width.saturating_sub(width(cell));
        let is_last = number + 1 == columns.len();
        let (before, behind) = match column.right {
            _ if is_last && cell.is_empty() => (0, 0),
            true => (blanks, 0),
            false if is_last => (0, 0),
            false => (0, blanks),
        };
        write!(out, "{gap}{:before$}{cell}{:behind$}", "", "")?;
    }
    Ok(())
}

/// Writes names and lines that are all in memory.
pub fn write_table(
    out: &mut impl Write,
    mut columns: Vec<Column>,
    lines: &[Vec<String>],
    style: Style,
) -> io::Result<()> {
    for line in lines {
        for (column, cell) in columns.iter_mut().zip(line) {
            column.fit(cell);
        }
    }
    write_names(out, &columns, style)?;
    lines
        .iter()
        .try_for_each(|line| write_line(out, &columns, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other() {
        let columns = vec![
            Column::new("name", false),
            Column::new("n", true),
            Column::new("last", false),
        ];
        let lines =
            [["日本", "7", "x"], ["a", "1000", "yy"]].map(|line| line.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        write_table(&mut out, columns, &lines, Style::new()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "name     n  last\n日本     7  x\na     1000  yy\n");
    }
}
