//! Programs that are run by another user. Only root can be two users, so others skip such tests, and say so.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::clean::command;
use crate::skip;

/// The user `nobody`.
pub struct Stranger {
    /// Its user id.
    pub user: u32,
    /// Its own group.
    pub group: u32,
    /// Programs where a stranger may run them.
    directory: tempfile::TempDir,
}

impl Stranger {
    /// None, which is said, if this process cannot be somebody else.
    ///
    /// # Panics
    /// If there is no folder for the stranger's programs.
    pub fn new() -> Option<Self> {
        let nobody = User::from_name("nobody").ok().flatten();
        let Some(nobody) = nobody.filter(|_| geteuid().is_root()) else {
            skip("only root can run processes of another user");
            return None;
        };
        let directory = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))
            .expect("a folder of our own");
        Some(Self {
            user: nobody.uid.as_raw(),
            group: nobody.gid.as_raw(),
            directory,
        })
    }

    fn copy(&self, program: &Path) -> PathBuf {
        let name = program.file_name().expect("a program has a name");
        let copy = self.directory.path().join(name);
        if !copy.exists() {
            // By another process: one that another thread starts meanwhile would inherit the descriptor, and nobody can run
            // what somebody may still write to.
            let copied = command("cp").arg(program).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "a copy");
        }
        copy
    }

    /// The same command, run by the stranger, in `group`.
    ///
    /// # Panics
    /// If its program cannot be copied to where the stranger may run it.
    pub fn runs(&self, theirs: &Command, group: u32) -> Command {
        let mut copy = command(self.copy(Path::new(theirs.get_program())));
        copy.args(theirs.get_args()).uid(self.user).gid(group);
        copy
    }
}
