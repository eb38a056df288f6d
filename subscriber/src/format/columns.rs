//! Lines of aligned cells.

use std::io::{self, Write};

use anstyle::Style;

use super::cells::{shorten, width};
use super::fit::{Cut, fit};

/// Maximum width that a cell gives its column where nothing is cut, so that one long text does not
/// push all other columns away.
const MAX_WIDTH: usize = 48;
/// Gap between two columns.
pub const GAP: &str = "  ";

/// Name, alignment and width of a column.
pub struct Column {
    name: String,
    right: bool,
    /// Width of the widest cell.
    pub cells: usize,
    /// Width as printed.
    pub width: usize,
    /// True if the column identifies its lines.
    pub is_key: bool,
    /// True if the column fits.
    pub is_shown: bool,
    /// True if wider cells are cut.
    pub is_cut: bool,
}

impl Column {
    /// Creates a column as wide as its name. `right` aligns its cells to the right.
    pub fn new(name: &str, right: bool) -> Self {
        Self {
            name: name.to_owned(),
            right,
            cells: 0,
            width: width(name),
            is_key: false,
            is_shown: true,
            is_cut: false,
        }
    }

    /// Marks the column as identifying its lines.
    pub fn key(mut self, is_key: bool) -> Self {
        self.is_key = is_key;
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if cells are right-aligned.
    pub fn is_right(&self) -> bool {
        self.right
    }

    /// Returns the width at which no cell is cut.
    pub fn natural(&self) -> usize {
        self.cells.max(width(&self.name))
    }

    /// Widens the column to fit `cell`.
    pub fn fit(&mut self, cell: &str) {
        let cell = width(cell);
        self.cells = self.cells.max(cell);
        self.width = self.width.max(cell.min(MAX_WIDTH));
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

/// Writes one line of cells. Returns the number of shortened cells.
pub fn write_line(
    out: &mut impl Write,
    columns: &[Column],
    cells: &[impl AsRef<str>],
) -> io::Result<u64> {
    let shortened = write_cells(out, columns, cells)?;
    out.write_all(b"\n")?;
    Ok(shortened)
}

/// Writes cells without the end of the line and without trailing blanks. Returns the number of
/// shortened cells.
pub fn write_cells(
    out: &mut impl Write,
    columns: &[Column],
    cells: &[impl AsRef<str>],
) -> io::Result<u64> {
    let last = columns.iter().rposition(|column| column.is_shown);
    let shown = columns.iter().zip(cells).enumerate();
    let (mut gap, mut shortened) = ("", 0);
    for (number, (column, cell)) in shown.filter(|(_, (column, _))| column.is_shown) {
        let (cell, ellipsis) = match column.is_cut {
            true => shorten(cell.as_ref(), column.width),
            false => (cell.as_ref(), ""),
        };
        shortened += u64::from(!ellipsis.is_empty());
        let blanks = column.width.saturating_sub(width(cell) + width(ellipsis));
        let is_last = Some(number) == last;
        let (before, behind) = match column.right {
            _ if is_last && cell.is_empty() => (0, 0),
            true => (blanks, 0),
            false if is_last => (0, 0),
            false => (0, blanks),
        };
        write!(out, "{gap}{:before$}{cell}{ellipsis}{:behind$}", "", "")?;
        gap = GAP;
    }
    Ok(shortened)
}

/// Writes names and lines, cut to `columns` if the width is known. Returns what was cut.
pub fn write_table(
    out: &mut impl Write,
    mut columns: Vec<Column>,
    lines: &[Vec<String>],
    style: Style,
    width: Option<usize>,
) -> io::Result<Cut> {
    for line in lines {
        for (column, cell) in columns.iter_mut().zip(line) {
            column.fit(cell);
        }
    }
    let left_out = width.map_or_else(Vec::new, |width| fit(&mut columns, width));
    write_names(out, &columns, style)?;
    let mut cells = 0;
    for line in lines {
        cells += write_line(out, &columns, line)?;
    }
    Ok(Cut { left_out, cells })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned() {
        let columns = || {
            vec![
                Column::new("name", false),
                Column::new("n", true),
                Column::new("last", false),
            ]
        };
        let lines =
            [["日本", "7", "x"], ["a", "1000", "yy"]].map(|line| line.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        let cut = write_table(&mut out, columns(), &lines, Style::new(), None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "name     n  last\n日本     7  x\na     1000  yy\n");
        assert_eq!(cut, Cut::default());
    }
    #[test]
    fn wide_cells_are_cut_and_counted() {
        let columns = vec![
            Column::new("name", false).key(true),
            Column::new("a long text", false),
            Column::new("n", true),
        ];
        let lines = [
            ["日本語日本語日本語", "much too long", "7"],
            ["b", "short", "1234567"],
        ];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        let cut = write_table(&mut out, columns, &lines, Style::new(), Some(34)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = [
            "name             a long …        n",
            "日本語日本語日…  much to…        7",
            "b                short     1234567",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!((cut.left_out.len(), cut.cells), (0, 2));
    }
}
