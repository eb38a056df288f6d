//! The names in a header, and the fields that they become.
//!
//! A name of a column keeps its letters. Blanks at its ends go; each run of blanks, control characters, commas and colons
//! within it becomes one `_`; what is longer than a field's name may be is cut; a column without a name is `column_N`.

use common::Schema;
use common::schema::MAX_FIELD_NAME;

/// The columns of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// As they stand in the file, without blanks around; empty if the file does not name them.
    written: Vec<String>,
    /// As they are called as fields.
    names: Vec<String>,
}

impl Header {
    /// From the line of names.
    ///
    /// # Errors
    /// A sentence, if two columns would have one name.
    pub fn named<'c>(cells: impl IntoIterator<Item = &'c str>) -> Result<Self, String> {
        let written: Vec<String> = cells
            .into_iter()
            .map(|cell| cell.trim().to_owned())
            .collect();
        let names = (1..).zip(&written).map(|(n, cell)| field_name(n, cell));
        let names: Vec<String> = names.collect();
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = names[..index].iter().position(|other| other == name) {
                return Err(format!(
                    "the columns {} and {} are both called {name:?}: give each a name of its own",
                    first + 1,
                    index + 1
                ));
            }
        }
        Ok(Self { written, names })
    }

    /// Of so many columns that nobody named.
    pub fn numbered(columns: usize) -> Self {
        Self {
            written: vec![String::new(); columns],
            names: (1..=columns).map(|n| field_name(n, "")).collect(),
        }
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Whether the first column is written with this letter first.
    pub fn begins_with(&self, letter: char) -> bool {
        self.written
            .first()
            .is_some_and(|written| written.starts_with(letter))
    }

    /// What they are called as fields.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The column that is meant by a name, which may be the field's or the file's own.
    pub fn position(&self, name: &str) -> Option<usize> {
        let named = self.names.iter().position(|other| other == name);
        named.or_else(|| self.written.iter().position(|other| other == name))
    }

    /// Which column each field of `schema` is in.
    ///
    /// # Errors
    /// A sentence that names the field without a column.
    pub fn columns_of(&self, schema: &Schema) -> Result<Vec<usize>, String> {
        let column = |name: &str| {
            self.position(name).ok_or_else(|| {
                format!(
                    "there is no column for the field {name:?} of --fields: the columns are {}",
                    self.names.join(", ")
                )
            })
        };
        let fields = schema.fields().iter();
        fields.map(|field| column(field.name())).collect()
    }

    /// Which columns are called otherwise than they are written, in a sentence.
    pub fn renamed(&self) -> Option<String> {
        let pairs = self.written.iter().zip(&self.names);
        let renamed = pairs.filter(|(written, name)| !written.is_empty() && written != name);
        let renamed: Vec<String> = renamed
            .map(|(written, name)| format!("{written:?} is the field {name}"))
            .collect();
        (!renamed.is_empty()).then(|| renamed.join(", "))
    }
}

fn field_name(number: usize, written: &str) -> String {
    let is_unfit = |letter: char| {
        letter.is_whitespace() || letter.is_control() || letter == ',' || letter == ':'
    };
    let parts = written.split(is_unfit).filter(|part| !part.is_empty());
    let mut name = parts.collect::<Vec<_>>().join("_");
    name.truncate(name.floor_char_boundary(MAX_FIELD_NAME));
    if name.is_empty() {
        name = format!("column_{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_fields() {
        let long = "ä".repeat(40);
        let header = Header::named([
            "id",
            " Organization  Name ",
            "",
            "a:b,\n c",
            ",:",
            "Price (USD)",
            &long,
        ]);
        let header = header.unwrap();
        let cut = "ä".repeat(32);
        assert_eq!(
            header.names(),
            [
                "id",
                "Organization_Name",
                "column_3",
                "a_b_c",
                "column_5",
                "Price_(USD)",
                &cut
            ]
        );
        let kinds = header
            .names()
            .iter()
            .map(|name| (name.as_str(), common::Kind::U8));
        assert!(Schema::new(kinds, &[]).is_ok());
        assert_eq!(header.position("Organization  Name"), Some(1));
        let renamed = header.renamed().unwrap();
        assert!(renamed.starts_with(r#""Organization  Name" is the field Organization_Name, "#));
        assert_eq!(Header::named(["a", "b"]).unwrap().renamed(), None);
        assert_eq!(Header::numbered(2).names(), ["column_1", "column_2"]);
    }

    #[test]
    fn a_name_comes_once() {
        for names in [
            ["a", "a"],
            ["a b", "a_b"],
            ["", "column_1"],
            ["column_2", ""],
        ] {
            let names = Header::named(names);
            let distinct = names
                .as_ref()
                .is_ok_and(|header| header.names()[0] != header.names()[1]);
            assert!(names.is_err() || distinct, "{names:?}");
        }
        let reason = Header::named(["x", "a b", "a:b"]).unwrap_err();
        assert!(
            reason.contains("2 and 3") && reason.contains("a_b"),
            "{reason}"
        );
    }

    #[test]
    fn fields_select_columns() {
        let header = Header::named(["id", "full name", "price"]).unwrap();
        let columns = |fields: &str| header.columns_of(&Schema::parse(fields, None).unwrap());
        assert_eq!(columns("price:u8,id:u8"), Ok(vec![2, 0]));
        assert_eq!(columns("full name:text(8)"), Ok(vec![1]));
        assert_eq!(columns("full_name:text(8)"), Ok(vec![1]));
        let reason = columns("id:u8,colour:u8").unwrap_err();
        assert!(
            reason.contains("colour") && reason.contains("full_name"),
            "{reason}"
        );
    }
}
