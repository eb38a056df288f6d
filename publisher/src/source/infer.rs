//! Infers the schema of a file from all of its values.
//!
//! 1. A column starts with all kinds in `KINDS`. Each value removes the kinds that it does not fit.
//! 2. The column gets the first remaining kind. If none remains it is a text, as wide as its widest
//!    value, rounded up to a multiple of 8. An empty cell removes all kinds.
//! 3. No digit may be lost. So leading zeros, `+5`, `-0`, integers beyond 64 bits and numbers with
//!    more digits than an `f64` keeps are text, and so are a network with bits set beyond its
//!    prefix, a leap second, and a time with the name of a zone. A value that is kept and only
//!    printed differently does not make its column text: `1.50`, a MAC with dashes, a time with
//!    another offset. A cell of CSV such as `12E3` or `4e10` is text, because codes and hashes look
//!    like that: an exponent needs a decimal point, or a sign as programs print it (`1e-07`).
//! 4. A key column is text unless every value prints exactly as it was written. A key is never a
//!    float.

use cli::CliError;
use common::{Kind, Schema, Value};

/// The kinds that can be inferred, in order of preference.
const KINDS: [Kind; 9] = [
    Kind::Bool,
    Kind::U64,
    Kind::I64,
    Kind::F64,
    Kind::Ipv4,
    Kind::Ipv6,
    Kind::IpNet,
    Kind::Mac,
    Kind::Timestamp,
];

/// Number of decimal digits that every normal `f64` keeps.
const SAFE_DIGITS: usize = 15;

#[derive(Debug)]
pub struct Column {
    in_key: bool,
    /// The kinds that every value so far fits, in order of preference.
    candidates: Vec<Kind>,
    widest: usize,
    /// Number of values so far.
    seen: u64,
    /// True if the column can be numeric: always in CSV, and in JSON if it contains a number.
    has_number: bool,
}

impl Column {
    pub fn new(in_key: bool) -> Self {
        Self { in_key, candidates: KINDS.to_vec(), widest: 0, seen: 0, has_number: false }
    }

    /// Adds a cell of the CSV column `name`. Returns an error if it is longer than a text may be.
    pub fn see_cell(&mut self, name: &str, cell: &str) -> Result<(), String> {
        self.has_number = true;
        self.see(name, cell, |kind| {
            fits(kind, cell) && !(kind == Kind::F64 && looks_like_a_code(cell))
        })
    }

    /// Adds a value of JSON of the member `name`. A string is not a number, but it may name a float
    /// that JSON cannot write. Returns an error if a string is longer than a text may be.
    pub fn see_json(&mut self, name: &str, value: &serde_json::Value) -> Result<(), String> {
        match value {
            serde_json::Value::String(text) => self.see(name, text, |kind| match kind {
                Kind::Bool | Kind::U64 | Kind::I64 => false,
                Kind::F64 => names_a_float(text),
                other => fits(other, text),
            }),
            serde_json::Value::Number(number) => {
                self.has_number = true;
                // In JSON this is certainly a number, and only a float has a negative zero.
                let text = number.to_string();
                self.see(name, &text, |kind| {
                    is_number(kind) && fits(kind, &text) || kind == Kind::F64 && text == "-0"
                })
            }
            serde_json::Value::Bool(value) => {
                self.see(name, &value.to_string(), |kind| kind == Kind::Bool)
            }
            // Lists and objects are refused when the row is read.
            _ => {
                self.see_nothing();
                Ok(())
            }
        }
    }

    /// Adds a missing value if the column has no value in some of the first `rows` rows.
    pub fn fill_up(&mut self, rows: u64) {
        if self.seen < rows {
            self.see_nothing();
        }
    }

    /// Adds a missing value, which only a text can hold.
    pub fn see_nothing(&mut self) {
        self.seen += 1;
        self.candidates.clear();
    }

    fn kind(&self) -> Kind {
        match self.preferred() {
            Some(kind) if !self.is_float_in_key() => kind,
            _ => {
                let width = self.widest.max(1).next_multiple_of(8);
                Kind::Text(u16::try_from(width).unwrap_or(u16::MAX))
            }
        }
    }

    /// Returns true if the column is text only because a key cannot be a float.
    fn is_float_in_key(&self) -> bool {
        self.in_key && self.preferred() == Some(Kind::F64)
    }

    fn preferred(&self) -> Option<Kind> {
        let first = self.candidates.first().copied();
        first.filter(|kind| self.seen > 0 && (self.has_number || !is_number(*kind)))
    }

    fn see(&mut self, name: &str, text: &str, fits: impl Fn(Kind) -> bool) -> Result<(), String> {
        let (width, max) = (text.len(), Kind::MAX_TEXT);
        if width > usize::from(max) {
            return Err(format!(
                "{name} has {width} bytes, but a text holds at most {max}: shorten it"
            ));
        }
        self.seen += 1;
        self.widest = self.widest.max(width);
        let in_key = self.in_key;
        self.candidates.retain(|kind| fits(*kind) && (!in_key || prints_back(*kind, text)));
        Ok(())
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::U64 | Kind::I64 | Kind::F64)
}

fn names_a_float(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn fits(kind: Kind, cell: &str) -> bool {
    match kind {
        Kind::Bool => matches!(cell, "true" | "false"),
        Kind::U64 | Kind::I64 => is_plain_whole(cell) && Value::parse(kind, cell).is_ok(),
        Kind::F64 => is_lossless_float(cell),
        Kind::IpNet => is_whole_network(cell),
        Kind::Timestamp => is_lossless_time(cell),
        other => Value::parse(other, cell).is_ok(),
    }
}

/// Returns true if the value prints as the cell was written. Floats are accepted here, so that
/// [`Column::is_float_in_key`] can report them.
fn prints_back(kind: Kind, cell: &str) -> bool {
    kind == Kind::F64 || Value::parse(kind, cell).is_ok_and(|value| value.to_string() == cell)
}

/// Returns true for an optional minus and digits without leading zeros.
fn is_plain_whole(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (!digits.starts_with('0') || cell == "0")
}

/// Returns true for a network without bits set beyond its prefix.
fn is_whole_network(cell: &str) -> bool {
    let is_whole = |network: ipnet::IpNet| network.addr() == network.network();
    cell.parse().is_ok_and(is_whole) && Value::parse(Kind::IpNet, cell).is_ok()
}

/// Returns true for a time that loses nothing. A leap second would become the second before it, and
/// the name of a zone would be dropped.
fn is_lossless_time(cell: &str) -> bool {
    // Without a separator the cell would be read as a number of nanoseconds.
    let has_date = cell.as_bytes().get(4) == Some(&b'-');
    let digits = cell.bytes().filter(u8::is_ascii_digit);
    let is_leap_second = digits.skip("YYYYMMDDhhmm".len()).take(2).eq(*b"60");
    has_date
        && !is_leap_second
        && !cell.contains('[')
        && Value::parse(Kind::Timestamp, cell).is_ok()
}

/// Returns true for digits with an exponent that has neither a decimal point before it nor a sign.
fn looks_like_a_code(cell: &str) -> bool {
    cell.split_once(['e', 'E']).is_some_and(|(mantissa, exponent)| {
        !mantissa.contains('.') && !exponent.starts_with(['+', '-'])
    })
}

/// Returns true for a decimal number whose digits an `f64` keeps, or for NaN or an infinity.
fn is_lossless_float(cell: &str) -> bool {
    if names_a_float(cell) {
        return true;
    }
    let (Some(digits), Ok(value)) = (float_digits(cell), cell.parse::<f64>()) else {
        return false;
    };
    if value == 0.0 {
        return digits.is_empty();
    }
    if value.is_normal() && digits.len() <= SAFE_DIGITS {
        return true;
    }
    let printed = format!("{value:e}");
    value.is_finite() && float_digits(&printed).is_some_and(|kept| kept == digits)
}

/// Returns the significant decimal digits of a float, without leading and trailing zeros. Returns
/// `None` if the cell is not a float or has superfluous leading zeros.
fn float_digits(cell: &str) -> Option<String> {
    let number = cell.strip_prefix('-').unwrap_or(cell);
    let mantissa = number.split(['e', 'E']).next()?;
    let whole = mantissa.split('.').next()?;
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0') || cell == "-0";
    // This excludes a plus and the names of infinities and NaN.
    let has_digits = number.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let is_float = has_digits && !has_leading_zero && number.parse::<f64>().is_ok();
    is_float.then(|| mantissa.replace('.', "").trim_matches('0').to_owned())
}

/// Returns the schema of columns with these names and key fields, and remarks about it.
///
/// If `former` has the same field names, texts keep the width that they had in it, so that the
/// table need not be replaced when its longest text disappears, and a column without any values
/// keeps its kind.
pub fn infer_schema(
    names: &[String],
    columns: &[Column],
    key: &[String],
    former: Option<&Schema>,
) -> Result<(Schema, Vec<String>), CliError> {
    if let Some(missing) = key.iter().find(|name| !names.contains(name)) {
        let names = names.join(", ");
        return Err(CliError::new(
            2,
            format!("--key names {missing:?}, and the fields are {names}"),
        ));
    }
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let fields = || names.iter().map(String::as_str).zip(columns);
    let float_keys = fields().filter(|(_, column)| column.is_float_in_key());
    let remark = |name| {
        format!("the key {name} is text: its numbers have fractions, and a key cannot be a float")
    };
    let remarks = float_keys.map(|(name, _)| remark(name)).collect();
    let kinds = fields().map(|(name, column)| (name, column.kind()));
    let schema = Schema::new(kinds, &key).map_err(|error| {
        CliError::new(5, format!("{error}: choose other fields with --fields, or another --key"))
    })?;
    let Some(former) = former.filter(|former| has_same_names(former, &schema)) else {
        return Ok((schema, remarks));
    };
    let kept = fields().zip(former.fields()).map(|((name, column), before)| {
        let kind = match (column.kind(), before.kind()) {
            (_, before) if column.seen == 0 => before,
            (Kind::Text(now), Kind::Text(before)) => Kind::Text(now.max(before)),
            (kind, _) => kind,
        };
        (name, kind)
    });
    // The row may be too large with the former widths.
    let schema = Schema::new(kept, &key).unwrap_or(schema);
    Ok((schema, remarks))
}

/// Returns true if the fields and the keys have the same names.
fn has_same_names(one: &Schema, other: &Schema) -> bool {
    let names = |schema: &Schema| -> Vec<String> {
        let fields = schema.fields().iter().chain(schema.key_fields());
        fields.map(|field| field.name().to_owned()).collect()
    };
    names(one) == names(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(cells: &[&str], in_key: bool) -> Kind {
        let mut column = Column::new(in_key);
        cells.iter().for_each(|cell| column.see_cell("x", cell).unwrap());
        column.kind()
    }

    fn see_json(column: &mut Column, text: &str) {
        let value = serde_json::from_str(text).unwrap();
        column.see_json("x", &value).unwrap();
    }

    #[test]
    fn every_kind_is_inferred() {
        let cases: [(&[&str], Kind); 18] = [
            (&["true", "false"], Kind::Bool),
            (&["0", "18446744073709551615"], Kind::U64),
            (&["0", "1"], Kind::U64),
            (&["-9223372036854775808", "9223372036854775807"], Kind::I64),
            (&["1.50", ".5", "5.", "1.e5", "-2", "1E-7"], Kind::F64),
            (&["NaN", "-Infinity", "3"], Kind::F64),
            (&["1.0e300", "0.1234567890123456"], Kind::F64),
            (&["-0.0"], Kind::F64),
            (&["1.2.3.4"], Kind::Ipv4),
            (&["::", "2001:DB8::1"], Kind::Ipv6),
            (&["10.0.0.0/8", "::/0", "1.2.3.4/32"], Kind::IpNet),
            (&["AA-BB-CC-00-11-22", "aa:bb:cc:00:11:22"], Kind::Mac),
            (&["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00"], Kind::Timestamp),
            (&[], Kind::Text(8)),
            (&["", ""], Kind::Text(8)),
            (&["12345678"], Kind::U64),
            (&["12345678x", "1"], Kind::Text(16)),
            (&["ääää"], Kind::Text(8)),
        ];
        for (cells, expected) in cases {
            assert_eq!(kind(cells, false), expected, "{cells:?}");
        }
    }

    #[test]
    fn columns_that_would_lose_digits_are_text() {
        for cells in [
            ["007", "1"],
            ["+5", "1"],
            ["-0", "1"],
            ["", "1"],
            [" 1", "1"],
            ["00.5", "1"],
            ["+.5", "1"],
            [".", "1"],
            ["1e", "1"],
            ["inf", "1"],
            ["-inf", "1"],
            ["nan", "1"],
            ["NAN", "1"],
            ["1.0e309", "1"],
            ["1e-400", "1"],
            ["0x10", "1"],
            ["TRUE", "true"],
            ["yes", "true"],
            ["1", "true"],
            ["18446744073709551616", "1"],
            ["18446744073709551615", "-1"],
            ["9007199254740993", "0.5"],
            ["0.1234567890123456789", "1"],
            ["10.1.2.3/8", "10.0.0.0/8"],
            ["10.0.0.1", "10.0.0.0/8"],
            ["1.2.3.4", "::"],
            ["2026-01-02", "2026-01-02T03:04:05Z"],
            ["1767323045", "2026-01-02T03:04:05Z"],
            ["00:00:00-00-00-00", "00:00:00:00:00:00"],
        ] {
            let width = cells[0].len().max(cells[1].len()).next_multiple_of(8);
            let text = Kind::Text(u16::try_from(width).unwrap());
            assert_eq!(kind(&cells, false), text, "{cells:?}");
            let [one, other] = cells;
            assert_eq!(kind(&[other, one], false), text, "{cells:?}, reversed");
        }
    }

    /// Guards against a code that is read as a number and printed differently. Covers exponents of
    /// either case, with a sign, with a decimal point before or after the digits, and alone in a
    /// column.
    #[test]
    fn an_exponent_needs_a_decimal_point_or_a_sign() {
        for cell in ["5E0", "12E3", "4e10", "1e300", "-3e5", "0e0", "1234e567"] {
            for others in [&[cell][..], &[cell, "1"], &[cell, "0.5"], &["7", cell, "1"]] {
                assert_eq!(kind(others, false), Kind::Text(8), "{others:?}");
            }
        }
        for cell in
            ["1.5e3", "1.E3", ".5e1", "-2.5E10", "1e-07", "1E+16", "5e-324", "-1e-5", "1.5e-3"]
        {
            assert_eq!(kind(&[cell, "0.5"], false), Kind::F64, "{cell}");
        }
        let mut column = Column::new(false);
        see_json(&mut column, "4e10");
        assert_eq!(column.kind(), Kind::F64, "JSON marks numbers as such");
    }

    /// Guards against a part of a time that is dropped without an error. Covers leap seconds with
    /// and without a fraction, in other offsets and notations; zones and calendars in brackets;
    /// digits beyond nanoseconds.
    #[test]
    fn times_that_would_lose_precision_or_zone_are_text() {
        for cell in [
            "2016-12-31T23:59:60Z",
            "2016-12-31T23:59:60.5Z",
            "2016-12-31 23:59:60Z",
            "2017-01-01T00:59:60+01:00",
            "2016-12-31t23:59:60z",
            "2016-12-31T235960Z",
            "2026-01-02T03:04:05+01:00[Europe/Berlin]",
            "2026-01-02T03:04:05Z[UTC]",
            "2026-01-02T03:04:05Z[u-ca=iso8601]",
            "2026-01-02T03:04:05.1234567891Z",
        ] {
            let width = cell.len().next_multiple_of(8);
            let text = Kind::Text(u16::try_from(width).unwrap());
            assert_eq!(kind(&[cell], false), text, "{cell}");
            assert_eq!(kind(&[cell], true), text, "{cell} in a key");
            let mut column = Column::new(false);
            see_json(&mut column, &format!("{cell:?}"));
            assert_eq!(column.kind(), text, "{cell} in JSON");
        }
        for cell in [
            "2016-12-31T23:59:59.7Z",
            "2016-12-31T23:60:00Z",
            "2026-01-02T03:04:06.060606060Z",
            "2026-01-02T03:04:05-06:00",
            "2026-01-02 03:04:05Z",
        ] {
            let is_time = Value::parse(Kind::Timestamp, cell).is_ok();
            assert_eq!(kind(&[cell], false) == Kind::Timestamp, is_time, "{cell}");
        }
    }

    #[test]
    fn key_is_text_unless_it_prints_as_written() {
        for (cell, expected) in [
            ("7", Kind::U64),
            ("-7", Kind::I64),
            ("true", Kind::Bool),
            ("1.50", Kind::Text(8)),
            ("1.5", Kind::Text(8)),
            ("2001:db8::1", Kind::Ipv6),
            ("2001:DB8::1", Kind::Text(16)),
            ("10.0.0.0/8", Kind::IpNet),
            ("aa:bb:cc:00:11:22", Kind::Mac),
            ("AA:BB:CC:00:11:22", Kind::Text(24)),
            ("2026-01-02T03:04:05Z", Kind::Timestamp),
            ("2026-01-02T03:04:05+00:00", Kind::Text(32)),
        ] {
            assert_eq!(kind(&[cell], true), expected, "{cell}");
        }
        let mut column = Column::new(true);
        column.see_cell("x", "1.5").unwrap();
        assert!(column.is_float_in_key());
        column.see_cell("x", "one").unwrap();
        assert!(!column.is_float_in_key());
    }

    #[test]
    fn json_strings_are_not_numbers() {
        for (values, expected) in [
            (&["1", "2"][..], Kind::U64),
            (&["1", "-2.5"], Kind::F64),
            (&["1.0", "\"NaN\""], Kind::F64),
            (&["\"NaN\""], Kind::Text(8)),
            (&["\"1\""], Kind::Text(8)),
            (&["\"true\""], Kind::Text(8)),
            (&["true"], Kind::Bool),
            (&["true", "1"], Kind::Text(8)),
            (&["\"::1\""], Kind::Ipv6),
            (&["1", "null"], Kind::Text(8)),
        ] {
            let mut column = Column::new(false);
            values.iter().for_each(|value| see_json(&mut column, value));
            assert_eq!(column.kind(), expected, "{values:?}");
        }
    }

    type Inferred = Result<(Schema, Vec<String>), CliError>;

    fn infer(cells: &[(&str, &str)], key: &[&str], former: Option<&str>) -> Inferred {
        let names: Vec<String> = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut columns = Vec::new();
        for (name, cell) in cells {
            let mut column = Column::new(key.contains(name));
            column.see_cell(name, cell).unwrap();
            columns.push(column);
        }
        let former = former.map(|fields| Schema::parse(fields, Some(&key.join(","))).unwrap());
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        infer_schema(&names, &columns, &key, former.as_ref())
    }

    #[test]
    fn texts_keep_their_former_width() {
        let fields = |name: &str, former: &str| {
            let cells = [("id", "1"), ("name", name)];
            infer(&cells, &["id"], Some(former)).unwrap().0.to_string()
        };
        assert_eq!(fields("short", "id:u64,name:text(40)"), "id:u64,name:text(40)");
        assert_eq!(fields("now longer", "id:u64,name:text(8)"), "id:u64,name:text(16)");
        assert_eq!(fields("short", "id:u64,other:text(40)"), "id:u64,name:text(8)");
        assert_eq!(fields("7", "id:u64,name:text(40)"), "id:u64,name:u64");
        assert_eq!(fields("short", "id:u64,name:u64"), "id:u64,name:text(8)");
    }

    /// Guards against a file that has only its header for a moment and then changes the table's
    /// fields. Covers every kind, keys, and columns whose cells are all empty, which are texts.
    #[test]
    fn column_without_cells_keeps_its_kind() {
        for kind in [
            "bool",
            "u64",
            "i64",
            "f64",
            "text(40)",
            "ipv4",
            "ipv6",
            "ipnet",
            "mac",
            "timestamp",
            "u8",
            "f32",
        ] {
            let key = if kind.starts_with('f') { "n:u64" } else { "id:u64" };
            let former = format!("x:{kind},{key}");
            let key = if kind.starts_with('f') { "n" } else { "x" };
            let former = Schema::parse(&former, Some(key)).unwrap();
            let names: Vec<String> =
                former.fields().iter().map(|field| field.name().to_owned()).collect();
            let columns: Vec<Column> = names.iter().map(|name| Column::new(name == key)).collect();
            let key = [key.to_owned()];
            let same = infer_schema(&names, &columns, &key, Some(&former)).unwrap();
            assert_eq!(same.0, former);
            let fresh = infer_schema(&names, &columns, &key, None).unwrap();
            assert!(fresh.0.to_string().starts_with("x:text(8),"), "{kind}");
        }
        let empty = [("id", ""), ("n", "")];
        let (schema, _) = infer(&empty, &["id"], Some("id:u64,n:u64")).unwrap();
        assert_eq!(schema.to_string(), "id:text(8),n:text(8)");
    }

    #[test]
    fn float_keys_become_text_and_missing_keys_are_refused() {
        let (schema, remarks) = infer(&[("x", "1.5")], &["x"], None).unwrap();
        assert_eq!(schema.to_string(), "x:text(8)");
        assert!(remarks[0].contains("key x is text"));
        let missing = infer(&[("x", "1.5")], &["y"], None).unwrap_err();
        assert_eq!(missing.code(), 2);
        assert!(missing.to_string().contains("\"y\""), "{missing}");
        let long = infer(&[("x", &"x".repeat(2000))], &["x"], None).unwrap_err();
        assert_eq!(long.code(), 5);
        assert!(long.to_string().contains("--key"), "{long}");
    }
}
