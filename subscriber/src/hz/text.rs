//! Reports for people: a block of lines for each interval, and a histogram of delays at the end.

use std::io::{self, Write};

use super::report::{Report, Step};
use crate::format::cells::{bytes, nanoseconds};

/// Length of the longest bar.
const BAR: u64 = 40;

/// Writes the report of an interval.
pub fn interval(out: &mut impl Write, report: &Report) -> io::Result<()> {
    figures(out, report)?;
    out.write_all(b"\n")
}

/// Writes the summary.
pub fn summary(out: &mut impl Write, report: &Report) -> io::Result<()> {
    write!(out, "table {} over ", report.table)?;
    figures(out, report)?;
    if let Some(delays) = &report.delays {
        writeln!(
            out,
            "\ndelay from commit to applied, {} seen",
            delays.delays
        )?;
        histogram(out, &report.delay_histogram)?;
    }
    Ok(())
}

fn figures(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "{}: version {}, rows {}, publisher {}",
        nanoseconds(report.elapsed_ns),
        report.version,
        report.rows,
        report.publisher
    )?;
    writeln!(
        out,
        "  commits   {}/s ({}, {} of them seen one by one)",
        number(report.commits_per_second),
        report.commits,
        report.commits_seen_singly
    )?;
    let outrun = match report.outrun {
        0 => String::new(),
        times => format!(", outrun {times} times"),
    };
    writeln!(
        out,
        "  refreshes {}/s{outrun}",
        number(report.refreshes_per_second)
    )?;
    writeln!(
        out,
        "  changes   {} rows/s, {}/s",
        number(report.changed_rows_per_second),
        bytes(report.changed_bytes_per_second as u64)
    )?;
    size(out, report)?;
    gaps(out, report)?;
    if let Some(delays) = &report.delays {
        writeln!(
            out,
            "  delay     p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            nanoseconds(delays.delay_p50_ns),
            nanoseconds(delays.delay_p90_ns),
            nanoseconds(delays.delay_p99_ns),
            nanoseconds(delays.delay_p99_9_ns),
            nanoseconds(delays.delay_max_ns)
        )?;
    }
    Ok(())
}

fn size(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Some(size) = &report.rows_per_commit else {
        return Ok(());
    };
    write!(
        out,
        "  a commit  mean {} rows, {}",
        number(size.rows_per_commit_mean),
        bytes(size.bytes_per_commit_mean as u64)
    )?;
    if let Some(ranges) = &size.ranges {
        write!(
            out,
            "; min {} rows, {}; max {} rows, {}",
            ranges.rows_per_commit_min,
            bytes(ranges.bytes_per_commit_min),
            ranges.rows_per_commit_max,
            bytes(ranges.bytes_per_commit_max)
        )?;
    }
    out.write_all(b"\n")
}

fn gaps(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Some(gaps) = &report.gaps else {
        return Ok(());
    };
    write!(out, "  gap       mean {}", nanoseconds(gaps.gap_mean_ns))?;
    if let Some(single) = &report.single_gaps {
        write!(
            out,
            ", min {}, p50 {}, p99 {}, max {}, std dev {}",
            nanoseconds(single.gap_min_ns),
            nanoseconds(single.gap_p50_ns),
            nanoseconds(single.gap_p99_ns),
            nanoseconds(single.gap_max_ns),
            nanoseconds(single.gap_std_dev_ns)
        )?;
    }
    out.write_all(b"\n")
}

/// Writes a line per step, with a bar proportional to the fullest step.
fn histogram(out: &mut impl Write, steps: &[Step]) -> io::Result<()> {
    let most = steps
        .iter()
        .map(|step| step.count)
        .max()
        .unwrap_or(0)
        .max(1);
    let all: u64 = steps.iter().map(|step| step.count).sum();
    let mut before = None;
    for step in steps {
        let name = match (step.up_to_ns, before) {
            (Some(end), _) => format!("up to {}", nanoseconds(end)),
            (None, Some(end)) => format!("above {}", nanoseconds(end)),
            (None, None) => "any".to_owned(),
        };
        before = step.up_to_ns;
        // A step that is not empty has a visible bar.
        let bar = (u128::from(step.count) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
        writeln!(
            out,
            "  {name:>13} |{:<width$}| {:>8}  {:>5.1} %",
            "#".repeat(bar),
            step.count,
            100.0 * step.count as f64 / all.max(1) as f64,
            width = BAR as usize
        )?;
    }
    Ok(())
}

/// Formats a number with about three digits, whole numbers without a point.
fn number(number: f64) -> String {
    match number {
        _ if number.fract() == 0.0 || number >= 1000.0 => format!("{number:.0}"),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_to_the_fullest_step() {
        let steps = [(Some(2_000), 1), (Some(5_000), 0), (None, 100)];
        let steps = steps.map(|(up_to_ns, count)| Step { up_to_ns, count });
        let mut out = Vec::new();
        histogram(&mut out, &steps).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let bars: Vec<usize> = lines.iter().map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [1, 0, 40]);
        assert!(lines[0].starts_with("   up to 2.0 µs |#  "), "{text}");
        assert!(lines[0].ends_with("|        1    1.0 %"), "{text}");
        assert!(lines[2].starts_with("   above 5.0 µs |####"), "{text}");
    }

    #[test]
    fn numbers_stay_short() {
        let shown = [0.0, 1.234, 12.34, 100.0, 1234.5].map(number);
        assert_eq!(shown, ["0", "1.23", "12.3", "100", "1234"]);
    }
}
