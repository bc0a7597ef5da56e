//! What each signal means to reloadrun; `docs/signals.md` is the same table for people.
//!
//! What one that arrives asks for also depends on who sent it. The first line that fits counts:
//!
//! | signal                   | sent by                     | while                                    | asks for                |
//! |--------------------------|-----------------------------|------------------------------------------|-------------------------|
//! | HUP, TSTP                | anyone                      | the caller of reloadrun ignored it        | nothing (`nohup`)       |
//! | any                      | the terminal                | the caller of reloadrun ignored it        | nothing (a script's `&`) |
//! | any                      | a process of our own tree   | the command shares the terminal's group   | nothing (`kill 0`)      |
//! | USR1, USR2, WINCH        | the terminal                | the command shares the terminal's group   | nothing: it has got it  |
//! | any that is passed on    | anyone                      |                                          | to be passed on         |
//! | TSTP                     | the terminal                | the command has got it                   | a look later            |
//! | TSTP                     | anyone                      | all is ending                            | nothing                 |
//! | TSTP                     | the terminal                | the command shares the terminal's group   | to stop alone           |
//! | TSTP                     | the terminal                |                                          | to stop with the tree   |
//! | TSTP                     | a process                   |                                          | to stop all for certain |
//! | CONT                     | anyone                      |                                          | to continue all         |
//! | QUIT                     | the terminal                | the command has got it                   | to remember it          |
//! | INT                      | the terminal                | the command has got it, nothing ends yet | to remember it          |
//! | HUP                      | a process                   | our parent is told (`NOTIFY_SOCKET`), and there is no terminal | a restart |
//! | HUP, INT, QUIT, TERM     | anyone                      |                                          | the end                 |
//!
//! The command *has got* a signal of the terminal if it runs and shares the terminal's group.

use super::job::Suspension;
use crate::os::signals::{Received, Signal, block, ignore, leave_to_kernel};

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The command is to end, and then reloadrun.
    End,
    /// It is for the command.
    PassedOn,
    /// It stops or continues the job, or reports the end of a child: the supervisor acts on it itself.
    Own,
    /// Nothing happens.
    Ignored,
    /// A sign of a crash. It ends the process as a crash does, and the other process cleans up.
    Crash,
    /// The kernel acts on it without asking the process.
    Kernel,
}

/// What this signal means.
pub fn meaning(signal: Signal) -> Meaning {
    match signal.number() {
        // HUP, INT, QUIT, TERM.
        1 | 2 | 3 | 15 => Meaning::End,
        // ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
        4..=8 | 11 | 31 => Meaning::Crash,
        // KILL, STOP.
        9 | 19 => Meaning::Kernel,
        // CHLD, CONT, TSTP.
        17 | 18 | 20 => Meaning::Own,
        // PIPE, XFSZ: the write fails with EPIPE or EFBIG as well. XCPU: KILL follows at the hard limit. TTIN, TTOU: reloadrun
        // may write a line from the background. URG: its default. 32, 33: the C library keeps them for its threads.
        13 | 21..=25 | 32 | 33 => Meaning::Ignored,
        // USR1, USR2, ALRM, STKFLT, VTALRM, PROF, WINCH, IO, PWR, and the real-time ones.
        _ => Meaning::PassedOn,
    }
}

/// A signal that arrived, and what must be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The signal, and who sent it.
    pub received: Received,
    /// Whether the caller of reloadrun ignored it.
    pub caller_ignores: bool,
    /// Whether the sender descends from us. Only looked up where [`asks_for_sender`] says so.
    pub from_tree: bool,
}

/// What must be known of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether the command is in the terminal's foreground group.
    pub shares_terminal: bool,
    /// Whether the command runs.
    pub command_runs: bool,
    /// The first process of the command, which may have ended of the signal that it sent.
    pub leader: Option<i32>,
    /// Whether the child was asked to leave.
    pub child_leaves: bool,
    /// Whether the whole run is ending.
    pub ending: bool,
    /// Whether HUP is a service manager's word for a reload, because no terminal can be gone.
    pub reloads_on_hup: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// The command is to get it.
    PassOn,
    /// It is the command's to stop or not. If it does, we follow; if it hangs, somebody has to look.
    LookLater,
    /// The supervisor is to stop.
    Stop(Suspension),
    /// Whoever is stopped is to go on.
    Continue,
    /// The command has got this key. What it means shows when the command ends.
    Key,
    /// The command is to start anew.
    Restart,
    /// Everything is to end.
    End {
        /// Whether the terminal has shown the key, so that the line must be ended.
        shown: bool,
    },
}

/// Whether it matters if the sender descends from us.
pub fn asks_for_sender(received: Received, shares_terminal: bool) -> bool {
    shares_terminal && !received.from_terminal && received.sender > 0
}

/// The table above.
pub fn asks(heard: Heard, situation: Situation) -> Asks {
    let Received { signal, from_terminal, sender } = heard.received;
    let Situation { shares_terminal, command_runs, leader, child_leaves, ending, reloads_on_hup } = situation;
    let from_tree = heard.from_tree || leader == Some(sender);
    let reached = from_terminal && shares_terminal && command_runs;
    match signal {
        Signal::HUP | Signal::TSTP if heard.caller_ignores => Asks::Nothing,
        _ if from_terminal && heard.caller_ignores => Asks::Nothing,
        _ if asks_for_sender(heard.received, shares_terminal) && from_tree => Asks::Nothing,
        Signal::USR1 | Signal::USR2 | Signal::WINCH if from_terminal && shares_terminal => Asks::Nothing,
        _ if meaning(signal) == Meaning::PassedOn => Asks::PassOn,
        Signal::TSTP if reached => Asks::LookLater,
        Signal::TSTP if ending => Asks::Nothing,
        Signal::TSTP if from_terminal && shares_terminal => Asks::Stop(Suspension::Alone),
        Signal::TSTP if from_terminal => Asks::Stop(Suspension::WithTree),
        Signal::TSTP => Asks::Stop(Suspension::Asked),
        Signal::CONT => Asks::Continue,
        Signal::QUIT if reached => Asks::Key,
        Signal::INT if reached && !child_leaves => Asks::Key,
        Signal::HUP if reloads_on_hup && !from_terminal => Asks::Restart,
        _ if meaning(signal) == Meaning::End => Asks::End { shown: from_terminal && !reached && signal != Signal::HUP },
        _ => Asks::Nothing,
    }
}

fn all_that_mean(meanings: &[Meaning]) -> Vec<Signal> {
    (1..=64).filter_map(Signal::from_number).filter(|signal| meanings.contains(&meaning(*signal))).collect()
}

/// Those that are for the command.
pub fn passed_on() -> Vec<Signal> {
    all_that_mean(&[Meaning::PassedOn])
}

/// Those that the supervisor waits for.
pub fn awaited() -> Vec<Signal> {
    all_that_mean(&[Meaning::End, Meaning::PassedOn, Meaning::Own])
}

/// Blocks the signals for the command, so that they do not end us before it runs, and ignores those that have no effect, in
/// this process and in those that it forks. To be called first of all: the limit of `ulimit -f` kills with SIGXFSZ whoever writes the first byte
/// too much.
pub fn settle() {
    block(&all_that_mean(&[Meaning::PassedOn]));
    ignore(&all_that_mean(&[Meaning::Ignored]));
    // The Rust runtime catches SEGV and BUS to report a stack overflow. The first one that a process sends would have no
    // effect.
    leave_to_kernel(&all_that_mean(&[Meaning::Crash]));
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
