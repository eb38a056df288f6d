//! Arguments of `top`.

use clap_complete::ArgValueCompleter;
use cli::complete;

use crate::attach::Waking;
use crate::view::Selection;

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    pub name: String,

    /// Fields, order and filter
    #[command(flatten)]
    pub asked: Selection,

    /// Wake-up options
    #[command(flatten)]
    pub waking: Waking,
}
