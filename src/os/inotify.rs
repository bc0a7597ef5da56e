//! inotify: watches on directories and their events as plain data.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify as Nix, InotifyEvent};

/// A watch descriptor: the kernel's number of a watched directory. A number is not used again while the instance lives,
/// whichever process reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(pub i32);

/// The events that are requested. OPEN and ACCESS are left out, because every read would wake the watcher. MODIFY is
/// for writers that never close the file, ATTRIB for `touch` and restored times.
const MASK: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// One inotify event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The watch of the directory; meaningless for `Overflow`.
    pub watch: Watch,
    /// The kind of the event.
    pub what: What,
    /// The entry of the directory; `None` for the directory itself.
    pub name: Option<OsString>,
    /// Whether the entry is a directory.
    pub directory: bool,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An entry was created; its content may not be written yet.
    Created,
    /// A file was written to, and is still open.
    Modified,
    /// A file that was open for writing was closed.
    Closed,
    /// Times, mode or owner changed.
    Attributes,
    /// An entry was deleted.
    Deleted,
    /// An entry was renamed away.
    MovedFrom,
    /// An entry was renamed to this name.
    MovedTo,
    /// The watched directory itself was deleted, moved or unmounted.
    SelfGone,
    /// The kernel removed the watch; its number is invalid from here on.
    Ended,
    /// The queue was full: events are missing.
    Overflow,
}

/// An inotify instance.
#[derive(Debug)]
pub struct Inotify(Nix);

impl Inotify {
    /// Creates an instance, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// EMFILE at `fs.inotify.max_user_instances` or the limit of open files.
    pub fn new() -> Result<Inotify, Errno> {
        Nix::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map(Inotify)
    }

    /// Watches a directory. Adding the same inode twice returns the same number.
    ///
    /// # Errors
    /// ENOSPC at `fs.inotify.max_user_watches`; EACCES, ENOENT, ENOTDIR.
    pub fn add(&self, directory: &Path) -> Result<Watch, Errno> {
        self.0.add_watch(directory, MASK).map(|watch| Watch(watch.as_raw()))
    }

    /// Removes a watch, if it still exists.
    pub fn remove(&self, watch: Watch) {
        // SAFETY: inotify_rm_watch(2) takes two integers.
        unsafe { libc::inotify_rm_watch(self.0.as_fd().as_raw_fd(), watch.0) };
    }

    /// Reads unread events, oldest first: at most one buffer, empty if there are none.
    pub fn read(&self) -> Vec<Happening> {
        self.0.read_events().map(|events| events.into_iter().filter_map(happening).collect()).unwrap_or_default()
    }
}

/// Goes on with a queue that another process made: its watches and unread events stay as they are. Exactly one process
/// may read a queue at a time, because two readers split the events.
impl From<OwnedFd> for Inotify {
    fn from(queue: OwnedFd) -> Inotify {
        // SAFETY: the descriptor is owned and is given up here; that it is no inotify instance shows as an error of read(2)
        // and inotify_add_watch(2).
        Inotify(unsafe { Nix::from_raw_fd(queue.into_raw_fd()) })
    }
}

/// The queue alone, to be held or handed on without reading it.
impl From<Inotify> for OwnedFd {
    fn from(inotify: Inotify) -> OwnedFd {
        inotify.0.into()
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn happening(event: InotifyEvent) -> Option<Happening> {
    let table = [
        (AddWatchFlags::IN_Q_OVERFLOW, What::Overflow),
        (AddWatchFlags::IN_IGNORED, What::Ended),
        (AddWatchFlags::IN_DELETE_SELF, What::SelfGone),
        (AddWatchFlags::IN_MOVE_SELF, What::SelfGone),
        (AddWatchFlags::IN_UNMOUNT, What::SelfGone),
        (AddWatchFlags::IN_CREATE, What::Created),
        (AddWatchFlags::IN_CLOSE_WRITE, What::Closed),
        (AddWatchFlags::IN_MODIFY, What::Modified),
        (AddWatchFlags::IN_ATTRIB, What::Attributes),
        (AddWatchFlags::IN_DELETE, What::Deleted),
        (AddWatchFlags::IN_MOVED_FROM, What::MovedFrom),
        (AddWatchFlags::IN_MOVED_TO, What::MovedTo),
    ];
    let (_, what) = table.into_iter().find(|(flag, _)| event.mask.contains(*flag))?;
    Some(Happening {
        watch: Watch(event.wd.as_raw()),
        what,
        name: event.name,
        directory: event.mask.contains(AddWatchFlags::IN_ISDIR),
    })
}

/// A limit of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its value.
    pub count: u64,
    /// Its name for sysctl(8).
    pub sysctl: &'static str,
}

/// The limit behind ENOSPC: how many directories one user may watch.
pub fn watch_limit() -> Option<Limit> {
    narrower(["fs.inotify.max_user_watches", "user.max_inotify_watches"])
}

/// The limit behind EMFILE (unless that is the limit of open files): how many instances one user may have.
pub fn instance_limit() -> Option<Limit> {
    narrower(["fs.inotify.max_user_instances", "user.max_inotify_instances"])
}

/// The lower one of the machine's limit and the user namespace's limit.
fn narrower(names: [&'static str; 2]) -> Option<Limit> {
    let limit = |sysctl: &'static str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/"))).ok()?;
        Some(Limit { count: text.trim().parse().ok()?, sysctl })
    };
    names.into_iter().filter_map(limit).min_by_key(|limit| limit.count)
}
