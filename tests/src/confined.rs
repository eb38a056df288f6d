//! A /dev/shm of a test's own, of any size, that goes with it.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives this thread, and those that it makes from now on, a /dev/shm of `bytes` in a mount namespace of its own. Only root
/// may: elsewhere the machine's own is used, which is said on stderr. Whether it was done.
pub fn own_memory(bytes: usize) -> bool {
    let confine = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        // Nothing that is mounted from here on is seen by others.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let size = format!("size={bytes}");
        mount(
            Some("tmpfs"),
            "/dev/shm",
            Some("tmpfs"),
            MsFlags::empty(),
            Some(&*size),
        )
    };
    let confined = confine();
    if let Err(errno) = confined {
        eprintln!("no /dev/shm of its own: {errno}");
    }
    confined.is_ok()
}
