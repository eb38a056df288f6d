//! Man pages: one per program and subcommand, with the usual sections.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tests::clean::command;

use super::{PROGRAMS, run};

const SECTIONS: [&str; 4] = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"];

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the subcommands that `--help` lists.
pub fn subcommands(program: Command) -> Vec<String> {
    let (help, _) = run(program, &["--help"], 0);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_subcommand_has_a_page() {
    for (name, program) in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/man1");
        let (stdout, stderr) = run(program(), &["man", folder.to_str().unwrap()], 0);
        assert_eq!((stdout, stderr), (String::new(), String::new()));
        let mut expected: BTreeSet<String> = subcommands(program())
            .iter()
            .map(|subcommand| format!("{name}-{subcommand}.1"))
            .collect();
        assert!(expected.len() > 3, "{expected:?}");
        expected.insert(format!("{name}.1"));
        assert_eq!(names(&folder), expected);
        for page in expected {
            let text = std::fs::read_to_string(folder.join(&page)).unwrap();
            for section in SECTIONS {
                let heading = format!(".SH {section}\n");
                assert!(text.contains(&heading), "{page} has no {section}:\n{text}");
            }
            is_well_formed(&text, &page);
        }
        let (page, _) = run(program(), &["man"], 0);
        assert_eq!(page, std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap());
    }
}

/// Asserts that groff prints no warning, if groff is installed.
fn is_well_formed(text: &str, page: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(page);
    std::fs::write(&path, text).unwrap();
    let groff =
        command("groff").args(["-man", "-Kutf8", "-Tutf8", "-ww", "-rLL=100n"]).arg(&path).output();
    let Ok(groff) = groff else {
        return tests::skip("groff is not installed");
    };
    let complaints = String::from_utf8_lossy(&groff.stderr);
    assert!(groff.status.success() && complaints.is_empty(), "{page}: {complaints}");
}

#[test]
fn uncreatable_directory_of_pages_is_an_error() {
    for (_, program) in PROGRAMS {
        let (_, errors) = run(program(), &["man", "/proc/pages"], 1);
        assert!(errors.contains("/proc/pages"), "{errors}");
    }
}
