//! The others, each set up as its documents advise, with its table of the same rows.

pub mod blackboard;
pub mod blob;
pub mod lmdb;
pub mod plain;
pub mod plain_commit;
pub mod queue;
