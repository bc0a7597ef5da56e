//! Programs that gain rights when they are executed: they cannot, in a process that gave up gaining any.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};

/// Whether a program is set-uid or set-gid or has capabilities of its own, on a file system where that counts.
pub fn gains_rights(path: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else { return false };
    let mode = metadata.mode();
    let executable = metadata.is_file() && mode & 0o111 != 0;
    // Without the right to execute for the group, the bit once meant mandatory locks.
    let set_id = mode & libc::S_ISUID != 0 || mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0;
    executable
        && (set_id || has_capabilities(path))
        && !statvfs(path).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_NOSUID))
}

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both names end with a zero; asked for no more than the size, it writes nothing.
    unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn set_uid_and_set_gid_programs_gain_rights_and_plain_files_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, "").unwrap();
        for (mode, gains) in
            [(0o755, false), (0o4755, true), (0o2755, true), (0o2745, false), (0o4644, false), (0o1755, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(gains_rights(&path), gains, "{mode:o}");
        }
        assert!(!gains_rights(directory.path()));
        assert!(!gains_rights(Path::new("/nonexistent")));
    }
}
