//! Sets `BUILD_COMMIT`, which `--version` prints, to the commit that is checked out, or to an empty
//! text if git reports none.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit().unwrap_or_default());
}

fn commit() -> Option<String> {
    // Fails for a source archive that was unpacked inside another project's clone.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // HEAD changes when another branch is checked out, and its log with each commit.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // Cargo reruns this script in every build if the path does not exist.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=9", "HEAD"])
}

/// Runs git for this clone and returns its output. A git hook that runs the build may belong to
/// another clone, which these variables name.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    let output = git.args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
