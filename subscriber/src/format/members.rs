//! The members of a JSON object, which are also the columns of CSV.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Names and values, in the order in which they are printed.
#[derive(Debug)]
pub struct Members<V>(
    /// Names and values.
    pub Vec<(&'static str, V)>,
);

impl Members<Value> {
    /// Creates members without the unknown ones, which are null.
    pub fn known(members: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    /// Returns a member, or `None` if it is unknown.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(member, _)| *member == name).map(|(_, value)| value)
    }

    /// Returns the member as text, or an empty text if it is unknown.
    pub fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => match (value.as_u64(), value.as_f64()) {
                (None, Some(float)) => float.to_string(),
                _ => value.to_string(),
            },
            None => String::new(),
        }
    }
}

impl<V: Serialize> Serialize for Members<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
