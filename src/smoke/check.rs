//! The check: a line for the shell, below a process of its own, which ends the whole tree of it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::Command;
use crate::config::{Config, StopGroup};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::Errno;
use crate::os::fd::{close_all_but, pipe, read_to_end, wait_readable, write_some};
use crate::os::process::{become_subreaper, continue_at_parents_end, fork_child, lead_own_group, own_pid, parent_pid};
use crate::os::signals::{Dispositions, Signal, SignalStream, send, send_to_group};
use crate::os::spawn::{Executable, Group};
use crate::ready::place::Place;

/// How long the check's tree may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How often processes are killed that do not end by that.
const KILL_AGAIN: Duration = Duration::from_millis(50);

/// What may not be killed is left after so many times.
const KILLS: u32 = 20;

/// What the host of a check hears.
const AWAITED: [Signal; 5] = [Signal::TERM, Signal::QUIT, Signal::CHLD, Signal::TSTP, Signal::CONT];

/// What a server leaves in the environment that is none of the check's.
const NOT_FOR_CHECKS: [&str; 8] = [
    "RELOADRUN_LOCKFILE",
    "RELOADRUN_CHANGED",
    "RELOADRUN_CONTROL",
    "RELOADRUN_GENERATION",
    "RELOADRUN_URL",
    "RELOADRUN_ADDRESS",
    "NOTIFY_SOCKET",
    "PWD",
];

/// A check that runs.
#[derive(Debug)]
pub struct Check {
    /// The pid of its host.
    pub pid: i32,
    began: Instant,
    result: OwnedFd,
    asked: bool,
}

impl Check {
    /// Starts the line for the shell.
    ///
    /// # Errors
    /// No descriptor and no process is left.
    pub fn start(
        config: &Config,
        line: &str,
        place: &Place,
        generation: Generation,
        dispositions: &Dispositions,
    ) -> Result<Check, Errno> {
        let (result, writer) = pipe()?;
        let parent = own_pid();
        let variables = variables(config, place, generation);
        let pid = fork_child(move || {
            let status = host(config, line, &variables, dispositions, parent, &writer);
            let text = serde_json::to_vec(&status).unwrap_or_default();
            let _ = write_some(&writer, &text);
            ExitCode::SUCCESS
        })?;
        Ok(Check { pid, began: Instant::now(), result, asked: false })
    }

    /// Asks its tree to end, or kills it.
    pub fn end(&mut self, kill: bool) {
        let _ = send(self.pid, Signal::TERM);
        // The host takes the second one for KILL.
        if kill && !self.asked {
            let _ = send(self.pid, Signal::QUIT);
        }
        self.asked = true;
    }

    /// Stops and continues its group.
    pub fn signal(&self, signal: Signal) {
        let _ = send(self.pid, signal);
    }

    /// How it ended, once its host has.
    pub fn status(self, host: CommandStatus) -> (CommandStatus, Duration) {
        let ran = self.began.elapsed();
        let told = read_to_end(self.result).ok().and_then(|text| serde_json::from_slice(&text).ok());
        (told.unwrap_or(host), ran)
    }
}

/// The environment of the server, without what is the server's own, and with where it is reached.
fn variables(config: &Config, place: &Place, generation: Generation) -> Vec<(OsString, OsString)> {
    let mut variables = config.given_variables();
    variables.retain(|(name, _)| NOT_FOR_CHECKS.iter().all(|other| name != other));
    let own = [
        ("PWD", Some(config.shown_directory().into())),
        ("RELOADRUN_GENERATION", Some(generation.to_string().into())),
        ("RELOADRUN_ADDRESS", place.address.clone().map(OsString::from)),
        ("RELOADRUN_URL", place.url.clone().map(OsString::from)),
    ];
    variables.extend(own.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
    variables
}

/// Runs the line and ends what it leaves; the life of the host.
fn host(
    config: &Config,
    line: &str,
    variables: &[(OsString, OsString)],
    dispositions: &Dispositions,
    parent: i32,
    writer: &OwnedFd,
) -> CommandStatus {
    close_all_but(&[writer]);
    lead_own_group();
    let _ = become_subreaper();
    continue_at_parents_end();
    let failed = |reason: &str| CommandStatus::CannotRun(reason.to_owned());
    let Ok(signals) = SignalStream::of(&AWAITED) else {
        return failed("no descriptor is left");
    };
    let words: [OsString; 3] = ["sh".into(), "-c".into(), line.into()];
    let executable = Executable::new(Path::new("/bin/sh"), &words, &config.directory, variables, false);
    let Ok(executable) = executable else { return failed("a NUL byte stands in it") };
    match Command::start(&executable, Group::Own, dispositions) {
        Ok(command) => wait(command, &signals, parent),
        Err(status) => status,
    }
}

fn wait(mut command: Command, signals: &SignalStream, parent: i32) -> CommandStatus {
    let mut status = None;
    let mut kill_at = None;
    let mut kills = 0;
    loop {
        let _ = wait_readable([signals.as_fd()], kill_at);
        let now = Instant::now();
        while let Some(received) = signals.next() {
            match received.signal {
                Signal::TERM if kill_at.is_none() => {
                    command.ask(Signal::TERM, StopGroup::All);
                    kill_at = Some(now + GRACE);
                }
                Signal::TERM | Signal::QUIT => kill_at = Some(now),
                // The host goes on: it must hear of the end.
                Signal::TSTP => drop(command.own_group().map(|group| send_to_group(group, Signal::STOP))),
                Signal::CONT => drop(command.own_group().map(|group| send_to_group(group, Signal::CONT))),
                _ => {}
            }
        }
        if parent_pid() != parent && kills == 0 {
            kill_at = Some(now);
        }
        let collected = command.collect();
        if let Some(ended) = collected.leader {
            status = Some(ended);
            command.ask_rest(Signal::TERM);
            kill_at = kill_at.or(Some(now + GRACE));
        }
        if kill_at.is_some_and(|at| at <= now) {
            command.kill_all();
            kills += 1;
            kill_at = Some(now + KILL_AGAIN);
        }
        if let (Some(status), true) = (&status, collected.tree_gone || kills > KILLS) {
            return status.clone();
        }
    }
}
