//! The threads that trace a command: one serves its calls, one learns from them, and one looks at programs before they are
//! executed, where a set-uid program would lose its rights.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::inbox::Voice;
use super::step::Input;
use crate::degraded::Degraded;
use crate::discover::{Learned, Live, Summary, missed, needs_rights, too_many, untraceable};
use crate::event::Discovered;
use crate::os;
use crate::os::seccomp::{
    Found, Gate, Guard, Installation, Listener, Received, Receiver, Untraceable, gate, leave_with, prepare,
};
use crate::protocol::Report;
use crate::watch::Door;

/// A command that needs rights so soon after its start is started again, untraced. Later it has too much to lose.
const SOON: Duration = Duration::from_secs(10);

/// Who is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traced {
    Command,
    Preparation,
}

/// What the threads need.
#[derive(Clone)]
pub struct Tracing {
    /// What they learn goes here.
    pub live: Arc<Live>,
    /// Relative names of the watcher begin here.
    pub directory: PathBuf,
    /// Whether nothing counts but what they learn.
    pub narrows: bool,
    /// Whether there are preparations, which are traced as well.
    pub prepares: bool,
    /// What is to be watched.
    pub door: Door,
    /// To the main thread.
    pub voice: Voice,
}

impl Tracing {
    /// Makes everything ready for a command that is about to start: whoever starts it has to be given the result, and to drop it
    /// afterwards. `None` if the command starts untraced, which has been told then.
    pub fn begin(&self, deposit: &OwnedFd) -> Option<Installation> {
        self.prepare(deposit).map_err(|why| self.tell_untraceable(why)).ok()
    }

    fn prepare(&self, deposit: &OwnedFd) -> Result<Installation, Untraceable> {
        let (installation, receiver) = prepare()?;
        let no_thread = |error: std::io::Error| Untraceable::HandOver(os::errno(&error));
        let found = Arc::new(Found::new().map_err(Untraceable::HandOver)?);
        let deposit = deposit.try_clone().map_err(no_thread)?;
        self.live.begin(Arc::clone(&found));
        let (serving, learning) = (self.clone(), self.clone());
        // The one that serves is the last: once it is there, nothing can fail.
        Builder::new().name("discover".into()).spawn(move || learning.learn()).map_err(no_thread)?;
        let served = Arc::clone(&found);
        let started = Builder::new().name("calls".into()).spawn(move || serving.serve(receiver, &served, &deposit));
        if started.is_err() {
            found.end();
        }
        started.map(|_| installation).map_err(no_thread)
    }

    /// The same for a preparation, once the rest is there: what it reads counts as what the command reads, and what it writes
    /// is its own. Nobody else holds the listener: if this process is killed, a preparation is killed with it.
    pub fn begin_preparation(&self) -> Option<Installation> {
        let found = self.live.found()?;
        let (installation, receiver) = prepare().ok()?;
        let serving = self.clone();
        let serve = move || {
            // One that runs untraced is known by what it changes.
            let Ok(Received { listener, no_new_privileges }) = receiver.receive(|_| {}) else { return };
            let listener = Arc::new(listener);
            let gate = no_new_privileges.then(|| serving.guarded(&listener, Traced::Preparation)).flatten();
            listener.serve_beside(&found, gate);
        };
        Builder::new().name("preparation".into()).spawn(serve).ok().map(|_| installation)
    }

    fn serve(&self, receiver: Receiver, found: &Found, deposit: &OwnedFd) {
        // If it cannot be left there, the supervisor is gone, and the end is near.
        let hold = |listener: &Listener| {
            let _ = leave_with(listener, deposit);
        };
        match receiver.receive(hold) {
            Ok(Received { listener, no_new_privileges }) => {
                self.live.command_begins();
                let listener = Arc::new(listener);
                let gate = no_new_privileges.then(|| self.guarded(&listener, Traced::Command)).flatten();
                listener.serve(found, gate);
            }
            Err(why) => {
                found.end();
                // A command that could not begin has been told.
                if why != Untraceable::NeverBegun {
                    self.tell_untraceable(why);
                }
            }
        }
    }

    fn guarded(&self, listener: &Arc<Listener>, who: Traced) -> Option<Gate> {
        let (gate, guard) = gate();
        let (tracing, listener) = (self.clone(), Arc::clone(listener));
        let started = Builder::new().name("gate".into()).spawn(move || tracing.stand_guard(&guard, &listener, who));
        started.is_ok().then_some(gate)
    }

    fn stand_guard(&self, guard: &Guard, listener: &Listener, who: Traced) {
        let began = Instant::now();
        let let_pass = |id| {
            listener.answer(id);
        };
        guard.watch(let_pass, |program| {
            if !needs_rights(program) {
                return true;
            }
            let is_early = began.elapsed() < SOON;
            let (program, starts_again) = (program.to_owned(), is_early && who == Traced::Command);
            self.voice.report(Report::Untraced(Degraded::NeedsRights { program, starts_again }));
            match who {
                Traced::Command if is_early => self.voice.input(Input::RightsNeeded),
                // It can always be begun anew, as for one more change.
                Traced::Preparation => self.voice.input(Input::PreparationNeedsRights),
                Traced::Command => return true,
            }
            false
        });
    }

    fn learn(&self) {
        self.live.learn_all(&self.directory, self.prepares, |learned| match learned {
            Learned::News(news) => self.door.add(news),
            Learned::Gap(gap, thread) => {
                self.voice.report(Report::Degraded(Degraded::TraceGap { why: missed(gap, thread) }));
            }
            // In the directory everything is watched as well.
            Learned::TooMany(role, elsewhere) if elsewhere || self.narrows => {
                self.voice.report(Report::Degraded(Degraded::TraceGap { why: too_many(role) }));
            }
            Learned::TooMany(..) => {}
            Learned::Quiet(Summary { files, elsewhere, written }) => {
                self.voice.report(Report::Discovered(Discovered { files, elsewhere, written, narrows: self.narrows }));
            }
        });
    }

    fn tell_untraceable(&self, why: Untraceable) {
        self.live.forget();
        self.voice.report(Report::Untraced(Degraded::Untraced { why: untraceable(why) }));
    }
}
