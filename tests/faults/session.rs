//! A running reloadrun, and facts about its processes from outside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

/// The environment variable by which supervisor, child and command of a round are found.
pub const MARK: &str = "RELOADRUN_FAULTS";

/// A running reloadrun.
#[derive(Debug)]
pub struct Session {
    supervisor: Child,
    events: PathBuf,
    stderr: PathBuf,
}

impl Session {
    /// Starts a command whose event stream is `events-NUMBER` in that directory; its messages go to `stderr-NUMBER`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command, top: &Path, number: usize) -> io::Result<Session> {
        let (events, stderr) = (top.join(format!("events-{number}")), top.join(format!("stderr-{number}")));
        let supervisor = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?).spawn()?;
        Ok(Session { supervisor, events, stderr })
    }

    /// The pid of the supervisor.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.supervisor.id()).expect("pids are small")
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }

    /// The pid of its present child.
    pub fn child(&self) -> Option<i32> {
        children(self.pid()).into_iter().rev().find(|pid| name(*pid) == "reload-child")
    }

    /// The pid of the child that has been there longest.
    pub fn oldest_child(&self) -> Option<i32> {
        children(self.pid()).into_iter().find(|pid| name(*pid) == "reload-child")
    }

    /// The first process of the command that runs.
    pub fn command(&self) -> Option<i32> {
        let theirs = children(self.child()?);
        let told = self.events().iter().rev().find(|event| event["event"] == "started")?["pid"].as_i64();
        let told = told.and_then(|pid| i32::try_from(pid).ok());
        theirs.iter().copied().find(|pid| Some(*pid) == told).or(theirs.first().copied())
    }

    /// The main process of the command that runs, as its pid file says.
    pub fn main_process(&self) -> Option<i32> {
        let events = self.events();
        let last =
            events.iter().rev().find(|event| matches!(event["event"].as_str(), Some("started" | "main_process")))?;
        let pid = last["pid"].as_i64().filter(|_| last["event"] == "main_process")?;
        i32::try_from(pid).ok().filter(|pid| !name(*pid).is_empty())
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Value> {
        lines(&self.events)
    }

    /// Its last lines of output.
    pub fn last_words(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.stderr).unwrap_or_default();
        let mut last: Vec<String> = text.lines().rev().take(6).map(str::to_owned).collect();
        last.reverse();
        last
    }
}

/// Reads complete lines of JSON.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .flat_map(|task| {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}

/// The name of a process, as `ps -o comm` shows it.
pub fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Every process that has our mark or our open file, independent of its parent, session and environment.
pub fn ours(mark: &Path, members: &Path) -> Vec<i32> {
    let entry = format!("{MARK}={}", mark.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let marked = environment.split(|&byte| byte == 0).any(|variable| variable == entry.as_bytes());
        marked || holds(*pid, members)
    })
    .collect()
}

fn holds(pid: i32, path: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path)
}

/// A description of a process for error messages.
pub fn shown(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().take(4).collect();
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: String = String::from_utf8_lossy(&words).replace('\0', " ").chars().take(80).collect();
    format!("{pid} ({}) state, parent, group, session {rest:?}: {words}", name(pid))
}
