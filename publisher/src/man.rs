//! The parts of the man pages that `--help` does not have.

use subscriber::shell::manual::Pages;

/// Exit codes, examples and references of the man pages.
pub const PAGES: Pages = Pages {
    exit_codes: &[3, 4, 5],
    examples: &[
        (
            "",
            &[
                (
                    "publisher serve processes --from processes",
                    "Publish a table in one terminal:",
                ),
                ("subscriber watch processes", "and follow it in another:"),
                ("publisher demo", "Or run both in one terminal:"),
            ],
        ),
        (
            "serve",
            &[
                (
                    "publisher serve processes --from processes --every 1s",
                    "Publish the processes of this machine, read every second:",
                ),
                (
                    "publisher serve prices --from prices.csv",
                    "Publish a file and follow its changes:",
                ),
                (
                    "echo '{\"id\":1,\"price\":9.5}' | publisher serve prices --from - --fields id:u64,price:f64",
                    "Publish rows from another program:",
                ),
            ],
        ),
        (
            "demo",
            &[("publisher demo --seconds 10", "Run for ten seconds:")],
        ),
        (
            "rm",
            &[
                (
                    "publisher rm prices",
                    "Remove the table of a publisher that was killed:",
                ),
                (
                    "publisher rm --orphans",
                    "Remove all orphans that belong to no table:",
                ),
            ],
        ),
        (
            "completions",
            &[(
                "echo 'source <(publisher completions bash)' >> ~/.bashrc",
                "Enable completion in each new bash:",
            )],
        ),
        (
            "man",
            &[(
                "publisher man | man -l -",
                "Read the manual of the program:",
            )],
        ),
    ],
    see_also: &["subscriber"],
};

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    #[test]
    fn examples_of_the_man_pages_parse() {
        let lines = PAGES.examples.iter().flat_map(|(_, lines)| *lines);
        let own =
            lines.filter(|(line, _)| line.starts_with("publisher ") && !line.contains(['\'', '|']));
        let mut count = 0;
        for (line, _) in own {
            count += 1;
            assert!(Args::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(count > 4);
    }
}
