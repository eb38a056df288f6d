//! Changes of the origin itself: removed, created again, another schema, growth; while the link is
//! up, and while it is down.

use std::sync::Arc;

use common::{Publisher, RowBuf, Schema, UntypedPublisher, UntypedReader, Value};

use crate::pair::Pair;
use crate::table::{Item, Table, commit, content, equal, publish, rows_of};
use crate::until;

/// Rows of a table that was small.
const MANY: u64 = 5_000;

/// Runs a scenario with the link up, and with the link down at the time of the change.
fn with_link_up_and_down<P>(
    test: &str,
    publish: impl Fn(&Table) -> P,
    change: impl Fn(&Table, P) -> P,
) {
    for is_down in [false, true] {
        let pair = Pair::new(test);
        let mut publisher = publish(&pair.origin);
        let (exporter, importer) = (pair.export(), pair.import());
        equal(&pair.origin, &pair.copy);
        if is_down {
            pair.proxy.refuse();
        }
        publisher = change(&pair.origin, publisher);
        pair.proxy.pass();
        equal(&pair.origin, &pair.copy);
        pair.is(&importer, "following");
        importer.finish();
        pair.copy.is_removed();
        exporter.finish();
        drop(publisher);
    }
}

/// Publishes rows of another schema.
fn publish_names(table: &Table, schema: &str, count: u32) -> UntypedPublisher {
    let schema = Schema::parse(schema, None).unwrap();
    let mut publisher = UntypedPublisher::open(table.name(), schema).unwrap();
    let rows = names(publisher.schema(), count);
    let mut tx = publisher.begin();
    tx.replace_with(&rows).unwrap();
    tx.commit().unwrap();
    publisher
}

fn names(schema: &Arc<Schema>, count: u32) -> Vec<Vec<u8>> {
    let name = schema.fields().iter().position(|field| field.name() == "name").unwrap();
    let row = |id: u32| {
        let mut row = RowBuf::new(schema.clone());
        row.set(0, Value::U64(id.into())).unwrap();
        row.set_text(name, &format!("name {id}")).unwrap();
        row.bytes().to_vec()
    };
    (0..count).map(row).collect()
}

#[test]
fn origin_that_is_removed_and_created_again() {
    with_link_up_and_down("again", publish, |table, publisher| {
        publisher.close().unwrap();
        let mut publisher = publish(table);
        commit(&mut publisher, 5).unwrap();
        publisher
    });
}

#[test]
fn origin_that_is_created_again_with_another_schema() {
    let first = |table: &Table| publish_names(table, "id:u64,name:text(16)", 10);
    with_link_up_and_down("schema-again", first, |table, publisher| {
        publisher.close().unwrap();
        publish_names(table, "id:u32,rank:i16,name:text(40)", 20)
    });
}

#[test]
fn origin_whose_schema_changes() {
    let first = |table: &Table| publish_names(table, "id:u64,name:text(16)", 10);
    with_link_up_and_down("schema", first, |_, mut publisher| {
        for schema in ["id:u64,name:text(24),more:f64", "id:u32,name:text(16)"] {
            let schema = Arc::new(Schema::parse(schema, None).unwrap());
            let rows = names(&schema, 30);
            publisher.reshape((*schema).clone(), 30, rows).unwrap();
        }
        publisher
    });
}

#[test]
fn origin_that_grows() {
    let first = |table: &Table| {
        let mut publisher = Publisher::<Item>::builder(table.name()).capacity(16).open().unwrap();
        let mut tx = publisher.begin();
        tx.insert(&rows_of(1)[0]).unwrap();
        tx.commit().unwrap();
        publisher
    };
    with_link_up_and_down("grown", first, |_, mut publisher| {
        for batch in 0..10 {
            let mut tx = publisher.begin();
            for id in 0..MANY / 10 {
                let row = Item { id: 100 + batch * MANY + id, ..rows_of(1)[0] };
                tx.insert(&row).unwrap();
            }
            tx.commit().unwrap();
        }
        publisher
    });
}

#[test]
fn schema_that_changes_while_there_is_no_importer() {
    let pair = Pair::new("schema-kept");
    let publisher = publish_names(&pair.origin, "id:u64,name:text(16)", 10);
    let (_exporter, importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let mut reader = UntypedReader::open(pair.copy.name()).unwrap();
    importer.kill();
    publisher.close().unwrap();
    let _publisher = publish_names(&pair.origin, "id:u32,rank:u8,name:text(20)", 30);
    let importer = pair.import();
    equal(&pair.origin, &pair.copy);
    // The rows of the old schema end in a stated way.
    let _outdated = reader.refresh();
    importer.finish();
    pair.copy.is_removed();
}

#[test]
fn copy_of_a_removed_origin_stays_readable_and_is_stale() {
    let pair = Pair::new("removed");
    let publisher = publish(&pair.origin);
    let (_exporter, importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let before = content(pair.copy.name()).unwrap();
    publisher.close().unwrap();
    let link = pair.is(&importer, "stale");
    assert!(link.text("error").contains("closed or removed"), "{link:?}");
    assert_eq!(content(pair.copy.name()).unwrap(), before);
    assert!(common::inspect(pair.copy.name(), None).unwrap().input_ended);
    let _publisher = publish(&pair.origin);
    pair.is(&importer, "following");
    until("the mark is gone", || !common::inspect(pair.copy.name(), None).unwrap().input_ended);
    equal(&pair.origin, &pair.copy);
}
