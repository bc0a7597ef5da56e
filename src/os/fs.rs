//! File systems: what a file looks like, and whether the kernel tells about changes made to it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{AccessFlags, access};

use crate::change::{Look, Stamp};

/// Looks at a regular file, through symlinks. Anything else (no file, a directory, a socket, no permission) has no
/// stamp. A symlink that was turned to an older file has changed as well, so its own inode's time counts too.
pub fn look(path: &Path) -> Look {
    let Ok(own) = std::fs::symlink_metadata(path) else { return Look::ABSENT };
    if !own.is_symlink() {
        return look_of(&own);
    }
    let target = std::fs::metadata(path).map_or(Look::ABSENT, |target| look_of(&target));
    Look { ctime_ns: target.ctime_ns.max(ctime_ns(&own)), ..target }
}

/// The look at what is no symlink, from metadata that is already there.
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

/// Whether this process may execute a file, by its mode and its file system.
///
/// # Errors
/// EACCES when it may not, ENOENT when there is no such file.
pub fn may_execute(path: &Path) -> Result<(), Errno> {
    access(path, AccessFlags::X_OK)
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

impl FileId {
    /// Of the file behind a name; `None` where there is nothing.
    pub fn of(path: &Path) -> Option<FileId> {
        std::fs::metadata(path).ok().map(|metadata| FileId::from(&metadata))
    }

    /// Of a regular file that is open under this number; `None` for terminals, pipes, devices and what is not open.
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

/// A path without symlinks in the part of it that exists; the rest stays as it is. `None` when nothing of it can be
/// resolved.
pub fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|existing| {
        let real = std::fs::canonicalize(existing).ok()?;
        let rest = path.strip_prefix(existing).ok()?;
        // Joined with nothing, a path would get a slash at its end.
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    })
}

/// The one name that a path is known by, absolute and without `.` and `..`. A `..` behind a symlink is what the kernel
/// makes of it. Symlinks on the way to `directory` are resolved, so that it has one name; all others stay, since they may
/// be turned while we watch.
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

/// When the inode last changed, nanoseconds since the epoch.
pub fn ctime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.ctime(), metadata.ctime_nsec())
}

/// When the content was last written, or what the time was set to, nanoseconds since the epoch.
pub fn mtime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// When the inode was made, nanoseconds since the epoch; 0 where nobody knows.
fn born_ns(metadata: &std::fs::Metadata) -> i64 {
    let since = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// File systems whose changes may be made where this kernel does not see them, by `f_type` of statfs(2)
/// (linux/magic.h and the file systems' own sources), with the name to show.
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

/// What a file system keeps to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Changes may come without any event. The name of the file system.
    Whole(&'static str),
    /// What is changed through the mount is told, but not what is changed below it, in the lower layers.
    Below(&'static str),
}

/// How a file system layered on others is known (linux/magic.h).
const OVERLAY: u32 = 0x794C_7630;

/// What is not told of changes in this directory; `None` when all is told.
pub fn silence(path: &Path) -> Option<Silence> {
    let FsType(kind) = statfs(path).ok()?.filesystem_type();
    // f_type is signed on some architectures and unsigned on others, 32 bits or 64; its low 32 bits are the number.
    let number = u32::try_from(i128::from(kind) & 0xFFFF_FFFF).ok()?;
    if number == OVERLAY {
        return Some(Silence::Below("overlay"));
    }
    SILENT.iter().find(|(magic, _)| *magic == number).map(|(_, name)| Silence::Whole(name))
}

/// Something that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where: a directory, or a single file.
    pub point: PathBuf,
    /// Its number, that of the mount above it, the device, and what of it is shown.
    pub identity: Vec<u8>,
    /// The lower layers of an overlay, as they were called where it was mounted.
    pub lower: Vec<PathBuf>,
}

/// Tells when something is mounted or unmounted.
#[derive(Debug)]
pub struct MountWatch(File);

impl MountWatch {
    /// From now on; `None` where there is no `/proc`.
    pub fn new() -> Option<MountWatch> {
        File::open("/proc/self/mountinfo").ok().map(MountWatch)
    }

    /// Whether the table of mounts has changed since this was last asked. Only the exceptional condition is asked for: the
    /// file is always readable.
    pub fn has_changed(&self) -> bool {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        poll(&mut asked, PollTimeout::ZERO).is_ok()
            && asked[0].revents().is_some_and(|told| told.contains(PollFlags::POLLPRI))
    }
}

/// What is mounted, by proc_pid_mountinfo(5); empty where there is no `/proc`.
pub fn mounts() -> Vec<Mount> {
    mounts_in(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn mounts_in(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let identity: Vec<&[u8]> = fields.by_ref().take(4).collect();
        let point = path_of(fields.next()?);
        // Behind a lone dash: type, source, options.
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

/// A blank, a tab, a line end and a backslash are written as `\` and three octal digits.
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
    fn mount_points_are_read_with_their_odd_characters() {
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
