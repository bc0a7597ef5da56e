//! What the user is told of a series of restarts, and the remedies that were told already.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::host::Host;
use crate::damping::{Damping, Series};
use crate::degraded::{Degraded, Topic};
use crate::os;
use crate::pattern::Shape;
use crate::remedy::{self, Place, Reach};

/// At most this many files are looked at for a remedy.
const MOST_LOOKS: usize = 20_000;

/// The remedies that were told.
#[derive(Debug, Default)]
pub struct Remedies {
    told: HashSet<Topic>,
    /// When the present child was told to start, by the clock of the files.
    started_file_ns: i64,
}

impl Remedies {
    /// A child starts now.
    pub fn command_starts(&mut self) {
        self.started_file_ns = os::clock::file_clock_ns();
    }

    /// Other patterns ask for other remedies.
    pub fn forget(&mut self) {
        self.told.clear();
    }

    /// What goes on and what to type against it; the same remedy once.
    pub fn against(&mut self, series: &Series, damping: &Damping, host: &dyn Host) -> Option<Degraded> {
        let config = host.config();
        let named: Vec<PathBuf> = (config.watch.iter().filter(|pattern| matches!(pattern.shape, Shape::Literal)))
            .map(|pattern| pattern.base.clone())
            .collect();
        let others = |directory: &Path, reach: Reach| self.others(directory, reach, damping, host);
        let place = Place { directory: &config.directory, named: &named, others: &others };
        let degraded = remedy::told(series, &place);
        self.told.insert(degraded.topic()).then_some(degraded)
    }

    /// The files here that count and that the series did not write: they are older than the present command, whose
    /// last files may not have been told yet.
    fn others(&self, directory: &Path, reach: Reach, damping: &Damping, host: &dyn Host) -> Vec<PathBuf> {
        let mut directories = vec![directory.to_owned()];
        let (mut found, mut looks) = (Vec::new(), 0);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                looks += 1;
                if looks > MOST_LOOKS {
                    // Nobody knows what else is there.
                    found.push(directory);
                    return found;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && reach == Reach::Below => directories.push(path),
                    Ok(kind) if kind.is_dir() => {}
                    _ if damping.knows(&path) || !host.counts(&path) => {}
                    _ if os::fs::look(&path).ctime_ns >= self.started_file_ns => {}
                    _ => found.push(path),
                }
            }
        }
        found
    }
}
