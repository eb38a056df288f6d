//! Parses the struct and its attributes, and rejects a struct that cannot be a row.

use std::collections::HashSet;

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Type};

/// Maximum number of key fields: `Key` is implemented for tuples of up to this size.
const MAX_KEY_FIELDS: usize = 6;

/// Maximum length of a field's name in bytes, as in `common::schema`.
const MAX_FIELD_NAME: usize = 64;

/// A struct that can be a row.
pub(crate) struct Plan<'a> {
    pub ident: &'a Ident,
    /// The fields, without skipped ones.
    pub fields: Vec<PlannedField<'a>>,
    /// Indexes of the key's fields; not empty.
    pub key: Vec<usize>,
    /// The path of Tablecast's crate, if an attribute of the struct gives it.
    pub path_of_common: Option<Path>,
}

/// One field of the schema.
pub(crate) struct PlannedField<'a> {
    pub ident: &'a Ident,
    pub ty: &'a Type,
    /// Name of the field in the schema.
    pub name: String,
}

/// The options of a field, from `#[row(…)]`.
#[derive(Default)]
struct Options {
    key: bool,
    skip: bool,
    name: Option<LitStr>,
}

/// Parses the struct and its attributes.
pub(crate) fn plan(input: &DeriveInput) -> Result<Plan<'_>> {
    let path_of_common = path_of_common(&input.attrs)?;
    if !input.generics.params.is_empty() {
        let message = "a row has one layout, so its struct cannot be generic: derive Row on a struct for each type";
        return Err(Error::new_spanned(&input.generics, message));
    }
    let mut fields = Vec::new();
    let mut key = Vec::new();
    let mut names = HashSet::new();
    for field in named_fields(input)? {
        let ident = field.ident.as_ref().expect("a named field");
        let options = options(&field.attrs)?;
        if options.skip {
            if options.key || options.name.is_some() {
                let message =
                    "a skipped field is padding: it can have no name and cannot be in the key";
                return Err(Error::new(field.span(), message));
            }
            continue;
        }
        let (name, span) = match &options.name {
            Some(name) => (name.value(), name.span()),
            None => (ident.unraw().to_string(), ident.span()),
        };
        check_name(&name).map_err(|message| Error::new(span, message))?;
        if !names.insert(name.clone()) {
            let message = format!("another field of this row has the name {name:?}");
            return Err(Error::new(span, message));
        }
        if options.key {
            key.push(fields.len());
        }
        fields.push(PlannedField { ident, ty: &field.ty, name });
    }
    let message = match key.len() {
        1..=MAX_KEY_FIELDS => {
            return Ok(Plan { ident: &input.ident, fields, key, path_of_common });
        }
        0 => {
            "a row needs a key: write #[row(key)] above the field that identifies a row".to_owned()
        }
        _ => format!("a key has at most {MAX_KEY_FIELDS} fields"),
    };
    Err(Error::new_spanned(&input.ident, message))
}

/// Calls `option` for each option of `#[row(…)]`.
fn for_each_option(
    attributes: &[Attribute],
    mut option: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let mut attributes = attributes.iter().filter(|attribute| attribute.path().is_ident("row"));
    attributes.try_for_each(|attribute| attribute.parse_nested_meta(&mut option))
}

/// Reads `#[row(crate = "…")]` above the struct.
fn path_of_common(attributes: &[Attribute]) -> Result<Option<Path>> {
    let mut path = None;
    for_each_option(attributes, |meta| {
        if !meta.path.is_ident("crate") {
            let message = "#[row(…)] above a struct takes crate = \"…\"; key, skip and name = \"…\" belong on a field";
            return Err(meta.error(message));
        }
        let literal: LitStr = meta.value()?.parse()?;
        // Do not use `literal.parse_with`: it keeps the span of the literal, and lints would
        // then treat the generated paths as code of the user.
        let parsed = Path::parse_mod_style.parse_str(&literal.value());
        path = Some(parsed.map_err(|error| Error::new_spanned(literal, error))?);
        Ok(())
    })?;
    Ok(path)
}

fn named_fields(input: &DeriveInput) -> Result<impl Iterator<Item = &syn::Field>> {
    let wrong = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Ok(fields.named.iter()),
            _ => "the fields of a row need names: write struct Name { field: Type, … }",
        },
        Data::Enum(_) => "a row is a struct; enums cannot be fields either: use an integer",
        Data::Union(_) => "a row is a struct with named fields, not a union",
    };
    Err(Error::new_spanned(&input.ident, wrong))
}

fn options(attributes: &[Attribute]) -> Result<Options> {
    let mut options = Options::default();
    for_each_option(attributes, |meta| {
        if meta.path.is_ident("key") {
            options.key = true;
        } else if meta.path.is_ident("skip") {
            options.skip = true;
        } else if meta.path.is_ident("name") {
            options.name = Some(meta.value()?.parse()?);
        } else {
            let message = "#[row(…)] takes key, skip, or name = \"…\"; crate = \"…\" belongs above the struct";
            return Err(meta.error(message));
        }
        Ok(())
    })?;
    Ok(options)
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    let forbidden = |letter: char| letter.is_control() || letter == ',' || letter == ':';
    if (1..=MAX_FIELD_NAME).contains(&name.len()) && !name.contains(forbidden) {
        return Ok(());
    }
    Err(format!(
        "a field's name has 1 to {MAX_FIELD_NAME} bytes without control characters, commas and colons"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> String {
        let input = syn::parse_str(source).unwrap();
        match plan(&input) {
            Ok(_) => panic!("accepted: {source}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn attributes_set_names_and_keys() {
        let source = r#"struct S { #[row(key)] r#type: u8, #[row(skip)] pad: u8, #[row(key, name = "in m")] size: u16, x: f32 }"#;
        let input = syn::parse_str(source).unwrap();
        let plan = plan(&input).unwrap();
        let names: Vec<&str> = plan.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["type", "in m", "x"]);
        assert_eq!(plan.key, [0, 1]);
    }

    #[test]
    fn errors_say_what_to_do() {
        let cases = [
            ("struct S { a: u8 }", "#[row(key)]"),
            ("struct S(u8);", "need names"),
            ("struct S;", "need names"),
            ("enum E { A }", "struct"),
            ("union U { a: u8 }", "union"),
            ("struct S<T> { #[row(key)] a: T }", "generic"),
            ("#[row(key)] struct S { a: u8 }", "on a field"),
            ("#[row(crate)] struct S { #[row(key)] a: u8 }", "expected `=`"),
            ("#[row(crate = \"a b\")] struct S { #[row(key)] a: u8 }", "unexpected token"),
            ("struct S { #[row(key, crate = \"a\")] a: u8 }", "above the struct"),
            ("struct S { #[row(kye)] a: u8 }", "takes key, skip"),
            ("struct S { #[row(key, skip)] a: u8 }", "padding"),
            ("struct S { #[row(key)] a: u8, #[row(name = \"a\")] b: u8 }", "\"a\""),
            ("struct S { #[row(key, name = \"a,b\")] a: u8 }", "commas"),
            ("struct S { #[row(key, name = \"\")] a: u8 }", "1 to 64"),
        ];
        for (source, part) in cases {
            let message = refusal(source);
            assert!(message.contains(part), "{source}: {message}");
        }
        let seven: String = (0..7).map(|index| format!("#[row(key)] f{index}: u8,")).collect();
        assert!(refusal(&format!("struct S {{ {seven} }}")).contains("at most 6"));
    }
}
