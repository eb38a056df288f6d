//! `man`: the man pages of a program and its subcommands, made from `--help` by `clap_mangen`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;

use crate::error::CliError;

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Write the pages of the program and of each subcommand to this directory, which is created
    /// if it does not exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Manual {
    /// Prints the page of a program, or writes all its pages to the directory.
    pub fn run(&self, command: Command) -> Result<(), CliError> {
        let command = command.disable_help_subcommand(true);
        let Some(directory) = &self.directory else {
            return Ok(Man::new(command).render(&mut io::stdout())?);
        };
        let written = fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory));
        written.map_err(|error| {
            let directory = directory.display();
            CliError::new(1, format!("cannot write man pages to {directory}: {error}"))
        })
    }
}
