//! Socket addresses as the user writes them: `tcp:127.0.0.1:8000`, `tcp:[::1]:8000`, `unix:run/app.sock`. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The kernel takes so many bytes for the path of a unix socket (unix(7): 108 with the NUL byte).
const LONGEST_PATH: usize = 107;

/// The longest name of a descriptor (systemd.socket(5), FileDescriptorName=).
const LONGEST_NAME: usize = 255;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

/// As it is written, and so as it can be written again.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that reloadrun holds for the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where it listens.
    pub address: Address,
    /// Its name in `LISTEN_FDNAMES`.
    pub name: Option<String>,
}

impl Listen {
    /// Reads `ADDRESS[,name=NAME]`. A relative path of a unix socket begins where `absolute` says.
    ///
    /// # Errors
    /// What is wrong and what was expected, to follow the text itself.
    pub fn read(text: &str, absolute: &dyn Fn(&str) -> PathBuf) -> Result<Listen, String> {
        let mut pieces = text.split(',');
        let address = pieces.next().unwrap_or_default();
        let address = match address.split_once(':') {
            Some(("tcp", rest)) => Address::Tcp(tcp(rest)?),
            Some(("unix", path)) => Address::Unix(unix(path, absolute)?),
            _ => return Err(format!("{EXPECTED}{}", meant(address))),
        };
        let mut name = None;
        for option in pieces {
            match option.split_once('=') {
                Some(("name", given)) if name.is_none() => name = Some(valid_name(given)?),
                Some(("name", _)) => return Err("it has two names".to_owned()),
                _ => return Err(format!("'{option}' is no option of a socket; there is only name=NAME")),
            }
        }
        Ok(Listen { address, name })
    }
}

const EXPECTED: &str = "expected an address like tcp:127.0.0.1:8000, tcp:[::1]:8000 or unix:app.sock";

fn tcp(rest: &str) -> Result<SocketAddr, String> {
    rest.parse().map_err(|_| match rest.split_once(':') {
        Some(("localhost", port)) => format!(
            "localhost may be two addresses, and each is a socket of its own; write tcp:127.0.0.1:{port}, or tcp:[::1]:{port}, or both"
        ),
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => format!(
            "the address is missing; write tcp:127.0.0.1:{port} for this machine alone, or tcp:0.0.0.0:{port} for all"
        ),
        _ => format!("{EXPECTED}{}", meant(rest)),
    })
}

/// Reads where reloadrun itself answers: `127.0.0.1:9000`, `[::1]:9000`, `localhost:9000`, a port alone (on the loopback
/// interface), or, with a port to fall back on, an IP address alone.
///
/// # Errors
/// What is wrong and what was expected, to follow the text itself.
pub fn of_outlet(text: &str, port: Option<u16>) -> Result<SocketAddr, String> {
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let bare = text.strip_prefix("tcp:").unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Ok(address);
    }
    if let Ok(port) = bare.parse() {
        return Ok(loopback(port));
    }
    if let (Some(port), Ok(ip)) = (port, bare.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>()) {
        return Ok(SocketAddr::new(ip, port));
    }
    let shown = port.unwrap_or(9000);
    match bare.split_once(':') {
        None if bare == "localhost" && port.is_some() => Ok(loopback(shown)),
        Some(("localhost", digits)) if digits.parse::<u16>().is_ok() => Ok(loopback(digits.parse().unwrap_or(shown))),
        Some(("" | "*", digits)) if digits.parse::<u16>().is_ok() => Err(format!(
            "the address is missing; write 127.0.0.1:{digits} for this machine alone, or 0.0.0.0:{digits} for all"
        )),
        Some(("unix", _)) => {
            Err("a unix socket cannot be used here; expected an address like 127.0.0.1:9000".to_owned())
        }
        _ => Err(format!("expected an IP address and a port, like 127.0.0.1:{shown}")),
    }
}

/// A guess at what was meant by an address without `tcp:` or without an IP address.
fn meant(text: &str) -> String {
    let text = text.trim_start_matches("//");
    let guess = if text.parse::<u16>().is_ok() {
        Some(format!("tcp:127.0.0.1:{text}"))
    } else if text.parse::<SocketAddr>().is_ok() {
        Some(format!("tcp:{text}"))
    } else if let Some(port) = text.strip_prefix("localhost:").or(text.strip_prefix(':')) {
        port.parse::<u16>().ok().map(|port| format!("tcp:127.0.0.1:{port}"))
    } else {
        text.starts_with('/').then(|| format!("unix:{text}"))
    };
    guess.map(|guess| format!("; did you mean {guess}?")).unwrap_or_default()
}

/// Reads the path of a unix socket.
///
/// # Errors
/// What is wrong with it.
pub fn unix(path: &str, absolute: &dyn Fn(&str) -> PathBuf) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err("expected a path after unix:, like unix:app.sock".to_owned());
    }
    if path.starts_with('@') {
        return Err(format!(
            "abstract sockets are not supported; a file of that name would be unix:./{path}, and most servers take a path"
        ));
    }
    if path.contains('\0') {
        return Err("the path has a NUL byte, which no path can hold".to_owned());
    }
    let whole = absolute(path);
    let length = whole.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(format!(
            "the path of a unix socket has at most {LONGEST_PATH} bytes, and {} has {length}",
            whole.display()
        ));
    }
    Ok(whole)
}

/// systemd.socket(5): no control characters, no colon (it separates the names), ASCII.
fn valid_name(name: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    match name {
        "" => Err("expected a name after name=".to_owned()),
        name if name.len() > LONGEST_NAME => Err(format!("a name has at most {LONGEST_NAME} characters")),
        name if !name.bytes().all(fits) => {
            Err("a name consists of ASCII characters without blanks and colons".to_owned())
        }
        name => Ok(name.to_owned()),
    }
}

/// Whether a server that listens at `one` answers what is sent to `other`, going by the words alone.
pub fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => one.port() == other.port() && ips_overlap(one.ip(), other.ip()),
        (Address::Unix(one), Address::Unix(other)) => one == other,
        _ => false,
    }
}

/// Two addresses of different families overlap where `[::]` takes IPv4 too.
fn ips_overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let takes = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    one == other || takes(one, other) || takes(other, one)
}

/// The first two of these that are the same.
pub fn duplicate(listens: &[Listen]) -> Option<&Address> {
    let same = |one: &Address, other: &Address| match (one, other) {
        // Port 0 is another port each time.
        (Address::Tcp(one), Address::Tcp(other)) => one == other && one.port() != 0,
        _ => one == other,
    };
    let repeated = |(index, listen): &(usize, &Listen)| {
        listens[..*index].iter().any(|before| same(&before.address, &listen.address))
    };
    listens.iter().enumerate().find(repeated).map(|(_, listen)| &listen.address)
}

#[cfg(test)]
mod tests {
    use super::{Address, Listen, duplicate, overlap};
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use std::net::{IpAddr, SocketAddr};
    use std::path::Path;

    fn read(text: &str) -> Result<Listen, String> {
        Listen::read(text, &|path| Path::new("/run").join(path))
    }

    #[test]
    fn every_form_of_an_address_is_read() {
        let table = [
            ("tcp:127.0.0.1:8000", "tcp:127.0.0.1:8000", None),
            ("tcp:0.0.0.0:0", "tcp:0.0.0.0:0", None),
            ("tcp:[::1]:8000", "tcp:[::1]:8000", None),
            ("tcp:[::]:8000,name=web", "tcp:[::]:8000", Some("web")),
            ("unix:app.sock", "unix:/run/app.sock", None),
            ("unix:/tmp/app.sock,name=a.b-c", "unix:/tmp/app.sock", Some("a.b-c")),
        ];
        for (text, address, name) in table {
            let listen = read(text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
            assert_eq!((listen.address.to_string().as_str(), listen.name.as_deref()), (address, name), "{text}");
        }
    }

    #[test]
    fn an_outlet_is_on_the_loopback_interface_unless_an_address_says_otherwise() {
        for (text, port, expected) in [
            ("9000", None, Ok("127.0.0.1:9000")),
            ("localhost:9000", None, Ok("127.0.0.1:9000")),
            ("0.0.0.0:9000", None, Ok("0.0.0.0:9000")),
            ("[::1]:9000", None, Ok("[::1]:9000")),
            ("tcp:127.0.0.1:0", None, Ok("127.0.0.1:0")),
            ("0.0.0.0", Some(7), Ok("0.0.0.0:7")),
            ("::1", Some(7), Ok("[::1]:7")),
            ("[::]", Some(7), Ok("[::]:7")),
            ("localhost", Some(7), Ok("127.0.0.1:7")),
            (":9000", None, Err("127.0.0.1:9000 for this machine alone")),
            ("*:9000", Some(7), Err("0.0.0.0:9000 for all")),
            ("0.0.0.0", None, Err("expected an IP address and a port")),
            ("localhost", None, Err("expected an IP address and a port")),
            ("localhost:x", None, Err("expected an IP address and a port")),
            ("localhost:99999", None, Err("expected an IP address and a port")),
            ("99999", None, Err("expected an IP address and a port")),
            ("http://127.0.0.1:9000", None, Err("expected an IP address and a port")),
            ("example.com:80", None, Err("expected an IP address and a port")),
            ("unix:a.sock", None, Err("a unix socket cannot be used here")),
            ("", Some(7), Err("expected an IP address and a port, like 127.0.0.1:7")),
        ] {
            match (super::of_outlet(text, port), expected) {
                (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected, "{text}"),
                (Err(mistake), Err(part)) => assert!(mistake.contains(part), "{text}: {mistake}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_what_was_meant() {
        let long = format!("unix:{}", "x".repeat(120));
        let table = [
            ("", "expected an address"),
            ("8000", "did you mean tcp:127.0.0.1:8000?"),
            (":8000", "did you mean tcp:127.0.0.1:8000?"),
            ("127.0.0.1:8000", "did you mean tcp:127.0.0.1:8000?"),
            ("[::1]:8000", "did you mean tcp:[::1]:8000?"),
            ("localhost:8000", "did you mean tcp:127.0.0.1:8000?"),
            ("tcp://127.0.0.1:8000", "did you mean tcp:127.0.0.1:8000?"),
            ("tcp:8000", "did you mean tcp:127.0.0.1:8000?"),
            ("tcp::8000", "write tcp:127.0.0.1:8000 for this machine alone"),
            ("tcp:*:8000", "or tcp:0.0.0.0:8000 for all"),
            ("tcp:localhost:8000", "write tcp:127.0.0.1:8000, or tcp:[::1]:8000, or both"),
            ("tcp:127.0.0.1:80000", "expected an address"),
            ("tcp:127.0.0.1", "expected an address"),
            ("tcp:::1:8000", "expected an address"),
            ("/run/app.sock", "did you mean unix:/run/app.sock?"),
            ("udp:127.0.0.1:53", "expected an address"),
            ("unix:", "expected a path after unix:"),
            ("unix:a\0b", "the path has a NUL byte"),
            ("unix:@app", "abstract sockets are not supported"),
            (&long, "at most 107 bytes"),
            ("unix:a.sock,mode=660", "'mode=660' is no option of a socket"),
            ("tcp:127.0.0.1:1,name=", "expected a name"),
            ("tcp:127.0.0.1:1,name=a:b", "without blanks and colons"),
            ("tcp:127.0.0.1:1,name=a b", "without blanks and colons"),
            ("tcp:127.0.0.1:1,name=a,name=b", "it has two names"),
        ];
        for (text, expected) in table {
            let mistake = read(text).expect_err(text);
            assert!(mistake.contains(expected), "{text}: {mistake}");
        }
    }

    #[test]
    fn addresses_that_take_each_others_connections_overlap() {
        let table = [
            ("tcp:127.0.0.1:80", "tcp:127.0.0.1:80", true),
            ("tcp:127.0.0.1:80", "tcp:127.0.0.1:81", false),
            ("tcp:127.0.0.1:80", "tcp:127.0.0.2:80", false),
            ("tcp:127.0.0.1:80", "tcp:0.0.0.0:80", true),
            ("tcp:127.0.0.1:80", "tcp:[::]:80", true),
            ("tcp:127.0.0.1:80", "tcp:[::ffff:127.0.0.1]:80", true),
            ("tcp:127.0.0.1:80", "tcp:[::1]:80", false),
            ("tcp:[::1]:80", "tcp:0.0.0.0:80", false),
            ("tcp:[::1]:80", "tcp:[::]:80", true),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "tcp:[::]:80", false),
        ];
        for (one, other, expected) in table {
            let address = |text: &str| read(text).unwrap().address;
            assert_eq!(overlap(&address(one), &address(other)), expected, "{one} and {other}");
            assert_eq!(overlap(&address(other), &address(one)), expected, "{other} and {one}");
        }
    }

    #[test]
    fn the_same_address_twice_is_a_duplicate_unless_the_kernel_chooses_the_port() {
        let listens = |texts: &[&str]| texts.iter().map(|text| read(text).unwrap()).collect::<Vec<_>>();
        assert_eq!(duplicate(&listens(&["tcp:127.0.0.1:80", "tcp:127.0.0.1:81", "unix:a"])), None);
        assert_eq!(duplicate(&listens(&["tcp:127.0.0.1:0", "tcp:127.0.0.1:0"])), None);
        let twice = listens(&["unix:a", "tcp:127.0.0.1:80", "unix:/run/a,name=x"]);
        assert_eq!(duplicate(&twice), Some(&Address::Unix("/run/a".into())));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_shown_of_an_address_can_be_read_again(ip in any::<IpAddr>(), port in any::<u16>()) {
            let address = Address::Tcp(SocketAddr::new(ip, port));
            prop_assert_eq!(read(&address.to_string()).unwrap().address, address);
        }

        #[test]
        fn no_text_at_all_makes_the_parser_panic(text in "\\PC*") {
            let _ = read(&text);
            let _ = read(&format!("tcp:{text}"));
            let _ = read(&format!("unix:{text}"));
        }
    }
}
