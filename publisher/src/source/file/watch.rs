//! Hears of changes to a file, by inotify on its folder.
//!
//! 1. Editors and ConfigMaps do not write to a file but put another in its place, so the folder is watched: the one that
//!    the path names, and, behind a symlink, that of the file itself.
//! 2. An event means: look. Which file it was about matters only to know whether its writer is done.
//! 3. A folder that is gone, replaced or on another machine makes no events; whoever uses this also looks by the clock.
//!    Each look arms anew, which costs nothing where nothing has changed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// As often as this events are read at once; the rest waits for its turn.
const MAX_BATCHES: usize = 16;

/// What was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Something happened in a folder.
    pub anything: bool,
    /// A file of that name was closed by its writer, or put in place.
    pub finished: bool,
    /// Something was put in place, perhaps a folder or a link on the way to the file.
    pub moved: bool,
}

/// The folders of a file.
pub struct Watch {
    path: PathBuf,
    inotify: Option<Inotify>,
    watched: Vec<WatchDescriptor>,
    /// The names that the file goes by.
    names: Vec<OsString>,
}

impl Watch {
    /// Of the file that `path` leads to. A sentence if it cannot be.
    pub fn new(path: &Path) -> (Self, Option<String>) {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let refused = inotify.as_ref().err().map(|errno| refusal(*errno));
        let watch = Self {
            path: path.to_owned(),
            inotify: inotify.ok(),
            watched: Vec::new(),
            names: Vec::new(),
        };
        (watch, refused)
    }

    /// Turns readable when something may have happened.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches the folders that the file is in now. Before a look, so that no change falls in between.
    ///
    /// # Errors
    /// A sentence, if a limit stands against it.
    pub fn arm(&mut self) -> Result<(), String> {
        let Some(inotify) = &self.inotify else {
            return Ok(());
        };
        let target = std::fs::canonicalize(&self.path).ok();
        let paths = [Some(self.path.as_path()), target.as_deref()];
        let paths: Vec<&Path> = paths.into_iter().flatten().collect();
        self.names = paths
            .iter()
            .filter_map(|path| path.file_name())
            .map(OsStr::to_owned)
            .collect();
        let mut watched = Vec::new();
        let mut refused = None;
        for folder in paths.into_iter().map(folder) {
            match inotify.add_watch(folder, events()) {
                Ok(watch) => watched.push(watch),
                Err(errno @ (Errno::ENOSPC | Errno::ENOMEM)) => refused = Some(refusal(errno)),
                // It is not there, or not to be seen.
                Err(_) => {}
            }
        }
        for former in &self.watched {
            if !watched.contains(former) {
                // The folder may be gone, and its watch with it.
                let _gone = inotify.rm_watch(*former);
            }
        }
        self.watched = watched;
        refused.map_or(Ok(()), Err)
    }

    /// What happened since the last time.
    pub fn hear(&self) -> Heard {
        let mut heard = Heard::default();
        let Some(inotify) = &self.inotify else {
            return heard;
        };
        for _ in 0..MAX_BATCHES {
            let Ok(events) = inotify.read_events() else {
                break;
            };
            for event in events {
                // An overflow of the queue is an event, too, and like all others a reason to look.
                heard.anything = true;
                heard.moved |= event.mask.contains(AddWatchFlags::IN_MOVED_TO);
                if event.name.is_some_and(|name| self.names.contains(&name)) {
                    // The last word counts: somebody may have begun to write again.
                    let is_end = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
                    heard.finished = event.mask.intersects(is_end);
                }
            }
        }
        heard
    }
}

fn events() -> AddWatchFlags {
    AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn refusal(errno: Errno) -> String {
    format!(
        "cannot watch its folder ({}): looking at it every second instead; /proc/sys/fs/inotify holds the limits",
        errno.desc()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn armed(path: &Path) -> Watch {
        let (mut watch, refused) = Watch::new(path);
        assert_eq!(refused, None);
        watch.arm().unwrap();
        watch
    }

    #[test]
    fn writers_are_heard_of() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        let mut watch = armed(&file);
        assert_eq!(watch.hear(), Heard::default());
        fs::write(&other, "x").unwrap();
        let heard = watch.hear();
        assert!(
            heard.anything && !heard.finished && !heard.moved,
            "{heard:?}"
        );
        fs::write(&file, "x").unwrap();
        let heard = watch.hear();
        assert!(heard.finished && !heard.moved, "{heard:?}");
        fs::rename(&other, &file).unwrap();
        let heard = watch.hear();
        assert!(heard.finished && heard.moved, "{heard:?}");
        let mut open = fs::File::options().append(true).open(&file).unwrap();
        fs::write(&file, "y").unwrap();
        std::io::Write::write_all(&mut open, b"z").unwrap();
        let heard = watch.hear();
        assert!(heard.anything && !heard.finished, "{heard:?}");
        drop(open);
        assert!(watch.hear().finished);
        watch.arm().unwrap();
        assert_eq!(
            watch.hear(),
            Heard::default(),
            "to arm is nothing to hear of"
        );
    }

    #[test]
    fn the_folder_behind_a_link_is_watched_too() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (here.path().join("link"), there.path().join("file"));
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        let mut watch = armed(&link);
        fs::write(&file, "y").unwrap();
        assert!(watch.hear().finished);
        // The link leads elsewhere now: what happens there is heard, and no more where it led.
        fs::remove_file(&link).unwrap();
        symlink(here.path().join("near"), &link).unwrap();
        fs::write(here.path().join("near"), "z").unwrap();
        watch.arm().unwrap();
        assert!(watch.hear().anything);
        fs::write(&file, "z").unwrap();
        let heard = watch.hear();
        assert!(!heard.finished, "{heard:?}");
    }

    #[test]
    fn a_folder_may_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        let file = folder.join("file");
        let mut watch = armed(&file);
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            watch.arm().unwrap();
            fs::write(&file, "x").unwrap();
            assert!(watch.hear().finished);
            fs::remove_dir_all(&folder).unwrap();
            assert!(watch.hear().anything);
            watch.arm().unwrap();
        }
    }
}
