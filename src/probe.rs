//! Probes as the user writes them: by what the command is known to be ready. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::address;

/// By what the command is known to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answers a request with 2xx or 3xx.
    Http {
        /// Where.
        host: Host,
        /// Its port.
        port: u16,
        /// What is asked for, with the query: `/health?full=1`.
        path: String,
    },
    /// It takes connections.
    Tcp {
        /// Where.
        host: Host,
        /// Its port.
        port: u16,
    },
    /// It takes connections at this absolute path.
    Unix(PathBuf),
    /// This line for the shell exits with 0.
    Exec(String),
    /// It says so itself (sd_notify(3): `READY=1`).
    Notify,
    /// It writes a newline to this descriptor, as under s6.
    Descriptor(i32),
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// 127.0.0.1 and `::1`: a server may listen on either, and a client may go to either.
    Localhost,
    /// An address.
    Ip(IpAddr),
    /// A name, looked up at each attempt.
    Name(String),
}

impl Host {
    /// Its addresses, as far as they are known without asking anybody.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Host::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            // A connection to "all addresses" goes to this machine.
            Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => vec![Ipv4Addr::LOCALHOST.into()],
            Host::Ip(ip) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into()],
            Host::Ip(ip) => vec![*ip],
            Host::Name(_) => Vec::new(),
        }
    }
}

/// As it stands in a URL.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Localhost => f.write_str("localhost"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// As it is written, and so as it can be written again.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Http { host, port: 80, path } => write!(f, "http://{host}{path}"),
            Probe::Http { host, port, path } => write!(f, "http://{host}:{port}{path}"),
            Probe::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Probe::Unix(path) => write!(f, "unix:{}", path.display()),
            Probe::Exec(line) => write!(f, "exec:{line}"),
            Probe::Notify => f.write_str("notify"),
            Probe::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

const EXPECTED: &str =
    "must be one of http://HOST:PORT/PATH, tcp:HOST:PORT, unix:PATH, exec:COMMAND, notify and fd:NUMBER";

impl Probe {
    /// Reads a probe. A relative path of a unix socket begins where `absolute` says.
    ///
    /// # Errors
    /// What is wrong and what was expected, to follow the text itself.
    pub fn read(text: &str, absolute: &dyn Fn(&str) -> PathBuf) -> Result<Probe, String> {
        if text == "notify" {
            return Ok(Probe::Notify);
        }
        match text.split_once(':') {
            Some(("http", rest)) => http(rest),
            Some(("https", _)) => {
                Err("only http:// is spoken here; use exec:, as in exec:'curl -fsk https://localhost:8443/'".to_owned())
            }
            Some(("tcp", rest)) => {
                let (host, port) = host_and_port(rest.trim_start_matches("//"))?;
                let port = port.ok_or_else(|| "expected a port, like tcp:localhost:8000".to_owned())?;
                Ok(Probe::Tcp { host, port })
            }
            Some(("unix", path)) => Ok(Probe::Unix(address::unix(path, absolute)?)),
            Some(("exec", line)) if line.trim().is_empty() => Err("expected a command after exec:".to_owned()),
            Some(("exec", line)) => Ok(Probe::Exec(line.to_owned())),
            Some(("fd", number)) => match number.parse() {
                Ok(number) if number >= 3 => Ok(Probe::Descriptor(number)),
                _ => Err("after fd: stands the number of a descriptor from 3 up, as in fd:3".to_owned()),
            },
            Some(("after", _)) => Err(format!("a time proves nothing; {EXPECTED}")),
            _ => Err(format!("{EXPECTED}{}", meant(text))),
        }
    }

    /// The address that is connected to.
    pub fn endpoint(&self) -> Option<(&Host, u16)> {
        match self {
            Probe::Http { host, port, .. } | Probe::Tcp { host, port } => Some((host, *port)),
            _ => None,
        }
    }
}

fn meant(text: &str) -> String {
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    let guess = if port.parse::<u16>().is_ok() {
        Some(format!("tcp:localhost:{port}"))
    } else if host_and_port(text).is_ok_and(|(_, port)| port.is_some()) {
        Some(format!("tcp:{text}"))
    } else {
        text.starts_with('/').then(|| format!("unix:{text}"))
    };
    guess.map(|guess| format!("; did you mean {guess}?")).unwrap_or_default()
}

fn http(rest: &str) -> Result<Probe, String> {
    let expected = || "expected a URL like http://localhost:8000/health".to_owned();
    let rest = rest.strip_prefix("//").ok_or_else(expected)?;
    // A fragment is the browser's.
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("a user name in a URL is not supported; use exec: with curl".to_owned());
    }
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || !byte.is_ascii()) {
        return Err(
            "blanks, control characters and letters beyond ASCII must be escaped in a URL, as in %20".to_owned()
        );
    }
    let (host, port) = host_and_port(authority).map_err(|mistake| format!("{mistake}; {}", expected()))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Probe::Http { host, port: port.unwrap_or(80), path })
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => (ip, None),
        Some((ip, rest)) => (ip, Some(rest.strip_prefix(':').ok_or("expected a port after the address")?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(format!("'{port}' is no port; it must be a number from 1 to 65535")),
        },
    };
    let host = if host.eq_ignore_ascii_case("localhost") {
        Host::Localhost
    } else if let Ok(ip) = host.parse() {
        Host::Ip(ip)
    } else if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        Host::Name(host.to_owned())
    } else {
        return Err(format!("'{host}' is no host; it must be an address, or a name like localhost"));
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::Probe;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use std::path::Path;

    fn read(text: &str) -> Result<Probe, String> {
        Probe::read(text, &|path| Path::new("/run").join(path))
    }

    #[test]
    fn every_form_of_a_probe_is_read() {
        let table = [
            ("http://localhost:8000/health?full=1", "http://localhost:8000/health?full=1"),
            ("http://LOCALHOST:8000", "http://localhost:8000/"),
            ("http://127.0.0.1/", "http://127.0.0.1/"),
            ("http://[::1]:8000/a#b", "http://[::1]:8000/a"),
            ("http://app.test:8000?x", "http://app.test:8000/?x"),
            ("tcp:localhost:8000", "tcp:localhost:8000"),
            ("tcp://127.0.0.1:8000", "tcp:127.0.0.1:8000"),
            ("tcp:[::1]:8000", "tcp:[::1]:8000"),
            ("unix:app.sock", "unix:/run/app.sock"),
            ("exec:curl -fs http://localhost:8000/", "exec:curl -fs http://localhost:8000/"),
            ("notify", "notify"),
            ("fd:3", "fd:3"),
        ];
        for (text, shown) in table {
            let probe = read(text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
            assert_eq!(probe.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_probe_is_told_with_what_was_meant() {
        let table = [
            ("", "must be one of http://HOST:PORT/PATH"),
            ("8000", "did you mean tcp:localhost:8000?"),
            (":8000", "did you mean tcp:localhost:8000?"),
            ("localhost:8000", "did you mean tcp:localhost:8000?"),
            ("127.0.0.1:8000", "did you mean tcp:127.0.0.1:8000?"),
            ("/run/a.sock", "did you mean unix:/run/a.sock?"),
            ("https://localhost:8443/", "only http:// is spoken here; use exec:"),
            ("http:localhost", "expected a URL"),
            ("http://:8000/", "'' is no host"),
            ("http://a@b/", "a user name in a URL is not supported"),
            ("http://localhost:99999/", "'99999' is no port"),
            ("http://localhost:0/", "'0' is no port"),
            ("http://localhost/a b", "must be escaped"),
            ("http://localhost/\r\nX: y", "must be escaped"),
            ("http://local host/", "is no host"),
            ("tcp:localhost", "expected a port"),
            ("tcp:", "is no host"),
            ("unix:", "expected a path"),
            ("exec:", "expected a command"),
            ("exec: ", "expected a command"),
            ("fd:", "from 3 up"),
            ("fd:2", "from 3 up"),
            ("after:2s", "a time proves nothing"),
            ("notfy", "must be one of"),
        ];
        for (text, expected) in table {
            let mistake = read(text).expect_err(text);
            assert!(mistake.contains(expected), "{text}: {mistake}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_text_at_all_makes_the_parser_panic_and_what_is_shown_can_be_read_again(
            scheme in "(http://|tcp:|unix:|exec:|fd:|)", rest in "(\\[::1\\]|a|localhost|1.2.3.4)?(:[0-9]{1,5})?\\PC{0,8}"
        ) {
            if let Ok(probe) = read(&format!("{scheme}{rest}")) {
                prop_assert_eq!(read(&probe.to_string()), Ok(probe));
            }
        }
    }
}
