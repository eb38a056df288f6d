//! Watches a file for changes, with inotify on its folders.
//!
//! 1. Editors and ConfigMaps do not write to a file but rename another into its place. So the watch
//!    is on folders: the folder in the path, and, if the path is a symlink, the folder of its
//!    target.
//! 2. An event is a reason to check the file. Its name matters only for finding out whether the
//!    writer has finished.
//! 3. A folder that is missing, replaced or on another machine produces no events, so the caller
//!    must also check the file periodically. Each check calls [`Watch::arm`] again, which is cheap
//!    if nothing has changed. The watch on a former folder stays: its events only cause a check.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Maximum number of reads of the inotify queue in one call. The rest is left for the next call.
const MAX_BATCHES: usize = 16;

pub struct Watch {
    path: PathBuf,
    inotify: Result<Inotify, Errno>,
    /// Names of the file: the one in the path and that of the symlink's target.
    names: Vec<OsString>,
}

impl Watch {
    /// Creates a watch for the file at `path`. [`arm`](Self::arm) activates it.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK),
            names: Vec::new(),
        }
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().ok().map(AsFd::as_fd)
    }

    /// Watches the current folders of the file. Call it before checking the file, so that no change
    /// is missed in between. Returns an error if a limit of the system prevents a watch.
    pub fn arm(&mut self) -> Result<(), String> {
        let inotify = self.inotify.as_ref().map_err(|errno| refusal(*errno))?;
        let target = std::fs::canonicalize(&self.path).ok();
        let paths = [Some(self.path.as_path()), target.as_deref()];
        self.names.clear();
        for path in paths.into_iter().flatten() {
            self.names.extend(path.file_name().map(OsStr::to_owned));
            // Other errors mean that the folder does not exist or is not accessible.
            if let Err(errno @ (Errno::ENOSPC | Errno::ENOMEM)) =
                inotify.add_watch(folder(path), EVENTS)
            {
                return Err(refusal(errno));
            }
        }
        Ok(())
    }

    /// Reads the events since the last call. Returns `None` without events, and `Some(true)` if the
    /// last event about the file is the end of a write or a rename into place.
    pub fn events(&self) -> Option<bool> {
        let inotify = self.inotify.as_ref().ok()?;
        let is_end = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let mut found = None;
        for _ in 0..MAX_BATCHES {
            let Ok(events) = inotify.read_events() else {
                break;
            };
            for event in events {
                // The overflow of the queue is also an event, and also a reason to check the file.
                let is_finished = found.get_or_insert(false);
                if event.name.is_some_and(|name| self.names.contains(&name)) {
                    *is_finished = event.mask.intersects(is_end);
                }
            }
        }
        found
    }
}

/// The events of a folder that may be changes of the file.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn refusal(errno: Errno) -> String {
    format!(
        "cannot watch its folder ({}): checking it every second instead; /proc/sys/fs/inotify holds the limits",
        errno.desc()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn armed(path: &Path) -> Watch {
        let mut watch = Watch::new(path);
        watch.arm().unwrap();
        watch
    }

    #[test]
    fn events_tell_whether_the_writer_has_finished() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        let mut watch = armed(&file);
        assert_eq!(watch.events(), None);
        fs::write(&other, "x").unwrap();
        assert_eq!(watch.events(), Some(false));
        fs::write(&file, "x").unwrap();
        assert_eq!(watch.events(), Some(true));
        fs::rename(&other, &file).unwrap();
        assert_eq!(watch.events(), Some(true));
        let mut open = fs::File::options().append(true).open(&file).unwrap();
        fs::write(&file, "y").unwrap();
        std::io::Write::write_all(&mut open, b"z").unwrap();
        assert_eq!(watch.events(), Some(false));
        drop(open);
        assert_eq!(watch.events(), Some(true));
        watch.arm().unwrap();
        assert_eq!(watch.events(), None, "arming again produces no event");
    }

    #[test]
    fn folder_of_a_symlink_target_is_watched_too() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (here.path().join("link"), there.path().join("file"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        let mut watch = armed(&link);
        fs::write(&file, "y").unwrap();
        assert_eq!(watch.events(), Some(true));
        // The symlink has a new target: events in its folder count, those in the old folder
        // do not.
        fs::remove_file(&link).unwrap();
        symlink(here.path().join("near"), &link).unwrap();
        fs::write(here.path().join("near"), "z").unwrap();
        watch.arm().unwrap();
        assert!(watch.events().is_some());
        fs::write(&file, "z").unwrap();
        assert_ne!(watch.events(), Some(true));
    }

    #[test]
    fn folder_may_be_removed_and_created_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        let file = folder.join("file");
        let mut watch = armed(&file);
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            watch.arm().unwrap();
            fs::write(&file, "x").unwrap();
            assert_eq!(watch.events(), Some(true));
            fs::remove_dir_all(&folder).unwrap();
            assert!(watch.events().is_some());
            watch.arm().unwrap();
        }
    }
}
