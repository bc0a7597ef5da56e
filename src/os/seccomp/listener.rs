//! The loop that serves the notifications. The process of each one sleeps until it is answered, so nothing is done here
//! but to read the path and to let the call go on: no file is opened or asked for its status. (One on a file system that
//! the command itself serves would never answer.)

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::clock::file_clock_ns;
use super::super::tree::name_of_thread;
use super::calls::{Access, At, Gap, Shape, find};
use super::found::{Found, Sighting};
use super::gate::Gate;
use super::stand_in::Pace;

/// PATH_MAX of Linux, with the zero at the end.
const PATH_MAX: usize = 4096;

/// So many different paths are known to have been told already. Beyond this all are told again, once more.
const MOST_TOLD: usize = 1 << 19;

/// So many names of processes are known. Beyond this all are asked for again.
const MOST_NAMES: usize = 1 << 12;

/// Who stands in looks so often, in milliseconds, whether the loop goes on again.
const SOON: u8 = 50;

/// The only bit of SECCOMP_IOCTL_NOTIF_SET_FLAGS (6.6): the answer wakes the process on the processor of the one who
/// answers. The libc crate does not have it.
const SYNC_WAKE_UP: u64 = 1;

/// Where the calls of a traced process and of all its descendants arrive. As long as anybody holds it open they wait for
/// an answer; when nobody does any more, they fail with ENOSYS.
#[derive(Debug)]
pub struct Listener {
    descriptor: OwnedFd,
    /// Two that saw the same call would not both get one.
    receiving: Mutex<()>,
}

/// What a look at the listener found.
#[derive(Debug)]
pub(super) enum Arrival {
    Call(Box<libc::seccomp_notif>),
    /// Nothing within the time, or it was taken back.
    Nothing,
    /// No process is left.
    End,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Listener {
    pub(super) fn new(descriptor: OwnedFd) -> Listener {
        // SAFETY: this request takes its argument as a number. An older kernel refuses it, and is slower.
        unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Listener { descriptor, receiving: Mutex::new(()) }
    }

    /// Whether it will be told that no process is left (Linux 5.9), without which [`Listener::serve`] would not end. The same
    /// version has the request to add a descriptor: it says that -1 is none, where an older one does not know the request.
    pub(super) fn tells_the_end(&self) -> bool {
        let nothing = libc::seccomp_notif_addfd { id: 0, flags: 0, srcfd: u32::MAX, newfd: 0, newfd_flags: 0 };
        // SAFETY: this request reads one structure of just this type.
        let asked =
            unsafe { libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const nothing) };
        Errno::result(asked) == Err(Errno::EBADF)
    }

    /// Serves the calls until no process is left that could make one, and says that no more will come. To be run by a thread
    /// of its own. With a gate, programs have to pass it before they are executed.
    pub fn serve(&self, found: &Found, gate: Option<Gate>) {
        self.serve_beside(found, gate);
        found.end();
    }

    /// The same beside another listener, whose sightings go to the same place.
    pub fn serve_beside(&self, found: &Found, gate: Option<Gate>) {
        let pace = Pace::default();
        std::thread::scope(|scope| {
            let stand_in = || pace.stand_in(|| self.let_go_on_unread(found));
            // Where there can be no thread, only a command that waits for us would miss it.
            let _ = Builder::new().name("stand-in".into()).spawn_scoped(scope, stand_in);
            self.read_all(found, gate, &pace);
            pace.end();
        });
    }

    fn read_all(&self, found: &Found, mut gate: Option<Gate>, pace: &Pace) {
        let mut reader = Reader::new();
        loop {
            match self.next(gate.as_ref().map_or(PollTimeout::NONE, Gate::within)) {
                Arrival::Call(call) => {
                    let sightings = pace.reading(|| reader.read(&call));
                    self.let_go_on(&call, sightings, found, gate.as_mut());
                    found.ask_again(std::mem::take(&mut reader.again));
                }
                Arrival::Nothing => {}
                Arrival::End => break,
            }
            if let Some(gate) = &mut gate {
                for id in gate.overdue() {
                    self.answer(id);
                }
            }
        }
    }

    fn let_go_on(&self, call: &libc::seccomp_notif, sightings: Vec<Sighting>, found: &Found, gate: Option<&mut Gate>) {
        let program = sightings.iter().find_map(Sighting::executed).map(Path::to_owned);
        let (early, late): (Vec<Sighting>, Vec<Sighting>) = sightings.into_iter().partition(Sighting::is_early);
        found.add(early);
        if let (Some(gate), Some(program)) = (gate, program)
            && gate.ask(call.id, program)
        {
            return;
        }
        if self.answer(call.id) {
            found.add(late);
        }
    }

    /// Serves one call, if one comes soon, without looking at what it is about.
    fn let_go_on_unread(&self, found: &Found) {
        if let Arrival::Call(call) = self.next(PollTimeout::from(SOON)) {
            found.add(vec![Sighting::Gap { thread: call.pid.cast_signed(), gap: Gap::Unread }]);
            self.answer(call.id);
        }
    }

    /// The next call. It is asked for only when one is there: a call that was taken back would let us wait for another.
    pub(super) fn next(&self, within: PollTimeout) -> Arrival {
        let _receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut polled = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, within) {
            // Whatever else goes wrong, somebody may wait for an answer.
            Ok(0) | Err(_) => return Arrival::Nothing,
            Ok(_) => {}
        }
        let events = polled[0].revents().unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            return if events.is_empty() { Arrival::Nothing } else { Arrival::End };
        }
        // SAFETY: the structure consists of integers, and the kernel wants it zeroed.
        let mut call: Box<libc::seccomp_notif> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: this request writes one structure of just this type.
        let result = unsafe {
            libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, std::ptr::from_mut(call.as_mut()))
        };
        match Errno::result(result) {
            Ok(_) => Arrival::Call(call),
            // ENOENT: the process was killed or interrupted meanwhile.
            Err(_) => Arrival::Nothing,
        }
    }

    /// Lets a call go on as if nobody had looked. Says whether it was still waiting.
    pub fn answer(&self, id: u64) -> bool {
        let mut answer =
            libc::seccomp_notif_resp { id, val: 0, error: 0, flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 };
        // SAFETY: this request reads one structure of just this type.
        unsafe { libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) == 0 }
    }
}

/// What has been told already.
#[derive(Default)]
struct Told {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Told {
    /// Whether it is told for the first time. Each access that changes something counts by itself.
    fn is_new(&mut self, access: Access, path: &[u8]) -> bool {
        if !matches!(access, Access::Read | Access::List | Access::Stat) {
            return true;
        }
        if self.hashes.len() >= MOST_TOLD {
            self.hashes.clear();
        }
        self.hashes.insert(self.hasher.hash_one((access, path)))
    }
}

/// What processes are called, by their threads. It is asked for while a call of theirs waits: most have ended soon after.
#[derive(Default)]
struct Names(HashMap<i32, Arc<str>>);

impl Names {
    fn of(&mut self, thread: i32) -> Arc<str> {
        if self.0.len() >= MOST_NAMES {
            self.0.clear();
        }
        Arc::clone(self.0.entry(thread).or_insert_with(|| name_of_thread(thread).into()))
    }

    /// It has the name of the program from now on, whichever of several tries succeeds.
    fn executes(&mut self, thread: i32, program: &Path) {
        let name = program.file_name().unwrap_or(program.as_os_str()).display();
        self.0.insert(thread, format!("{name} (pid {thread})").into());
    }
}

/// Reads what a call is about.
pub(super) struct Reader {
    buffer: Box<[u8; PATH_MAX]>,
    told: Told,
    /// What the last call has named that was told before.
    again: Vec<Sighting>,
    names: Names,
    /// Whether a process has changed its root, so that each has to be asked for it.
    other_roots: bool,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {
            buffer: Box::new([0; PATH_MAX]),
            told: Told::default(),
            again: Vec::new(),
            names: Names::default(),
            other_roots: false,
        }
    }

    pub(super) fn read(&mut self, call: &libc::seccomp_notif) -> Vec<Sighting> {
        let data = &call.data;
        let Some(known) = find(data.arch, data.nr) else { return Vec::new() };
        let thread = call.pid.cast_signed();
        let (when, seen_ns) = (Instant::now(), file_clock_ns());
        let (mut sightings, mut again) = (Vec::new(), Vec::new());
        let mut see = |at: At, access: Access| {
            let file = |path| Sighting::File { thread, access, path, call: known.name, when, seen_ns, name: "".into() };
            match self.path(thread, data, at, access) {
                Some(Ok(path)) if self.told.is_new(access, path.as_os_str().as_bytes()) => sightings.push(file(path)),
                Some(Ok(path)) => again.push(file(path)),
                Some(Err(gap)) => sightings.push(Sighting::Gap { thread, gap }),
                None => {}
            }
        };
        match known.shape {
            Shape::Open { at, flags } => {
                if let Some(access) = opened(argument(data, flags)) {
                    see(at, access);
                }
            }
            Shape::OpenHow { at, how } => {
                if let Some([flags, _, resolve]) = read_words(thread, argument(data, how))
                    && let Some(access) = opened(flags)
                {
                    see(At { is_root: resolve & libc::RESOLVE_IN_ROOT != 0, ..at }, access);
                }
            }
            Shape::One { at, access, .. } => see(at, access),
            Shape::Two { from, as_from, to, as_to } => {
                see(from, as_from);
                see(to, as_to);
            }
            Shape::Rename { from, to, flags } => {
                let flags = flags.map_or(0, |flags| argument(data, flags)) as u32;
                // Of an exchange, each is the new name of the other.
                let is_exchange = flags & libc::RENAME_EXCHANGE != 0;
                see(from, if is_exchange { Access::Rename } else { Access::Remove });
                see(to, Access::Rename);
            }
            Shape::Gap(gap) => sightings.push(Sighting::Gap { thread, gap }),
            Shape::Root => self.other_roots = true,
        }
        for sighting in sightings.iter_mut().chain(&mut again) {
            if let Sighting::File { name, access, path, .. } = sighting {
                *name = self.names.of(thread);
                if *access == Access::Execute {
                    self.names.executes(thread, path);
                }
            }
        }
        self.again = again;
        sightings
    }

    /// The absolute path as the process means it, symlinks and `..` unresolved. `None` for a path that leads to no file.
    fn path(&mut self, thread: i32, data: &libc::seccomp_data, at: At, access: Access) -> Option<Result<PathBuf, Gap>> {
        let given = match read_memory(thread, argument(data, at.path), self.buffer.as_mut()) {
            Ok(count) => self.buffer[..count].split(|&byte| byte == 0).next().filter(|given| given.len() < count)?,
            // Its own call fails by that too.
            Err(Errno::EFAULT) => return None,
            // It is gone.
            Err(Errno::ESRCH) => return None,
            Err(_) => return Some(Err(Gap::Unreadable)),
        };
        let is_absolute = given.first() == Some(&b'/') && !at.is_root;
        if let Some(path) = is_absolute.then(|| through_link(thread, given)).flatten() {
            return Some(Ok(PathBuf::from(OsString::from_vec(path))));
        }
        let base = match (is_absolute, at.directory.map(|index| argument(data, index) as i32)) {
            (true, _) if self.other_roots => link(thread, "root"),
            (true, _) => Ok(Vec::new()),
            (false, None | Some(libc::AT_FDCWD)) => link(thread, "cwd"),
            (false, Some(number)) => link(thread, &format!("fd/{number}")),
        };
        let mut path = match base {
            Ok(base) => base,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => return Some(Err(Gap::Unreadable)),
        };
        if !is_absolute {
            // An empty path is an error, but for execveat(2) of an open descriptor.
            if path.first() != Some(&b'/') || given.is_empty() && access != Access::Execute {
                return None;
            }
            path.push(b'/');
        } else if path == b"/" {
            path.clear();
        }
        path.extend_from_slice(given);
        if given.is_empty() {
            path.pop();
        }
        Some(Ok(PathBuf::from(OsString::from_vec(path))))
    }
}

fn link(thread: i32, name: &str) -> io::Result<Vec<u8>> {
    std::fs::read_link(format!("/proc/{thread}/{name}")).map(|path| path.into_os_string().into_vec())
}

/// What a path means that begins with a link of a process: `/proc/self/cwd/a`, `/dev/fd/3`. `None` for another path, and for what
/// has no name. To us, `self` would be somebody else.
fn through_link(thread: i32, given: &[u8]) -> Option<Vec<u8>> {
    let (process, rest) = if let Some(rest) = given.strip_prefix(b"/proc/") {
        let (process, rest) = rest.split_at(rest.iter().position(|&byte| byte == b'/')?);
        let number = || std::str::from_utf8(process).ok()?.parse().ok();
        (if matches!(process, b"self" | b"thread-self") { thread } else { number()? }, &rest[1..])
    } else if given == b"/dev/stdin" {
        (thread, &b"fd/0"[..])
    } else {
        (thread, given.strip_prefix(b"/dev/").filter(|rest| rest.starts_with(b"fd/"))?)
    };
    let rest = std::str::from_utf8(rest).ok()?;
    let words = if rest.starts_with("fd/") { 2 } else { 1 };
    let end = rest.match_indices('/').nth(words - 1).map_or(rest.len(), |(at, _)| at);
    let (name, below) = rest.split_at(end);
    let is_link = matches!(name, "cwd" | "root" | "exe") || name[..].strip_prefix("fd/").is_some_and(is_number);
    let mut path = is_link.then(|| link(process, name).ok()).flatten()?;
    if path.first() != Some(&b'/') {
        return None;
    }
    path.extend_from_slice(below.as_bytes());
    Some(path)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn argument(data: &libc::seccomp_data, index: u8) -> u64 {
    data.args[usize::from(index)]
}

/// What open(2) with these flags does; `None` for what has no name.
fn opened(flags: u64) -> Option<Access> {
    // The upper half is for open_how; no flag is there yet.
    let flags = flags as i32;
    let has = |all: i32| flags & all == all;
    if has(libc::O_PATH) {
        // It can be asked what it is, and opened by another call. As a directory it is only a place to start from.
        Some(Access::Stat)
    } else if has(libc::O_TMPFILE) {
        None
    } else if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0 {
        Some(Access::Write)
    } else if has(libc::O_DIRECTORY) {
        Some(Access::List)
    } else {
        Some(Access::Read)
    }
}

/// The three words of a `struct open_how`: flags, mode, how to resolve.
fn read_words(thread: i32, address: u64) -> Option<[u64; 3]> {
    let mut bytes = [0; 24];
    read_memory(thread, address, &mut bytes).ok().filter(|count| *count == bytes.len())?;
    let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_ne_bytes).unwrap_or_default();
    Some([word(0), word(8), word(16)])
}

/// Copies from the memory of another process, as much as there is: what follows a page may not be mapped, and the kernel
/// copies whole pieces only.
///
/// # Errors
/// EFAULT where nothing is mapped, EPERM where it may not be read, ESRCH.
fn read_memory(thread: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let in_page = (PAGE - address % PAGE) as usize;
    let address = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    let first = in_page.min(buffer.len());
    let piece = |start: usize, length: usize| libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: length,
    };
    let after = address.checked_add(first).ok_or(Errno::EFAULT)?;
    let theirs = [piece(address, first), piece(after, buffer.len() - first)];
    let ours = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let count = if first < buffer.len() { 2 } else { 1 };
    // SAFETY: process_vm_readv(2) writes at most the length of the buffer into it. The addresses of the other process are
    // numbers to us; the kernel checks them.
    let copied = unsafe { libc::process_vm_readv(thread, &raw const ours, 1, theirs.as_ptr(), count, 0) };
    Errno::result(copied).map(isize::cast_unsigned)
}

/// The smallest size of a page on any machine. Larger ones begin at its multiples too.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_open_say_what_it_does() {
        for (flags, expected) in [
            (libc::O_RDONLY, Some(Access::Read)),
            (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW, Some(Access::Read)),
            (libc::O_RDONLY | libc::O_DIRECTORY, Some(Access::List)),
            (libc::O_WRONLY, Some(Access::Write)),
            (libc::O_RDWR, Some(Access::Write)),
            (libc::O_RDONLY | libc::O_CREAT, Some(Access::Write)),
            (libc::O_RDONLY | libc::O_TRUNC, Some(Access::Write)),
            (libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT, Some(Access::Write)),
            (libc::O_PATH, Some(Access::Stat)),
            (libc::O_PATH | libc::O_DIRECTORY, Some(Access::Stat)),
            (libc::O_RDWR | libc::O_TMPFILE, None),
        ] {
            assert_eq!(opened(flags.cast_unsigned().into()), expected, "{flags:#o}");
        }
    }

    #[test]
    fn a_path_that_ends_with_its_page_is_read_though_nothing_follows() {
        let own = std::process::id().cast_signed();
        // SAFETY: two fresh pages, of which the second is taken away again; nothing else is there.
        let page = unsafe {
            let pages = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(pages, libc::MAP_FAILED);
            libc::munmap(pages.byte_add(PAGE as usize), PAGE as usize);
            pages.cast::<u8>()
        };
        let text = b"/a/path\0";
        // SAFETY: the last bytes of the page.
        let start = unsafe {
            let start = page.add(PAGE as usize - text.len());
            start.copy_from_nonoverlapping(text.as_ptr(), text.len());
            start
        };
        let mut buffer = [0; PATH_MAX];
        let count = read_memory(own, start.addr() as u64, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], text);
        let nothing = page.addr() as u64 + PAGE;
        assert_eq!(read_memory(own, nothing, &mut buffer), Err(Errno::EFAULT));
        // A text that goes on in the next page, which is there: the stack has many.
        let long = [b'x'; 3 * PAGE as usize];
        let across = (long.as_ptr().addr() as u64).next_multiple_of(PAGE) + PAGE - 10;
        assert_eq!(read_memory(own, across, &mut buffer), Ok(PATH_MAX));
        assert!(buffer.iter().all(|&byte| byte == b'x'));
        // SAFETY: it was mapped above and is used no more.
        unsafe { libc::munmap(page.cast(), PAGE as usize) };
    }

    #[test]
    fn a_path_that_begins_with_a_link_of_its_process_is_what_that_means() {
        let own = std::process::id().cast_signed();
        let here = std::env::current_dir().unwrap().into_os_string().into_vec();
        let file = tempfile::NamedTempFile::new().unwrap();
        let [at, name] = [file.as_raw_fd().to_string(), file.path().to_str().unwrap().to_owned()];
        let below = |name: &[u8]| Some([&here[..], name].concat());
        for (given, expected) in [
            ("/proc/self/cwd/a/b".to_owned(), below(b"/a/b")),
            ("/proc/thread-self/cwd".to_owned(), below(b"")),
            (format!("/proc/{own}/cwd/.."), below(b"/..")),
            (format!("/proc/self/fd/{at}"), Some(name.clone().into_bytes())),
            (format!("/dev/fd/{at}"), Some(name.into_bytes())),
            ("/proc/self/status".to_owned(), None),
            ("/proc/self/fd".to_owned(), None),
            ("/proc/self/fd/x".to_owned(), None),
            ("/proc/self".to_owned(), None),
            ("/proc/sys/kernel/x".to_owned(), None),
            ("/dev/null".to_owned(), None),
            ("/a/proc/self/cwd".to_owned(), None),
        ] {
            assert_eq!(through_link(own, given.as_bytes()), expected, "{given}");
        }
    }

    #[test]
    fn only_what_changes_nothing_is_told_once() {
        let mut told = Told::default();
        assert!(told.is_new(Access::Read, b"/a"));
        assert!(!told.is_new(Access::Read, b"/a"));
        assert!(told.is_new(Access::Stat, b"/a"));
        assert!(told.is_new(Access::Write, b"/a"));
        assert!(told.is_new(Access::Write, b"/a"));
    }
}
