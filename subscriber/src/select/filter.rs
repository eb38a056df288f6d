//! `--where 'FIELD OP VALUE'`: parses conditions, and binds them to a schema.
//!
//! FIELD ends at a blank or at one of `= ! < >`, VALUE at the end of the text. Blanks around both
//! are ignored. Either may be quoted as `'…'` or `"…"`; a quote inside is then doubled.
//!
//! Values are compared by kind: numbers and times by value; text, MAC addresses and IP addresses by
//! their bytes; networks by family, address and prefix; floats as in IEEE 754 (NaN is not equal to,
//! less than or greater than anything).

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Range;

use common::{Error, IpNet, Kind, RowRef, Schema, Value};

use super::diagnostic::{no_such_field, wrong};
use cli::CliError;

/// A condition that is not bound to a schema.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    field: Piece,
    operator: Operator,
    operator_at: Range<usize>,
    value: Piece,
}

#[derive(Clone, Debug)]
struct Piece {
    text: String,
    at: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
    Starts,
    In,
}

const OPERATORS: [(&str, Operator); 10] = [
    ("=", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    ("<=", Operator::AtMost),
    (">", Operator::Greater),
    (">=", Operator::AtLeast),
    ("contains", Operator::Contains),
    ("starts", Operator::Starts),
    ("in", Operator::In),
];
const OPERATOR_NAMES: &str = "= != < <= > >= contains starts in";

/// Conditions that are bound to a schema and must all hold.
pub struct Filter {
    conditions: Vec<BoundCondition>,
}

struct BoundCondition {
    field: usize,
    kind: Kind,
    predicate: Predicate,
}

enum Predicate {
    /// The operator, one of the six comparisons, holds between the field's value and this value.
    Compares(Operator, Value<'static>),
    Contains(String),
    Starts(String),
    /// The field's address or network is in this network.
    Within(ipnet::IpNet),
    /// The field's network contains this address or network.
    Covers(ipnet::IpNet),
}

impl Condition {
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let refuse = |what: &str, at| wrong(&format!("--where: {what}"), text, at);
        let not_closed = |at| refuse("this quote is not closed", at);
        let skip_blanks = |from: usize| text.len() - text[from..].trim_start().len();

        let ends_field = |letter: char| letter.is_whitespace() || is_symbol(letter);
        let field = piece(text, skip_blanks(0), ends_field).map_err(not_closed)?;
        if field.at.is_empty() {
            return Err(refuse("a field's name is missing here", field.at));
        }

        let operator_at = operator_at(text, skip_blanks(field.at.end));
        let mut operators = OPERATORS.iter();
        let operator = operators.find(|(name, _)| *name == &text[operator_at.clone()]);
        let Some((_, operator)) = operator else {
            let what = match operator_at.is_empty() {
                true => "an operator is missing here",
                false => "not an operator",
            };
            return Err(refuse(&format!("{what}: use {OPERATOR_NAMES}"), operator_at));
        };

        let start = skip_blanks(operator_at.end);
        let end = text.trim_end().len().max(start);
        let value = piece(&text[..end], start, |_| false).map_err(not_closed)?;
        if value.at.end < end {
            let what = "text after the closing quote: double a quote that is part of the value";
            return Err(refuse(what, value.at.end..end));
        }
        if value.at.is_empty() {
            let what = "a value is missing here: write \"\" for an empty text";
            return Err(refuse(what, value.at));
        }
        Ok(Self { text: text.to_owned(), field, operator: *operator, operator_at, value })
    }

    pub fn field_name(&self) -> &str {
        &self.field.text
    }

    /// Returns an error that points at a part of the condition.
    fn wrong(&self, at: &Range<usize>, message: &str) -> CliError {
        wrong(&format!("--where: {message}"), &self.text, at.clone())
    }
}

fn is_symbol(letter: char) -> bool {
    "=!<>".contains(letter)
}

/// Returns the quoted piece at `start`, or the text before the first letter for which `ends` is
/// true. The error is the position of a quote that is not closed.
fn piece(text: &str, start: usize, ends: impl Fn(char) -> bool) -> Result<Piece, Range<usize>> {
    let rest = &text[start..];
    let Some(quote) = rest.chars().next().filter(|letter| "'\"".contains(*letter)) else {
        let at = start..start + rest.find(ends).unwrap_or(rest.len());
        let text = text[at.clone()].to_owned();
        return Ok(Piece { text, at });
    };
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            text.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            let at = start..start + at + 1;
            return Ok(Piece { text, at });
        }
    }
    Err(start..start + 1)
}

fn operator_at(text: &str, start: usize) -> Range<usize> {
    let rest = &text[start..];
    let length = match rest.starts_with(is_symbol) {
        true => rest.find(|letter| !is_symbol(letter)),
        false => rest.find(char::is_whitespace),
    };
    start..start + length.unwrap_or(rest.len())
}

impl Filter {
    /// Resolves field names, and parses values by the kinds of their fields.
    pub fn bind(conditions: &[Condition], schema: &Schema) -> Result<Self, CliError> {
        let bind = |condition: &Condition| {
            let Piece { text: name, at } = &condition.field;
            let Some((field, found)) = schema.field(name) else {
                return Err(condition.wrong(at, &no_such_field(name, schema)));
            };
            let kind = found.kind();
            let predicate = Predicate::bind(condition, kind)?;
            Ok(BoundCondition { field, kind, predicate })
        };
        let conditions = conditions.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { conditions })
    }

    /// Returns true if every condition holds for the row.
    pub fn matches(&self, row: RowRef<'_>) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|one| one.predicate.holds(&row.value(one.field)))
    }

    /// Returns the name of a condition's field that has another kind than in `before`. Texts of
    /// different widths count as the same kind.
    pub fn changed_kind<'s>(&self, before: &Self, schema: &'s Schema) -> Option<&'s str> {
        let changed = self.conditions.iter().zip(&before.conditions).find(|(now, before)| {
            let texts = [now.kind, before.kind].map(|kind| matches!(kind, Kind::Text(_)));
            now.kind != before.kind && texts != [true; 2]
        });
        changed.map(|(now, _)| schema.fields()[now.field].name())
    }
}

impl Predicate {
    fn bind(condition: &Condition, kind: Kind) -> Result<Self, CliError> {
        let (name, text) = (&condition.field.text, condition.value.text.as_str());
        let network = || {
            network(text).ok_or_else(|| {
                let message =
                    format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address");
                condition.wrong(&condition.value.at, &message)
            })
        };
        let is_text = matches!(kind, Kind::Text(_));
        Ok(match condition.operator {
            Operator::Contains if is_text => Self::Contains(text.to_owned()),
            Operator::Starts if is_text => Self::Starts(text.to_owned()),
            Operator::Contains if kind == Kind::IpNet => Self::Covers(network()?),
            Operator::In if is_text || matches!(kind, Kind::Ipv4 | Kind::Ipv6 | Kind::IpNet) => {
                Self::Within(network()?)
            }
            operator @ (Operator::Contains | Operator::Starts | Operator::In) => {
                let of = match operator {
                    Operator::Contains => "texts and networks",
                    Operator::Starts => "texts",
                    _ => "addresses, networks, and texts that hold one",
                };
                let message = format!(
                    "field {name:?} is {kind}, and this operator is for {of}: use = != < <= > >="
                );
                return Err(condition.wrong(&condition.operator_at, &message));
            }
            // Not parsed by the field's kind, which refuses longer texts: no value equals them, but
            // they can be compared.
            operator if is_text => Self::Compares(operator, Value::Text(text.to_owned().into())),
            operator => {
                let value = Value::parse(kind, text).map_err(|error| {
                    let reason = match error {
                        Error::InvalidValue { reason, .. } => reason,
                        other => other.to_string(),
                    };
                    let message = format!(
                        "field {name:?} is {kind}, and {text:?} is not a valid {kind}: {reason}"
                    );
                    condition.wrong(&condition.value.at, &message)
                })?;
                Self::Compares(operator, value.into_owned())
            }
        })
    }

    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Compares(operator, other), value) => {
                let order = compare(value, other);
                match operator {
                    Operator::Equal => order == Some(Ordering::Equal),
                    Operator::Unequal => order != Some(Ordering::Equal),
                    Operator::Less => order == Some(Ordering::Less),
                    Operator::AtMost => order.is_some_and(Ordering::is_le),
                    Operator::Greater => order == Some(Ordering::Greater),
                    _ => order.is_some_and(Ordering::is_ge),
                }
            }
            (Self::Contains(part), Value::Text(text)) => text.contains(part),
            (Self::Starts(part), Value::Text(text)) => text.starts_with(part),
            (Self::Covers(inner), Value::IpNet(network)) => network.contains(inner),
            (Self::Within(outer), Value::Ipv4(address)) => outer.contains(&IpAddr::V4(*address)),
            (Self::Within(outer), Value::Ipv6(address)) => outer.contains(&IpAddr::V6(*address)),
            (Self::Within(outer), Value::IpNet(network)) => outer.contains(network),
            (Self::Within(outer), Value::Text(text)) => {
                network(text).is_some_and(|inner| outer.contains(&inner))
            }
            _ => false,
        }
    }
}

/// Parses a network, or an address as a network of that address alone.
fn network(text: &str) -> Option<ipnet::IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(ipnet::IpNet::from);
    text.parse().ok().or_else(address)
}

/// Compares two values of the same kind.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.partial_cmp(b),
        (Value::U64(a), Value::U64(b)) => a.partial_cmp(b),
        (Value::I64(a), Value::I64(b)) => a.partial_cmp(b),
        (Value::F32(a), Value::F32(b)) => a.partial_cmp(b),
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.partial_cmp(b),
        (Value::Ipv4(a), Value::Ipv4(b)) => a.partial_cmp(b),
        (Value::Ipv6(a), Value::Ipv6(b)) => a.partial_cmp(b),
        (Value::IpNet(a), Value::IpNet(b)) => IpNet::from(*a).partial_cmp(&IpNet::from(*b)),
        (Value::Mac(a), Value::Mac(b)) => a.partial_cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.partial_cmp(b),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::RowBuf;

    use super::*;

    const FIELDS: &str =
        "n:u8,s:i64,f:f32,d:f64,t:text(20),a:ipv4,b:ipv6,w:ipnet,m:mac,z:timestamp,y:bool";

    fn row(cells: [&str; 11]) -> RowBuf {
        let schema = Arc::new(Schema::parse(FIELDS, None).unwrap());
        let mut row = RowBuf::new(schema);
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        row
    }

    fn filter(text: &str) -> Result<Filter, CliError> {
        let schema = Schema::parse(FIELDS, None).unwrap();
        Filter::bind(&[Condition::parse(text)?], &schema)
    }

    #[test]
    fn each_kind_has_its_operators() {
        let row = row([
            "200",
            "-5",
            "0.1",
            "NaN",
            "10.1.2.3",
            "10.1.2.3",
            "fe80::1",
            "10.1.0.0/16",
            "02:00:00:00:00:ff",
            "2026-01-01T00:00:00Z",
            "true",
        ]);
        let holding = [
            "n = 200",
            "n != 20",
            "n > 99",
            "n >= 200",
            "n <= 200",
            "n < 201",
            "s < 3",
            "s > -6",
            "f = 0.1",
            "d != NaN",
            "d != 1",
            "t = 10.1.2.3",
            "t contains 1.2",
            "t starts 10.",
            "t in 10.0.0.0/8",
            "t < 9",
            "t != 'longer than the field can ever hold'",
            "a in 10.1.2.0/24",
            "a in 10.1.2.3",
            "a < 10.1.10.0",
            "b in fe80::/10",
            "w in 10.0.0.0/8",
            "w in 10.1.0.0/16",
            "w contains 10.1.255.1",
            "w contains 10.1.1.0/24",
            "w > 9.0.0.0/8",
            "w = 10.1.2.3/16",
            "m > 02-00-00-00-00-FE",
            "z > 2025-12-31T23:00:00Z",
            "y = true",
            "y = 1",
            "t contains ''",
        ];
        for text in holding {
            assert!(filter(text).unwrap().matches(row.as_ref()), "{text}");
        }
        let failing = [
            "n != 200",
            "n < 99",
            "s > 3",
            "d = NaN",
            "d < 1",
            "d >= NaN",
            "t = 10.1.2",
            "t contains x",
            "t starts 1.",
            "t in 11.0.0.0/8",
            "a in 10.1.3.0/24",
            "a in fe80::/10",
            "b in 0.0.0.0/0",
            "w in 10.1.2.0/24",
            "w contains 10.2.0.1",
            "w contains 10.0.0.0/8",
            "y != true",
            "z <= 2025-12-31T23:00:00Z",
        ];
        for text in failing {
            assert!(!filter(text).unwrap().matches(row.as_ref()), "{text}");
        }
    }

    #[test]
    fn rows_must_match_all_conditions() {
        let schema = Schema::parse(FIELDS, None).unwrap();
        let row =
            row(["7", "0", "0", "0", "", "0.0.0.0", "::", "::/0", "00:00:00:00:00:00", "0", "0"]);
        let matches = |texts: &[&str]| {
            let conditions = texts.iter().map(|text| Condition::parse(text).unwrap());
            let conditions: Vec<_> = conditions.collect();
            Filter::bind(&conditions, &schema).unwrap().matches(row.as_ref())
        };
        assert!(matches(&[]));
        assert!(matches(&["n > 6", "n < 8", "t = ''"]));
        assert!(!matches(&["n > 6", "n < 7"]));
        assert!(!matches(&["n > 7", "n < 8"]));
    }

    #[test]
    fn binding_errors_mark_the_wrong_part() {
        let message = |text| filter(text).err().unwrap().to_string();
        assert_eq!(
            message("d > cheap").lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "--where: field \"d\" is f64, and \"cheap\" is not a valid f64: f64 takes a number up to 1.7e308, NaN, Infinity or \
                 -Infinity",
                "  d > cheap",
                "      ^^^^^"
            ]
        );
        for (text, part, marks) in [
            ("price = 1", "no field \"price\"", "^^^^^"),
            ("n = 256", "0 to 255", "    ^^^"),
            ("n contains 2", "texts", "  ^^^^^^^^"),
            ("a starts 10", "texts", "  ^^^^^^"),
            ("m in 10.0.0.0/8", "addresses", "  ^^"),
            ("a in 10.0.0/8", "neither a network", "     ^^^^^^^^"),
        ] {
            let message = message(text);
            assert!(message.contains(part), "{message}");
            assert!(message.ends_with(&format!("\n  {marks}")), "{message}");
        }
    }

    #[test]
    fn changed_kind_of_a_field_is_detected() {
        let bind = |fields| {
            let condition = Condition::parse("a = 1").unwrap();
            let schema = Schema::parse(fields, None).unwrap();
            (Filter::bind(&[condition], &schema).unwrap(), schema)
        };
        let (text, _) = bind("id:u8,a:text(8)");
        let (wider, schema) = bind("a:text(16),id:u8");
        assert_eq!(wider.changed_kind(&text, &schema), None);
        let (number, schema) = bind("a:u64");
        assert_eq!(number.changed_kind(&text, &schema), Some("a"));
    }

    #[test]
    fn conditions_are_parsed() {
        let cases = [
            ("price>1.5", "price", Operator::Greater, "1.5"),
            (" price  <= -1 ", "price", Operator::AtMost, "-1"),
            ("'lot size' == 7", "lot size", Operator::Equal, "7"),
            ("name = a b  c ", "name", Operator::Equal, "a b  c"),
            ("name != ' a '", "name", Operator::Unequal, " a "),
            ("name='it''s'", "name", Operator::Equal, "it's"),
            ("name = \"\"", "name", Operator::Equal, ""),
            ("name contains =", "name", Operator::Contains, "="),
            ("net in 10.0.0.0/8", "net", Operator::In, "10.0.0.0/8"),
            ("in in in", "in", Operator::In, "in"),
        ];
        for (text, field, operator, value) in cases {
            let read = Condition::parse(text).unwrap();
            assert_eq!(
                (read.field.text.as_str(), read.operator, read.value.text.as_str()),
                (field, operator, value),
                "{text}"
            );
        }
    }

    #[test]
    fn parse_errors_mark_the_wrong_part() {
        let cases = [
            ("", "name is missing", "^"),
            ("= 7", "name is missing", "^"),
            ("price", "operator is missing", "     ^"),
            ("price =< 7", "not an operator", "      ^^"),
            ("price likes 7", "not an operator", "      ^^^^^"),
            ("price > ", "value is missing", "        ^"),
            ("'price > 7", "not closed", "^"),
            ("name = 'a' b", "after the closing quote", "          ^^"),
        ];
        for (text, part, marks) in cases {
            let failure = Condition::parse(text).unwrap_err();
            let message = failure.to_string();
            let lines: Vec<&str> = message.lines().collect();
            assert_eq!((failure.code(), lines.len()), (2, 3), "{message}");
            assert!(lines[0].contains(part), "{message}");
            assert_eq!(lines[2].strip_prefix("  "), Some(marks), "{message}");
        }
    }
}
