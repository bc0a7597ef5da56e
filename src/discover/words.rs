//! Why a trace cannot be had, or is incomplete, in words.

use super::sets::{Gap, Role, most};
use crate::os::seccomp::Untraceable;
use crate::os::{Errno, reason};

/// Why a command cannot be traced.
pub fn untraceable(why: Untraceable) -> String {
    match why {
        Untraceable::Architecture => "reloadrun does not know the system calls of this machine".to_owned(),
        Untraceable::Filter(Errno::EBUSY) => {
            "something else traces its system calls already (a sandbox, a reloadrun around this one)".to_owned()
        }
        Untraceable::Filter(Errno::EINVAL | Errno::ENOSYS) => {
            "this kernel has no user notification of seccomp (Linux 5.9 has)".to_owned()
        }
        Untraceable::Filter(errno) => format!("no filter of system calls can be set: {}", reason(errno)),
        Untraceable::HandOver(errno) => format!("the listener cannot be handed over: {}", reason(errno)),
        Untraceable::NeverBegun => "it ended before it began".to_owned(),
        Untraceable::Memory => {
            "the memory of another process cannot be read (the sandbox or Yama forbids it)".to_owned()
        }
        Untraceable::Silence => "its system calls do not arrive".to_owned(),
    }
}

/// What is not kept, because there is too much of it.
pub fn too_many(role: Role) -> String {
    let what = match role {
        Role::Written => "files that it writes",
        Role::Executed | Role::Read => "files that it reads",
        Role::Asked => "files that it only asks about (does it walk through a tree?)",
        Role::Listed => "directories that it lists (does it walk through a tree?)",
        Role::Missed => "files that are absent",
    };
    format!("there are more than {} {what}, and only so many are kept", most(role))
}

/// What a trace has missed of this thread.
pub fn missed(gap: Gap, thread: i32) -> String {
    match gap {
        Gap::IoUring => format!("process {thread} uses io_uring, and files that it opens by that are not seen"),
        Gap::OtherRoot => {
            format!("process {thread} has another root or mount namespace, where paths mean other files")
        }
        Gap::Handle => format!("process {thread} opens files by handles instead of names"),
        Gap::Unreadable => {
            format!(
                "process {thread} has other rights than reloadrun, so the names of its files cannot be read; start reloadrun as its user or as root"
            )
        }
        Gap::Unread => format!(
            "process {thread} was not looked at while the memory of another one could not be read for a second; does the command serve the file system that its program lies on?"
        ),
        Gap::Overflow => "more was seen than could be looked at".to_owned(),
    }
}
