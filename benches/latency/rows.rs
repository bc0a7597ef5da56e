//! What is measured. All contenders take turns in one run.

use std::time::Duration;

use crate::shared::contender::{Contender, DEADLINE};
use crate::shared::machine::{Cost, proportional_set};
use crate::shared::sample::Sample;
use crate::shared::stamps::{StampProgram, Stamps, monotonic_ns};
use crate::shared::tree::{Save, Tree};
use crate::shared::watched::{PATIENCE, REST, Watched};
use crate::shared::{Result, in_turn};
use crate::table::{Goal, Table};

/// More saves in a row, each within 2 s of a start, would be damped from the 61st on.
const SERIES: usize = 40;
/// Longer than the 2 s that end a series.
const QUIET: Duration = Duration::from_millis(2500);
/// No start follows a burst after this long.
const AFTER_BURST: Duration = Duration::from_millis(1500);
/// From the moment that all is watched to the first look at what idling costs.
const SETTLING: Duration = Duration::from_secs(2);

/// How often things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub saves: usize,
    pub peer_saves: usize,
    pub starts: usize,
    pub large_starts: usize,
    pub edits: usize,
    pub bursts: usize,
    pub large_saves: usize,
    pub idle: Duration,
}

impl Counts {
    pub const FULL: Counts = Counts {
        saves: 200,
        peer_saves: 40,
        starts: 100,
        large_starts: 20,
        edits: 15,
        bursts: 15,
        large_saves: 20,
        idle: Duration::from_secs(30),
    };
    pub const QUICK: Counts = Counts {
        saves: 30,
        peer_saves: 5,
        starts: 10,
        large_starts: 3,
        edits: 3,
        bursts: 3,
        large_saves: 5,
        idle: Duration::from_secs(3),
    };
}

/// Everything that a row needs.
pub struct Bench<'a> {
    pub stamp: &'a StampProgram,
    pub counts: Counts,
    /// The floor is the first.
    pub contenders: &'a [Contender],
    pub table: &'a mut Table,
}

type Samples = Vec<(String, Sample)>;

fn samples(contenders: &[Contender]) -> Samples {
    contenders.iter().map(|contender| (contender.name.clone(), Sample::default())).collect()
}

impl Bench<'_> {
    /// Save to first instruction. A tree for each: on a shared one all would start on every save.
    pub fn saves(&mut self) -> Result<()> {
        let trees = self.contenders.iter().map(|_| Tree::small()).collect::<Result<Vec<_>>>()?;
        let mut watched = Vec::new();
        for (contender, tree) in self.contenders.iter().zip(&trees) {
            watched.push(Watched::by(contender, tree, self.stamp, false)?);
        }
        for (name, how) in [("save in place", Save::InPlace), ("save by rename", Save::Rename)] {
            let mut samples = samples(self.contenders);
            for round in 0..self.counts.saves {
                if round % SERIES == 0 {
                    std::thread::sleep(QUIET);
                }
                for index in in_turn(watched.len(), round) {
                    let watched = &mut watched[index];
                    if !watched.contender.is_peer() || round < self.counts.peer_saves {
                        samples[index].1.add_time(watched.save(how)?);
                    }
                }
            }
            self.table.add(name, " ms", Goal::TimesTheFirst(4.0), &samples);
        }
        for Watched { contender, extra, .. } in watched.iter().filter(|watched| watched.extra > 0) {
            self.table.note(format!("{} started the command {extra} times more than there were saves", contender.name));
        }
        Ok(())
    }

    /// Invocation to first instruction.
    pub fn starts(&mut self, tree: &Tree, count: usize) -> Result<()> {
        let all: Vec<Contender> = [&[Contender::direct()], self.contenders].concat();
        let mut samples = samples(&all);
        for round in 0..count {
            for index in in_turn(all.len(), round) {
                let mut stamps = Stamps::new()?;
                let before = monotonic_ns();
                let running = all[index].start(tree, self.stamp, &stamps, false)?;
                let stamp = stamps.first(DEADLINE, |_| true)?;
                samples[index].1.add_time(stamp.map(|stamp| stamp.at - before));
                std::thread::sleep(REST);
                drop(running);
                // What it has watched is taken down after its end.
                std::thread::sleep(REST);
            }
        }
        self.table.add(&format!("start, {}", tree.size), " ms", Goal::MoreThanTheFirst(2.0), &samples);
        Ok(())
    }

    /// An edit directly after the first instruction of the first start, deep in a large tree.
    pub fn early_edits(&mut self, tree: &Tree) -> Result<()> {
        let mut samples = samples(self.contenders);
        for round in 0..self.counts.edits {
            for index in in_turn(self.contenders.len(), round) {
                let contender = &self.contenders[index];
                let mut stamps = Stamps::new()?;
                let _running = contender.start(tree, self.stamp, &stamps, false)?;
                if stamps.first(DEADLINE, |_| true)?.is_none() {
                    return Err(format!("{} has not started the command", contender.name));
                }
                let length = i64::try_from(round).unwrap_or(0) + 2000;
                let before = tree.save(Save::InPlace, length)?;
                let stamp = stamps.first(PATIENCE, |stamp| stamp.length == length)?;
                samples[index].1.add_time(stamp.map(|stamp| stamp.at - before));
                tree.save(Save::InPlace, 1)?;
            }
        }
        self.table.add(&format!("first edit, {}", tree.size), " ms", Goal::AtMost(50.0), &samples);
        Ok(())
    }

    /// Each of 500 files written once, within 200 ms.
    pub fn bursts(&mut self) -> Result<()> {
        let (mut restarts, mut times) = (samples(self.contenders), samples(self.contenders));
        for (index, contender) in self.contenders.iter().enumerate() {
            let tree = Tree::for_bursts()?;
            let mut watched = Watched::by(contender, &tree, self.stamp, false)?;
            for round in 0..self.counts.bursts {
                std::thread::sleep(QUIET);
                let length = 3000 + i64::try_from(round).unwrap_or(0);
                let after = tree.burst(length)?;
                let stamps = watched.stamps.until_quiet(AFTER_BURST)?;
                restarts[index].1.add(stamps.len() as f64);
                let last = stamps.last().filter(|stamp| stamp.length == length);
                times[index].1.add_time(last.map(|stamp| stamp.at - after));
            }
        }
        self.table.add("burst of 500 files in 200 ms: restarts", "", Goal::AtMost(1.0), &restarts);
        self.table.add("burst: last write to final start", " ms", Goal::AtMost(30.0), &times);
        Ok(())
    }

    /// Saves where everything is watched, and how long that takes.
    pub fn large_saves(&mut self, tree: &Tree) -> Result<()> {
        let ours: Vec<Contender> = self.contenders.iter().filter(|contender| !contender.is_peer()).cloned().collect();
        let (mut samples, mut armings) = (samples(&ours), samples(&ours));
        // In turn and one at a time: on one tree all would start on every save.
        for _ in 0..2 {
            for (index, contender) in ours.iter().enumerate() {
                let mut watched = Watched::by(contender, tree, self.stamp, true)?;
                for _ in 0..self.counts.large_saves.div_ceil(2) {
                    samples[index].1.add_time(watched.save(Save::InPlace)?);
                }
                for arming in watched.armings {
                    armings[index].1.add_time(Some(arming));
                }
            }
        }
        self.table.add(&format!("save in place, {}", tree.size), " ms", Goal::TimesTheFirst(4.0), &samples);
        armings.retain(|(_, sample)| sample.count() > 0);
        self.table.add("the same: start to all watched", " ms", Goal::None, &armings);
        Ok(())
    }

    /// What waiting for a change costs, all processes together, without the command.
    pub fn idle(&mut self, tree: &Tree, most_mebibytes: f64) -> Result<()> {
        let mut watched = Vec::new();
        for contender in self.contenders {
            watched.push(Watched::by(contender, tree, self.stamp, true)?);
        }
        std::thread::sleep(SETTLING);
        let running: Vec<Vec<i32>> = watched.iter().map(|watched| watched.running.processes(self.stamp)).collect();
        let before = running.iter().map(|processes| Cost::of(processes)).collect::<Result<Vec<_>>>()?;
        std::thread::sleep(self.counts.idle);
        let [mut cpu, mut switches, mut memory, mut files] = [(); 4].map(|()| Samples::new());
        for ((contender, processes), before) in self.contenders.iter().zip(&running).zip(before) {
            let after = Cost::of(processes)?;
            let row = |value: f64| (contender.name.clone(), Sample::of(value));
            cpu.push(row((after.cpu_ns - before.cpu_ns) as f64 / 1e6));
            switches.push(row((after.switches - before.switches) as f64));
            memory.push(row(proportional_set(processes, "Pss:")?));
            files.push(row(proportional_set(processes, "Pss_File:")?));
        }
        let seconds = self.counts.idle.as_secs_f64();
        let what = format!("idle {seconds:.0} s, {}", tree.size);
        self.table.add(&format!("{what}: CPU"), " ms", Goal::AtMost(seconds / 6.0), &cpu);
        self.table.add("the same: context switches", "", Goal::AtMost(2.0 * seconds), &switches);
        self.table.add("the same: memory (PSS)", " MiB", Goal::AtMost(most_mebibytes), &memory);
        self.table.add("of that, pages of its program and of files", " MiB", Goal::None, &files);
        Ok(())
    }
}
