//! File systems: what a file looks like, and whether the kernel tells about changes made to it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statfs::{FsType, statfs};

use crate::change::{Look, Stamp};

/// Looks at a regular file, through symlinks. Anything else (no file, a directory, a socket, no permission)
/// is [`Look::ABSENT`].
pub fn look(path: &Path) -> Look {
    match std::fs::metadata(path) {
        Ok(metadata) => look_of(&metadata),
        Err(_) => Look::ABSENT,
    }
}

/// The same from metadata that is already there.
pub fn look_of(metadata: &std::fs::Metadata) -> Look {
    if !metadata.is_file() {
        return Look::ABSENT;
    }
    Look {
        stamp: Some(Stamp { mtime_ns: mtime_ns(metadata), size: metadata.size(), inode: metadata.ino() }),
        ctime_ns: ctime_ns(metadata),
    }
}

/// Which file or directory a path leads to, by device and inode number.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// When the inode last changed, nanoseconds since the epoch.
pub fn ctime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.ctime(), metadata.ctime_nsec())
}

/// When the content was last written, or what the time was set to, nanoseconds since the epoch.
pub fn mtime_ns(metadata: &std::fs::Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
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

/// The name of the file system when no events come from it, so that it must be polled.
pub fn without_events(path: &Path) -> Option<&'static str> {
    let FsType(kind) = statfs(path).ok()?.filesystem_type();
    // f_type is signed on some architectures and unsigned on others, 32 bits or 64; its low 32 bits are the number.
    let number = u32::try_from(i128::from(kind) & 0xFFFF_FFFF).ok()?;
    SILENT.iter().find(|(magic, _)| *magic == number).map(|(_, name)| *name)
}
