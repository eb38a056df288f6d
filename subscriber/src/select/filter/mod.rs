//! `--where CONDITION`: [parses](condition) conditions, and binds them to a schema.
//!
//! Values are compared by kind: numbers and times by value; text, MAC addresses and IP addresses by
//! their bytes; networks by family, address and prefix; floats as in IEEE 754 (NaN is not equal to,
//! less than or greater than anything).

use std::cmp::Ordering;
use std::net::IpAddr;

use common::{Error, IpNet, Kind, RowRef, Schema, Value};
use regex::{Regex, RegexBuilder};

use super::diagnostic;
use cli::CliError;

use condition::{Comparison, Formula, Operator, Piece};

mod condition;
mod units;

pub use condition::Condition;

/// Conditions that are bound to a schema and must all hold.
pub struct Filter {
    conditions: Vec<BoundCondition>,
}

struct BoundCondition {
    comparisons: Vec<BoundComparison>,
    formula: Formula,
}

struct BoundComparison {
    field: usize,
    kind: Kind,
    /// The comparison holds if one of these does.
    predicates: Vec<Predicate>,
}

enum Predicate {
    /// The operator, one of the six comparisons, holds between the field's value and this value.
    Compares(Operator, Value<'static>),
    Matches(Regex),
    /// The field's address or network is in this network.
    Within(ipnet::IpNet),
    /// The field's network contains this address or network.
    Covers(ipnet::IpNet),
}

impl Filter {
    /// Resolves field names, and parses values by the kinds of their fields.
    pub fn bind(conditions: &[Condition], schema: &Schema) -> Result<Self, CliError> {
        let bind = |condition: &Condition| {
            let comparisons = condition.comparisons.iter();
            let comparisons = comparisons.map(|one| BoundComparison::bind(condition, one, schema));
            let comparisons: Result<_, CliError> = comparisons.collect();
            Ok(BoundCondition { comparisons: comparisons?, formula: condition.formula.clone() })
        };
        conditions.iter().map(bind).collect::<Result<_, _>>().map(|conditions| Self { conditions })
    }

    /// Returns true if every condition holds for the row.
    pub fn matches(&self, row: RowRef<'_>) -> bool {
        self.conditions.iter().all(|one| one.holds(&one.formula, row))
    }

    /// Returns the name of a condition's field that has another kind than in `before`. Texts of
    /// different widths count as the same kind.
    pub fn changed_kind<'s>(&self, before: &Self, schema: &'s Schema) -> Option<&'s str> {
        let changed = self.comparisons().zip(before.comparisons()).find(|(now, before)| {
            let texts = [now.kind, before.kind].map(|kind| matches!(kind, Kind::Text(_)));
            now.kind != before.kind && texts != [true; 2]
        });
        changed.map(|(now, _)| schema.fields()[now.field].name())
    }

    fn comparisons(&self) -> impl Iterator<Item = &BoundComparison> {
        self.conditions.iter().flat_map(|condition| &condition.comparisons)
    }
}

impl BoundCondition {
    fn holds(&self, formula: &Formula, row: RowRef<'_>) -> bool {
        match formula {
            Formula::Comparison(index) => {
                let BoundComparison { field, predicates, .. } = &self.comparisons[*index];
                let value = row.value(*field);
                predicates.iter().any(|predicate| predicate.holds(&value))
            }
            Formula::Not(inner) => !self.holds(inner, row),
            Formula::All(parts) => parts.iter().all(|part| self.holds(part, row)),
            Formula::Any(parts) => parts.iter().any(|part| self.holds(part, row)),
        }
    }
}

impl BoundComparison {
    fn bind(
        condition: &Condition,
        comparison: &Comparison,
        schema: &Schema,
    ) -> Result<Self, CliError> {
        let Piece { text: name, at } = &comparison.field;
        let found = diagnostic::field(name, schema);
        let (field, found) = found.map_err(|reason| condition.wrong(at, &reason))?;
        let kind = found.kind();
        let values = comparison.values.iter();
        let predicates = values.map(|value| Predicate::bind(condition, comparison, value, kind));
        Ok(Self { field, kind, predicates: predicates.collect::<Result<_, _>>()? })
    }
}

impl Predicate {
    fn bind(
        condition: &Condition,
        comparison: &Comparison,
        value: &Piece,
        kind: Kind,
    ) -> Result<Self, CliError> {
        let (name, text) = (&comparison.field.text, value.text.as_str());
        let network = || {
            network(text).ok_or_else(|| {
                let message =
                    format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address");
                condition.wrong(&value.at, &message)
            })
        };
        let regex = |pattern: &str, ignores_case| {
            let regex = RegexBuilder::new(pattern).case_insensitive(ignores_case).build();
            regex.map(Self::Matches).map_err(|error| {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let message = format!("{text:?} is not a regular expression: {reason}");
                condition.wrong(&value.at, &message)
            })
        };
        let is_text = matches!(kind, Kind::Text(_));
        Ok(match comparison.operator {
            Operator::Contains { ignores_case } if is_text => {
                regex(&regex::escape(text), ignores_case)?
            }
            Operator::Starts { ignores_case } if is_text => {
                regex(&format!("^{}", regex::escape(text)), ignores_case)?
            }
            Operator::Matches { ignores_case } if is_text => regex(text, ignores_case)?,
            Operator::Like { .. }
                if is_text && text.contains('%') && !text.contains(['*', '?']) =>
            {
                let message = "like has the wildcards * and ?, and not %";
                return Err(condition.wrong(&value.at, message));
            }
            Operator::Like { ignores_case } if is_text => regex(&wildcards(text), ignores_case)?,
            Operator::Contains { ignores_case: false } if kind == Kind::IpNet => {
                Self::Covers(network()?)
            }
            Operator::In if matches!(kind, Kind::Ipv4 | Kind::Ipv6 | Kind::IpNet) => {
                Self::Within(network()?)
            }
            Operator::In if is_text && !comparison.is_list => Self::Within(network()?),
            Operator::In if !comparison.is_list => {
                let message = format!(
                    "field {name:?} is {kind}, and in takes a list such as (1, 2), or a network for \
                     addresses, networks, and texts that hold one; for one value use = != < <= > >="
                );
                return Err(condition.wrong(&comparison.operator_at, &message));
            }
            operator @ (Operator::Contains { .. }
            | Operator::Starts { .. }
            | Operator::Like { .. }
            | Operator::Matches { .. }) => {
                let of = match operator {
                    Operator::Contains { ignores_case: false } => "texts and networks",
                    _ => "texts",
                };
                let message = format!(
                    "field {name:?} is {kind}, and this operator is for {of}: use = != < <= > >= in"
                );
                return Err(condition.wrong(&comparison.operator_at, &message));
            }
            // Not parsed by the field's kind, which refuses longer texts: no value equals them, but
            // they can be compared.
            operator if is_text => Self::Compares(operator, Value::Text(text.to_owned().into())),
            operator => Self::Compares(operator, constant(condition, name, kind, value)?),
        })
    }

    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Compares(operator, other), value) => {
                let order = compare(value, other);
                match operator {
                    Operator::Unequal => order != Some(Ordering::Equal),
                    Operator::Less => order == Some(Ordering::Less),
                    Operator::AtMost => order.is_some_and(Ordering::is_le),
                    Operator::Greater => order == Some(Ordering::Greater),
                    Operator::AtLeast => order.is_some_and(Ordering::is_ge),
                    _ => order == Some(Ordering::Equal),
                }
            }
            (Self::Matches(regex), Value::Text(text)) => regex.is_match(text),
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

/// Parses the value of a field that is not a text, with or without a unit.
fn constant(
    condition: &Condition,
    field: &str,
    kind: Kind,
    value: &Piece,
) -> Result<Value<'static>, CliError> {
    let text = value.text.as_str();
    let plain = match Value::parse(kind, text) {
        Ok(plain) => return Ok(plain.into_owned()),
        Err(error) => error,
    };
    let reason = match (units::parse(field, kind, text), plain) {
        (Ok(Some(value)), _) => return Ok(value),
        (Err(reason), _) | (Ok(None), Error::InvalidValue { reason, .. }) => reason,
        (Ok(None), other) => other.to_string(),
    };
    let message =
        format!("field {field:?} is {kind}, and {text:?} is not a valid {kind}: {reason}");
    Err(condition.wrong(&value.at, &message))
}

/// Returns a regular expression for whole texts in which `*` stands for any letters and `?` for one.
fn wildcards(pattern: &str) -> String {
    let pattern = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    format!("^(?s:{pattern})$")
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
            "t icontains 1.2",
            "t like 10.*.?",
            "t ilike *",
            "t ~ '^10[.]'",
            "t in (a, 10.1.2.3)",
            "t not in (a, b)",
            "n in (1, 200)",
            "a in (11.0.0.0/8, 10.1.2.3)",
            "z > 2025-12-31",
            "z < now",
            "n = 0.2kB",
            "n = 1 or n = 2 or n = 200",
            "not (n = 1 or n = 2)",
            "n = 200 and not y = false",
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
            "t like 10",
            "t like 1?",
            "t ~ ^1$",
            "t in (10.0.0.0/8, b)",
            "n in (1, 2)",
            "n not in (1, 200)",
            "n = 200 and n = 1 or y = false",
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
            ("n in 7", "a list such as", "  ^^"),
            ("n in (7, x)", "not a valid u8", "         ^"),
            ("n ~ 7", "this operator is for texts", "  ^"),
            ("t ~ (", "regular expression: unclosed group", "    ^"),
            ("t like 10%", "wildcards * and ?", "       ^^^"),
            ("n < 5s", "ends with its unit", "    ^^"),
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
}
