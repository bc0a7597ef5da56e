//! Who starts the command: reloadrun, the floor, and other programs that restart commands.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::stamps::{StampProgram, Stamps};
use super::tree::Tree;
use super::{Result, tell, temporary};

/// Whatever has not happened by then on a loaded machine never will.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The name of the contender that has goals.
pub const OURS: &str = "reloadrun";

/// What starts the command.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    pub name: String,
    kind: Kind,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// The command is executed by this benchmark itself.
    Direct,
    /// `tests/probe/floor.rs`: raw inotify, armed first, and posix_spawn(3).
    Floor,
    Reloadrun,
    Watchexec,
    WatchexecTuned,
    Entr,
    Nodemon,
    Watchfiles,
    Watchmedo,
}

/// What is asked for beside restarting the command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    Plain,
    /// reloadrun writes its events.
    Tells,
    /// The tool ends when its command does, if it has an option for that.
    EndsWithCommand,
}

struct Peer {
    name: &'static str,
    kind: Kind,
    program: &'static str,
    how_to_get: &'static str,
}

impl Peer {
    const fn new(name: &'static str, kind: Kind, program: &'static str, how_to_get: &'static str) -> Peer {
        Peer { name, kind, program, how_to_get }
    }
}

const PEERS: [Peer; 6] = [
    Peer::new("watchexec", Kind::Watchexec, "watchexec", "cargo install watchexec-cli"),
    Peer::new("watchexec, tuned", Kind::WatchexecTuned, "watchexec", "cargo install watchexec-cli"),
    Peer::new("entr", Kind::Entr, "entr", "apt install entr"),
    Peer::new("nodemon", Kind::Nodemon, "nodemon", "npm install --global nodemon"),
    Peer::new("watchfiles", Kind::Watchfiles, "watchfiles", "pip install watchfiles"),
    Peer::new("watchmedo", Kind::Watchmedo, "watchmedo", "pip install 'watchdog[watchmedo]'"),
];

/// The first program of this name in PATH.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file())
}

impl Contender {
    fn new(name: &str, kind: Kind, path: impl Into<PathBuf>) -> Contender {
        Contender { name: name.to_owned(), kind, path: path.into() }
    }

    pub fn direct() -> Contender {
        Contender::new("direct exec", Kind::Direct, "")
    }

    pub fn floor() -> Contender {
        Contender::new("floor", Kind::Floor, env!("CARGO_BIN_EXE_probe"))
    }

    pub fn reloadrun() -> Contender {
        Contender::new(OURS, Kind::Reloadrun, env!("CARGO_BIN_EXE_reloadrun"))
    }

    /// Another build of reloadrun.
    pub fn other_build(path: &Path) -> Contender {
        Contender::new("the other build", Kind::Reloadrun, path)
    }

    /// Those of the peers that are installed.
    pub fn peers(names: &[&str]) -> Vec<Contender> {
        let wanted = PEERS.iter().filter(|peer| names.contains(&peer.name));
        wanted.filter_map(|peer| Some(Contender::new(peer.name, peer.kind, found(peer.program)?))).collect()
    }

    /// For those that are not: how to get them.
    pub fn how_to_get_peers(names: &[&str]) -> Vec<String> {
        let absent = PEERS.iter().filter(|peer| names.contains(&peer.name) && found(peer.program).is_none());
        absent
            .map(|peer| format!("{} is not in PATH; to have it in the table: {}", peer.name, peer.how_to_get))
            .collect()
    }

    /// The file that is started.
    pub fn program(&self) -> &str {
        if self.kind == Kind::Reloadrun {
            return OURS;
        }
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// What it says of its version, the first word with a digit and a point in it.
    pub fn version(&self) -> String {
        let argument = if self.kind == Kind::Entr { "-h" } else { "--version" };
        let output = Command::new(&self.path).arg(argument).stdin(Stdio::null()).output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let is_version = |word: &&str| word.contains('.') && word.contains(|letter: char| letter.is_ascii_digit());
        said.split_whitespace().find(is_version).unwrap_or("of unknown version").trim_start_matches('v').to_owned()
    }

    /// Whether it is one of other people's programs, which may lose a save.
    pub fn is_peer(&self) -> bool {
        !matches!(self.kind, Kind::Direct | Kind::Floor | Kind::Reloadrun)
    }

    /// Runs the command, which stamps, and restarts it when something in the tree changes. With `tells`, reloadrun writes
    /// its events, for [`Running::wait_armed`].
    pub fn start(&self, tree: &Tree, stamp: &StampProgram, stamps: &Stamps, tells: bool) -> Result<Running> {
        let words = [stamp.path.as_os_str(), stamps.path.as_os_str(), tree.file.as_os_str()];
        self.start_command(tree, &words, if tells { How::Tells } else { How::Plain })
    }

    /// The same with any command. Its words have no spaces, for those who take a line.
    pub fn start_command(&self, tree: &Tree, words: &[&OsStr], how: How) -> Result<Running> {
        let home = temporary()?;
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(if self.kind == Kind::Direct { Path::new(words[0]) } else { &self.path });
        let mut names = None;
        match self.kind {
            Kind::Direct => drop(command.args(&words[1..])),
            Kind::Floor => drop(command.arg("floor").arg(&tree.root).arg("--").args(words)),
            Kind::Reloadrun => {
                match how {
                    How::Plain => {}
                    How::Tells => drop(command.arg("--events").arg(home.path().join("events"))),
                    How::EndsWithCommand => drop(command.args(["--on-exit", "exit"])),
                }
                command.arg("--").args(words);
            }
            Kind::Watchexec => drop(command.args(["--restart", "--"]).args(words)),
            Kind::WatchexecTuned => {
                command.args(["--debounce", "1ms", "--shell=none", "--restart", "--"]).args(words);
            }
            Kind::Entr => {
                command.args(["-n", if how == How::EndsWithCommand { "-rz" } else { "-r" }]).args(words);
                names = Some(tree.files()?);
            }
            Kind::Nodemon => {
                command.args(["--quiet", "--watch", ".", "--ext", "txt", "--exec", &line]);
                if how == How::EndsWithCommand {
                    command.arg("--exitcrash");
                }
            }
            Kind::Watchfiles => drop(command.args(["--filter", "all", &line, "."])),
            Kind::Watchmedo => {
                command.args(["auto-restart", "--directory", ".", "--recursive", "--pattern", "*", "--"]).args(words);
            }
        }
        command.current_dir(&tree.root);
        // Nothing of the caller's: CI would change what follows the end of the command.
        let path = std::env::var_os("PATH").filter(|_| self.is_peer()).unwrap_or("/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("XDG_RUNTIME_DIR", home.path()).env("HOME", home.path());
        // For `probe tree`, whose processes may outlive a peer's restart.
        command.env("BESIDE", "1");
        command.stdin(if names.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = tell("start", &self.path, command.spawn())?;
        if let (Some(names), Some(mut pipe)) = (names, child.stdin.take()) {
            let names: String = names.iter().map(|name| format!("{}\n", name.display())).collect();
            tell("tell", &self.path, pipe.write_all(names.as_bytes()))?;
        }
        Ok(Running { child, home, events: None, tells: how == How::Tells && self.kind == Kind::Reloadrun })
    }
}

/// A running program, ended and waited for when dropped.
pub struct Running {
    child: Child,
    /// For its lockfile and its events.
    home: TempDir,
    events: Option<BufReader<fs::File>>,
    /// Whether it writes events.
    tells: bool,
}

impl Running {
    /// Waits until a generation that began after this moment watches everything, and gives the nanoseconds since its
    /// command started. `None` for those who do not tell.
    pub fn wait_armed(&mut self, after: i64) -> Result<Option<i64>> {
        if !self.tells {
            return Ok(None);
        }
        let (late, mut started) = (Instant::now() + DEADLINE, 0);
        let mut line = String::new();
        while Instant::now() < late {
            if self.events.is_none() {
                // The file appears with the first event.
                self.events = fs::File::open(self.home.path().join("events")).ok().map(BufReader::new);
            }
            let read = self.events.as_mut().and_then(|events| events.read_line(&mut line).ok()).unwrap_or(0);
            if read == 0 || !line.ends_with('\n') {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let event: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            line.clear();
            let at = event["monotonic_ns"].as_i64().unwrap_or_default();
            match event["event"].as_str() {
                Some("started") => started = at,
                Some("watching") if started > after => return Ok(Some(at - started)),
                _ => {}
            }
        }
        Err(format!("reloadrun has not watched everything within {DEADLINE:?}"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).map_err(|errno| format!("cannot signal a program: {errno}"))
    }

    /// Waits for its end, for so long at most.
    pub fn end(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let late = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait().map_err(|error| format!("cannot wait for a program: {error}"))?;
            if ended.is_some() || Instant::now() > late {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// It and all that descends from it, without the command.
    pub fn processes(&self, stamp: &StampProgram) -> Vec<i32> {
        let mut all = vec![self.pid()];
        let mut index = 0;
        while let Some(pid) = all.get(index).copied() {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                all.extend(children.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
            }
            index += 1;
        }
        all.retain(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != stamp.path));
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.signal(Signal::SIGTERM);
            let _ = self.end(DEADLINE);
        }
        self.kill();
    }
}
