//! Reads the bytes of a file and identifies its versions.

use std::fs::{File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use super::fault::Fault;
use super::follow::YOUNG;

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 4 << 30;

/// Maximum number of reads of a file that changes while it is read, and the pause between them.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Metadata that changes whenever the file does, except for changes within one tick of the kernel's
/// clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Returns the identity of the file at `path`.
    ///
    /// # Errors
    /// Returns the error of `stat`.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns true if both identify the same inode, whatever its content.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Returns true if the file was changed less than `time` ago, or less than `time` in the
    /// future, because the clock of a file server may be ahead. A time further in the future was
    /// set by a user and does not count.
    fn is_younger_than(&self, time: Duration) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        [self.changed, self.modified]
            .into_iter()
            .any(|(seconds, nanos)| {
                let at = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
                let age = at.abs_diff(i128::try_from(now).unwrap_or(i128::MAX));
                age < time.as_nanos()
            })
    }
}

/// One version of a file.
pub struct Content {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// Identity of the file before it was read.
    pub identity: Identity,
    /// True if the file had just been changed when it was read.
    pub is_young: bool,
}

impl Content {
    /// Returns a hash of the bytes.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.bytes);
        hasher.finish()
    }
}

/// Reasons why a file could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The file does not exist.
    Gone,
    /// The file exists and cannot be read.
    Refused(Fault),
}

/// Reads a file, and again if it changed during the read. After `TRIES` reads the last content is
/// returned even if the file is still changing.
///
/// # Errors
/// Returns [`Unreadable`] if the file does not exist or cannot be read.
pub fn read(path: &Path) -> Result<Content, Unreadable> {
    let mut content = read_once(path)?;
    for _ in 1..TRIES {
        if Identity::of_path(path).is_ok_and(|identity| identity == content.identity) {
            break;
        }
        std::thread::sleep(PAUSE);
        content = read_once(path)?;
    }
    Ok(content)
}

fn read_once(path: &Path) -> Result<Content, Unreadable> {
    let mut file = open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    let kind = metadata.file_type();
    let refused = |reason: String| Err(Unreadable::Refused(Fault::of_file(reason)));
    if kind.is_fifo() || kind.is_socket() {
        return refused(
            "it is a pipe: read it with `--from - < FILE`, --format and --fields".to_owned(),
        );
    }
    if !kind.is_file() {
        return refused("it is not a regular file: name a file of CSV or lines of JSON".to_owned());
    }
    let identity = Identity::of(&metadata);
    let is_young = identity.is_younger_than(YOUNG);
    // One byte more than the size shows whether the file has grown.
    let mut bytes = Vec::new();
    let expected = usize::try_from(identity.size.min(MAX_FILE)).unwrap_or_default();
    if bytes.try_reserve_exact(expected + 1).is_err() {
        return refused(format!(
            "there is not enough memory for its {expected} bytes"
        ));
    }
    let count = file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes);
    match count {
        Ok(count) if count as u64 > MAX_FILE => refused(format!(
            "it has more than {MAX_FILE} bytes: publish less of it"
        )),
        Ok(_) => Ok(Content {
            bytes,
            identity,
            is_young,
        }),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Opens a file without blocking, even if it is a pipe without a writer.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
}

fn unreadable(error: &io::Error) -> Unreadable {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unreadable::Gone,
        _ => Unreadable::Refused(Fault::of_file(format!("cannot read it: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &Path) -> String {
        match read(path) {
            Ok(_) => "read".to_owned(),
            Err(Unreadable::Gone) => "gone".to_owned(),
            Err(Unreadable::Refused(fault)) => fault.to_string(),
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&file).ok().unwrap().bytes, b"text");
        assert!(reason(&pipe).contains("--from -"), "{}", reason(&pipe));
        assert!(reason(folder.path()).contains("not a regular file"));
        assert!(reason(Path::new("/dev/null")).contains("not a regular file"));
        assert_eq!(reason(&folder.path().join("other")), "gone");
        assert_eq!(reason(&file.join("below")), "gone");
    }

    #[test]
    fn changed_content_changes_identity_and_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let first = read(&file).ok().unwrap();
        assert_eq!(Identity::of_path(&file).unwrap(), first.identity);
        assert!(first.identity.is_younger_than(Duration::from_secs(60)));
        assert!(!first.identity.is_younger_than(Duration::ZERO));
        std::fs::write(&file, "other text").unwrap();
        let second = read(&file).ok().unwrap();
        assert_ne!(first.identity, second.identity);
        assert!(first.identity.is_same_file(&second.identity));
        assert_ne!(first.fingerprint(), second.fingerprint());
    }

    /// Kind of defect: a time in the future counts as recent until it has passed. Other
    /// members: the time of the change and that of the modification, far and near, before and
    /// after now.
    #[test]
    fn distant_future_time_is_not_young() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.unwrap().as_secs()).unwrap();
        let identity = Identity::of_path(&file).unwrap();
        let is_young = |modified: i64, changed: i64| {
            let (modified, changed) = ((now + modified, 0), (now + changed, 0));
            let identity = Identity {
                modified,
                changed,
                ..identity
            };
            identity.is_younger_than(Duration::from_secs(60))
        };
        for far in [-7200, 7200, i64::MAX - now, i64::MIN] {
            assert!(!is_young(far, -7200), "{far}");
            assert!(!is_young(-7200, far), "{far}");
            assert!(is_young(far, 0) && is_young(0, far), "{far}");
        }
        assert!(is_young(30, 7200) && is_young(-30, 7200));
    }
}
