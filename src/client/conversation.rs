//! A connection to a run, line by line.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::control::{Greeting, Request, line};
use crate::os::local::{Connection, Got};

/// What came from the run.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line, without its end.
    Line(String),
    /// Nothing in time.
    Nothing,
    /// The run is gone, or has let us go.
    End,
}

/// A connection to a run.
#[derive(Debug)]
pub struct Conversation {
    /// What the run is, once it has greeted.
    pub greeting: Greeting,
    connection: Connection,
    unread: Vec<u8>,
}

impl Conversation {
    /// Before the greeting, which [`Conversation::greet`] takes in.
    pub fn new(connection: Connection) -> Conversation {
        let greeting = Greeting {
            reloadrun: String::new(),
            protocol: 0,
            pid: 0,
            name: None,
            directory: String::new(),
            command: String::new(),
        };
        Conversation { greeting, connection, unread: Vec::new() }
    }

    /// Takes the greeting in. `Some(false)` if what is there is none of ours, `None` if nothing is there in time.
    pub fn greet(&mut self, until: Instant) -> Option<bool> {
        match self.hear(Some(until)) {
            Heard::Nothing => None,
            Heard::End => Some(false),
            Heard::Line(line) => Some(serde_json::from_str(&line).map(|greeting| self.greeting = greeting).is_ok()),
        }
    }

    /// What to wait for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Says something. A request is short, and the run has read everything before it.
    pub fn say(&mut self, request: &Request) {
        let line = line(request);
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.connection.write(rest) {
                Some(0) | None => return,
                Some(count) => rest = &rest[count..],
            }
        }
    }

    /// Says something and waits for the answer.
    pub fn ask(&mut self, request: &Request, until: Option<Instant>) -> Heard {
        self.say(request);
        self.hear(until)
    }

    /// The next line.
    pub fn hear(&mut self, until: Option<Instant>) -> Heard {
        let mut buffer = vec![0; 64 * 1024];
        let mut searched = 0;
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=searched + end).collect();
                return Heard::Line(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
            }
            searched = self.unread.len();
            match self.connection.read(&mut buffer) {
                Got::Some(count) => self.unread.extend_from_slice(&buffer[..count]),
                Got::End | Got::Broken => return Heard::End,
                Got::NotNow => {
                    let is_there = self.connection.wait(until);
                    if !is_there && until.is_some_and(|until| Instant::now() >= until) {
                        return Heard::Nothing;
                    }
                }
            }
        }
    }
}
