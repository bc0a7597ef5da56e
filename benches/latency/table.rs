//! The rows, printed as they come, and the document that is made from them.

use std::fmt::Write;
use std::path::Path;

use crate::shared::contender::OURS;
use crate::shared::sample::Sample;
use crate::shared::{Result, write_between};

/// What a row of reloadrun is to come to. The first sample of a group of rows is what it is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// The median at most so many times that of the first, and the p95 at most twice the median.
    TimesTheFirst(f64),
    /// The median at most so much more than that of the first.
    MoreThanTheFirst(f64),
    /// The median at most this.
    AtMost(f64),
    /// Told for its own sake.
    None,
}

impl Goal {
    fn shown(self, unit: &str) -> String {
        match self {
            Goal::TimesTheFirst(times) => format!("{times:.0} x, p95 2 x its median"),
            Goal::MoreThanTheFirst(more) => format!("{more}{unit} more"),
            Goal::AtMost(most) => format!("{most}{unit}"),
            Goal::None => String::new(),
        }
    }

    /// By how much it is missed: 1 is just met.
    fn missed_by(self, first: &Sample, ours: &Sample) -> Option<f64> {
        match self {
            Goal::TimesTheFirst(times) => {
                Some((ours.median() / first.median() / times).max(ours.p95() / ours.median() / 2.0))
            }
            Goal::MoreThanTheFirst(more) => Some((ours.median() - first.median()) / more),
            Goal::AtMost(most) => Some(ours.median() / most),
            Goal::None => None,
        }
    }
}

struct Row {
    what: String,
    who: String,
    median: String,
    p95: String,
    times: String,
    goal: String,
    verdict: &'static str,
}

const HEADS: [&str; 7] = ["", "", "median", "p95", "x", "goal", ""];

impl Row {
    fn cells(&self) -> [&str; 7] {
        [&self.what, &self.who, &self.median, &self.p95, &self.times, &self.goal, self.verdict]
    }
}

/// All rows of a run.
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Whether a goal is missed by more than twice, which is more than the noise of a shared machine.
    pub far_over: bool,
}

impl Table {
    pub fn begin() -> Table {
        Table::print(HEADS);
        Table { rows: Vec::new(), notes: Vec::new(), far_over: false }
    }

    fn print([what, who, median, p95, times, goal, verdict]: [&str; 7]) {
        println!("{what:<46} {who:<17} {median:>11} {p95:>11} {times:>8}  {goal:<22} {verdict}");
    }

    /// A row for each contender, the one to compare with first.
    pub fn add(&mut self, what: &str, unit: &str, goal: Goal, samples: &[(String, Sample)]) {
        let Some((_, first)) = samples.first() else { return };
        let mut what = what.to_owned();
        for (who, sample) in samples {
            let number = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.2}{unit}") };
            let times = sample.median() / first.median();
            let missed_by = if who == OURS { goal.missed_by(first, sample) } else { None };
            self.far_over |= missed_by.is_some_and(|by| by > 2.0);
            let row = Row {
                what: std::mem::take(&mut what),
                who: who.clone(),
                median: number(sample.median()),
                p95: if sample.count() > 1 { number(sample.p95()) } else { String::new() },
                times: if samples.len() > 1 && times.is_finite() { format!("{times:.2}") } else { String::new() },
                goal: missed_by.map_or(String::new(), |_| goal.shown(unit)),
                verdict: missed_by.map_or("", |by| if by <= 1.0 { "met" } else { "missed" }),
            };
            Table::print(row.cells());
            self.rows.push(row);
            if sample.missed > 0 {
                let of = sample.count() + sample.missed;
                self.note(format!("{who} never started the command in {} of these {of}", sample.missed));
            }
        }
    }

    /// A sentence about the rows before.
    pub fn note(&mut self, sentence: String) {
        println!("  {sentence}");
        self.notes.push(sentence);
    }

    /// Puts this run in place of the one in the document.
    pub fn write_into(&self, document: &Path, about: &str) -> Result<()> {
        const BEGIN: &str =
            "<!-- The rest of this section is written by `cargo bench --bench latency -- --write`. -->\n";
        const END: &str = "<!-- The end of what is written. -->\n";
        let mut run = format!("\n{about}\n\n| what | who | median | p95 | times the first | goal | |\n");
        run.push_str("|---|---|---:|---:|---:|---|---|\n");
        for row in &self.rows {
            let _ = writeln!(run, "| {} |", row.cells().join(" | "));
        }
        run.push('\n');
        for note in &self.notes {
            let _ = writeln!(run, "- {note}");
        }
        write_between(document, [BEGIN, END], &run)
    }
}
