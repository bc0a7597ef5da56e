//! What is found out about the readiness of a command.

use crate::degraded::Degraded;
use crate::protocol::Ready;

/// What the asking or listening thread has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The command is ready.
    Ready(Ready),
    /// It says that it reloads; it will be ready again.
    Reloading {
        /// For the signal of this number.
        answers: Option<u64>,
    },
    /// It does not say what it does about the signal of this number.
    Unanswered(u64),
    /// What the command says that it is doing, until it is ready.
    Status(String),
    /// Something stands in the way, or cannot be known.
    Degraded(Degraded),
}
