//! Settings that cannot be used together. Pure: each check gives back its sentence.

use crate::address::{Address, overlap};
use crate::config::{Compare, Config, OnChange};
use crate::os::handed_over::FIRST;
use crate::probe::Probe;

/// One sentence for each combination that makes no sense.
pub fn mistakes(config: &Config) -> Vec<String> {
    [
        ready_on_a_held_socket(config),
        ready_on_a_held_descriptor(config),
        overlap_without_proof(config),
        overlap_with_a_pid_file(config),
        same_address_twice(config),
        smoke_without_a_probe(config),
        reload_that_is_no_restart(config),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A connection to a socket that reloadrun holds succeeds whether the command accepts it or not.
fn ready_on_a_held_socket(config: &Config) -> Option<String> {
    let is_held = |address: &Address| config.listen.iter().any(|listen| overlap(&listen.address, address));
    let probe = config.ready.as_ref()?;
    let held = match probe {
        Probe::Tcp { host, port } => host.addresses().iter().any(|ip| is_held(&Address::Tcp((*ip, *port).into()))),
        Probe::Unix(path) => is_held(&Address::Unix(path.clone())),
        _ => false,
    };
    held.then(|| format!("--ready {probe}: reloadrun holds this socket itself (--listen), so it takes connections before the command is ready; use http://, exec:, notify or fd:"))
}

fn ready_on_a_held_descriptor(config: &Config) -> Option<String> {
    let Some(Probe::Descriptor(number)) = config.ready else { return None };
    let taken = (FIRST..).take(config.listen.len()).any(|taken| taken == number);
    taken.then(|| format!("--ready fd:{number}: a socket of --listen has this descriptor; use a higher one"))
}

/// Without a probe nobody knows when the check may begin.
fn smoke_without_a_probe(config: &Config) -> Option<String> {
    (config.smoke.is_some() && config.ready.is_none()).then(|| {
        "--smoke needs --ready PROBE, as in --ready http://localhost:8000/: the check begins when the server is ready"
            .to_owned()
    })
}

/// What is touched must lead to another generation.
fn reload_that_is_no_restart(config: &Config) -> Option<String> {
    if config.smoke.as_ref().is_none_or(|smoke| smoke.prove_reload.is_empty()) {
        return None;
    }
    if config.on_change != OnChange::Restart {
        return Some(format!(
            "--prove-reload demands another generation, and with --on-change {} a change leads to none; leave one of them out",
            config.on_change
        ));
    }
    (config.compare == Compare::Content).then(|| {
        "--prove-reload touches the file, and with --compare content that is no change; leave one of them out"
            .to_owned()
    })
}

/// Two generations would write the same file.
fn overlap_with_a_pid_file(config: &Config) -> Option<String> {
    (config.overlap && config.pidfile.is_some()).then(|| {
        "--overlap with --pidfile: both generations would write their pid into the same file; leave one of them out"
            .to_owned()
    })
}

/// Two sockets cannot listen at the same address. Port 0 is another one each time.
fn same_address_twice(config: &Config) -> Option<String> {
    let own = [("http", config.http), ("browser", config.browser)];
    let own = own.iter().filter_map(|(option, address)| Some((*option, Address::Tcp((*address)?))));
    let held = config.listen.iter().map(|listen| ("listen", listen.address.clone()));
    let all: Vec<(&str, Address)> = own.chain(held).collect();
    let is_free = |address: &Address| matches!(address, Address::Tcp(address) if address.port() == 0);
    let pairs = all.iter().enumerate().flat_map(|(at, one)| all[at + 1..].iter().map(move |other| (one, other)));
    // Two of --listen are told where they are bound.
    let mut twice =
        pairs.filter(|((option, one), (_, other))| *option != "listen" && !is_free(one) && overlap(one, other));
    let ((option, one), (other_option, _)) = twice.next()?;
    Some(format!("--{option} and --{other_option} would both listen at {one}; give one of them another port"))
}

/// What `--overlap` needs, and what makes no sense with it.
fn overlap_without_proof(config: &Config) -> Option<String> {
    if !config.overlap {
        return None;
    }
    if config.on_change != OnChange::Restart {
        return Some(format!(
            "--overlap replaces one generation by the next, and with --on-change {} there is no next one; leave one of them out",
            config.on_change
        ));
    }
    match &config.ready {
        None => Some(
            "--overlap needs --ready notify, exec:COMMAND or fd:N: the old generation stays until the new one is ready"
                .to_owned(),
        ),
        Some(probe @ (Probe::Http { .. } | Probe::Tcp { .. } | Probe::Unix(_))) => Some(format!(
            "--overlap with --ready {probe}: both generations answer at this address, and a connection cannot tell the two apart; use notify, exec:COMMAND or fd:N"
        )),
        Some(Probe::Exec(_) | Probe::Notify | Probe::Descriptor(_)) => None,
    }
}
