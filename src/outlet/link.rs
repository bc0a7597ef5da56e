//! The connection to the supervisor: questions go out, answers come in. However many ask at the same moment, the
//! supervisor is asked once for all of them.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::control::{Answer, Request, Status, line};

/// A supervisor that does not answer within this time hangs, or is stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Somebody who waits for an answer.
type Asker = oneshot::Sender<Box<Status>>;

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
}

/// Who waits for what. A question that comes while another is on its way is not answered by that: what it asks for may have
/// changed since.
#[derive(Debug, Default)]
struct Queue {
    asked: Vec<Asker>,
    waiting: Vec<Asker>,
}

impl Queue {
    fn add(&mut self, asker: Asker) {
        self.waiting.push(asker);
    }

    /// Whether the supervisor is to be asked now: not while it owes an answer.
    fn asks(&mut self) -> bool {
        if !self.asked.is_empty() {
            return false;
        }
        // Whoever was too impatient is not asked for.
        self.waiting.retain(|asker| !asker.is_closed());
        std::mem::swap(&mut self.asked, &mut self.waiting);
        !self.asked.is_empty()
    }

    fn answered(&mut self, status: &Status) {
        for asker in self.asked.drain(..) {
            let _ = asker.send(Box::new(status.clone()));
        }
    }
}

/// Begins to speak with the supervisor.
///
/// # Errors
/// The system's; none is expected.
pub fn begin(connection: OwnedFd) -> io::Result<(Link, Conversation)> {
    let stream = std::os::unix::net::UnixStream::from(connection);
    stream.set_nonblocking(true)?;
    let (sender, askers) = mpsc::unbounded_channel();
    let stream = UnixStream::from_std(stream)?;
    Ok((Link { askers: sender }, Conversation { stream, askers, queue: Queue::default() }))
}

impl Conversation {
    /// Speaks with the supervisor until it is gone.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn lead(mut self) -> io::Result<()> {
        let (reader, mut writer) = self.stream.split();
        let mut lines = BufReader::new(reader).lines();
        loop {
            tokio::select! {
                said = lines.next_line() => {
                    let Some(text) = said? else { return Ok(()) };
                    if let Ok(Answer::Status(status)) = serde_json::from_str(&text) {
                        self.queue.answered(&status);
                    }
                }
                Some(asker) = self.askers.recv() => self.queue.add(asker),
            }
            if self.queue.asks() {
                writer.write_all(line(&Request::Status).as_bytes()).await?;
            }
        }
    }
}
