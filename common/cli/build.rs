//! Passes the commit that is checked out to the program, for `--version`: `BUILD_COMMIT`, which is
//! empty if git does not know it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit().unwrap_or_default());
}

fn commit() -> Option<String> {
    // A source archive that was unpacked in another project's clone is not under its control.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // HEAD changes with the branch that is checked out, its log with each commit.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // Cargo would rebuild each time for a path that does not exist.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=9", "HEAD"])
}

/// Returns the output of git for this clone, and not for one that runs the build in a hook.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    let output = git.args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
