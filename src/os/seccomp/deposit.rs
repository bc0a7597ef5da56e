//! A second holder of the listener that has nothing to do: the listener lies, sent and never received, in a socket whose
//! other end that process keeps. The kernel counts it as open there.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

/// The end for the one who keeps what is deposited, and the end for the one who deposits.
///
/// # Errors
/// EMFILE or ENFILE.
pub fn deposit() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Leaves a copy of a listener with the keeper of the other end, for as long as that keeps it.
///
/// # Errors
/// EPIPE: the keeper is gone.
pub fn leave_with(listener: &impl AsFd, end: &OwnedFd) -> Result<(), Errno> {
    let descriptors = [listener.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(end.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}
