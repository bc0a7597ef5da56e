//! Sockets: listening on an address, and small questions about sockets that are open.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, getsockopt, setsockopt, sockopt};
use nix::sys::stat::fstat;

use crate::address::Address;

/// So many connections wait while nobody accepts. The kernel takes no more than net.core.somaxconn of them, which is
/// 4096 on a stock system; std asks for 128.
const BACKLOG: i32 = 4096;

/// Binds an address and listens on it, close-on-exec. TCP with SO_REUSEADDR, so that connections in TIME_WAIT do not
/// matter.
///
/// # Errors
/// The system's: EADDRINUSE, EACCES (a port below 1024), EADDRNOTAVAIL, ENOENT (the directory of a unix socket).
pub fn listen(address: &Address) -> io::Result<OwnedFd> {
    let socket = match address {
        Address::Tcp(address) => OwnedFd::from(TcpListener::bind(address)?),
        Address::Unix(path) => OwnedFd::from(UnixListener::bind(path)?),
    };
    // On a socket that listens already, listen(2) changes the backlog.
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

/// Whether there is a socket file under this name.
pub fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
}

/// Whether a socket file is left over: its server has ended, and nobody listens.
pub fn is_abandoned(path: &Path) -> bool {
    // A connection to a plain file is refused too.
    is_file(path) && connect_unix(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Connects to a unix socket at once or not at all: connect(2) would wait for ever where so many wait already that there is no
/// room for one more.
///
/// # Errors
/// The system's: `WouldBlock` if there is no room, `ConnectionRefused` if nobody listens.
pub fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Where a TCP socket really listens; the port is known here if the kernel chose it.
pub fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    TcpListener::from(socket.try_clone().ok()?).local_addr().ok()
}

/// The inode by which /proc names a socket; `None` for a descriptor that is no socket.
pub fn inode(descriptor: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstat(descriptor).ok()?;
    (stat.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(stat.st_ino)
}

/// The process that called listen(2) on the other end of a connection; `None` where it has no number here. It may have
/// ended since, with its socket in other hands.
pub fn listener_of(stream: &UnixStream) -> Option<i32> {
    let credentials = getsockopt(stream, sockopt::PeerCredentials).ok()?;
    Some(credentials.pid()).filter(|pid| *pid > 0)
}

/// Whether a connection leads to itself: the kernel chose the destination as the source port, and nobody listens there.
/// Such a connection is reset, so that it does not occupy the port for a minute in TIME_WAIT.
pub fn is_self_connected(stream: &TcpStream) -> bool {
    let itself = matches!((stream.local_addr(), stream.peer_addr()), (Ok(own), Ok(peer)) if own == peer);
    if itself {
        let _ = setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    }
    itself
}

/// The sockets among these descriptors, by inode.
pub fn inodes(numbers: impl IntoIterator<Item = i32>) -> Vec<u64> {
    let inode_of = |number: i32| {
        // SAFETY: only borrowed for this one question, which the kernel answers with EBADF where it is not open.
        inode(unsafe { BorrowedFd::borrow_raw(number) }.as_fd())
    };
    numbers.into_iter().filter(|number| *number >= 0).filter_map(inode_of).collect()
}

/// EADDRINUSE and its like, as numbers that can be told apart.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{inode, inodes, is_abandoned, listen, listener_of, local_address};
    use crate::address::Address;
    use std::net::TcpStream;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_thousand_connections_wait_while_nobody_accepts() {
        let socket = listen(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = local_address(&socket).unwrap();
        let waiting = (0..1000).map(|_| TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5)));
        let waiting: Vec<_> = waiting.collect();
        assert!(waiting.iter().all(Result::is_ok), "{:?}", waiting.iter().find(|one| one.is_err()));
    }

    #[test]
    fn a_socket_file_is_abandoned_when_nobody_listens_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        assert!(!is_abandoned(&path), "it is not there");
        let socket = listen(&Address::Unix(path.clone())).unwrap();
        assert!(!is_abandoned(&path));
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(listener_of(&UnixStream::connect(&path).unwrap()), Some(own));
        drop(socket);
        assert!(is_abandoned(&path));
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        assert!(!is_abandoned(&plain), "it is no socket");
    }

    #[test]
    fn only_sockets_have_a_socket_inode() {
        let socket = listen(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(inode(socket.as_fd()).is_some());
        assert_eq!(inode(file.as_fd()), None);
        let all = inodes([socket.as_raw_fd(), file.as_raw_fd(), -1, 1_000_000]);
        assert_eq!(all, [inode(socket.as_fd()).unwrap()]);
    }
}
