//! One round: a directory, a command, a few faults one after the other.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::fault::{Fault, Moment, Role};
use crate::options::{Options, ROUND};
use crate::random::Random;
use crate::session::{MARK, Session, lines, name, ours, shown};
use crate::tally::Tally;

/// The deadline of all waits. The promise is one second after a fault; a loaded machine may take longer, and the
/// distribution is printed.
const DEADLINE: Duration = Duration::from_secs(20);

/// The polling interval.
const STEP: Duration = Duration::from_millis(2);

/// The most deaths of children in one session: the delay after each is twice the one before.
const DEATHS: usize = 3;

/// Twice the longest interval: after this time every stray has been seen.
const SEEN: Duration = Duration::from_millis(400);

/// More directories than are watched before the command starts.
const LARGE: usize = 150;

/// What went wrong.
enum Failure {
    Leak(String),
    Hang(String),
    Overlap(String),
    Blocked(String),
    Broken(String),
}

/// The expected result of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// No process is left, without a request.
    Gone,
    /// No process is left after a request, with this signal as the reason.
    Ended(Signal),
    /// A new command starts; possibly without a save.
    Back { by_itself: bool },
}

/// What reloadrun is to do for the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Ready,
    Listen,
    Overlap,
}

/// What a change leads to, and how the command lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The command is stopped and started again.
    Restart,
    /// The change is prepared before that.
    Prepare,
    /// The command moves to the background, and a file says where it is.
    PidFile,
    /// The command starts again when it has ended. It does not end by itself.
    Queue,
    /// The command runs on, and there is a run for each change set.
    Run,
}

/// A directory, and usually a running reloadrun in it.
#[derive(Debug)]
pub struct Round {
    tally: Tally,
    seed: u64,
    verbose: bool,
    short: bool,
    random: Random,
    top: PathBuf,
    port: u16,
    arguments: Vec<String>,
    private: bool,
    restarts: bool,
    /// Whether the command ignores TERM.
    never_ends: bool,
    /// Whether a member of the command leaves its process group.
    strays: bool,
    gap: bool,
    /// How generations follow each other.
    mode: Mode,
    way: Way,
    session: Option<Session>,
    sessions: usize,
    deaths: usize,
    saves: usize,
    log: Vec<String>,
    _directory: TempDir,
}

impl Round {
    /// Creates the directory and chooses the command.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(options: &Options, seed: u64) -> io::Result<Round> {
        let mut random = Random::new(seed);
        let directory = tempfile::Builder::new().prefix("reloadrun-test-faults-").tempdir()?;
        let top = fs::canonicalize(directory.path())?;
        for name in ["root", "runtime", "probe"] {
            fs::create_dir(top.join(name))?;
        }
        if random.chance(25) {
            for number in 0..LARGE {
                fs::create_dir(top.join(format!("root/d{number}")))?;
            }
        }
        fs::write(top.join("root/app.txt"), "0")?;
        fs::write(top.join("probe/members"), "")?;
        let port = free_port(&mut random);
        let slow = *random.pick(&["0", "0", "0", "30", "200", "-1"]);
        let mut members = vec![(*random.pick(&["port", "far-port"])).to_owned()];
        let kinds = ["child", "shell", "group", "session", "daemon", "many", "deaf", "forker", "stopped", "namespace"];
        for _ in 0..random.below(5) {
            let kind = *random.pick(&kinds);
            let number = if random.chance(12) { 200 } else { 2 + random.below(30) };
            members.push(if kind == "many" { format!("many:{number}") } else { kind.to_owned() });
        }
        let far = ["far-port", "group", "session", "daemon", "many", "namespace"];
        let strays = members.iter().any(|member| far.iter().any(|far| member.starts_with(far)));
        let restarts = random.chance(60);
        let private = random.chance(40);
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut arguments = text(&["-w", "*.txt", "--on-exit", if restarts { "restart" } else { "wait" }]);
        arguments.extend(text(&["--interval", *random.pick(&["100ms", "200ms"])]));
        arguments.extend(text(&["--stop-timeout", *random.pick(&["150ms", "400ms", "1s"])]));
        let mode = *random.pick(&[Mode::Plain, Mode::Plain, Mode::Ready, Mode::Listen, Mode::Overlap, Mode::Overlap]);
        if mode != Mode::Plain {
            arguments.extend(text(&["--ready", "fd:9"]));
        }
        if matches!(mode, Mode::Listen | Mode::Overlap) {
            arguments.extend(text(&["--listen", &format!("tcp:127.0.0.1:{port}")]));
        }
        if mode == Mode::Overlap {
            arguments.extend(text(&["--overlap"]));
        }
        let way = *random.pick(match mode {
            Mode::Overlap => &[Way::Restart, Way::Restart, Way::Prepare][..],
            _ => &[Way::Restart, Way::Restart, Way::Prepare, Way::PidFile, Way::Queue, Way::Run],
        });
        let in_probe = |name: &str| top.join("probe").join(name).display().to_string();
        match way {
            Way::Restart => {}
            Way::Prepare => {
                let pause = *random.pick(&["0", "0.03", "0.3"]);
                let line = format!("sleep {pause}; cp app.txt {}", in_probe("prepared"));
                arguments.extend(text(&["--prepare", &line]));
            }
            Way::PidFile => arguments.extend(text(&["--pidfile", &in_probe("app.pid")])),
            Way::Queue => arguments.extend(text(&["--on-change", "queue"])),
            Way::Run => {
                let ran = in_probe("ran");
                let line = format!("run:sleep 0.0{}; {{ cat app.txt; echo; }} >> {ran}", random.below(8));
                arguments.extend(text(&["--on-change", &line]));
            }
        }
        let strays = strays || way == Way::PidFile;
        if !private {
            arguments.extend(text(&["--lockfile", &top.join("it.lock").display().to_string()]));
        }
        arguments.push("--".to_owned());
        if way == Way::PidFile {
            let line = "setsid -f sh -c 'echo $$ > $0.new; mv $0.new $0; exec \"$@\"' \"$0\" \"$@\"";
            arguments.extend(text(&["sh", "-c", line, &in_probe("app.pid")]));
        }
        arguments.extend(text(&[env!("CARGO_BIN_EXE_probe"), "tree"]));
        arguments.extend(text(&[&top.join("probe").display().to_string(), &port.to_string(), slow]));
        arguments.extend(members);
        Ok(Round {
            tally: Tally::default(),
            seed,
            verbose: options.verbose,
            short: options.short,
            random,
            top,
            port,
            arguments,
            private,
            restarts,
            never_ends: slow == "-1",
            strays,
            gap: options.gap,
            mode,
            way,
            session: None,
            sessions: 0,
            deaths: 0,
            saves: 0,
            log: Vec::new(),
            _directory: directory,
        })
    }

    /// The result of the round.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Injects a number of faults, or as many as the time allows.
    pub fn play(&mut self, faults: usize, end: Instant) {
        self.say(format!("reloadrun {}", self.arguments.join(" ")));
        while self.tally.faults < faults && Instant::now() < end {
            let mut fault = Fault::random(&mut self.random);
            self.keep_out_of_the_gap(&mut fault);
            self.tally.faults += 1;
            *self.tally.kinds.entry(fault.kind()).or_default() += 1;
            self.say(fault.to_string());
            match self.inject(&fault) {
                Ok(()) => self.tally.passed += 1,
                Err(failure) => {
                    self.fail(failure);
                    self.clean();
                }
            }
        }
        if let Err(failure) = self.end() {
            self.fail(failure);
        }
        self.clean();
    }

    /// A stray gets its tether when it is seen, once an interval, and the first process of a pid namespace cannot get
    /// one. This gap is known; without `--gap` such faults are not injected.
    fn keep_out_of_the_gap(&self, fault: &mut Fault) {
        let both = fault.hits(Role::Supervisor) && fault.hits(Role::Child) && fault.signal == Signal::SIGKILL;
        if self.gap || !both || !self.strays {
            return;
        }
        if self.arguments.iter().any(|argument| argument == "namespace") {
            fault.targets.retain(|role| *role == Role::Supervisor);
        } else {
            fault.moment = Moment::Idle;
            fault.delay += SEEN;
        }
    }

    fn say(&mut self, sentence: String) {
        if self.verbose {
            println!("{:>6}: {sentence}", self.seed);
        }
        self.log.push(sentence);
    }

    fn inject(&mut self, fault: &Fault) -> Result<(), Failure> {
        if fault.moment == Moment::Start || self.deaths >= DEATHS {
            self.end()?;
        }
        if self.session.is_none() {
            self.start()?;
        }
        let mut open = None;
        if fault.moment != Moment::Start {
            self.wait_up(0)?;
            open = self.come_to(fault.moment)?;
        }
        sleep(fault.delay);
        let session = self.session.as_mut().expect("it was just started");
        let mut hit = Vec::new();
        for role in &fault.targets {
            let pid = match role {
                Role::Supervisor => Some(session.pid()),
                // Of two, the old one as often as the new one.
                Role::Child if self.mode == Mode::Overlap && self.random.chance(50) => session.oldest_child(),
                Role::Child => session.child(),
                Role::Command if self.way == Way::PidFile => session.main_process(),
                Role::Command => session.command(),
            };
            hit.extend(pid.map(|pid| (*role, pid)));
        }
        if session.ended().is_some() {
            return Err(Failure::Broken("it ended before the fault".into()));
        }
        let mut at = now_ns();
        let mut began = Instant::now();
        for (_, pid) in &hit {
            send(*pid, fault.signal);
        }
        if let Some(wait) = fault.save {
            sleep(wait);
            self.save()?;
        }
        drop(open);
        let is_hit = |role| hit.iter().any(|(one, _)| *one == role);
        let mut expected = match fault.signal {
            Signal::SIGKILL if is_hit(Role::Supervisor) => Expected::Gone,
            Signal::SIGSTOP => Expected::Back { by_itself: false },
            signal if is_hit(Role::Supervisor) => Expected::Ended(signal),
            signal => {
                let dies = signal != Signal::SIGTERM || !self.never_ends;
                // With two, the one that was not hit may be all there is to come.
                let by_itself = self.mode != Mode::Overlap
                    && (is_hit(Role::Child) || (is_hit(Role::Command) && self.restarts && dies));
                Expected::Back { by_itself }
            }
        };
        if fault.signal == Signal::SIGSTOP {
            if let Some(pause) = fault.continued {
                sleep(pause);
                for (_, pid) in &hit {
                    send(*pid, Signal::SIGCONT);
                }
            } else if is_hit(Role::Supervisor) || is_hit(Role::Child) {
                let asked = !fault.killed_after && !is_hit(Role::Supervisor);
                let signal = if asked { Signal::SIGTERM } else { Signal::SIGKILL };
                expected = if asked { Expected::Ended(signal) } else { Expected::Gone };
                (at, began) = (now_ns(), Instant::now());
                send(self.session.as_ref().expect("it runs").pid(), signal);
            }
        } else if is_hit(Role::Child) {
            self.deaths += 1;
        }
        match expected {
            Expected::Gone => self.after_a_kill(fault, began, at),
            Expected::Ended(signal) => self.after_a_request(fault, signal, began),
            Expected::Back { by_itself } => self.after_all(by_itself, began, at),
        }
    }

    /// Waits for the moment of the fault.
    fn come_to(&mut self, moment: Moment) -> Result<Option<File>, Failure> {
        let wanted = match moment {
            Moment::Start | Moment::Idle => return Ok(None),
            Moment::Settling => return self.save().map(|()| None),
            Moment::Writing => {
                let mut file = File::create(self.top.join("root/app.txt")).map_err(broken)?;
                file.write_all(b"half").map_err(broken)?;
                return Ok(Some(file));
            }
            // Nothing is stopped for a change.
            Moment::Stopping | Moment::Between if matches!(self.way, Way::Queue | Way::Run) => "changed",
            Moment::Stopping => "stopping",
            Moment::Between => "stopped",
        };
        let count = |events: &[Value]| events.iter().filter(|event| event["event"] == wanted).count();
        let session = self.session.as_ref().expect("it runs");
        let before = count(&session.events());
        self.save()?;
        let session = self.session.as_ref().expect("it runs");
        let until = Instant::now() + DEADLINE;
        while count(&session.events()) == before {
            if Instant::now() > until {
                return Err(Failure::Hang(format!("no {wanted} after a save")));
            }
        }
        Ok(None)
    }

    fn after_a_kill(&mut self, fault: &Fault, began: Instant, at: i64) -> Result<(), Failure> {
        let alone = !fault.hits(Role::Child) || fault.signal == Signal::SIGSTOP;
        // Runs without a common lockfile are independent of each other.
        if alone && !fault.patient && !self.private {
            // The lock is free at once, and the start waits for the rest of the old command.
            let mut dead = self.session.take().expect("it ran");
            self.wait("the end of the supervisor", |_| dead.ended().is_some())?;
        } else {
            self.wait_gone()?;
            self.tally.gone.push(began.elapsed());
            self.session = None;
        }
        self.start()?;
        self.wait_up(at)?;
        self.check_overlaps(at)?;
        if self.private {
            self.wait("the end of the dead lockfiles", |round| round.private_lockfiles() == 1)?;
        }
        self.wait("the end of all children but one", |round| round.children() == 1)
    }

    fn after_a_request(&mut self, fault: &Fault, signal: Signal, began: Instant) -> Result<(), Failure> {
        self.wait_gone()?;
        self.tally.ended.push(began.elapsed());
        let status = self.session.take().and_then(|mut session| session.ended());
        let number = signal as i32;
        let died = fault.moment == Moment::Start && status.and_then(|status| status.signal()) == Some(number);
        if !died && status.and_then(|status: ExitStatus| status.code()) != Some(128 + number) {
            return Err(Failure::Broken(format!("after {signal}: {status:?}")));
        }
        if !died && (self.private_lockfiles() > 0 || self.top.join("it.lock").exists()) {
            return Err(Failure::Broken("the lockfile is left".into()));
        }
        Ok(())
    }

    fn after_all(&mut self, by_itself: bool, began: Instant, at: i64) -> Result<(), Failure> {
        if by_itself {
            self.wait_up(at)?;
            self.tally.back.push(began.elapsed());
        }
        let (saved, since) = (now_ns(), Instant::now());
        self.save()?;
        self.wait_served(saved)?;
        if !by_itself {
            self.tally.back.push(since.elapsed());
        }
        self.check_overlaps(at)?;
        self.wait("the end of all children but one", |round| round.children() == 1)
    }

    /// Stops the session, if there is one, as a user would.
    fn end(&mut self) -> Result<(), Failure> {
        self.deaths = 0;
        let Some(session) = &self.session else { return Ok(()) };
        send(session.pid(), Signal::SIGTERM);
        self.wait_gone()?;
        self.session = None;
        Ok(())
    }

    fn start(&mut self) -> Result<(), Failure> {
        let events = self.top.join(format!("events-{}", self.sessions));
        let mut command = Command::new(env!("CARGO_BIN_EXE_reloadrun"));
        command.arg("--events").arg(events).args(&self.arguments).current_dir(self.top.join("root"));
        command.env("XDG_RUNTIME_DIR", self.top.join("runtime")).env(MARK, &self.top);
        if self.mode != Mode::Plain {
            command.env("READY_FD", "9");
        }
        if self.mode == Mode::Overlap {
            command.env("BESIDE", "1");
        }
        // A long run beside the suite must not look like a leftover of the suite.
        command.env("RELOADRUN_TEST", if self.short { "1" } else { "faults" });
        for name in ["CI", "NO_COLOR", "RELOADRUN_LOCKFILE", "RELOADRUN_GENERATION", "RELOADRUN_CHANGED"] {
            command.env_remove(name);
        }
        self.session = Some(Session::start(command, &self.top, self.sessions).map_err(broken)?);
        self.sessions += 1;
        self.deaths = 0;
        Ok(())
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.saves += 1;
        fs::write(self.top.join("root/app.txt"), self.saves.to_string()).map_err(broken)
    }

    fn wait(&mut self, what: &str, mut fact: impl FnMut(&Round) -> bool) -> Result<(), Failure> {
        let until = Instant::now() + DEADLINE;
        while !fact(self) {
            if Instant::now() > until {
                return Err(Failure::Hang(format!("{what} did not come")));
            }
            sleep(STEP);
        }
        Ok(())
    }

    /// Waits until a command that started after this instant runs with all its members and answers.
    fn wait_up(&mut self, after: i64) -> Result<(), Failure> {
        let until = Instant::now() + DEADLINE;
        loop {
            if self.is_up(after) {
                return Ok(());
            }
            let ended = self.session.as_mut().and_then(Session::ended);
            if let Some(status) = ended {
                return Err(Failure::Blocked(format!("it ended: {status}")));
            }
            if Instant::now() > until {
                let records = self.records();
                return Err(Failure::Hang(format!("no new command came; the last one: {:?}", records.last())));
            }
            sleep(STEP);
        }
    }

    /// Waits until the save that was just made has led to what it is to lead to.
    fn wait_served(&mut self, saved: i64) -> Result<(), Failure> {
        match self.way {
            Way::Restart | Way::Prepare | Way::PidFile => self.wait_up(saved),
            Way::Queue => {
                let mut next_end = Instant::now();
                let until = Instant::now() + DEADLINE;
                while !self.is_up(saved) && Instant::now() < until {
                    let old = self.records().last().is_some_and(|last| last["t"].as_i64() <= Some(saved));
                    if old && Instant::now() >= next_end {
                        let session = self.session.as_ref();
                        session.and_then(Session::command).into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
                        next_end = Instant::now() + Duration::from_millis(300);
                    }
                    sleep(STEP);
                }
                self.wait_up(saved)
            }
            Way::Run => {
                let (ran, wanted) = (self.top.join("probe/ran"), self.saves.to_string());
                let has_run = || fs::read_to_string(&ran).is_ok_and(|text| text.lines().any(|line| line == wanted));
                // With no command to leave alone, it is started.
                self.wait("the run", |round| has_run() || round.is_up(saved))?;
                self.wait_up(0)
            }
        }
    }

    fn is_up(&self, after: i64) -> bool {
        let records = self.records();
        let Some(last) = records.last().filter(|last| last["what"] == "up") else { return false };
        last["t"].as_i64().is_some_and(|began| began > after)
            && last["more"]["members"] == last["more"]["expected"]
            && self.answer().as_deref() == last["generation"].as_str()
    }

    /// The generation in the answer of the command's server.
    fn answer(&self) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    fn wait_gone(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + DEADLINE;
        let members = self.top.join("probe/members");
        loop {
            let ended = self.session.as_mut().is_none_or(|session| session.ended().is_some());
            let left = if ended { ours(&self.top, &members) } else { Vec::new() };
            // The lock is the proof; /proc is used only for names.
            let free = || File::open(&members).is_ok_and(|file| file.try_lock().is_ok());
            if ended && left.is_empty() && free() {
                return Ok(());
            }
            if Instant::now() > until {
                let shown: Vec<String> = left.iter().map(|pid| shown(*pid)).collect();
                let text = shown.join("\n    ");
                return Err(if ended {
                    Failure::Leak(format!("left:\n    {text}"))
                } else {
                    Failure::Hang("reloadrun does not end".into())
                });
            }
            sleep(STEP);
        }
    }

    fn records(&self) -> Vec<Value> {
        lines(&self.top.join("probe/records"))
    }

    fn check_overlaps(&self, after: i64) -> Result<(), Failure> {
        let bad = |record: &&Value| {
            record["t"].as_i64().is_some_and(|began| began > after)
                && record["more"]["overlap"] == true
                && self.mode != Mode::Overlap
                || record["what"] == "busy"
        };
        match self.records().iter().find(bad) {
            Some(record) => Err(Failure::Overlap(record.to_string())),
            None => Ok(()),
        }
    }

    fn private_lockfiles(&self) -> usize {
        // Beside them is the directory of the control sockets.
        let entries = fs::read_dir(self.top.join("runtime")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).count()
    }

    fn children(&self) -> usize {
        let members = self.top.join("probe/members");
        ours(&self.top, &members).into_iter().filter(|pid| name(*pid) == "reload-child").count()
    }

    fn fail(&mut self, failure: Failure) {
        let (count, kind, sentence) = match failure {
            Failure::Leak(sentence) => (&mut self.tally.leaks, "LEAK", sentence),
            Failure::Hang(sentence) => (&mut self.tally.hangs, "HANG", sentence),
            Failure::Overlap(sentence) => (&mut self.tally.overlaps, "OVERLAP", sentence),
            Failure::Blocked(sentence) => (&mut self.tally.blocked, "BLOCKED", sentence),
            Failure::Broken(sentence) => (&mut self.tally.broken, "BROKEN", sentence),
        };
        *count += 1;
        let mut text = format!(
            "faults: {kind}: {sentence}\n  again: --seed {} --faults {ROUND} --verbose{}\n",
            self.seed,
            if self.gap { " --gap" } else { "" }
        );
        for line in &self.log {
            let _ = writeln!(text, "  {line}");
        }
        for record in self.records().iter().rev().take(4).rev() {
            let _ = writeln!(text, "  record {record}");
        }
        if let Some(session) = &self.session {
            for event in session.events().iter().rev().take(8).rev() {
                let _ = writeln!(text, "  event {event}");
            }
            let _ = writeln!(text, "  said {:?}", session.last_words());
        }
        let members = self.top.join("probe/members");
        for pid in ours(&self.top, &members).into_iter().take(12) {
            let _ = writeln!(text, "  there is {}", shown(pid));
        }
        eprint!("{}", text.replace(&self.top.display().to_string(), "TOP"));
    }

    /// Kills the processes that a failure has left: only those with our mark or our file.
    fn clean(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.kill();
        }
        let until = Instant::now() + DEADLINE;
        let members = self.top.join("probe/members");
        loop {
            let left = ours(&self.top, &members);
            left.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
            if left.is_empty() || Instant::now() > until {
                return;
            }
            sleep(STEP);
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.clean();
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::Broken(error.to_string())
}

fn send(pid: i32, signal: Signal) {
    // The process may have ended by itself.
    let _ = kill(Pid::from_raw(pid), signal);
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// A port below the range that the kernel uses for outgoing connections.
fn free_port(random: &mut Random) -> u16 {
    loop {
        let port = u16::try_from(20_000 + random.below(10_000)).expect("it fits");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
