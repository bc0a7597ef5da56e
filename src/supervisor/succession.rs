//! Who has a child, who comes next, and how it all ends: the fork, the start, the loss and the last sweep.

use std::time::{Duration, Instant};

use super::behind::{Behind, Said};
use super::life::{Life, Readiness, State};
use super::lives::Lives;
use super::step::Action;
use super::sweep::{Remains, Sweep};
use crate::change::ChangeSet;
use crate::damping::Damping;
use crate::degraded::{Degraded, Loss};
use crate::event::{Cause, What};
use crate::exit_code::{ChildEnd, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::os::{Errno, reason};
use crate::protocol::{Carried, Directive};
use crate::restart::Backoff;

/// The first child is tried for until the delay between two attempts is longer than this; later ones for ever.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// The generations that are alive, and what outlives them.
#[derive(Debug)]
pub struct Succession {
    /// Everyone who has a child.
    pub lives: Lives,
    /// The last generation that was told to start, or that no child could be had for.
    pub generation: Generation,
    /// Whether the next one starts beside the one that runs.
    overlaps: bool,
    /// What leads to the next start.
    pub behind: Behind,
    /// What was said already.
    pub said: Said,
    /// The present series of restarts.
    pub damping: Damping,
    /// Whether what changed was counted when its preparation began.
    pub is_counted: bool,
    /// What the last child has left to do.
    pub carried: Carried,
    /// Whether a command was ever started.
    pub ever_ran: bool,
    /// Nobody has a child: the next one comes then.
    pause: Option<Instant>,
    /// How the run ends, once that is known.
    end: Option<(ExitCode, String)>,
    /// The sweep under way, and what follows it.
    sweep: Option<(Sweep, Afterwards)>,
    /// Whether its next round is due now.
    to_sweep: bool,
    backoff: Backoff,
}

#[derive(Debug)]
enum Afterwards {
    /// These have lost their children; the next one follows, or the end.
    Lost(Vec<Lost>),
    /// All is over, with this code.
    Over(ExitCode),
}

/// A generation that has lost its child.
#[derive(Debug)]
struct Lost {
    generation: Generation,
    loss: Loss,
    lived: Duration,
    /// Where it was then.
    state: State,
    /// Whether it watched.
    watched: bool,
}

impl Succession {
    /// The first child is the first action.
    pub fn begin(overlaps: bool, now: Instant) -> (Succession, Vec<Action>) {
        let generation = Generation::FIRST;
        let mut lives = Lives::default();
        lives.add(Life::new(generation, State::Starting, now));
        let succession = Succession {
            lives,
            generation,
            overlaps,
            behind: Behind::default(),
            said: Said::default(),
            damping: Damping::default(),
            is_counted: false,
            carried: Carried::default(),
            ever_ran: false,
            pause: None,
            end: None,
            sweep: None,
            to_sweep: false,
            backoff: Backoff::new(),
        };
        (succession, vec![Action::Fork(generation), Action::Start(generation, ChangeSet::default())])
    }

    /// Whether the end has been asked for.
    pub fn is_ending(&self) -> bool {
        self.end.is_some() || self.is_over()
    }

    /// Whether only the last sweep is left.
    pub fn is_over(&self) -> bool {
        matches!(self.sweep, Some((_, Afterwards::Over(_))))
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        let sweep = self.sweep.as_ref().map(|(sweep, _)| sweep.due());
        [self.lives.due(), self.pause, sweep].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.sweep.as_ref().is_some_and(|(sweep, _)| sweep.due() <= now) {
            self.to_sweep = true;
        }
        if self.pause.take_if(|until| *until <= now).is_some() {
            self.next(now, actions);
        }
    }

    /// The config file was saved after the child was forked, and before it was told to start.
    pub fn config_moved_on(&mut self, generation: Generation, actions: &mut Vec<Action>) {
        if self.lives.find(generation).is_some_and(|life| life.state == State::Starting) {
            actions.push(Action::Dismiss(generation));
            self.start_anew(generation, actions);
        }
    }

    /// The next generation starts because of these changes.
    pub fn is_behind(
        &mut self,
        of: Generation,
        changes: ChangeSet,
        noticed_ns: i64,
        quiet: Duration,
        actions: &mut Vec<Action>,
    ) {
        if !std::mem::take(&mut self.is_counted) && self.behind.changes.is_empty() {
            self.count(of, &changes, quiet, actions);
        } else {
            self.damping.join(&changes);
        }
        self.behind.add(changes, noticed_ns);
    }

    /// Something is done about these changes that may change files again.
    pub fn count(&mut self, of: Generation, changes: &ChangeSet, quiet: Duration, actions: &mut Vec<Action>) {
        let series = self.damping.restart(changes, quiet);
        actions.extend(series.map(|series| Action::TellSeries(of, series)));
    }

    /// A child has said its last word.
    pub fn left(
        &mut self,
        of: Generation,
        (end, hands_over): (ChildEnd, bool),
        stop_timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.lives.find(of).map(|life| life.state) else { return };
        let is_expected = match end {
            // A host whose command may not be traced says so as well.
            ChildEnd::Reload => state != State::Standby,
            ChildEnd::Ended => matches!(state, State::Renewing(_) | State::Retiring(_)),
            ChildEnd::Failed => false,
        };
        if !is_expected && self.end.is_none() {
            return self.lost(of, Loss::Left, now, actions);
        }
        let Some(life) = self.lives.remove(of) else { return };
        if of == self.generation && !hands_over {
            self.forget_watches(actions);
        }
        actions.push(Action::Release(life.generation));
        if self.end.is_some() {
            self.finish_when_alone(now, actions);
        } else if matches!(state, State::Retiring(_)) {
            // The next one runs already.
        } else if state == State::Hosting {
            // The next one is on its way, unless it has failed and only watches.
            if self.lives.newest().is_some_and(|newest| newest.state == State::Waiting) {
                self.renew(stop_timeout, now, actions);
            }
        } else if end == ChildEnd::Reload && life.keys.mean_the_end() {
            let (signal, code) = (Signal::INT, ExitCode::of_signal(Signal::INT.number()));
            self.finish(code, format!("{signal} from the terminal"), now, actions);
        } else {
            if end == ChildEnd::Reload && self.behind.changes.is_empty() {
                self.behind.came_to_nothing();
                self.damping.restart_for_nothing(now.saturating_duration_since(life.since));
            }
            self.next(now, actions);
        }
    }

    /// A child watches no more, and the next one starts beside it.
    pub fn handed_over(
        &mut self,
        of: Generation,
        whole: bool,
        stop_timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if of != self.generation || !self.lives.find(of).is_some_and(|life| life.is_up()) {
            return;
        }
        if !whole {
            self.forget_watches(actions);
        }
        self.retire_host(stop_timeout, now, actions);
        let Some(life) = self.lives.find(of) else { return };
        if life.command_runs {
            life.state = State::Hosting;
        } else {
            // It has ended meanwhile.
            life.leaves(State::Retiring, stop_timeout, now);
            actions.push(Action::Send(of, Directive::Retire));
        }
        self.next(now, actions);
    }

    /// The newest is ready, so the one that runs beside it is ended.
    pub fn retire_host(&mut self, stop_timeout: Duration, now: Instant, actions: &mut Vec<Action>) {
        if let Some(host) = self.lives.host() {
            host.leaves(State::Retiring, stop_timeout, now);
            actions.push(Action::Send(host.generation, Directive::Retire));
        }
    }

    /// A child is dead, or as good as dead.
    pub fn lost(&mut self, generation: Generation, loss: Loss, now: Instant, actions: &mut Vec<Action>) {
        let Some(life) = self.lives.remove(generation) else { return };
        if life.state == State::Standby {
            // Another is forked when it is needed.
            return actions.push(Action::Dismiss(generation));
        }
        let watched = generation == self.generation;
        if watched {
            self.carried = Carried::default();
            self.forget_watches(actions);
        }
        let lived = now.saturating_duration_since(life.since);
        let mut lost = match self.sweep.take() {
            Some((_, Afterwards::Lost(before))) => before,
            _ => Vec::new(),
        };
        lost.push(Lost { generation, loss, lived, state: life.state, watched });
        self.sweep = Some((Sweep::begin(now), Afterwards::Lost(lost)));
        self.to_sweep = true;
    }

    /// One round for all who were lost, and whoever belongs to a life is spared.
    pub fn sweep_if_due(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.to_sweep) {
            actions.push(Action::Sweep { spared: self.lives.generations() });
        }
    }

    /// A round of the sweep has left this.
    pub fn swept(&mut self, remains: Remains, now: Instant, actions: &mut Vec<Action>) {
        let Some(swept) = self.sweep.as_mut().and_then(|(sweep, _)| sweep.look(remains, now)) else { return };
        match self.sweep.take() {
            Some((_, Afterwards::Over(code))) => actions.push(Action::Finish(code)),
            Some((_, Afterwards::Lost(lost))) => {
                let first = lost.first().map(|lost| lost.generation).unwrap_or(self.generation);
                actions.extend(swept.left.map(|left| Action::Tell(first, What::Degraded(left))));
                actions.extend(lost.iter().map(|lost| Action::Release(lost.generation)));
                if self.end.is_some() {
                    return self.finish_when_alone(now, actions);
                }
                for lost in lost {
                    self.follow(lost, now, actions);
                }
            }
            None => {}
        }
    }

    /// What follows a loss: the next child, if nothing else runs or watches.
    fn follow(&mut self, lost: Lost, now: Instant, actions: &mut Vec<Action>) {
        let Lost { generation, loss, lived, state, watched } = lost;
        let failed = self.lives.newest_mut().filter(|newest| newest.state == State::Waiting);
        let delay = if watched {
            let delay = self.backoff.after(lived);
            self.pause = Some(now + delay);
            Some(delay)
        } else if state == State::Hosting
            && let Some(newest) = failed
        {
            let delay = self.backoff.after(lived);
            newest.state = State::Delayed(now + delay);
            Some(delay)
        } else {
            None
        };
        if delay.is_some() {
            self.behind.because(Cause::ChildDied);
        }
        actions.push(Action::Tell(generation, What::Degraded(Degraded::ChildDied { generation, loss, delay })));
    }

    /// There is no child for this generation.
    pub fn fork_failed(&mut self, generation: Generation, errno: Errno, now: Instant, actions: &mut Vec<Action>) {
        let Some(life) = self.lives.remove(generation) else { return };
        if life.state == State::Standby || generation != self.generation {
            // Tried again when it is needed, and told then.
            return;
        }
        let (delay, reason) = (self.backoff.after(Duration::ZERO), reason(errno));
        if !self.ever_ran && delay > FIRST_PATIENCE {
            // Nothing has ever run: whoever waits for it should know.
            let reason = format!("no child can be started: {reason}");
            return self.finish(ExitCode::OWN_FAILURE, reason, now, actions);
        }
        self.pause = Some(now + delay);
        self.behind.because(Cause::ChildDied);
        actions.push(Action::Tell(generation, What::Degraded(Degraded::ChildNotStarted { reason, delay })));
    }

    /// The next child is forked while the present one stops.
    pub fn fork_standby(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // A new config means a new child.
        if self.lives.has_standby() || self.end.is_some() || self.behind.changes.has_config() {
            return;
        }
        let generation = self.generation.next();
        self.lives.add(Life::new(generation, State::Standby, now));
        actions.push(Action::Fork(generation));
    }

    /// The command is ended, and the next generation follows; with `--overlap` that starts beside a command that is ready.
    /// Says whether that is news: it may be on its way already.
    pub fn renew(&mut self, stop_timeout: Duration, now: Instant, actions: &mut Vec<Action>) -> bool {
        let Some(life) = self.lives.newest_mut() else {
            // Nobody has a child; the next one comes at once, if nothing has to be swept first.
            return self.pause.as_mut().is_some_and(|until| std::mem::replace(until, now) > now);
        };
        if !life.is_up() || life.state == State::Stopping {
            return false;
        }
        let generation = life.generation;
        if self.overlaps && life.state == State::Running && matches!(life.readiness, Readiness::Ready(_)) {
            let is_news = !std::mem::replace(&mut life.hands_over, true);
            if is_news {
                actions.push(Action::Send(generation, Directive::HandOver));
                self.fork_standby(now, actions);
            }
            return is_news;
        }
        life.leaves(State::Renewing, stop_timeout, now);
        actions.push(Action::Send(generation, Directive::Stop));
        self.fork_standby(now, actions);
        true
    }

    /// The generation that comes next, if no child is lost.
    pub fn coming(&self) -> Generation {
        self.generation.next()
    }

    /// The next child begins with a watch state of its own. A standby has the old one, so another is forked when it is needed.
    fn forget_watches(&mut self, actions: &mut Vec<Action>) {
        self.dismiss_standby(actions);
        actions.push(Action::ForgetWatches);
    }

    fn dismiss_standby(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.lives.take_standby().map(|life| Action::Dismiss(life.generation)));
    }

    /// Starts the next generation.
    fn next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.generation = self.generation.next();
        let generation = self.generation;
        let reads_config = self.behind.changes.has_config();
        if reads_config {
            self.said.forget();
            self.start_anew(generation, actions);
            return self.lives.add(Life::new(generation, State::Starting, now));
        }
        if self.lives.take_standby().is_none() {
            actions.push(Action::Fork(generation));
        }
        self.lives.add(Life::new(generation, State::Starting, now));
        actions.push(Action::Start(generation, self.behind.changes.clone()));
    }

    /// Starts a generation with a config that is read for it, and with a watch state of its own.
    fn start_anew(&mut self, generation: Generation, actions: &mut Vec<Action>) {
        // Another preparation may be configured.
        (self.carried.prepared, self.carried.outputs) = (false, ChangeSet::default());
        self.forget_watches(actions);
        actions.extend([Action::ReadConfig(generation), Action::Fork(generation)]);
        actions.push(Action::Start(generation, self.behind.changes.clone()));
    }

    /// Ends everything; asked once more, it ends it with KILL.
    pub fn end(
        &mut self,
        code: ExitCode,
        reason: String,
        stop_timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.dismiss_standby(actions);
        self.pause = None;
        for life in self.lives.all() {
            match life.state {
                // It has been told already, and a second time would mean KILL.
                State::Renewing(hangs_at) => {
                    life.state = State::Ending(hangs_at);
                    continue;
                }
                // To be replaced is no request: this is the first.
                State::Retiring(hangs_at) => life.state = State::Ending(hangs_at),
                State::Ending(_) => life.leaves_soon(now),
                _ => life.leaves(State::Ending, stop_timeout, now),
            }
            actions.push(Action::Send(life.generation, Directive::Stop));
        }
        // A sweep is bounded, and the end follows it.
        self.end.get_or_insert((code, reason));
        self.finish_when_alone(now, actions);
    }

    fn finish_when_alone(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.lives.is_empty()
            && self.sweep.is_none()
            && let Some((code, reason)) = self.end.take()
        {
            self.finish(code, reason, now, actions);
        }
    }

    fn finish(&mut self, code: ExitCode, reason: String, now: Instant, actions: &mut Vec<Action>) {
        self.dismiss_standby(actions);
        self.pause = None;
        let sweep = Action::Sweep { spared: Vec::new() };
        actions.extend([Action::Tell(self.generation, What::Finished { code, reason }), sweep]);
        self.sweep = Some((Sweep::begin(now), Afterwards::Over(code)));
    }
}
