//! The process that was started: waits for the host, and holds the listener of the command.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::host::{self, PASSED_ON};
use super::print::Format;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::filter::Filter;
use crate::os::fd::wait_readable;
use crate::os::process::{Harvest, become_subreaper, fork_child, own_group, own_pid, reap, was_stopped};
use crate::os::seccomp::deposit;
use crate::os::signals::{Dispositions, Signal, SignalStream, send};
use crate::os::spawn::Group;
use crate::os::tree::descendants;
use crate::os::tty;
use crate::os::{Errno, reason};

/// Processes that the host leaves behind are gone this fast, once they are killed.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// Runs the command of `config` and prints what was seen of it.
///
/// # Errors
/// It cannot be traced here; why. The command has not run then.
pub fn run(config: &Config, filter: &Filter, format: Format, dispositions: &Dispositions) -> Result<ExitCode> {
    let broken = |errno: Errno| Error::own(format!("cannot trace the command: {}", reason(errno)));
    let (kept, end) = deposit().map_err(broken)?;
    let mut awaited = PASSED_ON.to_vec();
    awaited.push(Signal::CHLD);
    let signals = SignalStream::of(&awaited).map_err(broken)?;
    let group = if tty::is_stdin() { Group::Join(own_group()) } else { Group::Own };
    // What the host would leave behind comes here.
    let _ = become_subreaper();
    let ties = host::Ties { holder: own_pid(), group, deposit: &end };
    let host = fork_child(|| host::run(config, filter, format, dispositions, &ties)).map_err(broken)?;
    drop(end);
    let ended = hold(host, group, &signals);
    drop(kept);
    ended
}

/// Waits for the end of the host. The listener lies in the deposit meanwhile.
fn hold(host: i32, group: Group, signals: &SignalStream) -> Result<ExitCode> {
    loop {
        let _ = wait_readable([signals.as_fd()], None);
        while let Some(received) = signals.next() {
            // What the terminal sends has reached the command, if it shares the terminal's group.
            let has_reached = received.from_terminal && matches!(group, Group::Join(_));
            if received.signal != Signal::CHLD && !has_reached {
                let _ = send(host, received.signal);
            }
        }
        if was_stopped(host) {
            // Every call of the command waits for it.
            let _ = send(host, Signal::CONT);
        }
        while let Harvest::Ended(pid, status) = reap() {
            if pid == host {
                let killed = !matches!(status, CommandStatus::Exited(_));
                end_orphans();
                return if killed {
                    Err(Error::own("the process that traced the command was killed; the command was ended"))
                } else {
                    Ok(status.code())
                };
            }
        }
    }
}

/// Kills what is left of the command.
fn end_orphans() {
    let until = Instant::now() + KILLED_WITHIN;
    while Instant::now() < until {
        for process in descendants(own_pid()) {
            let _ = process.signal(Signal::KILL);
        }
        if matches!(reap(), Harvest::NoneLeft) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
