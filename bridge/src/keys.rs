//! The keys of zenoh under which a table is exported: `tablecast/HOST/TABLE/PART/INSTANCE`.
//!
//! An instance is a random number of an exporting process, so that a request reaches the exporter
//! whose head or token led to it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use cli::CliError;

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The liveliness token of an exported table.
    Alive,
    /// Heads without rows: sent after commits, and returned to queries.
    Head,
    /// Heads that carry the rows written since the last head, if they are few.
    Delta,
    /// Requests and replies.
    Changes,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Head => "head",
            Self::Delta => "delta",
            Self::Changes => "changes",
        }
    }
}

/// A table of an exporter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The name of the exporting host.
    pub host: String,
    /// The name of the table.
    pub table: String,
    /// The number of the exporting process.
    pub instance: u64,
}

impl Origin {
    /// Returns the key of a part.
    pub fn key(&self, part: Part) -> String {
        format!("tablecast/{}/{}/{}/{:016x}", self.host, self.table, part.as_str(), self.instance)
    }

    /// Returns the origin of a key, or `None` for the key of something else.
    pub fn of_key(key: &str, part: Part) -> Option<Self> {
        let mut chunks = key.strip_prefix("tablecast/")?.split('/');
        let (host, table) = (chunks.next()?, chunks.next()?);
        let is_part = chunks.next()? == part.as_str();
        let instance = u64::from_str_radix(chunks.next()?, 16).ok()?;
        let is_valid = is_name(host) && is_name(table);
        (is_part && is_valid && chunks.next().is_none()).then(|| Self {
            host: host.to_owned(),
            table: table.to_owned(),
            instance,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.table)
    }
}

/// Returns the key expression of a part of all exporters of a table. `None` matches all hosts or all
/// tables.
pub fn all(host: Option<&str>, table: Option<&str>, part: Part) -> String {
    let (host, table) = (host.unwrap_or("*"), table.unwrap_or("*"));
    format!("tablecast/{host}/{table}/{}/*", part.as_str())
}

/// Returns true if this can be the name of a host or a table.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_allowed)
}

/// Returns the name of this host for importers: the given one, or the host name.
///
/// # Errors
/// The name cannot be used.
pub fn host_name(given: Option<&str>) -> Result<String, CliError> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
    };
    if is_name(&name) {
        return Ok(name);
    }
    Err(CliError::new(
        2,
        format!(
            "bad host name: {name:?}: use --host NAME with 1 to 64 of A-Z a-z 0-9 . _ - without a leading dot"
        ),
    ))
}

/// Returns a random number.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_origin() {
        let origin = Origin { host: "a.b".to_owned(), table: "prices".to_owned(), instance: 0xfe };
        let key = origin.key(Part::Head);
        assert_eq!(key, "tablecast/a.b/prices/head/00000000000000fe");
        assert_eq!(Origin::of_key(&key, Part::Head), Some(origin));
        assert_eq!(Origin::of_key(&key, Part::Alive), None);
    }

    #[test]
    fn keys_of_other_programs_are_ignored() {
        for key in [
            "",
            "tablecast",
            "tablecast/a/b/head",
            "tablecast/a/b/head/x",
            "tablecast/a/b/head/1/2",
            "tablecast/a/../head/1",
            "other/a/b/head/1",
        ] {
            assert_eq!(Origin::of_key(key, Part::Head), None, "{key}");
        }
    }
}
