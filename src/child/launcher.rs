//! Starts the processes of a child: the command, with whoever asks whether it is ready, and the jobs beside it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::inbox::Voice;
use super::job::{self, Hosted, Refused};
use super::readiness;
use crate::advice;
use crate::change::ChangeSet;
use crate::command::{Command, Variables};
use crate::config::{Config, OnChange};
use crate::exit_code::CommandStatus;
use crate::generation::Generation;
use crate::os;
use crate::os::seccomp::Installation;
use crate::os::signals::Dispositions;
use crate::os::spawn::{Executable, Group};
use crate::ready::{Asking, Prober};
use crate::report;

/// What all processes of a child have in common.
pub struct Launcher<'a> {
    /// What the user asked for.
    pub config: &'a Config,
    /// Of this child.
    pub generation: Generation,
    /// The heartbeat lockfile, if there is one.
    pub lockfile: Option<PathBuf>,
    /// The supervisor's pid.
    pub supervisor: i32,
    /// Where the command belongs.
    pub group: Group,
    /// Those of the caller, and what we ask for can arrive.
    pub dispositions: Dispositions,
    /// To the main thread.
    pub voice: Voice,
}

/// A command that is ready to be started.
pub struct Launch {
    executable: Executable,
    /// Asks whether it is ready, with its environment.
    prober: Option<(Prober, Variables)>,
}

/// A command that was started.
pub struct Launched {
    /// The command.
    pub command: Command,
    /// Asks whether it is ready.
    pub asking: Option<Asking>,
}

impl Launcher<'_> {
    /// Makes the command ready: all that need not be done between the last look at the files and its start.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn load(&self, changes: &ChangeSet) -> Result<Launch, CommandStatus> {
        let prober = readiness::set_up(self.config, self.supervisor)
            .map_err(|error| CommandStatus::CannotRun(os::reason(error)))?;
        let variables = self.variables(changes, prober.as_ref().and_then(Prober::notify_socket));
        let executable = Command::prepare(self.config, &variables).map_err(|status| self.explained(status))?;
        Ok(Launch { executable, prober: prober.map(|prober| (prober, variables)) })
    }

    /// Starts the command.
    ///
    /// # Errors
    /// The status of a command that could not begin.
    pub fn start(&self, launch: Launch, tracing: Option<Installation>) -> Result<Launched, CommandStatus> {
        let Launch { mut executable, prober } = launch;
        if let Some(installation) = tracing {
            executable.trace(installation);
        }
        let command =
            Command::start(&executable, self.group, &self.dispositions).map_err(|status| self.explained(status))?;
        // Whoever receives its calls waits until nobody here could send them.
        drop(executable);
        let asking = prober.and_then(|(prober, Variables { all, .. })| {
            let (pid, voice) = (command.pid(), self.voice.clone());
            let asking = readiness::start(prober, self.config, all, pid, &self.dispositions, voice);
            asking.map_err(|error| report::say(&no_thread(error))).ok()
        });
        Ok(Launched { command, asking })
    }

    /// Starts a process of a job.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start_job(
        &self,
        kind: job::Kind,
        changes: &ChangeSet,
        tracing: Option<Installation>,
    ) -> Result<Hosted, Refused> {
        let config = self.config;
        let (line, arguments): (_, Vec<OsString>) = match (kind, &config.on_change) {
            (job::Kind::Run, OnChange::Run(line)) => (line.as_str(), job::arguments(changes).collect()),
            (job::Kind::Run, _) | (job::Kind::Preparation, _) => {
                (config.prepare.as_deref().unwrap_or_default(), Vec::new())
            }
        };
        job::host(&self.variables(changes, None), &config.directory, line, arguments, tracing, &self.dispositions)
    }

    fn variables(&self, changes: &ChangeSet, notify_socket: Option<String>) -> Variables {
        let lockfile = self.lockfile.as_deref();
        Variables::of_command(self.config, self.generation, changes, lockfile, self.supervisor, notify_socket)
    }

    fn explained(&self, status: CommandStatus) -> CommandStatus {
        advice::explained(status, self.config)
    }
}

/// What a user reads where the system gives no thread.
pub fn no_thread(error: std::io::Error) -> String {
    format!("no thread can be had ({}); is the limit of processes reached (ulimit -u)?", os::reason(error))
}
