//! A subscriber as described by its slot's record, whose contents are checked before use.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::{RegistryFile, StaleSlot, at};
use crate::error::Result;
use crate::identity::Identity;
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::region::lock::{self, Span};
use crate::region::object::{failure_io, queue_name};
use crate::wake::{WakeTarget, words};

/// The subscriber at a slot.
pub struct Member<'a> {
    pub(super) opened: &'a RegistryFile,
    /// Slot of the subscriber.
    pub slot: usize,
    /// Random number of the subscriber.
    pub nonce: u64,
}

impl Member<'_> {
    /// Returns the target of its wake-ups, once its receiver was created.
    ///
    /// # Errors
    /// ESRCH if nobody holds the slot's lock, EAGAIN until its owner is ready, EPERM if it names a
    /// process or a path in a registry that other users may write to, EINVAL if it is not valid,
    /// EIO if the record cannot be read.
    pub fn address(&self) -> nix::Result<WakeTarget> {
        if !lock::is_held(&self.opened.file, Span::byte(self.slot))? {
            return Err(Errno::ESRCH);
        }
        match park::is_ready(|word| self.load(word))? {
            false => Err(Errno::EAGAIN),
            true => self.signed_address(),
        }
    }

    fn load(&self, word: usize) -> nix::Result<u64> {
        let load = self.opened.load(self.opened.record(self.slot) + word);
        load.map_err(|_| Errno::EIO)
    }

    fn signed_address(&self) -> nix::Result<WakeTarget> {
        let kind = self.load(at::KIND)?;
        if words::name_a_target(kind) && self.opened.mapped().is_none() {
            return Err(Errno::EPERM);
        }
        let name = self.name();
        Ok(match kind {
            words::QUEUE => WakeTarget::Queue(name),
            words::FUTEX => WakeTarget::Futex,
            words::SPIN => WakeTarget::Spin,
            words::SOCKET => WakeTarget::Socket(name.trim_start_matches('/').to_owned()),
            words::SOCKET_AT => WakeTarget::SocketAt(self.path()?),
            words::FIFO => WakeTarget::Fifo(self.path()?),
            words::SIGNAL => {
                let process = Identity {
                    pid: u32::try_from(self.load(at::PID)?).unwrap_or(0),
                    pid_namespace: self.load(at::PID_NAMESPACE)?,
                    start_time: self.load(at::START_TIME)?,
                };
                WakeTarget::Signal(process, i32::try_from(self.load(at::SIGNAL)?).unwrap_or(0))
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Returns the path in its record.
    fn path(&self) -> nix::Result<PathBuf> {
        let mut bytes = [0; at::PATH_BYTES];
        let place = at::path(self.opened.slots, self.slot) as u64;
        let read = self.opened.file.read_exact_at(&mut bytes, place);
        read.map_err(|_| Errno::EIO)?;
        let length = bytes.iter().position(|byte| *byte == 0);
        let length = length.filter(|length| *length > 0).ok_or(Errno::EINVAL)?;
        Ok(PathBuf::from(OsStr::from_bytes(&bytes[..length])))
    }

    fn name(&self) -> String {
        queue_name(self.opened.id, self.slot, self.nonce)
    }

    /// Removes the subscriber's receiver. Its owner is gone or, if `held`, has no publisher left to
    /// wake it.
    pub(super) fn remove(&self, held: bool) -> StaleSlot {
        // Between the nonce and the rest of the record, as in `park::is_ready`; also if its owner
        // was not ready. Partner: the fence in `park::sign`.
        fence(Point::SeeNonce, Ordering::Acquire);
        // If the record is not valid, try the queue: only this subscriber can own a queue of this
        // name.
        let address = self
            .signed_address()
            .unwrap_or(WakeTarget::Queue(self.name()));
        let is_its = address.path().is_none_or(|path| {
            let derived = path.file_name() == Some(OsStr::new(self.name().trim_start_matches('/')));
            matches!(address, WakeTarget::Fifo(_)) || derived
        });
        StaleSlot {
            object: address.object(),
            removed: if is_its {
                address.remove(held)
            } else {
                Ok(false)
            },
        }
    }
}

impl RegistryFile {
    /// Writes the target of the subscriber `nonce` into the record of `slot`.
    pub(super) fn sign(&self, slot: usize, nonce: u64, address: &WakeTarget) -> Result<()> {
        if let Some(path) = address.path() {
            let mut bytes = [0; at::PATH_BYTES];
            let path = path.as_os_str().as_bytes();
            bytes[..path.len()].copy_from_slice(path);
            // By a system call, because the paths are a hole in the file: lack of memory is an
            // error then, not a signal.
            self.file
                .write_all_at(&bytes, at::path(self.slots, slot) as u64)
                .map_err(|error| failure_io(&self.object, "write", error))?;
        }
        let own = Identity::own();
        let signal = match address {
            WakeTarget::Signal(_, number) => *number,
            _ => 0,
        };
        let words = [
            (at::KIND, address.word()),
            (at::PID, u64::from(own.pid)),
            (at::PID_NAMESPACE, own.pid_namespace),
            (at::START_TIME, own.start_time),
            (at::SIGNAL, signal as u64),
        ];
        let record = self.record(slot);
        park::sign(&words, nonce, |word, value| {
            self.store(record + word, value)
        })
    }
}
