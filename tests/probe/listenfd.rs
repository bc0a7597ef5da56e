//! `probe listenfd`: a server that takes its socket as the crates listenfd and go-systemd do: only if `LISTEN_PID` is its
//! own pid. It answers with its generation, and on TERM it finishes the request that it works on.

use std::env::{ArgsOs, var};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::fd::AsFd;

use super::Ended;

static OVER: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_: i32) {
    OVER.store(true, Ordering::Relaxed);
}

/// Serves until TERM.
pub fn run(_: ArgsOs) -> Ended {
    if var("LISTEN_PID") != Ok(std::process::id().to_string()) || var("LISTEN_FDS") != Ok("1".to_owned()) {
        return Err("there is no socket for this process".to_owned());
    }
    let told = |errno: nix::Error| errno.to_string();
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler stores to an atomic, and nothing else.
    unsafe { sigaction(Signal::SIGTERM, &action) }.map_err(told)?;
    // SAFETY: the two variables say that this descriptor is ours.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    let generation = var("RELOADRUN_GENERATION").unwrap_or_default();
    while !OVER.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        // Bounded: TERM may come between the look at the flag and the wait.
        if poll(&mut polled, PollTimeout::from(20u8)).unwrap_or(0) == 0 {
            continue;
        }
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        if request.starts_with(b"GET /slow ") {
            std::thread::sleep(Duration::from_secs(2));
        }
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", generation.len());
        let _ = stream.write_all(format!("{head}{generation}").as_bytes());
    }
    Ok(())
}
