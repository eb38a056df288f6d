//! Completion as shells request it: by bash, and by the requests of the scripts of other shells.

use std::process::Command;

use tests::clean::command;
use tests::table::Table;

use super::{PROGRAMS, run, serve};
use tests::programs::{publisher, subscriber};

/// Returns the candidates that bash offers for the last word.
fn offered(mut program: Command, words: &[&str]) -> Vec<String> {
    let name = words[0];
    let path = program.get_program().to_owned();
    // The words are passed as arguments of bash, so that bash does not interpret them.
    let script = format!(
        r#"source <("$PROGRAM" completions bash) || exit 9
        function=$(complete -p {name}) || exit 8
        function=${{function##*-F }} function=${{function%% *}}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        "$function" {name} "${{COMP_WORDS[COMP_CWORD]#[\"\']}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}""#
    );
    // An empty directory, because file names are candidates too.
    let folder = tempfile::tempdir().unwrap();
    let mut bash = command("bash");
    bash.args(["--norc", "--noprofile", "-c", &script, "bash"]).current_dir(folder.path());
    for (variable, value) in program.env("PROGRAM", path).get_envs() {
        match value {
            Some(value) => bash.env(variable, value),
            None => bash.env_remove(variable),
        };
    }
    let (offered, _) = run(bash, words, 0);
    offered.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_tables_fields_and_keys() {
    let (table, other) = (Table::new("complete-me"), Table::new("complete-me"));
    let (_serving, _other) = (serve(&table), serve(&other));
    let (name, begun) = (table.name(), &table.name()[..table.name().len() - 1]);
    let both = offered(subscriber(), &["subscriber", "watch", begun]);
    for table in [table.name(), other.name()] {
        assert!(both.iter().any(|offered| offered == table), "{both:?}");
    }
    let offered = |words: &[&str]| {
        let line: Vec<&str> = [&["subscriber", "get", name], words].concat();
        offered(subscriber(), &line)
    };
    assert_eq!(offered(&["--fields", ""]), ["id", "price", "name"]);
    assert_eq!(offered(&["--fields", "price,n"]), ["price,name"]);
    // Without the quote, a user who continues with `> 5` would create a file named 5.
    let conditions = offered(&["--where", "pr"]);
    assert!(conditions.contains(&"'price >".to_owned()), "{conditions:?}");
    assert!(conditions.iter().all(|condition| condition.starts_with("'price ")));
    for quoted in ["'pr", "\"pr"] {
        let conditions = offered(&["--where", quoted]);
        assert!(conditions.contains(&"price >".to_owned()), "{conditions:?}");
        assert!(conditions.iter().all(|condition| condition.starts_with("price ")));
    }
    assert_eq!(offered(&["--sort", "price:desc,i"]), ["price:desc,id"]);
    assert_eq!(offered(&["--sort", "price:d"]), ["price:desc"]);
    assert_eq!(offered(&[""]).first().map(String::as_str), Some("1"));
    assert_eq!(offered(&["2"]), ["2"]);
    assert_eq!(offered(&["--format", "js"]), ["json", "jsonl"]);
    assert_eq!(offered(&["--nonsense", "x"]), Vec::<String>::new());
}

#[test]
fn bash_completes_wake_kinds_and_other_values() {
    let of_subscriber = |words: &[&str]| offered(subscriber(), &[&["subscriber"], words].concat());
    assert_eq!(of_subscriber(&["watch", "t", "--wake", "fu"]), ["futex"]);
    assert_eq!(of_subscriber(&["watch", "t", "--wake", "signal"]), ["signal", "signal:USR2"]);
    assert_eq!(of_subscriber(&["inf"]), ["info"]);
    assert_eq!(of_subscriber(&["completions", "z"]), ["zsh"]);
    let of_publisher = |words: &[&str]| offered(publisher(), &[&["publisher"], words].concat());
    assert_eq!(of_publisher(&["serve", "t", "--from", "pro"]), ["processes"]);
    assert_eq!(of_publisher(&["serve", "t", "--from", "com"]), ["command"]);
    assert_eq!(of_publisher(&["serve", "t", "--format", "col"]), ["columns"]);
    let subcommands = of_publisher(&[""]);
    assert!(subcommands.contains(&"serve".to_owned()), "{subcommands:?}");
    assert!(!subcommands.contains(&"__subscriber".to_owned()), "{subcommands:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.csv");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(of_publisher(&["serve", "t", "--from", &file[..file.len() - 5]]), [file]);
}

#[test]
fn bash_completes_table_owners() {
    let table = Table::new("complete-owner");
    let _serving = serve(&table);
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap();
    let Some(user) = user else {
        return tests::skip("this user has no name");
    };
    let owners = offered(subscriber(), &["subscriber", "ls", "--owner", &user.name[..1]]);
    assert!(owners.contains(&user.name), "{owners:?}");
}

#[test]
fn serve_and_rm_complete_only_tables_without_publisher() {
    let (dead, alive) = (Table::new("complete-dead"), Table::new("complete-alive"));
    let mut killed = serve(&dead);
    killed.process.signal(nix::sys::signal::Signal::SIGKILL);
    killed.process.end();
    let _alive = serve(&alive);
    for words in [["publisher", "rm", "complete-"], ["publisher", "serve", "complete-"]] {
        let tables = offered(publisher(), &words);
        assert!(tables.iter().any(|table| table == dead.name()), "{tables:?}");
        assert!(tables.iter().all(|table| table != alive.name()), "{tables:?}");
    }
}

#[test]
fn other_shells_get_described_candidates() {
    let table = Table::new("complete-others");
    let _serving = serve(&table);
    for shell in ["fish", "zsh", "elvish"] {
        let mut command = subscriber();
        command.env("TABLECAST_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "2");
        let (candidates, errors) = run(command, &["--", "subscriber", "info", table.name()], 0);
        assert!(candidates.contains(table.name()), "{shell}: {candidates}");
        assert!(shell == "elvish" || candidates.contains("2 rows"), "{shell}: {candidates}");
        assert_eq!(errors, "", "{shell}");
    }
}

#[test]
fn completion_script_of_each_shell_calls_the_program() {
    for (name, program) in PROGRAMS {
        let path = program().get_program().to_str().unwrap().to_owned();
        for shell in ["bash", "elvish", "fish", "zsh"] {
            let (script, errors) = run(program(), &["completions", shell], 0);
            assert!(script.contains(&path) && script.contains(name), "{shell}: {script}");
            assert!(script.contains("TABLECAST_COMPLETE"), "{shell}: {script}");
            assert_eq!(errors, "");
        }
        let (_, errors) = run(program(), &["completions", "tcsh"], 2);
        assert!(errors.contains("fish"), "{errors}");
        let mut command = program();
        command.env("TABLECAST_COMPLETE", "tcsh");
        let (_, errors) = run(command, &["--", name, ""], 2);
        assert!(errors.contains("tcsh"), "{errors}");
    }
}
