//! What each signal means to reloadrun; `docs/signals.md` is the same table for people.

use crate::os::signals::{Signal, block, ignore, leave_to_kernel};

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The command is to end, and then reloadrun.
    End,
    /// It is for the command.
    PassedOn,
    /// It stops or continues the job, or tells of a death: the supervisor has work of its own with it.
    Own,
    /// Nothing happens.
    Ignored,
    /// The sign of a crash. It ends the process as a crash does, and whoever is left cleans up.
    Crash,
    /// The kernel does what it says, and asks nobody.
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
        // PIPE, XFSZ: what they tell of is told by EPIPE and EFBIG too. XCPU: the limit is told by KILL a second later.
        // TTIN, TTOU: of a process that says little in the background. URG: nobody means anybody by it.
        // 32, 33: the C library's own.
        13 | 21..=25 | 32 | 33 => Meaning::Ignored,
        // USR1, USR2, ALRM, STKFLT, VTALRM, PROF, WINCH, IO, PWR, and the real-time ones.
        _ => Meaning::PassedOn,
    }
}

fn all_that_mean(meanings: &[Meaning]) -> Vec<Signal> {
    (1..=64).filter_map(Signal::from_number).filter(|signal| meanings.contains(&meaning(*signal))).collect()
}

/// Those that the supervisor waits for.
pub fn awaited() -> Vec<Signal> {
    all_that_mean(&[Meaning::End, Meaning::PassedOn, Meaning::Own])
}

/// Lets no signal for the command end us before there is one; ignores what is to be ignored, in this process and in those that it forks; from the first moment, since the limit
/// of `ulimit -f` kills with SIGXFSZ whoever writes the first byte too much.
pub fn settle() {
    block(&all_that_mean(&[Meaning::PassedOn]));
    ignore(&all_that_mean(&[Meaning::Ignored]));
    // The Rust runtime catches SEGV and BUS to tell of an overflow of the stack. The first one that somebody sends would
    // be lost on it.
    leave_to_kernel(&all_that_mean(&[Meaning::Crash]));
}
