//! What was asked for on the command line, whatever the schema.

use crate::args::Asked;
use crate::shell::Failure;
use crate::view::{Condition, conditions};

/// `--fields`, `--sort` and `--where`.
#[derive(Clone, Default)]
pub struct Wanted {
    /// `--fields`.
    pub fields: Option<String>,
    /// `--sort`.
    pub sort: Option<String>,
    /// `--where`.
    pub conditions: Vec<Condition>,
}

impl Wanted {
    /// Reads what can be read without a schema.
    ///
    /// # Errors
    /// Wrong arguments, with the place.
    pub fn read(asked: &Asked) -> Result<Self, Failure> {
        Ok(Self {
            fields: asked.fields.clone(),
            sort: asked.sort.clone(),
            conditions: conditions(asked)?,
        })
    }
}
