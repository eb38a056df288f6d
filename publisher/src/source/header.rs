//! Maps the names in a header to fields.
//!
//! A column's name keeps its letters. Leading and trailing blanks are removed. Each run of blanks,
//! control characters, commas and colons inside the name becomes one `_`. A name that is longer
//! than a field name may be is cut. A column without a name is called `column_N`. Columns with
//! different names become different fields: if two would get the same name, the number of its
//! column is appended to the later one.

use std::collections::{HashMap, HashSet};

use common::Schema;
use common::schema::MAX_FIELD_NAME;

use super::format::{SEPARATORS, separator_name};

#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// The names in the file, without surrounding blanks. Empty for a column without a name.
    written: Vec<String>,
    /// The names of the fields. Columns with equal names in the file have equal names here.
    names: Vec<String>,
}

impl Header {
    pub fn named(cells: &[impl AsRef<str>]) -> Self {
        let written: Vec<String> =
            cells.iter().map(|cell| cell.as_ref().trim().to_owned()).collect();
        let mut names: Vec<String> = Vec::with_capacity(written.len());
        let mut taken = HashSet::new();
        let mut columns: HashMap<&String, usize> = HashMap::new();
        for (index, cell) in written.iter().enumerate() {
            if let Some(first) = columns.get(cell) {
                names.push(names[*first].clone());
                continue;
            }
            let mut name = field_name(index + 1, cell);
            let mut number = index + 1;
            while taken.contains(&name) {
                let ending = format!("_{number}");
                name = cut(&field_name(index + 1, cell), MAX_FIELD_NAME - ending.len()) + &ending;
                number += 1;
            }
            if !cell.is_empty() {
                columns.insert(cell, index);
            }
            taken.insert(name.clone());
            names.push(name);
        }
        Self { written, names }
    }

    pub fn numbered(columns: usize) -> Self {
        Self::named(&vec![""; columns])
    }

    pub fn width(&self) -> usize {
        self.names.len()
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns an error that names both columns if two have the same name.
    pub fn check_distinct(&self) -> Result<(), String> {
        let mut columns = HashMap::new();
        for (index, name) in self.names.iter().enumerate() {
            if let Some(first) = columns.insert(name, index) {
                return Err(duplicate_name(name, first, index));
            }
        }
        Ok(())
    }

    /// Returns a hint if the header looks like a comment, or has another separator in its name.
    pub fn hint(&self) -> Option<String> {
        if self.written.first()?.starts_with('#') {
            return Some("if lines that begin with # are comments, use --comment '#'".to_owned());
        }
        let [name] = self.written.as_slice() else {
            return None;
        };
        let is_in_name = |separator: &u8| name.contains(char::from(*separator));
        let separator = SEPARATORS.into_iter().find(is_in_name)?;
        let (shown, option) = (char::from(separator), separator_name(separator));
        Some(format!("if {shown:?} separates the cells, use --delimiter {option}"))
    }

    /// Returns the column with this name, which may be the field's name or the name in the file.
    pub fn position(&self, name: &str) -> Option<usize> {
        let named = self.names.iter().position(|other| other == name);
        named.or_else(|| self.written.iter().position(|other| other == name))
    }

    /// Returns the column of each field of `schema`, or an error that names a field that has no
    /// column or several. `origin` is the name of the schema in messages.
    pub fn columns_of(&self, schema: &Schema, origin: &str) -> Result<Vec<usize>, String> {
        let column = |name: &str| {
            let Some(column) = self.position(name) else {
                let hint = self.hint().map_or(String::new(), |hint| format!("; {hint}"));
                return Err(format!(
                    "the field {name:?} of {origin} has no column: the columns are {}{hint}",
                    self.names.join(", ")
                ));
            };
            let name = &self.names[column];
            let mut others = self.names[column + 1..].iter();
            match others.position(|other| other == name) {
                Some(after) => Err(duplicate_name(name, column, column + 1 + after)),
                None => Ok(column),
            }
        };
        let fields = schema.fields().iter();
        fields.map(|field| column(field.name())).collect()
    }

    /// Returns a sentence that lists the columns whose field has another name than the column.
    pub fn renamed(&self) -> Option<String> {
        let pairs = self.written.iter().zip(&self.names);
        let renamed: Vec<String> = pairs
            .filter(|(written, name)| !written.is_empty() && written != name)
            .map(|(written, name)| format!("{written:?} is the field {name}"))
            .collect();
        (!renamed.is_empty()).then(|| renamed.join(", "))
    }

    pub fn left_out(&self, columns: &[usize], origin: &str) -> Option<String> {
        let names = self.names.iter().enumerate();
        let left_out: Vec<&str> = names
            .filter(|(column, _)| !columns.contains(column))
            .map(|(_, name)| name.as_str())
            .collect();
        let names = left_out.join(", ");
        (!left_out.is_empty())
            .then(|| format!("left out, because {origin} does not name them: {names}"))
    }
}

fn field_name(number: usize, written: &str) -> String {
    let is_unfit = |letter: char| {
        letter.is_whitespace() || letter.is_control() || letter == ',' || letter == ':'
    };
    let parts = written.split(is_unfit).filter(|part| !part.is_empty());
    match cut(&parts.collect::<Vec<_>>().join("_"), MAX_FIELD_NAME) {
        name if name.is_empty() => format!("column_{number}"),
        name => name,
    }
}

fn cut(name: &str, length: usize) -> String {
    name[..name.floor_char_boundary(length)].to_owned()
}

fn duplicate_name(name: &str, first: usize, second: usize) -> String {
    format!(
        "the columns {} and {} are both called {name:?}: give them different names",
        first + 1,
        second + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_names_become_field_names() {
        let long = "ä".repeat(40);
        let header = Header::named(&[
            "id",
            " Organization  Name ",
            "",
            "a:b,\n c",
            ",:",
            "Price (USD)",
            &long,
        ]);
        let cut = "ä".repeat(32);
        assert_eq!(
            header.names(),
            ["id", "Organization_Name", "column_3", "a_b_c", "column_5", "Price_(USD)", &cut]
        );
        let kinds = header.names().iter().map(|name| (name.as_str(), common::Kind::U8));
        assert!(Schema::new(kinds, &[]).is_ok());
        assert_eq!(header.position("Organization  Name"), Some(1));
        let renamed = header.renamed().unwrap();
        assert!(renamed.starts_with(r#""Organization  Name" is the field Organization_Name, "#));
        assert_eq!(Header::named(&["a", "b"]).renamed(), None);
        assert_eq!(Header::numbered(2).names(), ["column_1", "column_2"]);
    }

    /// Guards against rules that shorten or clean names and thereby make different names equal.
    /// Covers names that differ beyond the cut, in blanks or in commas, and names that equal one
    /// that was generated for a nameless column or to distinguish two columns.
    #[test]
    fn different_names_become_different_fields() {
        let long = "x".repeat(64);
        let wide = "ä".repeat(40);
        let (pay, hours) = (format!("{long} [pay]"), format!("{long} [hours]"));
        let (one, other) = (format!("{wide}1"), format!("{wide}2"));
        for names in [
            &["id", &pay, &hours][..],
            &["a b", "a_b", "a,b", "a:b"],
            &["", "column_1"],
            &["column_2", ""],
            &["", "", ""],
            &["a b", "a:b", "a_b_2"],
            &["a_b_3", "a b", "a:b"],
            &["id", &one, &other, &wide],
        ] {
            let header = Header::named(names);
            assert_eq!(header.check_distinct(), Ok(()), "{names:?}: {header:?}");
            let kinds = header.names().iter();
            let kinds = kinds.map(|name| (name.as_str(), common::Kind::U8));
            assert!(Schema::new(kinds, &[]).is_ok(), "{names:?}: {header:?}");
        }
        let header = Header::named(&["id", &pay, &hours]);
        let names = [long.as_str(), &format!("{}_3", &long[..62])];
        assert_eq!(header.names()[1..], names);
        assert!(header.renamed().unwrap().contains(&hours));
    }

    #[test]
    fn equal_names_are_refused_only_where_they_are_selected() {
        let header = Header::named(&["id", "n", "a b", "n", "a b"]);
        let reason = header.check_distinct().unwrap_err();
        assert!(reason.contains("2 and 4") && reason.contains("\"n\""), "{reason}");
        let columns =
            |fields: &str| header.columns_of(&Schema::parse(fields, None).unwrap(), "--fields");
        assert_eq!(columns("id:u8"), Ok(vec![0]));
        for (fields, part) in
            [("id:u8,n:u8", "2 and 4"), ("a b:u8", "3 and 5"), ("a_b:u8", "3 and 5")]
        {
            let reason = columns(fields).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn fields_select_columns_by_either_name() {
        let header = Header::named(&["id", "full name", "price"]);
        let columns =
            |fields: &str| header.columns_of(&Schema::parse(fields, None).unwrap(), "--fields");
        assert_eq!(columns("price:u8,id:u8"), Ok(vec![2, 0]));
        assert_eq!(columns("full name:text(8)"), Ok(vec![1]));
        assert_eq!(columns("full_name:text(8)"), Ok(vec![1]));
        let reason = columns("id:u8,colour:u8").unwrap_err();
        assert!(reason.contains("colour") && reason.contains("full_name"), "{reason}");
    }
}
