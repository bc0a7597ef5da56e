//! What came of it, and how long it took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts and times.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults that were injected.
    pub faults: usize,
    /// Faults after which all was right.
    pub passed: usize,
    /// Something of the command was left when nothing may be.
    pub leaks: usize,
    /// reloadrun or its child did not end, or no new command came.
    pub hangs: usize,
    /// Something of an older command was there when a new one began.
    pub overlaps: usize,
    /// The next start with the same lockfile did not work.
    pub blocked: usize,
    /// Anything else: a wrong exit code, a file that was left.
    pub broken: usize,
    /// How many faults of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// From a fault that ends it all until nothing is left.
    pub gone: Vec<Duration>,
    /// From a request to end until nothing is left; the grace of the command is in it.
    pub ended: Vec<Duration>,
    /// From a fault that is survived until a new command is up.
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

    /// How many faults went wrong.
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
