//! Figures, and the table of them.

/// Unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time in nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// A quotient.
    Ratio,
}

impl Unit {
    fn show(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Self::Time => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
            Self::Bytes => &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")],
            Self::Count => &[(1.0, "")],
            Self::Ratio if value < 0.1 => return format!("{value:.4}"),
            Self::Ratio => return format!("{value:.2}"),
        };
        let smallest = steps[steps.len() - 1];
        let (size, name) = steps.iter().find(|(size, _)| value >= *size).unwrap_or(&smallest);
        let value = value / size;
        match value {
            100.0.. => format!("{value:.0}{name}"),
            10.0.. => format!("{value:.1}{name}"),
            _ => format!("{value:.2}{name}"),
        }
    }
}

/// A figure of a run.
#[derive(Clone, Debug)]
pub struct Figure {
    subject: String,
    unit: Unit,
    /// The median, or the only value.
    value: f64,
    p99: Option<f64>,
    /// Maximum value of the goal.
    bar: Option<f64>,
}

impl Figure {
    /// A single value.
    pub fn new(subject: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self { subject: subject.into(), unit, value, p99: None, bar: None }
    }

    /// Median and 99th percentile of times in nanoseconds.
    ///
    /// # Panics
    /// There are no samples.
    pub fn times(subject: impl Into<String>, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let quantile = |share: f64| samples[(samples.len() as f64 * share).ceil() as usize - 1];
        let p99 = Some(quantile(0.99));
        Self { p99, ..Self::new(subject, Unit::Time, quantile(0.5)) }
    }

    /// Sets the maximum value of the goal.
    pub fn at_most(self, bar: f64) -> Self {
        Self { bar: Some(bar), ..self }
    }

    /// Returns the median, or the only value.
    pub fn value(&self) -> f64 {
        self.value
    }
}

/// Returns the median of each figure over several runs.
pub fn medians(runs: Vec<Vec<Figure>>) -> Vec<Figure> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let first = runs.first().cloned().unwrap_or_default();
    let of_run = |at: usize| runs.iter().filter_map(move |run| run.get(at));
    let figures = first.into_iter().enumerate().map(|(at, figure)| Figure {
        value: median(of_run(at).map(|one| one.value).collect()).unwrap_or(figure.value),
        p99: median(of_run(at).filter_map(|one| one.p99).collect()),
        ..figure
    });
    figures.collect()
}

/// Returns a table in Markdown.
pub fn markdown(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | p50 | p99 | goal | |\n|---|--:|--:|--:|---|\n");
    for figure in figures {
        let show = |value: f64| figure.unit.show(value);
        let optional = |value: Option<f64>| value.map(show).unwrap_or_default();
        let goal = figure.bar.map(|bar| format!("≤ {}", show(bar))).unwrap_or_default();
        let verdict = match figure.bar {
            Some(bar) if figure.value <= bar => "held",
            Some(_) => "not held",
            None => "",
        };
        let (value, p99) = (show(figure.value), optional(figure.p99));
        text += &format!("| {} | {value} | {p99} | {goal} | {verdict} |\n", figure.subject);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let run =
            |a, b| vec![Figure::new("a", Unit::Count, a), Figure::times("b", vec![b]).at_most(5.0)];
        let medians = medians(vec![run(1.0, 9.0), run(3.0, 7.0), run(2.0, 8.0)]);
        assert_eq!(medians.iter().map(Figure::value).collect::<Vec<_>>(), [2.0, 8.0]);
        assert_eq!((medians[1].p99, medians[1].bar), (Some(8.0), Some(5.0)));
    }

    #[test]
    fn the_table_says_which_goals_are_held() {
        let figures = [
            Figure::new("one", Unit::Ratio, 1.3).at_most(1.3),
            Figure::new("two", Unit::Bytes, 84.0).at_most(83.2),
            Figure::times("three", vec![1_500.0]),
        ];
        let text = markdown(&figures);
        assert!(text.contains("| one | 1.30 |  | ≤ 1.30 | held |"), "{text}");
        assert!(text.contains("| two | 84.0 B |  | ≤ 83.2 B | not held |"), "{text}");
        assert!(text.contains("| three | 1.50 µs | 1.50 µs |  |  |"), "{text}");
    }
}
