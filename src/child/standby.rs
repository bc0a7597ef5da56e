//! A child before it is told to start: whatever needs no knowledge of what led to the start is done here, while the
//! command of the generation before is still being ended. It neither reads the queue nor looks at the watch state.

use std::os::fd::OwnedFd;

use super::inbox::{Inbox, Voice, inbox};
use crate::config::Config;
use crate::heartbeat::Pulse;
use crate::os;
use crate::os::signals::{Signal, SignalStream};
use crate::protocol::{Decoder, Directive, StartRequest, Ties};

/// What is ready when the start comes.
pub struct Standby {
    /// The deaths of processes below us.
    pub deaths: SignalStream,
    /// Where the threads say what they have to say,
    pub inbox: Inbox,
    /// and how.
    pub voice: Voice,
    /// The supervisor's heartbeat.
    pub pulse: Pulse,
}

impl Standby {
    /// Makes everything ready. Starts no thread.
    ///
    /// # Errors
    /// A sentence: what the system refuses, or that the supervisor is gone.
    pub fn set_up(config: &Config, ties: &mut Ties) -> Result<Standby, String> {
        if ties.terminal_group != Some(os::process::FOREIGN_GROUP) {
            os::process::lead_own_group();
            // What came until here was for the group of the supervisor, which has got it too.
            os::signals::forget_pending(&[Signal::INT, Signal::TERM, Signal::HUP]);
        }
        if config.overlap || config.keys && os::tty::is_stdin() {
            // Of two generations at a time, neither can have it; and of a terminal where we read keys, the supervisor has it.
            os::fd::have_no_input().map_err(os::reason)?;
        }
        // Not our own name: `pkill -9 reloadrun` is to leave one who can clean up.
        os::process::show_as(c"reload-child");
        os::process::continue_at_parents_end();
        // The supervisor has said so where there is no such thing.
        let _ = os::process::become_subreaper();
        os::fd::make_non_blocking(&ties.reports).map_err(os::reason)?;
        let deaths = SignalStream::of(&[Signal::CHLD]).map_err(os::reason)?;
        let (inbox, voice) = inbox().map_err(os::reason)?;
        let pulse = Pulse::of(ties.lockfile.as_deref(), ties.heartbeat.take(), ties.supervisor, config.interval);
        if os::process::parent_pid() != ties.supervisor {
            // From here on the next owner of the lockfile waits for us; until here it may not have.
            return Err("the supervisor is gone".to_owned());
        }
        Ok(Standby { deaths, inbox, voice, pulse })
    }
}

/// The first that the supervisor says.
pub struct Orders {
    /// What to begin with.
    pub request: StartRequest,
    /// What came together with it.
    pub more: Vec<Directive>,
    /// Where the beginning of what comes next is kept.
    pub decoder: Decoder,
}

impl Orders {
    /// Waits for the start. `None` at the end of the pipe: the supervisor does not need this child, or is gone itself.
    pub fn wait(directives: &OwnedFd) -> Option<Orders> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = os::fd::read_some(directives, &mut buffer).ok().filter(|count| *count > 0)?;
            let mut told = decoder.push::<Directive>(&buffer[..count]).into_iter();
            // The start comes first, so whatever comes before it is not for us.
            if let Some(request) = told.find_map(|directive| match directive {
                Directive::Start(request) => Some(request),
                Directive::Stop
                | Directive::Retire
                | Directive::EndCommand
                | Directive::HandOver
                | Directive::Recall
                | Directive::Signal { .. }
                | Directive::Pause { .. }
                | Directive::Barrier { .. } => None,
            }) {
                return Some(Orders { request, more: told.collect(), decoder });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Orders;
    use crate::change::{Change, ChangeSet};
    use crate::damping::Damping;
    use crate::generation::Generation;
    use crate::os::fd::{pipe, write_some};
    use crate::protocol::{Directive, StartRequest, encode};
    use std::path::PathBuf;

    #[test]
    fn a_start_is_whole_however_long_it_is_and_what_comes_with_it_is_kept() {
        let changes = ChangeSet::new((0..5000).map(|number| Change::unseen(PathBuf::from(format!("/a/{number}.py")))));
        let mut damping = Damping::default();
        damping.restart(&changes, std::time::Duration::ZERO);
        let request = StartRequest { generation: Generation::FIRST.next(), changes, damping, ..StartRequest::first() };
        let mut bytes = Vec::new();
        encode(&Directive::Start(request.clone()), &mut bytes);
        encode(&Directive::Stop, &mut bytes);
        assert!(bytes.len() > 100_000, "it is longer than a pipe is: {}", bytes.len());
        let (from, to) = pipe().unwrap();
        let writer = std::thread::spawn(move || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = &rest[write_some(&to, rest).unwrap()..];
            }
        });
        let orders = Orders::wait(&from).unwrap();
        let mut more = orders.more;
        let mut buffer = [0; 4096];
        let (count, mut decoder) = (crate::os::fd::read_some(&from, &mut buffer).unwrap(), orders.decoder);
        more.extend(decoder.push::<Directive>(&buffer[..count]));
        writer.join().unwrap();
        assert!(orders.request == request, "it is not what was sent");
        assert_eq!(more, [Directive::Stop]);
    }

    #[test]
    fn a_child_that_is_not_needed_sees_the_end_of_the_pipe() {
        let (from, to) = pipe().unwrap();
        write_some(&to, &[9, 0, 0, 0, 1]).unwrap();
        drop(to);
        assert!(Orders::wait(&from).is_none());
    }
}
