//! Results and times.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts and times.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults that were injected.
    pub faults: usize,
    /// Faults without a finding.
    pub passed: usize,
    /// A process of the command was left that should have ended.
    pub leaks: usize,
    /// reloadrun or its child did not end, or no new command came.
    pub hangs: usize,
    /// A process of an older command was left when a new one started.
    pub overlaps: usize,
    /// The next start with the same lockfile did not work.
    pub blocked: usize,
    /// Any other failure: a wrong exit code, a leftover file.
    pub broken: usize,
    /// The number of faults of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// Times from a fault that ends everything until no process is left.
    pub gone: Vec<Duration>,
    /// Times from a request to end until no process is left, including the grace period.
    pub ended: Vec<Duration>,
    /// Times from a survived fault until a new command is up.
    pub back: Vec<Duration>,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Tally) {
        self.faults += other.faults;
        self.passed += other.passed;
        self.leaks += other.leaks;
        self.hangs += other.hangs;
        self.overlaps += other.overlaps;
        self.blocked += other.blocked;
        self.broken += other.broken;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
        self.gone.extend(&other.gone);
        self.ended.extend(&other.ended);
        self.back.extend(&other.back);
    }

    /// The number of failed faults.
    pub fn failed(&self) -> usize {
        self.leaks + self.hangs + self.overlaps + self.blocked + self.broken
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "faults: by kind: {}", kinds.join(", "))?;
        for (what, times) in [
            ("killed, until nothing is left", &self.gone),
            ("asked, until nothing is left", &self.ended),
            ("until a new command is up", &self.back),
        ] {
            writeln!(f, "faults: {what}: {}", distribution(times))?;
        }
        let Tally { faults, leaks, hangs, overlaps, blocked, broken, .. } = self;
        writeln!(
            f,
            "faults: {faults} faults; leaks {leaks}, hangs {hangs}, overlaps {overlaps}, blocked starts {blocked}, broken {broken}"
        )
    }
}

fn distribution(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
    let [Some(median), Some(most), Some(last)] = [at(50), at(95), sorted.last()] else { return "never".into() };
    let late = sorted.iter().filter(|time| **time > Duration::from_secs(1)).count();
    let [median, most, last] = [median, most, last].map(Duration::as_millis);
    format!("{} times, median {median} ms, 95 % {most} ms, longest {last} ms, {late} over 1 s", sorted.len())
}
