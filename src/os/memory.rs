//! Files that live in memory and have no path (memfd_create(2)). Every process that holds the descriptor sees the same
//! content. The functions here never use the file offset, which those processes share.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A new empty file. The name shows in `/proc/PID/fd` and nowhere else. Close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn create(name: &CStr) -> Result<OwnedFd, Errno> {
    memfd_create(name, MFdFlags::MFD_CLOEXEC)
}

/// Empties the file.
///
/// # Errors
/// None that is known.
pub fn clear(memory: &OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::ftruncate(memory, 0)?)
}

/// Writes the bytes at this place, and makes the file larger where it must.
///
/// # Errors
/// ENOSPC when there is no memory left.
pub fn write_at(memory: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()> {
    File::from(memory.try_clone()?).write_all_at(bytes, offset)
}

/// The whole content.
///
/// # Errors
/// EMFILE, EIO.
pub fn read(memory: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(memory.try_clone()?);
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{clear, create, read, write_at};

    #[test]
    fn what_one_descriptor_writes_another_reads_whatever_was_read_before() {
        let memory = create(c"test").unwrap();
        let other = memory.try_clone().unwrap();
        assert_eq!(read(&other).unwrap(), b"");
        write_at(&memory, b"abc", 0).unwrap();
        write_at(&memory, b"d", 3).unwrap();
        assert_eq!((read(&other).unwrap(), read(&other).unwrap()), (b"abcd".to_vec(), b"abcd".to_vec()));
        clear(&other).unwrap();
        write_at(&memory, b"x", 0).unwrap();
        assert_eq!(read(&other).unwrap(), b"x");
    }
}
