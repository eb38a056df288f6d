//! The half that knows the file.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use common::{Publisher, Text};

use crate::{Flag, has_ended};

/// How often the file is read. (`publisher serve flags --from FILE` does the same for any CSV or JSON lines, and is told of
/// changes by the kernel.)
const BEAT: Duration = Duration::from_millis(200);

/// All flags of the file, or why it has none.
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
                // Stages what differs only, and without a difference the commit is none: nothing has to be remembered here.
                let mut tx = publisher.begin();
                tx.replace_with(&flags)?;
                tx.commit()?;
                trouble.clear();
            }
            // Somebody is in the middle of an edit, or mistook a comma: the flags stay as they are, and it is said once.
            Err(error) if error.to_string() != trouble => {
                trouble = error.to_string();
                eprintln!("{file}: {trouble}; the flags stay as they are");
            }
            Err(_) => {}
        }
        // Commits do this by themselves, but there may be none for days.
        publisher.maintain()?;
        std::thread::sleep(BEAT);
    }
    publisher.close()?;
    Ok(())
}
