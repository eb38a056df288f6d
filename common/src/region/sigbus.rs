//! Mappings whose file is cut short under them.
//!
//! Whoever owns a file can truncate it, and the next access beyond its new end is a SIGBUS, which kills. No look at the
//! file's size before can prevent that, and copying by system calls would cost a hundred times what a load does. So:
//!
//! 1. each mapping stands in a list, with a mark;
//! 2. a handler of SIGBUS looks whether the address is in one of them ([`Interval`]). If so it sets the mark, and puts a page of zeros
//!    where the file's is missing: the access is made again, and reads zeros (or writes where nobody looks);
//! 3. whoever has read looks at the mark before believing any of it ([`Watched::is_whole`]).
//!
//! Faults elsewhere go to the handler that was there before. It is a setting of the whole process, made with the first
//! mapping; a program that later sets a handler of its own and does not pass on what is not its business loses this
//! protection, and nothing else. (Wayland's compositors guard the memory of their clients in the same way.)
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

use crate::interval::Interval;

/// One mapping. Never freed, but used again for another one: the handler may be looking at it.
struct Watch {
    /// Whether it is some mapping's at present.
    taken: AtomicBool,
    /// The addresses of the mapping. Empty while the entry belongs to no mapping.
    addresses: Interval,
    writable: AtomicBool,
    cut: AtomicBool,
    next: AtomicPtr<Watch>,
}

static WATCHES: AtomicPtr<Watch> = AtomicPtr::new(null_mut());
/// What was done about SIGBUS before, as a function and its flags.
static BEFORE: (AtomicUsize, AtomicU64) = (AtomicUsize::new(libc::SIG_DFL), AtomicU64::new(0));

/// A mapping in the list, until it is dropped. Drop it before the memory is unmapped.
pub struct Watched(&'static Watch);

impl Watched {
    /// Watches `length` bytes from `start` on: pages of one mapping of a file.
    pub fn new(start: *const u8, length: usize, writable: bool) -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let watch = free_watch();
        watch.cut.store(false, Ordering::Relaxed);
        watch.writable.store(writable, Ordering::Relaxed);
        // Only the owner of an entry replaces its addresses. A handler that finds an address in them also sees the two stores above.
        let start = start.addr();
        let end = start + length;
        watch.addresses.replace(start as u64, end as u64);
        Self(watch)
    }

    /// Whether all that was read up to now was in the file.
    #[inline]
    pub fn is_whole(&self) -> bool {
        // Another thread's fault may have brought the zeros that were read: its mark was set before they came.
        fence(Ordering::Acquire);
        !self.0.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.addresses.replace(0, 0);
        // Partner: the swap in `free_watch`. The next owner's stores come after this one's.
        self.0.taken.store(false, Ordering::Release);
    }
}

/// One that is no mapping's at present, or a new one.
fn free_watch() -> &'static Watch {
    let claim = |watch: &&Watch| !watch.taken.swap(true, Ordering::Acquire);
    if let Some(watch) = watches().find(claim) {
        return watch;
    }
    let watch = Box::leak(Box::new(Watch {
        taken: AtomicBool::new(true),
        addresses: Interval::empty(),
        writable: AtomicBool::new(false),
        cut: AtomicBool::new(false),
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
        // SAFETY: the list holds leaked boxes only, which are never changed but through their atomics.
        unsafe { link.load(Ordering::Acquire).as_ref() }
    };
    std::iter::successors(follow(&WATCHES), move |watch: &&'static Watch| {
        follow(&watch.next)
    })
}

fn install() {
    // SAFETY: zeros are a valid sigaction: no flags, an empty mask, the default handler.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { std::mem::zeroed() };
    action.sa_sigaction =
        on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // On the alternative stack, if the thread has one, as languages that grow their stacks need it.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both are valid; the handler keeps to what a handler may do. It cannot be refused for SIGBUS.
    unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) };
    BEFORE.0.store(before.sa_sigaction, Ordering::Relaxed);
    BEFORE.1.store(before.sa_flags as u64, Ordering::Release);
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid siginfo_t; for SIGBUS by the kernel (positive code) it has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // The entry of the mapping that this thread is accessing was complete before the access, and is not reused before its end.
    // No other entry contains the address: other mappings are elsewhere; the entry of a former mapping of the same addresses
    // was emptied before the memory was unmapped; and an entry that is being reused contains nothing.
    match watches().find(|watch| watch.addresses.contains(address as u64)) {
        Some(watch) if code == libc::BUS_ADRERR && fill(watch, address) => {}
        _ => pass_on(signal, info, context),
    }
}

/// Puts zeros where `address` is, after the mark.
fn fill(watch: &Watch, address: usize) -> bool {
    watch.cut.store(true, Ordering::SeqCst);
    let writable = watch.writable.load(Ordering::Relaxed);
    let access = if writable {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_READ
    };
    // SAFETY: sysconf and mmap are single calls that a handler can make. The page is within a mapping of this crate that is
    // being accessed, so it is not unmapped meanwhile, and its content is of no use to anybody any more.
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

/// Somebody else's fault.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let flags = BEFORE.1.load(Ordering::Acquire) as c_int;
    let handler = BEFORE.0.load(Ordering::Relaxed);
    match handler {
        // SAFETY: a single call that a handler can make. On return the access is made again, and the process killed as
        // if this handler had never been; one that was sent by a process is sent again.
        libc::SIG_DFL | libc::SIG_IGN => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
        },
        // SAFETY: the kernel had it as a function of this kind.
        handler if flags & libc::SA_SIGINFO != 0 => unsafe {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(handler);
            handler(signal, info, context);
        },
        // SAFETY: as above.
        handler => unsafe {
            let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(signal);
        },
    }
}
