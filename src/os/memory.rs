//! Files that live in memory and have no path (memfd_create(2)). Every process that holds the descriptor sees the same
//! content.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A new empty file. The name shows in `/proc/PID/fd` and nowhere else. Close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn create(name: &CStr) -> Result<OwnedFd, Errno> {
    memfd_create(name, MFdFlags::MFD_CLOEXEC)
}
