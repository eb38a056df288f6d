//! The commit in `--version`: the build script, run in a clone and in an archive.

use std::path::{Path, PathBuf};
use tests::clean::inheriting;

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../common/cli/build.rs");

/// Compiles the build script as a program.
fn script(folder: &Path) -> PathBuf {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let program = folder.join("build-script");
    let status = inheriting(rustc).args(["--edition", "2024", SCRIPT, "-o"]).arg(&program).status();
    assert!(status.expect("rustc can be started").success());
    program
}

/// Runs git in `folder` and returns its output, or None if there is no git.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    let output = inheriting("git").args(identity).args(arguments).current_dir(folder).output();
    let output = output.ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Returns the output of the script: the commit, and the files whose change makes cargo run it
/// again.
fn said(script: &Path, package: &Path) -> (String, Vec<PathBuf>) {
    let output = inheriting(script).current_dir(package).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let told = |prefix: &str| -> Vec<String> {
        let told = text.lines().filter_map(|line| line.strip_prefix(prefix));
        told.map(str::to_owned).collect()
    };
    let commits = told("cargo::rustc-env=BUILD_COMMIT=");
    assert_eq!(commits.len(), 1, "{text}");
    let files = told("cargo::rerun-if-changed=").into_iter();
    let files = files.filter(|file| file != "build.rs");
    (commits[0].clone(), files.map(|file| package.join(file)).collect())
}

fn package_in(folder: &TempDir) -> PathBuf {
    let package = folder.path().join("subscriber");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("Cargo.toml"), "").unwrap();
    package
}

#[test]
fn archive_in_another_clone_has_no_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (script, package) = (script(folder.path()), package_in(&folder));
    assert_eq!(said(&script, &package), (String::new(), vec![]));
    if git(folder.path(), &["init", "-q"]).is_some() {
        let commit = ["commit", "-q", "--allow-empty", "-m", "theirs"];
        git(folder.path(), &commit);
        assert_eq!(said(&script, &package), (String::new(), vec![]));
    }
}

#[test]
fn clone_is_rebuilt_with_each_commit_and_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let (script, package) = (script(folder.path()), package_in(&folder));
    if git(folder.path(), &["init", "-q"]).is_none() {
        return tests::skip("there is no git");
    }
    git(folder.path(), &["add", "subscriber"]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    let head = || git(folder.path(), &["rev-parse", "--short=9", "HEAD"]).unwrap();
    let first = head();
    let commit = ["commit", "-q", "--allow-empty", "-m", "two"];
    let checkout = ["checkout", "-q", &first];
    for change in [&commit[..], &checkout] {
        let (before, files) = said(&script, &package);
        assert_eq!(before, head());
        let contents =
            || -> Vec<_> { files.iter().map(|file| std::fs::read(file).unwrap()).collect() };
        let old = contents();
        git(folder.path(), change);
        assert_ne!(contents(), old, "{change:?} changes none of {files:?}");
        assert_eq!(said(&script, &package).0, head());
    }
}
