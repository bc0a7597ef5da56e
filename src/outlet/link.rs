//! The connection to the supervisor: questions go out, answers come in. However many ask at the same moment, the
//! supervisor is asked once for all of them.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::control::{Answer, Greeting, Request, Status, line};

/// A supervisor that does not answer within this time hangs, or is stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Somebody who waits for an answer.
type Asker = oneshot::Sender<Box<Status>>;

/// What the run says, in its order.
#[derive(Debug)]
pub enum Heard {
    /// First of all.
    Greeting(Box<Greeting>),
    /// An event.
    Event(Value),
    /// How things are.
    Status(Box<Status>),
}

/// By which everything here asks the run.
#[derive(Debug)]
pub struct Link {
    askers: mpsc::UnboundedSender<Asker>,
}

impl Link {
    /// How things are now; `None` if the supervisor does not answer in time.
    pub async fn status(&self) -> Option<Box<Status>> {
        let (asker, answer) = oneshot::channel();
        self.askers.send(asker).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

/// The other side of a [`Link`].
#[derive(Debug)]
pub struct Conversation {
    stream: UnixStream,
    askers: mpsc::UnboundedReceiver<Asker>,
    queue: Queue,
    teller: Option<mpsc::UnboundedSender<Heard>>,
}

/// Who waits for what. A question that comes while another is on its way is not answered by that: what it asks for may have
/// changed since.
#[derive(Debug, Default)]
struct Queue {
    asked: Vec<Asker>,
    waiting: Vec<Asker>,
    /// Whether an answer is wanted here too.
    is_wanted: bool,
    /// Whether a question is on its way.
    is_on_its_way: bool,
}

impl Queue {
    fn add(&mut self, asker: Asker) {
        self.waiting.push(asker);
    }

    /// Whether the supervisor is to be asked now: not while it owes an answer.
    fn asks(&mut self) -> bool {
        if self.is_on_its_way {
            return false;
        }
        // Whoever was too impatient is not asked for.
        self.waiting.retain(|asker| !asker.is_closed());
        std::mem::swap(&mut self.asked, &mut self.waiting);
        let is_wanted = std::mem::take(&mut self.is_wanted);
        self.is_on_its_way = is_wanted || !self.asked.is_empty();
        self.is_on_its_way
    }

    fn answered(&mut self, status: &Status) {
        self.is_on_its_way = false;
        for asker in self.asked.drain(..) {
            let _ = asker.send(Box::new(status.clone()));
        }
    }
}

/// Begins to speak with the supervisor. The `teller` gets all events from now on, and how things are: at the beginning, and after
/// each start of the command.
///
/// # Errors
/// The system's; none is expected.
pub fn begin(connection: OwnedFd, teller: Option<mpsc::UnboundedSender<Heard>>) -> io::Result<(Link, Conversation)> {
    let stream = std::os::unix::net::UnixStream::from(connection);
    stream.set_nonblocking(true)?;
    let (sender, askers) = mpsc::unbounded_channel();
    let stream = UnixStream::from_std(stream)?;
    Ok((Link { askers: sender }, Conversation { stream, askers, queue: Queue::default(), teller }))
}

impl Conversation {
    /// Speaks with the supervisor until it is gone.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn lead(mut self) -> io::Result<()> {
        let (reader, mut writer) = self.stream.split();
        let mut lines = BufReader::new(reader).lines();
        if self.teller.is_some() {
            writer.write_all(line(&Request::Events).as_bytes()).await?;
            self.queue.is_wanted = true;
        }
        loop {
            tokio::select! {
                said = lines.next_line() => {
                    let Some(text) = said? else { return Ok(()) };
                    hear(&text, &mut self.queue, self.teller.as_ref());
                }
                Some(asker) = self.askers.recv() => self.queue.add(asker),
            }
            if self.queue.asks() {
                writer.write_all(line(&Request::Status).as_bytes()).await?;
            }
        }
    }
}

/// Takes in one line.
fn hear(text: &str, queue: &mut Queue, teller: Option<&mpsc::UnboundedSender<Heard>>) {
    if let Ok(Answer::Status(status)) = serde_json::from_str(text) {
        queue.answered(&status);
        teller.into_iter().for_each(|teller| drop(teller.send(Heard::Status(status.clone()))));
        return;
    }
    let Some(teller) = teller else { return };
    let heard = match serde_json::from_str::<Value>(text) {
        Ok(event) if event["event"].is_string() => {
            // Whether it can become ready is known only now.
            queue.is_wanted |= event["event"] == "started";
            Some(Heard::Event(event))
        }
        _ => serde_json::from_str(text).ok().map(Heard::Greeting),
    };
    heard.into_iter().for_each(|heard| drop(teller.send(heard)));
}
