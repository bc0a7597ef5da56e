//! From the threads of a child to its main thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::step::Input;
use crate::os;
use crate::os::fd::Bell;
use crate::protocol::Report;

/// Something for the main thread.
#[derive(Debug)]
pub enum Word {
    /// For its machine.
    Input(Input),
    /// To be passed on to the supervisor.
    Report(Report),
}

/// Where words arrive; readable when there are some.
#[derive(Debug)]
pub struct Inbox {
    words: Receiver<Word>,
    bell: Arc<Bell>,
}

/// The way for a thread to say something.
#[derive(Debug, Clone)]
pub struct Voice {
    words: Sender<Word>,
    bell: Arc<Bell>,
}

/// An inbox and a first voice.
///
/// # Errors
/// No descriptor is left.
pub fn inbox() -> Result<(Inbox, Voice), os::Errno> {
    let bell = Arc::new(Bell::new()?);
    let (sender, words) = channel();
    Ok((Inbox { words, bell: Arc::clone(&bell) }, Voice { words: sender, bell }))
}

impl Inbox {
    /// Everything that was said.
    pub fn words(&self) -> Vec<Word> {
        self.bell.hush();
        self.words.try_iter().collect()
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Voice {
    /// Says something to the machine.
    pub fn input(&self, input: Input) {
        self.say(Word::Input(input));
    }

    /// Says something to the supervisor.
    pub fn report(&self, report: Report) {
        self.say(Word::Report(report));
    }

    fn say(&self, word: Word) {
        // The receiver ends with the process.
        let _ = self.words.send(word);
        self.bell.ring();
    }
}
