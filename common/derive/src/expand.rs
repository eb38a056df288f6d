//! Generates the `impl` of a plan.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::crate_name::crate_name;
use crate::plan::Plan;

/// Returns the path of `common` in the user's crate: the one given by `#[row(crate = "…")]`, or
/// else the one found in the manifest.
pub(crate) fn path_of_common(plan: &Plan<'_>) -> syn::Result<TokenStream> {
    if let Some(path) = &plan.path_of_common {
        return Ok(quote!(#path));
    }
    let directory = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let name = crate_name(directory.as_ref());
    let name = name.map_err(|message| syn::Error::new_spanned(plan.ident, message))?;
    let name = Ident::new(&name, Span::call_site());
    Ok(quote!(::#name))
}

/// Generates the implementation of `Row`, and constants that check what only the compiler knows:
/// key types, sizes and alignment.
pub(crate) fn expand(plan: &Plan<'_>, common: &TokenStream) -> TokenStream {
    let row = plan.ident;
    let key_fields = plan.key.iter().map(|&index| &plan.fields[index]);
    let (key_types, key_idents): (Vec<_>, Vec<_>) =
        key_fields.map(|field| (field.ty, field.ident)).unzip();
    let (key_type, key_value) = match (key_types.as_slice(), key_idents.as_slice()) {
        ([ty], [ident]) => (quote!(#ty), quote!(self.#ident)),
        (types, idents) => (quote!((#(#types),*)), quote!((#(self.#idents),*))),
    };
    let key_indexes = &plan.key;

    let definitions = plan.fields.iter().map(|field| {
        let (ident, ty, name) = (field.ident, field.ty, &field.name);
        quote_spanned! {ty.span()=>
            #common::FieldDef {
                name: #name,
                kind: <#ty as #common::FieldKind>::KIND,
                offset: ::core::mem::offset_of!(#row, #ident),
            }
        }
    });
    let sizes = plan.fields.iter().map(|field| {
        let (ty, name) = (field.ty, &field.name);
        let message = format!("the size of the type of field {name:?} differs from that of its KIND");
        quote_spanned! {ty.span()=>
            ::core::assert!(::core::mem::size_of::<#ty>() == <#ty as #common::FieldKind>::KIND.size(), "{}", #message);
        }
    });
    let key_checks =
        key_types.iter().map(|ty| quote_spanned!(ty.span()=> can_be_in_a_key::<#ty>();));

    quote! {
        #[allow(deprecated)]
        const _: () = {
            const fn can_be_in_a_key<K: #common::KeyKind>() {}
            #(#key_checks)*
            #(#sizes)*
            ::core::assert!(
                ::core::mem::align_of::<#row>() <= 8,
                "a row has an alignment of at most 8 bytes: use types with a smaller alignment",
            );
        };

        #[automatically_derived]
        #[allow(deprecated)]
        impl #common::Row for #row {
            type Key = #key_type;
            const FIELDS: &'static [#common::FieldDef] = &[#(#definitions),*];
            const KEY: &'static [::core::primitive::usize] = &[#(#key_indexes),*];

            #[inline]
            fn key(&self) -> Self::Key {
                #key_value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_uses_the_given_path() {
        let input = syn::parse_str("struct S { #[row(key)] a: u8, #[row(key)] b: u16 }").unwrap();
        let plan = crate::plan::plan(&input).unwrap();
        let tokens = expand(&plan, &quote!(::tablecast)).to_string();
        assert!(tokens.contains(":: tablecast :: Row for S"), "{tokens}");
        assert!(tokens.contains("type Key = (u8 , u16)"), "{tokens}");
        assert!(!tokens.contains("common"), "{tokens}");
    }
}
