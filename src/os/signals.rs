//! Signals: their names, waiting for them, sending them, and handing the command the dispositions that the
//! caller had.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal as Named, raise, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A signal by number. nix's own type has no real-time signals, and people do use `RTMIN+1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

/// First and last real-time signal as glibc and musl agree to leave them to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// SIGHUP: the terminal went away; for servers: read your config anew.
    pub const HUP: Signal = Signal(Named::SIGHUP as i32);
    /// SIGINT: Ctrl-C.
    pub const INT: Signal = Signal(Named::SIGINT as i32);
    /// SIGQUIT: Ctrl-\.
    pub const QUIT: Signal = Signal(Named::SIGQUIT as i32);
    /// SIGTERM: please end.
    pub const TERM: Signal = Signal(Named::SIGTERM as i32);
    /// SIGKILL: no question.
    pub const KILL: Signal = Signal(Named::SIGKILL as i32);
    /// SIGCONT: go on, so that a stopped process can hear the signal before.
    pub const CONT: Signal = Signal(Named::SIGCONT as i32);
    /// SIGSTOP: stop, no question.
    pub const STOP: Signal = Signal(Named::SIGSTOP as i32);
    /// SIGTSTP: Ctrl-Z.
    pub const TSTP: Signal = Signal(Named::SIGTSTP as i32);
    /// SIGCHLD: a child ended.
    pub const CHLD: Signal = Signal(Named::SIGCHLD as i32);
    /// SIGUSR1, passed on to the command.
    pub const USR1: Signal = Signal(Named::SIGUSR1 as i32);
    /// SIGUSR2, passed on to the command.
    pub const USR2: Signal = Signal(Named::SIGUSR2 as i32);
    /// SIGWINCH: the window changed its size; passed on to the command.
    pub const WINCH: Signal = Signal(Named::SIGWINCH as i32);

    /// The signal with this number, 1 to 64.
    pub fn from_number(number: i32) -> Option<Signal> {
        (1..=RTMAX).contains(&number).then_some(Signal(number))
    }

    /// The number, as `kill -l` counts.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Every name that `from_str` knows, without the real-time ones: for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Named::iterator().map(|named| named.as_str().trim_start_matches("SIG"))
    }
}

/// With the prefix, as in `SIGTERM`, `SIGRTMIN+1`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Named::try_from(self.0) {
            Ok(named) => f.write_str(named.as_str()),
            Err(_) if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            Err(_) if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

/// `TERM`, `SIGTERM`, `term`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`.
impl FromStr for Signal {
    type Err = ();

    fn from_str(text: &str) -> Result<Signal, ()> {
        let upper = text.trim().to_ascii_uppercase();
        if let Ok(number) = upper.parse::<i32>() {
            return Signal::from_number(number).ok_or(());
        }
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str, sign: char| -> Option<i32> {
            if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from) }
        };
        if let Some(number) = name.strip_prefix("RTMIN").and_then(|rest| offset(rest, '+')).map(|n| RTMIN + n) {
            return (number <= RTMAX).then_some(Signal(number)).ok_or(());
        }
        if let Some(number) = name.strip_prefix("RTMAX").and_then(|rest| offset(rest, '-')).map(|n| RTMAX - n) {
            return (number >= RTMIN).then_some(Signal(number)).ok_or(());
        }
        match name {
            "CLD" => Ok(Signal::CHLD),
            "POLL" => Ok(Signal(Named::SIGIO as i32)),
            _ => Named::from_str(&format!("SIG{name}")).map(|named| Signal(named as i32)).map_err(|_| ()),
        }
    }
}

/// Sends a signal to a process by its number: only to one of our own children that has not been collected, since any
/// other number may be given away meanwhile. See [`super::tree::Process::signal`] for all others.
///
/// # Errors
/// ESRCH when it is gone, EPERM when it is not ours.
pub fn send(pid: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: kill(2) reads two integers. nix's `kill` cannot name a real-time signal.
    Errno::result(unsafe { libc::kill(pid, signal.0) }).map(drop)
}

/// Whether one of our own children may not be signalled: sudo, or another set-uid program, has made it somebody else's.
pub fn is_out_of_reach(child: i32) -> bool {
    // SAFETY: kill(2) reads two integers; the signal 0 only asks.
    Errno::result(unsafe { libc::kill(child, 0) }) == Err(Errno::EPERM)
}

/// Sends a signal to a whole process group, whose leader is one of our own children and has not been collected.
///
/// # Errors
/// ESRCH when the group is empty.
pub fn send_to_group(group: i32, signal: Signal) -> Result<(), Errno> {
    send(-group, signal)
}

/// A signal that arrived, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Whether the kernel sent it (the terminal's Ctrl-C and Ctrl-\, a hang-up), so that everyone in the
    /// foreground group has got it as well.
    pub from_terminal: bool,
    /// The pid of the process that sent it; 0 for the kernel, and for a process of another pid namespace.
    pub sender: i32,
}

/// `si_code` of a signal that no process sent (asm-generic/siginfo.h).
const SI_KERNEL: i32 = 0x80;

/// Signals as a readable descriptor. While it exists they are blocked in this thread.
#[derive(Debug)]
pub struct SignalStream {
    descriptor: SignalFd,
}

impl SignalStream {
    /// Blocks these signals in this thread (and those it starts later) and collects them.
    ///
    /// # Errors
    /// The system's, when there is no descriptor left.
    pub fn of(signals: &[Signal]) -> Result<SignalStream, Errno> {
        let set = set_of(signals);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(SignalStream { descriptor })
    }

    /// The next signal, without waiting.
    pub fn next(&self) -> Option<Received> {
        loop {
            match self.descriptor.read_signal() {
                Ok(Some(info)) => {
                    let signal = Signal(i32::try_from(info.ssi_signo).unwrap_or(0));
                    let sender = i32::try_from(info.ssi_pid).unwrap_or(0);
                    return Some(Received { signal, from_terminal: info.ssi_code == SI_KERNEL, sender });
                }
                Err(Errno::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl AsFd for SignalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Takes SIGCHLD back from a caller who ignored it: the kernel would not tell us of any death. The command gets the
/// caller's disposition all the same.
pub fn hear_of_deaths() {
    set(Named::SIGCHLD, SigHandler::SigDfl);
}

fn set(named: Named, handler: SigHandler) {
    // SAFETY: SIG_DFL and SIG_IGN, all that is passed here, run no code of ours.
    let _ = unsafe { sigaction(named, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) };
}

/// Stops this process as Ctrl-Z would, until somebody continues it. The kernel does not do so where nobody could: in
/// an orphaned process group, or where the caller of reloadrun ignored TSTP. TSTP stays blocked in the end.
pub fn stop_as_a_job() {
    // It stays pending until it is let through; the kernel then stops this process before it does anything else.
    let _ = raise(Named::SIGTSTP);
    let set: SigSet = [Named::SIGTSTP].into_iter().collect();
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None);
}

/// Stops this process, whoever may continue it. Does nothing for the init of a pid namespace, which cannot be stopped.
pub fn stop_for_certain() {
    let _ = raise(Named::SIGSTOP);
}

/// Signals as a set. nix's own way knows no real-time signals.
fn set_of(signals: &[Signal]) -> SigSet {
    let mut set = SigSet::empty().as_ref().to_owned();
    for signal in signals {
        // SAFETY: sigaddset(3) changes the set that it is given, and refuses what is no signal.
        unsafe { libc::sigaddset(&mut set, signal.0) };
    }
    // SAFETY: an initialised set to which only sigaddset(3) has added.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Ignores these signals, also those that the C library keeps to itself. Programs that this process executes inherit
/// that, but for the command: see [`Dispositions`].
pub fn ignore(signals: &[Signal]) {
    for signal in signals {
        dispose(signal.0, libc::SIG_IGN);
    }
}

/// Gives these signals the kernel's own action.
pub fn leave_to_kernel(signals: &[Signal]) {
    for signal in signals {
        dispose(signal.0, libc::SIG_DFL);
    }
}

/// The kernel's `struct sigaction` begins with the handler (on every architecture but MIPS); the rest is zero here.
#[repr(C)]
struct KernelAction {
    handler: libc::sighandler_t,
    rest: [usize; 15],
}

/// The kernel's signal set has 64 bits.
const KERNEL_SET_BYTES: usize = 8;

/// Sets SIG_IGN or SIG_DFL; async-signal-safe. Not by sigaction(3), which refuses the signals of the C library itself.
fn dispose(number: i32, handler: libc::sighandler_t) {
    let action = KernelAction { handler, rest: [0; 15] };
    // SAFETY: rt_sigaction(2) reads the action, which is larger than the kernel's; SIG_IGN and SIG_DFL, all that is
    // passed here, run no code of ours.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, number, &action, std::ptr::null::<KernelAction>(), KERNEL_SET_BYTES)
    };
}

/// SIG_DFL, SIG_IGN or the address of a handler. SIG_DFL where the kernel does not tell.
fn handler_of(number: i32) -> libc::sighandler_t {
    let mut action = KernelAction { handler: libc::SIG_DFL, rest: [0; 15] };
    // SAFETY: with a null second argument rt_sigaction(2) only writes the present action, which is smaller, to the third.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, number, std::ptr::null::<KernelAction>(), &mut action, KERNEL_SET_BYTES)
    };
    action.handler
}

/// Keeps these signals waiting, until a [`SignalStream`] takes them.
pub fn block(signals: &[Signal]) {
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set_of(signals)), None);
}

/// Lets these signals reach this thread again.
pub fn unblock(signals: &[Signal]) {
    // Nothing to be done about an error: the only one is a wrong `how`.
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set_of(signals)), None);
}

/// Forgets these signals where they have come already; they are blocked.
pub fn forget_pending(signals: &[Signal]) {
    let (set, at_once) = (set_of(signals), libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both point to values that live, and no information about the signal is asked for.
    while unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &at_once) } > 0 {}
}

/// Signals as the kernel counts them: number 1 is the lowest of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KernelSet(u64);

impl KernelSet {
    const EMPTY: KernelSet = KernelSet(0);
    const ALL: KernelSet = KernelSet(u64::MAX);

    fn bit(number: i32) -> u64 {
        1 << (number - 1)
    }

    fn has(self, number: i32) -> bool {
        self.0 & KernelSet::bit(number) != 0
    }

    fn with(self, number: i32) -> KernelSet {
        KernelSet(self.0 | KernelSet::bit(number))
    }

    fn without(self, number: i32) -> KernelSet {
        KernelSet(self.0 & !KernelSet::bit(number))
    }
}

/// Makes this the mask of the calling thread, and gives back the one before; async-signal-safe. Not by
/// pthread_sigmask(3), which leaves out the signals of the C library itself.
fn swap_mask(mask: KernelSet) -> KernelSet {
    let mut before = KernelSet::EMPTY.0;
    // SAFETY: rt_sigprocmask(2) reads and writes 64 bits each.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask.0, &mut before, KERNEL_SET_BYTES) };
    KernelSet(before)
}

/// All signals are blocked in the calling thread until this is dropped, those of the C library included.
#[derive(Debug)]
pub(super) struct AllBlocked(KernelSet);

/// Blocks them.
pub(super) fn block_all() -> AllBlocked {
    AllBlocked(swap_mask(KernelSet::ALL))
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        swap_mask(self.0);
    }
}

/// What the caller of reloadrun left us: which signals are ignored, which are blocked. The command gets
/// just these back, so that it cannot tell whether reloadrun stands in between.
#[derive(Debug, Clone)]
pub struct Dispositions {
    ignored: KernelSet,
    mask: KernelSet,
    /// Those that must reach the command, whatever the caller did to them.
    arriving: KernelSet,
}

/// The signals whose dispositions reloadrun, the Rust runtime or the C library may change.
const CHANGEABLE: std::ops::Range<i32> = 1..RTMIN;

impl Dispositions {
    /// Reads them. Call this before reloadrun changes any.
    pub fn of_caller() -> Dispositions {
        let ignored = |number: &i32| {
            if *number == Named::SIGPIPE as i32 {
                PIPE_WAS_IGNORED.load(Ordering::Relaxed)
            } else {
                handler_of(*number) == libc::SIG_IGN
            }
        };
        let ignored = CHANGEABLE.filter(ignored).fold(KernelSet::EMPTY, KernelSet::with);
        let mut mask = KernelSet::EMPTY;
        // SAFETY: with a null second argument rt_sigprocmask(2) only writes 64 bits to the third.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, std::ptr::null::<u64>(), &mut mask.0, KERNEL_SET_BYTES) };
        Dispositions { ignored, mask, arriving: KernelSet::EMPTY }
    }

    /// The same, except that these signals have their default effect and are not blocked: a script that starts reloadrun
    /// with `&` ignores INT, and a command that inherits that would never see a stop by INT.
    pub fn letting_through(&self, signals: &[Signal]) -> Dispositions {
        let numbers = || signals.iter().map(|signal| signal.0);
        Dispositions {
            ignored: numbers().fold(self.ignored, KernelSet::without),
            mask: numbers().fold(self.mask, KernelSet::without),
            arriving: numbers().fold(self.arriving, KernelSet::with),
        }
    }

    /// Whether the caller ignored a signal: `nohup`, or a script's `&`.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.ignored.has(signal.0)
    }

    /// What must be done to have them in place of those of this moment.
    pub(super) fn resets(&self) -> Resets {
        let is_changeable = |number: &i32| {
            let real_time = *number >= RTMIN;
            (!real_time || self.arriving.has(*number)) && ![libc::SIGKILL, libc::SIGSTOP].contains(number)
        };
        let wanted = |number| if self.ignored.has(number) { libc::SIG_IGN } else { libc::SIG_DFL };
        let differing = (1..=RTMAX)
            .filter(is_changeable)
            .map(|number| (number, wanted(number)))
            .filter(|(number, wanted)| handler_of(*number) != *wanted);
        Resets { dispositions: differing.collect(), mask: self.mask }
    }
}

/// The few dispositions that differ, and the mask.
#[derive(Debug)]
pub(super) struct Resets {
    dispositions: Vec<(i32, libc::sighandler_t)>,
    mask: KernelSet,
}

impl Resets {
    /// Nothing to do, and no signal blocked.
    pub(super) fn none() -> Resets {
        Resets { dispositions: Vec::new(), mask: KernelSet::EMPTY }
    }

    /// Sets the dispositions and then the mask, so that no signal reaches a handler that is about to go;
    /// async-signal-safe.
    pub(super) fn apply(&self) {
        for (number, handler) in &self.dispositions {
            dispose(*number, *handler);
        }
        swap_mask(self.mask);
    }
}

/// Whether the caller ignored SIGPIPE, as systemd does for its services. The Rust runtime ignores it before `main`, so
/// what was there has to be read earlier.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// The loader calls everything in this section before it calls `main`, and so before the Rust runtime begins.
// SAFETY: the section is an array of pointers to functions, which this is; the function needs nothing of the runtime: it
// makes one system call and stores a flag.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_RUNTIME: extern "C" fn() = {
    extern "C" fn note_pipe() {
        PIPE_WAS_IGNORED.store(handler_of(Named::SIGPIPE as i32) == libc::SIG_IGN, Ordering::Relaxed);
    }
    note_pipe
};

#[cfg(test)]
mod tests {
    use super::{RTMAX, Signal, forget_pending};
    use nix::sys::signal::{SigSet, Signal as Named, raise};

    #[test]
    fn every_signal_is_known_by_each_of_its_spellings() {
        for number in 1..=31 {
            let signal = Signal::from_number(number).unwrap();
            let name = signal.to_string();
            let short = name.strip_prefix("SIG").unwrap();
            for spelling in [&name, short, &name.to_lowercase(), &short.to_lowercase(), &number.to_string()] {
                assert_eq!(spelling.parse(), Ok(signal), "{spelling}");
            }
        }
    }

    #[test]
    fn real_time_signals_are_counted_from_both_ends() {
        for (spelling, number) in
            [("RTMIN", 34), ("SIGRTMIN+1", 35), ("rtmin+30", 64), ("RTMAX", 64), ("RTMAX-1", 63), ("40", 40)]
        {
            assert_eq!(spelling.parse(), Ok(Signal(number)), "{spelling}");
        }
        assert_eq!(Signal(35).to_string(), "SIGRTMIN+1");
    }

    #[test]
    fn what_has_come_while_it_was_blocked_can_be_forgotten() {
        let thread = || {
            let numbers = [Named::SIGUSR1, Named::SIGUSR2];
            let set: SigSet = numbers.into_iter().collect();
            set.thread_block().unwrap();
            let come = || {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                let line = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
                u64::from_str_radix(line.trim(), 16).unwrap()
            };
            numbers.into_iter().for_each(|number| raise(number).unwrap());
            assert_eq!(come(), 1 << 9 | 1 << 11);
            forget_pending(&[Signal(Named::SIGUSR1 as i32)]);
            assert_eq!(come(), 1 << 11, "the other one is kept");
            forget_pending(&[Signal(Named::SIGUSR2 as i32)]);
            assert_eq!(come(), 0);
        };
        std::thread::spawn(thread).join().unwrap();
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for spelling in ["", "FOO", "0", "-1", "65", "SIG", "SIGSIGTERM", "RTMIN+31", "RTMAX-31", "TERM "] {
            let known = spelling.parse::<Signal>();
            if spelling == "TERM " {
                assert_eq!(known, Ok(Signal::TERM), "surrounding blanks are nothing");
            } else {
                assert_eq!(known, Err(()), "{spelling}");
            }
        }
        assert_eq!(Signal::from_number(RTMAX + 1), None);
    }
}
