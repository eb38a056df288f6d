//! Suggests an existing name for a misspelled one.

/// Similarity that a suggestion must exceed, from 0 to 1. clap uses the same value for flags.
const MIN_SIMILARITY: f64 = 0.7;

/// Returns the name that is most similar to `name`, if any is similar enough.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let scored = names.into_iter().map(|other| (strsim::jaro(&name, &other.to_lowercase()), other));
    let similar = scored.filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}

/// Returns a question that suggests an existing table for a missing one.
pub fn suggest_table(table: &str) -> Option<String> {
    let tables = common::tables().ok()?;
    let near = nearest(table, tables.iter().map(String::as_str))?;
    Some(format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_names_get_a_suggestion() {
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
