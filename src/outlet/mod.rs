//! The outlet: answers HTTP requests about a run, in a process of its own, so that the supervisor stays without threads and
//! without a network. It may crash and is started again; the command does not notice.
//!
//! It is a client of the run: all that it knows comes over the control protocol (`src/control`), and nothing that it does
//! can hold the supervisor up. The only place with an async runtime. Why: `docs/decisions/0030-the-outlet.md`.

mod http;
mod link;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::task::{LocalSet, spawn_local};

use crate::exit_code::ExitCode;
use crate::listen::OutletSocket;
use crate::os::process::show_as;

/// Answers at these sockets until the connection to the supervisor ends.
pub fn run(connection: OwnedFd, sockets: &[OutletSocket]) -> ExitCode {
    show_as(c"reload-outlet");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, answer(connection, sockets)));
    ended.map_or(ExitCode::OWN_FAILURE, |()| ExitCode::SUCCESS)
}

async fn answer(connection: OwnedFd, sockets: &[OutletSocket]) -> std::io::Result<()> {
    let (link, conversation) = link::begin(connection)?;
    let link = Rc::new(link);
    for socket in sockets {
        let listener = http::Listener::of(socket)?;
        spawn_local(listener.serve(Rc::clone(&link)));
    }
    conversation.lead().await
}
