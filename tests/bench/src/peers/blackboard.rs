//! iceoryx2's blackboard: a value a key, all keys known when it is made.

use iceoryx2::port::reader::Reader;
use iceoryx2::port::writer::Writer;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::blackboard::PortFactory;

use crate::row::Row;

/// Shared memory, one thread a port.
pub type Kind = ipc::Service;

/// More than any case starts: unless told, there may be 8 readers and 20 nodes.
const PROCESSES: usize = 256;

/// A blackboard that this process holds open.
pub struct Blackboard {
    service: PortFactory<Kind, u64>,
    _node: Node<Kind>,
}

fn node() -> Node<Kind> {
    NodeBuilder::new().create::<Kind>().expect("a node")
}

impl Blackboard {
    /// A new one.
    ///
    /// # Panics
    /// If that fails.
    pub fn create(name: &str, rows: impl IntoIterator<Item = Row>) -> Self {
        set_log_level(LogLevel::Fatal);
        let node = node();
        let name = name.try_into().expect("a name");
        let creator = node.service_builder(&name).blackboard_creator::<u64>();
        let mut creator = creator.max_readers(PROCESSES).max_nodes(PROCESSES);
        for row in rows {
            creator = creator.add(row.key, row);
        }
        let service = creator.create().expect("room");
        Self { service, _node: node }
    }

    /// One that another process made.
    ///
    /// # Panics
    /// If that fails.
    pub fn open(name: &str) -> Self {
        set_log_level(LogLevel::Fatal);
        let node = node();
        let name = name.try_into().expect("a name");
        let opener = node.service_builder(&name).blackboard_opener::<u64>();
        let service = opener.open().expect("it was made");
        Self { service, _node: node }
    }

    /// A port to read by.
    ///
    /// # Panics
    /// If that fails.
    pub fn reader(&self) -> Reader<Kind, u64> {
        self.service.reader_builder().create().expect("a reader")
    }

    /// The port to write by.
    ///
    /// # Panics
    /// If there is one already.
    pub fn writer(&self) -> Writer<Kind, u64> {
        self.service.writer_builder().create().expect("a writer")
    }
}
