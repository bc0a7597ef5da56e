//! The table: a column for each tool, a row for each thing that was measured.

use std::fmt::Write;

use crate::shared::contender::{Contender, OURS};

/// What is said of a program.
type Known = fn(&str) -> &'static str;

/// What no benchmark can measure.
const KNOWN: [(&str, Known); 2] = [
    ("macOS, Windows", |program| match program {
        OURS => "no",
        "entr" => "macOS, BSD",
        _ => "yes",
    }),
    ("in use for years, known to many", |program| if program == OURS { "no" } else { "yes" }),
];

/// The rows so far, printed as they come.
pub struct Sheet {
    names: Vec<String>,
    programs: Vec<String>,
    rows: Vec<Row>,
    /// What the tools cost stands below what they do.
    costs: Vec<Row>,
}

/// What was measured, and a cell for each tool.
type Row = (String, Vec<String>);

impl Sheet {
    pub fn begin(tools: &[Contender]) -> Sheet {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        let programs = tools.iter().map(|tool| tool.program().to_owned()).collect();
        Sheet { names, programs, rows: Vec::new(), costs: Vec::new() }
    }

    /// A row, with a cell for each tool.
    pub fn add(&mut self, what: String, cells: impl IntoIterator<Item = String>) {
        let row = self.told(what, cells);
        self.rows.push(row);
    }

    /// A row of what they cost.
    pub fn add_cost(&mut self, what: String, cells: impl IntoIterator<Item = String>) {
        let row = self.told(what, cells);
        self.costs.push(row);
    }

    fn told(&self, what: String, cells: impl IntoIterator<Item = String>) -> Row {
        let cells: Vec<String> = cells.into_iter().collect();
        println!("{what}");
        for (name, cell) in self.names.iter().zip(&cells) {
            println!("    {name:<20} {cell}");
        }
        (what, cells)
    }

    /// What is known of them without measuring.
    pub fn add_known(&mut self) {
        for (what, cell) in KNOWN {
            let cells: Vec<String> = self.programs.iter().map(|program| cell(program).to_owned()).collect();
            self.add_cost(what.to_owned(), cells);
        }
    }

    /// In Markdown.
    pub fn shown(&self) -> String {
        let mut text = format!("\n| | {} |\n|---|{}\n", self.names.join(" | "), "---|".repeat(self.names.len()));
        for (what, cells) in self.rows.iter().chain(&self.costs) {
            let _ = writeln!(text, "| {what} | {} |", cells.join(" | "));
        }
        text
    }
}
