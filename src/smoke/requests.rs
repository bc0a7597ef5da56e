//! Requests to the probe, one after the other, while a generation replaces another: none may fail. They may hang, so a process of
//! their own makes them.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::os::Errno;
use crate::os::fd::{close_all_but, make_non_blocking, pipe, read_some};
use crate::os::process::{end_at_parents_end, fork_child, lead_own_group};
use crate::os::signals::{Signal, send, unblock};
use crate::probe::Probe;
use crate::ready::place::request;

/// A client that gives up sooner cannot be served by a server that starts slowly.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// The process that makes requests.
#[derive(Debug)]
pub struct Requests {
    /// Its pid.
    pub pid: i32,
    said: OwnedFd,
    unread: Vec<u8>,
    /// How many were answered.
    pub answered: u64,
}

/// Whether requests can be made by the probe of this config, and no generation may answer worse than another.
pub fn can_be_made(config: &Config) -> bool {
    match &config.ready {
        Some(Probe::Http { .. }) => !config.listen.is_empty(),
        // One that asks for a certain generation or pid fails between two of them as it should.
        Some(Probe::Exec(line)) => (config.overlap || !config.listen.is_empty()) && !line.contains("RELOADRUN_"),
        _ => false,
    }
}

impl Requests {
    /// Begins.
    ///
    /// # Errors
    /// No descriptor and no process is left.
    pub fn begin(config: &Config) -> Result<Requests, Errno> {
        let (said, writer) = pipe()?;
        make_non_blocking(&said)?;
        let pid = fork_child(move || {
            close_all_but(&[&writer]);
            lead_own_group();
            end_at_parents_end();
            unblock(&[Signal::TERM]);
            let mut out = std::fs::File::from(writer);
            loop {
                let answer = make(config);
                let line = match &answer {
                    Ok(()) => "\n".to_owned(),
                    Err(how) => format!("{}\n", how.replace('\n', " ")),
                };
                if out.write_all(line.as_bytes()).is_err() || answer.is_err() {
                    return ExitCode::SUCCESS;
                }
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(Requests { pid, said, unread: Vec::new(), answered: 0 })
    }

    /// Where its words come from.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.said.as_fd()
    }

    /// Takes in what it has said. Returns whether the first answer is among it.
    ///
    /// # Errors
    /// How a request failed.
    pub fn listen(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = read_some(&self.said, &mut buffer) {
            self.unread.extend_from_slice(&buffer[..count]);
        }
        let before = self.answered;
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match String::from_utf8_lossy(&line).trim_end() {
                "" => self.answered += 1,
                how => return Err(how.to_owned()),
            }
        }
        Ok(before == 0 && self.answered > 0)
    }

    /// Makes no more.
    pub fn end(&self) {
        let _ = send(self.pid, Signal::KILL);
    }
}

fn make(config: &Config) -> Result<(), String> {
    match &config.ready {
        Some(Probe::Exec(line)) => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", line]).current_dir(&config.directory);
            shell.env_clear().envs(config.given_variables());
            shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            match shell.status() {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("the probe ended with {status}")),
                Err(error) => Err(crate::os::reason(error)),
            }
        }
        Some(probe) => request(probe, LIMIT),
        None => Ok(()),
    }
}
