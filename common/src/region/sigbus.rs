//! Protection against files that are truncated while they are mapped.
//!
//! The owner of a file can truncate it, and the next access beyond its new end raises SIGBUS, which
//! kills the process. A check of the size before each access would be a race, and system calls
//! instead of loads would cost a hundred times as much. Therefore:
//!
//! 1. Each mapping has an entry in a list, with a mark.
//! 2. A SIGBUS handler checks whether the address is in one of these mappings ([`Interval`]). If
//!    so, it sets the mark and maps a page of zeros in place of the missing page. The access is
//!    repeated and reads zeros, or writes to a page that nobody reads.
//! 3. A reader checks the mark after reading and before using the values ([`Watched::is_whole`]).
//!
//! Faults at other addresses are passed to the previous handler. The handler is installed for the
//! whole process, with the first mapping. A program that later installs its own handler and does
//! not pass on faults loses this protection. (Wayland compositors protect themselves from their
//! clients in the same way.)
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

use crate::protocol::interval::Interval;

/// The entry of one mapping. It is never freed, because the handler may be reading it, but reused
/// for another mapping.
struct Watch {
    /// True if the entry belongs to a mapping.
    taken: AtomicBool,
    /// The addresses of the mapping. Empty while the entry belongs to no mapping.
    addresses: Interval,
    writable: AtomicBool,
    mark: AtomicBool,
    next: AtomicPtr<Watch>,
}

static WATCHES: AtomicPtr<Watch> = AtomicPtr::new(null_mut());
/// The previous handler of SIGBUS, as a function and its flags.
static PREVIOUS: (AtomicUsize, AtomicU64) = (AtomicUsize::new(libc::SIG_DFL), AtomicU64::new(0));

/// A mapping's entry in the list, until it is dropped. Drop it before the memory is unmapped.
pub struct Watched(&'static Watch);

impl Watched {
    /// Watches `length` bytes from `start`. They must be pages of one mapping of a file.
    pub fn new(start: *const u8, length: usize, writable: bool) -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let watch = free_watch();
        watch.mark.store(false, Ordering::Relaxed);
        watch.writable.store(writable, Ordering::Relaxed);
        // Only the owner of an entry replaces its addresses. A handler that finds an address in
        // them also sees the two stores above.
        let start = start.addr();
        let end = start + length;
        watch.addresses.replace(start as u64, end as u64);
        Self(watch)
    }

    /// Returns true if every access so far was within the file.
    #[inline]
    pub fn is_whole(&self) -> bool {
        // Another thread's fault may have mapped the zeros that were read. Its handler set the mark
        // before it mapped them. Partner: the store in `fill`. Without the fence the mark could be
        // loaded before the values.
        fence(Ordering::Acquire);
        !self.0.mark.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.addresses.replace(0, 0);
        // Partner: the swap in `free_watch`. The next owner's stores come after this one's.
        self.0.taken.store(false, Ordering::Release);
    }
}

/// Returns an entry that belongs to no mapping, or a new one.
fn free_watch() -> &'static Watch {
    let claim = |watch: &&Watch| !watch.taken.swap(true, Ordering::Acquire);
    if let Some(watch) = watches().find(claim) {
        return watch;
    }
    let watch = Box::leak(Box::new(Watch {
        taken: AtomicBool::new(true),
        addresses: Interval::empty(),
        writable: AtomicBool::new(false),
        mark: AtomicBool::new(false),
        next: AtomicPtr::new(null_mut()),
    }));
    let linked = WATCHES.fetch_update(Ordering::AcqRel, Ordering::Acquire, |first| {
        watch.next.store(first, Ordering::Relaxed);
        Some(ptr::from_ref(watch).cast_mut())
    });
    debug_assert!(linked.is_ok());
    watch
}

fn watches() -> impl Iterator<Item = &'static Watch> {
    let follow = |link: &AtomicPtr<Watch>| {
        // SAFETY: the list contains only leaked boxes, which are only modified through their
        // atomics.
        unsafe { link.load(Ordering::Acquire).as_ref() }
    };
    std::iter::successors(follow(&WATCHES), move |watch: &&'static Watch| follow(&watch.next))
}

fn install() {
    // SAFETY: zeros are a valid sigaction: no flags, an empty mask, the default handler.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { std::mem::zeroed() };
    action.sa_sigaction =
        on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // Run on the alternative stack if the thread has one. Languages that grow their stacks need
    // this.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both structs are valid, and the handler is async-signal-safe. The call cannot fail
    // for SIGBUS.
    unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) };
    PREVIOUS.0.store(before.sa_sigaction, Ordering::Relaxed);
    PREVIOUS.1.store(before.sa_flags as u64, Ordering::Release);
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t. For a SIGBUS from the kernel (positive code) it
    // has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // The entry of the accessed mapping was complete before the access and is not reused before the
    // access ends. No other entry contains the address: other mappings have other addresses,
    // entries are emptied before their memory is unmapped, and an entry that is being reused is
    // empty.
    match watches().find(|watch| watch.addresses.contains(address as u64)) {
        Some(watch) if code == libc::BUS_ADRERR && fill(watch, address) => {}
        _ => pass_on(signal, info, context),
    }
}

/// Sets the mark, then maps a page of zeros at `address`.
fn fill(watch: &Watch, address: usize) -> bool {
    watch.mark.store(true, Ordering::SeqCst);
    let writable = watch.writable.load(Ordering::Relaxed);
    let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: sysconf and mmap are single calls that a handler can make. The page is within a
    // mapping of this crate that is being accessed, so it is not unmapped in the meantime, and its
    // content is no longer used.
    unsafe {
        let errno = *libc::__errno_location();
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let start = (address & !(page - 1)) as *mut c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let filled = libc::mmap(start, page, access, flags, -1, 0) != libc::MAP_FAILED
            && libc::madvise(start, page, libc::MADV_DONTFORK) == 0;
        *libc::__errno_location() = errno;
        filled
    }
}

/// Passes a fault at an unrelated address to the previous handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let flags = PREVIOUS.1.load(Ordering::Acquire) as c_int;
    let handler = PREVIOUS.0.load(Ordering::Relaxed);
    // SAFETY: the kernel passes a valid siginfo_t.
    let is_sent = unsafe { (*info).si_code } <= 0;
    match handler {
        // A process sent the signal, and the program ignores it. The kernel does not allow a
        // program to ignore a fault.
        libc::SIG_IGN if is_sent => {}
        // SAFETY: these are single calls that a handler can make. When the handler returns, the
        // access is repeated, and the process is killed as if this handler had never been
        // installed. A signal that a process sent is raised again.
        libc::SIG_DFL | libc::SIG_IGN => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            if is_sent {
                libc::raise(signal);
            }
        },
        // SAFETY: the kernel had it registered as a function of this type.
        handler if flags & libc::SA_SIGINFO != 0 => unsafe {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        },
        // SAFETY: the kernel had it registered as a function of this type.
        handler => unsafe {
            let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        },
    }
}
