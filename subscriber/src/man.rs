//! Content of the man pages that is not in `--help`.

use crate::shell::manual::Pages;

/// Exit codes, examples and related pages of `subscriber`.
pub const PAGES: Pages = Pages {
    exit_codes: &[4],
    examples: &[
        (
            "",
            &[
                (
                    "publisher serve processes --from processes",
                    "Publish a table, in one terminal:",
                ),
                ("subscriber watch processes", "and follow it in another:"),
                ("subscriber ls", "Which tables there are:"),
            ],
        ),
        (
            "watch",
            &[
                (
                    "subscriber watch routes",
                    "The routes of this machine, and then each change:",
                ),
                (
                    "subscriber watch prices --where 'price > 100' --fields id,price",
                    "Only what is dear:",
                ),
                (
                    "subscriber watch routes --format jsonl | jq .row",
                    "For another program, a line a change:",
                ),
                (
                    "subscriber watch routes -- sh -c 'jq .row | logger'",
                    "A command for each change, with the changed rows on its stdin:",
                ),
            ],
        ),
        (
            "get",
            &[
                (
                    "subscriber get prices --sort price:desc -n 10",
                    "The ten dearest:",
                ),
                (
                    "subscriber get prices 7 --format json",
                    "One row, by its key:",
                ),
                (
                    "subscriber get config --timeout 5s",
                    "As soon as there is such a table:",
                ),
            ],
        ),
        (
            "ls",
            &[(
                "subscriber ls --format json",
                "All tables, for another program:",
            )],
        ),
        (
            "info",
            &[(
                "subscriber info prices",
                "Schema, memory, publisher and each subscriber:",
            )],
        ),
        (
            "doctor",
            &[
                (
                    "subscriber doctor",
                    "What this machine lacks, and what to change:",
                ),
                ("subscriber doctor prices", "Why a table cannot be read:"),
            ],
        ),
        (
            "top",
            &[(
                "subscriber top processes --sort cpu_time_ns:desc",
                "A live picture of a table:",
            )],
        ),
        (
            "hz",
            &[
                (
                    "subscriber hz prices",
                    "Rate and delay, each second and in the end:",
                ),
                (
                    "subscriber hz prices --duration 1m --plot delay.svg",
                    "A minute of it, drawn:",
                ),
            ],
        ),
        (
            "completions",
            &[
                (
                    "echo 'source <(subscriber completions bash)' >> ~/.bashrc",
                    "For each bash from now on:",
                ),
                (
                    "echo 'source <(subscriber completions zsh)' >> ~/.zshrc",
                    "For each zsh, where compinit stands before it:",
                ),
                (
                    "echo 'subscriber completions fish | source' >> ~/.config/fish/config.fish",
                    "For each fish:",
                ),
            ],
        ),
        (
            "man",
            &[
                ("subscriber man | man -l -", "Read the page of the program:"),
                (
                    "subscriber man ~/.local/share/man/man1",
                    "Have all pages where man finds them:",
                ),
            ],
        ),
    ],
    see_also: &["publisher"],
};

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    #[test]
    fn examples_of_the_manual_are_understood() {
        let lines = PAGES.examples.iter().flat_map(|(_, lines)| *lines);
        let own = lines
            .filter(|(line, _)| line.starts_with("subscriber ") && !line.contains(['\'', '|']));
        let mut count = 0;
        for (line, _) in own {
            count += 1;
            assert!(Args::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(count > 4);
    }
}
