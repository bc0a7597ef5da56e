//! Private namespaces: mounts and limits for one process and its children, which end with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::sandbox::Sandbox;
use super::session::Session;
use crate::ends::wrapped;

/// A shell that prepares something in its own namespaces, and then executes the given command.
pub struct Namespace(Vec<String>);

impl Namespace {
    /// A mount namespace, and for users other than root also a user namespace.
    pub fn of_mounts(prepare: &str) -> Namespace {
        let mut words = vec!["unshare"];
        if !is_root() {
            words.extend(["--user", "--map-root-user"]);
        }
        words.extend(["--mount", "--propagation", "private"]);
        Namespace::new(&words, prepare)
    }

    /// A user namespace with its own limits.
    pub fn of_users(prepare: &str) -> Namespace {
        Namespace::new(&["unshare", "--user", "--map-root-user"], prepare)
    }

    /// No namespace, but the rights of an ordinary user: root without capabilities cannot read files without read
    /// permission.
    pub fn of_no_privileges(prepare: &str) -> Namespace {
        if is_root() {
            Namespace::new(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"], prepare)
        } else {
            Namespace::new(&["env"], prepare)
        }
    }

    /// Any other program that starts a command.
    pub fn new(wrapper: &[&str], prepare: &str) -> Namespace {
        let shell = format!("{{ {prepare}; }} </dev/null && exec \"$@\"");
        Namespace(wrapper.iter().copied().chain(["sh", "-c", &shell, "sh"]).map(str::to_owned).collect())
    }

    /// Starts reloadrun in it, with an event stream. The error is the message of this machine if it is not possible.
    pub fn start(&self, sandbox: &Sandbox, arguments: &[&str]) -> Result<Session, String> {
        let wrapper: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let tried = wrapped(&wrapper, &sandbox.command(["--version"]), sandbox).output();
        let tried = tried.map_err(|error| format!("{}: {error}", wrapper[0]))?;
        if !tried.status.success() {
            return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
        }
        let events = sandbox.events();
        let events = events.to_str().expect("a plain path");
        let inner: Command = sandbox.command(["--events", events].iter().chain(arguments));
        Ok(Session::start(wrapped(&wrapper, &inner, sandbox), sandbox))
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
