//! Rows that are damaged while subscribers follow them.
#![no_main]

use fuzz::scene::{Play, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|play: Play| play.on(Target::Region));
