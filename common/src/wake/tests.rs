//! Both halves of each kind, in one process.

use nix::errno::Errno;
use nix::libc::{SIGKILL, SIGRTMIN};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::*;
use crate::region::object::{own_user, queue_name};
use crate::region::random_id;

fn own() -> queue::Publisher {
    queue::Publisher {
        user: own_user(),
        group: 0,
        is_public: false,
    }
}

fn addresses(directory: &Path) -> Vec<Address> {
    let name = queue_name(random_id().unwrap(), 0, 7);
    [
        (Sleep::Queue, None),
        (Sleep::Unix, None),
        (Sleep::Unix, Some(directory)),
        (Sleep::Signal(SIGRTMIN() + 11), None),
        (Sleep::Fifo, Some(directory)),
    ]
    .map(|(sleep, place)| Address::of(sleep, place, &name).unwrap())
    .into()
}

/// Whether it is readable, at once or soon: a signal may come a little later.
fn is_readable(descriptor: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout).unwrap_or(0) == 1
}

#[test]
fn calls_never_block_and_however_many_there_are_they_are_taken_out_at_once() {
    for address in addresses(&std::env::temp_dir()) {
        let bell = Bell::make(&address, own()).unwrap();
        let caller = Caller::open(&address).unwrap();
        let descriptor = bell.descriptor().unwrap();
        assert!(!is_readable(descriptor, PollTimeout::ZERO), "{address:?}");
        for round in 0..3 {
            for version in 0..50_000 {
                caller.call(version);
            }
            assert!(
                is_readable(descriptor, PollTimeout::from(10_000_u16)),
                "{address:?} {round}"
            );
            // What was on its way when it was taken out comes after it.
            for _ in 0..1000 {
                bell.drain();
            }
            assert!(
                !is_readable(descriptor, PollTimeout::ZERO),
                "{address:?} {round}"
            );
        }
        caller.call(1);
        assert!(
            is_readable(descriptor, PollTimeout::from(10_000_u16)),
            "{address:?}"
        );
    }
}

#[test]
fn a_pipe_keeps_its_lines_and_each_is_an_edge() {
    let path = std::env::temp_dir().join(format!("tablecast-edge-{}", random_id().unwrap()));
    let bell = Bell::make(&Address::Fifo(path.clone()), own()).unwrap();
    let caller = Caller::open(&Address::Fifo(path.clone())).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(bell.descriptor().unwrap(), edge).unwrap();
    for version in 0..50 {
        caller.call(version);
        bell.drain();
        let mut events = [EpollEvent::empty()];
        assert_eq!(
            epoll.wait(&mut events, EpollTimeout::from(10_000_u16)),
            Ok(1),
            "{version}"
        );
        assert_eq!(
            epoll.wait(&mut events, EpollTimeout::ZERO),
            Ok(0),
            "{version}"
        );
    }
    let mut lines = [0; 4096];
    let pipe = std::fs::File::open(&path).unwrap();
    let length = std::io::Read::read(&mut &pipe, &mut lines).unwrap();
    let lines = String::from_utf8_lossy(&lines[..length]).into_owned();
    assert_eq!(
        lines,
        (0..50)
            .map(|version| format!("{version}\n"))
            .collect::<String>()
    );
    drop(bell);
    assert!(!path.exists(), "it goes with its owner");
}

#[test]
fn a_signal_is_for_that_process_and_of_a_kind_that_nobody_else_uses() {
    let own = Identity::own();
    let number = SIGRTMIN() + 12;
    assert!(signal::Sender::open(own, number).is_ok());
    for (process, number, refusal) in [
        (own, SIGKILL, Errno::EINVAL),
        (own, 0, Errno::EINVAL),
        (own, 33, Errno::EINVAL),
        // The pid of another process that came after it.
        (
            Identity {
                start_time: own.start_time + 1,
                ..own
            },
            number,
            Errno::ESRCH,
        ),
        (
            Identity {
                pid_namespace: 1,
                ..own
            },
            number,
            Errno::ESRCH,
        ),
        (Identity { pid: 0, ..own }, number, Errno::ESRCH),
        (
            Identity {
                pid: u32::MAX,
                ..own
            },
            number,
            Errno::ESRCH,
        ),
    ] {
        let refused = signal::Sender::open(process, number).map(drop);
        assert_eq!(refused, Err(refusal), "{process:?} {number}");
    }
}

#[test]
fn what_is_not_there_cannot_be_opened_and_what_is_something_else_is_refused() {
    let directory = std::env::temp_dir();
    for address in addresses(&directory) {
        if !matches!(address, Address::Signal(..)) {
            assert!(Caller::open(&address).is_err(), "{address:?}");
        }
    }
    let file = directory.join(format!("tablecast-file-{}", random_id().unwrap()));
    std::fs::write(&file, "precious").unwrap();
    assert_eq!(
        Caller::open(&Address::Fifo(file.clone())).map(drop),
        Err(Errno::EPERM)
    );
    assert!(Caller::open(&Address::SocketAt(file.clone())).is_err());
    for address in [Address::Fifo(file.clone()), Address::SocketAt(file.clone())] {
        assert!(!address.remove(true).unwrap());
        assert!(Bell::make(&address, own()).is_err());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn place_where_nothing_can_be_made_is_refused_with_what_is_wrong_with_it() {
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
        (directory.join("new"), "", "make that directory first"),
        (directory.join("pipe"), "", "is no directory"),
        (
            PathBuf::from("new-in-the-working-directory"),
            "",
            "make that directory first",
        ),
        (
            directory.join("none/new"),
            "make that directory first",
            "make that directory first",
        ),
        (file.clone(), "something else", "is no directory"),
        (link, "something else", "make that directory first"),
        (
            file.join("new"),
            "is no directory",
            "make that directory first",
        ),
        (long, "is too long", "make that directory first"),
    ] {
        for (sleep, expected) in [(Sleep::Fifo, fifo), (Sleep::Unix, unix), (Sleep::Queue, "")] {
            let checked = check_place(sleep, &place).map_err(|error| error.to_string());
            let said = checked.as_ref().err().map_or("", String::as_str);
            assert!(said.contains(expected), "{sleep} {place:?}: {said}");
            assert_eq!(
                checked.is_err(),
                !expected.is_empty(),
                "{sleep} {place:?}: {said}"
            );
        }
    }
    let deep = directory.join("y".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let error = check_place(Sleep::Unix, &deep).unwrap_err().to_string();
    assert!(error.contains("too long for a socket"), "{error}");
    drop(pipe);
    std::fs::remove_dir_all(&directory).unwrap();
}
