//! Programs that run as another user. Only root can run processes of two users; other users skip
//! such tests, which is reported.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::clean::command;
use crate::skip;

/// The user `nobody`.
pub struct OtherUser {
    /// User id of `nobody`.
    pub user: u32,
    /// Primary group of `nobody`.
    pub group: u32,
    /// Directory with copies of programs that `nobody` may run.
    directory: tempfile::TempDir,
}

impl OtherUser {
    /// Returns the user `nobody`. Skips the test and returns None if this process cannot switch
    /// users.
    ///
    /// # Panics
    /// If there is no directory for the programs.
    pub fn new() -> Option<Self> {
        let nobody = User::from_name("nobody").ok().flatten();
        let Some(nobody) = nobody.filter(|_| geteuid().is_root()) else {
            skip("only root can run processes of another user");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))
            .expect("a private directory");
        Some(Self { user: nobody.uid.as_raw(), group: nobody.gid.as_raw(), directory })
    }

    fn copy(&self, program: &Path) -> PathBuf {
        let name = program.file_name().expect("a program has a name");
        let copy = self.directory.path().join(name);
        if !copy.exists() {
            // Another process makes the copy. If this process did, a child that another thread
            // starts in the meantime would inherit the descriptor, and a file that is open for
            // writing cannot be executed.
            let copied = command("cp").arg(program).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "the program was copied");
        }
        copy
    }

    /// Returns the same command, run by `nobody` in `group`.
    ///
    /// # Panics
    /// If its program cannot be copied to where `nobody` may run it.
    pub fn runs(&self, theirs: &Command, group: u32) -> Command {
        let mut copy = command(self.copy(Path::new(theirs.get_program())));
        copy.args(theirs.get_args()).uid(self.user).gid(group);
        copy
    }
}
