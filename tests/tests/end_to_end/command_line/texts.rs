//! Messages of the library's errors, which both programs print.

use common::Error;

#[test]
fn error_messages_name_object_and_remedy() {
    let text = |text: &str| text.to_owned();
    let (table, object) = (text("prices"), text("/tablecast.table.prices"));
    let reason = text("REASON");
    let cases: [(Error, &[&str]); 22] = [
        (Error::InvalidName { name: text("a/b") }, &["\"a/b\"", "1 to 64 of A-Z"]),
        (Error::NotFound { table: table.clone() }, &["check the name", "start its publisher"]),
        (Error::TableExists { table: table.clone() }, &["take the table over", "remove it"]),
        (
            Error::PublisherActive { table: table.clone(), pid: 7 },
            &["process 7", "stop that process"],
        ),
        (
            Error::PublisherActive { table: table.clone(), pid: 0 },
            &["a starting publisher", "a sweep", "try again"],
        ),
        (
            Error::KeyExists { table: table.clone(), key: text("1,2") },
            &["1,2", "use update or upsert"],
        ),
        (
            Error::KeyMissing { table: table.clone(), key: text("1,2") },
            &["1,2", "use insert or upsert"],
        ),
        (Error::TableFull { table: table.clone(), capacity: 9 }, &["9 rows", "larger capacity"]),
        (
            Error::SchemaMismatch { table: table.clone(), difference: text("field \"x\"") },
            &["field \"x\"", "the same row type"],
        ),
        (Error::InvalidSchema { reason: reason.clone() }, &["REASON"]),
        (Error::InvalidSetting { reason: reason.clone() }, &["REASON"]),
        (Error::InvalidWake { reason: reason.clone() }, &["REASON"]),
        (
            Error::InvalidValue { field: text("price"), value: text("x"), reason: reason.clone() },
            &["\"price\"", "x", "REASON"],
        ),
        (
            Error::TextTooLong { field: text("name"), length: 5, capacity: 4 },
            &["name", "5 bytes", "holds 4", "shorten the text, or widen"],
        ),
        (
            Error::WrongLength { table: table.clone(), what: "row", length: 7, expected: 8 },
            &["row has 8 bytes", "7 were given", "the table's schema"],
        ),
        (
            Error::LayoutMismatch { object: object.clone(), found: 1, expected: 2 },
            &["layout version 1", "the same version", "remove the table"],
        ),
        (Error::Corrupt { object: object.clone(), reason }, &["REASON", "remove the table"]),
        (
            Error::WrongOwner { object: object.clone(), found: 1, expected: 2 },
            &["user 1", "the table's owner"],
        ),
        (
            Error::PermissionDenied { object: object.clone(), action: "open" },
            &["open", "run as its owner", "a mode and group"],
        ),
        (Error::Outrun { table: table.clone(), passes: 64 }, &["64 passes", "try again"]),
        (
            Error::TimedOut { table: table.clone(), waited: std::time::Duration::from_secs(2) },
            &["2s", "start one, or wait longer"],
        ),
        (Error::Lost { table }, &["another publisher holds it", "from one process"]),
    ];
    for (error, parts) in cases {
        let told = error.to_string();
        assert!(!told.contains("--"), "{told:?} names a flag of a program");
        assert!(!told.contains(" /tablecast."), "{told:?} does not name a path");
        // An error without a name carries a reason.
        let named = ["prices", "a/b", "name", "REASON"].iter().any(|name| told.contains(name));
        assert!(named, "{told}");
        for part in parts {
            assert!(told.contains(part), "{told:?} does not contain {part:?}");
        }
    }
}
