//! Another side that sends what no bridge sends.

use std::sync::atomic::{AtomicU64, Ordering};

use zenoh::{Session, Wait};

use crate::pair::Pair;
use crate::process::Bridge;
use crate::role::Random;
use crate::table::{commit, content, equal, publish};
use crate::until;

/// Opens a session of zenoh that connects to an address.
fn session(address: &str) -> Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", r#""peer""#),
        ("listen/endpoints", "[]"),
        ("connect/endpoints", &format!(r#"["tcp/{address}"]"#)),
        ("scouting/multicast/enabled", "false"),
    ] {
        config.insert_json5(key, value).expect("a setting of zenoh");
    }
    zenoh::open(config).wait().expect("a session")
}

fn bytes(random: &mut Random) -> Vec<u8> {
    // The first byte is often the number of the protocol, or that of a short head.
    let length = random.below(200);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
    if let Some(first) = bytes.first_mut()
        && random.below(2) == 0
    {
        *first = [1, 0x80, 0x81][random.below(3) as usize];
    }
    bytes
}

#[test]
fn exporter_survives_requests_of_random_bytes() {
    let pair = Pair::new("requests");
    let mut publisher = publish(&pair.origin);
    let (exporter, _importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let session = session(&pair.address);
    let mut random = Random::new();
    let key = format!("tablecast/a/{}/*/*", pair.origin.name());
    let mut replies = 0;
    until("the exporter replies", || {
        replies += session.get(&key).payload(bytes(&mut random)).wait().unwrap().iter().count();
        replies >= 200
    });
    for part in ["head", "changes", "alive"] {
        let key = format!("tablecast/a/{}/{part}/0000000000000001", pair.origin.name());
        session.put(key, bytes(&mut random)).wait().unwrap();
    }
    commit(&mut publisher, 2).unwrap();
    equal(&pair.origin, &pair.copy);
    exporter.finish();
}

#[test]
fn importer_survives_heads_and_replies_of_random_bytes() {
    let pair = Pair::new("replies");
    // It listens, and the hostile side connects to it.
    let importer = Bridge::start(&format!(
        "import {} --as {} --listen {}",
        pair.wanted(),
        pair.copy.name(),
        pair.address
    ));
    let session = session(&pair.address);
    let mut random = Random::new();
    let key = |part: &str| format!("tablecast/a/{}/{part}/0123456789abcdef", pair.origin.name());
    let requests = std::sync::Arc::<AtomicU64>::default();
    let (count, answer_key) = (std::sync::Arc::clone(&requests), key("changes"));
    let mut of_replies = Random::new();
    let of_replies = std::sync::Mutex::new(move || bytes(&mut of_replies));
    let queryable = session.declare_queryable(key("changes")).callback(move |query| {
        count.fetch_add(1, Ordering::Relaxed);
        let reply = (of_replies.lock().expect("no panic"))();
        // The importer may have given it up.
        let _given_up = query.reply(&answer_key, reply).wait();
    });
    let queryable = queryable.wait().unwrap();
    let token = session.liveliness().declare_token(key("alive")).wait().unwrap();
    let head = session.declare_publisher(key("head")).wait().unwrap();
    until("the importer has made requests", || {
        head.put(bytes(&mut random)).wait().unwrap();
        requests.load(Ordering::Relaxed) >= 5
    });
    let link = pair.is(&importer, "refused");
    assert!(!link.text("error").is_empty(), "{link:?}");
    assert!(content(pair.copy.name()).is_err(), "a table was published");
    token.undeclare().wait().unwrap();
    queryable.undeclare().wait().unwrap();
    drop(head);
    session.close().wait().unwrap();
    let _publisher = publish(&pair.origin);
    let _exporter = Bridge::start(&format!(
        "export {} --host a --connect {}",
        pair.origin.name(),
        pair.address
    ));
    equal(&pair.origin, &pair.copy);
    pair.is(&importer, "following");
}
