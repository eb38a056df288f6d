//! `--aggregate` and `--by`: one row for each group of rows, with counts, sums and extremes.
//!
//! The groups are rows of a schema that is derived from that of the table: the fields of `--by`, and
//! a field for each aggregate, named as typed. So they are sorted and printed as all rows are.

use std::collections::BTreeMap;
use std::sync::Arc;

use cli::CliError;
use common::{Field, Kind, RowBuf, RowRef, Schema, Value};

use crate::cells::is_number;

use super::Selection;
use super::diagnostic::{field, list};
use super::fields::Projection;
use super::sort::{Order, push};

/// Name of the key of the only row if there is no `--by`. It is not printed.
const NO_GROUP: &str = "*";
const FUNCTIONS: &str = "count, sum(FIELD), min(FIELD), max(FIELD) or avg(FIELD)";

pub struct Aggregation {
    by: Vec<usize>,
    aggregates: Vec<Aggregate>,
    /// Fields of the groups.
    projection: Projection,
    order: Order,
}

struct Aggregate {
    /// The aggregate as the user typed it.
    name: String,
    function: Function,
    /// Index of the field; unused for a count.
    field: usize,
    /// Kind of the result.
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

/// The rows of a group.
struct Group<'r> {
    /// Values of the fields of `--by`.
    values: Vec<Value<'r>>,
    count: u64,
    totals: Vec<Total<'r>>,
}

/// The numbers of an aggregate so far.
#[derive(Clone, Default)]
struct Total<'r> {
    integer: i128,
    float: f64,
    /// The least or greatest value, and bytes that compare like it.
    extreme: Option<(Vec<u8>, Value<'r>)>,
}

impl Aggregation {
    /// Parses the arguments `--aggregate`, `--by`, and `--fields` and `--sort` for the groups.
    pub fn parse(
        text: &str,
        by: Option<&str>,
        selection: &Selection,
        schema: &Schema,
    ) -> Result<Self, CliError> {
        let group = |name: &str| match field(name, schema)? {
            (_, found) if matches!(found.kind(), Kind::F32 | Kind::F64) => {
                Err(format!("field {name:?} is a float, which has no groups"))
            }
            found => Ok(found),
        };
        let by = by.map_or(Ok(Vec::new()), |by| list("--by", by, group))?;
        let aggregates = list("--aggregate", text, |name| Aggregate::parse(name, schema))?;
        let (key, shown_from) = match by.is_empty() {
            true => (vec![(NO_GROUP, Kind::U8)], 1),
            false => (by.iter().map(|(_, field)| (field.name(), field.kind())).collect(), 0),
        };
        let totals = aggregates.iter().map(|one| (one.name.as_str(), one.kind));
        let names: Vec<&str> = key.iter().map(|(name, _)| *name).collect();
        let groups = Arc::new(Schema::new(key.iter().copied().chain(totals), &names)?);
        let all: Vec<&str> = groups.fields()[shown_from..].iter().map(Field::name).collect();
        let shown = selection.fields.clone().unwrap_or_else(|| all.join(","));
        let sort = selection.sort.as_ref();
        Ok(Self {
            by: by.into_iter().map(|(index, _)| index).collect(),
            aggregates,
            projection: Projection::parse(&shown, &groups)?,
            order: sort.map_or(Ok(Order::default()), |sort| Order::parse(sort, &groups))?,
        })
    }

    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// Returns a row for each group, sorted. Without `--by` all rows are one group, which has no row
    /// if there are none to take a minimum, maximum or average of.
    ///
    /// # Errors
    /// A sum is too large.
    pub fn rows<'r>(
        &self,
        rows: impl IntoIterator<Item = RowRef<'r>>,
    ) -> Result<Vec<RowBuf>, CliError> {
        let mut groups = BTreeMap::<Vec<u8>, Group<'r>>::new();
        let group = |values| Group {
            values,
            count: 0,
            totals: vec![Total::default(); self.aggregates.len()],
        };
        let counts = [Function::Count, Function::Sum];
        if self.by.is_empty() && self.aggregates.iter().all(|one| counts.contains(&one.function)) {
            groups.insert(Vec::new(), group(Vec::new()));
        }
        for row in rows {
            let mut key = Vec::new();
            for index in &self.by {
                push(&mut key, &row.schema().fields()[*index], false, row);
            }
            let values = self.by.iter().map(|index| row.value(*index));
            let group = groups.entry(key).or_insert_with(|| group(values.collect()));
            group.count += 1;
            for (aggregate, total) in self.aggregates.iter().zip(&mut group.totals) {
                aggregate.add(total, row);
            }
        }
        let schema = self.projection.schema();
        let first_total = schema.fields().len() - self.aggregates.len();
        let row = |group: Group<'r>| {
            let mut row = RowBuf::new(Arc::clone(schema));
            let totals = self.aggregates.iter().zip(group.totals);
            let totals = totals.map(|(aggregate, total)| aggregate.value(total, group.count));
            let values = (0..).zip(group.values).chain((first_total..).zip(totals));
            for (index, value) in values {
                row.set(index, value)?;
            }
            Ok(row)
        };
        let mut rows = groups.into_values().map(row).collect::<common::Result<Vec<_>>>()?;
        if !self.order.is_by_key() {
            rows.sort_by_cached_key(|row| self.order.key(row.as_ref()));
        }
        Ok(rows)
    }
}

impl Aggregate {
    /// Parses an aggregate. The error is the reason.
    fn parse(name: &str, schema: &Schema) -> Result<Self, String> {
        let aggregate =
            |function, field, kind| Self { name: name.to_owned(), function, field, kind };
        if name == "count" {
            return Ok(aggregate(Function::Count, 0, Kind::U64));
        }
        let called = name.strip_suffix(')').and_then(|name| name.split_once('('));
        let (function, argument) = called.unwrap_or(("", ""));
        let function = match function.trim() {
            "sum" => Function::Sum,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" => Function::Avg,
            _ => return Err(format!("{name:?} is not an aggregate: use {FUNCTIONS}")),
        };
        let (index, found) = field(argument.trim(), schema)?;
        let kind = match (function, found.kind()) {
            (Function::Min | Function::Max, kind) => kind,
            (Function::Sum, Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64) => Kind::U64,
            (Function::Sum, Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64) => Kind::I64,
            (_, kind) if is_number(kind) => Kind::F64,
            (_, kind) => {
                let name = found.name();
                return Err(format!("field {name:?} is {kind}, which is not a number"));
            }
        };
        Ok(aggregate(function, index, kind))
    }

    fn add<'r>(&self, total: &mut Total<'r>, row: RowRef<'r>) {
        match self.function {
            Function::Count => {}
            Function::Sum | Function::Avg => match row.value(self.field) {
                Value::U64(number) => total.integer += i128::from(number),
                Value::I64(number) => total.integer += i128::from(number),
                Value::F32(number) => total.float += f64::from(number),
                Value::F64(number) => total.float += number,
                _ => {}
            },
            Function::Min | Function::Max => {
                let mut order = Vec::new();
                push(&mut order, &row.schema().fields()[self.field], false, row);
                let is_further = total.extreme.as_ref().is_none_or(|(best, _)| {
                    if self.function == Function::Min { order < *best } else { order > *best }
                });
                if is_further {
                    total.extreme = Some((order, row.value(self.field)));
                }
            }
        }
    }

    /// Returns the result. A sum that is too large for an integer is a float, which the field then
    /// refuses.
    fn value<'r>(&self, total: Total<'r>, count: u64) -> Value<'r> {
        let sum = total.integer as f64 + total.float;
        match (self.function, total.extreme) {
            (Function::Count, _) => Value::U64(count),
            (Function::Avg, _) => Value::F64(sum / count as f64),
            (_, Some((_, extreme))) => extreme,
            _ if self.kind == Kind::F64 => Value::F64(sum),
            _ => match (u64::try_from(total.integer), i64::try_from(total.integer)) {
                (Ok(integer), _) => Value::U64(integer),
                (_, Ok(integer)) => Value::I64(integer),
                _ => Value::F64(sum),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "id:u8,city:text(8),n:i64,big:u64,f:f64,at:timestamp";
    const CELLS: [[&str; 6]; 4] = [
        ["1", "rome", "-5", "18446744073709551615", "1.5", "2026-01-01T00:00:00Z"],
        ["2", "oslo", "7", "1", "NaN", "2026-01-03T00:00:00Z"],
        ["3", "rome", "4", "2", "2", "2026-01-02T00:00:00Z"],
        ["4", "oslo", "1", "3", "-1", "2026-01-04T00:00:00Z"],
    ];

    /// Returns the rows of the groups as they are printed.
    fn groups(
        text: &str,
        by: Option<&str>,
        sort: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, CliError> {
        let schema = Arc::new(Schema::parse(FIELDS, None).unwrap());
        let rows: Vec<RowBuf> = CELLS[..most]
            .iter()
            .map(|cells| {
                let mut row = RowBuf::new(Arc::clone(&schema));
                for (index, cell) in cells.iter().enumerate() {
                    row.set_text(index, cell).unwrap();
                }
                row
            })
            .collect();
        let selection = Selection { sort: sort.map(str::to_owned), ..Selection::default() };
        let aggregation = Aggregation::parse(text, by, &selection, &schema)?;
        let groups = aggregation.rows(rows.iter().map(RowBuf::as_ref))?;
        let shown = groups.iter().map(|row| aggregation.projection().show(row.as_ref()));
        let cells = shown.map(|row| row.values().map(|(_, value)| value.to_string()).collect());
        Ok(cells.map(|cells: Vec<String>| cells.join(" ")).collect())
    }

    #[test]
    fn rows_are_grouped_and_sorted() {
        let by_city = |text, sort| groups(text, Some("city"), sort, 4).unwrap();
        assert_eq!(
            by_city("count,sum(n),min(at)", None),
            ["oslo 2 8 2026-01-03T00:00:00Z", "rome 2 -1 2026-01-01T00:00:00Z"]
        );
        assert_eq!(by_city("avg(n),max(id)", Some("avg(n)")), ["rome -0.5 3", "oslo 4 4"]);
        assert_eq!(by_city("min(f), max(f)", None), ["oslo -1 NaN", "rome 1.5 2"]);
        assert_eq!(groups("count,sum(n)", None, None, 4).unwrap(), ["4 7"]);
        assert_eq!(groups("count,sum(f)", None, None, 0).unwrap(), ["0 0"]);
        assert!(groups("count,max(n)", None, None, 0).unwrap().is_empty());
        assert_eq!(groups("sum(big)", None, None, 1).unwrap(), [u64::MAX.to_string()]);
        let error = groups("sum(big)", None, None, 4).unwrap_err().to_string();
        assert!(error.contains("\"sum(big)\" cannot hold"), "{error}");
    }

    #[test]
    fn errors_mark_the_wrong_part() {
        for (text, by, part, marks) in [
            ("count,median(n)", None, "not an aggregate", "        ^^^^^^^^^"),
            ("total", None, "not an aggregate", "  ^^^^^"),
            ("sum(city)", None, "not a number", "  ^^^^^^^^^"),
            ("sum(m)", None, "no field \"m\"", "  ^^^^^^"),
            ("count", Some("city,f"), "float", "       ^"),
            ("count", Some("town"), "no field \"town\"", "  ^^^^"),
        ] {
            let message = groups(text, by, None, 4).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(message.ends_with(&format!("\n{marks}")), "{message}");
        }
    }
}
