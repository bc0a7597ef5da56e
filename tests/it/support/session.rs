//! A running reloadrun, followed by its event stream. Tests wait for facts, with long deadlines.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::sandbox::Sandbox;
use super::terminal::Terminal;

/// The deadline for a fact on a loaded machine. It measures nothing: normally a fact takes milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The polling interval.
const STEP: Duration = Duration::from_millis(4);

/// A running reloadrun.
#[derive(Debug)]
pub struct Session {
    child: Child,
    shown: String,
    events: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    /// The number of events that earlier waits have passed.
    passed: usize,
    listing: String,
    ended: Option<ExitStatus>,
}

/// The end of a session, with all its output.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output: the command's.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its events.
    pub events: Vec<Value>,
}

impl Ended {
    /// The exit code; `None` if a signal killed it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts the exit code, with all output in the message.
    pub fn assert_code(&self, code: i32) -> &Ended {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }

    /// The number of events of a kind.
    pub fn count(&self, event: &str) -> usize {
        self.events.iter().filter(|seen| seen["event"] == event).count()
    }
}

impl Session {
    /// Starts a command that writes its events to the file of the sandbox; without a standard input.
    pub fn start(mut command: Command, sandbox: &Sandbox) -> Session {
        let (stdout, stderr) = (sandbox.beside().join("stdout"), sandbox.beside().join("stderr"));
        let _ = fs::remove_file(sandbox.events());
        let shown = format!("{command:?}");
        let file = |path| File::create(path).expect("the sandbox is writable");
        command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(file(&stderr));
        let child = command.spawn().expect("reloadrun starts");
        let listing = sandbox.listing();
        Session { child, shown, events: sandbox.events(), stdout, stderr, passed: 0, listing, ended: None }
    }

    /// The same with a terminal as descriptors 0, 1 and 2.
    pub fn start_at(terminal: &Terminal, mut command: Command, sandbox: &Sandbox) -> Session {
        let _ = fs::remove_file(sandbox.events());
        terminal.give_to(&mut command);
        let shown = format!("{command:?}");
        let child = command.spawn().expect("it starts");
        let (stdout, stderr) = (sandbox.beside().join("stdout"), sandbox.beside().join("stderr"));
        let listing = sandbox.listing();
        Session { child, shown, events: sandbox.events(), stdout, stderr, passed: 0, listing, ended: None }
    }

    /// The pid of the supervisor.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// The pid of the present child.
    pub fn child_pid(&self) -> i32 {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let deadline = Instant::now() + DEADLINE;
        loop {
            let children = fs::read_to_string(&path).unwrap_or_default();
            if let Some(pid) = children.split_whitespace().next_back().and_then(|pid| pid.parse().ok()) {
                return pid;
            }
            assert!(Instant::now() < deadline, "no child came\n{}", self.account());
            std::thread::sleep(STEP);
        }
    }

    /// Whether this generation has been told to be ready.
    pub fn is_ready(&self, generation: u64) -> bool {
        self.events().iter().any(|event| event["event"] == "ready" && event["generation"] == generation)
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
    }

    /// Waits for the next event of this kind that is accepted, after the last one waited for, and returns it.
    pub fn wait_where(&mut self, event: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let events = self.events();
            let found =
                events.iter().enumerate().skip(self.passed).find(|(_, seen)| seen["event"] == event && accept(seen));
            if let Some((index, found)) = found {
                self.passed = index + 1;
                return found.clone();
            }
            if Instant::now() >= deadline {
                panic!("the event '{event}' did not come\n{}", self.account());
            }
            std::thread::sleep(STEP);
        }
    }

    /// Waits for the next event of this kind.
    pub fn wait(&mut self, event: &str) -> Value {
        self.wait_where(event, |_| true)
    }

    /// Waits until this generation runs.
    pub fn wait_started(&mut self, generation: u64) -> Value {
        self.wait_where("started", |seen| seen["generation"] == generation)
    }

    /// Waits until the command of this generation runs and all its watches are set up.
    pub fn wait_armed(&mut self, generation: u64) -> Value {
        let started = self.wait_started(generation);
        self.wait_where("watching", |seen| seen["generation"] == generation);
        started
    }

    /// Waits for any fact.
    pub fn wait_until(&self, what: &str, fact: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !fact() {
            assert!(Instant::now() < deadline, "{what} did not come about\n{}", self.account());
            std::thread::sleep(STEP);
        }
    }

    /// The number of starts of the command so far.
    pub fn starts(&self) -> usize {
        self.events().iter().filter(|seen| seen["event"] == "started").count()
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The command's standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// Sends the supervisor a signal by name (`TERM`).
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end.
    pub fn wait_end(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if Instant::now() >= deadline => panic!("it did not end\n{}", self.account()),
                None => std::thread::sleep(STEP),
            }
        };
        self.ended = Some(status);
        Ended { status, stdout: self.stdout(), stderr: self.stderr(), events: self.events() }
    }

    /// Sends TERM, as a container runtime does, and waits for the end.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait_end()
    }

    /// All output and events, for error messages.
    pub fn account(&self) -> String {
        let events: Vec<String> = self.events().iter().map(Value::to_string).collect();
        format!(
            "command: {}\nevents:\n{}\nstderr:\n{}\nstdout:\n{}\nlisting at the start:\n{}",
            self.shown,
            events.join("\n"),
            self.stderr(),
            self.stdout(),
            self.listing
        )
    }
}

impl Drop for Session {
    /// Kills the supervisor of a failed test: the child then ends the command.
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal by name to one process.
pub fn signal(pid: i32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid} failed");
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| !matches!(state, "Z" | "X"))
}
