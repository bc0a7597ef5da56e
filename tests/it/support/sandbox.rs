//! A fresh directory for one test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::session::Session;

/// The prefix of every directory of these tests, by which the check at the end of the suite finds leftovers.
pub const PREFIX: &str = "reloadrun-test-";

/// The environment variable by which all processes of these tests can be found, also distant descendants.
pub const MARK: &str = "RELOADRUN_TEST";

/// A temporary directory, removed at the end, with a runtime directory beside it for lockfiles.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
    root: PathBuf,
}

impl Sandbox {
    /// Creates an empty sandbox.
    pub fn new() -> Sandbox {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary directory");
        let top = fs::canonicalize(directory.path()).expect("it was just made");
        for name in ["root", "runtime"] {
            fs::create_dir(top.join(name)).expect("a fresh directory takes another");
        }
        Sandbox { directory, root: top.join("root") }
    }

    /// The directory with the files of the test, in which reloadrun is started.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory beside the root that is not watched.
    pub fn beside(&self) -> &Path {
        self.root.parent().expect("the root is inside of the temporary directory")
    }

    /// `$XDG_RUNTIME_DIR` of the processes of this test.
    pub fn runtime(&self) -> PathBuf {
        self.beside().join("runtime")
    }

    /// What lies in the runtime directory, besides the directory of the control sockets.
    pub fn private_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.runtime()).expect("it exists").flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = entries.filter(|path| !path.ends_with("reloadrun")).collect();
        files.sort();
        files
    }

    /// A path below the root.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file below the root, in place, and creates its directories.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("its directory can be made");
        fs::write(&path, content).expect("the file can be written");
        path
    }

    /// Writes an executable shell script below the root.
    pub fn script(&self, name: impl AsRef<Path>, body: &str) -> PathBuf {
        let path = self.write(name, format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the test owns it");
        path
    }

    /// Reads a file below the root.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    /// A command that runs reloadrun in the root with a clean environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reloadrun"));
        command.args(arguments);
        self.furnish(&mut command);
        command
    }

    /// Sets the directory and the environment of any command.
    pub fn furnish(&self, command: &mut Command) {
        command.current_dir(&self.root).env("XDG_RUNTIME_DIR", self.runtime()).env(MARK, "1");
        let of_a_caller =
            ["RELOADRUN_LOCKFILE", "RELOADRUN_GENERATION", "RELOADRUN_CHANGED", "RELOADRUN_CONTROL", "RELOADRUN_LOG"];
        let of_a_service_manager = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
        let all = ["CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "NO_COLOR"].into_iter();
        for name in all.chain(of_a_caller).chain(of_a_service_manager) {
            command.env_remove(name);
        }
    }

    /// Starts reloadrun with these arguments and an event stream.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Session {
        self.start_with(arguments, |_| {})
    }

    /// The same, after a change to the command.
    pub fn start_with<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        touch: impl FnOnce(&mut Command),
    ) -> Session {
        let mut command = self.command([OsStr::new("--events"), self.events().as_os_str()]);
        command.args(arguments);
        touch(&mut command);
        Session::start(command, self)
    }

    /// The path of the event stream of a session; one session at a time.
    pub fn events(&self) -> PathBuf {
        self.beside().join("events.jsonl")
    }

    /// A listing of the root and of what is beside it, for error messages.
    pub fn listing(&self) -> String {
        let output = Command::new("ls").arg("-laR").arg(self.directory.path()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}
