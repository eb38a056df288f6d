//! `#[derive(Row)]` of Tablecast's crate `common`. It is documented at the trait `Row`.
//!
//! `plan` parses the struct and its attributes; `crate_name` finds the name of the crate; `expand`
//! generates the `impl`.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod crate_name;
mod expand;
mod plan;

/// Implements the trait `Row` for a struct with named fields that is `#[repr(C)]` and `Pod`.
///
/// A field can have the attributes `#[row(key)]`, `#[row(name = "…")]`, and `#[row(skip)]` for
/// explicit padding. The struct can have the attribute `#[row(crate = "…")]`, the path of
/// Tablecast's crate, if the derive cannot find it. See the trait for details.
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let tokens = plan::plan(&input)
        .and_then(|plan| Ok(expand::expand(&plan, &expand::path_of_common(&plan)?)));
    tokens.unwrap_or_else(|error| error.to_compile_error()).into()
}
