//! What was probably meant by a name that there is not.

/// How much a name must be like another one to be taken for it, from 0 to 1: as clap has it for flags.
const LIKENESS: f64 = 0.7;

/// The name that is most like this one, if any is.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let likeness = |other: &&str| strsim::jaro(&name, &other.to_lowercase());
    let like = names.into_iter().map(|other| (likeness(&other), other));
    let best = like.filter(|(likeness, _)| *likeness > LIKENESS);
    best.max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// The question to ask whoever named a table that there is not.
pub fn meant_table(table: &str) -> Option<String> {
    let tables = common::tables().ok()?;
    let near = nearest(table, tables.iter().map(String::as_str))?;
    Some(format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_understood() {
        let names = ["prices", "routes", "processes", "id"];
        for (typed, meant) in [
            ("price", Some("prices")),
            ("PRICES", Some("prices")),
            ("rotues", Some("routes")),
            ("proceses", Some("processes")),
            ("di", None),
            ("weather", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
