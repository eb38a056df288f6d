//! Parses conditions, by recursive descent.
//!
//! ```text
//! any        = all { "or" all }
//! all        = one { "and" one }
//! one        = "not" one | "(" any ")" | comparison
//! comparison = FIELD [ "not" ] OPERATOR VALUE | FIELD [ "not" ] "in" "(" VALUE { "," VALUE } ")"
//! ```
//!
//! FIELD ends at a blank or at one of `= ! < > ~`, VALUE at a blank or at a parenthesis that it does
//! not open. Either may be quoted as `'…'` or `"…"`; a quote inside is then doubled. Words of the
//! grammar are recognized in any case of letters.

use std::ops::Range;

use super::super::diagnostic::wrong;
use cli::CliError;

/// Maximum depth of nested parentheses and `not`.
const MOST_NESTED: usize = 64;

/// A condition that is not bound to a schema.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) formula: Formula,
}

/// How comparisons are joined.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formula {
    /// The comparison with this index.
    Comparison(usize),
    Not(Box<Formula>),
    All(Vec<Formula>),
    Any(Vec<Formula>),
}

#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub field: Piece,
    pub operator: Operator,
    pub operator_at: Range<usize>,
    pub values: Vec<Piece>,
    /// True if the values are a list in parentheses.
    pub is_list: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub text: String,
    pub at: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains { ignores_case: bool },
    Starts { ignores_case: bool },
    Like { ignores_case: bool },
    Matches { ignores_case: bool },
    In,
}

const SYMBOLS: [(&str, Operator); 9] = [
    ("=", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    ("<=", Operator::AtMost),
    (">", Operator::Greater),
    (">=", Operator::AtLeast),
    ("~", Operator::Matches { ignores_case: false }),
    ("~*", Operator::Matches { ignores_case: true }),
];
const WORDS: [(&str, Operator); 7] = [
    ("contains", Operator::Contains { ignores_case: false }),
    ("icontains", Operator::Contains { ignores_case: true }),
    ("starts", Operator::Starts { ignores_case: false }),
    ("istarts", Operator::Starts { ignores_case: true }),
    ("like", Operator::Like { ignores_case: false }),
    ("ilike", Operator::Like { ignores_case: true }),
    ("in", Operator::In),
];
const NAMES: &str = "= != < <= > >= ~ ~* contains icontains starts istarts like ilike in, or one of these words after not";

impl Condition {
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let mut parser = Parser { text, at: 0, nested: 0, comparisons: Vec::new() };
        let formula = parser.any()?;
        if parser.rest().starts_with(')') {
            return Err(parser.refuse("no parenthesis is open here", parser.at..parser.at + 1));
        }
        Ok(Self { text: text.to_owned(), comparisons: parser.comparisons, formula })
    }

    /// Returns the name of the first field.
    pub fn field_name(&self) -> &str {
        &self.comparisons[0].field.text
    }

    /// Returns an error that points at a part of the condition.
    pub(super) fn wrong(&self, at: &Range<usize>, message: &str) -> CliError {
        wrong(&format!("--where: {message}"), &self.text, at.clone())
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Position of the next token, after blanks.
    at: usize,
    nested: usize,
    comparisons: Vec<Comparison>,
}

impl<'t> Parser<'t> {
    fn any(&mut self) -> Result<Formula, CliError> {
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Formula::Any(parts) })
    }

    fn all(&mut self) -> Result<Formula, CliError> {
        let mut parts = vec![self.one()?];
        while self.word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Formula::All(parts) })
    }

    fn one(&mut self) -> Result<Formula, CliError> {
        self.advance(0);
        let start = self.at;
        self.nested += 1;
        if self.nested > MOST_NESTED {
            let what = format!("more than {MOST_NESTED} nested parentheses and not");
            return Err(self.refuse(&what, start..start));
        }
        let formula = if self.symbol('(') {
            let inner = self.any()?;
            if !self.symbol(')') {
                return Err(self.refuse("this parenthesis is not closed", start..start + 1));
            }
            inner
        } else if self.word("not") {
            Formula::Not(Box::new(self.one()?))
        } else {
            self.comparison()?
        };
        self.nested -= 1;
        Ok(formula)
    }

    fn comparison(&mut self) -> Result<Formula, CliError> {
        let field = self.piece(|_, letter| letter.is_whitespace() || is_symbol(letter))?;
        if field.at.is_empty() {
            return Err(self.refuse("a field's name is missing here", field.at));
        }
        let is_negated = self.word("not");
        let (operator, operator_at) = self.operator(is_negated)?;
        let mut values = Vec::new();
        let list_at = self.at;
        let is_list = operator == Operator::In && self.symbol('(');
        if is_list {
            loop {
                values.push(self.value(true)?);
                if !self.symbol(',') {
                    break;
                }
            }
            if !self.symbol(')') {
                return Err(self.refuse("this list is not closed", list_at..list_at + 1));
            }
        } else {
            values.push(self.value(false)?);
        }
        self.comparisons.push(Comparison { field, operator, operator_at, values, is_list });
        let formula = Formula::Comparison(self.comparisons.len() - 1);
        Ok(if is_negated { Formula::Not(Box::new(formula)) } else { formula })
    }

    fn operator(&mut self, is_negated: bool) -> Result<(Operator, Range<usize>), CliError> {
        let rest = self.rest();
        let is_of_symbols = rest.starts_with(is_symbol);
        let end = match is_of_symbols {
            true => rest.find(|letter| !is_symbol(letter) && letter != '*'),
            false => rest.find(|letter: char| letter.is_whitespace() || letter == '('),
        };
        let name = &rest[..end.unwrap_or(rest.len())];
        let at = self.at..self.at + name.len();
        let found = match is_of_symbols && !is_negated {
            true => SYMBOLS.iter().find(|(symbol, _)| *symbol == name),
            false => WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)),
        };
        let Some((_, operator)) = found else {
            let what =
                if name.is_empty() { "an operator is missing here" } else { "not an operator" };
            return Err(self.refuse(&format!("{what}: use {NAMES}"), at));
        };
        self.advance(name.len());
        Ok((*operator, at))
    }

    /// Parses a value, after which the comparison or the item of the list must end.
    fn value(&mut self, is_in_list: bool) -> Result<Piece, CliError> {
        let is_quoted = self.rest().starts_with(['\'', '"']);
        let value = self.piece(|depth, letter| {
            letter.is_whitespace() || letter == ')' && depth == 0 || letter == ',' && is_in_list
        })?;
        if value.at.is_empty() {
            let what = "a value is missing here: write \"\" for an empty text";
            return Err(self.refuse(what, value.at));
        }
        let ends = match is_in_list {
            true => self.rest().starts_with([',', ')']) || self.rest().is_empty(),
            false => {
                let (at, joined) = (self.at, self.word("and") || self.word("or"));
                self.at = at;
                joined || self.rest().is_empty() || self.rest().starts_with(')')
            }
        };
        if !ends {
            let what = match is_quoted {
                true => "text after the closing quote: double a quote that is part of the value",
                false => "text after the value: quote a value of several words",
            };
            let what = format!("{what}, or join conditions by and, or");
            return Err(self.refuse(&what, self.at..self.text.trim_end().len()));
        }
        Ok(value)
    }

    /// Parses a quoted piece, or the text before the first letter for which `ends` returns true. Its
    /// other argument is the number of parentheses that the text has opened.
    fn piece(&mut self, ends: impl Fn(usize, char) -> bool) -> Result<Piece, CliError> {
        let (start, rest) = (self.at, self.rest());
        let Some(quote) = rest.chars().next().filter(|letter| "'\"".contains(*letter)) else {
            let mut depth = 0;
            let end = rest.find(|letter| {
                let is_end = ends(depth, letter);
                match letter {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                is_end
            });
            let end = end.unwrap_or(rest.len());
            self.advance(end);
            return Ok(Piece { text: rest[..end].to_owned(), at: start..start + end });
        };
        let mut text = String::new();
        let mut letters = rest.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != quote {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.advance(at + 1);
                return Ok(Piece { text, at: start..start + at + 1 });
            }
        }
        Err(self.refuse("this quote is not closed", start..start + 1))
    }

    /// Skips a word of the grammar, if it is next. A field of that name is followed by an operator.
    fn word(&mut self, word: &str) -> bool {
        let Some((found, rest)) = self.rest().split_at_checked(word.len()) else { return false };
        let is_whole = rest.is_empty()
            || rest
                .starts_with(|after: char| after.is_whitespace() || after == '(' || after == ')');
        let is_found = found.eq_ignore_ascii_case(word)
            && is_whole
            && !rest.trim_start().starts_with(is_symbol);
        if is_found {
            self.advance(word.len());
        }
        is_found
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let is_found = self.rest().starts_with(symbol);
        if is_found {
            self.advance(symbol.len_utf8());
        }
        is_found
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Moves on by `length` bytes, and over the blanks there.
    fn advance(&mut self, length: usize) {
        let after = &self.text[self.at + length..];
        self.at = self.text.len() - after.trim_start().len();
    }

    fn refuse(&self, what: &str, at: Range<usize>) -> CliError {
        wrong(&format!("--where: {what}"), self.text, at)
    }
}

fn is_symbol(letter: char) -> bool {
    "=!<>~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_parsed() {
        let cases = [
            ("price>1.5", "price", Operator::Greater, "1.5"),
            (" price  <= -1 ", "price", Operator::AtMost, "-1"),
            ("'lot size' == 7", "lot size", Operator::Equal, "7"),
            ("name = 'a b  c' ", "name", Operator::Equal, "a b  c"),
            ("name != ' a '", "name", Operator::Unequal, " a "),
            ("name='it''s'", "name", Operator::Equal, "it's"),
            ("name = it's", "name", Operator::Equal, "it's"),
            ("name = \"\"", "name", Operator::Equal, ""),
            ("name contains =", "name", Operator::Contains { ignores_case: false }, "="),
            ("name ILIKE *.log", "name", Operator::Like { ignores_case: true }, "*.log"),
            ("name ~ ^(a|b)$", "name", Operator::Matches { ignores_case: false }, "^(a|b)$"),
            ("name~*x", "name", Operator::Matches { ignores_case: true }, "x"),
            ("net in 10.0.0.0/8", "net", Operator::In, "10.0.0.0/8"),
            ("in in in", "in", Operator::In, "in"),
            ("not = and", "not", Operator::Equal, "and"),
            ("size(kb) = 5", "size(kb)", Operator::Equal, "5"),
            ("((n = 5))", "n", Operator::Equal, "5"),
        ];
        for (text, field, operator, value) in cases {
            let read = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let [comparison] = &read.comparisons[..] else { panic!("{text}: {read:?}") };
            let values: Vec<&str> = comparison.values.iter().map(|one| one.text.as_str()).collect();
            assert_eq!(
                (comparison.field.text.as_str(), comparison.operator, &values[..]),
                (field, operator, &[value][..]),
                "{text}"
            );
            assert_eq!(read.formula, Formula::Comparison(0), "{text}");
        }
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        use Formula::{All, Any, Comparison, Not};
        let formula = |text: &str| Condition::parse(text).unwrap().formula;
        let not = |inner| Not(Box::new(inner));
        let [a, b, c] = [0, 1, 2].map(Comparison);
        assert_eq!(
            formula("a=1 or b=2 and c=3"),
            Any(vec![a.clone(), All(vec![b.clone(), c.clone()])])
        );
        assert_eq!(
            formula("(a=1 OR b=2) And(c=3)"),
            All(vec![Any(vec![a.clone(), b.clone()]), c.clone()])
        );
        assert_eq!(
            formula("not a=1 and not(b=2 or c=3)"),
            All(vec![not(a.clone()), not(Any(vec![b.clone(), c.clone()]))])
        );
        assert_eq!(formula("a not in (1, 2) and b not like x"), All(vec![not(a), not(b)]));
        let list = Condition::parse("a in (1,'x, y' ,(2) )").unwrap();
        let values: Vec<&str> =
            list.comparisons[0].values.iter().map(|value| value.text.as_str()).collect();
        assert_eq!(values, ["1", "x, y", "(2)"]);
    }

    #[test]
    fn parse_errors_mark_the_wrong_part() {
        let deep = "(".repeat(65);
        let marks_of_deep = format!("{}^", " ".repeat(64));
        let deep_to_the_end = "(".repeat(64);
        let deep_to_a_wide_letter = format!("{}ä = 1", "not ".repeat(64));
        let marks_of_wide_letter = format!("{}^", " ".repeat(256));
        let cases = [
            ("", "name is missing", "^"),
            ("= 7", "name is missing", "^"),
            ("price", "operator is missing", "     ^"),
            ("price =< 7", "not an operator", "      ^^"),
            ("price likes 7", "not an operator", "      ^^^^^"),
            ("price not = 7", "not an operator", "      ^^^"),
            ("price > ", "value is missing", "        ^"),
            ("'price > 7", "not closed", "^"),
            ("name = 'a' b", "after the closing quote", "           ^"),
            ("name = New York", "quote a value of several words", "           ^^^^"),
            ("name = seven or eight", "operator is missing", "                     ^"),
            ("(a = 1", "parenthesis is not closed", "^"),
            ("a = 1)", "no parenthesis is open", "     ^"),
            ("a in (1, 2", "list is not closed", "     ^"),
            ("a in (1 2)", "quote a value", "        ^^"),
            ("a in ()", "value is missing", "      ^"),
            ("a = 1 and", "name is missing", "         ^"),
            (&deep, "nested", &marks_of_deep),
            (&deep_to_the_end, "nested", &marks_of_deep),
            (&deep_to_a_wide_letter, "nested", &marks_of_wide_letter),
        ];
        for (text, part, marks) in cases {
            let failure = Condition::parse(text).unwrap_err();
            let message = failure.to_string();
            let lines: Vec<&str> = message.lines().collect();
            assert_eq!((failure.code(), lines.len()), (2, 3), "{message}");
            assert!(lines[0].contains(part), "{message}");
            assert_eq!(lines[2].strip_prefix("  "), Some(marks), "{message}");
        }
    }
}
