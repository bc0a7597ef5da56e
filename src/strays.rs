//! Strays: descendants of the command that left its process group. Each is tethered to this process as soon as it is
//! seen, so that the kernel kills it when supervisor and child are killed in the same moment and nobody is left who
//! could.

use std::collections::HashMap;

use crate::os::process::own_pid;
use crate::os::tether::Tether;
use crate::os::tree::{Process, descendants};

/// So many at once; each takes two descriptors.
const MOST: usize = 128;

/// What a tether holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Hold {
    /// A group in a session that somebody of the tree began: it can hold nobody else's processes.
    Group(i32),
    /// A single process: groups of our own session may be shared with strangers, the terminal's above all.
    Process(i32),
}

/// The strays of one command, as far as they have been seen.
#[derive(Debug)]
pub struct Strays {
    /// The command's own group, tethered from its beginning.
    group: Option<i32>,
    held: HashMap<Hold, Tether>,
}

impl Strays {
    /// None yet, of a command that leads this group, or none.
    pub fn of(group: Option<i32>) -> Strays {
        Strays { group, held: HashMap::new() }
    }

    /// Looks for new ones, and forgets those that are gone. Its cost is that of a walk through the tree.
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
        // A number that was given away between the look and the tether names somebody else. Who is there before and
        // after has been there all the time.
        let after: Vec<Hold> =
            descendants(own.pid).iter().filter_map(|process| self.hold(process, own.session)).collect();
        for hold in fresh.iter().filter(|hold| !after.contains(hold)) {
            if let Some(tether) = self.held.remove(hold) {
                tether.release();
            }
        }
    }

    /// Lets go of whoever was not seen. It need not be gone: a walk may miss a process that changes its parent in that
    /// moment, and then the next look finds it again.
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
    fn whoever_a_look_misses_is_let_go_and_lives() {
        let mut missed = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let group = i32::try_from(missed.id()).unwrap();
        let tether = Tether::new().unwrap();
        tether.hold_group(group).unwrap();
        let mut strays = Strays::of(None);
        strays.held.insert(Hold::Group(group), tether);
        strays.forget_all_but(&[]);
        assert!(strays.held.is_empty());
        // Of a KILL before it, it would have died.
        send(group, Signal::TERM).unwrap();
        assert_eq!(missed.wait().unwrap().signal(), Some(Signal::TERM.number()));
    }

    fn process(pid: i32, group: i32, session: i32) -> Process {
        Process { pid, parent: 1, group, session, state: 'S', started: 0 }
    }

    #[test]
    fn only_a_group_of_a_session_that_the_tree_began_is_held_as_a_whole() {
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
        assert_eq!(shared.hold(&process(11, 5, 5), 5), Some(Hold::Process(11)), "the terminal's group is not ours");
    }
}
