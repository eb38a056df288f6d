//! Builds the schema of a table from a file's columns.

use common::{Kind, Schema};

use super::fault::Fault;
use super::infer::Column;

/// A schema and remarks about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// The schema.
    pub schema: Schema,
    /// Sentences for the user.
    pub remarks: Vec<String>,
}

/// Builds a schema from the names of the columns, the columns, and the names of the key fields.
/// Without key names the first column is the key.
///
/// If `former` has the same field names, texts keep the width that they had in it, so that the
/// table need not be replaced when its longest text disappears. A column without any cells keeps
/// its previous kind.
///
/// # Errors
/// Returns a [`Fault`] if the columns do not form a valid schema.
pub fn infer(
    names: &[String],
    columns: &[Column],
    key: &[&str],
    former: Option<&Schema>,
) -> Result<Shape, Fault> {
    if let Some(missing) = key
        .iter()
        .find(|name| !names.iter().any(|other| other == *name))
    {
        return Err(Fault::of_arguments(format!(
            "--key names {missing:?}, and the fields are {}",
            names.join(", ")
        )));
    }
    let fields = names.iter().zip(columns);
    let float_keys = fields
        .clone()
        .filter(|(_, column)| column.is_float_in_key());
    let remarks = float_keys.map(|(name, _)| {
        format!("the key {name} is text: its numbers have fractions, and a key cannot be a float")
    });
    let remarks = remarks.collect();
    let of_columns = || {
        fields
            .clone()
            .map(|(name, column)| (name.as_str(), column.kind()))
    };
    let schema = Schema::new(of_columns(), key).map_err(|error| {
        Fault::of_file(format!(
            "{error}: choose other fields with --fields, or another --key"
        ))
    })?;
    let Some(former) = former.filter(|former| is_alike(former, &schema)) else {
        return Ok(Shape { schema, remarks });
    };
    let widest = fields
        .clone()
        .zip(former.fields())
        .map(|((name, column), before)| {
            let kind = match (column.kind(), before.kind()) {
                (_, before) if column.is_empty() => before,
                (Kind::Text(now), Kind::Text(before)) => Kind::Text(now.max(before)),
                (kind, _) => kind,
            };
            (name.as_str(), kind)
        });
    // With the former widths the row may be too large.
    let schema = Schema::new(widest, key).unwrap_or(schema);
    Ok(Shape { schema, remarks })
}

/// Returns true if the fields and the keys have the same names.
fn is_alike(one: &Schema, other: &Schema) -> bool {
    let names = |schema: &Schema| -> Vec<String> {
        let fields = schema.fields().iter().chain(schema.key_fields());
        fields.map(|field| field.name().to_owned()).collect()
    };
    names(one) == names(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(cells: &[(&str, &str)], key: &[&str], former: Option<&str>) -> Result<Shape, Fault> {
        let names: Vec<String> = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
        let columns: Vec<Column> = cells
            .iter()
            .map(|(name, cell)| {
                let mut column = Column::new(key.contains(name));
                column.see(cell);
                column
            })
            .collect();
        let former = former.map(|fields| Schema::parse(fields, Some(&key.join(","))).unwrap());
        infer(&names, &columns, key, former.as_ref())
    }

    #[test]
    fn texts_keep_their_former_width() {
        let fields = |name: &str, former: &str| {
            let cells = [("id", "1"), ("name", name)];
            shape(&cells, &["id"], Some(former))
                .unwrap()
                .schema
                .to_string()
        };
        assert_eq!(
            fields("short", "id:u64,name:text(40)"),
            "id:u64,name:text(40)"
        );
        assert_eq!(
            fields("now longer", "id:u64,name:text(8)"),
            "id:u64,name:text(16)"
        );
        assert_eq!(
            fields("short", "id:u64,other:text(40)"),
            "id:u64,name:text(8)"
        );
        assert_eq!(fields("7", "id:u64,name:text(40)"), "id:u64,name:u64");
        assert_eq!(fields("short", "id:u64,name:u64"), "id:u64,name:text(8)");
    }

    /// Kind of defect: a file that has only its header for a moment changes the table's fields.
    /// Other members: every kind, keys, and columns whose cells are all empty, which are texts.
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
            let key = if kind.starts_with('f') {
                "n:u64"
            } else {
                "id:u64"
            };
            let former = format!("x:{kind},{key}");
            let key = if kind.starts_with('f') { "n" } else { "x" };
            let former = Schema::parse(&former, Some(key)).unwrap();
            let names: Vec<String> = former
                .fields()
                .iter()
                .map(|field| field.name().to_owned())
                .collect();
            let columns: Vec<Column> = names.iter().map(|name| Column::new(name == key)).collect();
            let same = infer(&names, &columns, &[key], Some(&former)).unwrap();
            assert_eq!(same.schema, former);
            let fresh = infer(&names, &columns, &[key], None).unwrap();
            assert!(fresh.schema.to_string().starts_with("x:text(8),"), "{kind}");
        }
        let empty = [("id", ""), ("n", "")];
        let shape = shape(&empty, &["id"], Some("id:u64,n:u64")).unwrap();
        assert_eq!(shape.schema.to_string(), "id:text(8),n:text(8)");
    }

    #[test]
    fn float_keys_become_text_and_missing_keys_are_refused() {
        let shape_of_floats = shape(&[("x", "1.5")], &["x"], None).unwrap();
        assert_eq!(shape_of_floats.schema.to_string(), "x:text(8)");
        assert!(shape_of_floats.remarks[0].contains("key x is text"));
        let missing = shape(&[("x", "1.5")], &["y"], None).unwrap_err();
        assert!(
            missing.code == 2 && missing.reason.contains("\"y\""),
            "{missing}"
        );
        let long = "x".repeat(2000);
        let too_long = shape(&[("x", &long)], &["x"], None).unwrap_err();
        assert!(
            too_long.code == 5 && too_long.reason.contains("--key"),
            "{too_long}"
        );
    }
}
