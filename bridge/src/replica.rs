//! The local table that follows an origin: turns slots of the origin into changes by key, and
//! commits them.

use std::collections::{HashMap, HashSet};

use common::{Error, RowRef, Schema, UntypedPublisher};
use exchange::Update;

/// How the local table is created.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Name of the local table.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Group that owns the table.
    pub group: Option<u32>,
    /// Maximum number of rows.
    pub max_rows: u64,
}

/// A local table, and the key of each slot of its origin.
#[derive(Debug, Default)]
pub struct Replica {
    settings: Settings,
    /// `None` until the first update tells the schema.
    publisher: Option<UntypedPublisher>,
    keys: HashMap<u32, Box<[u8]>>,
}

impl Replica {
    /// Takes over the table that an earlier importer left, if there is one. Its rows stay readable
    /// until the first update.
    ///
    /// # Errors
    /// [`Error::PublisherActive`], and the other errors of opening a table.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let mut replica = Self { settings, publisher: None, keys: HashMap::new() };
        match common::inspect(&replica.settings.name, None) {
            Ok(table) => replica.publisher = Some(replica.create(table.schema)?),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(replica)
    }

    /// Returns the name of the local table.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns true if the table exists.
    pub fn is_open(&self) -> bool {
        self.publisher.is_some()
    }

    /// Returns the number of rows of the local table.
    pub fn len(&self) -> usize {
        self.publisher.as_ref().map_or(0, UntypedPublisher::len)
    }

    /// Marks the local table as one whose rows do not follow the origin, or removes the mark.
    pub fn mark_stale(&self, is_stale: bool) {
        match &self.publisher {
            Some(publisher) if is_stale => publisher.end_input(),
            Some(publisher) => publisher.resume_input(),
            None => {}
        }
    }

    /// Maintains the local table. Call it once a second.
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::maintain`].
    pub fn maintain(&mut self) -> Result<(), Error> {
        self.publisher.as_mut().map_or(Ok(()), UntypedPublisher::maintain)
    }

    /// Commits an update as one transaction. After an error the table is unchanged.
    ///
    /// # Errors
    /// A message about the schema or the rows, or the error of the commit.
    pub fn apply(&mut self, update: &Update) -> Result<(), Refused> {
        if update.is_complete { self.replace(update) } else { self.change(update) }
    }

    /// Closes the table, or keeps it for the next importer.
    ///
    /// # Errors
    /// The errors of [`UntypedPublisher::close`].
    pub fn close(self, keep: bool) -> Result<(), Error> {
        match self.publisher {
            Some(publisher) if keep => publisher.close_and_keep(),
            Some(publisher) => publisher.close(),
            None => Ok(()),
        }
    }

    fn create(&self, schema: Schema) -> Result<UntypedPublisher, Error> {
        let mut builder =
            UntypedPublisher::builder(&self.settings.name, schema).mode(self.settings.mode);
        if let Some(group) = self.settings.group {
            builder = builder.group(group);
        }
        builder.open()
    }

    /// Replaces all rows, and the schema if it changed.
    fn replace(&mut self, update: &Update) -> Result<(), Refused> {
        let schema = Schema::from_bytes(&update.schema)?;
        let rows = Rows::of(update, schema.row_size())?;
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            None => {
                let publisher = self.create(schema.clone())?;
                self.publisher.insert(publisher)
            }
        };
        if **publisher.schema() == schema {
            let mut tx = publisher.begin();
            tx.replace_with(rows.iter().map(|(_, row)| row))?;
            tx.commit()?;
        } else {
            let capacity = publisher.capacity().max(rows.iter().count());
            publisher.reshape(schema, capacity, rows.iter().map(|(_, row)| row))?;
        }
        let schema = publisher.schema();
        self.keys.clear();
        for (slot, row) in rows.iter() {
            self.keys.insert(slot, RowRef::new(schema, row)?.key().to_bytes().into());
        }
        Ok(())
    }

    /// Changes the rows of some slots.
    fn change(&mut self, update: &Update) -> Result<(), Refused> {
        let Some(publisher) = &mut self.publisher else {
            return Err(Refused::Contradiction("changes of a table that was never received"));
        };
        let schema = std::sync::Arc::clone(publisher.schema());
        let rows = Rows::of(update, schema.row_size())?;
        // The slots whose row has another key than before. In most updates there are none.
        let mut created: Vec<(u32, Box<[u8]>)> = Vec::new();
        for (slot, row) in rows.iter() {
            let key = RowRef::new(&schema, row)?.key().to_bytes();
            if self.keys.get(&slot).is_none_or(|old| **old != *key) {
                created.push((slot, key.into()));
            }
        }
        let slots_deleted = update.pieces.iter().flat_map(|piece| &piece.deleted);
        let lost = slots_deleted.clone().filter(|slot| self.keys.contains_key(slot)).count();
        let gained = created.iter().filter(|(slot, _)| !self.keys.contains_key(slot)).count();
        let count = (self.keys.len() + gained).saturating_sub(lost) as u64;
        if count > self.settings.max_rows {
            return Err(Refused::TooManyRows { count, max: self.settings.max_rows });
        }
        // A key that moved to another slot is deleted in one and created in another.
        let present: HashSet<&[u8]> = created.iter().map(|(_, key)| &**key).collect();
        let slots = slots_deleted.clone().chain(created.iter().map(|(slot, _)| slot));
        let old = slots.filter_map(|slot| self.keys.get(slot));
        let mut tx = publisher.begin();
        for key in old.filter(|key| !present.contains(&***key)) {
            match tx.delete(key) {
                Ok(()) | Err(Error::KeyMissing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (_, row) in rows.iter() {
            tx.upsert(row)?;
        }
        tx.commit()?;
        for slot in slots_deleted {
            self.keys.remove(slot);
        }
        self.keys.extend(created);
        Ok(())
    }
}

/// The rows of an update.
struct Rows<'u> {
    update: &'u Update,
    row_bytes: usize,
}

impl<'u> Rows<'u> {
    fn of(update: &'u Update, row_bytes: usize) -> Result<Self, Refused> {
        let fits = |piece: &exchange::Entries| piece.slots.len() * row_bytes == piece.rows.len();
        if !update.pieces.iter().all(fits) {
            return Err(Refused::Contradiction("rows whose length is not that of the schema"));
        }
        Ok(Self { update, row_bytes })
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &'u [u8])> {
        let row_bytes = self.row_bytes;
        self.update.pieces.iter().flat_map(move |piece| {
            piece.slots.iter().copied().zip(piece.rows.chunks_exact(row_bytes))
        })
    }
}

/// The reason why an update was not applied.
#[derive(Debug)]
pub enum Refused {
    /// The exporter sent something that contradicts itself.
    Contradiction(&'static str),
    /// The table has more rows than are allowed.
    TooManyRows {
        /// Number of rows.
        count: u64,
        /// Maximum number of rows.
        max: u64,
    },
    /// The local table refused it.
    Table(Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contradiction(what) => write!(f, "the exporter sent {what}"),
            Self::TooManyRows { count, max } => {
                write!(f, "the table has {count} rows, more than the {max} that are allowed here")
            }
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}
