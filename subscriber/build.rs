//! Tells the program which commit it is built from, for `--version`: `BUILD_COMMIT`, empty where nobody knows.
//!
//! 1. A package says it in `.cargo_vcs_info.json`, which cargo puts in.
//! 2. A clone says it by git, if this package is under its version control: a package that was unpacked somewhere in
//!    another project's clone must not take that one's commit for its own.
//! 3. A tarball without either has its version only.

use std::path::Path;
use std::process::Command;

/// Where `cargo package` notes the commit.
const PACKAGED: &str = ".cargo_vcs_info.json";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = match std::fs::read_to_string(PACKAGED) {
        Ok(packaged) => noted(&packaged).unwrap_or_default(),
        Err(_) => of_clone().unwrap_or_default(),
    };
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
}

/// The commit in what cargo noted: `{"git": {"sha1": "…"}, …}`.
fn noted(packaged: &str) -> Option<String> {
    let behind = packaged.split_once("\"sha1\"")?.1;
    Some(behind.split('"').nth(1)?.to_owned())
}

/// The commit that is checked out here. Built again when there is another one.
fn of_clone() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // What is checked out; what became of it, where git notes that; packed branches.
    let mut names = ["HEAD", "logs/HEAD", "packed-refs"]
        .map(str::to_owned)
        .to_vec();
    // The branch's own file, unless it is packed or no branch is checked out.
    names.extend(git(&["symbolic-ref", "--quiet", "HEAD"]));
    for name in names {
        let path = git(&["rev-parse", "--git-path", &name])?;
        // A path that is not there would be a change each time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

/// What git prints, if it can do it. Not of the repository that a hook runs for.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    let output = git.args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
