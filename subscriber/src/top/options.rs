//! The command line's selection of fields, order and rows, before it is bound to a schema.

use crate::view::{Condition, Selection, conditions};
use cli::CliError;

/// The options `--fields`, `--sort` and `--where`.
#[derive(Clone, Default)]
pub struct Wanted {
    /// Value of `--fields`.
    pub fields: Option<String>,
    /// Value of `--sort`.
    pub sort: Option<String>,
    /// Conditions of `--where`.
    pub conditions: Vec<Condition>,
}

impl Wanted {
    /// Parses the options as far as that is possible without a schema.
    ///
    /// # Errors
    /// Fails if a condition is malformed; the message shows the position.
    pub fn read(asked: &Selection) -> Result<Self, CliError> {
        Ok(Self {
            fields: asked.fields.clone(),
            sort: asked.sort.clone(),
            conditions: conditions(asked)?,
        })
    }
}
