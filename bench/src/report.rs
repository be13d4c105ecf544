//! Medians, and a report as a table or as JSON.

use serde_json::{Value, json};

use crate::{Options, process::load};

/// Rows of figures with one name each. JSON has the same, and every repetition.
pub(crate) struct Report {
    case: String,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    loads: Vec<f64>,
    repetitions: usize,
}

struct Row {
    name: String,
    /// One list per repetition, one figure per column.
    samples: Vec<Vec<f64>>,
}

impl Report {
    pub(crate) fn new(options: &Options, case: String, columns: &[&'static str]) -> Self {
        let repetitions = options.repetitions;
        Self { case, columns: columns.to_vec(), rows: Vec::new(), loads: vec![load()], repetitions }
    }

    /// Records a repetition, and prints it to standard error.
    pub(crate) fn add(&mut self, name: &str, figures: Vec<f64>) {
        self.loads.push(load());
        let shown: Vec<_> =
            self.columns.iter().zip(&figures).map(|(name, figure)| format!("{name} {figure:.2}")).collect();
        eprintln!("{name}: {}", shown.join(", "));
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(figures),
            None => self.rows.push(Row { name: name.to_owned(), samples: vec![figures] }),
        }
    }

    pub(crate) fn print(&self, options: &Options) {
        if options.json {
            println!("{:#}", self.json());
        } else {
            self.table();
        }
    }

    fn json(&self) -> Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let medians: serde_json::Map<_, _> = self
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(column, name)| ((*name).to_owned(), json!(row.median(column))))
                    .collect();
                json!({ "name": row.name, "medians": medians, "repetitions": row.samples })
            })
            .collect();
        json!({
            "case": self.case, "date": today(), "machine": machine(), "columns": self.columns, "rows": rows,
            "load": { "least": self.least(), "most": self.most() },
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        })
    }

    fn table(&self) {
        println!("## {}", self.case);
        println!();
        println!(
            "{}, {}; medians of {}; load {:.1} to {:.1}; `{}`",
            today(),
            machine(),
            self.repetitions,
            self.least(),
            self.most(),
            std::env::args().skip(1).collect::<Vec<_>>().join(" ")
        );
        println!();
        println!("| | {} |", self.columns.join(" | "));
        println!("|---|{}", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let figures: Vec<_> = (0..self.columns.len()).map(|column| shown(row.median(column))).collect();
            println!("| {} | {} |", row.name, figures.join(" | "));
        }
        println!();
    }

    fn least(&self) -> f64 {
        self.loads.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.loads.iter().copied().fold(0.0, f64::max)
    }
}

impl Row {
    fn median(&self, column: usize) -> f64 {
        median(self.samples.iter().filter_map(|sample| sample.get(column).copied()).collect())
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

fn shown(figure: f64) -> String {
    match figure {
        figure if figure.is_nan() => "-".to_owned(),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} ({cores} cores)", model.trim_start_matches([' ', '\t', ':']))
}

fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_both() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
