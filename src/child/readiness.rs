//! `--ready` in the child: sets up the probe before the command starts, and passes on what the asking thread tells.

use std::ffi::OsString;
use std::path::Path;

use super::inbox::Voice;
use super::step::Input;
use crate::config::Config;
use crate::listen;
use crate::os;
use crate::os::signals::Dispositions;
use crate::os::spawn::{Executable, Group, spawn};
use crate::protocol::Report;
use crate::ready::{Asking, News, Prober, StartProbe};

/// The pid of the command, for an `exec:` probe.
const COMMAND_PID: &str = "RELOADRUN_PID";

/// The probe of a command that is about to start, if one is configured.
///
/// # Errors
/// No descriptor is left.
pub fn set_up(config: &Config, supervisor: i32) -> std::io::Result<Option<Prober>> {
    let Some(probe) = config.ready.clone() else { return Ok(None) };
    let held = listen::held_inodes(&config.listen, &config.environment, supervisor);
    Prober::set_up(probe, config.ready_timeout, held).map(Some)
}

/// Asks from now on. `environment` is the command's.
///
/// # Errors
/// No thread and no descriptor is left.
pub fn start(
    prober: Prober,
    config: &Config,
    mut environment: Vec<(OsString, OsString)>,
    command: i32,
    dispositions: &Dispositions,
    voice: Voice,
) -> std::io::Result<Asking> {
    environment.push((COMMAND_PID.into(), command.to_string().into()));
    let (directory, dispositions) = (config.directory.clone(), dispositions.clone());
    let start_probe: StartProbe = Box::new(move |line| {
        // Its output would stand among the command's at each attempt.
        let line = format!("exec </dev/null >/dev/null 2>&1\n{line}");
        let words = ["sh".into(), "-c".into(), line.into()];
        let executable = Executable::new(Path::new("/bin/sh"), &words, &directory, &environment, false)
            .map_err(|_| "it contains a NUL byte".to_owned())?;
        spawn(&executable, Group::Own, None, &dispositions).map_err(|failure| os::reason(failure.errno))
    });
    prober.start(start_probe, move |news| match news {
        News::Ready(ready) => voice.input(Input::Ready(ready)),
        News::Reloading { answers } => voice.input(Input::Reloading { answers }),
        News::Unanswered(number) => voice.input(Input::Unanswered(number)),
        News::Status(message) => voice.report(Report::Status { message }),
        News::Degraded(degraded) => voice.report(Report::Degraded(degraded)),
    })
}
