//! Check of whether a login manager removes this user's tables at logout: `RemoveIPC=` of
//! systemd-logind, on by default. System users are exempt.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::check::Report;

/// Default first user ID of people; smaller IDs are system users.
const FIRST_PERSON: u32 = 1000;

/// Folders with settings, in ascending priority.
const FOLDERS: [&str; 4] = [
    "/usr/lib/systemd",
    "/usr/local/lib/systemd",
    "/run/systemd",
    "/etc/systemd",
];

/// State of the login manager.
pub struct Logout {
    user: u32,
    /// True if a login manager runs.
    is_managed: bool,
    /// Value of `RemoveIPC`, if it is set.
    removes: Option<bool>,
}

impl Logout {
    /// Reads the settings.
    pub fn look() -> Self {
        Self {
            user: geteuid().as_raw(),
            is_managed: Path::new("/run/systemd/seats").is_dir(),
            removes: setting(&FOLDERS.map(PathBuf::from)),
        }
    }

    /// Returns the result of the check.
    pub fn check(&self) -> Report {
        let (check, user) = ("logout", self.user);
        if !self.is_managed {
            return Report::ok(check, "no login manager runs here");
        }
        match (self.user, self.removes) {
            (..FIRST_PERSON, _) => Report::ok(
                check,
                format!("user {user} is one of the system, whose tables stay"),
            ),
            (_, Some(false)) => Report::ok(check, "tables stay (RemoveIPC=no)"),
            (_, removes) => Report::warning(
                check,
                format!(
                    "the login manager removes what user {user} has in /dev/shm with the last session (RemoveIPC={})",
                    removes.map_or("yes unless built otherwise", |_| "yes"),
                ),
                "RemoveIPC=no below [Login] in /etc/systemd/logind.conf.d/tablecast.conf, then systemctl restart systemd-logind; \
                 or publish as a system user; or loginctl enable-linger",
            ),
        }
    }
}

/// Returns the effective setting. Later folders override earlier ones.
fn setting(folders: &[PathBuf]) -> Option<bool> {
    let main = folders
        .iter()
        .rev()
        .map(|folder| folder.join("logind.conf"))
        .find(|path| path.exists());
    // Drop-ins are ordered by name, and a drop-in replaces one of the same name in an earlier
    // folder.
    let mut parts = BTreeMap::<OsString, PathBuf>::new();
    for folder in folders {
        let entries = fs::read_dir(folder.join("logind.conf.d"));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|it| it == "conf") {
                parts.insert(entry.file_name(), entry.path());
            }
        }
    }
    let files = main.into_iter().chain(parts.into_values());
    let words = files.filter_map(|path| last(&fs::read_to_string(path).ok()?));
    words.fold(None, |_, word| Some(word))
}

/// Returns the last valid setting in a file.
fn last(text: &str) -> Option<bool> {
    let mut is_login = false;
    let mut said = None;
    for line in text.lines().map(str::trim) {
        match line.split_once('=') {
            _ if line.starts_with('[') => is_login = line == "[Login]",
            Some((name, value)) if is_login && name.trim_end() == "RemoveIPC" => {
                said = match value.trim().to_ascii_lowercase().as_str() {
                    "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
                    "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
                    _ => said,
                };
            }
            _ => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn people_are_warned_unless_removal_is_off() {
        for (user, is_managed, removes, state) in [
            (1000, true, None, State::Warning),
            (1000, true, Some(true), State::Warning),
            (1000, true, Some(false), State::Ok),
            (1000, false, Some(true), State::Ok),
            (999, true, Some(true), State::Ok),
            (0, true, None, State::Ok),
        ] {
            let logout = Logout {
                user,
                is_managed,
                removes,
            };
            let report = logout.check();
            assert_eq!(report.state, state, "{report:?}");
        }
    }

    #[test]
    fn last_setting_in_login_section_applies() {
        for (text, expected) in [
            ("", None),
            ("[Login]\n#RemoveIPC=no\n", None),
            ("[Login]\nRemoveIPC=no\n", Some(false)),
            ("[Login]\n RemoveIPC = Yes\nRemoveIPC=maybe\n", Some(true)),
            ("[Login]\nRemoveIPC=no\nRemoveIPC=on\n", Some(true)),
            ("[Other]\nRemoveIPC=no\n", None),
            ("RemoveIPC=no\n", None),
        ] {
            assert_eq!(last(text), expected, "{text:?}");
        }
    }

    #[test]
    fn drop_ins_override_by_name_and_folder() {
        let root = std::env::temp_dir().join(format!("tablecast-logind-{}", std::process::id()));
        let folders = ["usr", "etc"].map(|folder| root.join(folder));
        let write = |path: &str, value: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("[Login]\nRemoveIPC={value}\n")).unwrap();
        };
        let mut said = vec![setting(&folders)];
        for (path, value) in [
            ("usr/logind.conf", "no"),
            ("etc/logind.conf", "yes"),
            ("usr/logind.conf.d/50.conf", "no"),
            ("etc/logind.conf.d/10.conf", "yes"),
            ("etc/logind.conf.d/50.conf", "yes"),
            ("etc/logind.conf.d/90.txt", "no"),
        ] {
            write(path, value);
            said.push(setting(&folders));
        }
        fs::remove_dir_all(&root).unwrap();
        let expected = [
            None,
            Some(false),
            Some(true),
            Some(false),
            Some(false),
            Some(true),
            Some(true),
        ];
        assert_eq!(said, expected);
    }
}
