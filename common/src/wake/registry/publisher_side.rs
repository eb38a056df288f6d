//! The publisher's end of a registry: creates it, sweeps it, and checks it after each commit.

use std::os::unix::fs::{FileExt, MetadataExt};

use super::{Member, RegistryFile, StaleSlot, Words, at};
use crate::error::Result;
use crate::protocol::layout::{LAYOUT_VERSION, MAX_SLOTS, REGISTRY_MAGIC};
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::{self, Access, failure, failure_io, registry_name};
use crate::region::{random_id, read_words};
use crate::wake::{self, budget::Budget};

/// The byte of its registry that a publisher locks, beyond the bytes of all slots. The lock shows
/// that the registry is in use and not an orphan, whichever region names it.
const PUBLISHER: usize = MAX_SLOTS;

/// The publisher's end of a registry.
pub struct Registry {
    pub(super) opened: RegistryFile,
    parks: Vec<u64>,
    records: Vec<u64>,
    /// The slot with which the next round of calls begins.
    first: usize,
    process: Creator,
}

impl Registry {
    /// Creates a registry with `slots` slots and without a name.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn create(slots: usize, access: Access) -> Result<Self> {
        let id = random_id()?;
        let object = registry_name(id);
        let mode = access.writable_by_readers();
        let file = object::create(&object, mode, access.group)?;
        let mut words = vec![0; at::words(slots)];
        words[at::MAGIC] = REGISTRY_MAGIC;
        words[at::LAYOUT] = LAYOUT_VERSION;
        words[at::SLOTS] = slots as u64;
        words[at::REGISTRY_ID] = id;
        // Writes every page: a hole would be allocated only at the first store through a mapping,
        // and that could fail.
        file.write_all_at(bytemuck::cast_slice(&words), 0)
            .and_then(|()| file.set_len(at::path(slots, slots) as u64))
            .map_err(|error| failure_io(&object, "fill", error))?;
        let opened = RegistryFile::of(object, file, id, slots, mode & 0o077 != 0)?;
        Ok(Self::held(opened))
    }

    /// Locks the registry as its publisher.
    fn held(opened: RegistryFile) -> Self {
        // Another process may also have locked this byte. Then the region that names the registry
        // must suffice as proof of use.
        match lock::try_lock(&opened.file, Span::byte(PUBLISHER)) {
            Ok(true) => {}
            refused => tracing::debug!("{} is not locked: {refused:?}", opened.object),
        }
        Self {
            opened,
            parks: Vec::new(),
            records: Vec::new(),
            first: 0,
            process: Creator::this_process(),
        }
    }

    /// Links the registry to its name, unless it already has it.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn link(&self) -> Result<()> {
        let RegistryFile { object, file, .. } = &self.opened;
        if self.has_name() || object::link(file, object)? {
            return Ok(());
        }
        Err(failure(object, "link", nix::errno::Errno::EEXIST))
    }

    /// Opens the registry that a dead publisher left, if it exists. The id 0 names none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and errors of the system.
    pub fn adopt(id: u64) -> Result<Option<Self>> {
        Self::adopt_of(id, object::own_user())
    }

    /// Opens the registry `id` of `owner` that a dead publisher left, if it exists. The id 0 names
    /// none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and errors of the system.
    pub fn adopt_of(id: u64, owner: u32) -> Result<Option<Self>> {
        if id == 0 {
            return Ok(None);
        }
        Ok(RegistryFile::open(id, owner, false)?.map(Self::held))
    }

    /// Returns the random number from which the registry's name is derived.
    pub fn id(&self) -> u64 {
        self.opened.id
    }

    /// Returns true if the registry has `slots` slots and the mode and group of `access`.
    pub fn fits(&self, slots: usize, access: Access) -> bool {
        self.opened.slots == slots
            && self.opened.file.metadata().is_ok_and(|status| {
                status.mode() & 0o777 == access.writable_by_readers()
                    && access.group.is_none_or(|group| group == status.gid())
            })
    }

    /// Returns true if the name of the registry still refers to this file.
    pub fn has_name(&self) -> bool {
        self.opened.has_name()
    }

    /// Returns a full budget for the calls to this registry's subscribers. The budget is limited if
    /// other users can write to the registry.
    pub fn budget(&self) -> Budget {
        Budget::new(self.opened.mapped().is_none())
    }

    /// Calls `visit` with each subscriber that is parked at the commit before `version` or, if
    /// `everyone` is true, with every parked subscriber. After a round for which the budget was
    /// short, `visit` is also called with each subscriber that is parked at an earlier commit.
    /// Returns true if the subscribers that sleep on `commit` itself must be woken too. The caller
    /// has executed the fence after the commit.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the registry was truncated.
    #[inline]
    pub fn parked(
        &mut self,
        version: u64,
        everyone: bool,
        budget: &mut Budget,
        mut visit: impl FnMut(Member<'_>, &mut Budget),
    ) -> Result<bool> {
        let Some(words) = self.opened.mapped() else {
            return self.parked_by_calls(version, everyone, budget, visit);
        };
        let opened = &self.opened;
        if everyone || park::may_be_parked(&words[at::PARKED_MAX], version) {
            let claimed = park::claimed(&words[at::CLAIMED], opened.slots);
            let parks = &words[at::PARKS..at::PARKS + claimed];
            for slot in park::parked_at(parks, version, everyone) {
                let nonce =
                    words[at::record(opened.slots, slot) + at::NONCE].load(Ordering::Relaxed);
                visit(self.member(slot, nonce), budget);
            }
        }
        let sleepers = &words[at::SLEEPERS..at::PARKS];
        Ok(park::has_sleepers(sleepers, version, everyone))
    }

    /// Implements [`parked`](Self::parked) for a registry that other users may truncate: reads all
    /// park words by one call, and all records by another.
    fn parked_by_calls(
        &mut self,
        version: u64,
        everyone: bool,
        budget: &mut Budget,
        mut visit: impl FnMut(Member<'_>, &mut Budget),
    ) -> Result<bool> {
        let Self {
            opened,
            parks: words,
            records,
            first,
            ..
        } = self;
        let Words::ByCall(file) = &opened.words else {
            return Ok(false);
        };
        words.resize(at::PARKS - at::PARKED_MAX + opened.slots, 0);
        read_words(&opened.object, file, at::PARKED_MAX as u64 * 8, words)?;
        // Partner: the fence before a subscriber's call that writes its park word.
        fence(Point::ReadRecord, Ordering::Acquire);
        let (head, parks) = words.split_at(at::PARKS - at::PARKED_MAX);
        let makes_up = budget.forget_shortage();
        let counts = |slot: &usize| {
            let is_late = makes_up && (1..version).contains(&parks[*slot]);
            is_late || park::counts(parks[*slot], version, everyone)
        };
        let mut all = 0..opened.slots;
        if let Some(least) = all.find(counts) {
            let greatest = all.rev().find(counts).unwrap_or(least);
            records.resize((greatest + 1 - least) * at::RECORD_WORDS, 0);
            let place = opened.record(least) as u64 * 8;
            read_words(&opened.object, file, place, records)?;
            budget.fill();
            // Starts at the first slot that was left out, so that each slot has its turn.
            let begin = (*first).clamp(least, greatest);
            let mut left_out = None;
            for slot in (begin..=greatest).chain(least..begin).filter(counts) {
                let nonce = records[(slot - least) * at::RECORD_WORDS + at::NONCE];
                if nonce != 0 {
                    let member = Member {
                        opened,
                        slot,
                        nonce,
                    };
                    visit(member, budget);
                }
                if budget.is_short() {
                    left_out = left_out.or(Some(slot));
                }
            }
            *first = left_out.unwrap_or(*first);
        }
        let flag = at::SLEEPERS + park::flag_of(version - 1);
        let any = head[flag - at::PARKED_MAX] != 0;
        if any {
            // Clears the flag before the sleepers are woken, as `park::has_sleepers` does.
            opened.store(flag, 0)?;
        }
        Ok(any || everyone)
    }

    /// Frees the slots of dead subscribers and removes their wake receivers. Returns the nonce of
    /// the subscriber at each slot, or 0 for a free slot.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the header or the length of the registry was damaged, and errors of
    /// the system.
    pub fn sweep(&self) -> Result<Vec<u64>> {
        let living = self.opened.free_deserted(StaleSlot::tell)?;
        if let Some(words) = self.opened.mapped() {
            // Subscribers raise `CLAIMED` only when they claim their slot. If the word is
            // overwritten with a smaller number, they would stay hidden for the rest of their
            // lives.
            let is_called = |slot: &usize| {
                let kind = &words[self.opened.record(*slot) + at::KIND];
                living[*slot] != 0 && wake::words::needs_calls(kind.load(Ordering::Relaxed))
            };
            if let Some(last) = (0..living.len()).rev().find(is_called) {
                park::claim(&words[at::CLAIMED], last);
            }
        }
        Ok(living)
    }

    /// Returns the subscriber `nonce` at `slot`.
    pub fn member(&self, slot: usize, nonce: u64) -> Member<'_> {
        Member {
            opened: &self.opened,
            slot,
            nonce,
        }
    }

    /// Removes the wake receivers of all subscribers, including live ones. The registry must have
    /// lost its name already: a joining subscriber creates its receiver, then checks the name, and
    /// removes the receiver itself if the name is gone.
    pub fn remove_queues(&self) {
        fence(Point::Park, Ordering::SeqCst);
        for slot in 0..self.opened.slots {
            match self.opened.member(slot) {
                Ok(member) => member.into_iter().for_each(|one| one.remove(true).tell()),
                // The registry was truncated by a process that may write to it. The queues are
                // removed by their owners.
                Err(_) => break,
            }
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Unlocks explicitly instead of on close, and never in a child process, as for a region's
        // lock.
        if self.process.is_this_process() {
            let _falls_by_closing = lock::unlock(&self.opened.file, Span::byte(PUBLISHER));
        }
    }
}
