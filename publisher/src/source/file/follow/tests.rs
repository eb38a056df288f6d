use std::time::SystemTime;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// Returns `N` identities of a file that is changed before each.
fn versions<const N: usize>() -> [Option<Identity>; N] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::array::from_fn(|number| {
        std::fs::write(&path, "x".repeat(number)).unwrap();
        Some(Identity::of_path(&path).unwrap())
    })
}

/// Returns the state after `seen` has been read.
fn following(seen: Option<Identity>) -> ReadSchedule {
    let mut schedule = ReadSchedule::new(PATIENCE);
    schedule.record_read(Instant::now(), seen, false);
    schedule
}

#[test]
fn finished_version_is_read_at_once_and_only_once() {
    let [one, two] = versions();
    let now = Instant::now();
    let mut schedule = following(one);
    schedule.record(now, one, true);
    assert_eq!((schedule.due(), schedule.take_due(now)), (None, None));
    schedule.record(now, two, true);
    assert_eq!(schedule.due(), Some(now));
    assert_eq!(schedule.take_due(now), Some(Due::Read));
    schedule.record_read(now, two, false);
    schedule.record(now, two, true);
    assert_eq!((schedule.due(), schedule.take_due(now)), (None, None));
}

#[test]
fn changed_file_is_read_after_a_quiet_time() {
    let [one, two, three] = versions();
    let now = Instant::now();
    let mut schedule = following(one);
    schedule.record(now, two, false);
    schedule.record(now + STEP, two, false);
    assert_eq!(schedule.due(), Some(now + QUIET), "a check is not a change");
    schedule.record(now + STEP, three, false);
    assert_eq!(schedule.due(), Some(now + STEP + QUIET));
    assert_eq!(schedule.take_due(now + QUIET), None);
    assert_eq!(schedule.take_due(now + STEP + QUIET), Some(Due::Read));
    // A finished version that changes again is not finished.
    schedule.record(now, one, true);
    schedule.record(now, two, false);
    assert_eq!(schedule.due(), Some(now + QUIET));
    schedule.record(now, three, false);
    assert_eq!(schedule.due(), None, "the file is as it was read");
}

#[test]
fn file_that_keeps_changing_is_read_after_the_patience() {
    let versions = versions::<100>();
    let begin = Instant::now();
    let mut schedule = following(versions[0]);
    let mut read = 0;
    for (step, version) in (1..).zip(&versions[1..]) {
        let now = begin + STEP * step;
        schedule.record(now, *version, false);
        read += u32::from(schedule.take_due(now) == Some(Due::Read));
    }
    assert_eq!(read, 1, "in ten seconds");
}

#[test]
fn file_may_be_missing_for_an_instant() {
    let [one, two] = versions();
    let now = Instant::now();
    let mut schedule = following(one);
    schedule.record(now, None, true);
    assert_eq!(schedule.due(), Some(now + QUIET));
    schedule.record(now + STEP, two, true);
    assert_eq!(schedule.take_due(now + STEP), Some(Due::Read));
    schedule.record(now, None, false);
    assert_eq!(schedule.take_due(now + QUIET), Some(Due::Gone));
    schedule.record(now, None, false);
    assert_eq!(schedule.due(), None, "reported once");
    schedule.record(now, one, true);
    assert_eq!(schedule.take_due(now), Some(Due::Read));
}

#[test]
fn file_may_be_missing_for_the_instant_of_the_read() {
    let [one, two] = versions();
    let now = Instant::now();
    let due_after = |back: Option<Identity>| {
        let mut schedule = following(one);
        schedule.record(now, two, true);
        assert_eq!(schedule.take_due(now), Some(Due::Read));
        assert!(schedule.record_missing(now));
        assert_eq!(schedule.take_due(now), None);
        schedule.record(now + STEP, back, true);
        let due = schedule.take_due(now + QUIET);
        if due == Some(Due::Gone) {
            assert!(!schedule.record_missing(now), "the file is known to be gone");
        }
        assert_eq!(schedule.take_due(now + QUIET), None);
        due
    };
    assert_eq!(due_after(one), Some(Due::Read), "the version before");
    assert_eq!(due_after(two), Some(Due::Read), "the version to be read");
    assert_eq!(due_after(None), Some(Due::Gone));
}

#[test]
fn young_version_is_read_again_and_force_reads_at_once() {
    let [one, two] = versions();
    let now = Instant::now();
    let mut schedule = following(one);
    schedule.record_read(now, one, true);
    assert_eq!(schedule.take_due(now), None);
    assert_eq!(schedule.take_due(now + QUIET), Some(Due::Read));
    assert_eq!(schedule.due(), None);
    schedule.record_read(now, one, true);
    schedule.record(now, two, false);
    schedule.force(now);
    assert_eq!(schedule.take_due(now), Some(Due::Read));
    assert_eq!(schedule.due(), None, "the forced read covers it");
}

/// Guards against a time in the future that counts as recent until it has passed. Covers the time
/// of the change and that of the modification, far and near, before and after now.
#[test]
fn distant_future_time_is_not_young() {
    let [identity] = versions();
    let identity = identity.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    let is_young = |modified: i64, changed: i64| {
        let (modified, changed) = ((now + modified, 0), (now + changed, 0));
        let identity = Identity { modified, changed, ..identity };
        identity.is_younger_than(Duration::from_secs(60))
    };
    for far in [-7200, 7200, i64::MAX - now, i64::MIN] {
        assert!(!is_young(far, -7200), "{far}");
        assert!(!is_young(-7200, far), "{far}");
        assert!(is_young(far, 0) && is_young(0, far), "{far}");
    }
    assert!(is_young(30, 7200) && is_young(-30, 7200));
}
