//! HTTP as a test speaks it: words over a socket, so that wrong requests can be made too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::session::DEADLINE;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// 200, 404.
    pub status: u16,
    /// By lower-case names.
    pub headers: BTreeMap<String, String>,
    /// What came behind the head.
    pub body: String,
}

/// A connection, on which one request can follow another.
#[derive(Debug)]
pub struct Visit {
    stream: BufReader<TcpStream>,
}

impl Visit {
    /// Connects.
    pub fn to(address: SocketAddr) -> Visit {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(DEADLINE)).expect("a fresh socket");
        Visit { stream: BufReader::new(stream) }
    }

    /// Sends these bytes.
    pub fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("somebody listens");
    }

    /// Sends a request with these headers, and `Host: localhost` if there is no other.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = if has_host { "" } else { "Host: localhost\r\n" };
        let rest: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.say(&format!("{method} {path} HTTP/1.1\r\n{host}{rest}\r\n"));
        self.hear(method != "HEAD").expect("an answer")
    }

    /// The next answer; `None` at the end of the connection.
    pub fn hear(&mut self, has_body: bool) -> Option<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the head is whole");
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.stream.read_exact(&mut body).expect("the body is whole");
        Some(Reply { status, headers, body: String::from_utf8(body).expect("it is text") })
    }
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Reply {
    Visit::to(address).ask("GET", path, &[("Connection", "close")])
}
