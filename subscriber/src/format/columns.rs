//! Lines of aligned cells, fitted into the width of the terminal.
//!
//! Space is saved in four steps, until a line fits:
//!
//! 1. Names that are wider than their cells are cut.
//! 2. Columns outside the key are narrowed, the widest first.
//! 3. Columns of the key are narrowed.
//! 4. Columns are left out from the right, those of the key last.
//!
//! No column becomes narrower than [`NARROWEST`]. No number of up to [`NARROWEST_NUMBER`] digits is
//! cut, because a cut number looks like another number.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use cli::status;

use crate::cells::{shorten, width};

/// Maximum width that a cell gives its column where nothing is cut. One long text must not move all
/// other columns far to the right.
const MAX_WIDTH: usize = 48;
const NARROWEST: usize = 8;
const NARROWEST_NUMBER: usize = 20;
const GAP: &str = "  ";

pub struct Column {
    name: String,
    right: bool,
    /// Width of the widest cell.
    cells: usize,
    /// Printed width.
    width: usize,
    /// True if the column identifies the line.
    is_key: bool,
    /// True if the column fits.
    is_shown: bool,
    /// True if wider cells are cut.
    is_cut: bool,
}

impl Column {
    /// Creates columns from their names, of which the first is the key. `true` aligns cells to the
    /// right.
    pub fn list(names: &[(&str, bool)]) -> Vec<Self> {
        let columns = names.iter().enumerate();
        columns.map(|(at, (name, right))| Self::new(name, *right).key(at == 0)).collect()
    }

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

    pub fn key(mut self, is_key: bool) -> Self {
        self.is_key = is_key;
        self
    }

    /// Returns the width at which neither the name nor a cell is cut.
    fn natural(&self) -> usize {
        self.cells.max(width(&self.name))
    }

    /// Returns the width under maximum widths for columns outside the key and of the key. Names of up
    /// to [`NARROWEST`] columns are not cut.
    fn limited(&self, (others, keys): (usize, usize)) -> usize {
        let limit = if self.is_key { keys } else { others };
        let narrowest = match self.right {
            true => self.cells.clamp(NARROWEST, NARROWEST_NUMBER),
            false => NARROWEST,
        };
        self.natural().min(self.cells.max(NARROWEST)).min(limit.max(narrowest))
    }

    pub fn fit(&mut self, cell: &str) {
        let cell = width(cell);
        self.cells = self.cells.max(cell);
        self.width = self.width.max(cell.min(MAX_WIDTH));
    }
}

/// The columns and cells that did not fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Names of the columns left out.
    left_out: Vec<String>,
    /// Number of shortened cells.
    cells: u64,
}

/// Writes cells without the end of the line and without trailing blanks. Returns the number of
/// shortened cells.
fn write_cells(
    out: &mut impl Write,
    columns: &[Column],
    cells: &[impl AsRef<str>],
) -> io::Result<u64> {
    let last = columns.iter().rposition(|column| column.is_shown);
    let shown = columns.iter().zip(cells).enumerate();
    let (mut gap, mut shortened) = ("", 0);
    for (at, (column, cell)) in shown.filter(|(_, (column, _))| column.is_shown) {
        let most = if column.is_cut { column.width } else { usize::MAX };
        let cell = shorten(cell.as_ref(), most);
        shortened += u64::from(matches!(cell, Cow::Owned(_)));
        let blanks = column.width.saturating_sub(width(&cell));
        let (before, behind) = match (column.right, Some(at) == last) {
            (true, is_last) if !(is_last && cell.is_empty()) => (blanks, 0),
            (false, false) => (0, blanks),
            _ => (0, 0),
        };
        write!(out, "{gap}{:before$}{cell}{:behind$}", "", "")?;
        gap = GAP;
    }
    Ok(shortened)
}

/// Writes the names in the style of `head`, if it is given, and lines, cut to `width` if it is
/// known. Returns what was cut. The lines are iterated twice: to find the widths, and to write them.
pub fn write_table<L>(
    out: &mut impl Write,
    mut columns: Vec<Column>,
    lines: L,
    head: Option<Style>,
    width: Option<usize>,
) -> io::Result<Cut>
where
    L: IntoIterator<Item: AsRef<[String]>> + Clone,
{
    for line in lines.clone() {
        for (column, cell) in columns.iter_mut().zip(line.as_ref()) {
            column.fit(cell);
        }
    }
    let left_out = width.map_or_else(Vec::new, |width| fit(&mut columns, width));
    if let Some(style) = head {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        write!(out, "{style}")?;
        write_cells(out, &columns, &names)?;
        writeln!(out, "{style:#}")?;
    }
    let mut cells = 0;
    for line in lines {
        cells += write_cells(out, &columns, line.as_ref())?;
        writeln!(out)?;
    }
    Ok(Cut { left_out, cells })
}

/// Sets the widths of `columns` so that a line fits `total`. Returns the names of columns left out.
fn fit(columns: &mut [Column], total: usize) -> Vec<String> {
    let line = |columns: &[Column], shown: &[usize], limits| -> usize {
        let widths: usize = shown.iter().map(|&at| columns[at].limited(limits)).sum();
        widths + GAP.len() * shown.len().saturating_sub(1)
    };
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    while shown.len() > 1 && line(columns, &shown, (0, 0)) > total {
        let last = shown.iter().rposition(|&at| !columns[at].is_key);
        shown.remove(last.unwrap_or(shown.len() - 1));
    }
    let others = (NARROWEST..=total).rev().map(|others| (others, usize::MAX));
    let keys = (NARROWEST..=total).rev().map(|keys| (NARROWEST, keys));
    let limits = others.chain(keys).find(|limits| line(columns, &shown, *limits) <= total);
    let limits = limits.unwrap_or((NARROWEST, NARROWEST));
    let mut spare = total.saturating_sub(line(columns, &shown, limits));
    let mut left_out = Vec::new();
    for (at, column) in columns.iter_mut().enumerate() {
        column.is_shown = shown.contains(&at);
        column.is_cut = true;
        column.width = column.limited(limits).min(total);
        if column.is_shown {
            let more = column.natural().saturating_sub(column.width).min(spare);
            column.width += more;
            spare -= more;
        } else {
            left_out.push(column.name.clone());
        }
    }
    left_out
}

impl Cut {
    pub fn add_cell(&mut self) {
        self.cells += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.cells += other.cells;
        self.left_out.extend(other.left_out);
    }

    /// Reports on stderr what was cut to `columns`. `all` names the options that print everything.
    pub fn report(&self, columns: Option<usize>, all: &str) {
        let note = columns.and_then(|columns| self.note(columns, all));
        note.into_iter().for_each(status);
    }

    /// Returns a line that reports what was cut, or `None` if nothing was. Of several wordings, it
    /// is the first that fits into `columns`.
    fn note(&self, columns: usize, all: &str) -> Option<String> {
        let cells = match self.cells {
            0 => None,
            1 => Some("1 cell shortened".to_owned()),
            many => Some(format!("{many} cells shortened")),
        };
        let with_cells = |names: &str| {
            let fields = (!self.left_out.is_empty()).then(|| format!("not shown: {names}"));
            fields.into_iter().chain(cells.clone()).collect::<Vec<_>>().join(", ")
        };
        let names = with_cells(&self.left_out.join(", "));
        if names.is_empty() {
            return None;
        }
        let counted = with_cells(&match self.left_out.len() {
            1 => "1 column".to_owned(),
            many => format!("{many} columns"),
        });
        let lines = [
            format!("cut to {columns} columns: {names} ({all} for all)"),
            format!("cut: {names} ({all})"),
            format!("cut to {columns} columns: {counted} ({all} for all)"),
            format!("cut: {counted} ({all})"),
        ];
        let fits = |line: &String| width(line) <= columns || !io::stderr().is_terminal();
        let fitting = lines.into_iter().find(fits);
        Some(fitting.unwrap_or_else(|| format!("cut to {columns} columns")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned() {
        let columns =
            || vec![Column::new("name", false), Column::new("n", true), Column::new("last", false)];
        let lines =
            [["日本", "7", "x"], ["a", "1000", "yy"]].map(|line| line.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        let cut = write_table(&mut out, columns(), &lines, Some(Style::new()), None).unwrap();
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
        let lines = [["日本語日本語日本語", "much too long", "7"], ["b", "short", "1234567"]];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        let mut out = Vec::new();
        let cut = write_table(&mut out, columns, &lines, Some(Style::new()), Some(34)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = [
            "name             a long …        n",
            "日本語日本語日…  much to…        7",
            "b                short     1234567",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!((cut.left_out.len(), cut.cells), (0, 2));
    }

    /// Creates columns from name, key membership, number, and widest cell.
    fn columns(of: &[(&str, bool, bool, usize)]) -> Vec<Column> {
        let column = |(name, is_key, right, cells): &(&str, bool, bool, usize)| {
            let mut column = Column::new(name, *right);
            column.is_key = *is_key;
            column.fit(&"x".repeat(*cells));
            column
        };
        of.iter().map(column).collect()
    }

    fn widths(columns: &mut [Column], total: usize) -> (Vec<usize>, Vec<String>) {
        let left_out = fit(columns, total);
        let shown: Vec<usize> =
            columns.iter().filter(|column| column.is_shown).map(|column| column.width).collect();
        let line = shown.iter().sum::<usize>() + GAP.len() * (shown.len() - 1);
        assert!(line <= total, "{line} of {total}");
        (shown, left_out)
    }

    #[test]
    fn wide_columns_shrink_first_and_keys_last() {
        let of = [
            ("id", true, false, 30),
            ("n", false, true, 5),
            ("a", false, false, 40),
            ("b", false, false, 12),
        ];
        assert_eq!(widths(&mut columns(&of), 200), (vec![30, 5, 40, 12], vec![]));
        assert_eq!(widths(&mut columns(&of), 80), (vec![30, 5, 27, 12], vec![]));
        assert_eq!(widths(&mut columns(&of), 60), (vec![30, 5, 10, 9], vec![]));
        assert_eq!(widths(&mut columns(&of), 50), (vec![23, 5, 8, 8], vec![]));
    }

    #[test]
    fn columns_are_left_out_from_the_right() {
        let of = [
            ("a", false, false, 30),
            ("n", false, true, 20),
            ("id", true, false, 30),
            ("b", false, false, 12),
        ];
        let left_out = |total| widths(&mut columns(&of), total).1;
        assert_eq!(left_out(50), Vec::<String>::new());
        assert_eq!(left_out(40), ["b"]);
        assert_eq!(left_out(30), ["n", "b"]);
        assert_eq!(
            widths(&mut columns(&of), 20),
            (vec![8, 10], vec!["n".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn lines_fit_every_width() {
        let of: Vec<(String, bool, bool, usize)> = (0..13)
            .map(|at: usize| {
                ("name".repeat(at % 4 + 1), at.is_multiple_of(5), at.is_multiple_of(2), at * at)
            })
            .collect();
        let of: Vec<_> = of
            .iter()
            .map(|(name, key, right, cells)| (name.as_str(), *key, *right, *cells))
            .collect();
        for total in 20..400 {
            widths(&mut columns(&of), total);
        }
        assert_eq!(widths(&mut columns(&of[1..2]), 20).1, Vec::<String>::new());
    }

    #[test]
    fn note_reports_what_was_cut() {
        let cut = |left_out: &[&str], cells| Cut {
            left_out: left_out.iter().map(|&name| name.to_owned()).collect(),
            cells,
        };
        assert_eq!(cut(&[], 0).note(80, "--format csv"), None);
        assert_eq!(
            cut(&["state", "start"], 12).note(80, "--fields").unwrap(),
            "cut to 80 columns: not shown: state, start, 12 cells shortened (--fields for all)"
        );
        let note = cut(&[], 1).note(80, "--format csv").unwrap();
        assert_eq!(note, "cut to 80 columns: 1 cell shortened (--format csv for all)");
    }
}
