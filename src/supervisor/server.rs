//! The control socket: lines in, lines out, and nobody at the other end can hold anything up. Decides nothing: what a request
//! leads to is the machine's business.
//!
//! | a client                                  | what happens                                                        |
//! |-------------------------------------------|---------------------------------------------------------------------|
//! | is of another user, and not root          | it is told so, and let go                                           |
//! | is one too many                           | whoever has asked nothing for longest is told so and let go, else the newcomer |
//! | sends a line that is too long             | it is told so, and let go                                           |
//! | sends what is no request                  | it is told so                                                       |
//! | does not read its answers                 | its next requests wait; nothing more is read from it                |
//! | does not read its events                  | they are left out and counted                                       |
//! | writes nothing more                       | it still gets what it waits for                                     |
//! | is gone                                   | it is forgotten                                                     |

use std::os::fd::{AsFd, BorrowedFd};

use crate::control::{self, Answer, Greeting, LONGEST_LINE, Request, line, request};
use crate::os::fd::Wanted;
use crate::os::local::{Connection, Got, Listener, Peer};
use crate::os::user::own_user;

/// So many clients are served at a time.
const MOST_CLIENTS: usize = 32;

/// While more than this has not been read by a client, its requests wait.
const MOST_UNREAD: usize = 64 * 1024;

/// Events beyond this are left out for a client that does not read them.
const MOST_EVENTS: usize = 256 * 1024;

/// So many newcomers are let in at a time: the others have their turn too.
const MOST_AT_ONCE: usize = 16;

/// Which client: no two of a run have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Something that a client did.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// It asks for something.
    Asked(ClientId, Request),
    /// It is gone.
    Gone(ClientId),
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    peer: Peer,
    connection: Connection,
    /// Lines that were not taken in yet.
    inbox: Vec<u8>,
    /// What it has not been read yet.
    outbox: Vec<u8>,
    /// Whether it gets events.
    follows: bool,
    left_out: u64,
    /// Whether it has asked for anything.
    has_asked: bool,
    /// Whether it is a process of our own, which takes nobody's place and keeps its own.
    is_own: bool,
    /// Whether it waits for an answer.
    is_owed: bool,
    /// It writes nothing more.
    is_silent: bool,
    /// It is let go when it has read what there is for it.
    leaves: bool,
    is_broken: bool,
}

impl Client {
    fn send(&mut self, text: &str) {
        self.outbox.extend_from_slice(text.as_bytes());
        self.flush();
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.is_broken {
            match self.connection.write(&self.outbox) {
                Some(0) => return,
                Some(count) => drop(self.outbox.drain(..count)),
                None => self.is_broken = true,
            }
        }
    }

    fn refuse(&mut self, message: impl Into<String>) {
        self.send(&line(&Answer::Refused { message: message.into() }));
    }

    fn turn_away(&mut self) {
        let message = format!("{MOST_CLIENTS} clients are here already; try again later");
        self.send(&line(&Answer::Busy { message }));
    }

    /// Whether it has not asked for anything, as far as one can hear.
    fn is_idle(&mut self) -> bool {
        if !self.has_asked && self.inbox.is_empty() {
            self.read();
        }
        !self.has_asked && self.inbox.is_empty() && !self.is_own
    }

    fn wanted(&self) -> Wanted {
        let reads = self.takes_requests() && !self.is_silent && self.inbox.len() <= LONGEST_LINE;
        match (reads, self.outbox.is_empty()) {
            (true, true) => Wanted::ToRead,
            (true, false) => Wanted::ToReadOrWrite,
            (false, true) => Wanted::Closed,
            (false, false) => Wanted::ToWrite,
        }
    }

    fn takes_requests(&self) -> bool {
        self.outbox.len() <= MOST_UNREAD && !self.leaves && !self.is_broken
    }

    /// Whether there is something to do for it that nothing more need come for.
    fn has_backlog(&self) -> bool {
        let goes_on = self.takes_requests() && !self.is_owed;
        self.is_done() || goes_on && (self.inbox.contains(&b'\n') || self.is_silent && !self.inbox.is_empty())
    }

    /// Whether nothing is left to be done for it.
    fn is_done(&self) -> bool {
        let is_owed = self.is_owed || self.follows;
        self.is_broken || self.outbox.is_empty() && (self.leaves || self.is_silent && self.inbox.is_empty() && !is_owed)
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        // As much as a line at most, whoever sends a gigabyte.
        while !self.is_silent && self.inbox.len() <= LONGEST_LINE {
            match self.connection.read(&mut buffer) {
                Got::Some(count) => self.inbox.extend_from_slice(&buffer[..count]),
                Got::NotNow => return,
                Got::End => self.is_silent = true,
                Got::Broken => self.is_broken = true,
            }
            if self.is_broken {
                return;
            }
        }
    }

    /// The next request, if a whole one is there.
    fn next(&mut self) -> Option<Request> {
        loop {
            if !self.takes_requests() || self.is_owed {
                return None;
            }
            let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') else {
                if self.inbox.len() > LONGEST_LINE {
                    self.inbox.clear();
                    self.refuse(format!("a line of more than {LONGEST_LINE} bytes is no request"));
                    self.leaves = true;
                } else if self.is_silent {
                    // The beginning of a line is nothing.
                    self.inbox.clear();
                }
                return None;
            };
            let text: Vec<u8> = self.inbox.drain(..=end).collect();
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match request(text) {
                Ok(asked) => {
                    (self.has_asked, self.is_owed) = (true, true);
                    return Some(asked);
                }
                Err(message) => self.refuse(message),
            }
        }
    }
}

/// The socket and everyone who has come.
#[derive(Debug)]
pub struct Server {
    listener: Option<Listener>,
    greeting: Greeting,
    clients: Vec<Client>,
    came: u64,
    /// No descriptor was left for a newcomer; tried again at the next beat.
    is_deaf: bool,
}

impl Server {
    /// Without a listener, nobody comes.
    pub fn new(listener: Option<Listener>, greeting: Greeting) -> Server {
        Server { listener, greeting, clients: Vec::new(), came: 0, is_deaf: false }
    }

    /// What is said first to whoever comes from now on.
    pub fn greet_with(&mut self, greeting: Greeting) {
        self.greeting = greeting;
    }

    /// The descriptors to wait for.
    pub fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Wanted)> {
        let listener = self.listener.iter().filter(|_| !self.is_deaf);
        let clients = self.clients.iter().map(|client| (client.connection.as_fd(), client.wanted()));
        listener.map(|listener| (listener.as_fd(), Wanted::ToRead)).chain(clients)
    }

    /// Removes the sockets that killed runs have left.
    pub fn tidy(&self) {
        self.listener.iter().for_each(|listener| listener.tidy(control::may_be_dead));
    }

    /// Time has passed: whoever found no descriptor may find one now.
    pub fn beat(&mut self) {
        self.is_deaf = false;
    }

    /// Whether there is something to do at once.
    pub fn has_backlog(&self) -> bool {
        self.clients.iter().any(Client::has_backlog)
    }

    /// Takes in what has come, without waiting, and one request of each client.
    pub fn listen(&mut self) -> Vec<Said> {
        self.admit();
        let mut said = Vec::new();
        for client in &mut self.clients {
            client.flush();
            if client.takes_requests() {
                client.read();
            }
            // It may have said its last word and still listen.
            client.is_broken |= client.is_silent && client.connection.is_closed();
            said.extend(client.next().map(|asked| Said::Asked(client.id, asked)));
        }
        self.clients.retain(|client| {
            let is_done = client.is_done();
            if is_done {
                said.push(Said::Gone(client.id));
            }
            !is_done
        });
        said
    }

    fn admit(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let Some(listener) = self.listener.as_ref().filter(|_| !self.is_deaf) else { return };
            match listener.accept() {
                Ok(Some(connection)) => self.welcome(connection),
                Ok(None) => return,
                Err(_) => self.is_deaf = true,
            }
        }
    }

    /// Serves a process of our own, however many others are here.
    pub fn adopt(&mut self, connection: Connection) {
        let Ok(peer) = connection.peer() else { return };
        let mut client = self.newcomer(peer, connection);
        client.is_own = true;
        client.send(&line(&self.greeting));
        self.clients.push(client);
    }

    fn newcomer(&mut self, peer: Peer, connection: Connection) -> Client {
        self.came += 1;
        Client {
            id: ClientId(self.came),
            peer,
            connection,
            inbox: Vec::new(),
            outbox: Vec::new(),
            follows: false,
            left_out: 0,
            has_asked: false,
            is_own: false,
            is_owed: false,
            is_silent: false,
            leaves: false,
            is_broken: false,
        }
    }

    fn welcome(&mut self, connection: Connection) {
        let Ok(peer) = connection.peer() else { return };
        let mut client = self.newcomer(peer, connection);
        client.send(&line(&self.greeting));
        if peer.user != own_user() && peer.user != 0 {
            client.refuse("this run belongs to another user");
            return;
        }
        if self.clients.iter().filter(|client| !client.is_own).count() >= MOST_CLIENTS {
            let Some(idle) = self.clients.iter_mut().position(Client::is_idle) else { return client.turn_away() };
            self.clients.remove(idle).turn_away();
        }
        self.clients.push(client);
    }

    fn client(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    /// The process of a client, if it has a number here.
    pub fn pid(&self, id: ClientId) -> Option<i32> {
        let client = self.clients.iter().find(|client| client.id == id)?;
        Some(client.peer.pid).filter(|pid| *pid > 0)
    }

    /// Answers a client. One that is gone needs no answer.
    pub fn answer(&mut self, id: ClientId, answer: &Answer) {
        if let Some(client) = self.client(id) {
            client.is_owed = false;
            client.send(&line(answer));
        }
    }

    /// From now on it gets the events.
    pub fn follow(&mut self, id: ClientId) {
        self.answer(id, &Answer::Events);
        if let Some(client) = self.client(id) {
            client.follows = true;
        }
    }

    /// Gives a client away to somebody else who answers it.
    pub fn take(&mut self, id: ClientId) -> Option<Connection> {
        let at = self.clients.iter().position(|client| client.id == id)?;
        Some(self.clients.swap_remove(at).connection)
    }

    /// Tells an event to everyone who follows. `event` makes its line, with the number of events that were left out before.
    pub fn tell(&mut self, event: impl Fn(u64) -> String) {
        for client in self.clients.iter_mut().filter(|client| client.follows) {
            if client.outbox.len() > MOST_EVENTS {
                client.left_out += 1;
            } else {
                let text = event(std::mem::take(&mut client.left_out));
                client.send(&text);
            }
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
