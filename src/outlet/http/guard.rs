//! Who may ask: a page of somebody else's must not reach a server on this machine through the browser. Pure.
//!
//! A name of the attacker's that leads to 127.0.0.1 (DNS rebinding) makes the browser treat the answers as the attacker's own. The
//! header `Host` names what the browser was given, so a socket on the loopback interface answers to names that nobody else can have.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HOST;
use hyper::{HeaderMap, Version};

/// The header `Host`: one, and from HTTP/1.1 on it must be there (RFC 9112, 3.2).
///
/// # Errors
/// A sentence for whoever sent it.
pub fn host_of(headers: &HeaderMap, version: Version) -> Result<Option<&str>, &'static str> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, _) if version >= Version::HTTP_11 => Err("the header Host is missing"),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err("there is more than one header Host"),
        (Some(host), None) => host.to_str().map(Some).map_err(|_| "the header Host is no text"),
    }
}

/// Whether a request with this `Host` header may be answered at a socket with this address. `None`: HTTP/1.0 has no such
/// header, and no browser speaks it.
pub fn admits_host(host: Option<&str>, socket: SocketAddr) -> bool {
    !socket.ip().is_loopback() || host.is_none_or(|host| is_local(host_name(host)))
}

/// The host of `localhost:8000`, `[::1]:8000`, `::1`, `name`; without a dot at the end.
pub fn host_name(host: &str) -> &str {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, _)) => ip,
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// An IP address is not looked up.
fn is_local(name: &str) -> bool {
    is_reserved(&name.to_ascii_lowercase()) || name.parse::<IpAddr>().is_ok()
}

/// Whether nobody can own this name (RFC 6761): `localhost` and what is below it, and what is below `test`.
pub fn is_reserved(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name.ends_with(".test")
}

#[cfg(test)]
mod tests {
    use super::admits_host;

    #[test]
    fn a_socket_on_the_loopback_interface_answers_to_no_name_that_somebody_else_can_have() {
        for (host, expected) in [
            (None, true),
            (Some("localhost"), true),
            (Some("LocalHost:9000"), true),
            (Some("localhost.:9000"), true),
            (Some("app.localhost:9000"), true),
            (Some("shop.test:9000"), true),
            (Some("test"), false),
            (Some("127.0.0.1:9000"), true),
            (Some("[::1]:9000"), true),
            (Some("[::1]"), true),
            (Some("evil.example"), false),
            (Some("evil.example:9000"), false),
            (Some("localhost.evil.example"), false),
            (Some("evil-localhost"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some("[evil.example]:9000"), false),
            (Some(""), false),
            (Some(":9000"), false),
        ] {
            for socket in ["127.0.0.1:9000", "[::1]:9000"] {
                assert_eq!(admits_host(host, socket.parse().unwrap()), expected, "{host:?} at {socket}");
            }
            assert!(admits_host(host, "0.0.0.0:9000".parse().unwrap()), "{host:?}");
        }
    }
}
