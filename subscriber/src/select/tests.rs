//! Tests views of a table that is published by this process.

use common::{RowBuf, UntypedPublisher};

use super::*;

struct Table {
    publisher: UntypedPublisher,
    copy: UntypedSubscriber,
}

impl Table {
    fn new(test: &str, rows: &[&[&str]]) -> Self {
        let name = format!("subscriber-view-{test}-{}", std::process::id());
        let schema = Schema::parse("id:u16,name:text(8),n:i32", Some("name,id")).unwrap();
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        commit(&mut publisher, rows, &[]);
        let copy = UntypedSubscriber::open(&name).unwrap();
        Self { publisher, copy }
    }
}

fn commit(publisher: &mut UntypedPublisher, upserted: &[&[&str]], deleted: &[&[&str]]) {
    let schema = Arc::clone(publisher.schema());
    let row = |cells: &&[&str]| {
        let mut row = RowBuf::new(Arc::clone(&schema));
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        row
    };
    let mut tx = publisher.begin();
    for row in upserted.iter().map(row) {
        tx.upsert(row.bytes()).unwrap();
    }
    for row in deleted.iter().map(row) {
        tx.delete(&row.key_bytes()).unwrap();
    }
    tx.commit().unwrap();
}

fn request(
    keys: &[&str],
    conditions: &[&str],
    sort: Option<&str>,
    fields: Option<&str>,
) -> Request {
    Request {
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        fields: fields.map(str::to_owned),
        sort: sort.map(str::to_owned),
        conditions: conditions.iter().map(|text| Condition::parse(text).unwrap()).collect(),
    }
}

fn ids(rows: &[Shown<'_>]) -> Vec<String> {
    rows.iter().map(|row| row.row().value(0).to_string()).collect()
}

#[test]
fn rows_come_in_the_order_of_the_keys() {
    let rows: [&[&str]; 3] = [&["300", "a,b", "2"], &["7", "a,b", "3"], &["1", "c", "1"]];
    let Table { mut publisher, copy } = Table::new("rows", &rows);
    let reader = UntypedReader::open(publisher.name()).unwrap();
    let schema = reader.schema().unwrap();
    let view = |keys: &[&str], conditions: &[&str], sort| {
        request(keys, conditions, sort, None).view(&schema).unwrap()
    };
    assert_eq!(ids(&view(&[], &[], None).rows(&copy)), ["7", "300", "1"], "by key");
    let some = view(&["c,1", "\"a,b\",7", "c,1", "c,2"], &[], None);
    assert_eq!(ids(&some.rows(&copy)), ["1", "7"], "in the order of the KEYs");
    let read = |view: &View| {
        let found = view.read(&reader).unwrap().expect("the schema of the table");
        let rows = view.arrange(view.rows_of(&found.bytes).unwrap());
        (ids(&rows), found.missing, found.unmatched)
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    assert_eq!(read(&some), (texts(&["1", "7"]), texts(&["c,2"]), texts(&[])));
    assert_eq!(ids(&view(&[], &[], Some("n")).rows(&copy)), ["1", "300", "7"]);
    let sorted = view(&["c,1", "\"a,b\",7"], &["n > 1"], Some("n:desc"));
    assert_eq!(ids(&sorted.rows(&copy)), ["7"]);
    assert_eq!(read(&sorted), (texts(&["7"]), texts(&[]), texts(&["c,1"])));
    let begun = view(&["c"], &[], None);
    assert_eq!(ids(&begun.rows(&copy)), read(&begun).0, "all rows whose keys begin so");
    assert_eq!(request(&["c,1,2"], &[], None, None).view(&schema).err().unwrap().code(), 2);
    publisher.reshape(Schema::parse("id:u16", None).unwrap(), 10, [[0; 2]; 0]).unwrap();
    assert!(some.read(&reader).unwrap().is_none(), "the table has another schema");
    publisher.close().unwrap();
}

#[test]
fn changes_are_translated_to_the_view() {
    let rows: [&[&str]; 4] =
        [&["1", "a", "5"], &["2", "b", "5"], &["3", "c", "50"], &["4", "d", "50"]];
    let mut table = Table::new("changes", &rows);
    let request = request(&[], &["n > 9"], Some("n"), Some("n"));
    let view = request.view(table.copy.schema()).unwrap();
    let upserted: [&[&str]; 4] =
        [&["1", "a", "30"], &["2", "b", "6"], &["3", "c", "20"], &["5", "e", "10"]];
    commit(&mut table.publisher, &upserted, &[&["4", "d"]]);
    table.copy.refresh().unwrap();
    let reported = |copy: &UntypedSubscriber| -> Vec<(&'static str, String)> {
        let changes = view.changes(&view, &copy.changes());
        let id = |row: Shown<'_>| row.row().value(0).to_string();
        let reported = changes.iter().map(|change| match change {
            Change::Created(new) => ("create", id(*new)),
            Change::Updated { new, .. } => ("update", id(*new)),
            Change::Deleted(old) => ("delete", id(*old)),
        });
        reported.collect()
    };
    let expected = [("delete", "4"), ("create", "5"), ("update", "3"), ("create", "1")];
    assert_eq!(reported(&table.copy), expected.map(|(op, id)| (op, id.to_owned())));
    commit(&mut table.publisher, &[&["3", "c", "7"], &["1", "a", "30"]], &[]);
    table.copy.refresh().unwrap();
    assert_eq!(reported(&table.copy), [("delete", "3".to_owned())]);
    table.publisher.close().unwrap();
}

#[test]
fn deletes_precede_creates() {
    let rows: [&[&str]; 3] = [&["1", "a", "1"], &["2", "b", "2"], &["3", "c", "2"]];
    let mut table = Table::new("room", &rows);
    let request = request(&[], &["n = 2"], None, None);
    let view = request.view(table.copy.schema()).unwrap();
    // In slot order the row that enters the view precedes the rows that leave it.
    let upserted: [&[&str]; 3] = [&["1", "a", "2"], &["2", "b", "1"], &["3", "c", "1"]];
    commit(&mut table.publisher, &upserted, &[]);
    table.copy.refresh().unwrap();
    let changes = view.changes(&view, &table.copy.changes());
    let goes = changes.iter().map(|change| matches!(change, Change::Deleted(_)));
    assert_eq!(goes.collect::<Vec<_>>(), [true, true, false]);
    table.publisher.close().unwrap();
}

/// Rows as lists of cells.
type Rows = &'static [&'static [&'static str]];

/// Returns a view's changes when the publisher of its table changes the schema, as `op old → new`
/// with the cells of the visible fields.
fn changes_of_schema(
    test: &str,
    request: &Request,
    [before, now]: [(&str, Rows); 2],
) -> Vec<String> {
    let name = format!("subscriber-view-{test}-{}", std::process::id());
    let [before_schema, schema] =
        [before.0, now.0].map(|fields| Schema::parse(fields, Some("id")).unwrap());
    let bytes = |schema: &Schema, cells: &&[&str]| {
        let mut row = RowBuf::new(schema.clone().into());
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        row.bytes().to_vec()
    };
    let builder = UntypedPublisher::builder(&name, before_schema.clone());
    let mut publisher = builder.open().unwrap();
    let mut tx = publisher.begin();
    for row in before.1 {
        tx.insert(&bytes(&before_schema, row)).unwrap();
    }
    tx.commit().unwrap();
    let mut copy = UntypedSubscriber::open(&name).unwrap();
    let old_view = request.view(copy.schema()).unwrap();
    let rows: Vec<Vec<u8>> = now.1.iter().map(|row| bytes(&schema, row)).collect();
    publisher.reshape(schema, 100, rows).unwrap();
    copy.refresh().unwrap();
    let view = request.view(copy.schema()).unwrap();
    let cells = |row: Shown<'_>| {
        let cells = row.values().map(|(_, value)| value.to_string());
        cells.collect::<Vec<_>>().join("|")
    };
    let reported = view.changes(&old_view, &copy.changes());
    let reported = reported
        .iter()
        .map(|change| match change {
            Change::Created(new) => format!("create {}", cells(*new)),
            Change::Updated { old, new } => format!("update {} → {}", cells(*old), cells(*new)),
            Change::Deleted(old) => format!("delete {}", cells(*old)),
        })
        .collect();
    publisher.close().unwrap();
    reported
}

#[test]
fn schema_change_updates_rows_that_print_differently() {
    let all = request(&[], &[], None, None);
    let before: (&str, Rows) = ("id:u8,a:u16,b:text(8)", &[&["1", "0", "x"], &["2", "6", ""]]);
    let cases: [(&str, Rows, &[&str]); 7] = [
        ("id:u8,a:u16", &[&["1", "0"], &["2", "6"]], &[]),
        ("b:text(8),id:u8,a:u16", &[&["x", "1", "0"], &["", "2", "6"]], &[]),
        ("id:u8,a:i64,b:text(8)", &[&["1", "0", "x"], &["2", "6", ""]], &[]),
        ("id:u8,a:u16,b:text(2)", &[&["1", "0", "x"], &["2", "6", ""]], &[]),
        ("id:u8,a:u16,b:text(9)", &[&["1", "0", "x"], &["2", "6", ""]], &[]),
        (
            "id:u8,a:text(4),b:text(8)",
            &[&["1", "", "x"], &["2", "6", ""]],
            &["update 1|0|x → 1||x", "update 2|6| → 2|6|"],
        ),
        (
            "id:u8,a:f64,b:text(2)",
            &[&["1", "0.5", "x"], &["3", "7", ""]],
            &["delete 2|6|", "update 1|0|x → 1|0.5|x", "create 3|7|"],
        ),
    ];
    for (number, (fields, rows, expected)) in cases.into_iter().enumerate() {
        let test = format!("schema-{number}");
        let reported = changes_of_schema(&test, &all, [before, (fields, rows)]);
        assert_eq!(reported, expected, "{fields}");
    }
    let some = request(&[], &[], None, Some("b,id"));
    let now: (&str, Rows) = ("id:u8,a:text(4),b:text(9)", &[&["1", "", "x"], &["2", "6", "new"]]);
    let reported = changes_of_schema("schema-some", &some, [before, now]);
    assert_eq!(reported, ["update |2 → new|2"]);
}

#[test]
fn rows_replaced_under_the_new_schema_are_read_with_it() {
    let mut table = Table::new("moved", &[&["1", "a", "5"], &["2", "b", "6"]]);
    let request = request(&[], &["n > 5"], Some("n"), Some("n,id"));
    let view = request.view(table.copy.schema()).unwrap();
    let other = Arc::new(Schema::parse("n:i32,id:u16", Some("id")).unwrap());
    let before = request.view(&other).unwrap();
    commit(&mut table.publisher, &[&["1", "a", "7"]], &[&["2", "b", "6"]]);
    table.copy.refresh().unwrap();
    let reported = view.changes(&before, &table.copy.changes());
    let reported: Vec<String> = reported
        .iter()
        .map(|change| match change {
            Change::Created(new) => format!("create {}", serde_json::to_string(new).unwrap()),
            Change::Deleted(old) => format!("delete {}", serde_json::to_string(old).unwrap()),
            Change::Updated { .. } => "update".to_owned(),
        })
        .collect();
    assert_eq!(reported, [r#"delete {"n":6,"id":2}"#, r#"create {"n":7,"id":1}"#]);
    table.publisher.close().unwrap();
}
