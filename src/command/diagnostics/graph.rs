//! LATENCY GRAPH: samples as columns of characters, as Redis draws them.

use crate::clock::UnixMs;
use crate::server::latency::{Sample, Series};

/// Columns of the graph; more samples go on below.
const COLUMNS: usize = 80;
/// Rows of the graph, without the labels.
const ROWS: usize = 4;
/// A row tells three heights apart.
const HEIGHTS: [char; 3] = ['_', 'o', '#'];

/// The graph of an event.
pub(super) fn draw(name: &str, series: &Series, now: UnixMs) -> String {
    let values = || series.samples.iter().map(|sample| sample.ms);
    let (low, high) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    let max = series.max_ms;
    let mut graph = format!("{name} - high {high} ms, low {low} ms (all time high {max} ms)\n");
    graph.push_str(&"-".repeat(COLUMNS));
    graph.push('\n');
    let columns: Vec<Column> = series
        .samples
        .iter()
        .map(|sample| Column::new(sample, low, high, now))
        .collect();
    for (index, part) in columns.chunks(COLUMNS).enumerate() {
        if index > 0 {
            graph.push('\n');
        }
        draw_part(&mut graph, part);
    }
    graph
}

/// A sample as it is drawn.
struct Column {
    step: usize,
    label: String,
}

impl Column {
    fn new(sample: &Sample, low: u64, high: u64, now: UnixMs) -> Self {
        let steps = (HEIGHTS.len() * ROWS) as u64;
        let range = (high - low).max(1);
        let step = ((sample.ms - low).saturating_mul(steps) / range).min(steps - 1);
        Self {
            step: step as usize,
            label: age(now.as_secs() - sample.time_s),
        }
    }

    fn symbol(&self, row: usize) -> char {
        let below = (ROWS - row - 1) * HEIGHTS.len();
        match self.step.checked_sub(below) {
            None => ' ',
            Some(height) => HEIGHTS.get(height).copied().unwrap_or('|'),
        }
    }
}

/// How long ago, in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

fn draw_part(graph: &mut String, part: &[Column]) {
    for row in 0..ROWS {
        graph.extend(part.iter().map(|column| column.symbol(row)));
        graph.push('\n');
    }
    graph.push_str(&" ".repeat(part.len()));
    graph.push('\n');
    // The labels are read downwards.
    let longest = part.iter().map(|column| column.label.len()).max();
    for at in 0..longest.unwrap_or(0) {
        graph.extend(
            part.iter()
                .map(|column| column.label.chars().nth(at).unwrap_or(' ')),
        );
        graph.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_that_of_redis() {
        let sample = |time_s, ms| Sample { time_s, ms };
        let series = Series {
            samples: [sample(7, 100), sample(9, 300), sample(10, 60)].into(),
            max_ms: 300,
        };
        let expected = format!(
            "command - high 300 ms, low 60 ms (all time high 300 ms)\n{}\n \
             # \n | \n | \n#|_\n   \n310\nsss\n",
            "-".repeat(80)
        );
        assert_eq!(draw("command", &series, UnixMs(10_999)), expected);
    }

    #[test]
    fn more_samples_than_columns_go_on_below() {
        let samples = (0..81).map(|time_s| Sample { time_s, ms: 5 }).collect();
        let series = Series { samples, max_ms: 5 };
        let graph = draw("command", &series, UnixMs(100_000));
        assert_eq!(graph.lines().map(str::len).max(), Some(80));
        assert_eq!(graph.matches('_').count(), 81);
    }
}
