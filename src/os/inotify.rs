//! inotify: watches on directories and their events as plain data.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify as Nix};

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

    /// Reads the events that are unread now, oldest first; empty if there are none. An event that comes while this reads may
    /// be left for the next call: a program that writes all the time would keep us reading for ever.
    pub fn read(&self) -> Vec<Happening> {
        let mut count: libc::c_int = 0;
        // SAFETY: FIONREAD writes one integer, how many bytes can be read (inotify(7)).
        unsafe { libc::ioctl(self.0.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
        if count <= 0 {
            return Vec::new();
        }
        let mut buffer = vec![0; usize::try_from(count).unwrap_or(0).max(SMALLEST)];
        let length = nix::unistd::read(&self.0, &mut buffer).unwrap_or(0);
        happenings(&buffer[..length])
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

/// A buffer that has room for any one event.
const SMALLEST: usize = 4096;

/// An event without its name: watch, mask, cookie, length of the name.
const HEADER: usize = 16;

/// The events of one read(2), as inotify(7) has them.
fn happenings(mut bytes: &[u8]) -> Vec<Happening> {
    let mut happenings = Vec::new();
    while let Some(header) = bytes.get(..HEADER) {
        let number = |index: usize| header[index * 4..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let end = HEADER + number(3) as usize;
        let name = bytes.get(HEADER..end).unwrap_or_default();
        // Filled up with zeros.
        let name = name.split(|byte| *byte == 0).next().filter(|name| !name.is_empty());
        let mask = AddWatchFlags::from_bits_retain(number(1));
        if let Some((_, what)) = TABLE.into_iter().find(|(flag, _)| mask.contains(*flag)) {
            let name = name.map(|name| OsStr::from_bytes(name).to_owned());
            happenings.push(Happening { watch: Watch(number(0).cast_signed()), what, name });
        }
        bytes = bytes.get(end..).unwrap_or_default();
    }
    happenings
}

const TABLE: [(AddWatchFlags, What); 12] = [
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

/// A limit of the system, and how it is set.
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

#[cfg(test)]
mod tests {
    use super::{Inotify, Watch, What};
    use std::fs;
    use std::os::fd::OwnedFd;

    #[test]
    fn events_are_read_with_their_names_by_whoever_goes_on_with_the_queue() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Inotify::new().unwrap();
        assert!(queue.read().is_empty());
        let watch = queue.add(directory.path()).unwrap();
        let long = "x".repeat(255);
        for name in ["a", "twelve bytes", long.as_str()] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::remove_dir_all(directory.path()).unwrap();
        let queue = Inotify::from(OwnedFd::from(queue).try_clone().unwrap());
        let events: Vec<_> = queue.read().into_iter().map(|event| (event.watch, event.what, event.name)).collect();
        let of = |what: What, name: &str| (watch, what, Some(name.into()));
        let whole = [(What::Created), (What::Closed)];
        let written = ["a", "twelve bytes", &long].into_iter().flat_map(|name| whole.map(|what| of(what, name)));
        assert!(events.iter().take(6).cloned().eq(written), "{events:?}");
        assert_eq!(events.iter().filter(|(_, what, _)| *what == What::Deleted).count(), 3);
        assert_eq!(events.last(), Some(&(watch, What::Ended, None)));
        assert_ne!(watch, Watch(-1));
        assert!(queue.read().is_empty());
    }
}
