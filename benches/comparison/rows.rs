//! Rows that are measured one tool at a time, all taking turns.

use std::time::Duration;

use crate::shared::contender::{Contender, DEADLINE};
use crate::shared::machine::{Cost, proportional_set};
use crate::shared::sample::Sample;
use crate::shared::stamps::{StampProgram, Stamps, monotonic_ns};
use crate::shared::tree::{Save, Tree};
use crate::shared::watched::{PATIENCE, REST, Watched};
use crate::shared::{Result, in_turn};
use crate::sheet::Sheet;

/// From the start of a command to the second save.
const SOON: Duration = Duration::from_millis(30);
/// In the middle of a slow save.
const PAUSE: Duration = Duration::from_millis(30);
/// No start follows a save after this long.
const QUIET: Duration = Duration::from_secs(1);
/// More saves in a row, each within 2 s of a start, would be damped from the 61st on; this ends such a series.
const END_OF_SERIES: Duration = Duration::from_millis(2500);
/// No start follows a burst after this long; some tools take a second for each of many.
const QUIET_AFTER_BURST: Duration = Duration::from_millis(2500);
/// Some tools begin to restart only seconds after a burst, and some do not stop: what is still going on then is cut off.
const LONGEST_BURST: Duration = Duration::from_secs(20);

/// How often things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub saves: usize,
    /// Of everything else that a tool may do wrong.
    pub tries: usize,
    pub bursts: usize,
    pub idle: Duration,
}

impl Counts {
    pub const FULL: Counts = Counts { saves: 30, tries: 10, bursts: 3, idle: Duration::from_secs(10) };
    pub const QUICK: Counts = Counts { saves: 5, tries: 2, bursts: 1, idle: Duration::from_secs(2) };
}

/// How often something went wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    wrong: usize,
    of: usize,
}

impl Tally {
    fn add(&mut self, wrong: bool) {
        self.wrong += usize::from(wrong);
        self.of += 1;
    }

    fn shown(self) -> String {
        format!("{} of {}", self.wrong, self.of)
    }
}

fn shown(milliseconds: f64) -> String {
    match milliseconds {
        time if time.is_nan() => "-".to_owned(),
        time if time >= 1000.0 => format!("{:.1} s", time / 1000.0),
        time if time >= 10.0 => format!("{time:.0} ms"),
        time => format!("{time:.1} ms"),
    }
}

/// `3.9 ms, p95 9.6 ms`
fn median_and_p95(sample: &Sample) -> String {
    let lost = if sample.missed > 0 { format!(", {} lost", sample.missed) } else { String::new() };
    format!("{}, p95 {}{lost}", shown(sample.median()), shown(sample.p95()))
}

/// Everything that these rows need.
pub struct Bench<'a> {
    pub stamp: &'a StampProgram,
    pub counts: Counts,
    /// The floor is the first. It is measured where it says what a machine can do, and has no column.
    pub contenders: &'a [Contender],
    pub sheet: &'a mut Sheet,
}

impl Bench<'_> {
    fn tools(&self) -> &[Contender] {
        &self.contenders[1..]
    }

    /// Saves to a tool that has had time to begin, and what waiting for them costs.
    pub fn saves(&mut self) -> Result<()> {
        let trees = self.contenders.iter().map(|_| Tree::small()).collect::<Result<Vec<_>>>()?;
        let mut watched = Vec::new();
        for (contender, tree) in self.contenders.iter().zip(&trees) {
            watched.push(Watched::by(contender, tree, self.stamp, false)?);
        }
        let mut times = vec![Sample::default(); watched.len()];
        for round in 0..self.counts.saves {
            for index in in_turn(watched.len(), round) {
                times[index].add_time(watched[index].save(Save::InPlace)?);
            }
        }
        let [floor, tools @ ..] = times.as_slice() else { return Ok(()) };
        let what = format!("save to new process (a bare program: {})", shown(floor.median()));
        self.sheet.add(what, tools.iter().map(median_and_p95));
        // The floor may lose what comes next, and that says nothing about the others.
        watched.remove(0);
        let lost = self.second_saves(&mut watched)?;
        let (half, stays) = self.slow_saves(&mut watched)?;
        self.lost("second save 30 ms after a restart is lost", &lost);
        self.lost("slow save (30 ms in the middle): started on half a file", &half);
        self.lost("the same: never started on the whole file", &stays);
        self.idle(&watched)
    }

    fn lost(&mut self, what: &str, tallies: &[Tally]) {
        self.sheet.add(what.to_owned(), tallies.iter().map(|tally| tally.shown()));
    }

    /// A save, and another one soon after the command has started on it.
    fn second_saves(&self, watched: &mut [Watched]) -> Result<Vec<Tally>> {
        let mut lost = vec![Tally::default(); watched.len()];
        std::thread::sleep(END_OF_SERIES);
        for round in 0..self.counts.tries {
            for index in in_turn(watched.len(), round) {
                let tool = &mut watched[index];
                let (_, Some(started)) = tool.save_only(Save::InPlace)? else {
                    // Not a second save, and lost nevertheless.
                    lost[index].add(true);
                    continue;
                };
                let since = u64::try_from(monotonic_ns() - started.at).unwrap_or(0);
                std::thread::sleep(SOON.saturating_sub(Duration::from_nanos(since)));
                let (_, second) = tool.save_only(Save::InPlace)?;
                lost[index].add(second.is_none());
                std::thread::sleep(REST);
            }
        }
        Ok(lost)
    }

    /// How often a command started on half a file, and how often none followed on the whole.
    fn slow_saves(&self, watched: &mut [Watched]) -> Result<(Vec<Tally>, Vec<Tally>)> {
        let (mut half, mut stays) = (vec![Tally::default(); watched.len()], vec![Tally::default(); watched.len()]);
        std::thread::sleep(END_OF_SERIES);
        for round in 0..self.counts.tries {
            for index in in_turn(watched.len(), round) {
                let tool = &mut watched[index];
                tool.length += 1;
                tool.stamps.read()?;
                tool.tree.save_slowly(tool.length, PAUSE)?;
                let stamps = tool.stamps.until_quiet(QUIET)?;
                half[index].add(stamps.iter().any(|stamp| stamp.length < tool.length));
                stays[index].add(stamps.last().is_none_or(|stamp| stamp.length < tool.length));
            }
        }
        Ok((half, stays))
    }

    /// What waiting for a change costs, all processes of the tool together, without the command.
    fn idle(&mut self, watched: &[Watched]) -> Result<()> {
        std::thread::sleep(END_OF_SERIES);
        let running: Vec<Vec<i32>> = watched.iter().map(|tool| tool.running.processes(self.stamp)).collect();
        let before = running.iter().map(|processes| Cost::of(processes)).collect::<Result<Vec<_>>>()?;
        std::thread::sleep(self.counts.idle);
        let after = running.iter().map(|processes| Cost::of(processes)).collect::<Result<Vec<_>>>()?;
        let memory = running.iter().map(|processes| proportional_set(processes, "Pss:")).collect::<Result<Vec<_>>>()?;
        let seconds = self.counts.idle.as_secs();
        let switches = before.iter().zip(&after).map(|(before, after)| (after.switches - before.switches).to_string());
        self.sheet.add_cost(format!("idle for {seconds} s: context switches"), switches);
        self.sheet.add_cost("memory (PSS)".to_owned(), memory.iter().map(|mebibytes| format!("{mebibytes:.1} MiB")));
        Ok(())
    }

    /// Invocation to first instruction, and a save right after that.
    pub fn starts(&mut self) -> Result<()> {
        let all = [&[Contender::direct()], self.tools()].concat();
        let mut times = vec![Sample::default(); all.len()];
        let mut lost = vec![Tally::default(); all.len()];
        for round in 0..self.counts.tries {
            let mut saved = Vec::new();
            for index in in_turn(all.len(), round) {
                let (tree, mut stamps) = (Tree::small()?, Stamps::new()?);
                let before = monotonic_ns();
                let running = all[index].start(&tree, self.stamp, &stamps, false)?;
                let Some(stamp) = stamps.first(DEADLINE, |_| true)? else {
                    return Err(format!("{} has not started the command", all[index].name));
                };
                times[index].add_time(Some(stamp.at - before));
                tree.save(Save::InPlace, 2000)?;
                // The next one begins when this one has had its chance to restart.
                let restarted = stamps.first(Duration::from_millis(500), |stamp| stamp.length == 2000)?;
                saved.push((index, tree, stamps, running, restarted.is_some()));
            }
            // All lost saves are waited for at once.
            std::thread::sleep(PATIENCE);
            for (index, _, mut stamps, _, restarted) in saved {
                lost[index].add(!restarted && !stamps.read()?.iter().any(|stamp| stamp.length == 2000));
            }
        }
        let [direct, tools @ ..] = times.as_slice() else { return Ok(()) };
        self.lost("save right after the start is lost", &lost[1..]);
        let what = format!("start of the tool to start of the command (without a tool: {})", shown(direct.median()));
        self.sheet.add_cost(what, tools.iter().map(median_and_p95));
        Ok(())
    }

    /// Each of 500 files written once, within 200 ms.
    pub fn bursts(&mut self) -> Result<()> {
        let (mut restarts, mut times) = (Vec::new(), Vec::new());
        for contender in self.tools() {
            let tree = Tree::for_bursts()?;
            let mut watched = Watched::by(contender, &tree, self.stamp, false)?;
            let (mut counts, mut lasts, mut goes_on) = (Sample::default(), Sample::default(), false);
            for round in 0..self.counts.bursts {
                std::thread::sleep(END_OF_SERIES);
                let length = 3000 + i64::try_from(round).unwrap_or(0);
                watched.stamps.read()?;
                let after = tree.burst(length)?;
                let (stamps, quiet) = watched.stamps.after_burst(LONGEST_BURST, QUIET_AFTER_BURST, length)?;
                counts.add(stamps.len() as f64);
                lasts.add_time(stamps.last().filter(|stamp| stamp.length == length).map(|stamp| stamp.at - after));
                if !quiet {
                    goes_on = true;
                    break;
                }
            }
            let more = if goes_on { " and more" } else { "" };
            restarts.push(format!("{:.0}{more}", counts.median()));
            let longest = LONGEST_BURST.as_secs();
            times.push(match (lasts.missed, lasts.count()) {
                _ if goes_on => format!("over {longest} s"),
                (0, _) => shown(lasts.median()),
                (_, 0) => format!("not within {longest} s"),
                (late, in_time) => format!("{}, {late} of {} over {longest} s", shown(lasts.median()), late + in_time),
            });
        }
        self.sheet.add("500 files rewritten at once: restarts".to_owned(), restarts);
        self.sheet.add("the same: last write to last start".to_owned(), times);
        Ok(())
    }
}

/// A reader of the table wants to know what was compared.
pub fn versions(contenders: &[Contender]) -> String {
    let mut all: Vec<String> = Vec::new();
    for contender in contenders.iter().filter(|contender| contender.is_peer()) {
        let one = format!("{} {}", contender.program(), contender.version());
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all.join(", ")
}
