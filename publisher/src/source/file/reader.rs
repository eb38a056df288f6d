//! Reads a file.

use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use cli::CliError;
use common::Schema;
use flate2::bufread::MultiGzDecoder;
use nix::fcntl::OFlag;

use super::follow::{Identity, QUIET};
use crate::source::format::{Settings, Table};

/// Maximum size of a file, also after it was decompressed.
const MAX_FILE: u64 = 4 << 30;

const GZIP: &[u8] = &[0x1f, 0x8b];

pub struct Reading {
    /// `None` if it could not be determined.
    pub identity: Option<Identity>,
    /// True if the file had just been changed when it was read, and may have changed since without
    /// changing its metadata.
    pub is_young: bool,
    pub fingerprint: Option<u64>,
    pub outcome: Outcome,
}

pub enum Outcome {
    /// The table, or the reason why the file cannot be read or is not a table.
    Read(Result<Table, CliError>),
    /// The bytes are the same as in the last read.
    Same,
    Gone,
}

/// Reads a version of the file. `fingerprint` and `schema` are those of the version before.
pub fn read(
    path: &Path,
    settings: &Settings,
    fingerprint: Option<u64>,
    schema: Option<&Schema>,
) -> Reading {
    let mut reading = Reading {
        // Taken before the read, so that a file renamed into place later counts as a new version.
        identity: Identity::of_path(path).ok(),
        is_young: false,
        fingerprint: None,
        outcome: Outcome::Gone,
    };
    let bytes = match content(path, &mut reading) {
        Ok(bytes) => bytes,
        Err(error) => {
            let kind = error.kind();
            if kind != io::ErrorKind::NotFound && kind != io::ErrorKind::NotADirectory {
                let error = CliError::new(5, format!("cannot read it: {error}"));
                reading.outcome = Outcome::Read(Err(error));
            }
            return reading;
        }
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    reading.fingerprint = Some(hasher.finish());
    reading.outcome = match fingerprint == reading.fingerprint {
        true => Outcome::Same,
        false => Outcome::Read(settings.read(&bytes, schema)),
    };
    reading
}

/// Returns the bytes of a file, and records its identity and age before they were read.
fn content(path: &Path, reading: &mut Reading) -> io::Result<Vec<u8>> {
    // Does not block, even if the file is a pipe without a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_socket() {
        let reason = "it is a pipe: use `--from - < FILE` with --format and --fields";
        return Err(io::Error::other(reason));
    }
    if !kind.is_file() {
        let reason = "it is not a regular file: name a file of CSV or lines of JSON";
        return Err(io::Error::other(reason));
    }
    let identity = Identity::of(&metadata);
    reading.identity = Some(identity);
    reading.is_young = identity.is_younger_than(QUIET);
    let bytes = bounded(file, MAX_FILE)?;
    match bytes.starts_with(GZIP) {
        true => decompressed(&bytes, MAX_FILE),
        false => Ok(bytes),
    }
}

/// Returns all bytes of gzip data, unless there are more than `max`.
fn decompressed(bytes: &[u8], max: u64) -> io::Result<Vec<u8>> {
    bounded(MultiGzDecoder::new(bytes), max).map_err(|error| match error.kind() {
        io::ErrorKind::Other => error,
        _ => io::Error::other(format!("its gzip data is damaged or incomplete: {error}")),
    })
}

/// Returns all bytes of a file, unless there are more than `max`.
fn bounded(file: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max {
        true => Err(io::Error::other(format!("it has more than {max} bytes: publish less of it"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn gzip_data_is_bounded_and_must_be_complete() {
        let compress = |bytes: &[u8]| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        };
        let (one, two) = (compress(b"id\n"), compress(&[b'1'; 1000]));
        assert!(one.starts_with(GZIP) && two.len() < 100);
        let both = [one.as_slice(), &two].concat();
        assert_eq!(decompressed(&both, 1003).unwrap().len(), 1003);
        let error = |bytes: &[u8]| decompressed(bytes, 1002).unwrap_err().to_string();
        assert!(error(&both).contains("more than 1002 bytes"), "a bomb");
        for length in [GZIP.len(), one.len() / 2, one.len() - 1, one.len() + 15] {
            assert!(error(&both[..length]).contains("incomplete"), "{length}");
        }
        let mut damaged = two.clone();
        damaged[20] ^= 1;
        assert!(error(&damaged).contains("damaged"));
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let content = |path: &Path| {
            let mut reading = Reading {
                identity: None,
                is_young: false,
                fingerprint: None,
                outcome: Outcome::Gone,
            };
            let content = content(path, &mut reading);
            assert_eq!(reading.identity.is_some(), content.is_ok());
            content
        };
        assert_eq!(content(&file).unwrap(), b"text");
        let error = |path: &Path| content(path).unwrap_err();
        assert!(error(&pipe).to_string().contains("--from -"));
        let folder = folder.path();
        assert!(error(folder).to_string().contains("not a regular file"));
        let missing = error(&folder.join("missing"));
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(error(&file.join("below")).kind(), io::ErrorKind::NotADirectory);
    }
}
