//! Whose socket has answered: one of this generation's tree, one that reloadrun holds, or somebody else's.
//!
//! Looked at only after a connection has succeeded. The listening sockets stand in /proc/net with their inodes, and those who
//! hold them in /proc/PID/fd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::machine::Verdict;
use crate::os::listeners::{TcpListening, holder, on_port, on_unix, sockets_of};
use crate::os::process::own_pid;
use crate::os::socket::listener_of;
use crate::os::tree::{Process, descendants};

/// These listen for a server that runs somewhere else: in a container, in another network namespace.
const PROXIES: [&str; 9] = [
    "docker-proxy",
    "dockerd",
    "rootlesskit",
    "rootlessport",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "conmon",
    "gvproxy",
];

/// Who counts as ours.
#[derive(Debug)]
pub struct Ours<'a> {
    /// The pids of this generation's tree.
    pub tree: &'a [i32],
    /// The inodes of the sockets that reloadrun holds.
    pub held: &'a [u64],
}

/// Whether this user is the one of a process of the command's tree, or may do what they like anyway.
pub fn is_user_of_tree(uid: u32) -> bool {
    let owner = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid());
    uid == 0
        || owner(own_pid()) == Some(uid)
        || descendants(own_pid()).iter().any(|process| owner(process.pid) == Some(uid))
}

impl Ours<'_> {
    /// Whose socket takes connections to this address.
    pub fn judge_tcp(&self, address: SocketAddr) -> Verdict {
        self.judge(&accepting(&on_port(address.port()), address))
    }

    /// Whose socket has taken this connection to this path.
    pub fn judge_unix(&self, path: &Path, stream: &UnixStream) -> Verdict {
        let listening: Vec<u64> = on_unix(path).iter().map(|one| one.inode).collect();
        // Several servers may have sockets of this file name, so all of them being ours is not what is asked for.
        let (tree, unreadable) = self.sockets_of_tree();
        if listening.iter().any(|inode| self.held.contains(inode) || tree.contains(inode)) {
            return Verdict::Ours;
        }
        if unreadable {
            return Verdict::Unknown(UNREADABLE.to_owned());
        }
        // Whoever called listen(2) may have ended since, and its number may be somebody else's.
        let process = listener_of(stream).and_then(Process::of);
        let holds = |process: &Process| {
            sockets_of(process.pid).is_ok_and(|open| listening.iter().any(|inode| open.contains(inode)))
        };
        match process.filter(holds) {
            Some(process) => foreign(&process),
            None => Verdict::Unknown("the process that listens there may not be looked at, or has ended".to_owned()),
        }
    }

    fn judge(&self, inodes: &[u64]) -> Verdict {
        if inodes.is_empty() {
            return Verdict::Unknown("nothing listens there in this network namespace".to_owned());
        }
        let (tree, unreadable) = self.sockets_of_tree();
        let others: Vec<u64> =
            inodes.iter().copied().filter(|inode| !self.held.contains(inode) && !tree.contains(inode)).collect();
        match others.as_slice() {
            // Of several sockets that share a port, each gets a part of the connections.
            [] => Verdict::Ours,
            _ if unreadable => Verdict::Unknown(UNREADABLE.to_owned()),
            others => match holder(others).and_then(Process::of) {
                Some(process) => foreign(&process),
                None => Verdict::Unknown("the process that listens there may not be looked at".to_owned()),
            },
        }
    }

    /// The sockets of the tree, and whether there are processes in it that may not be looked at.
    fn sockets_of_tree(&self) -> (Vec<u64>, bool) {
        let looks: Vec<_> = self.tree.iter().map(|pid| (pid, sockets_of(*pid))).collect();
        // One that has ended meanwhile is none that may not be looked at.
        let unreadable = looks.iter().any(|(pid, look)| look.is_err() && Process::of(**pid).is_some());
        (looks.into_iter().filter_map(|(_, look)| look.ok()).flatten().collect(), unreadable)
    }
}

const UNREADABLE: &str = "a process of the command may not be looked at: it runs as somebody else";

fn foreign(process: &Process) -> Verdict {
    let name = process.name();
    if PROXIES.contains(&name.as_str()) {
        return Verdict::Unknown(format!("{name} listens there for somebody else"));
    }
    Verdict::Foreign(format!("process {} ({name})", process.pid))
}

/// The inodes of the sockets that take connections to this address. The kernel prefers a socket that is bound to the very
/// address over one for all addresses, and IPv4 over IPv6 that takes both; equals share the connections (SO_REUSEPORT).
pub fn accepting(listening: &[TcpListening], to: SocketAddr) -> Vec<u64> {
    let ip = to.ip().to_canonical();
    let class = |one: &TcpListening| {
        let bound = one.address.ip();
        match (bound, bound.to_canonical()) {
            (IpAddr::V4(_), canonical) if canonical == ip => Some(0),
            (IpAddr::V6(_), canonical) if canonical == ip => Some(if ip.is_ipv4() { 1 } else { 0 }),
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), _) if ip.is_ipv4() => Some(2),
            (IpAddr::V6(all), _) if all.is_unspecified() => Some(3),
            _ => None,
        }
    };
    let on_port = listening.iter().filter(|one| one.address.port() == to.port());
    let classes: Vec<(u8, u64)> = on_port.filter_map(|one| Some((class(one)?, one.inode))).collect();
    let best = classes.iter().map(|(class, _)| *class).min();
    classes.iter().filter(|(class, _)| Some(*class) == best).map(|(_, inode)| *inode).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ours, accepting};
    use crate::os::listeners::TcpListening;
    use crate::os::socket::inodes;
    use crate::ready::machine::Verdict;
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Child, Command, Stdio};

    #[test]
    fn the_socket_that_gets_the_connections_is_the_one_that_the_kernel_chooses() {
        let table: [(&[&str], &str, &[u64]); 12] = [
            (&[], "127.0.0.1:80", &[]),
            (&["127.0.0.1:80"], "127.0.0.1:80", &[0]),
            (&["127.0.0.1:81"], "127.0.0.1:80", &[]),
            (&["0.0.0.0:80", "127.0.0.1:80"], "127.0.0.1:80", &[1]),
            (&["0.0.0.0:80", "127.0.0.1:80"], "127.0.0.2:80", &[0]),
            (&["[::]:80"], "127.0.0.1:80", &[0]),
            (&["[::]:80", "0.0.0.0:80"], "127.0.0.1:80", &[1]),
            (&["[::]:80", "0.0.0.0:80"], "[::1]:80", &[0]),
            (&["[::]:80", "[::1]:80"], "[::1]:80", &[1]),
            (&["0.0.0.0:80"], "[::1]:80", &[]),
            (&["[::ffff:127.0.0.1]:80", "0.0.0.0:80"], "127.0.0.1:80", &[0]),
            (&["127.0.0.1:80", "0.0.0.0:80", "127.0.0.1:80"], "127.0.0.1:80", &[0, 2]),
        ];
        for (bound, to, expected) in table {
            let listening: Vec<TcpListening> = (0..)
                .zip(bound)
                .map(|(inode, address)| TcpListening { address: address.parse().unwrap(), inode, uid: 0 })
                .collect();
            assert_eq!(accepting(&listening, to.parse().unwrap()), expected, "{bound:?} for {to}");
        }
    }

    /// A process of somebody else's that listens on a port of its choice; it says which.
    fn stranger(script: &str) -> (Child, String) {
        let mut child = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        (child, String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_socket_is_ours_if_the_tree_has_it_or_we_hold_it_and_foreign_with_its_process_else() {
        let script = "import socket, time\none = socket.create_server(('127.0.0.1', 0))\nprint('%5d' % one.getsockname()[1], flush=True)\ntime.sleep(600)";
        let (child, port) = stranger(script);
        let pid = i32::try_from(child.id()).unwrap();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let (of_tree, of_others) = (Ours { tree: &[pid], held: &[] }, Ours { tree: &[], held: &[] });
        assert_eq!(of_tree.judge_tcp(address), Verdict::Ours);
        assert_eq!(of_others.judge_tcp(address), Verdict::Foreign(format!("process {pid} (python3)")));
        end(child);
        assert!(matches!(of_tree.judge_tcp(address), Verdict::Unknown(_)), "nobody listens any more");

        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let inodes = inodes([held.as_raw_fd()]);
        assert_eq!(Ours { tree: &[], held: &inodes }.judge_tcp(held.local_addr().unwrap()), Verdict::Ours);
    }

    #[test]
    fn of_two_sockets_that_share_a_port_each_must_be_ours() {
        let script = "import socket, time\none, two = socket.socket(), socket.socket()\nfor s in (one, two): s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\none.bind(('127.0.0.1', 0)); one.listen()\nprint('%5d' % one.getsockname()[1], flush=True)\ntime.sleep(600)";
        let (first, port) = stranger(script);
        let join = script.replace("('127.0.0.1', 0)", &format!("('127.0.0.1', {port})"));
        let (second, _) = stranger(&join);
        let [first_pid, second_pid] = [&first, &second].map(|child| i32::try_from(child.id()).unwrap());
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(Ours { tree: &[first_pid, second_pid], held: &[] }.judge_tcp(address), Verdict::Ours);
        let half = Ours { tree: &[first_pid], held: &[] }.judge_tcp(address);
        assert_eq!(half, Verdict::Foreign(format!("process {second_pid} (python3)")));
        end(first);
        end(second);
    }

    #[test]
    fn a_socket_of_a_process_whose_main_thread_has_ended_is_still_its_own() {
        let script = "import ctypes, socket, threading, time\none = socket.create_server(('127.0.0.1', 0))\ndef go():\n    time.sleep(0.2); print('%5d' % one.getsockname()[1], flush=True); time.sleep(600)\nthreading.Thread(target=go).start()\nctypes.CDLL(None).pthread_exit(None)";
        let (child, port) = stranger(script);
        let pid = i32::try_from(child.id()).unwrap();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(Ours { tree: &[pid], held: &[] }.judge_tcp(address), Verdict::Ours);
        end(child);
    }

    #[test]
    fn a_unix_socket_is_found_by_whatever_path_it_was_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probed.sock");
        let script = format!(
            "import os, socket, time\nos.chdir({:?})\none = socket.socket(socket.AF_UNIX)\none.bind('./probed.sock'); one.listen()\nprint('ready', flush=True)\ntime.sleep(600)",
            directory.path()
        );
        let (child, _) = stranger(&script);
        let pid = i32::try_from(child.id()).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(Ours { tree: &[pid], held: &[] }.judge_unix(&path, &stream), Verdict::Ours);
        let foreign = Ours { tree: &[], held: &[] }.judge_unix(&path, &stream);
        assert_eq!(foreign, Verdict::Foreign(format!("process {pid} (python3)")));
        end(child);
        std::fs::remove_file(&path).unwrap();
        let held = UnixListener::bind(&path).unwrap();
        let inodes = inodes([held.as_raw_fd()]);
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(Ours { tree: &[], held: &inodes }.judge_unix(&path, &stream), Verdict::Ours);
    }
}
