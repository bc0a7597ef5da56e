//! The socket on which a command tells that it is ready (sd_notify(3)).

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind, recvmsg,
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

#[cfg(test)]
mod tests {
    use super::{Message, NotifySocket};
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
}
