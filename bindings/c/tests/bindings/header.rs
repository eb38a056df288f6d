//! The checked-in header is the one that cbindgen generates.

use std::path::Path;

/// Environment variable that replaces the header with the generated one.
const BLESS: &str = "TABLECAST_BLESS";

/// Source files in the order of their items in the header.
const SOURCES: [&str; 5] = ["call", "schema", "snapshot", "reader", "subscriber"];

#[test]
fn header_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = SOURCES
        .iter()
        .fold(builder, |builder, name| builder.with_src(folder.join(format!("src/{name}.rs"))));
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let path = folder.join("include/tablecast.h");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let same = generated.lines().zip(found.lines()).take_while(|(new, old)| new == old).count();
    let line = generated.lines().nth(same).unwrap_or_default();
    assert!(
        generated == found,
        "tablecast.h differs at line {}, which must be {line:?}; set {BLESS}=1 to replace it",
        same + 1
    );
}
