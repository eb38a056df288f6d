//! The publisher's end of a registry: creates it, sweeps it, and checks it after each commit.

use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;

use super::{Member, RegistryFile, StaleSlot, at};
use crate::error::Result;
use crate::protocol::layout::{LAYOUT_VERSION, MAX_SLOTS, REGISTRY_MAGIC};
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::region::object::{self, Access, failure, registry_name};
use crate::region::random_id;
use crate::wake::budget::Budget;
use crate::wake::needs_slot;

/// The byte of its registry that a publisher locks, beyond the bytes of all slots. The lock shows
/// that the registry is in use and not an orphan, whichever region names it.
const PUBLISHER: usize = MAX_SLOTS;

pub struct Registry {
    file: RegistryFile,
    parks: Vec<u64>,
    records: Vec<u64>,
    /// The slot with which the next round of wake-ups begins.
    first: usize,
}

impl Registry {
    /// Creates a registry without a name.
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
            .map_err(|error| failure(&object, "fill", error))?;
        let file = RegistryFile::of(object, file, id, slots, mode & 0o077 != 0)?;
        Ok(Self::lock(file))
    }

    fn lock(file: RegistryFile) -> Self {
        // If another process has locked this byte, only the region that names the registry shows
        // that it is in use.
        match file.try_lock(PUBLISHER) {
            Ok(true) => {}
            refused => tracing::debug!("{} is not locked: {refused:?}", file.object()),
        }
        Self { file, parks: Vec::new(), records: Vec::new(), first: 0 }
    }

    /// Links the registry to its name, unless it already has it.
    pub fn link(&self) -> Result<()> {
        let object = self.file.object();
        if self.has_name() || object::link(self.file.file(), object)? {
            return Ok(());
        }
        Err(failure(object, "link", Errno::EEXIST))
    }

    /// Opens the registry `id` of `owner` that a dead publisher left, if it exists. The id 0 names
    /// none.
    pub fn adopt(id: u64, owner: u32) -> Result<Option<Self>> {
        if id == 0 {
            return Ok(None);
        }
        Ok(RegistryFile::open(id, owner, false)?.map(Self::lock))
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &RegistryFile {
        &self.file
    }

    pub fn id(&self) -> u64 {
        self.file.id()
    }

    /// Returns true if the registry has `slots` slots and the mode and group of `access`.
    pub fn fits(&self, slots: usize, access: Access) -> bool {
        self.file.slots() == slots
            && self.file.file().metadata().is_ok_and(|status| {
                status.mode() & 0o777 == access.writable_by_readers()
                    && access.group.is_none_or(|group| group == status.gid())
            })
    }

    pub fn has_name(&self) -> bool {
        self.file.has_name()
    }

    /// Returns a full budget for the wake-ups of this registry's subscribers. The budget is limited if
    /// other users can write to the registry.
    pub fn budget(&self) -> Budget {
        Budget::new(self.file.mapped().is_none())
    }

    /// Calls `visit` with each subscriber that is parked at the commit before `version` or, if
    /// `everyone` is true, with every parked subscriber. After a round for which the budget was
    /// short, `visit` is also called with each subscriber that is parked at an earlier commit.
    /// Returns true if the subscribers that sleep on `commit` itself must be woken too. The caller
    /// has executed the fence after the commit.
    #[inline]
    pub fn parked(
        &mut self,
        version: u64,
        everyone: bool,
        budget: &mut Budget,
        mut visit: impl FnMut(Member<'_>, &mut Budget),
    ) -> Result<bool> {
        let file = &self.file;
        let Some(words) = file.mapped() else {
            return self.parked_by_system_calls(version, everyone, budget, visit);
        };
        if everyone || park::may_be_parked(&words[at::PARKED_MAX], version) {
            let claimed = park::claimed(&words[at::CLAIMED], file.slots());
            let parks = &words[at::PARKS..at::PARKS + claimed];
            for slot in park::parked_at(parks, version, everyone) {
                let nonce = words[file.record(slot) + at::NONCE].load(Ordering::Relaxed);
                visit(file.member(slot, nonce), budget);
            }
        }
        let sleepers = &words[at::SLEEPERS..at::PARKS];
        Ok(park::has_sleepers(sleepers, version, everyone))
    }

    /// Implements [`parked`](Self::parked) for a registry that other users may truncate: reads all
    /// park words by one system call, and all records by another.
    fn parked_by_system_calls(
        &mut self,
        version: u64,
        everyone: bool,
        budget: &mut Budget,
        mut visit: impl FnMut(Member<'_>, &mut Budget),
    ) -> Result<bool> {
        let Self { file, parks: words, records, first } = self;
        words.resize(at::PARKS - at::PARKED_MAX + file.slots(), 0);
        file.read(at::PARKED_MAX, words)?;
        // Partner: the fence before a subscriber stores its park word, in `park::park`.
        fence(Point::ReadRecord, Ordering::Acquire);
        let (head, parks) = words.split_at(at::PARKS - at::PARKED_MAX);
        let makes_up = budget.forget_shortage();
        let must_wake = |slot: &usize| {
            let is_late = makes_up && (1..version).contains(&parks[*slot]);
            is_late || park::must_wake(parks[*slot], version, everyone)
        };
        let mut all = 0..file.slots();
        if let Some(least) = all.find(must_wake) {
            let greatest = all.rev().find(must_wake).unwrap_or(least);
            records.resize((greatest + 1 - least) * at::RECORD_WORDS, 0);
            file.read(file.record(least), records)?;
            budget.fill();
            // Starts at the first slot that was left out, so that each slot has its turn.
            let begin = (*first).clamp(least, greatest);
            let mut left_out = None;
            for slot in (begin..=greatest).chain(least..begin).filter(must_wake) {
                let nonce = records[(slot - least) * at::RECORD_WORDS + at::NONCE];
                if nonce != 0 {
                    visit(file.member(slot, nonce), budget);
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
            file.store(flag, 0)?;
        }
        Ok(any || everyone)
    }

    /// Frees the slots of dead subscribers and removes their wake receivers. Returns the nonce of
    /// the subscriber at each slot, or 0 for a free slot. Fails if the header or the length of the
    /// registry was damaged.
    pub fn sweep(&self) -> Result<Vec<u64>> {
        let living = self.file.free_stale(StaleSlot::log)?;
        if let Some(words) = self.file.mapped() {
            // Subscribers raise `CLAIMED` only when they claim their slot. If the word was
            // overwritten with a smaller number, their park words would never be read again.
            let may_park = |slot: &usize| {
                let kind = &words[self.file.record(*slot) + at::KIND];
                living[*slot] != 0 && needs_slot(kind.load(Ordering::Relaxed))
            };
            if let Some(last) = (0..living.len()).rev().find(may_park) {
                park::claim(&words[at::CLAIMED], last);
            }
        }
        Ok(living)
    }

    pub fn member(&self, slot: usize, nonce: u64) -> Member<'_> {
        self.file.member(slot, nonce)
    }

    /// Removes the wake receivers of all subscribers, including live ones. The registry must have
    /// lost its name already: a joining subscriber creates its receiver, then checks the name, and
    /// removes the receiver itself if the name is gone.
    pub fn remove_receivers(&self) {
        // Partner: the fence in `RegistryEntry::write_record`.
        fence(Point::Park, Ordering::SeqCst);
        for slot in 0..self.file.slots() {
            match self.file.member_at(slot) {
                Ok(member) => member.into_iter().for_each(|one| one.remove(true).log()),
                // A process that may write to the registry has truncated it. The owners remove
                // their receivers themselves.
                Err(_) => break,
            }
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Unlocks explicitly instead of on close, and never in a child process, as for a region's
        // lock.
        if self.file.is_of_this_process() {
            let _released_by_close = self.file.unlock(PUBLISHER);
        }
    }
}
