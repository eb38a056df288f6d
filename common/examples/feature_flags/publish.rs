//! The publisher half, which reads the file.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use common::{Publisher, Text};

use crate::{Flag, has_ended};

/// Interval between two reads of the file. (`publisher serve flags --from FILE` does the same for
/// any CSV or JSON lines, and uses file notifications of the kernel instead.)
const BEAT: Duration = Duration::from_millis(200);

/// Returns all flags of the file, or the reason why it is not valid.
fn read(file: &str) -> Result<Vec<Flag>, Box<dyn Error>> {
    let flags: BTreeMap<String, u32> = serde_json::from_slice(&std::fs::read(file)?)?;
    let flag = |(name, percent): (String, u32)| {
        if percent > 100 {
            return Err(format!("{name:?} is on for {percent} % of the users").into());
        }
        let name = Text::new(&name)?;
        Ok(Flag { name, percent })
    };
    flags.into_iter().map(flag).collect()
}

pub fn follow(file: &str, table: &str) -> Result<(), Box<dyn Error>> {
    let mut publisher = Publisher::<Flag>::builder(table).capacity(1_000).open()?;
    let mut trouble = String::new();
    while !has_ended() {
        match read(file) {
            Ok(flags) => {
                // `replace_with` stages only differences, and a commit without any does nothing, so
                // this program does not have to remember the last flags.
                let mut tx = publisher.begin();
                tx.replace_with(&flags)?;
                tx.commit()?;
                trouble.clear();
            }
            // An unfinished or wrong edit of the file: the flags stay as they are, and the error is
            // printed once.
            Err(error) if error.to_string() != trouble => {
                trouble = error.to_string();
                eprintln!("{file}: {trouble}; the flags stay as they are");
            }
            Err(_) => {}
        }
        // Commits include this, but there may be no commit for days.
        publisher.maintain()?;
        std::thread::sleep(BEAT);
    }
    publisher.close()?;
    Ok(())
}
