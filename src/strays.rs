//! Strays: descendants of the command that left its process group. Each gets a tether (see `os::tether`) as soon as it
//! is seen: the kernel kills it when this process ends. This covers the case that supervisor and child are killed in
//! the same moment, so that neither can clean up.

use std::collections::HashMap;

use crate::os::process::own_pid;
use crate::os::tether::Tether;
use crate::os::tree::{Process, descendants};

/// The most tethers at once; each takes two descriptors.
const MOST: usize = 128;

/// What a tether holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Hold {
    /// A process group in a session that the tree started: all its processes belong to the tree.
    Group(i32),
    /// A single process. A process group in our own session may contain other processes, such as the user's shell.
    Process(i32),
}

/// The strays of one command that have been seen.
#[derive(Debug)]
pub struct Strays {
    /// The command's own process group, which has a tether from its start.
    group: Option<i32>,
    held: HashMap<Hold, Tether>,
}

impl Strays {
    /// Starts empty. `group` is the command's own process group, if it has one.
    pub fn of(group: Option<i32>) -> Strays {
        Strays { group, held: HashMap::new() }
    }

    /// Adds tethers for new strays and releases those of strays that are gone. Costs one walk through the process tree,
    /// and a second one if there are new strays.
    pub fn look(&mut self) {
        let Some(own) = Process::of(own_pid()) else { return };
        let present: Vec<Hold> =
            descendants(own.pid).iter().filter_map(|process| self.hold(process, own.session)).collect();
        self.forget_all_but(&present);
        let mut fresh = Vec::new();
        for hold in present {
            if self.held.contains_key(&hold) || self.held.len() >= MOST {
                continue;
            }
            let Ok(tether) = Tether::new() else { break };
            let done = match hold {
                Hold::Group(group) => tether.hold_group(group),
                Hold::Process(pid) => tether.hold_process(pid),
            };
            if done.is_ok() {
                self.held.insert(hold, tether);
                fresh.push(hold);
            }
        }
        if fresh.is_empty() {
            return;
        }
        // Between the walk and the tether, the number may have been reused for a foreign process. A stray that is still
        // there in a second walk was there all the time.
        let after: Vec<Hold> =
            descendants(own.pid).iter().filter_map(|process| self.hold(process, own.session)).collect();
        for hold in fresh.iter().filter(|hold| !after.contains(hold)) {
            if let Some(tether) = self.held.remove(hold) {
                tether.release();
            }
        }
    }

    /// Releases the tethers of strays that were not seen. They may still exist: a walk can miss a process whose parent
    /// changes in that moment, and the next walk finds it again.
    fn forget_all_but(&mut self, present: &[Hold]) {
        self.held.extract_if(|hold, _| !present.contains(hold)).for_each(|(_, tether)| tether.release());
    }

    fn hold(&self, process: &Process, session: i32) -> Option<Hold> {
        if process.session != session {
            Some(Hold::Group(process.group))
        } else if self.group == Some(process.group) {
            None
        } else {
            Some(Hold::Process(process.pid))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Hold, Strays};
    use crate::os::signals::{Signal, send};
    use crate::os::tether::Tether;
    use crate::os::tree::Process;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    #[test]
    fn a_stray_that_a_walk_misses_is_released_and_not_killed() {
        let mut missed = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let group = i32::try_from(missed.id()).unwrap();
        let tether = Tether::new().unwrap();
        tether.hold_group(group).unwrap();
        let mut strays = Strays::of(None);
        strays.held.insert(Hold::Group(group), tether);
        strays.forget_all_but(&[]);
        assert!(strays.held.is_empty());
        // An earlier KILL would show up as the signal that ended it.
        send(group, Signal::TERM).unwrap();
        assert_eq!(missed.wait().unwrap().signal(), Some(Signal::TERM.number()));
    }

    fn process(pid: i32, group: i32, session: i32) -> Process {
        Process { pid, parent: 1, group, session, state: 'S', started: 0 }
    }

    #[test]
    fn only_a_group_in_a_session_of_the_tree_is_held_as_a_whole() {
        let strays = Strays::of(Some(10));
        for (process, expected) in [
            (process(11, 10, 5), None),
            (process(12, 12, 12), Some(Hold::Group(12))),
            (process(14, 13, 12), Some(Hold::Group(13))),
            (process(15, 15, 5), Some(Hold::Process(15))),
            (process(16, 5, 5), Some(Hold::Process(16))),
        ] {
            assert_eq!(strays.hold(&process, 5), expected, "{process:?}");
        }
        let shared = Strays::of(None);
        assert_eq!(
            shared.hold(&process(11, 5, 5), 5),
            Some(Hold::Process(11)),
            "the terminal's process group is shared"
        );
    }
}
