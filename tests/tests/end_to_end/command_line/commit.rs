//! Where `--version` has its commit from: the build script, run where a package, a clone or a tarball would be.

use std::path::{Path, PathBuf};
use tests::clean::inheriting;

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../subscriber/build.rs");

/// The build script as a program.
fn script(folder: &Path) -> PathBuf {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let program = folder.join("build-script");
    let status = inheriting(rustc)
        .args(["--edition", "2024", SCRIPT, "-o"])
        .arg(&program)
        .status();
    assert!(status.expect("rustc is where cargo is").success());
    program
}

/// Runs git there, if there is git. What it prints.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    let output = inheriting("git")
        .args(identity)
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// What the script says: the commit, and the files whose change makes another one.
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
    (
        commits[0].clone(),
        files.map(|file| package.join(file)).collect(),
    )
}

fn package_in(folder: &TempDir) -> PathBuf {
    let package = folder.path().join("subscriber");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("Cargo.toml"), "").unwrap();
    package
}

#[test]
fn a_package_says_its_commit_and_a_tarball_none() {
    let folder = tempfile::tempdir().unwrap();
    let (script, package) = (script(folder.path()), package_in(&folder));
    assert_eq!(said(&script, &package), (String::new(), vec![]));
    // As it is unpacked in somebody's clone of something else.
    if git(folder.path(), &["init", "-q"]).is_some() {
        git(
            folder.path(),
            &["commit", "-q", "--allow-empty", "-m", "theirs"],
        );
        assert_eq!(said(&script, &package), (String::new(), vec![]));
    }
    let noted =
        "{\n  \"git\": {\n    \"sha1\": \"0123abcd\"\n  },\n  \"path_in_vcs\": \"subscriber\"\n}";
    std::fs::write(package.join(".cargo_vcs_info.json"), noted).unwrap();
    assert_eq!(said(&script, &package).0, "0123abcd");
    std::fs::write(package.join(".cargo_vcs_info.json"), "{}").unwrap();
    assert_eq!(said(&script, &package).0, "");
}

#[test]
fn a_clone_says_its_commit_and_what_changes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (script, package) = (script(folder.path()), package_in(&folder));
    if git(folder.path(), &["init", "-q"]).is_none() {
        return tests::skip("there is no git");
    }
    git(folder.path(), &["add", "subscriber"]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    let commit = || git(folder.path(), &["rev-parse", "HEAD"]).unwrap();
    let looked_at = |files: &[PathBuf]| -> Vec<Vec<u8>> {
        files
            .iter()
            .map(|file| std::fs::read(file).unwrap())
            .collect()
    };
    let (first, files) = said(&script, &package);
    assert_eq!(first, commit());
    let before = looked_at(&files);
    git(
        folder.path(),
        &["commit", "-q", "--allow-empty", "-m", "two"],
    );
    assert_ne!(looked_at(&files), before, "a commit is a change: {files:?}");
    let (second, files) = said(&script, &package);
    assert_eq!(second, commit());
    assert_ne!(first, second);
    // Another one is checked out, packed, and in a tree of its own.
    let before = looked_at(&files);
    git(folder.path(), &["checkout", "-q", &first]);
    assert_ne!(
        looked_at(&files),
        before,
        "so is another one that is checked out: {files:?}"
    );
    assert_eq!(said(&script, &package).0, first);
    git(folder.path(), &["checkout", "-q", "-b", "packed"]);
    git(folder.path(), &["pack-refs", "--all"]);
    let (_, files) = said(&script, &package);
    let before = looked_at(&files);
    git(
        folder.path(),
        &["commit", "-q", "--allow-empty", "-m", "packed"],
    );
    assert_ne!(
        looked_at(&files),
        before,
        "of a branch that was packed: {files:?}"
    );
    let tree = folder.path().join("tree");
    git(
        folder.path(),
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "other",
            tree.to_str().unwrap(),
            &second,
        ],
    );
    let (commit, files) = said(&script, &tree.join("subscriber"));
    assert_eq!(commit, second);
    let before = looked_at(&files);
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "three"]);
    assert_ne!(looked_at(&files), before, "in a tree of its own: {files:?}");
}
