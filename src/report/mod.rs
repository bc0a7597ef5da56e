//! Telling: every event goes to everyone who listens, and nobody who listens slowly holds anything up.

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
mod human;
mod json;

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use self::human::Human;
use crate::config::{Color, Config, EventsTarget};
use crate::error::{Error, Result};
use crate::escape::escaped;
use crate::event::{Event, What};
use crate::os::clock::monotonic_ns;
use crate::os::fd::{Written, adopt, standard_error, write_if_ready};
use crate::os::reason;

/// What a sink keeps for a listener who takes nothing just now; what comes after that is left out, and counted.
const MOST_PENDING: usize = 256 * 1024;

/// A descriptor that is written to when it takes something.
#[derive(Debug)]
struct Sink {
    descriptor: Option<OwnedFd>,
    pending: Vec<u8>,
    left_out: u64,
    /// Whether the disk was full when it was last written to.
    no_room: bool,
}

impl Sink {
    fn to(descriptor: Option<OwnedFd>) -> Sink {
        Sink { descriptor, pending: Vec::new(), left_out: 0, no_room: false }
    }

    fn push(&mut self, line: &str) {
        if self.descriptor.is_none() {
            return;
        }
        if !self.pending.is_empty() && self.pending.len() + line.len() > MOST_PENDING {
            self.left_out += 1;
            return;
        }
        self.pending.extend_from_slice(line.as_bytes());
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(descriptor) = &self.descriptor
            && !self.pending.is_empty()
        {
            let written = write_if_ready(descriptor.as_fd(), &self.pending);
            self.no_room = written == Written::NoRoom;
            match written {
                Written::Some(count) => {
                    self.pending.drain(..count);
                }
                Written::NotNow | Written::NoRoom => return,
                Written::Never => {
                    self.pending.clear();
                    self.descriptor = None;
                }
            }
        }
    }
}

/// Tells people on standard error, and programs as JSON lines.
#[derive(Debug)]
pub struct Reporter {
    human: Human,
    human_sink: Sink,
    json_sink: Option<Sink>,
    /// Whether it was said that the events find no room.
    complained: bool,
}

impl Reporter {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// The events cannot go where they should.
    pub fn open(config: &Config) -> Result<Reporter> {
        let json_sink = config.events.as_ref().map(open_events).transpose()?.map(|fd| Sink::to(Some(fd)));
        let human = Human::new(config.directory.clone(), use_color(config.color), config.verbosity, clears(config));
        Ok(Reporter { human, human_sink: Sink::to(standard_error().ok()), json_sink, complained: false })
    }

    /// Takes over what a new configuration says of colour, verbosity and clearing; the sinks stay as they are.
    pub fn adapt(&mut self, config: &Config) {
        self.human.adapt(use_color(config.color), config.verbosity, clears(config));
    }

    /// Clears the terminal for a start, where that is wanted and there is one.
    pub fn clear(&mut self) {
        if let Some(text) = self.human.clear() {
            self.human_sink.push(&text);
        }
    }

    /// Tells an event to everyone.
    pub fn tell(&mut self, event: &Event) {
        if let Some(sink) = &mut self.json_sink {
            sink.push(&json::line(event, monotonic_ns(), SystemTime::now(), sink.left_out));
        }
        if let Some(text) = self.human.text(event) {
            self.human_sink.push(&text);
        }
        let no_room = self.json_sink.as_ref().is_some_and(|sink| sink.no_room);
        if no_room && !std::mem::replace(&mut self.complained, true) {
            let message = "the events find no room on the disk; up to 256 KiB of them wait until there is some".into();
            let generation = event.generation;
            self.human_sink
                .push(&self.human.text(&Event { generation, what: What::Degraded { message } }).unwrap_or_default());
        }
    }

    /// Tries once more to get rid of what somebody did not take.
    pub fn flush(&mut self) {
        self.human_sink.flush();
        if let Some(sink) = &mut self.json_sink {
            sink.flush();
        }
    }
}

/// Says one line on standard error, at once or never: for a child that has no supervisor to report to.
pub fn say(sentence: &str) {
    if let Ok(stderr) = standard_error() {
        write_if_ready(stderr.as_fd(), format!("reloadrun: {}\n", escaped(sentence)).as_bytes());
    }
}

fn open_events(target: &EventsTarget) -> Result<OwnedFd> {
    match target {
        EventsTarget::Stderr => standard_error().map_err(|_| Error::usage("--events -: standard error is closed")),
        EventsTarget::Descriptor(number) => adopt(*number).map_err(|_| {
            Error::usage(format!("--events fd:{number}: descriptor {number} is not open; open it in the shell, as in {number}>events.jsonl"))
        }),
        // For reading too: opening a FIFO for writing alone would wait for its reader.
        EventsTarget::File(path) => std::fs::File::options()
            .append(true)
            .read(true)
            .create(true)
            .open(path)
            .map(OwnedFd::from)
            .map_err(|error| Error::usage(format!("--events {}: {}", path.display(), reason(&error)))),
    }
}

/// Only a terminal can be cleared; a log would get the escape sequences.
fn clears(config: &Config) -> bool {
    use std::io::IsTerminal;
    config.clear && std::io::stderr().is_terminal()
}

/// Colour is for terminals, and not for those who said <https://no-color.org>.
fn use_color(color: Color) -> bool {
    use std::io::IsTerminal;
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
        }
    }
}
