//! The sockets that reloadrun holds for the command (`--listen`): bound once, before anything starts, and kept from
//! generation to generation, so that no connection is refused in between.
//!
//! The command gets them as systemd would hand them over (sd_listen_fds(3)). Nobody here accepts a connection.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::address::{Address, Listen, overlap};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::os::fs::FileId;
use crate::os::handed_over::{self, FIRST};
use crate::os::listeners::{UnixListening, holder, is_ending_or_has, on_port, on_unix, sockets_of};
use crate::os::spawn::LISTEN_PID;
use crate::os::tree::Process;
use crate::os::user::{self, own_user};
use crate::os::{Errno, reason, socket};

/// The variables of the protocol, except LISTEN_PID, which is known only after the fork.
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// The name of a socket without one (sd_listen_fds_with_names(3)).
const NAMELESS: &str = "unknown";

/// Binds all of them and gives them the descriptors from 3 up. To be called before reloadrun opens anything else. What takes
/// long is told by `say`.
///
/// # Errors
/// Wrong use, if the caller handed over a descriptor that is to be one of these; our own failure, with who listens there, if
/// one of the addresses cannot be bound.
pub fn bind(listens: &[Listen], say: &dyn Fn(&str)) -> Result<Held> {
    let numbers = numbers(listens.len());
    if let [first, ..] = handed_over::of_caller(numbers.clone()).as_slice() {
        return Err(Error::usage(format!(
            "descriptor {first} was handed over by the caller of reloadrun, but --listen needs the descriptors {}; leave it out, or give it a higher number",
            shown(listens.len())
        )));
    }
    let mut files = Vec::new();
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for (index, listen) in listens.iter().enumerate() {
        let before = listens[..index].iter().map(|before| &before.address).find(|one| overlap(one, &listen.address));
        // It is our own that is in the way, or somebody who may be gone soon.
        let bound = if before.is_some() { bind_one(&listen.address) } else { bind_patiently(&listen.address, say) };
        let bound = bound.map_err(|error| {
            Error::own(cannot_bind(&format!("--listen {}", listen.address), &listen.address, before, &error))
        })?;
        if let Address::Unix(path) = &listen.address {
            files.push(SocketFile::of(path));
        }
        sockets.push(bound);
    }
    let addresses = listens.iter().zip(&sockets).map(|(listen, socket)| match socket::local_address(socket) {
        Some(address) if matches!(listen.address, Address::Tcp(_)) => Address::Tcp(address),
        _ => listen.address.clone(),
    });
    let addresses = addresses.collect();
    handed_over::hand_over(sockets).map_err(|errno| {
        Error::own(format!(
            "--listen cannot have the descriptors {}: {}",
            shown(listens.len()),
            errno.desc().to_lowercase()
        ))
    })?;
    Ok(Held { addresses, files })
}

/// What a socket of the outlet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Probes (`--http`).
    Http,
    /// Browsers that load a page again (`--browser`).
    Browser,
}

impl Purpose {
    /// The name of its option.
    pub fn option(self) -> &'static str {
        match self {
            Purpose::Http => "http",
            Purpose::Browser => "browser",
        }
    }
}

/// A socket at which reloadrun itself answers. The supervisor keeps it; its outlet uses it.
#[derive(Debug)]
pub struct OutletSocket {
    /// What for.
    pub purpose: Purpose,
    /// Where it really listens.
    pub address: SocketAddr,
    /// The socket. No other process of ours has it, and the command neither.
    pub socket: OwnedFd,
}

/// Binds a socket for the outlet.
///
/// # Errors
/// Our own failure, with who listens there.
pub fn bind_for_outlet(purpose: Purpose, address: SocketAddr, say: &dyn Fn(&str)) -> Result<OutletSocket> {
    let wanted = Address::Tcp(address);
    let given = format!("--{} {address}", purpose.option());
    let bound = bind_patiently(&wanted, say);
    let socket = bound.map_err(|error| Error::own(cannot_bind(&given, &wanted, None, &error)))?;
    let address = socket::local_address(&socket).unwrap_or(address);
    Ok(OutletSocket { purpose, address, socket })
}

fn numbers(count: usize) -> std::ops::Range<i32> {
    FIRST..FIRST + i32::try_from(count).unwrap_or(i32::MAX - FIRST)
}

/// `3`, `3 to 5`.
fn shown(count: usize) -> String {
    let range = numbers(count);
    if count == 1 { range.start.to_string() } else { format!("{} to {}", range.start, range.end - 1) }
}

/// What is held. The sockets themselves stay open until the process ends.
#[derive(Debug, Default)]
pub struct Held {
    /// Where each of them really listens, in their order.
    pub addresses: Vec<Address>,
    files: Vec<SocketFile>,
}

impl Held {
    /// Removes the socket files, unless somebody else has put others in their places.
    pub fn remove_files(&self) {
        for SocketFile { path, identity } in &self.files {
            if identity.is_some() && *identity == FileId::of(path) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// A socket file that we made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<FileId>,
}

impl SocketFile {
    fn of(path: &Path) -> SocketFile {
        SocketFile { path: path.to_owned(), identity: FileId::of(path) }
    }
}

/// The child of a reloadrun that was killed ends its command, and holds the same sockets until then: about a second, longer
/// on a machine that is busy. So long it is waited for.
const LEAVING: Duration = Duration::from_secs(10);

/// What takes longer is told.
const SLOW: Duration = Duration::from_millis(500);

/// What is left of a reloadrun and a child that were killed together is killed by the kernel within this time; and who
/// listens may have ended between two looks.
const MOMENT: Duration = Duration::from_millis(300);

/// Between two attempts meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// The names of what a supervisor forks.
const FORKED: [&str; 2] = ["reload-child", "reload-outlet"];

fn bind_patiently(address: &Address, say: &dyn Fn(&str)) -> io::Result<OwnedFd> {
    let began = Instant::now();
    let mut said = false;
    loop {
        match bind_one(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_worth_waiting(address, began.elapsed()) => {
                if began.elapsed() >= SLOW && !std::mem::replace(&mut said, true) {
                    say(&format!("waiting until what is left of another reloadrun gives {address} free"));
                }
                std::thread::sleep(PAUSE);
            }
            bound => return bound,
        }
    }
}

/// Whether the one who listens there is what is left of a reloadrun that is gone, or nobody who can be found.
fn is_worth_waiting(address: &Address, waited: Duration) -> bool {
    if waited < MOMENT || waited >= LEAVING {
        return waited < MOMENT;
    }
    let mut process = holder(&listening(address)).and_then(Process::of);
    if process.is_none() {
        return is_of_nobody(address, waited);
    }
    let holds = process.as_ref().map(|process| process.pid);
    while let Some(one) = process {
        let parent = Process::of(one.parent);
        if FORKED.contains(&one.name().as_str()) {
            return parent.is_none_or(|parent| parent.name() != "reloadrun");
        }
        process = parent;
    }
    // One that has outlived its child has been killed, and not ended yet.
    holds.is_some_and(|pid| is_ending_or_has(pid, "RELOADRUN_GENERATION") || Process::of(pid).is_none())
}

/// Whether nobody can be found because who listens there has ended, or is about to: a process of this user shows its
/// descriptors until then. Into those of others nobody can look.
fn is_of_nobody(address: &Address, waited: Duration) -> bool {
    let Address::Tcp(tcp) = address else { return false };
    let mut there = on_port(tcp.port());
    there.retain(|one| overlap(&Address::Tcp(one.address), address));
    // It may have ended since the attempt.
    there.is_empty() && waited < MOMENT + SLOW || there.iter().any(|one| one.uid == own_user())
}

/// The sockets, by inode, that listen where this address would.
fn listening(address: &Address) -> Vec<u64> {
    match address {
        Address::Tcp(tcp) => {
            let overlapping =
                on_port(tcp.port()).into_iter().filter(|one| overlap(&Address::Tcp(one.address), address));
            overlapping.map(|one| one.inode).collect()
        }
        Address::Unix(path) => listening_at(path).unwrap_or_default(),
    }
}

/// The sockets that listen at exactly this path, as far as they can be looked at; `None` if nobody is seen to listen. In /proc, others
/// of this file name are there too, each with the path by which it was bound.
fn listening_at(path: &Path) -> Option<Vec<u64>> {
    let named = on_unix(path);
    let exact = |one: &&UnixListening| one.path == path.as_os_str().as_bytes();
    match socket::connect_unix(path) {
        Ok(stream) => {
            let open = socket::listener_of(&stream).and_then(|pid| sockets_of(pid).ok()).unwrap_or_default();
            Some(named.iter().filter(|one| open.contains(&one.inode)).map(|one| one.inode).collect())
        }
        Err(error) => {
            let exact: Vec<u64> = named.iter().filter(exact).map(|one| one.inode).collect();
            (!exact.is_empty() || error.kind() == io::ErrorKind::WouldBlock).then_some(exact)
        }
    }
}

fn bind_one(address: &Address) -> io::Result<OwnedFd> {
    match (socket::listen(address), address) {
        (Err(error), Address::Unix(path)) if error.kind() == io::ErrorKind::AddrInUse => {
            let before = FileId::of(path);
            // Bound anew by somebody else in between, it is another file.
            if socket::is_abandoned(path) && before == FileId::of(path) {
                std::fs::remove_file(path)?;
                return socket::listen(address);
            }
            Err(error)
        }
        (bound, _) => bound,
    }
}

/// Why an address cannot be bound, as it was `given`, and who listens there.
fn cannot_bind(given: &str, address: &Address, before: Option<&Address>, error: &io::Error) -> String {
    let start = format!("{given}: ");
    match (socket::errno(error), address) {
        (Errno::EADDRINUSE, _) if before.is_some() => {
            let before = before.map(Address::to_string).unwrap_or_default();
            format!("{start}the same connections would come to --listen {before}; leave one of them out")
        }
        (Errno::EADDRINUSE, Address::Tcp(tcp)) => {
            let port = tcp.port();
            format!(
                "{start}port {port} is in use {}",
                by_whom(&listening(address), &format!("ss -ltnp 'sport = :{port}'"))
            )
        }
        (Errno::EADDRINUSE, Address::Unix(path)) => {
            if !socket::is_file(path) {
                return format!("{start}there is a file that is no socket; remove it, or choose another path");
            }
            match listening_at(path) {
                // It may not be connected to, or whoever listens is in another network namespace.
                None => format!(
                    "{start}there is a socket of {} already, and nobody is seen to listen at it; remove it if it is left over, or choose another path",
                    owner(path)
                ),
                Some(inodes) => format!("{start}the socket is in use {}", by_whom(&inodes, "ss -lxp")),
            }
        }
        (Errno::EACCES, Address::Tcp(tcp)) if tcp.port() < 1024 => format!(
            "{start}this user may not listen on port {} (the limit is in net.ipv4.ip_unprivileged_port_start); choose a port from 1024 up",
            tcp.port()
        ),
        (Errno::EADDRNOTAVAIL, Address::Tcp(tcp)) => {
            format!("{start}this machine does not have the address {}", tcp.ip())
        }
        (Errno::EAFNOSUPPORT, _) => format!("{start}this machine has no IPv6"),
        (Errno::EACCES | Errno::EPERM, Address::Unix(path)) if socket::is_file(path) => format!(
            "{start}a socket of {} is left over there, and this user may not remove it; remove it yourself, or choose another path",
            owner(path)
        ),
        (Errno::EACCES, Address::Unix(path)) => {
            format!("{start}this user may not create a file in {}", path.parent().unwrap_or(path).display())
        }
        (Errno::ENOENT, Address::Unix(path)) => {
            format!("{start}there is no directory {}", path.parent().unwrap_or(path).display())
        }
        _ => format!("{start}{}", reason(socket::errno(error))),
    }
}

/// Whose file this is.
fn owner(path: &Path) -> String {
    std::fs::symlink_metadata(path).map_or_else(|_| "somebody".to_owned(), |file| user::shown(file.uid()))
}

/// `by process 4711 (python3); end it (kill 4711), or choose another address`.
fn by_whom(inodes: &[u64], command: &str) -> String {
    match holder(inodes).and_then(Process::of) {
        Some(process) => {
            let pid = process.pid;
            format!("by process {pid} ({}); end it (kill {pid}), or choose another address", process.name())
        }
        None => format!(
            "by a process that this user may not look at (sudo {command} shows it); end it, or choose another address"
        ),
    }
}

/// The environment by which the command finds its sockets; its own pid is added to it after the fork. What stood there
/// of an activation of somebody else is gone.
pub fn environment(listens: &[Listen]) -> [(&'static str, OsString); 2] {
    let names: Vec<&str> = listens.iter().map(|listen| listen.name.as_deref().unwrap_or(NAMELESS)).collect();
    [(LISTEN_FDS, listens.len().to_string().into()), (LISTEN_FDNAMES, names.join(":").into())]
}

/// The inodes of the sockets that reloadrun holds: ours, or those of the systemd that has started it.
pub fn held_inodes(listens: &[Listen], environment: &Environment, supervisor: i32) -> Vec<u64> {
    let number = |name| environment.text(name).and_then(|value| value.parse::<i32>().ok());
    let count = match (listens.len(), number(LISTEN_PID)) {
        (0, Some(pid)) if pid == supervisor => number(LISTEN_FDS).unwrap_or(0),
        (own, _) => i32::try_from(own).unwrap_or(0),
    };
    socket::inodes(FIRST..FIRST + count.clamp(0, 1024))
}
