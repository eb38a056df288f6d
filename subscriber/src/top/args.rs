//! What `top` takes.

use crate::args::{Asked, Waking};

/// What `top` takes.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// The table's name
    pub name: String,

    /// What of it
    #[command(flatten)]
    pub asked: Asked,

    /// How to be woken
    #[command(flatten)]
    pub waking: Waking,
}
