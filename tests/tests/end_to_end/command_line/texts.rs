//! What the library says of its errors, which is what both programs say.

use common::Error;

#[test]
fn each_error_names_its_object_and_what_to_do() {
    let text = |text: &str| text.to_owned();
    let (table, object) = (text("prices"), text("/tablecast.table.prices"));
    let reason = text("REASON");
    let cases: [(Error, &[&str]); 21] = [
        (
            Error::InvalidName { name: text("a/b") },
            &["\"a/b\"", "use 1 to 64 of A-Z"],
        ),
        (
            Error::NotFound {
                table: table.clone(),
            },
            &["start a publisher", "`subscriber ls`"],
        ),
        (
            Error::PublisherActive {
                table: table.clone(),
                pid: 7,
            },
            &["process 7", "stop that one"],
        ),
        (
            Error::PublisherActive {
                table: table.clone(),
                pid: 0,
            },
            &["does not publish it", "a sweep", "try again"],
        ),
        (
            Error::KeyExists {
                table: table.clone(),
                key: text("1,2"),
            },
            &["1,2", "use update or upsert"],
        ),
        (
            Error::KeyMissing {
                table: table.clone(),
                key: text("1,2"),
            },
            &["1,2", "use insert or upsert"],
        ),
        (
            Error::TableFull {
                table: table.clone(),
                capacity: 9,
            },
            &["9 rows", "--capacity"],
        ),
        (
            Error::SchemaMismatch {
                table: table.clone(),
                difference: text("field \"x\""),
            },
            &["field \"x\"", "one row type", "`subscriber info`"],
        ),
        (
            Error::InvalidSchema {
                reason: reason.clone(),
            },
            &["REASON"],
        ),
        (
            Error::InvalidSetting {
                reason: reason.clone(),
            },
            &["REASON"],
        ),
        (
            Error::InvalidWake {
                reason: reason.clone(),
            },
            &["REASON"],
        ),
        (
            Error::InvalidValue {
                field: text("price"),
                value: text("x"),
                reason: reason.clone(),
            },
            &["\"price\"", "x", "REASON"],
        ),
        (
            Error::TextTooLong {
                field: text("name"),
                length: 5,
                capacity: 4,
            },
            &["name", "5 bytes", "4 bytes", "shorten it or widen"],
        ),
        (
            Error::WrongLength {
                table: table.clone(),
                what: "row",
                length: 7,
                expected: 8,
            },
            &["row of 7 bytes", "8", "the table's own schema"],
        ),
        (
            Error::LayoutMismatch {
                object: object.clone(),
                found: 1,
                expected: 2,
            },
            &["layout version 1", "`--version`", "`publisher rm NAME`"],
        ),
        (
            Error::Corrupt {
                object: object.clone(),
                reason,
            },
            &["REASON", "`publisher rm NAME`"],
        ),
        (
            Error::WrongOwner {
                object: object.clone(),
                found: 1,
                expected: 2,
            },
            &["user 1", "`--owner`"],
        ),
        (
            Error::PermissionDenied {
                object: object.clone(),
                action: "open",
            },
            &["open", "`--mode`"],
        ),
        (
            Error::Outrun {
                table: table.clone(),
                passes: 64,
            },
            &["64 passes", "try again"],
        ),
        (
            Error::TimedOut {
                table: table.clone(),
                waited: std::time::Duration::from_secs(2),
            },
            &["2s", "start one, or wait longer"],
        ),
        (
            Error::Lost { table },
            &["another publisher holds it", "one of the two"],
        ),
    ];
    for (error, parts) in cases {
        let told = error.to_string();
        // What has no name yet has its reason.
        let named = ["prices", "a/b", "name", "REASON"]
            .iter()
            .any(|name| told.contains(name));
        assert!(named, "{told}");
        for part in parts {
            assert!(told.contains(part), "{told:?} does not speak of {part:?}");
        }
    }
}
