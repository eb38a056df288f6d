use super::*;

const TABS: Dialect = Dialect {
    delimiter: b'\t',
    is_delimiter_given: true,
    comment: Some(b'#'),
    has_header: false,
    has_quotes: true,
    columns: None,
    skip_lines: 0,
};

/// Decodes bytes in pieces of `size`. Returns the line of each record with its cells or its error.
fn pieces(bytes: &[u8], dialect: Dialect, size: usize) -> Vec<(u64, Result<Vec<String>, String>)> {
    let mut decoder = Decoder::new(dialect, usize::MAX);
    let mut records = Vec::new();
    let mut buffer = Vec::new();
    let pieces = bytes.chunks(size).map(|piece| (piece, false));
    for (piece, is_end) in pieces.chain([(&b""[..], true)]) {
        buffer.extend_from_slice(piece);
        let mut rest = buffer.as_slice();
        while let Some(record) = decoder.next(&mut rest, is_end) {
            let cells = record.cells;
            let cells = cells.map(|cells| cells.into_iter().map(Cow::into_owned).collect());
            records.push((record.line, cells));
        }
        buffer = rest.to_vec();
    }
    assert!(buffer.is_empty(), "all of the input is read");
    records
}

/// Decodes bytes at once and in small pieces, and asserts that the results are equal.
fn records(bytes: &[u8], dialect: Dialect) -> Vec<(u64, Result<Vec<String>, String>)> {
    let whole = pieces(bytes, dialect, bytes.len().max(1));
    for size in 1..4 {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(pieces(bytes, dialect, size), whole, "{text:?} in pieces of {size}");
    }
    whole
}

fn good(bytes: &[u8], dialect: Dialect) -> Vec<(u64, Vec<String>)> {
    let records = records(bytes, dialect).into_iter();
    records.map(|(line, cells)| (line, cells.unwrap_or_else(|reason| panic!("{reason}")))).collect()
}

/// Returns the line and the error of the first bad record.
fn bad(bytes: &[u8], dialect: Dialect) -> String {
    let records = records(bytes, dialect).into_iter();
    let mut bad = records.filter_map(|(line, cells)| Some(format!("{line}: {}", cells.err()?)));
    bad.next().expect("a record is bad")
}

fn line(number: u64, cells: &[&str]) -> (u64, Vec<String>) {
    (number, cells.iter().map(|cell| (*cell).to_owned()).collect())
}

/// Guards against line ends that are not counted, and other bytes that are read as a line end.
/// Covers CR, LF, CRLF and all of them mixed, at the end of the input, in quotes, after comments,
/// and empty lines of each.
#[test]
fn every_line_end_ends_a_record_and_is_counted() {
    let expected = [line(1, &["a", "b"]), line(2, &["1", "x"]), line(3, &["2", ""])];
    for text in [
        "a,b\n1,x\n2,",
        "a,b\r1,x\r2,\r",
        "a,b\r\n1,x\r\n2,\r\n",
        "a,b\r1,x\r\n2,\n",
        "a,b\n1,x\r2,\r\n",
    ] {
        assert_eq!(good(text.as_bytes(), Dialect::default()), expected, "{text:?}");
    }
    let text = b"\r\n\r\ra,b\n\r\"1\r\n2\r3\n\",x\r\n\r\n2,\"\"\r";
    let expected = [line(4, &["a", "b"]), line(6, &["1\r\n2\r3\n", "x"]), line(11, &["2", ""])];
    assert_eq!(good(text, Dialect::default()), expected);
    let text = b"# \"one\r1\t2\r# two\n\r#\r\n3\t4\r#";
    assert_eq!(good(text, TABS), [line(2, &["1", "2"]), line(6, &["3", "4"])]);
}

#[test]
fn quoted_cells_are_decoded() {
    for (text, cells) in [
        ("\"a,b\",c", &["a,b", "c"][..]),
        ("\"a \"\"b\"\" c\",\"\"", &["a \"b\" c", ""]),
        ("\"\"\"\"", &["\""]),
        ("\"\"", &[""]),
        ("5\" pipe,a\"b\"", &["5\" pipe", "a\"b\""]),
        (" \"a\"", &[" \"a\""]),
        (",", &["", ""]),
        ("\0,ä", &["\0", "ä"]),
    ] {
        assert_eq!(good(text.as_bytes(), Dialect::default()), [line(1, cells)], "{text:?}");
    }
    let ordinary = Dialect { has_quotes: false, ..TABS };
    assert_eq!(
        good(b"1\t\"Open\n2\t\"a\"b\n\"\"\"\t\"\n", ordinary),
        [line(1, &["1", "\"Open"]), line(2, &["2", "\"a\"b"]), line(3, &["\"\"\"", "\""]),]
    );
}

/// Guards against malformed quotes that change cells or swallow records without an error. Covers
/// letters, blanks and quotes after a closing quote; in the first, a middle and the last cell, in
/// the header, in the last record, with another delimiter, and in a cell that spans lines; a quote
/// that is never closed.
#[test]
fn malformed_quotes_are_refused() {
    for (text, dialect, parts) in [
        ("\"abc\"def\n", Dialect::default(), &["1: ", "--quote none"][..]),
        ("a\n\"She said \"no\" to me\"\n", Dialect::default(), &["2: ", "double"]),
        ("a,b\n1,\"x\" \n", Dialect::default(), &["2: ", "closing quote"]),
        ("a,b\n\"x\" ,1\n", Dialect::default(), &["2: "]),
        ("\"a\"b,c\n1,2\n", Dialect::default(), &["1: "]),
        ("a\n1\n\"x\"y", Dialect::default(), &["3: "]),
        ("\"x\"\"\"y", Dialect::default(), &["1: "]),
        ("1\t\"Open\n2\tTwo\n3\tSome \"q\" word\n", TABS, &["1: ", "in line 3"]),
        ("1\t\"x\",2\n", TABS, &["1: ", "--delimiter ','"]),
        ("\"id\";\"n\"\n\"1\";\"2\"\n", Dialect::default(), &["1: ", "--delimiter ';'"]),
        ("\"id\"\t\"n\"\n", Dialect::default(), &["1: ", "--delimiter tab"]),
        ("a\n1\n\"x", Dialect::default(), &["3: ", "never closed", "--quote none"]),
        ("\"", Dialect::default(), &["1: ", "never closed"]),
        ("a\r\"x\"\"\r\r", Dialect::default(), &["2: ", "never closed"]),
    ] {
        let reason = bad(text.as_bytes(), dialect);
        assert!(
            reason.starts_with(parts[0]) && parts.iter().all(|part| reason.contains(part)),
            "{text:?}: {reason}"
        );
    }
}

#[test]
fn decoding_continues_after_a_bad_record() {
    let records = records(b"\"a\"b,\"c\n1,2\r\"x\"y\r\n3,4\n", Dialect::default());
    let short: Vec<_> = records.iter().map(|(line, cells)| (*line, cells.is_ok())).collect();
    assert_eq!(short, [(1, false), (2, true), (3, false), (4, true)]);
}

/// Guards against a byte-order mark that is read as text. Covers marks before quotes, a comment, an
/// empty line and a later record of concatenated files, and text that begins like a mark.
#[test]
fn byte_order_marks_are_skipped() {
    for (text, dialect, expected) in [
        ("\u{feff}id,n", Dialect::default(), line(1, &["id", "n"])),
        ("\u{feff}\"id\",n\n", Dialect::default(), line(1, &["id", "n"])),
        ("\u{feff}# x\n1", TABS, line(2, &["1"])),
        ("\u{feff}\r\n1", TABS, line(2, &["1"])),
        ("\u{ff41},\u{ff42}", Dialect::default(), line(1, &["\u{ff41}", "\u{ff42}"])),
        ("\u{fec0}", Dialect::default(), line(1, &["\u{fec0}"])),
        ("a\u{feff}", Dialect::default(), line(1, &["a\u{feff}"])),
    ] {
        assert_eq!(good(text.as_bytes(), dialect), [expected], "{text:?}");
    }
    let records = good("1\n\u{feff}\"2\"\n".as_bytes(), Dialect::default());
    assert_eq!(records, [line(1, &["1"]), line(2, &["2"])]);
    assert_eq!(good("\u{feff}".as_bytes(), Dialect::default()), []);
    assert!(bad(b"\xef\xbb", Dialect::default()).contains("not UTF-8"));
    assert!(bad(b"x\xef,1", Dialect::default()).contains("cell 1 is not UTF-8"));
}

/// The decoder agrees with the `csv` crate on well-formed CSV.
#[test]
fn random_records_match_the_csv_crate() {
    let mut random = 7_u32;
    let mut next = |count: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % count
    };
    for _ in 0..2_000 {
        let mut writer = csv::WriterBuilder::new();
        let style = [csv::QuoteStyle::Necessary, csv::QuoteStyle::Always][next(2) as usize];
        let end = [csv::Terminator::CRLF, csv::Terminator::Any(b'\n')][next(2) as usize];
        let mut writer =
            writer.flexible(true).quote_style(style).terminator(end).from_writer(Vec::new());
        let mut written = Vec::new();
        for _ in 0..next(5) {
            let cells: Vec<String> = (0..=next(3))
                .map(|_| {
                    let letters =
                        (0..next(5)).map(|_| ['a', '"', ',', '\n', '\r', 'ä'][next(6) as usize]);
                    letters.collect()
                })
                .collect();
            writer.write_record(&cells).unwrap();
            written.push(cells);
        }
        let bytes = writer.into_inner().unwrap();
        let read: Vec<Vec<String>> =
            good(&bytes, Dialect::default()).into_iter().map(|(_, cells)| cells).collect();
        assert_eq!(read, written, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn record_size_is_limited() {
    let mut decoder = Decoder::new(Dialect::default(), 10);
    let mut read = |text: &str| {
        let record = decoder.next(&mut text.as_bytes(), false)?;
        Some(record.cells.map(|cells| cells.len()))
    };
    assert_eq!(read("0123456789\n"), Some(Ok(1)));
    for long in ["0123456789a", "1,2,3,4,5,6,", "\"1234\n56789"] {
        for end in ["", "\n"] {
            let refused = read(&format!("{long}{end}"));
            assert!(refused.unwrap().unwrap_err().contains("10 bytes"), "{long:?}");
            // The rest of a refused record is skipped.
            assert_eq!(read("\n1,2,3\n"), Some(Ok(3)));
        }
    }
    assert_eq!(read("\"12345\n678"), None);
}

#[test]
fn skipped_lines_and_the_line_that_names_the_delimiter_may_arrive_in_pieces() {
    let dialect = Dialect { skip_lines: 2, ..Dialect::default() };
    let found = records(b"a\"\r\n\r\nsep=|\r\n1|2\r\nsep=,", dialect);
    let cells = |cells: &[&str]| Ok(cells.iter().map(|cell| (*cell).to_owned()).collect());
    assert_eq!(found, [(4, cells(&["1", "2"])), (5, cells(&["sep=,"]))]);
    for text in [&b"sep"[..], b"sep=", b"sep=\"\n", b"sep=;;\n", b"se,p=;"] {
        assert_eq!(records(text, Dialect::default()).len(), 1, "{}", text.escape_ascii());
    }
}
