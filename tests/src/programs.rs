//! The programs of this workspace, built during this run and located by the output of cargo.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::SKIPPED;
use crate::clean::{command, inheriting};

/// Returns a clean command for the `publisher`.
pub fn publisher() -> Command {
    command(built("publisher"))
}

/// Returns a clean command for the `subscriber`.
pub fn subscriber() -> Command {
    command(built("subscriber"))
}

/// Returns a clean command for an example of `common`.
///
/// # Panics
/// If there is no such example.
pub fn example(name: &str) -> Command {
    command(built(name))
}

/// Returns a clean command for the role program at `path`. Use [`role!`](crate::role), which knows
/// the path.
pub fn role(path: &str) -> Command {
    let mut command = command(path);
    // A role may have to skip something, as a test may.
    if let Some(file) = std::env::var_os(SKIPPED) {
        command.env(SKIPPED, file);
    }
    command
}

/// Returns the command that runs a role of `src/bin/role.rs`: `role!("ledger", name, 256)`.
#[macro_export]
macro_rules! role {
    ($($argument:expr),+ $(,)?) => {{
        let mut command = $crate::programs::role(env!("CARGO_BIN_EXE_role"));
        $(command.arg($argument.to_string());)+
        command
    }};
}

/// Returns the folder of the libraries for C, `libtablecast.so` and `libtablecast.a`, which were
/// built in the profile of these tests.
///
/// # Panics
/// If they cannot be built.
pub fn libraries() -> PathBuf {
    let messages = build(&["--lib", "--examples"]);
    let message = messages.iter().find(|message| message["target"]["name"] == "tablecast");
    let file = message.and_then(|message| message["filenames"][0].as_str());
    let folder = file.and_then(|file| Path::new(file).parent());
    folder.unwrap_or_else(|| panic!("cargo built no libtablecast: {message:?}")).to_owned()
}

fn built(name: &str) -> PathBuf {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let messages = build(&["--examples", "--bin", "publisher", "--bin", "subscriber"]);
        let executable = |message: &serde_json::Value| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        };
        messages.iter().filter_map(executable).collect()
    });
    let path = built.get(name);
    path.unwrap_or_else(|| panic!("cargo built {built:?}, and no {name}")).clone()
}

/// Builds some targets in the profile of these tests, and returns the messages of cargo. Older
/// files in the target directory are never used.
///
/// The whole workspace is named, so that crates get the same features as in `cargo test
/// --workspace`, and are not compiled a second time.
fn build(targets: &[&str]) -> Vec<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = inheriting(cargo)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(["--workspace", "--profile", profile()])
        .args(targets)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .expect("cargo can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo cannot build the programs:\n{errors}");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    messages.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}
