//! A pair of fences of which the frequent one costs no instruction: `membarrier` makes the kernel
//! execute a fence in every running thread of the process.
//!
//! Where the kernel refuses it, both are ordinary fences. This is decided once, by [`prepare`].

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

use rustix::thread::{MembarrierCommand, membarrier};

/// True if the kernel executes the fences of [`light`].
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

fn register() -> bool {
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// Decides which fences are used. Call it before the first fence of either kind.
pub fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| IS_REGISTERED.store(register(), Ordering::Relaxed));
}

/// Executes the frequent fence: a SeqCst fence with regard to [`heavy`].
#[inline(always)]
pub fn light() {
    if IS_REGISTERED.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Executes the rare fence. Returns false if the kernel refused it, which happens only if the
/// process has denied itself the system call since [`prepare`].
pub fn heavy() -> bool {
    fence(Ordering::SeqCst);
    let barrier = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
    // The registration might not be inherited by a forked child.
    !IS_REGISTERED.load(Ordering::Relaxed) || barrier() || (register() && barrier())
}
