//! Who starts the command: reloadrun, the floor, and other programs that restart commands.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::stamps::{StampProgram, Stamps};
use crate::table::OURS;
use crate::tree::Tree;
use crate::{Result, tell, temporary};

/// Whatever has not happened by then on a loaded machine never will.
pub const DEADLINE: Duration = Duration::from_secs(30);

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
    Entr,
    Nodemon,
    Watchfiles,
}

const PEERS: [(&str, Kind, &str); 4] = [
    ("watchexec", Kind::Watchexec, "cargo install watchexec-cli"),
    ("entr", Kind::Entr, "apt install entr"),
    ("nodemon", Kind::Nodemon, "npm install --global nodemon"),
    ("watchfiles", Kind::Watchfiles, "pip install watchfiles"),
];

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
    pub fn peers() -> Vec<Contender> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = |name: &str| std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file());
        PEERS.iter().filter_map(|(name, kind, _)| Some(Contender::new(name, *kind, found(name)?))).collect()
    }

    /// For those that are not: how to get them.
    pub fn how_to_get_peers() -> Vec<String> {
        let there = Contender::peers();
        let absent = PEERS.iter().filter(|(name, ..)| there.iter().all(|peer| peer.name != *name));
        absent.map(|(name, _, how)| format!("{name} is not in PATH; to have it in the table: {how}")).collect()
    }

    /// Whether it is one of other people's programs, which may lose a save.
    pub fn is_peer(&self) -> bool {
        !matches!(self.kind, Kind::Direct | Kind::Floor | Kind::Reloadrun)
    }

    /// Runs the command, which stamps, and restarts it when something in the tree changes. With `tells`, reloadrun writes
    /// its events, for [`Running::wait_armed`].
    pub fn start(&self, tree: &Tree, stamp: &StampProgram, stamps: &Stamps, tells: bool) -> Result<Running> {
        let home = temporary()?;
        let words = [stamp.path.as_os_str(), stamps.path.as_os_str(), tree.file.as_os_str()];
        let line = words.map(|word| word.to_string_lossy()).join(" ");
        let mut command = Command::new(if self.kind == Kind::Direct { &stamp.path } else { &self.path });
        let mut names = None;
        match self.kind {
            Kind::Direct => drop(command.args(&words[1..])),
            Kind::Floor => drop(command.arg("floor").arg(&tree.root).arg("--").args(words)),
            Kind::Reloadrun => {
                if tells {
                    command.arg("--events").arg(home.path().join("events"));
                }
                command.arg("--").args(words);
            }
            Kind::Watchexec => drop(command.args(["--quiet", "--restart", "--shell=none", "--"]).args(words)),
            Kind::Entr => {
                command.args(["-n", "-r"]).args(words);
                names = Some(tree.files()?);
            }
            Kind::Nodemon => drop(command.args(["--quiet", "--watch", ".", "--ext", "txt", "--exec", &line])),
            Kind::Watchfiles => drop(command.args(["--filter", "all", &line, "."])),
        }
        command.current_dir(&tree.root);
        // Nothing of the caller's: CI would change what follows the end of the command.
        let path = std::env::var_os("PATH").filter(|_| self.is_peer()).unwrap_or("/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("XDG_RUNTIME_DIR", home.path()).env("HOME", home.path());
        command.stdin(if names.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = tell("start", &self.path, command.spawn())?;
        if let (Some(names), Some(mut pipe)) = (names, child.stdin.take()) {
            let names: String = names.iter().map(|name| format!("{}\n", name.display())).collect();
            tell("tell", &self.path, pipe.write_all(names.as_bytes()))?;
        }
        Ok(Running { child, home, events: None, tells: tells && self.kind == Kind::Reloadrun })
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
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
