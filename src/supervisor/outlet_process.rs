//! The outlet as its supervisor holds it: a process that answers HTTP requests (`--http`), and is a client of the run like any other.
//!
//! | what happens                | what follows                                                                |
//! |-----------------------------|-----------------------------------------------------------------------------|
//! | the run has begun           | it is forked, with one end of a connection and the sockets                  |
//! | it has ended, or no fork    | told once; another one after 100 ms, twice as long each time, 30 s at most |
//! | it has run for a while      | the next delay is the shortest                                              |
//! | the run ends                | it is killed: it has nothing to put in order                                |
//!
//! The sockets stay open here, so that requests wait while nobody is there to answer them.

use std::os::fd::OwnedFd;
use std::time::Instant;

use super::facts::Before;
use super::host::{Host, OutletTies};
use super::server::Server;
use crate::degraded::Degraded;
use crate::event::What;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::listen::OutletSocket;
use crate::os;
use crate::os::local::Connection;
use crate::os::process::{end_with_parent, fork_child, lead_own_group, own_pid, parent_pid};
use crate::restart::Backoff;

/// The outlet of a run.
#[derive(Debug)]
pub struct OutletProcess {
    sockets: Vec<OutletSocket>,
    state: State,
    backoff: Backoff,
    /// Whether it was told that one has ended.
    told: bool,
    news: Option<Degraded>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// It is to be started then.
    Due(Instant),
    /// It has this pid, and has run since.
    Runs(i32, Instant),
}

impl OutletProcess {
    /// Not started yet. `None` where nobody wants one.
    pub fn new(sockets: Vec<OutletSocket>, now: Instant) -> Option<OutletProcess> {
        let (state, backoff) = (State::Due(now), Backoff::new());
        (!sockets.is_empty()).then_some(OutletProcess { sockets, state, backoff, told: false, news: None })
    }

    /// Where it answers, to be told.
    pub fn served(&self) -> Vec<What> {
        let url = |one: &OutletSocket| format!("http://{}", one.address);
        self.sockets.iter().map(|one| What::Serving { option: one.purpose.option(), url: url(one) }).collect()
    }

    /// When it is to be started.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Due(due) => Some(due),
            State::Runs(..) => None,
        }
    }

    /// What is to be told.
    pub fn news(&mut self) -> Option<Degraded> {
        self.news.take()
    }

    /// Starts it, if that is due. Nobody below it belongs to the command, so `before` is to leave it out.
    pub fn tend(&mut self, server: &mut Server, before: &mut Before, host: &dyn Host, now: Instant) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        match self.fork(host) {
            Ok((pid, connection)) => {
                before.leave_out(pid);
                server.adopt(connection);
                self.state = State::Runs(pid, now);
            }
            Err(errno) => self.is_gone(format!("cannot be started ({})", os::reason(errno)), now, now),
        }
    }

    fn fork(&self, host: &dyn Host) -> Result<(i32, Connection), os::Errno> {
        let (kept, given) = Connection::pair().map_err(|error| os::errno(&error))?;
        let supervisor = own_pid();
        let pid = fork_child(|| {
            // What the terminal sends is not for it.
            lead_own_group();
            end_with_parent();
            if parent_pid() != supervisor {
                return ExitCode::OWN_FAILURE;
            }
            let _ = os::fd::leave_standard_streams();
            let given = OwnedFd::from(given);
            let mut own: Vec<&OwnedFd> = self.sockets.iter().map(|one| &one.socket).collect();
            own.push(&given);
            os::fd::close_everything_but(&own);
            host.be_outlet(OutletTies { connection: given, sockets: &self.sockets })
        })?;
        Ok((pid, kept))
    }

    /// Takes in that a process of ours has ended; says whether it was the outlet.
    pub fn takes_end(&mut self, pid: i32, status: &CommandStatus, before: &mut Before, now: Instant) -> bool {
        let State::Runs(_, began) = self.state else { return false };
        if !matches!(self.state, State::Runs(own, _) if own == pid) {
            return false;
        }
        before.take_back(pid);
        self.is_gone(status.to_string(), began, now);
        true
    }

    fn is_gone(&mut self, how: String, began: Instant, now: Instant) {
        let delay = self.backoff.after(now.saturating_duration_since(began));
        self.state = State::Due(now + delay);
        if !std::mem::replace(&mut self.told, true) {
            self.news = Some(Degraded::OutletEnded { how, delay });
        }
    }

    /// Ends it.
    pub fn end(self) {
        if let State::Runs(pid, _) = self.state {
            os::process::put_to_end(pid);
        }
    }
}
