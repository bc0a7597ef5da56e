//! Parts of files in memory, seen without being copied (mmap(2)).

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;

/// A part of a file in memory begins at a multiple of this.
pub const PAGE: u64 = 64 * 1024;

/// A read-only view of a part of a file in memory.
pub struct Map {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping is read-only, belongs to this value alone, and is the same for all threads.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// The `length` bytes from `offset` on, which is a multiple of [`PAGE`]. The caller sees to it that nobody writes to this
    /// part of the file, or makes the file shorter, as long as the view exists.
    ///
    /// # Errors
    /// EINVAL when the part is empty or does not lie in the file, ENOMEM.
    pub fn of(memory: &impl AsFd, offset: u64, length: u64) -> io::Result<Map> {
        let memory = memory.as_fd();
        let size = u64::try_from(nix::sys::stat::fstat(memory)?.st_size).unwrap_or(0);
        if offset.checked_add(length).is_none_or(|end| end > size) {
            // A page behind the end of the file is there and cannot be read.
            return Err(Errno::EINVAL.into());
        }
        let length = usize::try_from(length).ok().and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: the kernel chooses an address where nothing is mapped.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length.get(), protection, flags, memory.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno::EINVAL)?;
        Ok(Map { start, length })
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped there and readable until this value is dropped; that nobody writes to them is the
        // promise of the one who made it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length.get()) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it was mapped by this value, and no reference to it outlives the value.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length.get()) };
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.length)
    }
}

/// Gives the memory of a part of the file back; it reads as zeros from then on. A kernel or a file system that cannot do it
/// keeps the memory.
pub fn release(memory: &impl AsFd, offset: u64, length: u64) {
    let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (Ok(offset), Ok(length)) = (libc::off_t::try_from(offset), libc::off_t::try_from(length)) else { return };
    // SAFETY: fallocate(2) takes integers.
    unsafe { libc::fallocate(memory.as_fd().as_raw_fd(), flags, offset, length) };
}

/// Gives memory that was freed back to the system, where the allocator would keep it.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes an integer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes the program's own code and constants out of this process's memory. What is needed later comes from the page cache
/// again, without reading the disk. A start touches most of the program, and what follows touches little of it.
pub fn let_go_of_code() {
    // SAFETY: the callback keeps nothing of what it is shown.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of_object), std::ptr::null_mut()) };
}

/// Of the first object, which is the program itself.
unsafe extern "C" fn let_go_of_object(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader shows an object that stays as it is during this call, with so many program headers.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    // SAFETY: an integer is asked for.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE as usize);
    // What nobody can write is as it is in the file.
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let [base, address, length] = [base, header.p_vaddr, header.p_filesz].map(|number| number as usize);
        // A page at the edge may belong to a part that can be written.
        let from = (base + address).next_multiple_of(page);
        let to = (base + address + length) / page * page;
        if to > from {
            let start = std::ptr::with_exposed_provenance_mut(from);
            // SAFETY: these pages are a part of a file that is mapped without the right to write, so they are the same again
            // when they are touched next. An error changes nothing.
            unsafe { libc::madvise(start, to - from, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::{Map, PAGE, let_go_of_code, release};
    use crate::os::memory::create;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn code_constants_and_what_the_loader_has_filled_in_are_the_same_after_they_were_let_go_of() {
        static FILLED_IN: [fn(&str) -> String; 2] = [str::to_uppercase, str::to_lowercase];
        let shown: Box<dyn std::fmt::Debug> = Box::new("Text");
        let said = || (FILLED_IN.map(|function| function("Text")), format!("{shown:?}"));
        let before = said();
        for _ in 0..3 {
            let_go_of_code();
            assert_eq!(said(), before);
        }
    }

    #[test]
    fn a_part_of_a_file_is_seen_and_what_lies_outside_of_the_file_is_refused() {
        let memory = File::from(create(c"test").unwrap());
        assert!(Map::of(&memory, 0, 1).is_err(), "the file is empty");
        memory.write_all_at(b"seen", PAGE).unwrap();
        let map = Map::of(&memory, PAGE, 4).unwrap();
        assert_eq!(&*map, b"seen");
        assert!(Map::of(&memory, PAGE, 5).is_err());
        assert!(Map::of(&memory, PAGE, 0).is_err());
        assert!(Map::of(&memory, 2 * PAGE, 1).is_err());
        release(&memory, 0, PAGE);
        assert_eq!(&*map, b"seen", "another part was given back");
    }
}
