//! The command: started, owned and ended together with everything that descends from it.
//!
//! The process that hosts it is a subreaper, so that no descendant can slip away: what is set aside by `setsid`
//! or a double fork comes back here, and "no child left" means that the whole tree is gone.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::change::{ChangeSet, json_string};
use crate::config::Config;
use crate::exit_code::CommandStatus;
use crate::generation::Generation;
use crate::os::process::{Executable, Group, Harvest, execute, own_pid, reap, was_stopped};
use crate::os::signals::{Dispositions, Signal, send, send_to_group};
use crate::os::tether::Tether;
use crate::os::tree::descendants;

/// `RELOADRUN_CHANGED` is cut to so many bytes: Linux takes 128 KiB for one variable (MAX_ARG_STRLEN).
const CHANGED_LIMIT: usize = 96 * 1024;

/// A running command and its tree.
#[derive(Debug)]
pub struct Command {
    leader: i32,
    leader_alive: bool,
    /// The group that hears the stop signal; never our own.
    group: Group,
    group_asked: bool,
    asked: HashSet<i32>,
    started: Instant,
    /// Kills the group when we are killed. A system that cannot do that leaves only the first process to die with us.
    _tether: Option<Tether>,
}

/// What a look at the tree found.
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    /// The command's own end, if it has come.
    pub leader: Option<CommandStatus>,
    /// Whether nothing at all is left.
    pub tree_gone: bool,
}

impl Command {
    /// Makes everything ready for [`Command::start`]: finds the program, sets up its environment.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn prepare(
        config: &Config,
        generation: Generation,
        changes: &ChangeSet,
        lockfile: Option<&Path>,
    ) -> Result<Executable, CommandStatus> {
        let own: [(&str, Option<OsString>); 3] = [
            // Where there is none, one of a reloadrun around this one must not be taken for ours.
            ("RELOADRUN_LOCKFILE", lockfile.map(OsString::from)),
            ("RELOADRUN_GENERATION", Some(generation.to_string().into())),
            ("RELOADRUN_CHANGED", Some(changed_variable(changes).into())),
        ];
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        environment.retain(|(key, _)| own.iter().all(|(name, _)| key != name));
        environment.extend(own.into_iter().filter_map(|(key, value)| Some((key.into(), value?))));
        Executable::find(&config.command, &config.directory, &environment)
    }

    /// Starts it.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn start(executable: &Executable, group: Group, dispositions: &Dispositions) -> Result<Command, CommandStatus> {
        let tether = Tether::new().ok();
        let leader = execute(executable, group, tether.as_ref(), dispositions)?;
        Ok(Command {
            leader,
            leader_alive: true,
            group,
            group_asked: false,
            asked: HashSet::new(),
            started: Instant::now(),
            _tether: tether,
        })
    }

    /// Pid of the command's first process.
    pub fn pid(&self) -> i32 {
        self.leader
    }

    /// The process group that it leads, if it leads one.
    pub fn own_group(&self) -> Option<i32> {
        (self.group == Group::Own).then_some(self.leader)
    }

    /// How long it has run.
    pub fn ran(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sends a signal to the command's first process alone: servers pass it on to their workers as they see fit.
    pub fn signal(&self, signal: Signal) {
        if self.leader_alive {
            // It may have ended this very moment.
            let _ = send(self.leader, signal);
        }
    }

    /// Asks the command's process group to end.
    pub fn ask_group(&mut self, signal: Signal) {
        self.group_asked = true;
        match self.group {
            Group::Own => {
                let _ = send_to_group(self.leader, signal);
                let _ = send_to_group(self.leader, Signal::CONT);
            }
            // The group is the terminal's: the supervisor and the user's shell pipeline live in it too.
            Group::Join(shared) => {
                descendants(own_pid())
                    .iter()
                    .filter(|process| process.group == shared)
                    .for_each(|one| ask(one.pid, signal));
            }
        }
    }

    /// Asks those of the tree who have not been asked: they left the group, or the leader was gone before the stop.
    pub fn ask_rest(&mut self, signal: Signal) {
        let group = match self.group {
            Group::Own => self.leader,
            Group::Join(shared) => shared,
        };
        for process in descendants(own_pid()) {
            let asked = self.group_asked && process.group == group;
            if !asked && self.asked.insert(process.pid) {
                ask(process.pid, signal);
            }
        }
    }

    /// Kills everyone in the tree.
    pub fn kill_all(&self) {
        if self.group == Group::Own && self.leader_alive {
            let _ = send_to_group(self.leader, Signal::KILL);
        }
        for process in descendants(own_pid()) {
            let _ = send(process.pid, Signal::KILL);
        }
    }

    /// Pids of whoever is left.
    pub fn left(&self) -> Vec<i32> {
        descendants(own_pid()).iter().map(|process| process.pid).collect()
    }

    /// Whether the command's first process was stopped since the last time somebody asked.
    pub fn was_stopped(&self) -> bool {
        self.leader_alive && was_stopped(self.leader)
    }

    /// Collects the dead.
    pub fn collect(&mut self) -> Collected {
        let mut leader = None;
        loop {
            match reap() {
                Harvest::Ended(pid, status) if pid == self.leader && self.leader_alive => {
                    self.leader_alive = false;
                    leader = Some(status);
                }
                Harvest::Ended(..) => {}
                Harvest::AllAlive => return Collected { leader, tree_gone: false },
                Harvest::NoneLeft => return Collected { leader, tree_gone: true },
            }
        }
    }
}

/// A stopped process hears nothing but CONT and KILL.
fn ask(pid: i32, signal: Signal) {
    let _ = send(pid, signal);
    let _ = send(pid, Signal::CONT);
}

/// A JSON array of the changed paths; of very many, as many as fit.
fn changed_variable(changes: &ChangeSet) -> String {
    let mut size = 2;
    let paths: Vec<String> = changes
        .paths()
        .map(json_string)
        .take_while(|path| {
            size += path.len() + 1;
            size <= CHANGED_LIMIT
        })
        .collect();
    format!("[{}]", paths.join(","))
}
