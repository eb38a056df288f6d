//! The header of a region, copied to private memory and checked before anything is mapped.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::object::{corrupt, failure, status};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::protocol::layout::{Geometry, LAYOUT_VERSION, REGION_MAGIC, header};
use crate::row::schema::{Schema, fingerprint};

/// A private, checked copy of a region's header. It is read without mapping the region.
#[derive(Debug)]
pub struct Header {
    words: [u64; header::SCHEMA],
    pub geometry: Geometry,
    pub schema: Schema,
    pub file_size: u64,
}

impl Header {
    pub fn read(object: &str, file: &File) -> Result<Self> {
        let corrupt = |reason: &str| corrupt(object, reason);
        let mut words = [0; header::SCHEMA];
        read_words(object, file, 0, &mut words)?;
        check_format(object, &words, REGION_MAGIC, "a region")?;
        let number = |word: usize| usize::try_from(words[word]).unwrap_or(usize::MAX);
        let geometry = Geometry::new(
            number(header::ROW_WORDS),
            number(header::CAPACITY),
            number(header::SLOTS),
            number(header::SCHEMA_BYTES),
        )
        .ok_or_else(|| corrupt("its geometry is beyond the limits"))?;
        if offsets(&geometry).any(|(word, offset)| words[word] != offset) {
            return Err(corrupt("its offsets do not fit its geometry"));
        }
        let status = status(object, file)?;
        let file_size = status.len();
        check_allocated(object, &status)?;
        if file_size < geometry.blocks as u64 * 8 {
            return Err(corrupt("it is too short for its geometry"));
        }
        let mut bytes = vec![0; geometry.schema_bytes];
        file.read_exact_at(&mut bytes, header::SCHEMA as u64 * 8)
            .map_err(|error| failure(object, "read", error))?;
        let schema = Schema::from_bytes(&bytes).map_err(|error| corrupt(&error.to_string()))?;
        if fingerprint(&bytes) != words[header::FINGERPRINT]
            || schema.row_words() != geometry.row_words
        {
            return Err(corrupt("its schema does not fit its header"));
        }
        Ok(Self { words, geometry, schema, file_size })
    }

    /// Returns word `word` of the header, one of the constants in [`header`].
    pub fn word(&self, word: usize) -> u64 {
        self.words[word]
    }

    /// Returns the process that published last.
    pub fn publisher(&self) -> Identity {
        identity(|word| self.words[word])
    }
}

/// Checks the first two words of `object`: the magic number of `kind`, and the layout version.
pub(super) fn check_format(object: &str, words: &[u64], magic: u64, kind: &str) -> Result<()> {
    if words[header::MAGIC] != magic {
        return Err(corrupt(object, format!("it does not have the magic number of {kind}")));
    }
    let (found, expected) = (words[header::LAYOUT], LAYOUT_VERSION);
    if found != expected {
        return Err(Error::LayoutMismatch { object: object.to_owned(), found, expected });
    }
    Ok(())
}

/// Checks that a file has no holes. Its publisher never makes any. Reading a page in a hole
/// allocates it and charges the memory to this process.
pub fn check_allocated(object: &str, status: &Metadata) -> Result<()> {
    match status.blocks() * 512 < status.len() {
        true => Err(corrupt(object, "it has holes")),
        false => Ok(()),
    }
}

/// Returns the header words that store the offsets of the region's parts, with the offsets in
/// bytes.
pub(super) fn offsets(geometry: &Geometry) -> impl Iterator<Item = (usize, u64)> {
    [
        (header::ACKS, geometry.acks),
        (header::TREE, geometry.levels[0]),
        (header::JOURNAL, geometry.journal),
        (header::BLOCKS, geometry.blocks),
    ]
    .into_iter()
    .map(|(word, begin)| (word, begin as u64 * 8))
}

pub(super) fn identity(word: impl Fn(usize) -> u64) -> Identity {
    Identity {
        pid: u32::try_from(word(header::PID)).unwrap_or(0),
        pid_namespace: word(header::PID_NAMESPACE),
        start_time: word(header::START_TIME),
    }
}

/// Reads whole words at byte `offset`. Returns [`Error::Corrupt`] if the file is too short.
pub(crate) fn read_words(object: &str, file: &File, offset: u64, words: &mut [u64]) -> Result<()> {
    file.read_exact_at(bytemuck::cast_slice_mut(words), offset).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => corrupt(object, "it is too short"),
            _ => failure(object, "read", error),
        }
    })
}
