//! One attempt to reach the command: a connection, and for `http://` a request. Blocking, within a limit.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::machine::{Found, Verdict};
use super::owner::Ours;
use crate::os::hosts::addresses_of;
use crate::os::socket::{connect_unix, is_self_connected};
use crate::probe::{Host, Probe};

/// A connection to this machine is made or refused at once; a full backlog or a firewall may leave it hanging.
const CONNECT: Duration = Duration::from_secs(1);

/// So long an answer to a request is waited for. Where reloadrun holds the socket, the request waits until the server
/// accepts it.
const ANSWER: Duration = Duration::from_secs(5);

/// Before the command starts, nothing may take long.
const BEFORE: Duration = Duration::from_millis(20);

/// The first line of an answer is not longer.
const LONGEST_LINE: usize = 4096;

/// Whether somebody answers at any of the probe's addresses: to be asked before the command starts. A socket that reloadrun
/// holds is left alone, because the connection would wait there for the command.
pub fn answers(probe: &Probe, held: &[u64]) -> bool {
    let ours = Ours { tree: &[], held };
    let is_held = |address: &SocketAddr| !held.is_empty() && ours.judge_tcp(*address) == Verdict::Ours;
    match probe {
        Probe::Unix(path) => connect_unix(path).map_or_else(|error| is_full(&error), |_| true),
        _ => addresses(probe).iter().any(|address| !is_held(address) && connect(address, BEFORE).is_ok()),
    }
}

/// An attempt, and the connections that are still open after it: to be read to their ends, so that the server's answer is
/// not cut off.
#[derive(Debug)]
pub struct Attempt {
    /// What was found at each address.
    pub found: Vec<Found>,
    answered: Vec<TcpStream>,
}

impl Attempt {
    /// Makes one attempt at every address of a probe.
    pub fn make(probe: &Probe, ours: &Ours<'_>) -> Attempt {
        let mut answered = Vec::new();
        let found = match probe {
            Probe::Unix(path) => vec![at_path(path, ours)],
            _ => addresses(probe).iter().map(|address| at(address, probe, ours, &mut answered)).collect(),
        };
        Attempt { found, answered }
    }

    /// One without a connection.
    pub fn of(found: Found) -> Attempt {
        Attempt { found: vec![found], answered: Vec::new() }
    }

    /// Takes the rest of the answers, for a moment.
    pub fn finish(self) {
        let until = Instant::now() + Duration::from_millis(200);
        for mut stream in self.answered {
            let mut rest = [0; 16 * 1024];
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                let _ = stream.set_read_timeout(Some(left));
                if !matches!(stream.read(&mut rest), Ok(1..)) {
                    break;
                }
            }
        }
    }
}

/// Where a probe connects to. A name that is not in /etc/hosts has no address yet.
pub fn addresses(probe: &Probe) -> Vec<SocketAddr> {
    let Some((host, port)) = probe.endpoint() else { return Vec::new() };
    let addresses = match host {
        Host::Name(name) => addresses_of(name),
        host => host.addresses(),
    };
    addresses.into_iter().map(|ip| (ip, port).into()).collect()
}

pub fn connect(address: &SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, limit)?;
    if is_self_connected(&stream) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(stream) }
}

/// Somebody listens, and does not accept.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn at_path(path: &Path, ours: &Ours<'_>) -> Found {
    let place = path.display().to_string();
    match connect_unix(path) {
        Ok(stream) => Found::Good(place, ours.judge_unix(path, &stream)),
        Err(error) if is_full(&error) => Found::NotYet(format!(
            "{place} takes no connections: so many wait there that there is no room for one more"
        )),
        Err(_) => Found::Nobody(place),
    }
}

fn at(address: &SocketAddr, probe: &Probe, ours: &Ours<'_>, answered: &mut Vec<TcpStream>) -> Found {
    let place = address.to_string();
    let stream = match connect(address, CONNECT) {
        Ok(stream) => stream,
        // Somebody listens and does not accept, or a firewall swallows it.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Found::NotYet(format!("{place} takes no connection within {CONNECT:?}"));
        }
        Err(_) => return Found::Nobody(place),
    };
    // By the address that was reached, which is the listener's.
    let verdict = ours.judge_tcp(*address);
    let Probe::Http { host, port, path } = probe else { return Found::Good(place, verdict) };
    if matches!(verdict, Verdict::Foreign(_)) {
        return Found::Good(place, verdict);
    }
    let found = match ask(&stream, host, *port, path, ANSWER) {
        Ok(Some(200..=399)) => Found::Good(place, verdict),
        Ok(Some(code)) => Found::NotYet(format!("{probe} answers with {code}")),
        Ok(None) => Found::NotYet(format!("{place} answers, but not in HTTP")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Found::NotYet(format!("{place} takes the request and does not answer within {ANSWER:?}"))
        }
        Err(error) => Found::NotYet(format!(
            "{place} closes the connection without an answer ({})",
            error.to_string().to_lowercase()
        )),
    };
    answered.push(stream);
    found
}

/// Sends the request, and gives back the code in the first line of the answer; `None` if it is not in HTTP.
pub fn ask(mut stream: &TcpStream, host: &Host, port: u16, path: &str, limit: Duration) -> io::Result<Option<u16>> {
    let until = Instant::now() + limit;
    let port = if port == 80 { String::new() } else { format!(":{port}") };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: reloadrun\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut buffer = [0; 512];
    while !line.contains(&b'\n') && line.len() < LONGEST_LINE {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break,
            count => line.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(code(&line))
}

/// `HTTP/1.1 200 OK`.
fn code(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5).filter(|_| rest.get(1) == Some(&b' '))?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|code| (100..1000).contains(code))
}

#[cfg(test)]
mod tests {
    use super::{Attempt, answers, code};
    use crate::os::socket::inodes;
    use crate::probe::Probe;
    use crate::ready::machine::{Found, Verdict};
    use crate::ready::owner::Ours;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    fn probe(text: &str) -> Probe {
        Probe::read(text, &|path| Path::new("/").join(path)).unwrap()
    }

    #[test]
    fn the_code_of_an_answer_is_read_and_nothing_is_taken_for_one() {
        let table: [(&[u8], Option<u16>); 9] = [
            (b"HTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.0 503 Service Unavailable\r\n", Some(503)),
            (b"HTTP/1.1 204\r\n", Some(204)),
            (b"HTTP/1.1 2x0 OK\r\n", None),
            (b"HTTP/1.1 099 OK\r\n", None),
            (b"HTTP/1.", None),
            (b"HTTP/1.1\r\n", None),
            (b"220 mail ready\r\n", None),
            (b"", None),
        ];
        for (line, expected) in table {
            assert_eq!(code(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    /// Answers one request with this, and gives back what was asked.
    fn served(answer: &'static [u8], path: &str) -> (Vec<Found>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = inodes([listener.as_raw_fd()]);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 512];
            while !asked.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let probe = probe(&format!("http://127.0.0.1:{port}{path}"));
        let attempt = Attempt::make(&probe, &Ours { tree: &[], held: &held });
        let found = attempt.found.clone();
        attempt.finish();
        (found, server.join().unwrap())
    }

    #[test]
    fn a_request_is_good_with_2xx_and_3xx_and_nothing_else() {
        for (answer, good) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], true),
            (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", false),
            (b"HTTP/1.1 500 Oops\r\n\r\n", false),
            (b"SSH-2.0-x\r\n", false),
            (b"", false),
        ] {
            let (found, asked) = served(answer, "/health?x=1");
            let [found] = &found[..] else { panic!("one address") };
            assert_eq!(matches!(found, Found::Good(_, Verdict::Ours)), good, "{found:?}");
            assert!(good || matches!(found, Found::NotYet(_)), "{found:?}");
            assert!(asked.starts_with("GET /health?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{asked}");
        }
    }

    #[test]
    fn a_server_that_accepts_nobody_is_there_and_not_ready() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::listen(&server, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let address = server.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = super::connect(&address, Duration::from_millis(100)) {
            waiting.push(stream);
        }
        let held = inodes([server.as_raw_fd()]);
        let found = Attempt::make(&probe(&format!("tcp:{address}")), &Ours { tree: &[], held: &held }).found;
        assert_eq!(found, [Found::NotYet(format!("{address} takes no connection within 1s"))]);
    }

    #[test]
    fn both_addresses_of_localhost_are_tried() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let tcp = probe(&format!("tcp:localhost:{port}"));
        let held = inodes([four.as_raw_fd()]);
        let found = Attempt::make(&tcp, &Ours { tree: &[], held: &held }).found;
        let expected =
            [Found::Good(format!("127.0.0.1:{port}"), Verdict::Ours), Found::Nobody(format!("[::1]:{port}"))];
        assert_eq!(found, expected);
        assert!(answers(&tcp, &[]) && !answers(&tcp, &held), "a connection would wait in a socket that is held");
        drop(four);
        // A process that another test forks at this moment has the socket until it executes its program.
        let deadline = Instant::now() + Duration::from_secs(60);
        while answers(&tcp, &[]) {
            assert!(Instant::now() < deadline, "somebody still listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        let Ok(six) = TcpListener::bind("[::1]:0") else { return };
        let port = six.local_addr().unwrap().port();
        assert!(answers(&probe(&format!("tcp:localhost:{port}")), &[]));
        assert!(!answers(&probe(&format!("tcp:127.0.0.1:{port}")), &[]));
    }
}
