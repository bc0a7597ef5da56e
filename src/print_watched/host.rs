//! The process that starts the command, serves its calls and prints.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::print::{self, Format, Trace};
use crate::change::ChangeSet;
use crate::command::{Command, Variables};
use crate::config::Config;
use crate::discover::{Discovery, Places, learn, settle};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::filter::Filter;
use crate::generation::Generation;
use crate::os::fd::{close_all_but, wait_readable};
use crate::os::process::{become_subreaper, continue_at_parents_end, lead_own_group, parent_pid};
use crate::os::seccomp::{Found, Received, Receiver, Untraceable, leave_with, prepare};
use crate::os::signals::{Dispositions, Signal, SignalStream};
use crate::os::spawn::Group;
use crate::report;

/// The signals that ask for the end, and those that are passed on.
pub const PASSED_ON: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// How often processes are killed that do not end by that.
const KILL_AGAIN: Duration = Duration::from_millis(50);

/// What may not be killed is left after so many times.
const KILLS: u32 = 40;

/// What ties the host to the holder.
#[derive(Debug)]
pub struct Ties<'a> {
    /// The pid of the holder.
    pub holder: i32,
    /// The group of the command.
    pub group: Group,
    /// Where the listener is left, see [`crate::os::seccomp::deposit`].
    pub deposit: &'a OwnedFd,
}

/// Runs the command and prints; the life of the host.
pub fn run(config: &Config, filter: &Filter, format: Format, dispositions: &Dispositions, ties: &Ties<'_>) -> ExitCode {
    let fails = |sentence: String, code: ExitCode| {
        report::complain(&[sentence]);
        code
    };
    close_all_but(&[ties.deposit]);
    lead_own_group();
    let _ = become_subreaper();
    continue_at_parents_end();
    let mut awaited = PASSED_ON.to_vec();
    awaited.extend([Signal::CHLD, Signal::CONT]);
    let Ok(signals) = SignalStream::of(&awaited) else {
        return fails("cannot trace the command: no descriptor is left".into(), ExitCode::OWN_FAILURE);
    };
    let ready = prepare().and_then(|ends| Ok((ends, Found::new().map_err(Untraceable::HandOver)?)));
    let ((installation, receiver), found) = match ready {
        Ok((ends, found)) => (ends, Arc::new(found)),
        Err(why) => return fails(print::untraceable(why), ExitCode::OWN_FAILURE),
    };
    let variables = Variables::of_command(config, Generation::FIRST, &ChangeSet::default(), None, ties.holder, None);
    let mut executable = match Command::prepare(config, &variables) {
        Ok(executable) => executable,
        Err(status) => return fails(print::cannot_start(&status), status.code()),
    };
    executable.trace(installation.insisting());
    let began = Instant::now();
    let hand_over = Arc::new(HandOver::new());
    let Ok(serving) = serve(receiver, &found, &hand_over, ties.deposit) else {
        return fails("cannot trace the command: no descriptor is left".into(), ExitCode::OWN_FAILURE);
    };
    thread::scope(|scope| {
        let learning = scope.spawn(|| learn_all(&found, config));
        let command = Command::start(&executable, ties.group, dispositions);
        // Its end of the hand-over is closed by that.
        drop(executable);
        let (status, tree_gone) = match command {
            Ok(command) => wait(command, config, &signals, ties.holder),
            Err(status) => (status, true),
        };
        if tree_gone {
            // It ends by itself. The last call may be answered and not told yet, though its process has ended.
            let _ = serving.join();
        } else {
            // It goes on for processes that may not be ended.
            found.end();
        }
        let discovery = learning.join().unwrap_or_else(|_| Discovery::new(places(config)));
        if let (false, Some(Err(why))) = (status.ran(), hand_over.get()) {
            return fails(print::untraceable(*why), ExitCode::OWN_FAILURE);
        }
        if !status.ran() {
            return fails(print::cannot_start(&status), status.code());
        }
        match hand_over.get() {
            Some(Ok(no_new_privileges)) => {
                let no_new_privileges = *no_new_privileges;
                if let Some(live) = filter.live() {
                    live.take_over(&discovery);
                }
                print::print(&Trace { discovery: &discovery, config, filter, began, no_new_privileges }, format);
            }
            Some(Err(why)) => report::complain(&[print::untraceable(*why)]),
            None => {}
        }
        status.code()
    })
}

/// Whether the command had to give up gaining rights, or why it is not traced.
type HandOver = OnceLock<Result<bool, Untraceable>>;

/// Starts the thread that serves the calls, for as long as there are processes that make some.
fn serve(
    receiver: Receiver,
    found: &Arc<Found>,
    hand_over: &Arc<HandOver>,
    deposit: &OwnedFd,
) -> io::Result<JoinHandle<()>> {
    let deposit = deposit.try_clone()?;
    let (found, hand_over) = (Arc::clone(found), Arc::clone(hand_over));
    thread::Builder::new().name("calls".into()).spawn(move || {
        // The holder is gone if it cannot be left there, and the end of this process is near.
        let received = receiver.receive(|listener| {
            let _ = leave_with(listener, &deposit);
        });
        match received {
            Ok(Received { listener, no_new_privileges }) => {
                let _ = hand_over.set(Ok(no_new_privileges));
                listener.serve(&found, None);
            }
            Err(why) => {
                let _ = hand_over.set(Err(why));
                found.end();
            }
        }
    })
}

/// Looks at what was found, in a thread that may be kept waiting by a file system.
fn learn_all(found: &Found, config: &Config) -> Discovery {
    let mut discovery = Discovery::new(places(config));
    loop {
        let has_ended = found.has_ended();
        for sighting in found.take() {
            learn(&mut discovery, &sighting, &config.directory);
        }
        settle(&mut discovery);
        if has_ended {
            return discovery;
        }
        found.wait(None);
    }
}

fn places(config: &Config) -> Places {
    let home = config.environment.home().map(PathBuf::as_path);
    Places::new(&config.directory, home, &config.discover_root).of(&config.environment)
}

/// Waits for the end of the command and of all that it started. Says whether nobody is left.
fn wait(mut command: Command, config: &Config, signals: &SignalStream, holder: i32) -> (CommandStatus, bool) {
    let mut status = None;
    let mut kill_at = None;
    let mut kills = 0;
    loop {
        let _ = wait_readable([signals.as_fd()], kill_at);
        while let Some(received) = signals.next() {
            match received.signal {
                Signal::CHLD | Signal::CONT => {}
                Signal::USR1 | Signal::USR2 => drop(command.signal(received.signal)),
                signal if kill_at.is_none() => {
                    command.ask(signal, config.stop_group);
                    kill_at = Some(Instant::now() + config.stop_timeout);
                }
                _ => kill_at = Some(Instant::now()),
            }
        }
        if parent_pid() != holder && kills == 0 {
            kill_at = Some(Instant::now());
        }
        let collected = command.collect();
        if let Some(ended) = collected.leader {
            status = Some(ended);
            command.ask_rest(config.stop_signal);
            kill_at = kill_at.or(Some(Instant::now() + config.stop_timeout));
        }
        if kill_at.is_some_and(|at| at <= Instant::now()) {
            command.kill_all();
            kills += 1;
            kill_at = Some(Instant::now() + KILL_AGAIN);
        }
        if let (Some(status), true) = (&status, collected.tree_gone || kills > KILLS) {
            return (status.clone(), collected.tree_gone);
        }
    }
}
