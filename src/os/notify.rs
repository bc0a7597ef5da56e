//! The sockets of sd_notify(3): the one on which a command tells that it is ready, and the one on which our own parent is told.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind, recvmsg, sendto,
    setsockopt, socket, sockopt,
};

/// Longer messages are cut.
const LONGEST: usize = 4096;

/// So many descriptors fit into one message (SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 253;

/// What somebody has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `NAME=VALUE`, one a line.
    pub text: String,
    /// The sender's user. The sender itself may have ended by now.
    pub uid: u32,
}

/// A socket for messages of one generation.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    name: String,
}

impl NotifySocket {
    /// Opens one under a name that nobody can guess. It is abstract, so that no file is left behind, and close-on-exec.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<NotifySocket> {
        let mut random = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let name = format!("reloadrun-{:032x}", u128::from_ne_bytes(random));
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(NotifySocket { socket, name })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The next message, if there is one. Descriptors that came with it are closed: whoever sent BARRIER=1 waits for that,
    /// and none are stored here.
    pub fn receive(&self) -> Option<Message> {
        let mut bytes = [0; LONGEST];
        let mut control = nix::cmsg_space!(UnixCredentials, [RawFd; MOST_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received = loop {
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                received => break received.ok()?,
            }
        };
        let mut uid = None;
        for message in received.cmsgs().ok()? {
            match message {
                ControlMessageOwned::ScmCredentials(credentials) => uid = Some(credentials.uid()),
                ControlMessageOwned::ScmRights(numbers) => {
                    for number in numbers {
                        // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
                        drop(unsafe { OwnedFd::from_raw_fd(number) });
                    }
                }
                _ => {}
            }
        }
        let length = received.bytes;
        Some(Message { text: String::from_utf8_lossy(&bytes[..length]).into_owned(), uid: uid? })
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What became of a message to our parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is in the parent's queue.
    Yes,
    /// The queue is full.
    NotNow,
    /// Nobody can be reached there.
    Never(Errno),
}

/// The way to the process that started reloadrun and named a socket in `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct ToParent {
    socket: OwnedFd,
    address: UnixAddr,
}

impl ToParent {
    /// Opens the way to this address: a path, or `@NAME` for an abstract socket. Nobody need be there yet.
    ///
    /// # Errors
    /// A sentence: what is wrong with the address, or the system's reason.
    pub fn open(address: &OsStr) -> Result<ToParent, String> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => UnixAddr::new_abstract(name),
            [b'/', ..] => UnixAddr::new(address),
            _ => return Err("it is neither a path nor the name of an abstract socket (@NAME)".to_owned()),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let opened = address.and_then(|address| {
            let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
            Ok(ToParent { socket, address })
        });
        opened.map_err(super::reason)
    }

    /// Sends a message, `NAME=VALUE` a line, at once or not at all. Each finds its way anew, because a parent may have
    /// started anew.
    pub fn send(&self, message: &str) -> Sent {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendto(self.socket.as_raw_fd(), message.as_bytes(), &self.address, flags) {
                Ok(_) => return Sent::Yes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Sent::NotNow,
                Err(errno) => return Sent::Never(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, NotifySocket, Sent, ToParent};
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::io::{IoSlice, Read};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn messages_come_with_the_users_who_sent_them_and_their_descriptors_are_closed() {
        let socket = NotifySocket::open().unwrap();
        assert_eq!(socket.receive(), None);
        let name = socket.address().trim_start_matches('@').to_owned();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to_addr(b"READY=1\n", &SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let uid = nix::unistd::Uid::effective().as_raw();
        assert_eq!(socket.receive(), Some(Message { text: "READY=1\n".into(), uid }));

        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let numbers = [writer.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        let text = [IoSlice::new(b"BARRIER=1")];
        sendmsg(sender.as_raw_fd(), &text, &rights, MsgFlags::empty(), Some(&address)).unwrap();
        drop(writer);
        assert_eq!(socket.receive().map(|message| message.text), Some("BARRIER=1".into()));
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "the end of the pipe has come: nobody holds it any more");
    }

    #[test]
    fn a_parent_is_told_by_path_and_by_abstract_name_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let name = format!("reloadrun-test-{}-parent", std::process::id());
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (address, socket) in [(path.clone().into_os_string(), &named), (format!("@{name}").into(), &abstract_one)] {
            let parent = ToParent::open(&address).unwrap();
            assert_eq!(parent.send("READY=1"), Sent::Yes);
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
            let sent = (0..100_000).map(|_| parent.send("STATUS=x")).find(|sent| *sent != Sent::Yes);
            assert_eq!(sent, Some(Sent::NotNow), "nobody reads {address:?}");
        }
        drop(named);
        let parent = ToParent::open(path.as_os_str()).unwrap();
        assert_eq!(parent.send("READY=1"), Sent::Never(nix::errno::Errno::ECONNREFUSED));
        for wrong in ["", "@", "run/notify", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(ToParent::open(wrong.as_ref()).is_err(), "{wrong}");
        }
    }
}
