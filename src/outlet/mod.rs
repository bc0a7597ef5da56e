//! The outlet: answers HTTP requests about a run, in a process of its own, so that the supervisor stays without threads and
//! without a network. It may crash and is started again; the command does not notice.
//!
//! It is a client of the run: all that it knows comes over the control protocol (`src/control`), and nothing that it does
//! can hold the supervisor up. The only place with an async runtime. Why: `docs/decisions/0030-the-outlet.md`.

mod browser;
mod http;
mod link;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use crate::exit_code::ExitCode;
use crate::listen::{OutletSocket, Purpose};
use crate::os::process::show_as;

/// Answers at these sockets until the connection to the supervisor ends.
pub fn run(connection: OwnedFd, sockets: &[OutletSocket]) -> ExitCode {
    show_as(c"reload-outlet");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, answer(connection, sockets)));
    ended.map_or(ExitCode::OWN_FAILURE, |()| ExitCode::SUCCESS)
}

async fn answer(connection: OwnedFd, sockets: &[OutletSocket]) -> std::io::Result<()> {
    let (teller, heard) = mpsc::unbounded_channel();
    let has_browsers = sockets.iter().any(|socket| socket.purpose == Purpose::Browser);
    let (link, conversation) = link::begin(connection, has_browsers.then_some(teller))?;
    let (link, hub) = (Rc::new(link), Rc::new(browser::Hub::default()));
    spawn_local(Rc::clone(&hub).follow(heard));
    for socket in sockets {
        let (listener, address) = (http::Listener::of(socket)?, socket.address);
        let (link, hub, own_name) = (Rc::clone(&link), Rc::clone(&hub), own_name());
        match socket.purpose {
            Purpose::Http => spawn_local(listener.serve(move |request, _| {
                let link = Rc::clone(&link);
                async move { http::answer(&request, address, &link).await }
            })),
            Purpose::Browser => {
                spawn_local(listener.serve(move |request, place| {
                    browser::answer(request, place, Rc::clone(&hub), Rc::clone(&own_name))
                }))
            }
        };
    }
    conversation.lead().await
}

/// The name of this machine; empty if it has none.
fn own_name() -> Rc<str> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().into()
}
