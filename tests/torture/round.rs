//! One round: a tree, a session, edits, quiet points.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::contents::contents;
use crate::edits::{Edit, Editor, now_ns};
use crate::options::Options;
use crate::random::Random;
use crate::tree::Tree;

/// The deadline of a quiet point; a save without a start by then counts as lost.
const DEADLINE: Duration = Duration::from_secs(20);

/// The same on a large tree: several generations may have to set up their watches on a busy machine.
const LARGE_DEADLINE: Duration = Duration::from_secs(90);

/// The most saves between two quiet points; on a large tree a quiet point takes long.
const SAVES: (usize, usize) = (5, 40);

/// The polling interval.
const STEP: Duration = Duration::from_millis(2);

/// The deadline for an end.
const END: Duration = Duration::from_secs(10);

/// The resolution of file times, and some more for the start of a program.
const CLOCK_STEP_NS: i64 = 8_000_000;

/// A restart that took this long may have been delayed as part of a series: the first delay is half a second.
const DAMPED_MS: f64 = 500.0;

/// After 2 s without a change, restarts are not delayed any more.
const END_OF_SERIES: Duration = Duration::from_millis(2100);

/// A start that comes this much later than expected counts as late.
const LATE: Duration = Duration::from_millis(300);

/// The deadline for ten thousand directories on a busy machine, without optimization.
const LARGE_ARMING: Duration = Duration::from_secs(5);

/// How many events are shown with a failure.
const TAIL: usize = 30;

/// The result.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of edits, including those that are not saves.
    pub edits: usize,
    /// Starts of the command.
    pub starts: usize,
    /// Quiet points without a finding.
    pub passed: usize,
    /// Quiet points that failed because the running command started before the last save.
    pub lost: usize,
    /// Quiet points that failed because the command started after the last save but read something else.
    pub stale: usize,
    /// Quiet points with more starts than allowed.
    pub extra: usize,
    /// Quiet points where a change set names a file that was not edited.
    pub misnamed: usize,
    /// Quiet points that were late; these are not failures.
    pub late: usize,
    /// The longest time from the end of the last save before a quiet point to its start.
    pub latest: Duration,
    /// Anything else: an end, a command that died.
    pub broken: usize,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Tally) {
        self.edits += other.edits;
        self.starts += other.starts;
        self.passed += other.passed;
        self.lost += other.lost;
        self.stale += other.stale;
        self.extra += other.extra;
        self.misnamed += other.misnamed;
        self.broken += other.broken;
        self.late += other.late;
        self.latest = self.latest.max(other.latest);
    }

    /// The number of failed quiet points.
    pub fn failed(&self) -> usize {
        self.lost + self.stale + self.extra + self.misnamed + self.broken
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { edits, starts, passed, lost, stale, extra, misnamed, broken, late, latest } = self;
        write!(
            f,
            "{edits} edits, {starts} starts, {passed} quiet points; lost {lost}, stale {stale}, extra {extra}, misnamed {misnamed}, broken {broken}; late {late} (at most {latest:.0?})"
        )
    }
}

/// A file of lines of JSON that another process appends to.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    read: u64,
    partial: Vec<u8>,
    lines: Vec<Value>,
}

impl Lines {
    fn of(path: PathBuf) -> Lines {
        Lines { path, read: 0, partial: Vec::new(), lines: Vec::new() }
    }

    fn refresh(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut fresh = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).is_err() || file.read_to_end(&mut fresh).is_err() {
            return;
        }
        self.read += u64::try_from(fresh.len()).expect("64 bits hold any length");
        self.partial.extend(fresh);
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.lines.push(serde_json::from_slice(&line).unwrap_or(Value::Null));
        }
    }
}

/// What a change leads to, and how the command lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The command is stopped and started again.
    Restart,
    /// The next one starts beside it.
    Overlap,
    /// The change is prepared before that.
    Prepare,
    /// The command moves to the background, and a file says where it is.
    PidFile,
    /// The command ends by itself, and starts again if something has changed.
    Queue,
    /// There is no command, but a run for each change set.
    Run,
}

/// A running reloadrun and the tree below it.
#[derive(Debug)]
pub struct Round {
    /// What came of it so far.
    pub tally: Tally,
    name: String,
    large: bool,
    random: Random,
    editor: Editor,
    events: Lines,
    records: Lines,
    stderr: PathBuf,
    supervisor: Child,
    way: Way,
    slow: Duration,
    interval: Duration,
    poll: bool,
    /// Whether the backend sends events, so that changes are noticed at once.
    prompt: bool,
    verbose: bool,
    began_ns: i64,
    /// The edits since the last quiet point.
    edits: Vec<Edit>,
    /// The edits before the last quiet point, and how many starts they may still cause: a save within a few
    /// milliseconds of a start may count once more, although the command has read it.
    before: (Vec<Edit>, usize),
    /// The number of events at the last quiet point.
    passed: usize,
    /// Whether a run was late enough to have been delayed.
    ran_late: bool,
    _directory: TempDir,
}

impl Round {
    /// Creates a tree and starts reloadrun.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(options: &Options, backend: &'static str, seed: u64) -> io::Result<Round> {
        let mut random = Random::new(seed);
        let large = options.tree == "large";
        let directory = tempfile::Builder::new().prefix("reloadrun-test-torture-").tempdir()?;
        let top = fs::canonicalize(directory.path())?;
        let (root, runtime) = (top.join("root"), top.join("runtime"));
        fs::create_dir(&root)?;
        fs::create_dir(&runtime)?;
        let tree = Tree::make(root.clone(), large, &mut random)?;
        let poll = backend == "poll";
        let slow = Duration::from_millis(*random.pick(&[0, 0, 0, 3, 40, 200]));
        let debounce = Duration::from_millis(*random.pick(&[0, 0, 0, 150]));
        let interval = Duration::from_millis(*random.pick(if poll && !large { &[50, 150, 300] } else { &[1000] }));
        let way = *random.pick(&[
            Way::Restart,
            Way::Restart,
            Way::Overlap,
            Way::Overlap,
            Way::Prepare,
            Way::PidFile,
            Way::Queue,
            Way::Run,
        ]);
        let (events, records, stderr) = (top.join("events.jsonl"), top.join("records"), top.join("stderr"));
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut command = Command::new(env!("CARGO_BIN_EXE_reloadrun"));
        command.args(["--backend", backend, "-w", "*.txt", "--interval", &ms(interval), "--debounce", &ms(debounce)]);
        let pid_file = top.join("record.pid");
        let mut words: Vec<OsString> = vec![env!("CARGO_BIN_EXE_probe").into(), "record".into(), (&records).into()];
        words.push(slow.as_millis().to_string().into());
        words.extend(tree.hot.iter().map(OsString::from));
        command.arg("--events").arg(&events).current_dir(&root);
        match way {
            Way::Restart => {}
            Way::Overlap => {
                command.args(["--overlap", "--ready", "fd:9"]).env("READY_FD", "9");
            }
            Way::Prepare => {
                command.args(["--prepare", *random.pick(&["true", "sleep 0.03", "sleep 0.1"])]);
            }
            Way::PidFile => {
                command.arg("--pidfile").arg(&pid_file);
                let line = "setsid -f sh -c 'echo $$ > $0.new; mv $0.new $0; exec \"$@\"' \"$0\" \"$@\"";
                let shell = ["sh".into(), "-c".into(), line.into(), pid_file.into_os_string()];
                words = shell.into_iter().chain(words).collect();
            }
            Way::Queue => {
                command.args(["--on-change", "queue"]).env("ONCE", "1");
            }
            Way::Run => {
                let quoted = words.drain(..).map(|word| format!("'{}'", word.display())).collect::<Vec<_>>();
                command.args(["--on-change", &format!("run:exec {}", quoted.join(" "))]).env("ONCE", "1");
            }
        }
        if way != Way::Run {
            command.arg("--").args(words);
        }
        command.env("XDG_RUNTIME_DIR", runtime);
        // A long run beside the suite must not look like a leftover of the suite.
        command.env("RELOADRUN_TEST", if options.short { "1" } else { "torture" });
        for name in ["CI", "NO_COLOR", "RELOADRUN_LOCKFILE", "RELOADRUN_GENERATION", "RELOADRUN_CHANGED"] {
            command.env_remove(name);
        }
        let supervisor = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?).spawn()?;
        let name = format!(
            "{backend}, {} tree, seed {seed} (stop {}, debounce {}, interval {}, {way:?}); again: --seed {seed} --edits {} --backend {backend} --tree {}{}",
            options.tree,
            ms(slow),
            ms(debounce),
            ms(interval),
            crate::options::ROUND,
            options.tree,
            if options.load { " --load" } else { "" },
        );
        if options.verbose {
            println!("-- {name}");
        }
        Ok(Round {
            tally: Tally::default(),
            name,
            large,
            random,
            editor: Editor::new(tree, debounce, !poll, large),
            events: Lines::of(events),
            records: Lines::of(records),
            stderr,
            supervisor,
            way,
            slow,
            interval,
            poll,
            prompt: backend == "inotify",
            verbose: options.verbose,
            began_ns: now_ns(),
            edits: Vec::new(),
            before: (Vec::new(), 0),
            passed: 0,
            ran_late: false,
            _directory: directory,
        })
    }

    /// Performs a number of edits, or as many as the time allows.
    pub fn play(&mut self, edits: usize, end: Instant) {
        if let Err(sentence) = self.try_play(edits, end) {
            self.fail(&sentence);
        }
        self.tally.starts += self.starts(0).count();
    }

    fn try_play(&mut self, edits: usize, end: Instant) -> Result<(), String> {
        if self.way == Way::Run {
            self.wait("the watches", Round::is_armed)?;
            self.edit(true)?;
        } else {
            self.wait("the first start", |round| round.record_of_last_start().is_some())?;
        }
        self.passed = self.events.lines.len();
        while self.tally.edits < edits && Instant::now() < end {
            if self.random.chance(12) {
                self.fence()?;
            }
            let most = if self.large { SAVES.1 } else { SAVES.0 };
            let saves = if self.random.chance(35) { 1 } else { 1 + self.random.below(most) };
            for index in 0..saves {
                if index > 0 || self.random.chance(50) {
                    self.choose_a_moment();
                }
                self.edit(true)?;
                if self.random.chance(10) {
                    self.edit(false)?;
                }
            }
            self.quiet_point()?;
        }
        Ok(())
    }

    fn edit(&mut self, save: bool) -> Result<(), String> {
        self.events.refresh();
        self.records.refresh();
        let made = if save { self.editor.save(&mut self.random) } else { self.editor.other(&mut self.random) };
        let edit = made.map_err(|error| error.to_string())?;
        if self.verbose {
            println!("{}", edit.shown(self.began_ns));
        }
        self.tally.edits += 1;
        self.edits.push(edit);
        Ok(())
    }

    /// Waits for the moment of the next edit: at once, within milliseconds, during the stop, right at the start, or
    /// after a long pause.
    fn choose_a_moment(&mut self) {
        let (kind, short) = (self.random.below(100), self.random.micros(0, 5000));
        let stop = self.random.micros(0, 30_000) + self.slow.mul_f64(self.random.micros(0, 1_000_000).as_secs_f64());
        let long = self.random.micros(100_000, 400_000);
        match kind {
            0..25 => {}
            25..50 => sleep(short),
            50..75 => sleep(stop),
            75..95 => {
                let before = self.starts(0).count();
                let wait =
                    if self.poll { self.interval + Duration::from_millis(150) } else { Duration::from_millis(150) };
                let until = Instant::now() + wait.min(Duration::from_millis(400)) + self.slow;
                while self.starts(0).count() == before && Instant::now() < until {
                    self.events.refresh();
                }
                sleep(short / 2);
            }
            _ => sleep(long),
        }
    }

    /// Edits that are not saves, and then one save: only that save may be reported.
    fn fence(&mut self) -> Result<(), String> {
        self.settle_down(self.editor.incomplete() + Duration::from_millis(60))?;
        if self.large {
            // If the watches are set up after the start, a chmod may count.
            self.wait("the watches", Round::is_armed)?;
        }
        for _ in 0..1 + self.random.below(4) {
            self.edit(false)?;
        }
        let pause = self.random.micros(0, 150_000);
        sleep(pause);
        self.check()
    }

    fn quiet_point(&mut self) -> Result<(), String> {
        // A save in the moment of a start may cause one more restart, a waiting time later.
        let linger = self.editor.incomplete() + Duration::from_millis(60) + self.random.micros(0, 30_000);
        self.settle_down(linger)?;
        let waited = self.has_waited() || std::mem::take(&mut self.ran_late);
        self.check()?;
        if waited {
            // No save was lost. The next edits must not be delayed any more.
            sleep(END_OF_SERIES);
        }
        Ok(())
    }

    /// Waits until the running command has read the present content, and then for a time after the last restart.
    fn settle_down(&mut self, linger: Duration) -> Result<(), String> {
        let linger = if self.poll { linger + self.interval + self.editor.incomplete() } else { linger };
        let deadline = Instant::now() + if self.large { LARGE_DEADLINE } else { DEADLINE };
        loop {
            self.wait("the quiet point", Round::is_right)?;
            self.time_it();
            let (starts, end) = (self.starts(0).count(), Instant::now() + linger);
            while Instant::now() < end {
                sleep(STEP.min(linger));
            }
            self.events.refresh();
            if self.starts(0).count() == starts && self.is_right() {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.tally.broken += 1;
                return Err("BROKEN: it does not come to rest".into());
            }
        }
    }

    /// A late restart is not a failure, but it is reported when it is much later than expected.
    fn time_it(&mut self) {
        let (Some(began), Some(last)) = (
            self.record_of_last_start().and_then(|record| record["t"].as_i64()),
            self.edits.iter().rev().find(|edit| edit.is_save()),
        ) else {
            return;
        };
        let late = Duration::from_nanos(u64::try_from(began - last.end_ns()).unwrap_or(0));
        // Where a pid file is waited for, the next start is ready for a change a little later.
        let more = if self.way == Way::PidFile { Duration::from_millis(700) } else { Duration::ZERO };
        let expected = more
            + self.slow
            + self.editor.incomplete() * 3
            + if self.poll { self.interval * 2 } else { Duration::ZERO };
        let expected = if self.large { expected + LARGE_ARMING } else { expected };
        self.ran_late |= self.way == Way::Run && late.as_secs_f64() * 1e3 >= DAMPED_MS;
        self.tally.latest = self.tally.latest.max(late);
        if late > expected + LATE {
            self.tally.late += 1;
            self.fail(&format!("late: {late:?} after the save"));
        }
    }

    fn wait(&mut self, what: &str, fact: impl Fn(&Round) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + if self.large { LARGE_DEADLINE } else { DEADLINE };
        loop {
            self.events.refresh();
            self.records.refresh();
            if fact(self) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.supervisor.try_wait() {
                self.tally.broken += 1;
                return Err(format!("BROKEN: reloadrun ended: {status}"));
            }
            if Instant::now() >= deadline {
                return Err(self.verdict(what));
            }
            sleep(STEP);
        }
    }

    /// The reason why the quiet point failed.
    fn verdict(&mut self, what: &str) -> String {
        let save = self.edits.iter().map(|edit| edit.effect_ns).max().unwrap_or(0);
        let Some(record) = self.record_of_last_start().cloned() else {
            self.tally.broken += 1;
            return format!("BROKEN: {what} did not come: the command that was started last has recorded nothing");
        };
        let differences = differences(&record, &contents(&self.editor.tree.hot));
        let began = record["t"].as_i64().unwrap_or(0);
        let seconds = |ns: i64| (ns - self.began_ns) as f64 / 1e6;
        let kind = if began <= save {
            self.tally.lost += 1;
            "LOST"
        } else if differences.is_empty() {
            self.tally.broken += 1;
            "BROKEN"
        } else {
            self.tally.stale += 1;
            "STALE"
        };
        format!(
            "{kind}: {what} did not come: the command began at {:.2}, the last save at {:.2}; {differences:?}",
            seconds(began),
            seconds(save)
        )
    }

    /// Where there is no command, a run for a change is a start.
    fn starts(&self, from: usize) -> impl Iterator<Item = &Value> {
        let name = if self.way == Way::Run { "ran" } else { "started" };
        self.events.lines.iter().skip(from).filter(move |event| event["event"] == name)
    }

    /// Whether a restart since the last quiet point may have been delayed.
    fn has_waited(&self) -> bool {
        self.starts(self.passed).any(|start| start["restart_ms"].as_f64() >= Some(DAMPED_MS))
    }

    fn record_of_last_start(&self) -> Option<&Value> {
        if self.way == Way::Run {
            return self.records.lines.last();
        }
        let started = self.events.lines.iter().rposition(|event| event["event"] == "started")?;
        let name = if self.way == Way::PidFile { "main_process" } else { "started" };
        let pid = &self.events.lines[started..].iter().rev().find(|event| event["event"] == name)?["pid"];
        self.records.lines.last().filter(|record| record["pid"] == *pid)
    }

    fn is_armed(&self) -> bool {
        let named = |event: &&Value| matches!(event["event"].as_str(), Some("watching" | "started"));
        self.events.lines.iter().rev().find(named).is_some_and(|event| event["event"] == "watching")
    }

    fn is_right(&self) -> bool {
        // With --overlap, the end of the generation before comes later.
        let newest = self.starts(0).filter_map(|event| event["generation"].as_u64()).max();
        let of_newest = self.events.lines.iter().filter(|event| event["generation"].as_u64() >= newest);
        let last = of_newest.rev().find_map(|event| {
            let name = event["event"].as_str()?;
            matches!(name, "started" | "changed" | "stopping" | "stopped" | "exited" | "ran").then_some(name)
        });
        let expected = match self.way {
            Way::Run => "ran",
            Way::Queue => "exited",
            Way::Restart | Way::Overlap | Way::Prepare | Way::PidFile => "started",
        };
        let Some(record) = self.record_of_last_start().filter(|_| last == Some(expected)) else { return false };
        let began = record["t"].as_i64().unwrap_or(0);
        let mut later = self.edits.iter().filter(|edit| edit.effect_ns >= began);
        // A file that was created and removed before it was seen needs no restart.
        let never_was = |path: &PathBuf| path.symlink_metadata().is_err();
        later.all(|edit| !edit.touched.is_empty() && edit.touched.iter().all(never_was))
            && differences(record, &contents(&self.editor.tree.hot)).is_empty()
    }

    /// The times from a start until all watches exist: changes there are recognised by inode only, and may count once
    /// more.
    fn unarmed(&self) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        let (mut open, mut stopped) = (None::<i64>, None);
        for event in &self.events.lines {
            let at = event["monotonic_ns"].as_i64().unwrap_or(0);
            match event["event"].as_str() {
                Some("stopped") => stopped = Some(at),
                Some("started") => {
                    // The previous generation never had all its watches.
                    windows.extend(open.take().map(|from| (from - CLOCK_STEP_NS, at)));
                    // The event comes later than the start; the command has recorded the exact time.
                    let record = self.records.lines.iter().rev().find(|record| record["pid"] == event["pid"]);
                    let began = record.and_then(|record| record["t"].as_i64()).unwrap_or(at).min(at);
                    // Only inotify has delivered all earlier events at the start; with the other backends they may come
                    // later.
                    let armed_from = stopped.take().filter(|_| !self.prompt);
                    open = Some(armed_from.unwrap_or(began).min(began));
                }
                Some("watching") => windows.extend(open.take().map(|from| (from - CLOCK_STEP_NS, at))),
                _ => {}
            }
        }
        windows.extend(open.map(|from| (from - CLOCK_STEP_NS, i64::MAX)));
        windows
    }

    /// Counts the starts since the last quiet point, and checks the reported changes.
    fn check(&mut self) -> Result<(), String> {
        let starts = self.starts(self.passed).count();
        let windows = self.unarmed();
        let unarmed = |edit: &&Edit| windows.iter().any(|(from, to)| edit.begin_ns() <= *to && edit.end_ns() >= *from);
        let doubtful: Vec<&Edit> =
            self.edits.iter().filter(|edit| edit.is_save() || edit.moves_ctime()).filter(unarmed).collect();
        // Polling may find a save that the command has read already, an interval later.
        let late: Vec<&Edit> = self.before.0.iter().filter(|edit| self.poll || unarmed(edit)).collect();
        let regular = self.edits.iter().map(Edit::most_starts).sum::<usize>() + doubtful.len();
        let most = regular + late.len().min(self.before.1);
        let near = doubtful.iter().chain(&late).flat_map(|edit| &edit.near);
        let saved = self.edits.iter().chain(late.iter().copied()).flat_map(|edit| &edit.touched);
        let touched: Vec<&PathBuf> = saved.chain(near).collect();
        // For files removed while they were not watched, the first generation knows only the directory.
        let is_touched =
            |path: &&Path| touched.iter().any(|touched| path.starts_with(touched) || touched.parent() == Some(path));
        let told = self.events.lines.iter().skip(self.passed).filter(|event| event["event"] == "changed");
        let misnamed: Vec<String> = told
            .flat_map(|event| {
                let changes = event["changes"].as_array().into_iter().flatten();
                let named: Vec<&Path> = changes.filter_map(|change| change["path"].as_str()).map(Path::new).collect();
                // If the watches are set up after the start, an earlier change may be named too, but never alone.
                let besides = self.large && named.iter().any(is_touched);
                named.into_iter().filter(|path| !besides && !is_touched(path)).collect::<Vec<_>>()
            })
            .map(|path| path.display().to_string())
            .collect();
        let bad = self.events.lines.iter().skip(self.passed).find(|event| {
            let is_end = event["event"] == "exited" && (self.way != Way::Queue || event["code"] != 0);
            is_end || event["event"] == "degraded" && !is_of_series(event)
        });
        if let Some(bad) = bad.map(Value::to_string) {
            self.tally.broken += 1;
            self.fail(&format!("BROKEN: {bad}"));
        } else if self.has_waited() {
            // A touch changes no content: its restart may have been delayed beyond the last quiet point.
            self.tally.passed += 1;
        } else if starts > most {
            self.tally.extra += 1;
            self.fail(&format!("EXTRA: {starts} starts, at most {most} may be"));
        } else if !misnamed.is_empty() {
            self.tally.misnamed += 1;
            self.fail(&format!("MISNAMED: {misnamed:?}"));
        } else {
            self.tally.passed += 1;
        }
        self.before = (std::mem::take(&mut self.edits), regular.saturating_sub(starts));
        self.passed = self.events.lines.len();
        Ok(())
    }

    /// Prints the facts about a failure.
    fn fail(&self, sentence: &str) {
        let mut text = format!("torture: {sentence}\n  {}\n  edits since the last quiet point, ms:\n", self.name);
        for edit in &self.edits {
            text.push_str(&format!("  {}\n", edit.shown(self.began_ns)));
        }
        text.push_str("  events:\n");
        let first = self.passed.saturating_sub(3).max(self.events.lines.len().saturating_sub(TAIL));
        for event in self.events.lines.iter().skip(first) {
            let at = (event["monotonic_ns"].as_i64().unwrap_or(0) - self.began_ns) as f64 / 1e6;
            let mut shown = event.clone();
            if let Some(event) = shown.as_object_mut() {
                for name in ["monotonic_ns", "time", "command", "patterns"] {
                    event.remove(name);
                }
            }
            let shown: String = shown.to_string().chars().take(700).collect();
            text.push_str(&format!("  {at:>11.2} {shown}\n"));
        }
        let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
        let last: Vec<&str> = stderr.lines().rev().take(4).collect();
        text.push_str(&format!("  stderr, last lines first: {last:?}\n"));
        eprint!("{}", text.replace(&self.editor.tree.root.display().to_string(), "ROOT"));
    }
}

/// The differences between the recorded and the present content.
fn differences(record: &Value, disk: &BTreeMap<String, String>) -> Vec<String> {
    let empty = serde_json::Map::new();
    let recorded = record["files"].as_object().unwrap_or(&empty);
    // A directory that is being replaced has the name of a backup for a moment, which does not count.
    let counts = |path: &str| !path.contains("~/");
    let missing = recorded.keys().filter(|path| counts(path) && !disk.contains_key(*path));
    let gone = missing.map(|path| format!("{path} is gone"));
    let other = disk
        .iter()
        .filter(|(path, _)| counts(path))
        .filter(|(path, hash)| recorded.get(*path).and_then(Value::as_str) != Some(hash))
        .map(
            |(path, _)| {
                if recorded.contains_key(path) { format!("{path} is other") } else { format!("{path} is new") }
            },
        );
    gone.chain(other).collect()
}

impl Drop for Round {
    fn drop(&mut self) {
        let pid = i32::try_from(self.supervisor.id()).map(Pid::from_raw);
        if let (Ok(None), Ok(pid)) = (self.supervisor.try_wait(), pid) {
            // It is our child and not reaped yet, so the pid is still its own.
            let _ = kill(pid, Signal::SIGTERM);
        }
        let deadline = Instant::now() + END;
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(STEP);
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// Whether an event reports a series of restarts, which is normal here.
fn is_of_series(event: &Value) -> bool {
    event["kind"] == "restart_series"
}
