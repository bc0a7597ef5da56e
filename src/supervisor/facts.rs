//! Facts about the processes below us, gathered for the machine when it asks. Decides nothing.

use super::child_process::ChildProcess;
use super::job::Seen;
use super::sweep::Remains;
use crate::command::out_of_reach;
use crate::os;
use crate::os::process::{Harvest, own_pid, reap};
use crate::os::signals::Signal;
use crate::os::tree::{Process, descendants, descendants_but, is_hidden, with_the_dead};

/// Whom a look at the tree leaves out: a shell that became us by exec may have left us children, which are not ours.
#[derive(Debug)]
pub struct Before(Vec<i32>);

impl Before {
    /// Everyone who descends from us now.
    pub fn us() -> Before {
        Before(descendants(own_pid()).iter().map(|process| process.pid).collect())
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

/// Collects the dead, kills everyone who still descends from us, and says what remains. Where nobody collects orphans, a
/// zombie of ours would stay for ever.
pub fn sweep(before: &Before, children: &mut [ChildProcess]) -> Remains {
    loop {
        match reap() {
            Harvest::Ended(pid, _) => {
                children.iter_mut().filter(|child| child.pid() == pid).for_each(ChildProcess::was_collected);
            }
            Harvest::NoneLeft => return Remains::Nobody,
            Harvest::AllAlive => break,
        }
    }
    let (dead, alive): (Vec<Process>, Vec<Process>) =
        with_the_dead(own_pid(), &before.0).into_iter().partition(Process::is_dead);
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
