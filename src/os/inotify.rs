//! inotify, as one readable queue of plain events.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify as Nix, InotifyEvent};

/// A watched directory, as the kernel numbers it. A number is not used again while the queue lives, whichever process
/// reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(pub i32);

/// What is asked of the kernel, and no more: never OPEN or ACCESS, which would wake us for every read.
/// MODIFY is there for writers that never close, ATTRIB for `touch` and restored times.
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

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// In which watched directory; meaningless for `Overflow`.
    pub watch: Watch,
    /// What.
    pub what: What,
    /// To which entry of the directory; `None` for the directory itself.
    pub name: Option<OsString>,
    /// Whether the entry is a directory.
    pub directory: bool,
}

/// The kinds of things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A new entry, perhaps not yet written.
    Created,
    /// Written to, and still open.
    Modified,
    /// Closed after it was open for writing.
    Closed,
    /// Times, mode or owner.
    Attributes,
    /// The entry is gone.
    Deleted,
    /// The entry has left for another name.
    MovedFrom,
    /// A whole entry has come in under this name.
    MovedTo,
    /// The watched directory itself was deleted, moved or unmounted.
    SelfGone,
    /// The watch is no more; its number means nothing from here on.
    Ended,
    /// The queue was full: events are missing.
    Overflow,
}

/// An inotify instance.
#[derive(Debug)]
pub struct Inotify(Nix);

impl Inotify {
    /// A new one.
    ///
    /// # Errors
    /// EMFILE at `fs.inotify.max_user_instances` or the limit of open files.
    pub fn new() -> Result<Inotify, Errno> {
        Nix::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map(Inotify)
    }

    /// Watches a directory. Adding one inode twice gives the same number.
    ///
    /// # Errors
    /// ENOSPC at `fs.inotify.max_user_watches`; EACCES, ENOENT, ENOTDIR.
    pub fn add(&self, directory: &Path) -> Result<Watch, Errno> {
        self.0.add_watch(directory, MASK).map(|watch| Watch(watch.as_raw()))
    }

    /// Ends a watch. That it is gone already is no error.
    pub fn remove(&self, watch: Watch) {
        // SAFETY: inotify_rm_watch(2) takes two integers.
        unsafe { libc::inotify_rm_watch(self.0.as_fd().as_raw_fd(), watch.0) };
    }

    /// What has happened and was not read yet, oldest first; at most a buffer full, empty when there is nothing.
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

/// A limit of the system, and how it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its value.
    pub count: u64,
    /// Its name for sysctl(8).
    pub sysctl: &'static str,
}

/// The limit that answers ENOSPC: how many directories one user may watch.
pub fn watch_limit() -> Option<Limit> {
    narrower(["fs.inotify.max_user_watches", "user.max_inotify_watches"])
}

/// The limit that answers EMFILE, unless that is the one of open files: how many instances one user may have.
pub fn instance_limit() -> Option<Limit> {
    narrower(["fs.inotify.max_user_instances", "user.max_inotify_instances"])
}

/// The first is that of the machine; a user namespace may have a lower one of its own.
fn narrower(names: [&'static str; 2]) -> Option<Limit> {
    let limit = |sysctl: &'static str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/"))).ok()?;
        Some(Limit { count: text.trim().parse().ok()?, sysctl })
    };
    names.into_iter().filter_map(limit).min_by_key(|limit| limit.count)
}
