//! How long a save, a start and doing nothing take: reloadrun against the floor program (`tests/probe/floor.rs`), both
//! in turn, in one run. `docs/benchmarks.md` says what each row means.
//!
//! `cargo bench --bench latency -- [--check] [--keep] [save] [start] [idle] [large]`

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;
use tempfile::TempDir;

const RELOADRUN: &str = env!("CARGO_BIN_EXE_reloadrun");
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// Whatever has not happened by then on a loaded machine never will.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two measurements, so that each finds its system idle.
const REST: Duration = Duration::from_millis(80);
/// Between two series of saves: longer than the 2 s that end one.
const QUIET: Duration = Duration::from_secs(3);
/// From the moment that all is watched to the first look at what idling costs.
const SETTLING: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(20);

const SAVES: usize = 40;
const STARTS: usize = 20;
const LARGE_STARTS: usize = 8;
const LARGE_ROUNDS: usize = 2;
const LARGE_SAVES: usize = 4;

const GROUPS: [&str; 4] = ["save", "start", "idle", "large"];

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match Options::of_process().and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("latency: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let mut table = Table::begin();
    if options.wants("save") {
        saves(&mut table)?;
    }
    if options.wants("start") {
        starts("start, empty tree", &Tree::empty()?, STARTS, &mut table)?;
    }
    if options.wants("idle") {
        idle("small tree", &Tree::small()?, Some(8.0), &mut table)?;
    }
    if options.wants("start") || options.wants("idle") || options.wants("large") {
        eprintln!("latency: making 100,000 files in 10,000 directories ...");
        let tree = Tree::large(options.keep)?;
        if options.wants("start") {
            starts("start, large tree", &tree, LARGE_STARTS, &mut table)?;
        }
        if options.wants("large") {
            large_saves(&tree, &mut table)?;
        }
        if options.wants("idle") {
            idle("large tree", &tree, None, &mut table)?;
        }
    }
    Ok(if options.check && table.far_over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Save to first instruction. A tree for each program: on a shared one both would start on every save.
fn saves(table: &mut Table) -> Result<()> {
    let trees = [Tree::small()?, Tree::small()?];
    let mut floor = Watched::by(Program::Floor, &trees[0])?;
    let mut ours = Watched::by(Program::Reloadrun, &trees[1])?;
    for (name, how) in [("save in place", Save::InPlace), ("save by rename", Save::Rename)] {
        let (mut floors, mut ourses) = (Sample::default(), Sample::default());
        // More than 60 saves in a row, each within 2 s of a start, would wait.
        std::thread::sleep(QUIET);
        for _ in 0..SAVES {
            floors.add(floor.save(how)?);
            ourses.add(ours.save(how)?);
        }
        let value = ourses.median() / floors.median();
        table.compare(name, &floors, &ourses, Figure { value, unit: "x", limit: Some(6.0) });
    }
    table.note_extra_starts(&[floor, ours]);
    Ok(())
}

/// Invocation to first instruction, against executing the command itself.
fn starts(name: &str, tree: &Tree, count: usize, table: &mut Table) -> Result<()> {
    let (mut direct, mut ours) = (Sample::default(), Sample::default());
    for _ in 0..count {
        for (program, sample) in [(Program::Direct, &mut direct), (Program::Reloadrun, &mut ours)] {
            let mut stamps = Stamps::new()?;
            let before = monotonic_ns();
            let _running = Running::start(program, tree, &stamps)?;
            sample.add(stamps.first(|_| true)?.at - before);
            std::thread::sleep(REST);
        }
    }
    let value = ours.median() - direct.median();
    table.compare(name, &direct, &ours, Figure { value, unit: " ms more", limit: Some(10.0) });
    Ok(())
}

/// What waiting for a change costs, supervisor and child together, without the command.
fn idle(name: &str, tree: &Tree, most_megabytes: Option<f64>, table: &mut Table) -> Result<()> {
    let watched = Watched::by(Program::Reloadrun, tree)?;
    std::thread::sleep(SETTLING);
    let processes = watched.running.supervisor_and_child()?;
    let before = context_switches(&processes)?;
    std::thread::sleep(IDLE);
    let value = (context_switches(&processes)? - before) as f64 / IDLE.as_secs_f64();
    table.state(&format!("idle, {name}: context switches"), Figure { value, unit: "/s", limit: Some(2.5) });
    let value = proportional_set(&processes)? as f64 / 1e6;
    table.state(&format!("idle, {name}: memory (PSS)"), Figure { value, unit: " MB", limit: most_megabytes });
    Ok(())
}

fn large_saves(tree: &Tree, table: &mut Table) -> Result<()> {
    let (mut floors, mut ourses, mut armings) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..LARGE_ROUNDS {
        for (program, sample) in [(Program::Floor, &mut floors), (Program::Reloadrun, &mut ourses)] {
            let mut watched = Watched::by(program, tree)?;
            for _ in 0..LARGE_SAVES {
                sample.add(watched.save(Save::InPlace)?);
            }
            armings.times.append(&mut watched.armings.times);
            table.note_extra_starts(&[watched]);
        }
    }
    let value = ourses.median() / floors.median();
    table.compare("save in place, large tree", &floors, &ourses, Figure { value, unit: "x", limit: None });
    table.state("large tree: start to all watched", Figure { value: armings.median(), unit: " ms", limit: None });
    Ok(())
}

/// What was asked for on the command line.
struct Options {
    check: bool,
    keep: bool,
    groups: Vec<String>,
}

impl Options {
    fn of_process() -> Result<Options> {
        let mut options = Options { check: false, keep: false, groups: Vec::new() };
        for word in std::env::args().skip(1) {
            match word.as_str() {
                "--check" => options.check = true,
                "--keep" => options.keep = true,
                // Cargo says so to every benchmark.
                "--bench" => {}
                group if GROUPS.contains(&group) => options.groups.push(word),
                _ => return Err(format!("'{word}' is not known; expected --check, --keep or {}", GROUPS.join(", "))),
            }
        }
        Ok(options)
    }

    fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|wanted| wanted == group)
    }
}

/// Times in milliseconds.
#[derive(Default)]
struct Sample {
    times: Vec<f64>,
}

impl Sample {
    fn add(&mut self, nanoseconds: i64) {
        self.times.push(nanoseconds as f64 / 1e6);
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn shown(&self) -> String {
        format!("{:.2} / {:.2}", self.median(), self.quantile(0.95))
    }
}

/// What a row comes to, and the most it may.
struct Figure {
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
}

/// The rows, printed as they come.
struct Table {
    far_over: bool,
}

impl Table {
    fn begin() -> Table {
        Table::line("ms, median / p95", "floor", "reloadrun", "comes to", "target", "");
        Table { far_over: false }
    }

    fn line(name: &str, floor: &str, ours: &str, value: &str, limit: &str, verdict: &str) {
        println!("{name:<36} {floor:>15} {ours:>15} {value:>14} {limit:>12}  {verdict}");
    }

    fn compare(&mut self, name: &str, floor: &Sample, ours: &Sample, figure: Figure) {
        self.row(name, &floor.shown(), &ours.shown(), figure);
    }

    fn state(&mut self, name: &str, figure: Figure) {
        self.row(name, "", "", figure);
    }

    fn row(&mut self, name: &str, floor: &str, ours: &str, Figure { value, unit, limit }: Figure) {
        let target = limit.map_or(String::new(), |limit| format!("{limit}{unit}"));
        let verdict = limit.map_or("", |limit| if value <= limit { "within" } else { "over" });
        // Twice the target is more than the noise of a shared machine.
        self.far_over |= limit.is_some_and(|limit| value > 2.0 * limit);
        Table::line(name, floor, ours, &format!("{value:.2}{unit}"), &target, verdict);
    }

    fn note_extra_starts(&self, watched: &[Watched]) {
        for Watched { program, extra, .. } in watched.iter().filter(|watched| watched.extra > 0) {
            println!("  {program:?} started the command {extra} times more than there were saves");
        }
    }
}

/// A directory to watch. What was made for it goes with it.
struct Tree {
    root: PathBuf,
    /// On the same file system and not watched: here a file is written that is renamed into the tree.
    aside: PathBuf,
    _directory: TempDir,
}

impl Tree {
    fn empty() -> Result<Tree> {
        let directory = temporary()?;
        let (root, aside) = (directory.path().join("root"), directory.path().join("aside"));
        tell("create", &root, fs::create_dir(&root))?;
        Ok(Tree { root, aside, _directory: directory })
    }

    fn small() -> Result<Tree> {
        let tree = Tree::empty()?;
        fill(&tree.root, 4, 5)?;
        Ok(tree)
    }

    /// 100,000 files in 10,000 directories; one that was kept is used again.
    fn large(keep: bool) -> Result<Tree> {
        let tree = Tree::empty()?;
        let kept = std::env::temp_dir().join("reloadrun-bench-kept-tree");
        if !(keep && kept.is_dir()) {
            // Each holds 99 more, and is the hundredth itself.
            for number in 0..100 {
                fill(&tree.root.join(format!("d{number}")), 99, 10)?;
            }
        }
        if !keep {
            return Ok(tree);
        }
        if !kept.is_dir() {
            tell("keep", &kept, fs::rename(&tree.root, &kept))?;
        }
        Ok(Tree { root: kept, ..tree })
    }

    fn watched_file(&self) -> PathBuf {
        self.root.join("watched.txt")
    }
}

/// So many files in a directory, and in each of so many directories in it.
fn fill(directory: &Path, directories: usize, files: usize) -> Result<()> {
    let below = (0..directories).map(|number| directory.join(format!("s{number}")));
    for directory in std::iter::once(directory.to_owned()).chain(below) {
        tell("create", &directory, fs::create_dir_all(&directory))?;
        for number in 0..files {
            let file = directory.join(format!("f{number}.txt"));
            tell("write", &file, fs::write(&file, "x"))?;
        }
    }
    Ok(())
}

fn temporary() -> Result<TempDir> {
    tempfile::Builder::new().prefix("reloadrun-bench-").tempdir().map_err(|error| error.to_string())
}

/// The two ways to save a file.
#[derive(Clone, Copy)]
enum Save {
    InPlace,
    Rename,
}

/// A tree that a program watches, to be saved to.
struct Watched<'a> {
    program: Program,
    tree: &'a Tree,
    running: Running,
    stamps: Stamps,
    /// Of the file that is saved. Every save has another, so that a stamp tells which one its command has seen.
    length: i64,
    /// Starts more than saves.
    extra: usize,
    /// From each start of the command until everything is watched, as reloadrun tells it.
    armings: Sample,
}

impl<'a> Watched<'a> {
    fn by(program: Program, tree: &'a Tree) -> Result<Watched<'a>> {
        let (length, file) = (1000, tree.watched_file());
        tell("write", &file, fs::write(&file, vec![b'x'; 1000]))?;
        let mut stamps = Stamps::new()?;
        let running = Running::start(program, tree, &stamps)?;
        stamps.first(|_| true)?;
        let mut watched = Watched { program, tree, running, stamps, length, extra: 0, armings: Sample::default() };
        watched.rest()?;
        Ok(watched)
    }

    /// Saves, and gives the nanoseconds until the first start of a command that sees the whole save.
    fn save(&mut self, how: Save) -> Result<i64> {
        self.length += 1;
        let (file, aside, length) = (self.tree.watched_file(), &self.tree.aside, self.length);
        let content = vec![b'x'; length as usize];
        if let Save::Rename = how {
            tell("write", aside, fs::write(aside, &content))?;
        }
        self.stamps.seen = 0;
        let before = monotonic_ns();
        match how {
            Save::InPlace => tell("write", &file, fs::write(&file, &content))?,
            Save::Rename => tell("rename", aside, fs::rename(aside, &file))?,
        }
        let stamp = self.stamps.first(|stamp| stamp.length == length)?;
        self.rest()?;
        self.extra += self.stamps.seen - 1;
        Ok(stamp.at - before)
    }

    /// Until everything is watched again, and then a little.
    fn rest(&mut self) -> Result<()> {
        if self.program == Program::Reloadrun {
            let armed_after = self.running.wait_armed()?;
            self.armings.add(armed_after);
        }
        std::thread::sleep(REST);
        self.stamps.drain()
    }
}

/// What runs `probe stamp`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Program {
    /// This benchmark itself.
    Direct,
    Floor,
    Reloadrun,
}

/// A running program, ended and waited for when dropped.
struct Running {
    child: Child,
    /// For its lockfile and its events.
    home: TempDir,
    generation: u64,
}

impl Running {
    fn start(program: Program, tree: &Tree, stamps: &Stamps) -> Result<Running> {
        let home = temporary()?;
        let binary = if program == Program::Reloadrun { RELOADRUN } else { PROBE };
        let mut command = Command::new(binary);
        match program {
            Program::Direct => &mut command,
            Program::Floor => command.arg("floor").arg(&tree.root).args(["--", PROBE]),
            Program::Reloadrun => command.arg("--events").arg(home.path().join("events")).args(["--", PROBE]),
        };
        command.arg("stamp").arg(&stamps.path).arg(tree.watched_file()).current_dir(&tree.root);
        // Nothing of the caller's: CI would change what follows the end of the command.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = tell("start", Path::new(binary), command.spawn())?;
        Ok(Running { child, home, generation: 0 })
    }

    /// Waits until the next generation watches everything, and gives the nanoseconds since its command started.
    fn wait_armed(&mut self) -> Result<i64> {
        let late = Instant::now() + DEADLINE;
        loop {
            // The file appears with the first event.
            let events = fs::read_to_string(self.home.path().join("events")).unwrap_or_default();
            let events: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let last = |name: &str| events.iter().rfind(|event| event["event"] == name);
            if let (Some(started), Some(armed)) = (last("started"), last("watching"))
                && let Some(generation) = armed["generation"].as_u64().filter(|number| *number > self.generation)
                && started["generation"] == generation
            {
                self.generation = generation;
                let at = |event: &Value| event["monotonic_ns"].as_i64().unwrap_or_default();
                return Ok(at(armed) - at(started));
            }
            if Instant::now() >= late {
                return Err(format!("reloadrun has not watched everything within {DEADLINE:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    fn supervisor_and_child(&self) -> Result<[i32; 2]> {
        let supervisor = self.pid();
        let path = PathBuf::from(format!("/proc/{supervisor}/task/{supervisor}/children"));
        let children = tell("read", &path, fs::read_to_string(&path))?;
        match children.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<i32>, _>>().as_deref() {
            Ok([child]) => Ok([supervisor, *child]),
            _ => Err(format!("expected one child of the supervisor, found '{children}'")),
        }
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

/// What `probe stamp` says.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    at: i64,
    length: i64,
}

impl Stamp {
    fn of_line(line: &str) -> Option<Stamp> {
        let [at, _pid, length] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some(Stamp { at: at.parse().ok()?, length: length.parse().ok()? })
    }
}

/// The stamps of a command, through a FIFO: who waits at it does not disturb what is measured.
struct Stamps {
    path: PathBuf,
    fifo: File,
    seen: usize,
    _directory: TempDir,
}

impl Stamps {
    fn new() -> Result<Stamps> {
        let directory = temporary()?;
        let path = directory.path().join("stamps");
        tell("create", &path, mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(Into::into))?;
        // Also for writing, so that it does not end while no command runs.
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(&path);
        Ok(Stamps { fifo: tell("open", &path, fifo)?, path, seen: 0, _directory: directory })
    }

    /// Waits for the first stamp that is accepted.
    fn first(&mut self, accept: impl Fn(&Stamp) -> bool) -> Result<Stamp> {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            self.wait();
            if let Some(stamp) = self.read()?.into_iter().find(&accept) {
                return Ok(stamp);
            }
        }
        Err(format!("the command has not started within {DEADLINE:?}"))
    }

    fn wait(&self) {
        let mut polled = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        // Interrupted or not, what counts is what can be read.
        let _ = poll(&mut polled, PollTimeout::from(1000u16));
    }

    /// The stamps that are there. Each is written at once, so none is there in part.
    fn read(&mut self) -> Result<Vec<Stamp>> {
        let mut buffer = [0; 4096];
        let count = match self.fifo.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(format!("cannot read {}: {error}", self.path.display())),
        };
        let stamps: Vec<Stamp> = String::from_utf8_lossy(&buffer[..count]).lines().filter_map(Stamp::of_line).collect();
        self.seen += stamps.len();
        Ok(stamps)
    }

    fn drain(&mut self) -> Result<()> {
        while !self.read()?.is_empty() {}
        Ok(())
    }
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// Voluntary and involuntary ones of all their threads since their start.
fn context_switches(processes: &[i32]) -> Result<u64> {
    let mut sum = 0;
    for process in processes {
        let path = PathBuf::from(format!("/proc/{process}/task"));
        for thread in tell("list", &path, fs::read_dir(&path))?.flatten() {
            sum += field(&thread.path().join("status"), "voluntary_ctxt_switches:")?;
            sum += field(&thread.path().join("status"), "nonvoluntary_ctxt_switches:")?;
        }
    }
    Ok(sum)
}

/// Bytes, what is shared being shared out among those who share it.
fn proportional_set(processes: &[i32]) -> Result<u64> {
    let sizes = processes.iter().map(|pid| field(Path::new(&format!("/proc/{pid}/smaps_rollup")), "Pss:"));
    Ok(sizes.sum::<Result<u64>>()? * 1024)
}

fn field(path: &Path, name: &str) -> Result<u64> {
    let text = tell("read", path, fs::read_to_string(path))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{} has no '{name}'", path.display()))
}

/// Turns an I/O error into a sentence: "cannot `verb` `path`: ...".
fn tell<T>(verb: &str, path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| format!("cannot {verb} {}: {error}", path.display()))
}
