//! Which pages may listen. Pure.
//!
//! Any page in the browser can open a WebSocket to this machine, and only the header `Origin` tells whose it is. So a page must come from this machine, or from the
//! host that it connects to, and that host must not be a name that somebody else can give to this machine (DNS rebinding).

use std::net::IpAddr;

use crate::outlet::http::{host_name, is_reserved};

/// Whether a page with this `Origin` may listen at a socket that it reached by this `Host`. `own_name` is the name of this machine.
pub fn admits(origin: Option<&str>, host: Option<&str>, own_name: &str) -> bool {
    let (Some(origin), Some(host)) = (origin, host) else { return false };
    let host = host_name(host).to_ascii_lowercase();
    if !is_ours(&host, own_name) {
        return false;
    }
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    match scheme {
        "http" | "https" => {
            let from = host_name(rest).to_ascii_lowercase();
            is_local(&from) || from == host
        }
        // The user has installed it; the pages that it is in are another matter.
        "chrome-extension" | "moz-extension" | "safari-web-extension" => true,
        _ => false,
    }
}

/// Whether a `Host` names this machine and nobody else can make it do so.
pub fn is_ours(host: &str, own_name: &str) -> bool {
    let own = own_name.to_ascii_lowercase();
    let is_own = |name: &str| !own.is_empty() && (name == own || name.strip_suffix(".local") == Some(own.as_str()));
    let name = host.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || is_reserved(&name) || is_own(&name)
}

fn is_local(name: &str) -> bool {
    is_reserved(name) || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::admits;

    #[test]
    fn only_pages_of_this_machine_or_of_the_host_that_they_connect_to_may_listen() {
        for (origin, host, expected) in [
            ("http://localhost:8000", "localhost:35729", true),
            ("http://127.0.0.1:8000", "localhost:35729", true),
            ("http://localhost:8000", "127.0.0.1:35729", true),
            ("https://app.localhost", "127.0.0.1:35729", true),
            ("http://[::1]:8000", "localhost:35729", true),
            ("http://shop.test:8000", "localhost:35729", true),
            ("http://192.168.1.5:8000", "192.168.1.5:35729", true),
            ("http://box:8000", "box:35729", true),
            ("http://box.local:8000", "BOX.local:35729", true),
            ("chrome-extension://abcdef", "127.0.0.1:35729", true),
            // Somebody else's page.
            ("https://evil.example", "localhost:35729", false),
            ("http://localhost.evil.example", "localhost:35729", false),
            ("http://evil-localhost", "localhost:35729", false),
            ("http://203.0.113.9", "127.0.0.1:35729", false),
            ("http://203.0.113.9", "localhost:35729", false),
            // Somebody else's name for this machine.
            ("http://evil.example:35729", "evil.example:35729", false),
            ("http://localhost:8000", "evil.example:35729", false),
            ("http://other.local:8000", "other.local:35729", false),
            // A sandboxed frame of anybody's, and what is no origin.
            ("null", "localhost:35729", false),
            ("", "localhost:35729", false),
            ("file://", "localhost:35729", false),
            ("localhost", "localhost:35729", false),
            ("http://", "localhost:35729", false),
        ] {
            assert_eq!(admits(Some(origin), Some(host), "box"), expected, "{origin} to {host}");
        }
        assert!(!admits(None, Some("localhost"), "box") && !admits(Some("http://localhost"), None, "box"));
        assert!(!admits(Some("http://"), Some(":35729"), ""), "a machine without a name has none that is empty");
    }
}
