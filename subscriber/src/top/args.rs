//! Arguments of `top`.

use crate::args::{Asked, Waking};

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// The table's name
    pub name: String,

    /// Fields, order and filter
    #[command(flatten)]
    pub asked: Asked,

    /// Wake-up options
    #[command(flatten)]
    pub waking: Waking,
}
