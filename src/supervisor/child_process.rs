//! One child as its supervisor holds it: the pid, the pipes, what it has said.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::exit_code::ChildEnd;
use crate::os;
use crate::os::signals::Signal;
use crate::protocol::{Decoder, Directive, Pieces, Report, encode};

/// A living child.
#[derive(Debug)]
pub struct ChildProcess {
    pid: i32,
    reports: OwnedFd,
    directives: OwnedFd,
    legacy: OwnedFd,
    decoder: Decoder,
    pieces: Pieces,
}

/// The ends of the pipes that the child keeps.
#[derive(Debug)]
pub struct ChildEnds {
    /// Where its reports go.
    pub reports: OwnedFd,
    /// Where its directives come from.
    pub directives: OwnedFd,
    /// What the child before has left.
    pub inherited: Option<OwnedFd>,
    /// Where it leaves what the next one should know.
    pub legacy: OwnedFd,
    /// The heartbeat, where it has no path.
    pub heartbeat: Option<OwnedFd>,
}

impl ChildProcess {
    /// Forks a child that runs `body` with its ends of the pipes, with what the one before has left, and with the
    /// heartbeat where that has no path.
    ///
    /// # Errors
    /// The system's: no process or no descriptor left.
    pub fn start(
        inherited: Option<OwnedFd>,
        heartbeat: Option<OwnedFd>,
        body: impl FnOnce(ChildEnds) -> ChildEnd,
    ) -> Result<ChildProcess, os::Errno> {
        let (reports, child_reports) = os::fd::pipe()?;
        let (child_directives, directives) = os::fd::pipe()?;
        let (legacy, child_legacy) = os::fd::pipe()?;
        let ends = ChildEnds {
            reports: child_reports,
            directives: child_directives,
            inherited,
            legacy: child_legacy,
            heartbeat,
        };
        let pid = os::process::fork_child(|| {
            let kept = [&ends.reports, &ends.directives, &ends.legacy]
                .into_iter()
                .chain(&ends.inherited)
                .chain(&ends.heartbeat);
            os::fd::close_all_but(&kept.collect::<Vec<_>>());
            body(ends).code()
        })?;
        Ok(ChildProcess { pid, reports, directives, legacy, decoder: Decoder::default(), pieces: Pieces::default() })
    }

    /// Lets go of it; what it leaves to the next one remains.
    pub fn leave(self) -> OwnedFd {
        self.legacy
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when it has said something, or is gone.
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// What it has said; `None` when it will say nothing more.
    pub fn listen(&mut self) -> Option<Vec<Report>> {
        let mut buffer = vec![0; 64 * 1024];
        match os::fd::read_some(&self.reports, &mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                let reports = self.decoder.push(&buffer[..count]).into_iter();
                Some(reports.filter_map(|report| self.pieces.take(report)).collect())
            }
        }
    }

    /// Tells it something. That it is gone shows elsewhere.
    pub fn tell(&self, directive: &Directive) {
        let _ = os::fd::write_all(&self.directives, &encode(directive));
        if *directive == Directive::Stop {
            // Somebody may have stopped it (`kill -STOP`), and then it would never hear of it.
            let _ = os::signals::send(self.pid, Signal::CONT);
        }
    }
}
