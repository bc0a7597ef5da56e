//! File systems: stamps and identities of files, mounts, and file systems that send no events.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{AccessFlags, access};

use super::fd::{Wanted, wait_ready};
use crate::change::{Look, Stamp};

/// Looks at a regular file, through symlinks. Anything else (no file, a directory, a socket, no permission) has no
/// stamp. A symlink that now points to an older file is a change too, so the ctime is the later one of symlink and
/// target.
pub fn look(path: &Path) -> Look {
    let Ok(own) = std::fs::symlink_metadata(path) else { return Look::ABSENT };
    if !own.is_symlink() {
        return look_of(&own);
    }
    let target = std::fs::metadata(path).map_or(Look::ABSENT, |target| look_of(&target));
    Look { ctime_ns: target.ctime_ns.max(ctime_ns(&own)), ..target }
}

/// The look at a file that is not a symlink, from its metadata.
pub fn look_of(metadata: &std::fs::Metadata) -> Look {
    if !metadata.is_file() {
        return Look::ABSENT;
    }
    Look {
        stamp: Some(Stamp {
            mtime_ns: mtime_ns(metadata),
            size: metadata.size(),
            inode: metadata.ino(),
            born_ns: born_ns(metadata),
        }),
        ctime_ns: ctime_ns(metadata),
    }
}

/// Opens a regular file at once, or fails at once: opening a FIFO could last for ever.
///
/// # Errors
/// The system's; what is no regular file is refused.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(AT_ONCE).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Opens the same file for writing, whatever has its name by now.
///
/// # Errors
/// The system's.
pub fn open_again_to_write(file: &File) -> io::Result<File> {
    File::options().write(true).custom_flags(AT_ONCE).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Writes a file anew, within a time: it may be a FIFO.
///
/// # Errors
/// The system's; nobody reads the FIFO, or not in time.
pub fn write_within(path: &Path, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    let opened = File::options().write(true).create(true).truncate(true).custom_flags(AT_ONCE).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENXIO) => io::Error::other("it is a FIFO or a socket, and nobody reads there"),
        _ => error,
    })?;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                wait_ready([(file.as_fd(), Wanted::ToWrite)], Some(until))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Open without waiting for a reader or a writer. O_NOCTTY: otherwise a terminal could become the controlling terminal of our
/// session.
const AT_ONCE: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Whether this process may execute a file, by its mode and its file system.
///
/// # Errors
/// EACCES when it may not, ENOENT when there is no such file.
pub fn may_execute(path: &Path) -> Result<(), Errno> {
    access(path, AccessFlags::X_OK)
}

/// The identity of a file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

impl FileId {
    /// The identity of the file at a path, through symlinks; `None` if there is none.
    pub fn of(path: &Path) -> Option<FileId> {
        std::fs::metadata(path).ok().map(|metadata| FileId::from(&metadata))
    }

    /// The identity of the regular file open as this descriptor; `None` for terminals, pipes, devices and closed
    /// numbers.
    pub fn of_descriptor(number: i32) -> Option<FileId> {
        let metadata = std::fs::metadata(format!("/proc/self/fd/{number}")).ok()?;
        metadata.is_file().then(|| FileId::from(&metadata))
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(metadata: &std::fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Resolves the symlinks in the existing part of a path; the rest is kept. `None` when nothing of it can be resolved.
pub fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|existing| {
        let real = std::fs::canonicalize(existing).ok()?;
        let rest = path.strip_prefix(existing).ok()?;
        // `join` with an empty path would add a slash at the end.
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    })
}

/// The canonical name of a path for watching: absolute and without `.` and `..`. A `..` after a symlink is resolved as
/// the kernel does. Symlinks in the path to `directory` are resolved, so that it has a single name; other symlinks are
/// kept, because their targets may change while they are watched.
pub fn identity(path: &Path, directory: &Path) -> PathBuf {
    let mut way = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                way = resolved(&way).unwrap_or(way);
                way.pop();
            }
            other => way.push(other),
        }
    }
    let on_the_way = |real: &Path| directory.starts_with(real);
    let above = way.ancestors().find_map(|part| {
        let real = std::fs::canonicalize(part).ok().filter(|real| on_the_way(real))?;
        Some((part.to_owned(), real))
    });
    match above {
        Some((part, real)) => match way.strip_prefix(&part) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => way,
    }
}

/// Whether two names lead to the same file or directory.
pub fn same_file(one: &Path, other: &Path) -> bool {
    FileId::of(one).is_some_and(|one| FileId::of(other) == Some(one))
}

/// Inode change time, nanoseconds since the epoch.
pub fn ctime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.ctime(), metadata.ctime_nsec())
}

/// Modification time, nanoseconds since the epoch. Programs can set it.
pub fn mtime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// Birth time of the inode, nanoseconds since the epoch; 0 where the file system does not report it.
pub fn born_ns(metadata: &std::fs::Metadata) -> i64 {
    let since = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// File systems on which changes can happen without this kernel seeing them, by `f_type` of statfs(2) (linux/magic.h
/// and the sources of the file systems), with the name to display.
const SILENT: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x517B, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x6165_676C, "pstore"),
    (0x7375_7245, "Coda"),
    (0x5346_414F, "AFS"),
    (0x00C3_6400, "Ceph"),
    (0x786F_4256, "vboxsf"),
];

/// Which changes a file system reports no events for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Any change. The name of the file system.
    Whole(&'static str),
    /// Changes in its lower layers. Changes through the mount itself send events.
    Below(&'static str),
}

/// `f_type` of overlayfs (linux/magic.h).
const OVERLAY: u32 = 0x794C_7630;

/// Which changes in this directory send no events; `None` if all do.
pub fn silence(path: &Path) -> Option<Silence> {
    let FsType(kind) = statfs(path).ok()?.filesystem_type();
    // f_type is signed on some architectures and unsigned on others, 32 bits or 64; its low 32 bits are the number.
    let number = u32::try_from(i128::from(kind) & 0xFFFF_FFFF).ok()?;
    if number == OVERLAY {
        return Some(Silence::Below("overlay"));
    }
    SILENT.iter().find(|(magic, _)| *magic == number).map(|(_, name)| Silence::Whole(name))
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount point: a directory or a single file.
    pub point: PathBuf,
    /// The first four fields of mountinfo: mount ID, parent ID, device, root.
    pub identity: Vec<u8>,
    /// The lower layers of an overlay, by the paths given at the mount.
    pub lower: Vec<PathBuf>,
}

/// Notices mounts and unmounts.
#[derive(Debug)]
pub struct MountWatch(File);

impl MountWatch {
    /// Starts now; `None` without `/proc`.
    pub fn new() -> Option<MountWatch> {
        File::open("/proc/self/mountinfo").ok().map(MountWatch)
    }

    /// Whether the mount table has changed since the last call. A change is reported as POLLPRI; the file is always
    /// readable.
    pub fn has_changed(&self) -> bool {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        poll(&mut asked, PollTimeout::ZERO).is_ok()
            && asked[0].revents().is_some_and(|told| told.contains(PollFlags::POLLPRI))
    }
}

/// All mounts, from proc_pid_mountinfo(5); empty without `/proc`.
pub fn mounts() -> Vec<Mount> {
    mounts_in(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn mounts_in(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let identity: Vec<&[u8]> = fields.by_ref().take(4).collect();
        let point = path_of(fields.next()?);
        // After a single dash: type, source, options.
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let options = if rest.next() == Some(b"overlay") { rest.nth(1).unwrap_or_default() } else { b"" };
        let layers = options
            .split(|byte| *byte == b',')
            .filter_map(|option| option.strip_prefix(b"lowerdir=").or_else(|| option.strip_prefix(b"lowerdir+=")));
        let lower = layers.flat_map(|layers| layers.split(|byte| *byte == b':')).map(path_of).collect();
        Some(Mount { point, identity: identity.join(&b' '), lower })
    };
    table.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn path_of(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescaped(field)))
}

/// Decodes blanks, tabs, line ends and backslashes, which the kernel writes as `\` and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Mount, mounts_in};

    fn mount(identity: &str, point: &str, lower: &[&str]) -> Mount {
        Mount { point: point.into(), identity: identity.into(), lower: lower.iter().map(Into::into).collect() }
    }

    #[test]
    fn escaped_characters_in_mount_points_are_decoded() {
        let table = b"22 1 0:20 / / rw - ext4 /dev/a rw\n\
            23 22 0:21 /x /a\\040b/c\\134d\\011e\\012 rw shared:1 - ext4 /dev/b rw\n\n24 22 0:22 / /plain\\9 rw - tmpfs t rw";
        let mounts = [("22 1 0:20 /", "/"), ("23 22 0:21 /x", "/a b/c\\d\te\n"), ("24 22 0:22 /", "/plain\\9")];
        assert_eq!(mounts_in(table), mounts.map(|(identity, point)| mount(identity, point, &[])));
        assert!(mounts_in(b"").is_empty());
    }

    #[test]
    fn the_lower_layers_of_an_overlay_are_read() {
        let table = b"31 22 0:30 / /o rw - overlay none rw,lowerdir=/l/one:/l/t\\040o,upperdir=/u,workdir=/w\n\
            32 22 0:31 / /p rw master:2 - overlay none rw,lowerdir+=/l/one,lowerdir+=/l/two\n\
            33 22 0:32 / /q rw - ext4 lowerdir=/no rw,lowerdir=/no";
        let expected = [
            mount("31 22 0:30 /", "/o", &["/l/one", "/l/t o"]),
            mount("32 22 0:31 /", "/p", &["/l/one", "/l/two"]),
            mount("33 22 0:32 /", "/q", &[]),
        ];
        assert_eq!(mounts_in(table), expected);
    }
}
