//! Whose socket has answered: one of this generation's tree, one that reloadrun holds, or somebody else's.
//!
//! Looked at only after a connection has succeeded. The listening sockets stand in /proc/net with their inodes, and those who
//! hold them in /proc/PID/fd. A unix socket also tells who called listen(2) on it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use super::machine::Verdict;
use crate::os::listeners::{TcpListening, bound_as, holder, on_port, sockets_of};
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
pub struct Ours<'a> {
    /// Looks for the pids of this generation's tree.
    pub tree: &'a dyn Fn() -> Vec<i32>,
    /// The inodes of the sockets that reloadrun holds.
    pub held: &'a [u64],
}

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of the tree, or one that reloadrun holds.
    Ours,
    /// Of this process, which is not of the tree.
    Other(Process),
    /// A process of the tree may not be looked at, so it may be that one's. Whoever else is seen to have it.
    Hidden(Option<Process>),
    /// This one, which is not of the tree, and nobody who may be looked at has it.
    Unseen(u64),
    /// There is no such socket in this network namespace.
    Nobodys,
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
        verdict(self.whose_tcp(address))
    }

    /// Whose socket has taken this connection.
    pub fn judge_unix(&self, stream: &UnixStream) -> Verdict {
        verdict(self.whose_unix(stream))
    }

    /// The same as [`Ours::judge_tcp`], for whoever wants to know more.
    pub fn whose_tcp(&self, address: SocketAddr) -> Whose {
        let look = || self.whose(&accepting(&on_port(address.port()), address));
        match look() {
            Whose::Ours => Whose::Ours,
            // Whoever ended, or got another parent, during the look was not seen in the tree.
            _ => look(),
        }
    }

    /// The same as [`Ours::judge_unix`].
    pub fn whose_unix(&self, stream: &UnixStream) -> Whose {
        // The kernel notes who called listen(2). It may have ended since, and its number may be somebody else's.
        let listener = listener_of(stream);
        let tree = (self.tree)();
        if listener.is_some_and(|pid| tree.contains(&pid)) {
            return Whose::Ours;
        }
        // A socket that was inherited or handed over. Its file may have got another name since, or another directory.
        let bound = stream.peer_addr().ok().and_then(|address| address.as_pathname().map(bound_as)).unwrap_or_default();
        let listening: Vec<u64> = bound.iter().map(|one| one.inode).collect();
        let (others, unreadable) = self.others(&listening, &tree);
        if others.is_empty() && !listening.is_empty() {
            return Whose::Ours;
        }
        let listener = listener.and_then(|pid| Some((Process::of(pid)?, sockets_of(pid).ok()?)));
        let has =
            |inodes: &[u64]| listener.as_ref().filter(|(_, open)| inodes.iter().any(|inode| open.contains(inode)));
        match (has(&others), has(&listening)) {
            (Some((process, _)), _) if unreadable => Whose::Hidden(Some(*process)),
            (Some((process, _)), _) => Whose::Other(*process),
            (None, Some(_)) => Whose::Ours,
            (None, None) if listening.is_empty() => Whose::Nobodys,
            (None, None) if unreadable => Whose::Hidden(None),
            // One of the tree's was bound by the same path, and it cannot be told which of them this is.
            (None, None) if others.len() < listening.len() => Whose::Unseen(others[0]),
            (None, None) => holder(&others).and_then(Process::of).map_or(Whose::Unseen(others[0]), Whose::Other),
        }
    }

    /// The tree is looked at after the sockets: whoever listened was in it by then.
    fn whose(&self, listening: &[u64]) -> Whose {
        let (others, unreadable) = self.others(listening, &(self.tree)());
        if listening.is_empty() {
            return Whose::Nobodys;
        }
        // Of several sockets that share a port, each gets a part of the connections.
        if others.is_empty() {
            return Whose::Ours;
        }
        match holder(&others).and_then(Process::of) {
            process if unreadable => Whose::Hidden(process),
            Some(process) => Whose::Other(process),
            None => Whose::Unseen(others[0]),
        }
    }

    /// Those of these sockets that are neither the tree's nor held, and whether there are processes in the tree that may not be
    /// looked at.
    fn others(&self, listening: &[u64], tree: &[i32]) -> (Vec<u64>, bool) {
        let looks: Vec<_> = tree.iter().map(|pid| (pid, sockets_of(*pid))).collect();
        // One that has ended meanwhile is none that may not be looked at.
        let unreadable = looks.iter().any(|(pid, look)| look.is_err() && Process::of(**pid).is_some());
        let own: HashSet<u64> = looks.into_iter().filter_map(|(_, look)| look.ok()).flatten().collect();
        let is_other = |inode: &u64| !self.held.contains(inode) && !own.contains(inode);
        (listening.iter().copied().filter(is_other).collect(), unreadable)
    }
}

fn verdict(whose: Whose) -> Verdict {
    let why = match whose {
        Whose::Ours => return Verdict::Ours,
        Whose::Other(process) => {
            let name = process.name();
            if !PROXIES.contains(&name.as_str()) {
                return Verdict::Foreign(format!("process {} ({name})", process.pid));
            }
            format!("{name} listens there for somebody else")
        }
        Whose::Hidden(_) => "a process of the command may not be looked at: it runs as somebody else".to_owned(),
        Whose::Unseen(_) => "the process that listens there may not be looked at, or has ended".to_owned(),
        Whose::Nobodys => "nothing listens there in this network namespace".to_owned(),
    };
    Verdict::Unknown(why)
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
    use std::path::Path;
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
        let (of_tree, of_others) = (Ours { tree: &|| vec![pid], held: &[] }, Ours { tree: &Vec::new, held: &[] });
        assert_eq!(of_tree.judge_tcp(address), Verdict::Ours);
        assert_eq!(of_others.judge_tcp(address), Verdict::Foreign(format!("process {pid} (python3)")));
        end(child);
        assert!(matches!(of_tree.judge_tcp(address), Verdict::Unknown(_)), "nobody listens any more");

        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let inodes = inodes([held.as_raw_fd()]);
        assert_eq!(Ours { tree: &Vec::new, held: &inodes }.judge_tcp(held.local_addr().unwrap()), Verdict::Ours);
    }

    #[test]
    fn of_two_sockets_that_share_a_port_each_must_be_ours() {
        let script = "import socket, time\none, two = socket.socket(), socket.socket()\nfor s in (one, two): s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\none.bind(('127.0.0.1', 0)); one.listen()\nprint('%5d' % one.getsockname()[1], flush=True)\ntime.sleep(600)";
        let (first, port) = stranger(script);
        let join = script.replace("('127.0.0.1', 0)", &format!("('127.0.0.1', {port})"));
        let (second, _) = stranger(&join);
        let [first_pid, second_pid] = [&first, &second].map(|child| i32::try_from(child.id()).unwrap());
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(Ours { tree: &|| vec![first_pid, second_pid], held: &[] }.judge_tcp(address), Verdict::Ours);
        let half = Ours { tree: &|| vec![first_pid], held: &[] }.judge_tcp(address);
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
        assert_eq!(Ours { tree: &|| vec![pid], held: &[] }.judge_tcp(address), Verdict::Ours);
        end(child);
    }

    /// Asserts that the socket at this path is that of the process that runs this script.
    fn assert_is_its_own(path: &Path, script: &str) {
        let (child, _) = stranger(script);
        let pid = i32::try_from(child.id()).unwrap();
        let stream = UnixStream::connect(path).unwrap();
        assert_eq!(Ours { tree: &|| vec![pid], held: &[] }.judge_unix(&stream), Verdict::Ours);
        let foreign = Ours { tree: &Vec::new, held: &[] }.judge_unix(&stream);
        assert_eq!(foreign, Verdict::Foreign(format!("process {pid} (python3)")));
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
        assert_is_its_own(&path, &script);
        std::fs::remove_file(&path).unwrap();
        let held = UnixListener::bind(&path).unwrap();
        let inodes = inodes([held.as_raw_fd()]);
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(Ours { tree: &Vec::new, held: &inodes }.judge_unix(&stream), Verdict::Ours);
    }

    #[test]
    fn a_unix_socket_is_not_taken_for_another_one_of_the_same_file_name() {
        let directory = tempfile::tempdir().unwrap();
        let listens = |below: &str| {
            let place = directory.path().join(below);
            std::fs::create_dir(&place).unwrap();
            let script = format!(
                "import os, socket, time\nos.chdir({place:?})\none = socket.socket(socket.AF_UNIX)\none.bind('tmp.sock'); one.listen()\nos.rename('tmp.sock', 'app.sock')\nprint('ready', flush=True)\ntime.sleep(600)"
            );
            let (child, _) = stranger(&script);
            (i32::try_from(child.id()).unwrap(), child, UnixStream::connect(place.join("app.sock")).unwrap())
        };
        let ((pid, one, to_one), (other_pid, other, to_other)) = (listens("a"), listens("b"));
        let ours = Ours { tree: &|| vec![pid], held: &[] };
        assert_eq!(ours.judge_unix(&to_one), Verdict::Ours, "under its new name too");
        assert_eq!(ours.judge_unix(&to_other), Verdict::Foreign(format!("process {other_pid} (python3)")));
        end(one);
        end(other);
    }

    #[test]
    fn a_unix_socket_whose_listener_has_ended_is_its_holders() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.sock");
        let script = format!(
            "import os, socket, sys, time\none = socket.socket(socket.AF_UNIX)\none.bind({path:?})\nif os.fork() == 0:\n    one.listen(); os._exit(0)\nos.wait()\nprint('ready', flush=True)\ntime.sleep(600)"
        );
        assert_is_its_own(&path, &script);
    }

    #[test]
    fn the_tree_is_looked_at_after_the_sockets() {
        // A worker that was forked in between is one of the tree.
        let script = "import socket, time\none = socket.create_server(('127.0.0.1', 0))\nprint('%5d' % one.getsockname()[1], flush=True)\ntime.sleep(600)";
        let (child, port) = stranger(script);
        let pid = i32::try_from(child.id()).unwrap();
        let looks = std::cell::Cell::new(0);
        let tree = || {
            looks.set(looks.get() + 1);
            if looks.get() == 1 { Vec::new() } else { vec![pid] }
        };
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(Ours { tree: &tree, held: &[] }.judge_tcp(address), Verdict::Ours, "a second look");
        end(child);
    }
}
