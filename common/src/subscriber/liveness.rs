//! The state of the publisher, and the re-check.
//!
//! A subscriber normally learns everything from commits and wake-ups. In case a wake-up is lost or
//! cannot be sent, it re-checks at an interval whether the region still has the table's name and
//! whether the publisher is alive.

use std::sync::OnceLock;
use std::time::Duration;

use crate::clock::{is_same_clock, monotonic_ns, time_namespace};
use crate::error::Result;
use crate::protocol::layout::{State, header};
use crate::region::ReaderRegion;

/// Maximum re-check interval of a subscriber that the publisher cannot wake in any way.
const UNWOKEN_RECHECK: Duration = Duration::from_millis(50);

/// State of the publisher, as the subscriber last observed it.
///
/// ```
/// # use common::{PublisherState, Schema, UntypedPublisher, UntypedSubscriber};
/// # use std::time::Duration;
/// # let name = format!("doc-state-{}", std::process::id());
/// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
/// # let mut table = UntypedSubscriber::builder(&name).recheck(Duration::from_millis(5)).open()?;
/// # publisher.close()?;
/// # table.wait(None)?;
/// let age = match table.publisher_state() {
///     PublisherState::Alive { pid, .. } => format!("published by process {pid}"),
///     PublisherState::Gone { .. } => format!("dead for {:?}", table.heartbeat_age()),
///     PublisherState::Closed { .. } => "closed".to_owned(),
///     _ => "in another state".to_owned(),
/// };
/// # assert_eq!(age, "closed");
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherState {
    /// The publisher is alive.
    Alive {
        /// Number of publishers that the table has had, including this one.
        epoch: u64,
        /// Process id of the publisher, in the publisher's pid namespace.
        pid: u32,
    },
    /// The publisher died, or was dropped without being closed. The table keeps its last commit.
    Gone {
        /// Number of publishers that the table has had.
        epoch: u64,
    },
    /// The publisher closed the table.
    Closed {
        /// Number of publishers that the table has had.
        epoch: u64,
    },
}

impl PublisherState {
    /// Returns the number of publishers that the table has had.
    pub fn epoch(&self) -> u64 {
        match *self {
            Self::Alive { epoch, .. } | Self::Gone { epoch } | Self::Closed { epoch } => epoch,
        }
    }

    /// Returns true if the publisher is alive.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Alive { .. })
    }

    /// Returns the state as a word: `alive`, `gone` or `closed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Alive { .. } => "alive",
            Self::Gone { .. } => "gone",
            Self::Closed { .. } => "closed",
        }
    }
}

/// The publisher as last observed, and the time of the next re-check.
pub(super) struct Liveness {
    state: PublisherState,
    /// True if the state changed since [`begin`](Self::begin).
    changed: bool,
    /// State, epoch and registry in the header, as last observed.
    observed: [u64; 3],
    recheck: Duration,
    next_check_ns: u64,
    /// Time namespace of this process. A publisher in another time namespace has another clock.
    time_namespace: OnceLock<u64>,
}

impl Liveness {
    /// Returns a value that has not observed anything yet. `recheck` is the maximum interval
    /// between two re-checks.
    pub(super) fn new(recheck: Duration) -> Self {
        Self {
            state: PublisherState::Gone { epoch: 0 },
            changed: false,
            observed: [0; 3],
            recheck,
            next_check_ns: 0,
            time_namespace: OnceLock::new(),
        }
    }

    pub(super) fn state(&self) -> PublisherState {
        self.state
    }

    /// Begins a refresh. From now on, [`changed`](Self::changed) reports changes of the state.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.changed = false;
    }

    #[inline]
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    #[inline]
    pub(super) fn is_check_due(&self) -> bool {
        monotonic_ns() >= self.next_check_ns
    }

    pub(super) fn until_check(&self) -> Duration {
        Duration::from_nanos(self.next_check_ns.saturating_sub(monotonic_ns()))
    }

    pub(super) fn check_soon(&mut self) {
        self.next_check_ns = 0;
    }

    /// Sets the time of the next re-check. A subscriber that the publisher cannot wake checks more
    /// often.
    pub(super) fn schedule_check(&mut self, is_wakeable: bool) {
        let interval = match is_wakeable {
            true => self.recheck,
            false => self.recheck.min(UNWOKEN_RECHECK),
        };
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.next_check_ns = monotonic_ns().saturating_add(interval_ns);
    }

    /// Returns true if the header differs from what was last observed. The publisher stores state,
    /// epoch and registry before the commit that announces them. The mark that a region is
    /// superseded may have been observed before the successor took the name, so it is always
    /// outdated.
    pub(super) fn is_outdated(&self, region: &ReaderRegion) -> bool {
        let words = words(region);
        words != self.observed || words[0] == State::Superseded as u64
    }

    /// Observes the publisher of `region`: its state and its lock. Returns true if the state
    /// changed.
    pub(super) fn observe(&mut self, region: &ReaderRegion) -> Result<bool> {
        self.observed = words(region);
        region.check_whole()?;
        let [state, epoch, _] = self.observed;
        let state = match State::from_word(state) {
            Some(State::Closed) => PublisherState::Closed { epoch },
            Some(State::Running | State::Superseded) if region.has_publisher()? => {
                PublisherState::Alive { epoch, pid: region.publisher().pid }
            }
            Some(State::Running | State::Superseded) => PublisherState::Gone { epoch },
            None => {
                return Err(region.corrupt(format!("its publisher state {state} is unknown")));
            }
        };
        let changed = state != self.state;
        self.state = state;
        self.changed |= changed;
        Ok(changed)
    }

    /// Returns the time since `then_ns`, a time of the publisher's clock; `None` if this process
    /// has another clock.
    pub(super) fn age(&self, region: &ReaderRegion, then_ns: u64) -> Option<Duration> {
        let namespace = region.word(header::TIME_NAMESPACE);
        is_same_clock(namespace, *self.time_namespace.get_or_init(time_namespace))
            .then(|| Duration::from_nanos(monotonic_ns().saturating_sub(then_ns)))
    }
}

fn words(region: &ReaderRegion) -> [u64; 3] {
    [header::STATE, header::EPOCH, header::REGISTRY_ID].map(|word| region.word(word))
}
