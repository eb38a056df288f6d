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
use super::diagnostic::{no_such_field, parts, wrong};
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
struct Group {
    /// Values of the fields of `--by`.
    values: Vec<Value<'static>>,
    count: u64,
    totals: Vec<Total>,
}

/// The numbers of an aggregate so far.
#[derive(Clone, Default)]
struct Total {
    integer: i128,
    float: f64,
    /// The least or greatest value, and bytes that compare like it.
    extreme: Option<(Vec<u8>, Value<'static>)>,
}

impl Aggregation {
    /// Parses the arguments `--aggregate`, `--by`, and `--fields` and `--sort` for the groups.
    pub fn parse(
        text: &str,
        by: Option<&str>,
        selection: &Selection,
        schema: &Schema,
    ) -> Result<Self, CliError> {
        let (mut fields, mut grouped) = (Vec::new(), Vec::new());
        for (name, at) in by.into_iter().flat_map(parts) {
            let refuse = |what: &str| wrong(&format!("--by: {what}"), by.unwrap_or(""), at.clone());
            let found = schema.field(name);
            let (index, field) = found.ok_or_else(|| refuse(&no_such_field(name, schema)))?;
            if matches!(field.kind(), Kind::F32 | Kind::F64) {
                return Err(refuse(&format!("field {name:?} is a float, which has no groups")));
            }
            grouped.push(index);
            fields.push((name.to_owned(), field.kind()));
        }
        let shown_from = usize::from(by.is_none());
        if by.is_none() {
            fields.push((NO_GROUP.to_owned(), Kind::U8));
        }
        let keys = fields.len();
        let mut aggregates = Vec::new();
        for (name, at) in parts(text) {
            let refuse = |what: &str| wrong(&format!("--aggregate: {what}"), text, at.clone());
            let aggregate = Aggregate::parse(name, schema).map_err(|what| refuse(&what))?;
            fields.push((name.to_owned(), aggregate.kind));
            aggregates.push(aggregate);
        }
        let key: Vec<&str> = fields[..keys].iter().map(|(name, _)| name.as_str()).collect();
        let groups = Arc::new(Schema::new(fields.clone(), &key)?);
        let all: Vec<&str> = groups.fields()[shown_from..].iter().map(Field::name).collect();
        let shown = selection.fields.clone().unwrap_or_else(|| all.join(","));
        let sort = selection.sort.as_ref();
        Ok(Self {
            by: grouped,
            aggregates,
            projection: Projection::parse(&shown, &groups)?,
            order: sort.map_or(Ok(Order::default()), |sort| Order::parse(sort, &groups))?,
        })
    }

    /// Returns the fields of the groups.
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
        let mut groups = BTreeMap::<Vec<u8>, Group>::new();
        let group = |values| Group {
            values,
            count: 0,
            totals: vec![Total::default(); self.aggregates.len()],
        };
        let counts = [Function::Count, Function::Sum];
        if self.by.is_empty() && self.aggregates.iter().all(|one| counts.contains(&one.function)) {
            groups.insert(Vec::new(), group(vec![Value::U64(0)]));
        }
        for row in rows {
            let mut key = Vec::new();
            for index in &self.by {
                push(&mut key, &row.schema().fields()[*index], false, row);
            }
            let values = || match self.by.is_empty() {
                true => vec![Value::U64(0)],
                false => self.by.iter().map(|index| row.value(*index).into_owned()).collect(),
            };
            let group = groups.entry(key).or_insert_with(|| group(values()));
            group.count += 1;
            for (aggregate, total) in self.aggregates.iter().zip(&mut group.totals) {
                aggregate.add(total, row);
            }
        }
        let schema = self.projection.schema();
        let row = |group: Group| {
            let mut row = RowBuf::new(Arc::clone(schema));
            let totals = self.aggregates.iter().zip(group.totals);
            let totals = totals.map(|(aggregate, total)| aggregate.value(total, group.count));
            for (index, value) in group.values.into_iter().chain(totals).enumerate() {
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
        if name == "count" {
            return Ok(Self { function: Function::Count, field: 0, kind: Kind::U64 });
        }
        let called = name.strip_suffix(')').and_then(|name| name.split_once('('));
        let Some((function, field)) = called else {
            return Err(format!("{name:?} is not an aggregate: use {FUNCTIONS}"));
        };
        let function = match function.trim() {
            "sum" => Function::Sum,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" => Function::Avg,
            other => return Err(format!("{other:?} is not an aggregate: use {FUNCTIONS}")),
        };
        let field = field.trim();
        let (index, found) = schema.field(field).ok_or_else(|| no_such_field(field, schema))?;
        let kind = match (function, found.kind()) {
            (Function::Min | Function::Max, kind) => kind,
            (Function::Sum, Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64) => Kind::U64,
            (Function::Sum, Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64) => Kind::I64,
            (_, kind) if is_number(kind) => Kind::F64,
            (_, kind) => return Err(format!("field {field:?} is {kind}, which is not a number")),
        };
        Ok(Self { function, field: index, kind })
    }

    fn add(&self, total: &mut Total, row: RowRef<'_>) {
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
                    total.extreme = Some((order, row.value(self.field).into_owned()));
                }
            }
        }
    }

    /// Returns the result. A sum that is too large for an integer is a float, which the field then
    /// refuses.
    fn value(&self, total: Total, count: u64) -> Value<'static> {
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
