//! Names of this machine. glibc's resolver is not asked: a static program would load libraries of the system for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name of this host, as `hostname` prints it: in a container its own, in Kubernetes that of the pod.
pub fn own_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The addresses that `/etc/hosts` has for a name; those of `localhost` for a name below it.
pub fn addresses_of(name: &str) -> Vec<IpAddr> {
    let below_localhost = name.to_ascii_lowercase().ends_with(".localhost");
    match listed(&std::fs::read("/etc/hosts").unwrap_or_default(), name) {
        none if none.is_empty() && below_localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        found => found,
    }
}

fn listed(hosts: &[u8], name: &str) -> Vec<IpAddr> {
    let of_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|known| known.eq_ignore_ascii_case(name)).then_some(address)
    };
    String::from_utf8_lossy(hosts).lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::{addresses_of, listed};

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        let hosts =
            b"127.0.0.1\tlocalhost\n# 10.0.0.1 app\n10.0.0.2 web App # other\n::2 app\nwrong app\n10.0.0.3 app.test\n";
        let shown = |name| listed(hosts, name).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        for (name, addresses) in [
            ("app", "10.0.0.2 ::2"),
            ("APP", "10.0.0.2 ::2"),
            ("web", "10.0.0.2"),
            ("app.test", "10.0.0.3"),
            ("other", ""),
            ("test", ""),
        ] {
            assert_eq!(shown(name), addresses, "{name}");
        }
        assert_eq!(addresses_of("no-such-name.of-a-test.localhost").len(), 2);
        assert_eq!(addresses_of("no-such-name.of-a-test").len(), 0);
    }
}
