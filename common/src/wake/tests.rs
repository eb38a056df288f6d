//! Tests of both halves of each kind, in one process.

use nix::errno::Errno;
use nix::libc::{SIGKILL, SIGRTMIN};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::*;
use crate::error::Error;
use crate::region::object::queue_name;
use crate::region::random_id;

/// Returns the credentials of this user or of root. Both may send to every queue of this user.
fn own() -> queue::PublisherCredentials {
    queue::PublisherCredentials::of(&std::env::temp_dir().metadata().unwrap())
}

fn targets(directory: &Path) -> Vec<WakeTarget> {
    let name = queue_name(random_id().unwrap(), 0, 7);
    [
        (Sleep::Queue, None),
        (Sleep::Unix, None),
        (Sleep::Unix, Some(directory)),
        (Sleep::Signal(SIGRTMIN() + 11), None),
        (Sleep::Fifo, Some(directory)),
    ]
    .map(|(sleep, place)| WakeTarget::new(Some(sleep), place, &name).unwrap())
    .into()
}

/// Returns true if it is readable within `timeout`: a signal may arrive a little later.
fn is_readable(descriptor: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout).unwrap_or(0) == 1
}

#[test]
fn wake_ups_never_block_and_any_number_is_drained_at_once() {
    for target in targets(&std::env::temp_dir()) {
        let receiver = target.create(own()).unwrap().unwrap();
        let sender = target.open().unwrap();
        let descriptor = receiver.descriptor().unwrap();
        assert!(!is_readable(descriptor, PollTimeout::ZERO), "{target:?}");
        for round in 0..3 {
            for version in 0..50_000 {
                sender(version);
            }
            assert!(is_readable(descriptor, PollTimeout::from(10_000_u16)), "{target:?} {round}");
            // A signal that was in flight during a drain arrives after it.
            for _ in 0..1000 {
                receiver.drain();
            }
            assert!(!is_readable(descriptor, PollTimeout::ZERO), "{target:?} {round}");
        }
        sender(1);
        assert!(is_readable(descriptor, PollTimeout::from(10_000_u16)), "{target:?}");
    }
}

#[test]
fn fifo_keeps_its_lines_and_each_line_is_an_edge() {
    let path = std::env::temp_dir().join(format!("tablecast-edge-{}", random_id().unwrap()));
    let target = WakeTarget::new(Some(Sleep::Fifo), Some(&path), "").unwrap();
    let receiver = target.create(own()).unwrap().unwrap();
    let sender = target.open().unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(receiver.descriptor().unwrap(), edge).unwrap();
    for version in 0..50 {
        sender(version);
        receiver.drain();
        let mut events = [EpollEvent::empty()];
        assert_eq!(epoll.wait(&mut events, EpollTimeout::from(10_000_u16)), Ok(1), "{version}");
        assert_eq!(epoll.wait(&mut events, EpollTimeout::ZERO), Ok(0), "{version}");
    }
    let mut lines = [0; 4096];
    let pipe = std::fs::File::open(&path).unwrap();
    let length = std::io::Read::read(&mut &pipe, &mut lines).unwrap();
    let lines = String::from_utf8_lossy(&lines[..length]).into_owned();
    assert_eq!(lines, (0..50).map(|version| format!("{version}\n")).collect::<String>());
    drop(receiver);
    assert!(!path.exists(), "the owner removes its pipe");
}

#[test]
fn signal_sender_accepts_only_the_given_process_and_free_signals() {
    let own = Identity::own();
    let number = SIGRTMIN() + 12;
    assert!(signal::open_sender(own, number).is_ok());
    for (process, number, refusal) in [
        (own, SIGKILL, Errno::EINVAL),
        (own, 0, Errno::EINVAL),
        (own, 33, Errno::EINVAL),
        // The pid was reused by another process.
        (Identity { start_time: own.start_time + 1, ..own }, number, Errno::ESRCH),
        (Identity { pid_namespace: 1, ..own }, number, Errno::ESRCH),
        (Identity { pid: 0, ..own }, number, Errno::ESRCH),
        (Identity { pid: u32::MAX, ..own }, number, Errno::ESRCH),
    ] {
        let refused = signal::open_sender(process, number).map(drop);
        assert_eq!(refused, Err(refusal), "{process:?} {number}");
    }
}

#[test]
fn opening_a_missing_target_fails_and_another_file_is_refused() {
    let directory = std::env::temp_dir();
    for target in targets(&directory) {
        if target.signal == 0 {
            assert!(target.open().is_err(), "{target:?}");
        }
    }
    let file = directory.join(format!("tablecast-file-{}", random_id().unwrap()));
    std::fs::write(&file, "precious").unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let of = |sleep| WakeTarget::new(Some(sleep), Some(&directory), name).unwrap();
    let (fifo, socket) = (of(Sleep::Fifo), of(Sleep::Unix));
    assert_eq!(fifo.open().map(drop), Err(Errno::EPERM));
    assert!(socket.open().is_err());
    for target in [fifo, socket] {
        assert_eq!(target.path, file);
        assert!(!target.remove(true).unwrap());
        assert!(target.create(own()).is_err());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn check_place_reports_why_a_receiver_cannot_be_created_there() {
    let name = format!("tablecast-place-{:016x}", random_id().unwrap());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    let (file, link) = (directory.join("file"), directory.join("link"));
    std::fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let pipe = fifo::Fifo::create(&directory.join("pipe")).unwrap();
    let long = directory.join("x".repeat(250));
    for (place, fifo, unix) in [
        (directory.clone(), "", ""),
        (directory.join("new"), "", "create that directory first"),
        (directory.join("pipe"), "", "is not a directory"),
        (PathBuf::from("new-in-the-working-directory"), "", "create that directory first"),
        (directory.join("none/new"), "create that directory first", "create that directory first"),
        (file.clone(), "another file has this name", "is not a directory"),
        (link, "another file has this name", "create that directory first"),
        (file.join("new"), "is not a directory", "create that directory first"),
        (long, "is too long", "create that directory first"),
    ] {
        for (sleep, expected) in [(Sleep::Fifo, fifo), (Sleep::Unix, unix), (Sleep::Queue, "")] {
            let checked = check_place(sleep, &place).map_err(|error| error.to_string());
            let said = checked.as_ref().err().map_or("", String::as_str);
            assert!(said.contains(expected), "{sleep} {place:?}: {said}");
            assert_eq!(checked.is_err(), !expected.is_empty(), "{sleep} {place:?}: {said}");
        }
    }
    let deep = directory.join("y".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let error = check_place(Sleep::Unix, &deep).unwrap_err().to_string();
    assert!(error.contains("too long for a socket"), "{error}");
    drop(pipe);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn each_mechanism_has_its_own_word_and_is_selected_by_its_setting() {
    for (at, mechanism) in MECHANISMS.iter().enumerate() {
        assert_eq!(mechanism.word, at as u64 + 1);
        assert_eq!(needs_slot(mechanism.word), mechanism.halves.is_some());
        let place = matches!(mechanism.target, TargetForm::Path(_));
        let found = Mechanism::of(mechanism.sleep, place);
        assert_eq!(found.word, mechanism.word);
    }
    assert_eq!(kind_word(Sleep::Auto), kind_word(Sleep::Queue));
    assert_eq!((needs_slot(0), needs_slot(99)), (false, true));
    assert_eq!(kind_name(99), "unknown");
}

#[test]
fn signals_with_another_meaning_are_refused() {
    for number in [0, 9, 15, 1000, -1] {
        assert!(matches!(Sleep::Signal(number).check(), Err(Error::InvalidWake { .. })));
    }
    for sleep in ["signal:USR2", "signal:RTMIN+3", "mq"] {
        sleep.parse::<Sleep>().unwrap().check().unwrap();
    }
}
