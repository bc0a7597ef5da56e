//! One child as its supervisor holds it: the pid, the pipes, what it has said.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::exit_code::ChildEnd;
use crate::generation::Generation;
use crate::os;
use crate::os::signals::Signal;
use crate::protocol::{Decoder, Directive, Pieces, Report, StartRequest, Ties, encode};

/// A living child.
#[derive(Debug)]
pub struct ChildProcess {
    generation: Generation,
    pid: i32,
    /// Whether its end has been collected: from then on its number may be somebody else's.
    collected: bool,
    reports: OwnedFd,
    directives: OwnedFd,
    outbox: Outbox,
    decoder: Decoder,
    pieces: Pieces,
    /// The listener of a traced command lies here, for as long as anything of it may be left.
    _deposit: OwnedFd,
}

/// What a child has not been told yet. A stopped child takes nothing, and the supervisor cannot wait for it. However
/// much there is to tell, it comes down to one start, one of each of the rest, two stops at the most, a set of signals, and
/// the last barrier.
#[derive(Debug, Default)]
struct Outbox {
    /// The rest of a directive that the pipe has taken a part of, or could not take. A start is as long as its changes.
    line: Vec<u8>,
    start: Option<StartRequest>,
    ends_command: bool,
    retires: bool,
    stops: u8,
    signals: BTreeSet<i32>,
    pause: Option<bool>,
    barrier: Option<u64>,
    hands_over: bool,
    recalls: bool,
}

impl Outbox {
    fn add(&mut self, directive: Directive) {
        match directive {
            Directive::Start(request) => self.start = Some(request),
            // Said twice, it means KILL; there is nothing beyond that.
            Directive::Stop => self.stops = (self.stops + 1).min(2),
            Directive::Retire => self.retires = true,
            Directive::EndCommand => self.ends_command = true,
            Directive::Signal { number } => drop(self.signals.insert(number)),
            Directive::Pause { on } => self.pause = Some(on),
            Directive::Barrier { id } => self.barrier = Some(id),
            Directive::HandOver => self.hands_over = true,
            Directive::Recall => self.recalls = true,
        }
    }

    /// Makes the next directive ready to be written, if there is one: first the start, without which there is nothing to
    /// stop, and then the stops.
    fn prepare(&mut self) -> bool {
        if self.line.is_empty()
            && let Some(next) = self.next()
        {
            encode(&next, &mut self.line);
        }
        !self.line.is_empty()
    }

    fn next(&mut self) -> Option<Directive> {
        if let Some(request) = self.start.take() {
            return Some(Directive::Start(request));
        }
        if std::mem::take(&mut self.ends_command) {
            return Some(Directive::EndCommand);
        }
        if std::mem::take(&mut self.retires) {
            return Some(Directive::Retire);
        }
        if self.stops > 0 {
            self.stops -= 1;
            return Some(Directive::Stop);
        }
        if let Some(on) = self.pause.take() {
            return Some(Directive::Pause { on });
        }
        if std::mem::take(&mut self.hands_over) {
            return Some(Directive::HandOver);
        }
        if std::mem::take(&mut self.recalls) {
            return Some(Directive::Recall);
        }
        let signal = self.signals.pop_first().map(|number| Directive::Signal { number });
        signal.or_else(|| self.barrier.take().map(|id| Directive::Barrier { id }))
    }
}

impl ChildProcess {
    /// Forks the child of a generation. `tie` gets the child's ends of the pipes, for its reports and its directives. The
    /// child runs `body` with these ties, and waits there until it is told to start.
    ///
    /// # Errors
    /// The system's: no process or no descriptor left.
    pub fn fork(
        generation: Generation,
        tie: impl FnOnce(OwnedFd, OwnedFd, OwnedFd) -> Ties,
        body: impl FnOnce(Ties) -> ChildEnd,
    ) -> Result<ChildProcess, os::Errno> {
        let (reports, child_reports) = os::fd::pipe()?;
        let (child_directives, directives) = os::fd::pipe()?;
        os::fd::make_non_blocking(&directives)?;
        let (kept, deposit) = os::seccomp::deposit()?;
        let ties = tie(child_reports, child_directives, deposit);
        let pid = os::process::fork_child(|| {
            os::fd::close_all_but(&ties.descriptors().collect::<Vec<_>>());
            body(ties).code()
        })?;
        let (decoder, pieces) = (Decoder::default(), Pieces::default());
        let outbox = Outbox::default();
        Ok(ChildProcess {
            generation,
            pid,
            collected: false,
            reports,
            directives,
            outbox,
            decoder,
            pieces,
            _deposit: kept,
        })
    }

    /// Which generation it is for.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its end has been collected.
    pub fn was_collected(&mut self) {
        self.collected = true;
    }

    /// Readable when it has said something, or is gone. `None` when its end has been collected: all it said was read, and
    /// the end of a pipe stays readable for ever.
    pub fn reports(&self) -> Option<BorrowedFd<'_>> {
        (!self.collected).then(|| self.reports.as_fd())
    }

    /// What it has said so far, without waiting.
    pub fn said(&mut self) -> Vec<Report> {
        let mut said = Vec::new();
        while matches!(os::fd::wait_readable([self.reports.as_fd()], Some(Instant::now())), Ok([true])) {
            let Some(reports) = self.listen() else { break };
            said.extend(reports);
        }
        said
    }

    /// `None` when it will say nothing more.
    fn listen(&mut self) -> Option<Vec<Report>> {
        let mut buffer = vec![0; 64 * 1024];
        match os::fd::read_some(&self.reports, &mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                let reports = self.decoder.push(&buffer[..count]).into_iter();
                Some(reports.filter_map(|report| self.pieces.take(report)).collect())
            }
        }
    }

    /// Tells it something, now or as soon as it listens. That it is gone shows elsewhere.
    pub fn tell(&mut self, directive: Directive) {
        if !matches!(directive, Directive::Signal { .. }) {
            self.wake();
        }
        self.outbox.add(directive);
        self.flush();
    }

    /// Continues it if it was stopped: the calls of a traced command wait for it.
    pub fn keep_going(&self) {
        if !self.collected && os::process::was_stopped(self.pid) {
            self.wake();
        }
    }

    /// Somebody may have stopped it (`kill -STOP`), and then it would hear of nothing.
    fn wake(&self) {
        if !self.collected {
            let _ = os::signals::send(self.pid, Signal::CONT);
        }
    }

    /// Lets go of a child that was not told to start: it sees the end of its directives, and leaves.
    pub fn dismiss(self) {
        self.wake();
    }

    /// Where it is told things, while there is something that it has not taken.
    pub fn owed(&self) -> Option<BorrowedFd<'_>> {
        (!self.outbox.line.is_empty()).then(|| self.directives.as_fd())
    }

    /// Tells it what it has not taken before, as far as it takes it now.
    pub fn flush(&mut self) {
        while self.outbox.prepare() {
            match os::fd::write_some(&self.directives, &self.outbox.line) {
                Ok(count) => drop(self.outbox.line.drain(..count)),
                Err(os::Errno::EAGAIN) => return,
                // It is gone.
                Err(_) => self.outbox = Outbox::default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;
    use crate::protocol::{Decoder, Directive, StartRequest};

    #[test]
    fn a_child_is_told_to_start_before_anything_else() {
        let mut outbox = Outbox::default();
        let start = Directive::Start(StartRequest::first());
        let barrier = |id| Directive::Barrier { id };
        for directive in [barrier(1), Directive::Signal { number: 10 }, Directive::Stop, start.clone(), barrier(2)] {
            outbox.add(directive);
        }
        let next: Vec<Directive> = std::iter::from_fn(|| outbox.next()).collect();
        assert_eq!(next, [start, Directive::Stop, Directive::Signal { number: 10 }, barrier(2)]);
    }

    #[test]
    fn what_a_stopped_child_is_told_comes_down_to_little_and_stops_come_first() {
        let mut outbox = Outbox::default();
        for _ in 0..5000 {
            outbox.add(Directive::Signal { number: 12 });
            outbox.add(Directive::Signal { number: 10 });
            // The pipe is full: this one waits, and must be whole in the end.
            assert!(outbox.prepare());
        }
        for _ in 0..3 {
            outbox.add(Directive::Stop);
        }
        let mut bytes = Vec::new();
        while outbox.prepare() {
            bytes.append(&mut outbox.line);
        }
        let signal = |number| Directive::Signal { number };
        let told: Vec<Directive> = Decoder::default().push(&bytes);
        assert_eq!(told, [signal(10), Directive::Stop, Directive::Stop, signal(10), signal(12)]);
    }
}
