//! The part of a table that the command line selects: KEYs, `--where`, `--fields`, `--sort`.
//!
//! [`Request::view`] binds these arguments to a schema, again after each change of the schema. A
//! [`View`] translates changes of the table to changes of the view: a row that starts to match is
//! created, a row that stops matching is deleted, and an update is reported if both rows match and
//! a visible field differs. So a table to which all changes of a view are applied equals the view.

use std::sync::Arc;

use clap_complete::ArgValueCompleter;
use cli::{CliError, complete};
use common::{Change, Error, RowRef, Schema, UntypedChanges, UntypedReader, UntypedSubscriber};

use keys::Keys;

mod aggregate;
mod diagnostic;
mod fields;
mod filter;
mod keys;
mod sort;

pub use aggregate::Aggregation;
pub use fields::{Projection, Shown};
pub use filter::{Condition, Filter};
pub use sort::Order;

/// Heading of `--help` for the options of [`Selection`].
const HEADING: &str = "Rows and fields";

/// Rows and fields of a table, as typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Read a table of this user, by name or number, instead of your own and root's
    #[arg(help_heading = HEADING, long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    pub owner: Option<u32>,

    /// Only these fields, in this order: a,b,c. watch prints no update that changes none of them
    #[arg(help_heading = HEADING, short, long, visible_alias = "field", value_name = "FIELD,…", add = ArgValueCompleter::new(complete::fields))]
    pub fields: Option<String>,

    /// Only rows that match this condition; if given several times, rows must match all of them
    ///
    /// CONDITION is one argument: FIELD OP VALUE, joined by and, or, not and parentheses. OP is:
    ///   for every kind      = != < <= > >=  by value (nothing equals NaN)
    ///                       in (VALUE, …), not in (VALUE, …)
    ///   for text            contains, starts, like (with * and ?), ~ REGEX
    ///                       icontains, istarts, ilike, ~* ignore case
    ///   for addresses, networks, and text that holds one: in NETWORK
    ///   for networks        contains ADDRESS or NETWORK
    ///
    /// A VALUE may have a unit: 100MiB; 5s in a field whose name ends with _ns, _us, _ms or _s. A time may be -5m (five minutes before the program started), now, or a date in UTC. Quote a name or value of several words: 'name = "a b" or net in 10.0.0.0/8'.
    ///
    /// watch reports a row that begins to match as a create, and one that ceases to match as a delete.
    #[arg(help_heading = HEADING, long = "where", value_name = "CONDITION", verbatim_doc_comment, add = ArgValueCompleter::new(complete::condition))]
    pub conditions: Vec<String>,

    /// Sort by these fields: a,b:desc. Numbers, times and addresses are ordered by value, text by
    /// bytes, NaN last; equal rows by key
    ///
    /// watch also sorts the changes of one refresh, with deletes first.
    #[arg(help_heading = HEADING, long, value_name = "FIELD[:desc],…", add = ArgValueCompleter::new(complete::sort))]
    pub sort: Option<String>,
}

/// A [`Selection`] and KEYs that are not bound to a schema. The conditions are parsed.
#[derive(Clone, Default)]
pub struct Request {
    keys: Vec<String>,
    fields: Option<String>,
    sort: Option<String>,
    conditions: Vec<Condition>,
}

/// Rows of a view that were read in shared memory.
pub struct FoundRows {
    /// The rows without gaps, which [`View::rows_of`] splits.
    pub bytes: Vec<u8>,
    /// KEYs without a row.
    pub missing: Vec<String>,
    /// KEYs whose rows do not match the conditions.
    pub unmatched: Vec<String>,
}

/// A [`Request`] that is bound to a schema.
pub struct View {
    projection: Projection,
    keys: Keys,
    filter: Filter,
    order: Order,
}

impl Request {
    /// Parses the conditions, which need no schema. Everything else is parsed by
    /// [`view`](Self::view).
    pub fn new(selection: &Selection, keys: &[String]) -> Result<Self, CliError> {
        let conditions = selection.conditions.iter().map(|text| Condition::parse(text));
        Ok(Self {
            keys: keys.to_vec(),
            fields: selection.fields.clone(),
            sort: selection.sort.clone(),
            conditions: conditions.collect::<Result<_, _>>()?,
        })
    }

    /// Replaces the order, in the syntax of `--sort`; `None` sorts by key.
    pub fn sorted(self, sort: Option<String>) -> Self {
        Self { sort, ..self }
    }

    pub fn sort(&self) -> Option<&str> {
        self.sort.as_deref()
    }

    /// Binds the request to a schema. Returns an error if an argument does not fit the schema.
    pub fn view(&self, schema: &Arc<Schema>) -> Result<View, CliError> {
        Ok(View {
            projection: match &self.fields {
                Some(fields) => Projection::parse(fields, schema)?,
                None => Projection::all(schema),
            },
            keys: Keys::parse(&self.keys, schema)?,
            filter: Filter::bind(&self.conditions, schema)?,
            order: match &self.sort {
                Some(sort) => Order::parse(sort, schema)?,
                None => Order::default(),
            },
        })
    }
}

impl View {
    pub fn schema(&self) -> &Arc<Schema> {
        self.projection.schema()
    }

    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// Returns the view's rows in the local copy: sorted if `--sort` is given, else in the order of
    /// the KEYs if these are whole keys, else by key.
    pub fn rows<'s>(&'s self, table: &'s UntypedSubscriber) -> Vec<Shown<'s>> {
        let has = |row: &RowRef<'s>| self.has(*row);
        let by_key = || self.keys.iter().filter_map(|(key, _)| table.get(key));
        self.arrange(match self.keys.are_whole() {
            true => by_key().filter(has).collect(),
            false => table.iter().filter(has).collect(),
        })
    }

    /// Sorts rows and selects their fields.
    pub fn arrange<'s>(&'s self, mut rows: Vec<RowRef<'s>>) -> Vec<Shown<'s>> {
        if !self.keys.are_whole() || !self.order.is_by_key() {
            rows.sort_by_cached_key(|row| self.order.key(*row));
        }
        rows.into_iter().map(|row| self.projection.show(row)).collect()
    }

    /// Reads the view's rows in shared memory, as of one version. Returns `None` if the table has
    /// another schema by now.
    pub fn read(&self, table: &UntypedReader) -> Result<Option<FoundRows>, Error> {
        let (schema, mut bytes) = (self.schema(), Vec::new());
        // For each KEY: true if one of its rows matches the conditions, `None` if it has no rows.
        let mut found = vec![None; self.keys.iter().len()];
        let mut keep = |row: RowRef<'_>| {
            if !Arc::ptr_eq(row.schema(), schema) {
                return;
            }
            let (indices, matches) = (self.keys.of_row(row), self.filter.matches(row));
            if matches && (self.keys.is_empty() || !indices.is_empty()) {
                bytes.extend_from_slice(row.bytes());
            }
            indices.into_iter().for_each(|key| found[key] = found[key].max(Some(matches)));
        };
        if self.keys.are_whole() {
            let keys: Vec<&[u8]> = self.keys.iter().map(|(key, _)| key).collect();
            table.get_many(&keys, |_, row| row.into_iter().for_each(&mut keep))?;
        } else {
            table.for_each(keep)?;
        }
        if !Arc::ptr_eq(&table.schema()?, schema) {
            return Ok(None);
        }
        let keys_that = |state: Option<bool>| {
            let keys = self.keys.iter().zip(&found).filter(|(_, found)| **found == state);
            keys.map(|((_, text), _)| text.to_owned()).collect()
        };
        let (missing, unmatched) = (keys_that(None), keys_that(Some(false)));
        Ok(Some(FoundRows { bytes, missing, unmatched }))
    }

    /// Returns the rows in `bytes`, which contain whole rows of the view's schema.
    pub fn rows_of<'s>(&'s self, bytes: &'s [u8]) -> Result<Vec<RowRef<'s>>, Error> {
        let rows = bytes.chunks_exact(self.schema().row_size());
        rows.map(|row| RowRef::new(self.schema(), row)).collect()
    }

    /// Returns the name of a condition's field that has another kind than in the view `before`.
    pub fn changed_kind(&self, before: &View) -> Option<&str> {
        self.filter.changed_kind(&before.filter, self.schema())
    }

    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Returns true if the row belongs to the view.
    pub fn has(&self, row: RowRef<'_>) -> bool {
        self.keys.has(row) && self.filter.matches(row)
    }

    /// Returns the table's changes as changes of the view, sorted if the view is. Deletes come
    /// first, so that a table that applies the changes never has more rows than the view has before
    /// or after them. `before` is the view of the previous schema, or this view if the schema has
    /// not changed.
    pub fn changes<'s>(
        &'s self,
        before: &'s View,
        changes: &UntypedChanges<'s>,
    ) -> Vec<Change<Shown<'s>>> {
        let changes = changes.iter();
        let mut reported: Vec<_> =
            changes.filter_map(|change| self.change(before, change)).collect();
        reported.sort_by_cached_key(|change| {
            let (view, row, is_deleted) = match change {
                Change::Deleted(old) => (self.of_row(before, old.row()), old.row(), true),
                Change::Created(new) | Change::Updated { new, .. } => (self, new.row(), false),
            };
            let order = (!self.order.is_by_key()).then(|| view.order.key(row));
            (!is_deleted, order)
        });
        reported
    }

    /// Returns the view for the schema of an old row. A refresh that moves to another schema may
    /// also apply later changes, whose old rows have the new schema.
    fn of_row<'s>(&'s self, before: &'s View, row: RowRef<'_>) -> &'s View {
        if Arc::ptr_eq(row.schema(), self.schema()) { self } else { before }
    }

    fn change<'s>(
        &'s self,
        before: &'s View,
        change: Change<RowRef<'s>>,
    ) -> Option<Change<Shown<'s>>> {
        let now = |row| self.has(row).then(|| self.projection.show(row));
        let then = |row| {
            let view = self.of_row(before, row);
            view.has(row).then(|| view.projection.show(row))
        };
        match change {
            Change::Created(new) => now(new).map(Change::Created),
            Change::Deleted(old) => then(old).map(Change::Deleted),
            Change::Updated { old, new } => match (then(old), now(new)) {
                (Some(old), Some(new)) => new.differs(old).then_some(Change::Updated { old, new }),
                (Some(old), None) => Some(Change::Deleted(old)),
                (None, Some(new)) => Some(Change::Created(new)),
                (None, None) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
