//! Who listens where, read from /proc: the listening sockets of this network namespace, and the processes that hold them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A TCP socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpListening {
    /// Where.
    pub address: SocketAddr,
    /// By which descriptors refer to it: `socket:[INODE]`.
    pub inode: u64,
    /// The user that it belongs to.
    pub uid: u32,
}

/// A unix socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixListening {
    /// The path as its server bound it: it may be relative to where that server was then.
    pub path: Vec<u8>,
    /// By which descriptors refer to it.
    pub inode: u64,
}

/// Where one of these sockets listens.
pub fn listening(inodes: &HashSet<u64>) -> Option<SocketAddr> {
    all_tcp().find(|one| inodes.contains(&one.inode)).map(|one| one.address)
}

/// Those of these sockets that listen, and where.
pub fn all_listening(inodes: &HashSet<u64>) -> Vec<(u64, SocketAddr)> {
    all_tcp().filter(|one| inodes.contains(&one.inode)).map(|one| (one.inode, one.address)).collect()
}

/// The sockets that listen on a TCP port, of both families.
pub fn on_port(port: u16) -> Vec<TcpListening> {
    all_tcp().filter(|one| one.address.port() == port).collect()
}

fn all_tcp() -> impl Iterator<Item = TcpListening> {
    // A socket bound to [::] takes IPv4 too and is listed in tcp6 alone.
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts = tables.into_iter().map(|table| fs::read_to_string(table).unwrap_or_default());
    texts.flat_map(|text| text.lines().filter_map(tcp_line).collect::<Vec<_>>())
}

/// `  0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 ...`
fn tcp_line(line: &str) -> Option<TcpListening> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    // Each word of 32 bits is printed as a number of this machine, and is in network order in memory.
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|index| u32::from_str_radix(ip.get(8 * index..8 * index + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let bytes = words?.concat();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    let address = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
    Some(TcpListening { address, inode, uid })
}

/// The unix sockets whose path, as it was bound, ends with this file name.
pub fn on_unix(path: &Path) -> Vec<UnixListening> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let named = |one: &UnixListening| Path::new(OsStr::from_bytes(&one.path)).file_name() == Some(name);
    all_unix().into_iter().filter(named).collect()
}

/// The unix sockets that were bound by exactly this path. Several servers may have bound one relative path, each in a directory of
/// its own.
pub fn bound_as(path: &Path) -> Vec<UnixListening> {
    all_unix().into_iter().filter(|one| one.path == path.as_os_str().as_bytes()).collect()
}

fn all_unix() -> Vec<UnixListening> {
    let table = fs::read("/proc/self/net/unix").unwrap_or_default();
    table.split(|&byte| byte == b'\n').filter_map(unix_line).collect()
}

/// `ffff9c...: 00000002 00000000 00010000 0001 01 23456 run/app.sock`; a path may hold blanks.
fn unix_line(line: &[u8]) -> Option<UnixListening> {
    /// `__SO_ACCEPTCON`: it listens.
    const LISTENS: &[u8] = b"00010000";
    let mut rest = line;
    let mut fields: [&[u8]; 7] = [&[]; 7];
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|&byte| byte == b' ')?;
        (*field, rest) = rest.split_at(end);
    }
    let inode = std::str::from_utf8(fields[6]).ok()?.parse().ok()?;
    // One blank, then the path to the end of the line.
    (fields[3] == LISTENS).then(|| UnixListening { path: rest.get(1..).unwrap_or_default().to_vec(), inode })
}

/// The sockets that a process has open, by inode.
///
/// # Errors
/// Its descriptors may not be looked at (another user's, or not dumpable), or it is gone.
pub fn sockets_of(pid: i32) -> Result<HashSet<u64>, Unreadable> {
    let open = sockets_in(&format!("/proc/{pid}/fd"))?;
    if !open.is_empty() {
        return Ok(open);
    }
    // When the main thread has ended, /proc/PID/fd is empty, and those of the other threads are not.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| Unreadable)?.flatten();
    Ok(threads.filter_map(|thread| sockets_in(&format!("{}/fd", thread.path().display())).ok()).flatten().collect())
}

/// The descriptors of a process cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

fn sockets_in(directory: &str) -> Result<HashSet<u64>, Unreadable> {
    let entries = fs::read_dir(directory).map_err(|_| Unreadable)?;
    let mut found = HashSet::new();
    for entry in entries.flatten() {
        match fs::read_link(entry.path()) {
            Ok(target) => found.extend(socket_inode(target.as_os_str().as_bytes())),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Err(Unreadable),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// `socket:[12345]`.
fn socket_inode(target: &[u8]) -> Option<u64> {
    std::str::from_utf8(target).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether this process was started with a variable of this name, or is ending: then its memory goes before its sockets.
pub fn is_ending_or_has(pid: i32, variable: &str) -> bool {
    let read = |what| fs::read(format!("/proc/{pid}/{what}"));
    let start = format!("{variable}=");
    let has = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|one| one.starts_with(start.as_bytes()));
    read("cmdline").is_ok_and(|words| words.is_empty()) || read("environ").is_ok_and(has)
}

/// A process of this machine that has one of these sockets open, as far as we may look. Not this one.
pub fn holder(inodes: &[u64]) -> Option<i32> {
    let own = super::process::own_pid();
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others = pids.filter(|pid| *pid != own);
    others.find(|pid| sockets_of(*pid).is_ok_and(|open| inodes.iter().any(|inode| open.contains(inode))))
}

#[cfg(test)]
mod tests {
    use super::{TcpListening, holder, is_ending_or_has, on_port, on_unix, sockets_of, tcp_line, unix_line};
    use std::net::TcpListener;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixListener;

    fn inode_of(descriptor: BorrowedFd<'_>) -> u64 {
        nix::sys::stat::fstat(descriptor).unwrap().st_ino
    }

    #[test]
    fn a_process_is_known_by_a_variable_that_it_was_started_with_or_by_having_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").env("SOME_MARK", "1").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Between fork and exec it still has our words and variables.
        while !std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(b"sleep") {}
        assert!(is_ending_or_has(pid, "SOME_MARK") && !is_ending_or_has(pid, "SOME"));
        child.kill().unwrap();
        // As a zombie.
        while !std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {}
        assert!(is_ending_or_has(pid, "SOME"));
        child.wait().unwrap();
        assert!(!is_ending_or_has(pid, "SOME_MARK"));
    }

    #[test]
    fn lines_of_both_tables_are_read() {
        let four = "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";
        let six = "  12: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 815 1 0000000000000000 100 0 0 10 0";
        let connected = four.replace(" 0A ", " 01 ");
        let read = |line| tcp_line(line).map(|TcpListening { address, inode, uid }| (address.to_string(), inode, uid));
        if cfg!(target_endian = "little") {
            assert_eq!(read(four), Some(("127.0.0.1:8000".to_owned(), 4711, 1000)));
            assert_eq!(read(six), Some(("[::1]:80".to_owned(), 815, 0)));
        }
        assert_eq!(read(&connected), None);
        for broken in ["", "  sl  local_address rem_address   st", "0: x:y z 0A", "0: 0100007F:1F40"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_path_of_a_unix_socket_is_taken_as_it_was_bound() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 4711 run/a b.sock";
        let read = unix_line(line).unwrap();
        assert_eq!((read.path.as_slice(), read.inode), (b"run/a b.sock".as_slice(), 4711));
        assert_eq!(unix_line(b"0000000000000000: 00000003 00000000 00000000 0001 03 4711 run/a.sock"), None);
        assert_eq!(unix_line(b"Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }

    #[test]
    fn what_listens_is_found_with_the_process_that_holds_it() {
        let tcp = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let found = on_port(tcp.local_addr().unwrap().port());
        let inode = inode_of(tcp.as_fd());
        assert!(found.iter().any(|one| one.inode == inode), "{found:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("listened.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let unix_inode = inode_of(unix.as_fd());
        assert!(on_unix(&path).iter().any(|one| one.inode == unix_inode));
        let own = i32::try_from(std::process::id()).unwrap();
        let open = sockets_of(own).unwrap();
        assert!(open.contains(&inode) && open.contains(&unix_inode));
        // A process that another test forks shares it until its exec.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut held_by = holder(&[inode]);
        while held_by.is_some() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
            held_by = holder(&[inode]);
        }
        assert_eq!(held_by, None, "it is ours alone");
    }
}
