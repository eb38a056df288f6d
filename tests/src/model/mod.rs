//! The parts of the model-based test that the test and its child processes share.
//!
//! - [`shape`]: the schemas of the test's tables, and the row of a key and a value in each of them;
//! - [`operation`]: the steps that a program is made of, and what a publisher answers to each;
//! - [`reference`](mod@reference): the table that the steps should lead to;
//! - [`performer`]: carries steps out with a real publisher.

pub mod operation;
pub mod performer;
pub mod reference;
pub mod shape;
