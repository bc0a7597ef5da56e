//! The system calls that name a file, with their numbers on each architecture and the place of each argument.
//!
//! Not here, because they name no file that a command depends on, or because no loop could bear their number: `readlink`
//! (what it reads is told by the `lstat` before it; a small `make` does 26,000), `chdir`, `chmod`, `statfs`, extended
//! attributes, and all calls on open descriptors.

use nix::libc;
use serde::{Deserialize, Serialize};

/// What a call does with a file. Whether it succeeds is not known when it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Opens it for reading. It may be a directory.
    Read,
    /// Opens a directory, to list it or to start from it.
    List,
    /// Asks what it is, or whether it is there.
    Stat,
    /// Executes it.
    Execute,
    /// Opens it for writing.
    Write,
    /// Changes its size or its times by its name.
    Alter,
    /// Makes the name: a directory, a link.
    Place,
    /// Makes the name by a rename.
    Rename,
    /// Takes the name away: the old name of a rename too.
    Remove,
}

/// Where a call has its path: in which argument, and in which the directory that a relative path starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub directory: Option<u8>,
    pub path: u8,
    /// Absolute paths start from that directory too (openat2 with RESOLVE_IN_ROOT).
    pub is_root: bool,
}

/// What a call has in its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A path and the flags of open(2).
    Open { at: At, flags: u8 },
    /// A path and the address of a `struct open_how`, which starts with those flags.
    OpenHow { at: At, how: u8 },
    /// A path. With AT_EMPTY_PATH in the argument `flags`, it is a question about an open descriptor.
    One { at: At, access: Access, flags: Option<u8> },
    /// Two paths.
    Two { from: At, as_from: Access, to: At, as_to: Access },
    /// The same two of a rename, and its flags.
    Rename { from: At, to: At, flags: Option<u8> },
    /// From now on the process can open files in a way that is not seen, or its paths mean something else.
    Gap(Gap),
    /// From now on absolute paths may begin at another root.
    Root,
}

/// What makes a trace incomplete, of all that a process can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Gap {
    /// It opens files through io_uring, which no filter of system calls sees.
    IoUring,
    /// It has gone to another mount namespace or another root, where paths mean other files.
    OtherRoot,
    /// It opens files by handles instead of names.
    Handle,
    /// Its memory cannot be read: it has other rights than reloadrun.
    Unreadable,
    /// Its call went on unread, because another one could not be read in time.
    Unread,
    /// More was seen than could be looked at.
    Overflow,
}

/// An architecture that a process can make its calls in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    I386,
    Aarch64,
}

/// Linux's `AUDIT_ARCH_*`: the ELF machine, with the bits for 64-bit and little-endian.
const AUDIT_64BIT_LE: u32 = 0xC000_0000;
const AUDIT_LE: u32 = 0x4000_0000;

impl Arch {
    /// Those that run on this machine; none where there is no table.
    pub const HERE: &[Arch] = if cfg!(target_arch = "x86_64") {
        &[Arch::X86_64, Arch::I386]
    } else if cfg!(target_arch = "aarch64") {
        &[Arch::Aarch64]
    } else {
        &[]
    };

    /// As `struct seccomp_data` has it.
    pub const fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => AUDIT_64BIT_LE | libc::EM_X86_64 as u32,
            Arch::I386 => AUDIT_LE | libc::EM_386 as u32,
            Arch::Aarch64 => AUDIT_64BIT_LE | libc::EM_AARCH64 as u32,
        }
    }
}

/// One call, and its number where an architecture has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub name: &'static str,
    x86_64: Option<u32>,
    i386: Option<u32>,
    aarch64: Option<u32>,
    pub shape: Shape,
}

impl Call {
    pub fn number(&self, arch: Arch) -> Option<u32> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::I386 => self.i386,
            Arch::Aarch64 => self.aarch64,
        }
    }
}

/// The bit that marks the calls of x32 programs, which otherwise have the numbers of x86-64 (asm/unistd.h).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// The calls of an architecture, with their numbers.
pub(super) fn of(arch: Arch) -> impl Iterator<Item = (u32, &'static Call)> {
    CALLS.iter().filter_map(move |call| Some((call.number(arch)?, call)))
}

/// Which call a notification is about.
pub(super) fn find(audit: u32, number: i32) -> Option<&'static Call> {
    let arch = *Arch::HERE.iter().find(|arch| arch.audit() == audit)?;
    let number = number.cast_unsigned() & !if arch == Arch::X86_64 { X32_BIT } else { 0 };
    of(arch).find(|(known, _)| *known == number).map(|(_, call)| call)
}

const fn here(path: u8) -> At {
    At { directory: None, path, is_root: false }
}

const fn at(directory: u8, path: u8) -> At {
    At { directory: Some(directory), path, is_root: false }
}

const fn one(at: At, access: Access) -> Shape {
    Shape::One { at, access, flags: None }
}

const fn stat_at(flags: u8) -> Shape {
    Shape::One { at: at(0, 1), access: Access::Stat, flags: Some(flags) }
}

/// `0` in a column: the architecture does not have it. (Call 0 is read, restart_syscall or io_setup.)
const fn call(name: &'static str, numbers: [u32; 3], shape: Shape) -> Call {
    const fn known(number: u32) -> Option<u32> {
        if number == 0 { None } else { Some(number) }
    }
    Call { name, x86_64: known(numbers[0]), i386: known(numbers[1]), aarch64: known(numbers[2]), shape }
}

/// The columns: x86-64, i386, aarch64.
#[rustfmt::skip]
const CALLS: &[Call] = &[
    call("open",               [  2,   5,   0], Shape::Open { at: here(0), flags: 1 }),
    call("openat",             [257, 295,  56], Shape::Open { at: at(0, 1), flags: 2 }),
    call("openat2",            [437, 437, 437], Shape::OpenHow { at: at(0, 1), how: 2 }),
    call("creat",              [ 85,   8,   0], one(here(0), Access::Write)),
    call("execve",             [ 59,  11, 221], one(here(0), Access::Execute)),
    call("execveat",           [322, 358, 281], one(at(0, 1), Access::Execute)),
    // The same two as x32 programs have them.
    call("x32_execve",         [520,   0,   0], one(here(0), Access::Execute)),
    call("x32_execveat",       [545,   0,   0], one(at(0, 1), Access::Execute)),
    call("stat",               [  4, 106,   0], one(here(0), Access::Stat)),
    call("lstat",              [  6, 107,   0], one(here(0), Access::Stat)),
    call("oldstat",            [  0,  18,   0], one(here(0), Access::Stat)),
    call("oldlstat",           [  0,  84,   0], one(here(0), Access::Stat)),
    call("stat64",             [  0, 195,   0], one(here(0), Access::Stat)),
    call("lstat64",            [  0, 196,   0], one(here(0), Access::Stat)),
    call("fstatat64",          [  0, 300,   0], stat_at(3)),
    call("newfstatat",         [262,   0,  79], stat_at(3)),
    call("statx",              [332, 383, 291], stat_at(2)),
    call("access",             [ 21,  33,   0], one(here(0), Access::Stat)),
    call("faccessat",          [269, 307,  48], one(at(0, 1), Access::Stat)),
    call("faccessat2",         [439, 439, 439], stat_at(3)),
    call("rename",             [ 82,  38,   0], Shape::Rename { from: here(0), to: here(1), flags: None }),
    call("renameat",           [264, 302,  38], Shape::Rename { from: at(0, 1), to: at(2, 3), flags: None }),
    call("renameat2",          [316, 353, 276], Shape::Rename { from: at(0, 1), to: at(2, 3), flags: Some(4) }),
    // What a new hard link leads to stays as it is.
    call("link",               [ 86,   9,   0], Shape::Two { from: here(0), as_from: Access::Stat, to: here(1), as_to: Access::Place }),
    call("linkat",             [265, 303,  37], Shape::Two { from: at(0, 1), as_from: Access::Stat, to: at(2, 3), as_to: Access::Place }),
    call("symlink",            [ 88,  83,   0], one(here(1), Access::Place)),
    call("symlinkat",          [266, 304,  36], one(at(1, 2), Access::Place)),
    call("mkdir",              [ 83,  39,   0], one(here(0), Access::Place)),
    call("mkdirat",            [258, 296,  34], one(at(0, 1), Access::Place)),
    call("mknod",              [133,  14,   0], one(here(0), Access::Place)),
    call("mknodat",            [259, 297,  33], one(at(0, 1), Access::Place)),
    call("unlink",             [ 87,  10,   0], one(here(0), Access::Remove)),
    call("unlinkat",           [263, 301,  35], one(at(0, 1), Access::Remove)),
    call("rmdir",              [ 84,  40,   0], one(here(0), Access::Remove)),
    call("truncate",           [ 76,  92,  45], one(here(0), Access::Alter)),
    call("truncate64",         [  0, 193,   0], one(here(0), Access::Alter)),
    call("utime",              [132,  30,   0], one(here(0), Access::Alter)),
    call("utimes",             [235, 271,   0], one(here(0), Access::Alter)),
    call("futimesat",          [261, 299,   0], one(at(0, 1), Access::Alter)),
    call("utimensat",          [280, 320,  88], one(at(0, 1), Access::Alter)),
    call("utimensat_time64",   [  0, 412,   0], one(at(0, 1), Access::Alter)),
    call("chroot",             [161,  61,  51], Shape::Root),
    call("pivot_root",         [155, 217,  41], Shape::Gap(Gap::OtherRoot)),
    call("setns",              [308, 346, 268], Shape::Gap(Gap::OtherRoot)),
    call("open_by_handle_at",  [304, 342, 265], Shape::Gap(Gap::Handle)),
    call("io_uring_setup",     [425, 425, 425], Shape::Gap(Gap::IoUring)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    /// `#define __NR_openat 295`, as the kernel's headers have it.
    fn in_header(path: &str, prefix: &str) -> Option<BTreeMap<String, u32>> {
        let text = fs::read_to_string(path).ok()?;
        let entry = |line: &str| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            let name = words.next()?.strip_prefix(prefix)?;
            Some((name.to_owned(), words.next()?.parse().ok()?))
        };
        Some(text.lines().filter_map(entry).collect())
    }

    fn compare(arch: Arch, known: &BTreeMap<String, u32>) {
        for call in CALLS.iter().filter(|call| !call.name.starts_with("x32_")) {
            let number = known.get(call.name).copied();
            assert_eq!(call.number(arch), number, "{} on {arch:?}", call.name);
        }
    }

    #[test]
    fn the_numbers_of_this_machine_are_those_of_libc() {
        macro_rules! numbers {
            ($($name:ident)*) => { paste(&[$((stringify!($name), libc::$name)),*]) };
        }
        fn paste(pairs: &[(&str, libc::c_long)]) -> BTreeMap<String, u32> {
            let plain = |(name, number): &(&str, libc::c_long)| {
                (name.strip_prefix("SYS_").unwrap().to_owned(), u32::try_from(*number).unwrap())
            };
            pairs.iter().map(plain).collect()
        }
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut known = numbers!(SYS_openat SYS_openat2 SYS_execve SYS_execveat SYS_newfstatat SYS_statx SYS_faccessat
            SYS_faccessat2 SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_mkdirat SYS_mknodat SYS_unlinkat
            SYS_truncate SYS_utimensat SYS_chroot SYS_pivot_root SYS_setns SYS_open_by_handle_at SYS_io_uring_setup);
        #[cfg(target_arch = "x86_64")]
        known.append(&mut numbers!(SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_rename SYS_link SYS_symlink
            SYS_mkdir SYS_mknod SYS_unlink SYS_rmdir SYS_utime SYS_utimes SYS_futimesat));
        compare(Arch::HERE[0], &known);
    }

    #[test]
    fn the_numbers_of_other_machines_are_those_of_the_kernel_s_headers() {
        // Where the headers are installed, as they are wherever a C compiler is.
        let i386 = ["/usr/include/x86_64-linux-gnu/asm/unistd_32.h", "/usr/include/asm/unistd_32.h"];
        if let Some(known) = i386.iter().find_map(|path| in_header(path, "__NR_")) {
            compare(Arch::I386, &known);
        }
        // The generic table is that of aarch64. The calls that differ between 32 and 64 bits are named __NR3264_.
        let generic = "/usr/include/asm-generic/unistd.h";
        if let (Some(mut known), Some(wide)) = (in_header(generic, "__NR_"), in_header(generic, "__NR3264_")) {
            known.extend(
                wide.into_iter()
                    .map(|(name, number)| (if name == "fstatat" { "newfstatat".to_owned() } else { name }, number)),
            );
            known.retain(|name, number| *number != 0 && !name.ends_with("64") || name == "newfstatat");
            compare(Arch::Aarch64, &known);
        }
    }

    #[test]
    fn no_number_stands_twice_and_no_argument_is_beyond_the_sixth() {
        for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64] {
            let numbers: Vec<u32> = of(arch).map(|(number, _)| number).collect();
            let mut unique = numbers.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), numbers.len(), "{arch:?}");
        }
        for call in CALLS {
            let places = match call.shape {
                Shape::Open { at, flags } | Shape::OpenHow { at, how: flags } => vec![at.path, flags],
                Shape::One { at, flags, .. } => vec![at.path, flags.unwrap_or(0)],
                Shape::Two { from, to, .. } | Shape::Rename { from, to, .. } => vec![from.path, to.path],
                Shape::Gap(_) | Shape::Root => vec![],
            };
            assert!(places.iter().all(|place| *place < 6), "{}", call.name);
        }
    }

    #[test]
    fn a_call_of_an_x32_program_is_found_by_the_same_number() {
        if Arch::HERE.contains(&Arch::X86_64) {
            let named = |number| find(Arch::X86_64.audit(), number).map(|call| call.name);
            assert_eq!(named(257), Some("openat"));
            assert_eq!(named(0x4000_0000 + 257), Some("openat"));
            assert_eq!(named(0x4000_0000 + 520), Some("x32_execve"));
            assert_eq!(named(-1), None);
            assert_eq!(find(Arch::I386.audit(), 5).map(|call| call.name), Some("open"));
            assert_eq!(find(Arch::Aarch64.audit(), 56).map(|call| call.name), None);
        }
    }
}
