//! What the man pages say that `--help` does not.

use subscriber::shell::manual::Pages;

/// What the man pages say besides.
pub const PAGES: Pages = Pages {
    exit_codes: &[3, 4, 5],
    examples: &[
        (
            "",
            &[
                (
                    "publisher serve processes --from processes",
                    "Publish a table, in one terminal:",
                ),
                ("subscriber watch processes", "and follow it in another:"),
                ("publisher demo", "Or both in one:"),
            ],
        ),
        (
            "serve",
            &[
                (
                    "publisher serve processes --from processes --every 1s",
                    "The processes of this machine, looked at every second:",
                ),
                (
                    "publisher serve prices --from prices.csv",
                    "A file, as long as it is followed:",
                ),
                (
                    "echo '{\"id\":1,\"price\":9.5}' | publisher serve prices --from - --fields id:u64,price:f64",
                    "Rows from another program:",
                ),
            ],
        ),
        (
            "demo",
            &[("publisher demo --seconds 10", "For ten seconds:")],
        ),
        (
            "rm",
            &[
                (
                    "publisher rm prices",
                    "Remove what a publisher left that was killed:",
                ),
                (
                    "publisher rm --orphans",
                    "Remove all that belongs to no table:",
                ),
            ],
        ),
        (
            "completions",
            &[(
                "echo 'source <(publisher completions bash)' >> ~/.bashrc",
                "For each bash from now on:",
            )],
        ),
        (
            "man",
            &[("publisher man | man -l -", "Read the page of the program:")],
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
    fn examples_of_the_manual_are_understood() {
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
