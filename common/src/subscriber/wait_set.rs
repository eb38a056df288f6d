//! Waiting for several tables at once.
//!
//! The set is a level-triggered epoll descriptor over the descriptors of its members: it reports a
//! member until a refresh of that member finds no more changes. The set neither owns nor borrows
//! its members, so they can have any row types, and can be refreshed while the set reports others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::event_set::epoll_timeout;
use crate::error::Result;
use crate::region::object::failure;

/// Maximum number of members that one wait reports. Later waits report the others.
const MAX_REPORTED: usize = 256;
/// Name of the set in error messages.
const OBJECT: &str = "a set of tables";

/// Waits for changes of several subscribers, of any row types, and for any other descriptors.
///
/// ```
/// use common::WaitSet;
/// # use common::{Publisher, Row, Schema, Subscriber, UntypedPublisher, UntypedSubscriber};
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
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
/// # other.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Debug)]
pub struct WaitSet {
    epoll: Epoll,
    next: u64,
    ready: Vec<Member>,
}

/// Identifies a member of a [`WaitSet`]. A set never assigns the same value twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u64);

impl WaitSet {
    /// Creates an empty set.
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failure(OBJECT, "create", errno))?;
        Ok(Self { epoll, next: 0, ready: Vec::new() })
    }

    /// Adds a subscriber, or any other descriptor, to the set. A member that is dropped leaves the
    /// set.
    ///
    /// # Errors
    /// Errors of the system calls, such as adding the same descriptor twice.
    pub fn add(&mut self, member: &impl AsFd) -> Result<Member> {
        let name = self.next;
        self.epoll
            .add(member, EpollEvent::new(EpollFlags::EPOLLIN, name))
            .map_err(|errno| failure(OBJECT, "add a member to", errno))?;
        self.next += 1;
        Ok(Member(name))
    }

    /// Removes a member from the set.
    ///
    /// # Errors
    /// Errors of the system calls, such as removing a descriptor that is not in the set.
    pub fn remove(&mut self, member: &impl AsFd) -> Result<()> {
        self.epoll.delete(member).map_err(|errno| failure(OBJECT, "remove a member from", errno))
    }

    /// Sleeps until members may have changes, for at most `timeout`, and returns those members.
    ///
    /// Refresh each returned member: it may have no changes, and the set reports it again until it
    /// is refreshed. Returns an empty slice after the timeout.
    ///
    /// # Errors
    /// Errors of the system calls.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<&[Member]> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut events = [EpollEvent::empty(); MAX_REPORTED];
        self.ready.clear();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.epoll.wait(&mut events, epoll_timeout(left)) {
                // The timeout is longer than one epoll wait can be: wait again for the rest.
                Ok(0) if left != Some(Duration::ZERO) => {}
                Ok(ready) => {
                    let names = events[..ready].iter().map(|event| Member(event.data()));
                    self.ready.extend(names);
                    return Ok(&self.ready);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failure(OBJECT, "wait for", errno)),
            }
        }
    }
}

impl AsFd for WaitSet {
    /// Returns a descriptor that is readable when [`wait`](Self::wait) would return a member, so
    /// another set or event loop can wait for this set.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
