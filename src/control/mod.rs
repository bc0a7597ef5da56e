//! What a run and its clients say to each other at the control socket: JSON, one object a line. `docs/control.md` is the
//! contract.

mod message;
mod metrics;
mod place;
mod words;

pub use self::message::{
    Answer, Complaint, ConfigInUse, Greeting, LONGEST_LINE, LastChange, LastReload, Outcome, PROTOCOL, Request,
    Restarts, State, Status, Times, VARIABLE, Waited, is_name, line, request,
};
pub use self::metrics::{CONTENT_TYPE as METRICS_TYPE, metrics};
pub use self::place::{directories, directory_for_socket, may_be_dead, new_name, pid_of};
pub use self::words::{in_words, state_in_words};
