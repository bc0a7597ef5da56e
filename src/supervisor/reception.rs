//! Clients and keys: everyone outside who asks for something, and what is known for them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::facts::is_in_tree;
use super::host::Host;
use super::keyboard::Keyboard;
use super::picture::Picture;
use super::server::{ClientId, Said, Server};
use super::step::Input;
use super::tally::Known;
use super::upward::Truth;
use crate::config::Config;
use crate::control::{Answer, Greeting, PROTOCOL, Status, line};
use crate::discover::Kept;
use crate::escape::quoted;
use crate::event::Event;
use crate::exit_code::ExitCode;
use crate::generation::Generation;
use crate::os::fd::{Wanted, close_all_but, write_until};
use crate::os::local::Listener;
use crate::os::process::{fork_child, own_pid};
use crate::report::{event_line, first_changes};

/// Whoever asks for an explanation must take it within this time.
const TO_TAKE: Duration = Duration::from_secs(5);

/// Everyone who asks.
#[derive(Debug)]
pub struct Reception {
    /// The control socket.
    pub server: Server,
    picture: Picture,
    keyboard: Option<Keyboard>,
}

impl Reception {
    /// Opens the keyboard, if keys are wanted and there is one.
    pub fn open(listener: Option<Listener>, config: &Config) -> Reception {
        Reception {
            server: Server::new(listener, greeting(config)),
            picture: Picture::new(SystemTime::now(), Instant::now()),
            keyboard: if config.keys { Keyboard::new() } else { None },
        }
    }

    /// What a newly read configuration says: the name and the command may be other ones.
    pub fn adapt(&mut self, config: &Config) {
        self.server.greet_with(greeting(config));
    }

    /// Whether keys are read.
    pub fn reads_keys(&self) -> bool {
        self.keyboard.is_some()
    }

    /// The descriptors to wait for.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Wanted)> {
        let keys = self.keyboard.iter().filter_map(Keyboard::wait).map(|keys| (keys, Wanted::ToRead));
        keys.chain(self.server.waits())
    }

    /// What they want, without waiting.
    pub fn take_in(&mut self, inputs: &mut Vec<Input>) {
        inputs.extend(self.keyboard.iter_mut().flat_map(Keyboard::pressed).map(Input::Key));
        for said in self.server.listen() {
            inputs.push(match said {
                Said::Asked(client, request) => {
                    let asks = request.asks_for_sender();
                    let from_tree = asks && self.server.pid(client).is_some_and(is_in_tree);
                    Input::Asked { client, request, from_tree }
                }
                Said::Gone(client) => Input::ClientGone(client),
            });
        }
    }

    /// Time has passed.
    pub fn beat(&mut self) {
        self.server.beat();
        self.keyboard.iter_mut().for_each(Keyboard::beat);
    }

    /// Takes an event in, and tells it to whoever follows.
    pub fn tell(&mut self, event: &Event, config: &Config) {
        let wall = SystemTime::now();
        self.picture.take(event, Known::of(config), first_changes, wall, Instant::now());
        self.server.tell(|left_out| event_line(event, wall, left_out));
    }

    /// The generation that the events tell of.
    pub fn generation(&self) -> Generation {
        self.picture.generation()
    }

    /// How things are.
    pub fn status(&self, config: &Config, paused: bool) -> Status {
        self.picture.status(&greeting(config), config, paused, Instant::now())
    }

    /// How things are, for our parent.
    pub fn truth(&self, config: &Config, ends: bool) -> Truth {
        let serves = self.picture.serves(Known::of(config));
        Truth { serves, is_replaced: self.picture.is_replaced(), ends, line: self.picture.line() }
    }

    /// Answers whether a change would count, from a process of its own: that may need a walk over a large tree, and here
    /// nothing may take long.
    pub fn explain(&mut self, client: ClientId, path: &Path, known: Kept, host: &dyn Host) {
        let Some(connection) = self.server.take(client).map(OwnedFd::from) else { return };
        // Where none can be forked, the client sees the end of the connection.
        let _ = fork_child(|| {
            close_all_but(&[&connection]);
            let (counts, message) = host.explain(path, known);
            let line = line(&Answer::Explain { counts, message });
            write_until(connection.as_fd(), line.as_bytes(), Instant::now() + TO_TAKE);
            ExitCode::SUCCESS
        });
    }
}

fn greeting(config: &Config) -> Greeting {
    Greeting {
        reloadrun: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        pid: own_pid(),
        name: config.name.clone(),
        directory: config.directory.display().to_string(),
        command: quoted(config.words()),
    }
}
