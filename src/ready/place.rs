//! Who listens at the address of a probe: before a server is started, while it runs, and when it should be gone.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::attempt::{addresses, ask, connect};
use super::owner::{Ours, Whose, accepting};
use crate::os::listeners::{all_listening, on_port, on_unix, sockets_of};
use crate::os::socket::connect_unix;
use crate::os::tree::{Process, descendants};
use crate::os::user;
use crate::probe::{Host, Probe};

/// A connection to this machine is made or refused at once.
const CONNECT: Duration = Duration::from_millis(200);

/// Where a server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// `127.0.0.1:8000`, `[::1]:8000`, `/run/app.sock`.
    pub address: Option<String>,
    /// `http://localhost:8000`, with the host of the probe, and without its path.
    pub url: Option<String>,
}

/// Whoever answers or listens at the address of the probe and is not of this tree; where and who, in words.
pub fn stranger(probe: &Probe, tree: &dyn Fn() -> Vec<i32>) -> Option<String> {
    if let Probe::Unix(path) = probe {
        return stranger_at_path(path, tree);
    }
    addresses(probe).iter().find_map(|address| stranger_at(*address, tree))
}

/// The same for one address; an address for all of this machine means the loopback.
pub fn stranger_at(address: SocketAddr, tree: &dyn Fn() -> Vec<i32>) -> Option<String> {
    match (Ours { tree, held: &[] }).whose_tcp(address) {
        Whose::Other(process) | Whose::Hidden(Some(process)) => {
            Some(format!("{} listens at {address}", named(&process)))
        }
        // A server that has changed its user.
        Whose::Ours | Whose::Hidden(None) => None,
        Whose::Unseen(inode) => {
            let one = on_port(address.port()).into_iter().find(|one| one.inode == inode)?;
            Some(format!("a process of {} listens at {address}", user::shown(one.uid)))
        }
        // A proxy in another network namespace may take connections all the same.
        Whose::Nobodys => connect(&address, CONNECT).is_ok().then(|| format!("somebody answers at {address}")),
    }
}

fn stranger_at_path(path: &Path, tree: &dyn Fn() -> Vec<i32>) -> Option<String> {
    let somebody = || Some(format!("somebody answers at {}", path.display())).filter(|_| tree().is_empty());
    let stream = match connect_unix(path) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return somebody(),
        Err(_) => return None,
    };
    match (Ours { tree, held: &[] }).whose_unix(&stream) {
        Whose::Ours => None,
        Whose::Other(process) | Whose::Hidden(Some(process)) => {
            Some(format!("{} listens at {}", named(&process), path.display()))
        }
        Whose::Hidden(None) | Whose::Unseen(_) | Whose::Nobodys => somebody(),
    }
}

/// `process 4711 (python3), running since 2026-11-27T05:00:00Z`.
fn named(process: &Process) -> String {
    let since = process.since().map(|since| {
        let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        let ago = humantime::format_duration(Duration::from_secs(seconds));
        format!(", running since {} ({ago} ago),", humantime::format_rfc3339_seconds(since))
    });
    format!("process {} ({}){}", process.pid, process.name(), since.unwrap_or_default())
}

/// The pids of the tree of this process, with it.
pub fn tree_of(root: i32) -> Vec<i32> {
    [root].into_iter().chain(descendants(root).iter().map(|process| process.pid)).collect()
}

/// All sockets of these processes, as far as they may be looked at.
fn sockets_of_tree(tree: &[i32]) -> HashSet<u64> {
    tree.iter().filter_map(|pid| sockets_of(*pid).ok()).flatten().collect()
}

/// Where the processes of this tree listen, nearest to a usual server first: the order in /proc is none.
pub fn listens_on(tree: &[i32]) -> Vec<SocketAddr> {
    let own = sockets_of_tree(tree);
    let mut addresses: Vec<SocketAddr> = all_listening(&own).into_iter().map(|(_, address)| address).collect();
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.dedup();
    addresses
}

/// The listening sockets of this tree by which it is reached: those at the address of the probe, or else all. A server that was
/// started again has others.
pub fn sockets(probe: &Probe, tree: &[i32]) -> Vec<u64> {
    let own = sockets_of_tree(tree);
    let found: Vec<u64> = match probe {
        Probe::Unix(path) => on_unix(path).iter().map(|one| one.inode).collect(),
        Probe::Http { .. } | Probe::Tcp { .. } => {
            addresses(probe).iter().flat_map(|address| accepting(&on_port(address.port()), *address)).collect()
        }
        Probe::Exec(_) | Probe::Notify | Probe::Descriptor(_) => {
            return all_listening(&own).into_iter().map(|(inode, _)| inode).collect();
        }
    };
    found.into_iter().filter(|inode| own.contains(inode)).collect()
}

/// Where a server of this tree is reached: at the address of the probe, or else where it listens.
pub fn place(probe: &Probe, tree: &[i32]) -> Place {
    let own = sockets_of_tree(tree);
    if let Probe::Unix(path) = probe {
        return Place { address: Some(path.display().to_string()), url: None };
    }
    let ours =
        |address: &&SocketAddr| accepting(&on_port(address.port()), **address).iter().any(|inode| own.contains(inode));
    let probed = addresses(probe);
    let chosen = probed.iter().find(ours).or(probed.first()).copied();
    let chosen = chosen.or_else(|| listens_on(tree).into_iter().map(reachable).next());
    let url = match (probe, chosen) {
        (Probe::Http { host, port, .. }, _) => Some(url_of(host, *port)),
        (_, Some(address)) => Some(format!("http://{address}")),
        (_, None) => None,
    };
    Place { address: chosen.map(|address| address.to_string()), url }
}

fn url_of(host: &Host, port: u16) -> String {
    match host {
        // What is bound to all addresses is reached at this one.
        Host::Ip(ip) if ip.is_unspecified() => format!("http://{}", reachable((*ip, port).into())),
        host => format!("http://{host}:{port}"),
    }
}

/// Where a socket that is bound to all addresses is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// Whether the probe's address answers one request well, within this time.
///
/// # Errors
/// How it failed, in words.
pub fn request(probe: &Probe, limit: Duration) -> Result<(), String> {
    let Probe::Http { host, port, path } = probe else { return Ok(()) };
    let mut last = format!("{host} has no address");
    for address in addresses(probe) {
        let stream = match connect(&address, limit) {
            Ok(stream) => stream,
            Err(error) => {
                last = format!("{address}: {}", crate::os::reason(error));
                continue;
            }
        };
        return match ask(&stream, host, *port, path, limit, None) {
            Ok(Some(200..=399)) => Ok(()),
            Ok(Some(code)) => Err(format!("{probe} answered with {code}")),
            Ok(None) => Err(format!("{address} did not answer in HTTP")),
            Err(error) => Err(format!("{address}: {}", crate::os::reason(error))),
        };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::{place, sockets, stranger};
    use crate::os::process::own_pid;
    use crate::os::socket::inodes;
    use crate::probe::Probe;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    fn probe(text: &str) -> Probe {
        Probe::read(text, &|path| PathBuf::from(path)).unwrap()
    }

    fn own() -> Vec<i32> {
        vec![own_pid()]
    }

    #[test]
    fn whoever_listens_at_the_address_is_a_stranger_unless_the_tree_has_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for text in [format!("tcp:localhost:{port}"), format!("http://127.0.0.1:{port}/x")] {
            let probe = probe(&text);
            assert_eq!(stranger(&probe, &own), None, "{text}");
            // The holder of a socket is never this process itself, so it is named by its user.
            let found = stranger(&probe, &Vec::new).unwrap();
            assert!(found.contains(&format!("listens at 127.0.0.1:{port}")), "{found}");
            assert_eq!(sockets(&probe, &[own_pid()]), inodes([listener.as_raw_fd()]), "{text}");
            assert!(sockets(&probe, &[]).is_empty(), "{text}");
            assert_eq!(place(&probe, &[own_pid()]).address.as_deref(), Some(&*format!("127.0.0.1:{port}")));
        }
        let http = place(&probe(&format!("http://localhost:{port}/health?x")), &[own_pid()]);
        assert_eq!(http.url.as_deref(), Some(&*format!("http://localhost:{port}")));
        drop(listener);
    }

    #[test]
    fn a_server_that_has_chosen_its_port_is_found_by_its_sockets() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // The listener is close-on-exec, so the tree of the child has none.
        let pid = i32::try_from(child.id()).unwrap();
        while std::fs::read(format!("/proc/{pid}/comm")).unwrap() != b"sleep\n" {}
        assert_eq!(place(&Probe::Notify, &[pid]).address, None);
        let found = place(&Probe::Notify, &[own_pid()]).address;
        // Other tests of this process listen as well.
        assert!(found.is_some_and(|address| !address.starts_with("0.0.0.0")));
        assert!(super::all_listening(&super::sockets_of(own_pid()).unwrap()).iter().any(|(_, one)| one.port() == port));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_unix_socket_that_nobody_listens_at_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("placed.sock");
        let probe = Probe::Unix(path.clone());
        assert_eq!(stranger(&probe, &Vec::new), None);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(stranger(&probe, &own), None);
        let found = stranger(&probe, &Vec::new).unwrap();
        assert!(found.contains(&format!("({})", std::process::id())) || found.contains("placed.sock"), "{found}");
        drop(listener);
        assert_eq!(stranger(&probe, &Vec::new), None, "the file alone is no server");
    }
}
