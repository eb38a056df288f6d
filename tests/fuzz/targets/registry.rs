//! A registry that is damaged while a publisher wakes those in it: no commit fails, and everybody sees every commit.
#![no_main]

use fuzz::scene::{Play, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|play: Play| play.on(Target::Registry));
