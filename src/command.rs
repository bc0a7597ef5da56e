//! The command: started, owned and ended together with everything that descends from it.
//!
//! The process that hosts it is a subreaper, so that no descendant can slip away: what is set aside by `setsid`
//! or a double fork comes back here, and "no child left" means that the whole tree is gone.

use std::collections::HashSet;
use std::ffi::{NulError, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::change::{ChangeSet, json_string};
use crate::config::{Config, StopGroup};
use crate::degraded::{Degraded, Named};
use crate::exit_code::CommandStatus;
use crate::generation::Generation;
use crate::listen;
use crate::os::fd::pipe;
use crate::os::process::{Harvest, own_pid, reap, was_stopped};
use crate::os::signals::{Dispositions, Signal, is_out_of_reach, send, send_to_group};
use crate::os::spawn::{Executable, Failure, Group, LISTEN_PID, Step, spawn};
use crate::os::tether::Tether;
use crate::os::tree::{Process, descendants};
use crate::os::{Errno, reason};
use crate::program;

/// `RELOADRUN_CHANGED` is cut to so many bytes: Linux takes 128 KiB for one variable (MAX_ARG_STRLEN).
const CHANGED_LIMIT: usize = 96 * 1024;

/// Names the process that LISTEN_PID means by its pidfd's inode: of another process it would be wrong.
const LISTEN_PIDFDID: &str = "LISTEN_PIDFDID";

/// The variable of sd_notify(3).
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The environment of a command.
#[derive(Debug)]
pub struct Variables {
    /// Names and values.
    pub all: Vec<(OsString, OsString)>,
    /// Whether `LISTEN_PID` is added, with the pid of the command.
    names_own_pid: bool,
}

impl Variables {
    /// The caller's, with what reloadrun tells.
    pub fn of_command(
        config: &Config,
        generation: Generation,
        changes: &ChangeSet,
        lockfile: Option<&Path>,
        supervisor: i32,
        notify_socket: Option<String>,
    ) -> Variables {
        let own: [(&str, Option<OsString>); 4] = [
            ("PWD", Some(config.shown_directory().into())),
            // Where there is none, one of a reloadrun around this one must not be taken for ours.
            ("RELOADRUN_LOCKFILE", lockfile.map(OsString::from)),
            ("RELOADRUN_GENERATION", Some(generation.to_string().into())),
            ("RELOADRUN_CHANGED", Some(changed_variable(changes).into())),
        ];
        let mut variables = config.given_variables();
        variables.retain(|(key, _)| own.iter().all(|(name, _)| key != name));
        variables.extend(own.into_iter().filter_map(|(key, value)| Some((key.into(), value?))));
        // Sockets that systemd handed to the supervisor are the command's, and it looks for its own pid there.
        let supervisor = supervisor.to_string();
        let activated = variables.iter().any(|(key, value)| key == LISTEN_PID && *value == *supervisor);
        let listens = !config.listen.is_empty();
        let names_own_pid = activated || listens;
        if names_own_pid {
            variables.retain(|(key, _)| key != LISTEN_PID && key != LISTEN_PIDFDID);
        }
        let held = if listens { Vec::from(listen::environment(&config.listen)) } else { Vec::new() };
        let notify = notify_socket.map(|address| (NOTIFY_SOCKET, address.into()));
        for (name, value) in held.into_iter().chain(notify) {
            variables.retain(|(key, _)| key != name);
            variables.push((name.into(), value));
        }
        Variables { all: variables, names_own_pid }
    }

    /// A program with this environment.
    ///
    /// # Errors
    /// A NUL byte stands somewhere.
    pub fn executable(&self, program: &Path, words: &[OsString], directory: &Path) -> Result<Executable, NulError> {
        Executable::new(program, words, directory, &self.all, self.names_own_pid)
    }
}

/// A running command and its tree.
#[derive(Debug)]
pub struct Command {
    leader: i32,
    leader_alive: bool,
    /// The main process of a command that has set itself aside.
    main: Option<Process>,
    /// The group that hears the stop signal; never our own.
    group: Group,
    group_asked: bool,
    asked: HashSet<i32>,
    /// Whether somebody of the tree may not be signalled.
    refused: bool,
    started: Instant,
    /// Kills the group when we are killed. A system that cannot do that leaves only the first process to die with us.
    _tether: Option<Tether>,
}

/// What a look at the tree found.
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    /// The command's own end, if it has come.
    pub leader: Option<CommandStatus>,
    /// The ends of others: orphans of the tree, and what the child itself has started.
    pub others: Vec<(i32, CommandStatus)>,
    /// Whether nothing at all is left.
    pub tree_gone: bool,
}

impl Command {
    /// Makes everything ready for [`Command::start`]: finds the program.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn prepare(config: &Config, variables: &Variables) -> Result<Executable, CommandStatus> {
        let path = variables.all.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
        let words = config.words();
        let name = words.first().map(OsString::as_os_str).unwrap_or_default();
        let program = program::find(name, &config.directory, path)?;
        variables.executable(&program, words, &config.directory).map_err(|_| {
            CommandStatus::CannotRun("a NUL byte stands in the command, its directory or environment".into())
        })
    }

    /// The tree of a child that has started no command.
    pub fn nobody() -> Command {
        Command {
            leader: 0,
            leader_alive: false,
            main: None,
            group: Group::Own,
            group_asked: false,
            asked: HashSet::new(),
            refused: false,
            started: Instant::now(),
            _tether: None,
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn start(executable: &Executable, group: Group, dispositions: &Dispositions) -> Result<Command, CommandStatus> {
        let tether = Tether::new().ok();
        // The watcher lists directories later. A command that leaves no descriptor for that must not start.
        pipe().map_err(|errno| CommandStatus::CannotRun(program::reason(errno)))?;
        let leader = spawn(executable, group, tether.as_ref(), dispositions)
            .map_err(|failure| CommandStatus::CannotRun(sentence(executable, failure)))?;
        Ok(Command {
            leader,
            leader_alive: true,
            main: None,
            group,
            group_asked: false,
            asked: HashSet::new(),
            refused: false,
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
        (self.group == Group::Own && self.leader_alive).then_some(self.leader)
    }

    /// How long it has run.
    pub fn ran(&self) -> Duration {
        self.started.elapsed()
    }

    /// From now on this is the process that signals go to.
    pub fn follow(&mut self, main: Option<Process>) {
        self.main = main.filter(|process| process.pid != self.leader);
    }

    /// Sends a signal to the command's main process alone, which is its first one unless [`Command::follow`] says otherwise:
    /// servers pass it on to their workers as they see fit.
    ///
    /// # Errors
    /// It may not be signalled.
    pub fn signal(&self, signal: Signal) -> Result<(), Degraded> {
        if let Some(main) = &self.main {
            return match main.signal(signal) {
                Err(Errno::EPERM) => Err(Degraded::SignalRefused { signal: signal.to_string(), process: named(main) }),
                _ => Ok(()),
            };
        }
        // Until it is collected, its number is nobody else's. It may have ended this very moment.
        if self.leader_alive && send(self.leader, signal) == Err(Errno::EPERM) {
            let gone = Named { pid: self.leader, name: String::new(), owner: String::new() };
            let process = Process::of(self.leader).map_or(gone, |process| named(&process));
            return Err(Degraded::SignalRefused { signal: signal.to_string(), process });
        }
        Ok(())
    }

    /// Asks the command to end: its process group, or its first process alone.
    pub fn ask(&mut self, signal: Signal, whom: StopGroup) {
        match self.group {
            _ if whom == StopGroup::Main => self.ask_leader(signal),
            Group::Own if self.leader_alive => {
                self.group_asked = true;
                let _ = send_to_group(self.leader, signal);
                let _ = send_to_group(self.leader, Signal::CONT);
            }
            // The number of the group may be somebody else's by now.
            Group::Own => self.ask_rest(signal),
            // The group is the terminal's: the supervisor and the user's shell pipeline live in it too.
            Group::Join(shared) => {
                self.group_asked = true;
                for process in descendants(own_pid()).iter().filter(|process| process.group == shared) {
                    self.ask_one(process, signal);
                }
            }
        }
        if self.leader_alive && is_out_of_reach(self.leader) {
            // It was not asked, so it will not tell the others: sudo may run them in a group of their own.
            self.refused = true;
            self.ask_rest(signal);
        }
    }

    /// The others hear nothing of it until the leader has ended: it may want their work to be done first.
    fn ask_leader(&mut self, signal: Signal) {
        if !self.leader_alive {
            // Whoever set itself aside ends its workers itself.
            return match self.main.filter(|main| self.asked.insert(main.pid)) {
                Some(main) => self.ask_one(&main, signal),
                None => self.ask_rest(signal),
            };
        }
        let _ = send(self.leader, signal);
        // Stopped, it would hear nothing; and it may wait for others that are stopped.
        match self.group {
            Group::Own => drop(send_to_group(self.leader, Signal::CONT)),
            Group::Join(shared) => {
                for process in descendants(own_pid()).iter().filter(|process| process.group == shared) {
                    let _ = process.signal(Signal::CONT);
                }
            }
        }
    }

    /// Asks those of the tree who have not been asked: they left the group, or the leader was gone before the stop, or was
    /// to be asked alone.
    pub fn ask_rest(&mut self, signal: Signal) {
        let group = match self.group {
            Group::Own => self.leader,
            Group::Join(shared) => shared,
        };
        for process in descendants(own_pid()) {
            let asked = self.group_asked && process.group == group;
            if !asked && self.asked.insert(process.pid) {
                self.ask_one(&process, signal);
            } else if asked {
                self.refused |= process.is_out_of_reach();
            }
        }
    }

    /// A stopped process hears nothing but CONT and KILL.
    fn ask_one(&mut self, process: &Process, signal: Signal) {
        self.refused |= process.signal(signal) == Err(Errno::EPERM);
        let _ = process.signal(Signal::CONT);
    }

    /// Kills everyone in the tree.
    pub fn kill_all(&mut self) {
        if self.group == Group::Own && self.leader_alive {
            let _ = send_to_group(self.leader, Signal::KILL);
        }
        for process in descendants(own_pid()) {
            self.refused |= process.signal(Signal::KILL) == Err(Errno::EPERM);
        }
    }

    /// Whether somebody of the tree could not be signalled.
    pub fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whoever is left, if none of them may be signalled: there is nothing to wait for.
    pub fn left_out_of_reach(&self) -> Vec<Process> {
        let left = descendants(own_pid());
        if left.iter().all(Process::is_out_of_reach) { left } else { Vec::new() }
    }

    /// Whoever is left.
    pub fn left(&self) -> Vec<Process> {
        descendants(own_pid())
    }

    /// Whether the command's first process was stopped since the last time somebody asked.
    pub fn was_stopped(&self) -> bool {
        self.leader_alive && was_stopped(self.leader)
    }

    /// Collects the dead.
    pub fn collect(&mut self) -> Collected {
        let (mut leader, mut others) = (None, Vec::new());
        loop {
            match reap() {
                Harvest::Ended(pid, status) if pid == self.leader && self.leader_alive => {
                    self.leader_alive = false;
                    leader = Some(status);
                }
                Harvest::Ended(pid, status) => others.push((pid, status)),
                Harvest::AllAlive => return Collected { leader, others, tree_gone: false },
                Harvest::NoneLeft => return Collected { leader, others, tree_gone: true },
            }
        }
    }
}

/// The sentence about processes that may not be signalled.
pub fn out_of_reach(left: &[Process]) -> Degraded {
    Degraded::OutOfReach { processes: left.iter().map(named).collect() }
}

fn sentence(executable: &Executable, Failure { step, errno }: Failure) -> String {
    match step {
        Step::Clone => program::reason(errno),
        Step::Directory => format!("its directory {}: {}", executable.directory().display(), reason(errno)),
        _ => format!("{}: {}", executable.program().display(), program::reason(errno)),
    }
}

fn named(process: &Process) -> Named {
    Named { pid: process.pid, name: process.name(), owner: process.owner() }
}

/// Whether all these paths fit into `RELOADRUN_CHANGED`.
pub fn changes_fit(changes: &ChangeSet) -> bool {
    changes.paths().map(|path| json_string(path).len() + 1).sum::<usize>() + 2 <= CHANGED_LIMIT
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
