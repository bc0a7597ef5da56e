//! The machine that the benchmark runs on, and what processes cost it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Result, tell};

/// Above this many busy cores a result says more about the others than about us.
const QUIET_ENOUGH: f64 = 0.25;

/// How busy others have kept the machine.
#[derive(Default)]
pub struct Load {
    most: f64,
}

impl Load {
    /// Looks for a second in which this benchmark does nothing.
    pub fn look(&mut self) -> Result<()> {
        let before = busy_ticks()?;
        std::thread::sleep(Duration::from_secs(1));
        // A tick is 10 ms on every Linux (USER_HZ).
        self.most = self.most.max((busy_ticks()? - before) as f64 / 100.0);
        Ok(())
    }

    /// A sentence about it, and whether it is a warning.
    pub fn shown(&self) -> (String, bool) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = self.most;
        if most > QUIET_ENOUGH {
            (format!("Others kept up to {most:.1} of {cores} cores busy: these figures show that as well."), true)
        } else {
            (format!("Others kept at most {most:.1} of {cores} cores busy."), false)
        }
    }
}

/// Of all cores: user, nice, system, and those taken by interrupts or by other guests.
fn busy_ticks() -> Result<u64> {
    let path = Path::new("/proc/stat");
    let text = tell("read", path, fs::read_to_string(path))?;
    let fields: Vec<u64> = text.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    match fields.as_slice() {
        [user, nice, system, _idle, _waiting, interrupt, soft, stolen] => {
            Ok(user + nice + system + interrupt + soft + stolen)
        }
        _ => Err("cannot understand /proc/stat".to_owned()),
    }
}

/// The kernel's release.
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// What processes have used since their start.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub cpu_ns: u64,
    pub switches: u64,
}

impl Cost {
    pub fn of(processes: &[i32]) -> Result<Cost> {
        let mut cost = Cost { cpu_ns: 0, switches: 0 };
        for process in processes {
            let path = PathBuf::from(format!("/proc/{process}/task"));
            for thread in tell("list", &path, fs::read_dir(&path))?.flatten() {
                let (status, times) = (thread.path().join("status"), thread.path().join("schedstat"));
                cost.switches += field(&status, "voluntary_ctxt_switches:")?;
                cost.switches += field(&status, "nonvoluntary_ctxt_switches:")?;
                cost.cpu_ns += field(&times, "")?;
            }
        }
        Ok(cost)
    }
}

/// MiB, what is shared being shared out among those who share it: `Pss:`, or one of its parts.
pub fn proportional_set(processes: &[i32], part: &str) -> Result<f64> {
    let sizes = processes.iter().map(|pid| field(Path::new(&format!("/proc/{pid}/smaps_rollup")), part));
    Ok(sizes.sum::<Result<u64>>()? as f64 / 1024.0)
}

fn field(path: &Path, name: &str) -> Result<u64> {
    let text = tell("read", path, fs::read_to_string(path))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{} has no '{name}'", path.display()))
}
