//! Completion candidates for tables, their fields and keys. A table that cannot be read has no
//! candidates and causes no error.

use std::ffi::OsString;

use clap::{ArgMatches, Command};
use clap_complete::engine::CompletionCandidate;
use common::{Error, Schema, TableInfo, inspect};
use nix::unistd::{Uid, User};

use super::candidate;
use crate::attach;
use crate::order::Order;
use crate::publisher_status::word;

/// Maximum number of rows of a table whose keys are candidates. More candidates would not help, and
/// the whole table must be copied to list them.
const MAX_KEYS: usize = 1000;

/// The table that the line names so far.
pub struct Asked {
    name: Option<String>,
    owner: Option<u32>,
}

impl Asked {
    /// Parses an incomplete line, with a command that ignores errors.
    pub fn read(mut command: Command, line: &[OsString]) -> Self {
        let matches = command.try_get_matches_from_mut(line).unwrap_or_default();
        let (_, matches) = super::super::environment::innermost(&command, &matches);
        Self {
            name: one::<String>(matches, "name").cloned(),
            owner: one::<u32>(matches, "owner").copied(),
        }
    }

    /// Returns the tables that are readable and `wanted`.
    pub fn tables(&self, wanted: impl Fn(&TableInfo) -> bool) -> Vec<CompletionCandidate> {
        let names = common::tables().unwrap_or_default();
        let tables = names
            .iter()
            .filter_map(|name| inspect(name, self.owner).ok());
        tables
            .filter(wanted)
            .map(|table| {
                let publisher = word(table.publisher);
                let help = format!("{} rows, publisher {publisher}", table.rows);
                candidate(&table.name, &help)
            })
            .collect()
    }

    /// Returns the fields of the table.
    pub fn fields(&self) -> Vec<CompletionCandidate> {
        let Some(TableInfo { schema, .. }) = self.table() else {
            return Vec::new();
        };
        let fields = schema.fields().iter();
        fields
            .map(|field| candidate(field.name(), &field.kind().to_string()))
            .collect()
    }

    /// Returns the keys of the table, if there are at most `MAX_KEYS`.
    pub fn keys(&self) -> Vec<CompletionCandidate> {
        let Some(found) = self.table().filter(|table| table.rows <= MAX_KEYS) else {
            return Vec::new();
        };
        let Ok(table) = attach::builder(&found.name, self.owner).open() else {
            return Vec::new();
        };
        let mut rows: Vec<_> = table.iter().collect();
        let order = Order::default();
        rows.sort_by_cached_key(|row| order.key(*row));
        let help = key_fields(table.schema());
        let keys = rows.iter().map(|row| row.key().to_string());
        keys.filter(|key| is_plain(key))
            .map(|key| candidate(&key, &help))
            .collect()
    }

    /// Returns the owners of tables, by user name if they have one.
    pub fn owners(&self) -> Vec<CompletionCandidate> {
        let names = common::tables().unwrap_or_default();
        let owners = names.iter().filter_map(|name| match inspect(name, None) {
            Ok(table) => Some(table.owner),
            Err(Error::WrongOwner { found, .. }) => Some(found),
            Err(_) => None,
        });
        let mut owners: Vec<u32> = owners.collect();
        owners.sort_unstable();
        owners.dedup();
        let user = |owner| User::from_uid(Uid::from_raw(owner)).ok().flatten();
        owners
            .into_iter()
            .map(|owner| match user(owner) {
                Some(user) => candidate(&user.name, &format!("user {owner}")),
                None => candidate(&owner.to_string(), "a user without a name"),
            })
            .collect()
    }

    fn table(&self) -> Option<TableInfo> {
        inspect(self.name.as_deref()?, self.owner).ok()
    }
}

fn one<'m, T: Clone + Send + Sync + 'static>(matches: &'m ArgMatches, id: &str) -> Option<&'m T> {
    matches.try_get_one::<T>(id).ok().flatten()
}

fn key_fields(schema: &Schema) -> String {
    let names: Vec<&str> = schema.key_fields().map(common::Field::name).collect();
    names.join(",")
}

/// Returns true if every shell reads the key as a single word without quotes, and not as a flag.
fn is_plain(key: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || "._-,:/@%+".contains(letter);
    !key.is_empty() && key.chars().all(plain) && !key.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_shell_would_read_otherwise_are_left_out() {
        for key in ["7", "a.b,3", "10.0.0.0/8", "fe80::1,lo", "ä"] {
            assert!(is_plain(key), "{key}");
        }
        for key in ["", "-5", "\"a, b\"", "$HOME", "a b", "~x", "*"] {
            assert!(!is_plain(key), "{key}");
        }
    }
}
