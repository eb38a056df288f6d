//! Tests of both ends of a registry in one process.

use super::*;
use crate::error::Error;
use crate::protocol::words::ReadOnlyWord;
use crate::region::object::{Access, own_user};
use crate::wake::Sleep;
use crate::wake::budget::{Budget, WAKE_UPS_AT_ONCE, WAKE_UPS_PER_SECOND};

const OWN: Access = Access { mode: 0o600, group: None };

fn registry(slots: usize, access: Access) -> Registry {
    let registry = Registry::create(slots, access).unwrap();
    registry.link().unwrap();
    registry
}

fn remove(registry: &Registry) {
    object::remove(&registry_name(registry.id())).unwrap();
    registry.remove_receivers();
}

fn wake_slot(registry: &Registry) -> Result<RegistryEntry> {
    let mut wake_slot =
        RegistryEntry::with_slot(registry.id(), own_user(), false)?.expect("the registry exists");
    assert!(wake_slot.create_receiver(Sleep::Queue, None)?);
    Ok(wake_slot)
}

fn parked(registry: &mut Registry, version: u64, everyone: bool) -> Vec<usize> {
    let mut slots = Vec::new();
    let mut budget = registry.budget();
    registry
        .parked(version, everyone, &mut budget, |member, _| {
            slots.push(member.slot);
        })
        .unwrap();
    slots
}

#[test]
fn slots_are_claimed_parked_at_and_freed() {
    for access in [OWN, Access { mode: 0o644, group: None }] {
        let mut registry = registry(2, access);
        let commit = ReadOnlyWord::new(5);
        let (mut first, second) = (wake_slot(&registry).unwrap(), wake_slot(&registry).unwrap());
        assert_eq!((first.identity().0, second.identity().0), (0, 1));
        assert!(matches!(wake_slot(&registry), Err(Error::Limit { .. })), "both slots are taken");

        assert!(!first.park(&commit, 4).unwrap(), "commit 5 was not seen yet");
        assert_eq!(parked(&mut registry, 6, false).len(), 0);
        assert!(first.park(&commit, 5).unwrap());
        assert_eq!(parked(&mut registry, 6, false), [0]);
        assert_eq!(parked(&mut registry, 7, false).len(), 0, "each park is answered once");
        assert_eq!(parked(&mut registry, 9, true), [0], "a successor wakes everyone");
        first.unpark().unwrap();
        assert_eq!(parked(&mut registry, 9, true).len(), 0);

        drop(second);
        assert_eq!(registry.sweep().unwrap(), [first.identity().1, 0]);
        assert_eq!(wake_slot(&registry).unwrap().identity().0, 1);
        remove(&registry);
    }
}

#[test]
fn claim_in_a_removed_registry_returns_none() {
    let registry = registry(1, OWN);
    remove(&registry);
    assert!(RegistryEntry::with_slot(registry.id(), own_user(), false).unwrap().is_none());
}

#[test]
fn truncated_registry_that_others_may_write_is_an_error() {
    let open = Access { mode: 0o644, group: None };
    let mut registry = registry(4, open);
    let mut wake_slot = wake_slot(&registry).unwrap();
    let file =
        object::open(&registry_name(registry.id()), true, own_user(), false).unwrap().unwrap();
    file.set_len(100).unwrap();
    assert!(matches!(
        registry.parked(2, false, &mut Budget::new(true), |_, _| ()),
        Err(Error::Corrupt { .. })
    ));
    // A store beyond the end makes the file longer again, which is harmless.
    assert!(wake_slot.park(&ReadOnlyWord::new(1), 1).is_ok());
    remove(&registry);
}

#[test]
fn registry_truncated_while_mapped_is_rejected_after_it_grows_again() {
    // Enough slots that the records are on another page than the park words.
    let mut registry = registry(1000, OWN);
    let mut wake_slot = wake_slot(&registry).unwrap();
    let file =
        object::open(&registry_name(registry.id()), true, own_user(), false).unwrap().unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(4096).unwrap();
    assert!(matches!(wake_slot.park(&ReadOnlyWord::new(5), 5), Err(Error::Corrupt { .. })));
    registry.parked(6, false, &mut Budget::new(false), |_, _| ()).unwrap();
    file.set_len(length).unwrap();
    assert!(matches!(registry.sweep(), Err(Error::Corrupt { .. })));
    remove(&registry);
}

/// Processes and paths are trusted only in a registry that other users cannot write to. Derived
/// names are always trusted.
#[test]
fn targets_are_accepted_from_the_own_user_only() {
    let directory = std::env::temp_dir();
    for (sleep, place, is_target) in [
        (Sleep::Queue, None, false),
        (Sleep::Unix, None, false),
        (Sleep::Unix, Some(directory.as_path()), true),
        (Sleep::Fifo, Some(directory.as_path()), true),
        (Sleep::Signal(nix::libc::SIGUSR1), None, true),
    ] {
        for mode in [0o600, 0o644] {
            let access = Access { mode, group: None };
            let registry = registry(1, access);
            let mut wake_slot = RegistryEntry::with_slot(registry.id(), own_user(), false)
                .unwrap()
                .expect("the registry exists");
            let refused = is_target && mode != 0o600;
            let made = wake_slot.create_receiver(sleep, place);
            assert_eq!(made.is_err(), refused, "{sleep} {mode:o}: {made:?}");
            // The check also applies if the subscriber has written the target into its record.
            let name = object::queue_name(registry.id(), 0, wake_slot.identity().1);
            let target = WakeTarget::new(Some(sleep), place, &name).unwrap();
            registry.file().write_record(0, wake_slot.identity().1, &target).unwrap();
            let ready = registry.file().record(0) + at::READY;
            registry.file().store(ready, 1).unwrap();
            let accepted = registry.member(0, wake_slot.identity().1).target();
            let expected = match refused {
                true => Err(Errno::EPERM),
                false => Ok(target),
            };
            assert_eq!(format!("{accepted:?}"), format!("{expected:?}"));
            drop(wake_slot);
            remove(&registry);
        }
    }
}

#[test]
fn receiver_of_a_dead_subscriber_is_removed_with_its_slot() {
    let directory = std::env::temp_dir();
    for sleep in [Sleep::Unix, Sleep::Fifo] {
        let registry = registry(1, OWN);
        let mut wake_slot = RegistryEntry::with_slot(registry.id(), own_user(), false)
            .unwrap()
            .expect("the registry exists");
        assert!(wake_slot.create_receiver(sleep, Some(&directory)).unwrap());
        let name = object::queue_name(registry.id(), 0, wake_slot.identity().1);
        let path = directory.join(name.trim_start_matches('/'));
        assert!(path.exists(), "{sleep}");
        // Simulates a killed process: only its lock and its open descriptors are released.
        wake_slot.die();
        if sleep == Sleep::Fifo {
            assert!(!crate::wake::fifo::remove(&path, false).unwrap(), "its owner holds it");
            let pipe = wake_slot.receiver().unwrap().descriptor().unwrap();
            lock::unlock(pipe, Span::WHOLE).unwrap();
        }
        let mut freed = Vec::new();
        registry.file().free_stale(|stale| freed.push(stale.object)).unwrap();
        assert_eq!(freed, [path.display().to_string()]);
        assert!(!path.exists(), "{sleep}");
        remove(&registry);
    }
}

/// Every slot is parked at every commit, because another user may write to a registry of mode 0644.
#[test]
fn wake_ups_are_limited_in_a_registry_that_others_may_write() {
    const SLOTS: usize = 1000;
    const COMMITS: u64 = 1000;
    for (mode, is_limited) in [(0o644, true), (0o600, false)] {
        let access = Access { mode, group: None };
        let mut registry = registry(SLOTS, access);
        registry.file().store(at::CLAIMED, SLOTS as u64).unwrap();
        registry.file().store(at::PARKED_MAX, COMMITS).unwrap();
        for slot in 0..SLOTS {
            let nonce = registry.file().record(slot) + at::NONCE;
            registry.file().store(nonce, 7).unwrap();
        }
        let mut budget = registry.budget();
        let begun = std::time::Instant::now();
        let mut visits = Vec::new();
        for version in 2..2 + COMMITS {
            let parks = (version - 1).to_le_bytes().repeat(SLOTS);
            let place = at::PARKS as u64 * 8;
            registry.file().file().write_all_at(&parks, place).unwrap();
            let before = visits.len();
            registry
                .parked(version, false, &mut budget, |member, budget| {
                    visits.extend(budget.take_wake_up().then_some(member.slot));
                })
                .unwrap();
            if version == 2 {
                assert_eq!(visits.len() - before, SLOTS, "one commit wakes 1,000 sleepers");
            }
        }
        if is_limited {
            let gained = (begun.elapsed().as_secs_f64() + 1e-3) * WAKE_UPS_PER_SECOND as f64;
            let most = WAKE_UPS_AT_ONCE as usize + gained as usize;
            assert!(visits.len() <= most, "{} wake-ups", visits.len());
            // Slots take turns: no slot is left out permanently.
            let mut counts = [0_u32; SLOTS];
            visits.iter().for_each(|slot| counts[*slot] += 1);
            let (least, greatest) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(greatest - least <= 1, "{least} to {greatest} wake-ups per slot");
        } else {
            assert_eq!(visits.len(), SLOTS * COMMITS as usize);
        }
        remove(&registry);
    }
}

#[test]
fn subscriber_left_out_by_the_budget_is_woken_at_a_later_commit() {
    let open = Access { mode: 0o644, group: None };
    let mut registry = registry(4, open);
    let commit = ReadOnlyWord::new(5);
    let mut late = wake_slot(&registry).unwrap();
    assert!(late.park(&commit, 5).unwrap());
    let mut budget = registry.budget();
    // Another subscriber has used up the budget.
    budget.fill();
    let taken = (0..WAKE_UPS_AT_ONCE).take_while(|_| budget.take_wake_up());
    assert_eq!(taken.count() as u64, WAKE_UPS_AT_ONCE);
    let mut woken = Vec::new();
    // Commits that follow too fast for the budget to refill wake nobody. The first commit after a
    // refill also wakes the subscribers that these commits left out.
    for version in 6.. {
        registry
            .parked(version, false, &mut budget, |member, budget| {
                woken.extend(budget.take_wake_up().then_some(member.slot));
            })
            .unwrap();
        if !woken.is_empty() {
            break;
        }
    }
    assert_eq!(woken, [0]);
    remove(&registry);
}
