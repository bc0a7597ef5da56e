//! Telling: every event goes to everyone who listens, and nobody who listens slowly holds anything up.

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
mod human;
mod json;
mod line;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use self::human::Human;
pub use self::json::first_changes;
use self::line::paragraph;
pub use self::line::{Tone, line, shown};
use crate::config::{Color, Config, EventsTarget};
use crate::degraded::Degraded;
use crate::error::{Error, Result};
use crate::event::{Event, What};
use crate::os::clock::monotonic_ns;
use crate::os::fd::{Written, adopt, open_to_append, standard_error, write_if_ready, write_until};
use crate::os::reason;
use crate::os::tty::shows_keys;

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
            self.left_out += line.lines().count() as u64;
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
        let human = Human::new(config.directory.clone(), use_color(config), config.verbosity, clears(config));
        Ok(Reporter { human, human_sink: Sink::to(standard_error().ok()), json_sink, complained: false })
    }

    /// The command has the terminal, perhaps with a prompt: nothing is said that is no answer to anything.
    pub fn leave_terminal_to_command(&mut self) {
        self.human.leave_terminal_to_command();
    }

    /// Takes over what a new configuration says of colour, verbosity and clearing; the sinks stay as they are.
    pub fn adapt(&mut self, config: &Config) {
        self.human.adapt(use_color(config), config.verbosity, clears(config));
    }

    /// Clears the terminal for a start, where that is wanted and there is one.
    pub fn clear(&mut self) {
        if let Some(text) = self.human.clear() {
            self.human_sink.push(&text);
        }
    }

    /// Ends the line on which the terminal has shown a key: what comes next, ours or the shell's, begins a line.
    pub fn end_line(&mut self) {
        if shows_keys() {
            self.human_sink.push("\n");
        }
    }

    /// Shows these sentences to the person at the terminal, a line each: they were asked for, however quiet the rest is.
    pub fn show(&mut self, sentences: &[String]) {
        sentences.iter().for_each(|sentence| self.human_sink.push(&self.human.plain(sentence)));
    }

    /// Tells an event to everyone.
    pub fn tell(&mut self, event: &Event) {
        // First, so that a program which answers an event in words speaks after us.
        if let Some(text) = self.human.text(event) {
            self.human_sink.push(&text);
        }
        if let Some(sink) = &mut self.json_sink {
            sink.push(&json::line(event, monotonic_ns(), SystemTime::now(), sink.left_out));
        }
        let no_room = self.json_sink.as_ref().is_some_and(|sink| sink.no_room);
        if no_room && !std::mem::replace(&mut self.complained, true) {
            let what = What::Degraded(Degraded::NoRoomForEvents { kept: MOST_PENDING });
            let event = Event { generation: event.generation, what };
            self.human_sink.push(&self.human.text(&event).unwrap_or_default());
        }
    }

    /// Passes on an event of another process, as it is.
    pub fn relay(&mut self, line: &str) {
        if let Some(sink) = &mut self.json_sink {
            sink.push(&format!("{line}\n"));
        }
    }

    /// Tries once more to get rid of what somebody did not take, and says what he has missed.
    pub fn flush(&mut self) {
        self.human_sink.flush();
        if self.human_sink.pending.is_empty() && self.human_sink.left_out > 0 {
            let count = std::mem::take(&mut self.human_sink.left_out);
            self.human_sink.push(&self.human.left_out(count));
        }
        if let Some(sink) = &mut self.json_sink {
            sink.flush();
        }
    }

    /// The same for the last time: a terminal or a reader that is only busy gets a moment.
    pub fn finish(&mut self) {
        let until = Instant::now() + LAST_MOMENT;
        self.flush();
        for sink in [&self.human_sink].into_iter().chain(&self.json_sink) {
            if let Some(descriptor) = &sink.descriptor {
                write_until(descriptor.as_fd(), &sink.pending, until);
            }
        }
    }
}

/// An event as its line for programs, told at this time after so many lines that were left out.
pub fn event_line(event: &Event, wall: SystemTime, left_out: u64) -> String {
    json::line(event, monotonic_ns(), wall, left_out)
}

/// So long a busy reader is waited for in the end.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// So long an error waits for somebody to take it: it is all that is said before the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Puts a line on standard error, at once or never: for a child, which has no reporter.
pub fn put(line: &str) {
    if let Ok(stderr) = standard_error() {
        write_if_ready(stderr.as_fd(), line.as_bytes());
    }
}

/// Says a sentence on standard error, at once or never: for a child that has no supervisor to report to.
pub fn say(sentence: &str) {
    put(&line(Tone::Bad, false, sentence));
}

/// Says the sentences of an error on standard error, a line each, and waits a little where nobody takes them.
pub fn complain(sentences: &[String]) {
    last_words(&sentences.iter().map(|sentence| line(Tone::Bad, false, sentence)).collect::<String>());
}

/// The same for an error whose line ends are ours.
pub fn complain_in_lines(text: &str) {
    last_words(&paragraph(text));
}

fn last_words(text: &str) {
    if let Ok(stderr) = standard_error() {
        write_until(stderr.as_fd(), text.as_bytes(), Instant::now() + LAST_WORDS);
    }
}

fn open_events(target: &EventsTarget) -> Result<OwnedFd> {
    match target {
        EventsTarget::Stderr => standard_error().map_err(|_| Error::usage("--events -: standard error is closed")),
        EventsTarget::Descriptor(number) => adopt(*number).map_err(|_| {
            Error::usage(format!("--events fd:{number}: descriptor {number} is not open; open it in the shell, as in {number}>events.jsonl"))
        }),
        EventsTarget::File(path) => open_to_append(path)
            .map_err(|error| Error::usage(format!("--events {}: {}", path.display(), reason(error)))),
    }
}

/// Only a terminal can be cleared; a log would get the escape sequences.
fn clears(config: &Config) -> bool {
    use std::io::IsTerminal;
    config.clear && std::io::stderr().is_terminal()
}

/// Colour is for terminals, and not for users who refuse it.
pub fn use_color(config: &Config) -> bool {
    use std::io::IsTerminal;
    match config.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && !config.environment.refuses_color(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Human, MOST_PENDING, Reporter, Sink};
    use crate::config::Verbosity;
    use crate::event::{Event, What};
    use crate::generation::Generation;
    use crate::os::fd::{make_non_blocking, pipe, read_some};

    #[test]
    fn a_reader_who_comes_back_gets_what_was_kept_and_learns_what_was_left_out() {
        let (reader, writer) = pipe().unwrap();
        make_non_blocking(&reader).unwrap();
        make_non_blocking(&writer).unwrap();
        let human = Human::new("/".into(), false, Verbosity::Normal, false);
        let mut reporter = Reporter { human, human_sink: Sink::to(Some(writer)), json_sink: None, complained: false };
        let tell = |number: usize, reporter: &mut Reporter| {
            let message = format!("{number} {}", "x".repeat(1000));
            reporter.tell(&Event { generation: Generation::FIRST, what: What::Hint { message } });
        };
        let count = 2 * MOST_PENDING / 1000;
        (0..count).for_each(|number| tell(number, &mut reporter));
        let left_out = usize::try_from(reporter.human_sink.left_out).unwrap();
        assert!((1..count).contains(&left_out));
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = read_some(&reader, &mut buffer) {
            read.extend_from_slice(&buffer[..length]);
            reporter.flush();
        }
        let text = String::from_utf8(read).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let (last, kept) = lines.split_last().unwrap();
        assert_eq!(*last, format!("reloadrun: {left_out} lines were left out here, because nobody took them"));
        assert_eq!(kept.len(), count - left_out);
        for (number, line) in kept.iter().enumerate() {
            assert!(line.starts_with(&format!("reloadrun: {number} x")), "{line}");
        }
    }
}
