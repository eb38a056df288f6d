//! Several tables in one wait.
//!
//! One epoll descriptor over those of the members, level-triggered: a member is told until a refresh of it found nothing
//! more. The set neither owns nor borrows its members, so that they can be of any row types, and be refreshed while it
//! tells of others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::error::Result;
use crate::region::object::failure;

/// How many members one wait tells at most; the others are told by the next ones.
const MOST_TOLD: usize = 256;
/// How errors call it.
const OBJECT: &str = "a set of tables";

/// Waits for news of any of several subscribers, of whatever row types, and of whatever else has a descriptor.
///
/// ```
/// use common::WaitSet;
/// # use common::{Publisher, Row, Schema, Subscriber, UntypedPublisher, UntypedSubscriber};
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
/// # fn main() -> common::Result<()> {
/// # let (a, b) = (format!("doc-set-a-{}", std::process::id()), format!("doc-set-b-{}", std::process::id()));
/// # let mut publisher = Publisher::<Price>::builder(&a).open()?;
/// # let other = UntypedPublisher::builder(&b, Schema::parse("id:u64", None)?).open()?;
/// let mut prices = Subscriber::<Price>::open(&a)?;
/// let mut orders = UntypedSubscriber::open(&b)?;
/// let mut set = WaitSet::new()?;
/// let (prices_member, orders_member) = (set.add(&prices)?, set.add(&orders)?);
/// # let mut tx = publisher.begin();
/// # tx.insert(&Price { instrument: 7, bid: 9.5 })?;
/// # tx.commit()?;
/// # let mut changed = 0;
/// while changed == 0 {
///     for member in set.wait(None)? {
///         if *member == prices_member {
///             changed += prices.refresh()?.len();
///         } else if *member == orders_member {
///             changed += orders.refresh()?.len();
///         }
///     }
/// }
/// # publisher.close()?;
/// # other.close()
/// # }
/// ```
#[derive(Debug)]
pub struct WaitSet {
    epoll: Epoll,
    next: u64,
    told: Vec<Member>,
}

/// What a [`WaitSet`] calls one that was added to it. Never given twice by one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u64);

impl WaitSet {
    /// A set of nobody yet.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failure(OBJECT, "make", errno))?;
        Ok(Self {
            epoll,
            next: 0,
            told: Vec::new(),
        })
    }

    /// Also waits for news of a subscriber (or until any other descriptor is readable). One that is dropped leaves the set.
    ///
    /// # Errors
    /// What the system refuses, such as the same descriptor a second time.
    pub fn add(&mut self, member: &impl AsFd) -> Result<Member> {
        let name = self.next;
        self.epoll
            .add(member, EpollEvent::new(EpollFlags::EPOLLIN, name))
            .map_err(|errno| failure(OBJECT, "add a member to", errno))?;
        self.next += 1;
        Ok(Member(name))
    }

    /// Waits for that one no more.
    ///
    /// # Errors
    /// What the system refuses, such as one that is not in the set.
    pub fn remove(&mut self, member: &impl AsFd) -> Result<()> {
        self.epoll
            .delete(member)
            .map_err(|errno| failure(OBJECT, "remove a member from", errno))
    }

    /// Sleeps until there may be news of a member, at most for `timeout`; tells which. Refresh those: it may turn out that there
    /// is no news, and as long as nobody looks they are told again. Nobody is told when the time is over.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<&[Member]> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut events = [EpollEvent::empty(); MOST_TOLD];
        self.told.clear();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.epoll.wait(&mut events, epoll_timeout(left)) {
                // Of a longer time than an epoll can wait, a part is over.
                Ok(0) if left != Some(Duration::ZERO) => {}
                Ok(ready) => {
                    let names = events[..ready].iter().map(|event| Member(event.data()));
                    self.told.extend(names);
                    return Ok(&self.told);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failure(OBJECT, "wait for", errno)),
            }
        }
    }
}

/// Rounded up to ms, so that nobody spins through the last one.
pub(super) fn epoll_timeout(time: Option<Duration>) -> EpollTimeout {
    let Some(time) = time else {
        return EpollTimeout::NONE;
    };
    let milliseconds = i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO)
}

impl AsFd for WaitSet {
    /// Readable when [`event_set`](Self::wait) would tell somebody: a set can be waited for in turn, also by another set.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
