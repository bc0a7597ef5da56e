//! Facts about the processes below us, gathered for the machine when it asks. Decides nothing.

use std::net::SocketAddr;

use super::child_process::ChildProcess;
use super::job::Seen;
use super::sweep::Remains;
use crate::command::out_of_reach;
use crate::os;
use crate::os::listeners::{listening, sockets_of};
use crate::os::process::own_pid;
use crate::os::signals::Signal;
use crate::os::tree::{Process, descendants, descendants_but, is_hidden, with_the_dead};

/// Whom a look at the tree leaves out: a shell that became us by exec may have left us children, which are not ours; and the
/// outlet.
#[derive(Debug)]
pub struct Before(Vec<i32>);

impl Before {
    /// Everyone who descends from us now.
    pub fn us() -> Before {
        Before(descendants(own_pid()).iter().map(|process| process.pid).collect())
    }

    /// Leaves out a process of our own that has nothing to do with the command.
    pub fn leave_out(&mut self, pid: i32) {
        self.0.push(pid);
    }

    /// It has ended; its number may be somebody else's from now on.
    pub fn take_back(&mut self, pid: i32) {
        self.0.retain(|one| *one != pid);
    }
}

/// Whether this process descends from us.
pub fn is_in_tree(pid: i32) -> bool {
    descendants(own_pid()).iter().any(|process| process.pid == pid)
}

/// Everyone who descends from us and lives.
pub fn seen(before: &Before, children: &[ChildProcess]) -> Vec<Seen> {
    let is_child = |pid: i32| children.iter().any(|child| child.pid() == pid);
    let everyone = descendants_but(own_pid(), &before.0).into_iter();
    everyone.map(|process| Seen { switches: process.switches(), is_child: is_child(process.pid), process }).collect()
}

/// Where a process of the command listens itself, if one does.
pub fn listens(before: &Before) -> Option<SocketAddr> {
    let sockets = descendants_but(own_pid(), &before.0).into_iter().filter_map(|process| sockets_of(process.pid).ok());
    listening(&sockets.flatten().collect())
}

/// Kills everyone who still descends from us, except for these children and those below them, and says what remains. The dead
/// have been collected: where nobody collects orphans, a zombie of ours would stay for ever.
pub fn sweep(before: &Before, spared: &[i32]) -> Remains {
    let without = [&before.0, spared].concat();
    let (dead, alive): (Vec<Process>, Vec<Process>) =
        with_the_dead(own_pid(), &without).into_iter().partition(Process::is_dead);
    let refused = |process: &Process| process.signal(Signal::KILL) == Err(os::Errno::EPERM);
    let refused = alive.iter().filter(|process| refused(process)).count();
    let to_collect = dead.iter().any(|process| process.parent == own_pid());
    if refused < alive.len() || to_collect {
        Remains::Some
    } else if !alive.is_empty() {
        Remains::OutOfReach(out_of_reach(&alive))
    } else if is_hidden() {
        Remains::Unseen
    } else {
        Remains::Nobody
    }
}
