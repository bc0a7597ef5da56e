//! One attempt to reach the command: a connection, and for `http://` a request. Blocking, within a limit.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::machine::{Found, Verdict};
use super::owner::Ours;
use crate::os::fd::{Bell, wait_readable};
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

/// All the interim answers before it together are not longer.
const LONGEST_INTERIM: usize = 64 * 1024;

/// Whether somebody answers at any of the probe's addresses: to be asked before the command starts. A socket that reloadrun
/// holds is left alone, because the connection would wait there for the command.
pub fn answers(probe: &Probe, held: &[u64]) -> bool {
    let ours = Ours { tree: &Vec::new, held };
    let is_held = |address: &SocketAddr| !held.is_empty() && ours.judge_tcp(*address) == Verdict::Ours;
    match probe {
        Probe::Unix(path) => connect_unix(path).map_or_else(|error| is_full(&error), |_| true),
        _ => addresses(probe).iter().any(|address| !is_held(address) && connect(address, BEFORE).is_ok()),
    }
}

/// What ends an attempt before its time.
#[derive(Debug)]
pub struct Limits<'a> {
    /// When the command is late. All addresses together have the time until then, so that it is told in time.
    pub until: Option<Instant>,
    /// Rings when asking is over.
    pub bell: &'a Bell,
    /// Whether asking is over.
    pub over: &'a AtomicBool,
}

impl Limits<'_> {
    /// The end of an attempt at one address, of so many that are still to be tried.
    fn share(&self, addresses: usize) -> Option<Instant> {
        let now = Instant::now();
        let parts = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
        self.until.map(|until| now + until.saturating_duration_since(now) / parts)
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
    pub fn make(probe: &Probe, ours: &Ours<'_>, limits: &Limits<'_>) -> Attempt {
        if let Probe::Unix(path) = probe {
            return Attempt::of(at_path(path, ours));
        }
        let (mut found, mut answered) = (Vec::new(), Vec::new());
        let addresses = addresses(probe);
        if addresses.is_empty() {
            found.push(Found::Nobody(without_address(probe)));
        }
        for (index, address) in addresses.iter().enumerate() {
            if !limits.over.load(Ordering::Relaxed) {
                let end = limits.share(addresses.len() - index);
                found.push(at(address, probe, ours, end, limits, &mut answered));
            }
        }
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

fn nothing_on(place: &str) -> String {
    format!("nothing listens on {place}")
}

/// Looked up again at each attempt: a container may get its names later.
fn without_address(probe: &Probe) -> String {
    let name = probe.endpoint().map(|(host, _)| host.to_string()).unwrap_or_default();
    format!("{name} is not in /etc/hosts, and names are looked up only there")
}

/// Somebody listens, and does not accept.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn at_path(path: &Path, ours: &Ours<'_>) -> Found {
    let place = path.display().to_string();
    match connect_unix(path) {
        Ok(stream) => Found::Good(place, ours.judge_unix(&stream)),
        Err(error) if is_full(&error) => Found::NotYet(format!(
            "{place} takes no connections: so many wait there that there is no room for one more"
        )),
        Err(_) => Found::Nobody(nothing_on(&place)),
    }
}

fn at(
    address: &SocketAddr,
    probe: &Probe,
    ours: &Ours<'_>,
    end: Option<Instant>,
    limits: &Limits<'_>,
    answered: &mut Vec<TcpStream>,
) -> Found {
    let place = address.to_string();
    // At least a millisecond: a connection to this machine takes less, and no time at all is an error.
    let left = |limit: Duration| {
        let left = end.map_or(limit, |end| end.saturating_duration_since(Instant::now()).min(limit));
        Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
    };
    let limit = left(CONNECT);
    let stream = match connect(address, limit) {
        Ok(stream) => stream,
        // Somebody listens and does not accept, or a firewall swallows it.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return unanswered(format!("{place} takes no connection within {limit:?}"), limit < CONNECT);
        }
        Err(_) => return Found::Nobody(nothing_on(&place)),
    };
    // By the address that was reached, which is the listener's.
    let verdict = ours.judge_tcp(*address);
    let Probe::Http { host, port, path } = probe else { return Found::Good(place, verdict) };
    if matches!(verdict, Verdict::Foreign(_)) {
        return Found::Good(place, verdict);
    }
    let limit = left(ANSWER);
    let found = match ask(&stream, host, *port, path, limit, Some(limits)) {
        Ok(Some(200..=399)) => Found::Good(place, verdict),
        Ok(Some(code)) => Found::NotYet(format!("{probe} answers with {code}")),
        Ok(None) => Found::NotYet(format!("{place} answers, but not in HTTP")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            unanswered(format!("{place} takes the request and does not answer within {limit:?}"), limit < ANSWER)
        }
        Err(error) => Found::NotYet(format!(
            "{place} closes the connection without an answer ({})",
            error.to_string().to_lowercase()
        )),
    };
    answered.push(stream);
    found
}

fn unanswered(sentence: String, is_cut: bool) -> Found {
    if is_cut { Found::Cut(sentence) } else { Found::NotYet(sentence) }
}

/// Sends the request, and gives back the code of the final answer; `None` if it is not in HTTP.
///
/// # Errors
/// `TimedOut` if it does not come within the limit, or asking is over; those of the connection.
pub fn ask(
    mut stream: &TcpStream,
    host: &Host,
    port: u16,
    path: &str,
    limit: Duration,
    limits: Option<&Limits<'_>>,
) -> io::Result<Option<u16>> {
    let until = Instant::now() + limit;
    let port = if port == 80 { String::new() } else { format!(":{port}") };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: reloadrun\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::new();
    let mut buffer = [0; 512];
    loop {
        if let Some(answer) = answer(&received) {
            return Ok(answer);
        }
        let bell = limits.map_or(stream.as_fd(), |limits| limits.bell.as_fd());
        let [is_readable, rung] = wait_readable([stream.as_fd(), bell], Some(until))?;
        if let Some(limits) = limits.filter(|_| rung) {
            limits.bell.hush();
            if limits.over.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if is_readable {
            match stream.read(&mut buffer)? {
                0 => return end_of_answer(&received),
                count => received.extend_from_slice(&buffer[..count]),
            }
        } else if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// The code of the final answer, as soon as its first line is there: `Some(None)` if it is not in HTTP.
fn answer(received: &[u8]) -> Option<Option<u16>> {
    let (interim, rest) = after_interim(received);
    if received.len() - rest.len() > LONGEST_INTERIM {
        return Some(interim);
    }
    // Part of an interim answer is no first line.
    let end = rest.iter().position(|byte| *byte == b'\n');
    match code(rest) {
        Some(code) if is_interim(code) && rest.len() < LONGEST_INTERIM => None,
        code => (end.is_some() || rest.len() >= LONGEST_LINE).then_some(code),
    }
}

/// The same when there is no more to come.
fn end_of_answer(received: &[u8]) -> io::Result<Option<u16>> {
    match after_interim(received).1 {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        rest => Ok(code(rest)),
    }
}

/// Leaves out the interim answers before the final one (RFC 9110, section 15.2); the code of the last of them, and what follows
/// it.
fn after_interim(received: &[u8]) -> (Option<u16>, &[u8]) {
    let (mut last, mut rest) = (None, received);
    while let Some(code) = code(rest).filter(|code| is_interim(*code)) {
        let end = (0..rest.len()).find_map(|at| {
            let ends = [&b"\n\r\n"[..], b"\n\n"];
            ends.into_iter().find(|end| rest[at..].starts_with(end)).map(|end| at + end.len())
        });
        let Some(end) = end else { break };
        (last, rest) = (Some(code), &rest[end..]);
    }
    (last, rest)
}

/// Another answer follows it. With 101 another protocol would, which was not asked for.
fn is_interim(code: u16) -> bool {
    (100..200).contains(&code) && code != 101
}

/// `HTTP/1.1 200 OK`.
fn code(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5).filter(|_| rest.get(1) == Some(&b' '))?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|code| (100..1000).contains(code))
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Limits, answer, answers, code, end_of_answer, nothing_on};
    use crate::os::fd::Bell;
    use crate::os::socket::inodes;
    use crate::probe::Probe;
    use crate::ready::machine::{Found, Verdict};
    use crate::ready::owner::Ours;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    fn probe(text: &str) -> Probe {
        Probe::read(text, &|path| Path::new("/").join(path)).unwrap()
    }

    fn attempt(probe: &Probe, held: &[u64], within: Option<Duration>) -> Attempt {
        let (bell, over) = (Bell::new().unwrap(), AtomicBool::new(false));
        let until = within.map(|within| Instant::now() + within);
        Attempt::make(probe, &Ours { tree: &Vec::new, held }, &Limits { until, bell: &bell, over: &over })
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

    #[test]
    fn an_interim_answer_is_not_the_answer() {
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
        let table: [(&[u8], Option<Option<u16>>); 9] = [
            (b"HTTP/1.1 200 OK\r\n", Some(Some(200))),
            (b"HTTP/1.1 200 O", None),
            (b"HTTP/1.1 100 Continue\r\n", None),
            (b"HTTP/1.1 100 Continue\r\n\r\n", None),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\n", Some(Some(503))),
            (b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n", Some(Some(200))),
            (b"HTTP/1.1 102 x\r\nA: b\r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 204 x\r\n", Some(Some(204))),
            (b"HTTP/1.1 100 Continue\r\n\r\nSSH-2.0\r\n", Some(None)),
            (b"HTTP/1.1 101 Switching Protocols\r\n", Some(Some(101))),
        ];
        for (received, expected) in table {
            assert_eq!(answer(received), expected, "{}", String::from_utf8_lossy(received));
        }
        assert_eq!(answer(&early.repeat(2000)), Some(Some(103)), "not for ever");
        let endless = [&early[..early.len() - 2], &b"X: y\r\n".repeat(20_000)].concat();
        assert_eq!(answer(&endless), Some(Some(103)), "nor is one of them");
        assert!(end_of_answer(early).is_err() && end_of_answer(b"HTTP/1.1 200").is_ok_and(|code| code == Some(200)));
    }

    #[test]
    fn an_attempt_ends_when_the_command_is_late_at_all_addresses_together() {
        let Ok(six) = TcpListener::bind("[::1]:0") else { return };
        let port = six.local_addr().unwrap().port();
        let four = TcpListener::bind(("127.0.0.1", port));
        // Both take the request and do not answer.
        let held = inodes([six.as_raw_fd()].into_iter().chain(four.iter().map(AsRawFd::as_raw_fd)));
        let (began, within) = (Instant::now(), Duration::from_millis(400));
        let found = attempt(&probe(&format!("http://localhost:{port}/")), &held, Some(within)).found;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let silent = found.iter().filter(|one| matches!(one, Found::Cut(why) if why.contains("does not answer")));
        assert_eq!(silent.count(), held.len(), "{found:?}");
    }

    #[test]
    fn an_attempt_ends_when_asking_is_over() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (held, port) = (inodes([server.as_raw_fd()]), server.local_addr().unwrap().port());
        let (bell, over) = (Bell::new().unwrap(), AtomicBool::new(false));
        let probe = probe(&format!("http://127.0.0.1:{port}/"));
        std::thread::scope(|scope| {
            let ours = Ours { tree: &Vec::new, held: &held };
            let began = Instant::now();
            scope.spawn(|| {
                // It has been asked.
                let mut stream = server.accept().unwrap().0;
                stream.read_exact(&mut [0; 3]).unwrap();
                over.store(true, Ordering::Relaxed);
                bell.ring();
                // It stays open until the other side closes it.
                let _ = stream.read_to_end(&mut Vec::new());
            });
            Attempt::make(&probe, &ours, &Limits { until: None, bell: &bell, over: &over });
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        });
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
        let attempt = attempt(&probe, &held, None);
        let found = attempt.found.clone();
        attempt.finish();
        (found, server.join().unwrap())
    }

    #[test]
    fn a_request_is_good_with_2xx_and_3xx_and_nothing_else() {
        for (answer, good) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], true),
            (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", true),
            (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", true),
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
    fn a_name_without_an_address_is_told() {
        let found = attempt(&probe("http://nosuch.example/"), &[], None).found;
        let sentence = "nosuch.example is not in /etc/hosts, and names are looked up only there";
        assert_eq!(found, [Found::Nobody(sentence.to_owned())]);
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
        let found = attempt(&probe(&format!("tcp:{address}")), &held, None).found;
        assert_eq!(found, [Found::NotYet(format!("{address} takes no connection within 1s"))]);
    }

    #[test]
    fn both_addresses_of_localhost_are_tried() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let tcp = probe(&format!("tcp:localhost:{port}"));
        let held = inodes([four.as_raw_fd()]);
        let found = attempt(&tcp, &held, None).found;
        let expected = [
            Found::Good(format!("127.0.0.1:{port}"), Verdict::Ours),
            Found::Nobody(nothing_on(&format!("[::1]:{port}"))),
        ];
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
