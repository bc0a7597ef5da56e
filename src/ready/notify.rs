//! What a command tells by sd_notify(3): its messages, and the thread that listens to them until the command ends.
//!
//! READY, RELOADING with MONOTONIC_USEC, and STATUS are taken. MAINPID is not: the command's first process is the one that
//! reloadrun started. BARRIER needs nothing but that its descriptor is closed, which happens where it is received.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::news::News;
use super::owner::is_user_of_tree;
use super::reloads::{Action, Input, Reloads};
use crate::os::clock::monotonic_ns;
use crate::os::fd::{Bell, wait_readable};
use crate::os::notify::{Message, NotifySocket};

/// Between two states of the command that are told.
const BETWEEN_STATES: Duration = Duration::from_millis(500);

/// So many messages are taken at a time, however fast they come. The kernel keeps 10 of them.
const MOST_AT_ONCE: usize = 64;

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    ready: bool,
    /// With its time, if that was said.
    reloading: Option<Option<i64>>,
    /// What it is doing, for people.
    status: Option<String>,
}

/// Reads a message: `NAME=VALUE`, one a line. Of several lines with one name the last counts. C programs may send the NUL at the
/// end of their string too.
fn read(message: &str) -> Said {
    let mut said = Said::default();
    let mut at = None;
    for line in message.strip_suffix('\0').unwrap_or(message).lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => said.ready = true,
            Some(("RELOADING", "1")) => said.reloading = Some(None),
            // A time that is none is before every signal.
            Some(("MONOTONIC_USEC", text)) => at = Some(text.parse().unwrap_or(0)),
            Some(("STATUS", status)) => said.status = Some(status.to_owned()),
            _ => {}
        }
    }
    said.reloading = said.reloading.map(|_| at);
    said
}

/// What has come, in the order in which it came.
#[derive(Debug)]
enum Heard {
    Message(Message),
    /// The command is about to get a signal for a change, at this time of the monotonic clock.
    Signal {
        number: u64,
        at_us: i64,
    },
}

/// The socket that the command writes to, and what was taken from it and not understood yet. Two threads take from it: the
/// one that sends signals must know what was there before.
#[derive(Debug)]
pub struct Ear {
    socket: NotifySocket,
    heard: Mutex<Vec<Heard>>,
}

impl Ear {
    /// Opens the socket.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Ear> {
        Ok(Ear { socket: NotifySocket::open()?, heard: Mutex::default() })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> String {
        self.socket.address()
    }

    /// What the command says from here on may be about the signal of this number, which it gets now.
    pub fn expect_answer(&self, number: u64) {
        let mut heard = self.take_in();
        heard.push(Heard::Signal { number, at_us: monotonic_ns() / 1000 });
    }

    fn take_in(&self) -> MutexGuard<'_, Vec<Heard>> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = std::iter::from_fn(|| self.socket.receive()).take(MOST_AT_ONCE);
        heard.extend(messages.map(Heard::Message));
        heard
    }
}

/// Listens until the command ends or is stopped.
pub struct Listening {
    pub machine: Reloads,
    pub ear: Arc<Ear>,
    pub bell: Arc<Bell>,
    pub over: Arc<AtomicBool>,
    pub tell: Box<dyn Fn(News) + Send>,
}

impl Listening {
    /// The thread.
    pub fn run(mut self) {
        // What the command has said last and nobody was told yet.
        let (mut status, mut next_status) = (None, Instant::now());
        loop {
            let status_at = status.as_ref().map(|_: &String| next_status);
            let until = self.machine.due().into_iter().chain(status_at).min();
            let sources = [self.bell.as_fd(), self.ear.socket.as_fd()];
            let Ok([rung, _]) = wait_readable(sources, until) else { return };
            if rung {
                self.bell.hush();
            }
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let heard = std::mem::take(&mut *self.ear.take_in());
            for heard in heard {
                let message = match heard {
                    Heard::Signal { number, at_us } => {
                        self.step(Input::Signalled { number, at_us });
                        continue;
                    }
                    Heard::Message(message) => message,
                };
                // Every user of this machine can write to an abstract socket whose name he finds in /proc/net/unix.
                if !is_user_of_tree(message.uid) {
                    continue;
                }
                let said = read(&message.text);
                if let Some(sent_us) = said.reloading {
                    self.step(Input::Reloading { sent_us });
                }
                if said.ready {
                    self.step(Input::Ready);
                }
                if !self.machine.is_ready() {
                    status = said.status.filter(|status| !status.is_empty()).or(status.take());
                }
            }
            self.step(Input::Tick);
            let now = Instant::now();
            if now >= next_status
                && let Some(message) = status.take()
            {
                next_status = now + BETWEEN_STATES;
                (self.tell)(News::Status(message));
            }
        }
    }

    fn step(&mut self, input: Input) {
        for action in self.machine.step(input, Instant::now()) {
            (self.tell)(match action {
                Action::Ready(ready) => News::Ready(ready),
                Action::Reloading { answers } => News::Reloading { answers },
                Action::Unanswered(number) => News::Unanswered(number),
                Action::Tell(degraded) => News::Degraded(degraded),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, read};

    #[test]
    fn ready_reloading_with_its_time_and_status_are_taken_and_nothing_else() {
        let said = |ready, status: Option<&str>| Said { ready, status: status.map(str::to_owned), reloading: None };
        let reloading = |at| Said { reloading: Some(at), ..Said::default() };
        for (message, expected) in [
            ("READY=1", said(true, None)),
            ("READY=1\n", said(true, None)),
            ("READY=1\0", said(true, None)),
            ("READY=1\n\0", said(true, None)),
            ("READY=1\0\0", said(false, None)),
            ("STATUS=x\0", said(false, Some("x"))),
            ("READY=0", said(false, None)),
            ("READY=1\nSTATUS=serving a=b\nMAINPID=1", said(true, Some("serving a=b"))),
            ("STATUS=one\nSTATUS=two", said(false, Some("two"))),
            ("STATUS=", said(false, Some(""))),
            ("MAINPID=4711\nSTOPPING=1\nWATCHDOG=1\nBARRIER=1", said(false, None)),
            ("", said(false, None)),
            ("ready=1\nXREADY=1\n=1\nREADY\nRELOADING=0\nRELOADING", said(false, None)),
            ("RELOADING=1", reloading(None)),
            ("RELOADING=1\nMONOTONIC_USEC=17", reloading(Some(17))),
            ("MONOTONIC_USEC=17\nRELOADING=1\n", reloading(Some(17))),
            ("RELOADING=1\nMONOTONIC_USEC=soon", reloading(Some(0))),
            ("RELOADING=1\nMONOTONIC_USEC=99999999999999999999", reloading(Some(0))),
            ("MONOTONIC_USEC=17", said(false, None)),
            ("RELOADING=1\nREADY=1", Said { ready: true, ..reloading(None) }),
        ] {
            assert_eq!(read(message), expected, "{message:?}");
        }
    }
}
