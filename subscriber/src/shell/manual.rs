//! Man pages, one for the program and one for each subcommand: the text of `--help` (by
//! `clap_mangen`), followed by the usual sections of a page: EXIT STATUS, ENVIRONMENT, FILES,
//! EXAMPLES, SEE ALSO.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use roff::{Inline, Roff, bold, roman};

use super::CliError;

/// `man`.
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Write this program's page and those of its subcommands into this directory, which is made if need be
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

/// Content of a program's pages that is not in its arguments.
pub struct Pages {
    /// Exit codes of the program besides 0, 1 and 2.
    pub exit_codes: &'static [u8],
    /// Subcommands (an empty name is the program itself) with example command lines and their
    /// descriptions.
    pub examples: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    /// Related pages.
    pub see_also: &'static [&'static str],
}

const EXIT_CODES: [(u8, &str); 6] = [
    (
        0,
        "Done. Also if the reader of the output went away, and at Ctrl-C or SIGTERM.",
    ),
    (
        1,
        "Not found, a time that was over, a limit of the system, or a permission.",
    ),
    (2, "Wrong arguments."),
    (3, "Another publisher holds the table."),
    (
        4,
        "The table has another schema, or another layout, than was asked for.",
    ),
    (
        5,
        "Bad or unreadable input; the file and the line are told.",
    ),
];

const FILES: [(&str, &str); 5] = [
    (
        "/dev/shm/tablecast.table.NAME",
        "The table NAME: its schema and its rows. It stays when its publisher is killed.",
    ),
    (
        "/dev/shm/tablecast.lock.NAME",
        "Who holds its lock is the table's publisher.",
    ),
    (
        "/dev/shm/tablecast.next.NAME",
        "A new table, for the instant before it takes the name.",
    ),
    (
        "/dev/shm/tablecast.subs.ID",
        "Who wants to be woken by the publisher, a slot each.",
    ),
    (
        "/dev/mqueue/tablecast.wake.ID.SLOT.NONCE",
        "The message queue that wakes one of them.",
    ),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "NO_COLOR",
        "If set and not empty, no colours unless --color asks for them.",
    ),
    (
        "CLICOLOR_FORCE",
        "If set and not 0, colours also where there is no terminal.",
    ),
    ("CLICOLOR", "If 0, no colours."),
    ("TERM", "If dumb, no colours."),
    (
        "COLUMNS",
        "The width that tables are fitted to on a terminal.",
    ),
    (
        "RUST_LOG",
        "What is logged on stderr, instead of what -v says: warn, info, debug, trace.",
    ),
];

impl Manual {
    /// Prints the page of a program, or writes all its pages into the directory.
    ///
    /// # Errors
    /// A directory or file cannot be written.
    pub fn run(&self, command: Command, pages: &Pages) -> Result<(), CliError> {
        let page = Page::of(command, pages);
        let Some(directory) = &self.directory else {
            io::stdout().write_all(page.text()?.as_bytes())?;
            return Ok(());
        };
        fs::create_dir_all(directory).map_err(|error| refused(directory, &error))?;
        page.write(directory)
    }
}

fn refused(path: &Path, error: &io::Error) -> CliError {
    let path = path.display();
    CliError::new(1, format!("cannot write man pages to {path}: {error}"))
}

/// A man page.
struct Page<'p> {
    command: Command,
    /// Name of the subcommand; empty for the program.
    name: String,
    pages: &'p Pages,
    program: String,
}

impl<'p> Page<'p> {
    fn of(mut command: Command, pages: &'p Pages) -> Self {
        // Each subcommand has a page, and `--help` lists the subcommands.
        command = command.disable_help_subcommand(true);
        command.build();
        let program = command.get_name().to_owned();
        let (name, pages) = (String::new(), pages);
        Self {
            command,
            name,
            pages,
            program,
        }
    }

    fn write(&self, directory: &Path) -> Result<(), CliError> {
        let path = directory.join(format!("{}.1", self.title()));
        fs::write(&path, self.text()?).map_err(|error| refused(&path, &error))?;
        self.subcommands().try_for_each(|subcommand| {
            let page = Page {
                name: subcommand.get_name().to_owned(),
                command: subcommand.clone(),
                program: self.program.clone(),
                pages: self.pages,
            };
            page.write(directory)
        })
    }

    fn subcommands(&self) -> impl Iterator<Item = &Command> {
        let subcommands = self.command.get_subcommands();
        subcommands.filter(|subcommand| !subcommand.is_hide_set())
    }

    fn title(&self) -> String {
        match self.name.as_str() {
            "" => self.program.clone(),
            name => format!("{}-{name}", self.program),
        }
    }

    fn text(&self) -> Result<String, CliError> {
        let source = format!("Tablecast {}", env!("CARGO_PKG_VERSION"));
        let man = Man::new(self.command.clone())
            .title(self.title().to_uppercase())
            .source(source)
            .manual("Tablecast");
        let mut text = Vec::new();
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        self.description().to_writer(&mut text)?;
        man.render_options_section(&mut text)?;
        if self.subcommands().next().is_some() {
            man.render_subcommands_section(&mut text)?;
        }
        self.ends().to_writer(&mut text)?;
        String::from_utf8(text)
            .map_err(|error| CliError::new(1, format!("cannot print the man page: {error}")))
    }

    fn description(&self) -> Roff {
        let mut roff = Roff::new();
        let about = self.command.get_long_about();
        if let Some(about) = about.or(self.command.get_about()) {
            section(&mut roff, "DESCRIPTION");
            prose(&mut roff, &about.to_string());
        }
        roff
    }

    /// Returns the last sections of the page.
    fn ends(&self) -> Roff {
        let mut roff = Roff::new();
        let notes = self.command.get_after_long_help();
        if let Some(notes) = notes.or(self.command.get_after_help()) {
            section(&mut roff, "NOTES");
            prose(&mut roff, &notes.to_string());
        }
        section(&mut roff, "EXIT STATUS");
        for (code, meaning) in EXIT_CODES {
            if code <= 2 || self.pages.exit_codes.contains(&code) {
                item(&mut roff, &code.to_string(), meaning);
            }
        }
        section(&mut roff, "ENVIRONMENT");
        let each = "Each option that has a long name can be given as an environment variable, too: --wake-at as \
                    TABLECAST_WAKE_AT. An option without a value is set by 1 or true. What is typed goes before.";
        roff.text([roman(each)]);
        for (variable, meaning) in ENVIRONMENT {
            item(&mut roff, variable, meaning);
        }
        section(&mut roff, "FILES");
        for (path, meaning) in FILES {
            item(&mut roff, path, meaning);
        }
        self.examples(&mut roff);
        section(&mut roff, "SEE ALSO");
        roff.text(self.see_also());
        roff
    }

    fn examples(&self, roff: &mut Roff) {
        let own = self
            .pages
            .examples
            .iter()
            .find(|(name, _)| *name == self.name);
        let Some((_, lines)) = own else {
            return;
        };
        section(roff, "EXAMPLES");
        for (line, what) in *lines {
            roff.control("PP", []).text([roman(*what)]);
            roff.control("PP", []).control("RS", ["4"]);
            as_it_stands(roff, line);
            roff.control("RE", []);
        }
    }

    /// Returns the links to the other pages of this program, then to related pages.
    fn see_also(&self) -> Vec<Inline> {
        let own = match self.name.as_str() {
            "" => self
                .subcommands()
                .map(|subcommand| format!("{}-{}", self.program, subcommand.get_name()))
                .collect(),
            _ => vec![self.program.clone()],
        };
        let others = self.pages.see_also.iter().map(|page| (*page).to_owned());
        let mut line = Vec::new();
        for page in own.into_iter().chain(others) {
            line.push(roman(if line.is_empty() { "" } else { ", " }));
            line.push(bold(page));
            line.push(roman("(1)"));
        }
        line.push(roman(", "));
        line.push(bold("shm_overview"));
        line.push(roman("(7), "));
        line.push(bold("mq_overview"));
        line.push(roman("(7)"));
        line
    }
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn item(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", [])
        .text([bold(name)])
        .text([roman(meaning)]);
}

/// Adds paragraphs of help text: lines are filled, except those that are indented.
fn prose(roff: &mut Roff, text: &str) {
    for line in text.lines() {
        if line.trim().is_empty() {
            roff.control("PP", []);
        } else if line.starts_with(' ') {
            as_it_stands(roff, line);
        } else {
            roff.control("br", []).text([roman(line)]);
        }
    }
}

/// Adds lines that are not filled.
fn as_it_stands(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
