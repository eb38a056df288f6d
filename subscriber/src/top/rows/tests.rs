use std::collections::HashSet;

use common::UntypedPublisher;

use super::*;
use crate::top::test_table::Left;
use crate::view::Condition;

/// A publisher and a subscriber in this process.
struct Fixture {
    publisher: UntypedPublisher,
    copy: UntypedSubscriber,
    _left: Left,
}

impl Fixture {
    fn new(test: &str, rows: std::ops::Range<u32>) -> Self {
        let name = format!("top-{test}-{}", std::process::id());
        let schema = Schema::parse("id:u32,price:f64,name:text(8)", None).unwrap();
        let builder = UntypedPublisher::builder(&name, schema).capacity(100_000);
        let publisher = builder.open().unwrap();
        let copy = UntypedSubscriber::open(&name).unwrap();
        let mut fixture = Self {
            publisher,
            copy,
            _left: Left(name),
        };
        fixture.upsert(rows.map(|id| (id, f64::from(id % 7))));
        fixture
    }

    fn upsert(&mut self, rows: impl IntoIterator<Item = (u32, f64)>) {
        let schema = Arc::clone(self.publisher.schema());
        let mut tx = self.publisher.begin();
        for (id, price) in rows {
            let mut row = RowBuf::new(Arc::clone(&schema));
            row.set(0, common::Value::U64(id.into())).unwrap();
            row.set(1, common::Value::F64(price)).unwrap();
            row.set_text(2, &format!("n{id}")).unwrap();
            tx.upsert(row.bytes()).unwrap();
        }
        tx.commit().unwrap();
        self.copy.refresh().unwrap();
    }

    fn delete(&mut self, ids: impl IntoIterator<Item = u32>) {
        let mut tx = self.publisher.begin();
        for key in ids.into_iter().map(u32::to_le_bytes) {
            if self.copy.get(&key).is_some() {
                tx.delete(&key).unwrap();
            }
        }
        tx.commit().unwrap();
        self.copy.refresh().unwrap();
    }

    fn choice(&self, sort: Option<&str>, condition: Option<&str>, typed: &str) -> Choice {
        let schema = self.copy.schema();
        let conditions = condition.map(|text| Condition::parse(text).unwrap());
        let conditions: Vec<Condition> = conditions.into_iter().collect();
        Choice {
            sort: sort.map(str::to_owned),
            order: sort.map_or_else(Order::default, |sort| Order::parse(sort, schema).unwrap()),
            filter: Rc::new(Filter::bind(&conditions, schema).unwrap()),
            search: Search::read(typed, schema).unwrap(),
            projection: Rc::new(Projection::all(schema)),
        }
    }

    /// Computes the expected rows by filtering and sorting the whole table.
    fn expected(&self, choice: &Choice) -> Vec<u32> {
        let mut rows: Vec<RowRef<'_>> = self.copy.iter().filter(|row| choice.has(*row)).collect();
        rows.sort_by_cached_key(|row| choice.order.key(*row));
        rows.iter().map(|row| id(row.key().to_bytes())).collect()
    }

    fn check(&self, rows: &Rows) {
        let shown: Vec<u32> = rows
            .starting_at(0)
            .map(|entry| id(rows.key(entry).to_vec()))
            .collect();
        assert_eq!(shown, self.expected(&rows.shown.choice));
        assert_eq!(rows.len(), shown.len());
        assert_eq!(rows.all.len(), self.copy.len());
    }

    fn finish(&self, rows: &mut Rows) {
        while rows.due().is_some() {
            rows.work(&self.copy, Duration::ZERO);
        }
        self.check(rows);
    }
}

fn id(key: Vec<u8>) -> u32 {
    u32::from_le_bytes(key.try_into().unwrap())
}

const CHOICES: [(Option<&str>, Option<&str>, &str); 6] = [
    (None, None, ""),
    (Some("price:desc"), None, ""),
    (None, Some("price > 3"), ""),
    (Some("name"), Some("price < 5"), "n1"),
    (None, None, "price = 2"),
    (Some("price,id:desc"), None, "9"),
];

#[test]
fn changes_update_rows_of_every_choice() {
    let mut fixture = Fixture::new("changes", 0..500);
    for (sort, condition, typed) in CHOICES {
        let choice = fixture.choice(sort, condition, typed);
        let mut rows = Rows::new(&fixture.copy, choice);
        fixture.check(&rows);
        let mut left = HashSet::new();
        for round in 0..20 {
            let many = (round..700).step_by(13);
            fixture.upsert(many.clone().map(|id| (id, f64::from((id + round) % 9))));
            rows.note(&fixture.copy, |_, _| {});
            fixture.check(&rows);
            let before: HashSet<u32> = fixture.expected(&rows.shown.choice).into_iter().collect();
            fixture.delete((round..700).step_by(17).filter(|id| before.contains(id)));
            rows.note(&fixture.copy, |entry, row| {
                assert!(left.insert((round, entry.to_vec())), "reported twice");
                assert!(before.contains(&id(row.key().to_bytes())));
            });
            fixture.check(&rows);
        }
        assert!(!left.is_empty());
    }
}

#[test]
fn walk_includes_concurrent_changes() {
    let mut fixture = Fixture::new("walk", 0..2000);
    let all = fixture.choice(None, None, "");
    let mut rows = Rows::new(&fixture.copy, all);
    for (sort, condition, typed) in CHOICES {
        let choice = fixture.choice(sort, condition, typed);
        rows.choose(choice);
        for round in 0..10 {
            rows.work(&fixture.copy, Duration::ZERO);
            fixture.upsert((round..2000).step_by(31).map(|id| (id, f64::from(round))));
            rows.note(&fixture.copy, |_, _| {});
            fixture.delete(
                (0..2000)
                    .skip(round as usize + 1)
                    .step_by(101)
                    .filter(|id| id % 10 == round),
            );
            rows.note(&fixture.copy, |_, _| {});
            fixture.upsert((0..2000).step_by(101).map(|id| (id, 1.0)));
            rows.note(&fixture.copy, |_, _| {});
        }
        fixture.finish(&mut rows);
        assert_eq!(rows.sort(), sort);
    }
}

#[test]
fn filter_shows_partial_result_and_order_only_complete_one() {
    let fixture = Fixture::new("partly", 0..2000);
    let mut rows = Rows::new(&fixture.copy, fixture.choice(None, None, ""));
    rows.choose(fixture.choice(None, Some("id < 1500"), ""));
    assert_eq!(rows.progress(), Some(0));
    rows.work(&fixture.copy, Duration::ZERO);
    assert_eq!(rows.len(), STEP);
    fixture.finish(&mut rows);
    rows.choose(fixture.choice(Some("price"), Some("id < 1500"), ""));
    rows.work(&fixture.copy, Duration::ZERO);
    assert_eq!((rows.len(), rows.sort()), (1500, None));
    // A new choice before the previous one was complete.
    rows.choose(fixture.choice(Some("name:desc"), None, ""));
    fixture.finish(&mut rows);
    assert_eq!((rows.len(), rows.sort()), (2000, Some("name:desc")));
}

#[test]
fn many_changes_cause_a_rebuild() {
    let mut fixture = Fixture::new("many", 0..100);
    let choice = fixture.choice(Some("price"), Some("id > 50"), "");
    let mut rows = Rows::new(&fixture.copy, choice);
    fixture.upsert((0..MOST_CHANGES as u32 + 200).map(|id| (id, f64::from(id % 3))));
    rows.note(&fixture.copy, |_, _| {});
    assert_eq!(rows.len(), 49, "unchanged until the rebuild");
    fixture.upsert([(7, 1.0), (60, 0.5)]);
    rows.note(&fixture.copy, |_, _| {});
    assert!(rows.work(&fixture.copy, Duration::ZERO));
    fixture.check(&rows);
    // The pause delays the next rebuild, except for a new choice.
    fixture.upsert((0..MOST_CHANGES as u32 + 200).map(|id| (id, f64::from(id % 5 + 3))));
    rows.note(&fixture.copy, |_, _| {});
    assert!(rows.due() > Some(Instant::now()) || rows.work(&fixture.copy, Duration::ZERO));
    rows.choose(fixture.choice(Some("price:desc"), None, ""));
    fixture.finish(&mut rows);
    assert_eq!(rows.sort(), Some("price:desc"));
}
