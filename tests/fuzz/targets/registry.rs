//! A registry that is damaged while a publisher wakes its subscribers: no commit fails, and each
//! subscriber sees each commit.
#![no_main]

use fuzz::scene::{Play, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|play: Play| play.on(Target::Registry));
