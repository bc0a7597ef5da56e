//! The command's output, copied through this process: only in GitHub Actions, where a part of it is shown again in the summary.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::github::Log;
use crate::os::Errno;
use crate::os::fd::{
    Wanted, Written, adopt, make_non_blocking, outputs_are_one, pipe, read_some, write_if_ready, write_until,
};
use crate::os::lock::random;

/// Where nobody takes what is copied, no more is read: the command waits, as it would without us.
const MOST_PENDING: usize = 1024 * 1024;

/// So long the log gets to take the rest in the end.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// One of both ways.
#[derive(Debug)]
struct Way {
    from: OwnedFd,
    to: OwnedFd,
    pending: Vec<u8>,
    open: bool,
}

impl Way {
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match write_if_ready(self.to.as_fd(), &self.pending) {
                Written::Some(count) => drop(self.pending.drain(..count)),
                Written::NotNow => return,
                Written::NoRoom | Written::Never => self.pending.clear(),
            }
        }
    }
}

/// The output on its way. Where standard output and error are one, so is the way, and their order stays.
#[derive(Debug)]
pub struct Output {
    ways: Vec<Way>,
    /// What the command writes to, until it is started.
    ends: Option<(OwnedFd, OwnedFd)>,
    log: Log,
}

impl Output {
    /// Makes the ways.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open() -> Result<Output, Errno> {
        let way = |number: i32| -> Result<(Way, OwnedFd), Errno> {
            let (from, end) = pipe()?;
            make_non_blocking(&from)?;
            Ok((Way { from, to: adopt(number)?, pending: Vec::new(), open: true }, end))
        };
        let (first, stdout) = way(1)?;
        if outputs_are_one() {
            let stderr = stdout.try_clone().map_err(|error| crate::os::errno(&error))?;
            return Ok(Output { ways: vec![first], ends: Some((stdout, stderr)), log: Log::default() });
        }
        let (second, stderr) = way(2)?;
        Ok(Output { ways: vec![first, second], ends: Some((stdout, stderr)), log: Log::default() })
    }

    /// What the command writes to; once.
    pub fn ends(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        self.ends.take()
    }

    /// What to wait for.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Wanted)> {
        let reads = self.ways.iter().filter(|way| way.open && way.pending.len() < MOST_PENDING);
        let writes = self.ways.iter().filter(|way| !way.pending.is_empty());
        let reads = reads.map(|way| (way.from.as_fd(), Wanted::ToRead));
        reads.chain(writes.map(|way| (way.to.as_fd(), Wanted::ToWrite)))
    }

    /// Copies what is there.
    pub fn copy(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        for (index, way) in self.ways.iter_mut().enumerate() {
            while way.open && way.pending.len() < MOST_PENDING {
                match read_some(&way.from, &mut buffer) {
                    Ok(0) => way.open = false,
                    Ok(count) => way.pending.extend(self.log.take(index, &buffer[..count], &mut token)),
                    Err(_) => break,
                }
            }
            way.flush();
        }
    }

    /// Says something to the runner, between two lines of the output.
    pub fn say(&mut self, text: &str) {
        let rest = self.log.finish(&mut token);
        let way = &mut self.ways[0];
        way.pending.extend(rest);
        way.pending.extend_from_slice(text.as_bytes());
        way.flush();
    }

    /// Copies the rest, and gives back the last lines.
    pub fn finish(&mut self) -> String {
        self.ends = None;
        self.copy();
        let rest = self.log.finish(&mut token);
        self.ways[0].pending.extend(rest);
        self.log.tail()
    }

    /// Writes what is pending, to a log that is only busy.
    pub fn flush_for_good(&mut self) {
        let until = Instant::now() + LAST_MOMENT;
        for way in &mut self.ways {
            write_until(way.to.as_fd(), &way.pending, until);
            way.pending.clear();
        }
    }
}

/// What nobody can guess, so that nothing in the output can let commands through again.
fn token() -> String {
    let random = random().unwrap_or_else(|| u128::from(std::process::id()));
    format!("reloadrun-{random:032x}")
}
