//! What is asked of a table: KEYs, `--where`, `--fields`, `--sort`. A view of it is what they leave.
//!
//! A [`Request`] is what was typed; [`Request::view`] reads it by a schema, and again by the next one. Through a view the
//! table's changes are the view's: a row that comes to match is created, one that ceases to match is deleted, and an
//! update is told if both rows match and a field that is shown differs. So a table fed by a view's changes is the view.

use std::sync::Arc;

use common::{Change, RowRef, Schema, UntypedChanges, UntypedSubscriber};

use crate::args;
use crate::order::Order;
use crate::shell::CliError;
use keys::Keys;

mod condition;
mod filter;
mod keys;
mod shown;

pub use condition::{Condition, OPERATOR_NAMES};
pub use filter::Filter;
pub use shown::{Projection, Shown, no_such_field, parts};

/// What was typed.
pub struct Request {
    keys: Vec<String>,
    fields: Option<String>,
    sort: Option<String>,
    conditions: Vec<Condition>,
}

/// That, as a schema reads it.
pub struct View {
    projection: Projection,
    keys: Keys,
    filter: Filter,
    order: Order,
    sorted: bool,
}

/// The conditions of `--where`.
///
/// # Errors
/// Wrong arguments, with the place.
pub fn conditions(asked: &args::Asked) -> Result<Vec<Condition>, CliError> {
    let texts = asked.conditions.iter();
    texts.map(|text| Condition::parse(text)).collect()
}

impl Request {
    /// Reads what can be read without a schema.
    ///
    /// # Errors
    /// Wrong arguments, with the place.
    pub fn read(asked: &args::Table) -> Result<Self, CliError> {
        let args::Asked { fields, sort, .. } = &asked.asked;
        Ok(Self {
            keys: asked.keys.clone(),
            fields: fields.clone(),
            sort: sort.clone(),
            conditions: conditions(&asked.asked)?,
        })
    }

    /// Reads it by a schema.
    ///
    /// # Errors
    /// Wrong arguments, with the place.
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
            sorted: self.sort.is_some(),
        })
    }

    /// Whether rows are left out for what they hold.
    pub fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }
}

impl View {
    /// The schema that it was read by.
    pub fn schema(&self) -> &Arc<Schema> {
        self.projection.schema()
    }

    /// What is shown of a row.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// The view's rows in the local copy: sorted, or in the order of the KEYs, or by key.
    pub fn rows<'s>(&'s self, table: &'s UntypedSubscriber) -> Vec<Shown<'s>> {
        let matches = |row: &RowRef<'s>| self.filter.matches(*row);
        let mut rows: Vec<RowRef<'s>> = match self.keys.is_empty() {
            true => table.iter().filter(matches).collect(),
            false => self.keys.rows(table).filter(matches).collect(),
        };
        if self.sorted || self.keys.is_empty() {
            rows.sort_by_cached_key(|row| self.order.key(*row));
        }
        rows.into_iter()
            .map(|row| self.projection.show(row))
            .collect()
    }

    /// The KEYs that the local copy has no row of.
    pub fn missing(&self, table: &UntypedSubscriber) -> Vec<String> {
        self.texts(self.keys.without(|key| table.get(key).is_some()))
    }

    /// The KEYs whose rows do not match.
    pub fn unmatched(&self, table: &UntypedSubscriber) -> Vec<String> {
        let matches = |key: &[u8]| table.get(key).is_none_or(|row| self.filter.matches(row));
        self.texts(self.keys.without(matches))
    }

    fn texts<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Vec<String> {
        keys.map(|key| self.schema().format_key(key)).collect()
    }

    /// A field that is asked about and is of another kind than in the view `before`.
    pub fn changed_kind(&self, before: &View) -> Option<&str> {
        self.filter.changed_kind(&before.filter, self.schema())
    }

    fn has(&self, row: RowRef<'_>) -> bool {
        self.keys.has(row) && self.filter.matches(row)
    }

    /// Returns the table's changes as changes of the view, sorted if the view is. Deletes come first, so that a table of the
    /// view's size always has room for the creates. `before` is the view by the schema before: this one, unless the
    /// schema changed.
    pub fn changes<'s>(
        &'s self,
        before: &'s View,
        changes: &UntypedChanges<'s>,
    ) -> Vec<Change<Shown<'s>>> {
        let mut told: Vec<_> = changes
            .iter()
            .filter_map(|change| self.change(before, change))
            .filter(shown::is_visible)
            .collect();
        told.sort_by_key(|change| !matches!(change, Change::Deleted(_)));
        if self.sorted {
            told.sort_by_cached_key(|change| match change {
                Change::Deleted(old) => {
                    let view = self.of_row(before, old.row());
                    (false, view.order.key(old.row()))
                }
                Change::Created(new) | Change::Updated { new, .. } => {
                    (true, self.order.key(new.row()))
                }
            });
        }
        told
    }

    /// Returns the view of an old row. A refresh that moves to another schema may also apply changes that were committed
    /// in that schema.
    fn of_row<'s>(&'s self, before: &'s View, row: RowRef<'_>) -> &'s View {
        match std::ptr::eq(row.schema(), Arc::as_ptr(self.schema())) {
            true => self,
            false => before,
        }
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
                (Some(old), Some(new)) => Some(Change::Updated { old, new }),
                (Some(old), None) => Some(Change::Deleted(old)),
                (None, Some(new)) => Some(Change::Created(new)),
                (None, None) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
