//! `--fields`: the visible fields of a row and their order. By default all fields are visible.

use std::collections::HashSet;
use std::sync::Arc;

use common::{Field, RowRef, Schema, Value};
use serde::{Serialize, Serializer};

use super::diagnostic::{field, list};
use cli::CliError;

#[derive(Debug)]
pub struct Projection {
    schema: Arc<Schema>,
    fields: Vec<usize>,
    /// True if `--fields` is given.
    is_explicit: bool,
}

/// A row with a projection of its fields.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    row: RowRef<'a>,
    projection: &'a Projection,
}

impl Projection {
    pub fn all(schema: &Arc<Schema>) -> Self {
        Self {
            schema: Arc::clone(schema),
            fields: (0..schema.fields().len()).collect(),
            is_explicit: false,
        }
    }

    /// Selects the fields that `text` names, joined by commas (field names contain none).
    pub fn parse(text: &str, schema: &Arc<Schema>) -> Result<Self, CliError> {
        let mut named = HashSet::new();
        let fields = list("--fields", text, |name| match named.insert(name) {
            true => field(name, schema).map(|(index, _)| index),
            false => Err(format!("field {name:?} is named twice")),
        })?;
        Ok(Self { schema: Arc::clone(schema), fields, is_explicit: true })
    }

    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Field> {
        let fields = self.schema.fields();
        self.fields.iter().map(|index| &fields[*index])
    }

    /// Applies the projection to a row of this schema.
    pub fn show<'a>(&'a self, row: RowRef<'a>) -> Shown<'a> {
        Shown { row, projection: self }
    }
}

impl<'a> Shown<'a> {
    pub fn row(self) -> RowRef<'a> {
        self.row
    }

    pub fn projection(self) -> &'a Projection {
        self.projection
    }

    /// Returns the names and values of the visible fields.
    pub fn values(self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> {
        let Self { row, projection } = self;
        let value = move |index: &usize| {
            let name = projection.schema.fields()[*index].name();
            (name, row.value(*index))
        };
        projection.fields.iter().map(value)
    }

    /// Returns the value of the field with this name, if it is visible.
    pub fn field(self, name: &str) -> Option<Value<'a>> {
        self.values().find(|(shown, _)| *shown == name).map(|(_, value)| value)
    }

    /// Returns true if a visible field differs from `old`.
    pub fn differs(self, old: Self) -> bool {
        let (now, before) = (self.projection, old.projection);
        // All fields are visible, and an update of the table implies that one of them differs.
        if Arc::ptr_eq(&now.schema, &before.schema) && !now.is_explicit {
            return true;
        }
        let field_differs = |index: &usize| {
            let field = &now.schema.fields()[*index];
            let found = before.schema.field(field.name());
            let Some((old_index, old_field)) = found.filter(|(old, _)| before.fields.contains(old))
            else {
                return true;
            };
            if field.kind() == old_field.kind() {
                // Compared by bytes, so that a NaN equals itself.
                return self.row.bytes()[field.range()] != old.row.bytes()[old_field.range()];
            }
            // Compared as printed: 5 differs from "5".
            let values = [self.row.value(*index), old.row.value(old_index)];
            let [value, old_value] = values.map(|value| serde_json::to_string(&value).ok());
            value != old_value
        };
        now.fields.len() != before.fields.len() || now.fields.iter().any(field_differs)
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.values())
    }
}

#[cfg(test)]
mod tests {
    use common::RowBuf;

    use super::*;

    fn schema(fields: &str) -> Arc<Schema> {
        Arc::new(Schema::parse(fields, None).unwrap())
    }

    fn row(schema: &Arc<Schema>, cells: &[&str]) -> RowBuf {
        let mut row = RowBuf::new(Arc::clone(schema));
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        row
    }

    #[test]
    fn fields_come_in_the_selected_order() {
        let schema = schema("id:u8,lot size:u8,name:text(4)");
        let row = row(&schema, &["1", "2", "x"]);
        let some = Projection::parse("name, lot size", &schema).unwrap();
        let json = serde_json::to_string(&some.show(row.as_ref())).unwrap();
        assert_eq!(json, r#"{"name":"x","lot size":2}"#);
        assert_eq!(some.show(row.as_ref()).field("id"), None);
        let all = Projection::all(&schema);
        assert!(all.fields().map(Field::name).eq(["id", "lot size", "name"]));
    }

    #[test]
    fn errors_mark_the_wrong_field() {
        let schema = schema("id:u8,name:text(4)");
        for (text, part, marks) in [
            ("id, nam", "\"nam\": did you mean \"name\"? (there are id, name)", "    ^^^"),
            ("x", "no field \"x\": there are id, name", "^"),
            ("id,id", "twice", "   ^^"),
            ("", "no field \"\"", "^"),
            ("id,", "no field \"\"", "   ^"),
        ] {
            let failure = Projection::parse(text, &schema).unwrap_err();
            let message = failure.to_string();
            assert_eq!(failure.code(), 2);
            assert!(message.contains(part), "{message}");
            assert!(message.ends_with(&format!("\n  {marks}")), "{message}");
        }
    }

    #[test]
    fn update_is_visible_if_a_selected_field_changes() {
        let schema = schema("id:u8,a:f64,b:u8");
        let [old, new] = [["1", "NaN", "2"], ["1", "NaN", "3"]].map(|cells| row(&schema, &cells));
        let visible = |projection: &Projection| {
            let [old, new] = [&old, &new].map(|row| projection.show(row.as_ref()));
            new.differs(old)
        };
        assert!(visible(&Projection::all(&schema)));
        assert!(visible(&Projection::parse("b", &schema).unwrap()));
        assert!(!visible(&Projection::parse("a,id", &schema).unwrap()));
    }

    #[test]
    fn wider_text_alone_is_not_a_visible_update() {
        let [narrow, wide] = [schema("id:u8,a:text(4)"), schema("id:u8,a:text(8),b:u8")];
        let [before, now] = [&narrow, &wide].map(|schema| Projection::parse("a", schema).unwrap());
        let (old, same, other) =
            (row(&narrow, &["1", "x"]), row(&wide, &["1", "x", "7"]), row(&wide, &["1", "y", "0"]));
        let visible = |new: &RowBuf| {
            let (old, new) = (before.show(old.as_ref()), now.show(new.as_ref()));
            new.differs(old)
        };
        assert!(!visible(&same));
        assert!(visible(&other));
    }
}
