//! From an invocation to its role: supervisor (and, in a forked process, child) or explanation. This is the one place that
//! prints an error and chooses the exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::address::{Address, Listen};
use crate::advice;
use crate::change::{Look, seen_from};
use crate::child;
use crate::cli::args::{Args, Parsed, parse};
use crate::cli::caller::Caller;
use crate::cli::init::Init;
use crate::cli::logging;
use crate::cli::resolve::resolve;
use crate::client;
use crate::config::{Config, Discover, EventsTarget, OnChange, Smoke};
use crate::control;
use crate::discover::{Kept, Role, Standing};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::escape::escaped;
use crate::exit_code::{ChildEnd, ExitCode};
use crate::filter::{Decision, Filter, OwnFiles, Rule};
use crate::heartbeat::Heartbeat;
use crate::listen::{self, OutletSocket, Purpose, bind_for_outlet};
use crate::os;
use crate::os::fs::{FileId, identity, look};
use crate::os::local::Listener;
use crate::os::signals::{Dispositions, Signal};
#[cfg(feature = "outlet")]
use crate::outlet;
use crate::pattern::normalized;
use crate::print_watched::{self, Format};
use crate::probe::Probe;
use crate::protocol::Ties;
use crate::report;
use crate::smoke;
use crate::supervisor::{self, Host, OutletTies, Parent};
use crate::watch;

/// Runs with these words, the program's name first, and says how it ended.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let dispositions = Dispositions::of_caller();
    os::fd::note_handed_over();
    os::signals::hear_of_deaths();
    supervisor::settle_signals();
    end_on_panic();
    os::fd::ensure_standard_three();
    let ended = match parse(words) {
        Parsed::Args(args) => play(*args, dispositions),
        Parsed::Init(init) => begin(&init, &Environment::of_process(os::user::home())),
        Parsed::Ask(order) => client::run(&order, &Environment::of_process(os::user::home())),
        Parsed::Text(text) => print(&text).map(|()| ExitCode::SUCCESS),
        Parsed::Wrong(text) => Err(Error::Words(text)),
    };
    ended.unwrap_or_else(|error| {
        complain(&error);
        code_of(&error)
    })
}

fn code_of(error: &Error) -> ExitCode {
    match error {
        Error::Usage(_) | Error::Mistakes(_) | Error::Words(_) => ExitCode::USAGE,
        Error::Own(_) => ExitCode::OWN_FAILURE,
    }
}

/// A panic of any thread ends the process, whether this build would unwind or abort: a child without its watcher would
/// run on and notice nothing. The message is not waited for, as it would be by the default hook.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        report::say(&format!("this is a bug in reloadrun: {panic}"));
        os::process::leave_at_once(ExitCode::OWN_FAILURE)
    }));
}

/// Writes a config file to start from.
fn begin(init: &Init, environment: &Environment) -> Result<ExitCode> {
    let wrote = init.write(environment)?;
    print(&format!("{}\n", escaped(&wrote))).map(|()| ExitCode::SUCCESS)
}

fn complain(error: &Error) {
    match error {
        Error::Mistakes(sentences) => report::complain(sentences),
        Error::Usage(sentence) | Error::Own(sentence) => report::complain(std::slice::from_ref(sentence)),
        Error::Words(text) => report::complain_in_lines(text),
    }
}

fn print(text: &str) -> Result<()> {
    match write!(std::io::stdout(), "{text}") {
        // `reloadrun --help | head` is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::own(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// What an invocation is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// To run a command.
    Run,
    /// To say whether a change of this path would count.
    Explain(OsString),
    /// To run a command once and print which files it names.
    PrintWatched(Format),
}

impl Mode {
    fn of(args: &Args) -> Mode {
        match (&args.explain, args.print_watched) {
            (Some(path), _) => Mode::Explain(path.clone()),
            (None, Some(format)) => Mode::PrintWatched(format),
            (None, None) => Mode::Run,
        }
    }

    fn needs_command(&self) -> bool {
        match self {
            Mode::Run | Mode::PrintWatched(_) => true,
            Mode::Explain(_) => false,
        }
    }
}

fn play(args: Args, dispositions: Dispositions) -> Result<ExitCode> {
    let caller = Caller::of_process().map_err(Error::Mistakes)?;
    let mode = Mode::of(&args);
    let config = resolve(&args, &caller, mode.needs_command()).map_err(Error::Mistakes)?;
    match mode {
        Mode::Run => match (config.smoke.clone(), config.ready.clone()) {
            (Some(smoke), Some(probe)) => check(args, caller, &config, (&smoke, &probe), dispositions),
            _ => hold_sockets(args, caller, config, dispositions),
        },
        Mode::Explain(path) if path.is_empty() => Err(Error::usage("--explain '': expected a path")),
        Mode::Explain(path) => {
            logging::begin(&config)?;
            let here = caller.directory(&args).map_err(Error::Mistakes)?;
            let asked = args.leave_all_open().then(|| normalized(&here.join(&path)));
            match asked.and_then(|path| client::explained(&path, &here, &caller.environment)) {
                Some(explained) => explain_by_run(&explained),
                None => explain(&config, &identity(&here.join(&path), &config.directory), path.as_ref()),
            }
        }
        Mode::PrintWatched(format) => {
            // Nobody holds sockets for a command that runs once.
            let config = Config { listen: Vec::new(), ..config };
            let filter = Filter::new(&config, own_files(&config, config.lockfile.as_deref()));
            print_watched::run(&config, &filter, format, &dispositions)
        }
    }
}

/// A smoke run: an ordinary run in a process below this one, and the check.
fn check(
    args: Args,
    caller: Caller,
    config: &Config,
    (smoke, probe): (&Smoke, &Probe),
    dispositions: Dispositions,
) -> Result<ExitCode> {
    ensure_touching_restarts(config, smoke)?;
    let mut supervise = |events| {
        let smoke = Some(Smoke { events: config.events.clone(), ..smoke.clone() });
        let config = Config { events: Some(events), smoke, ..config.clone() };
        let ended = hold_sockets(args.clone(), caller.clone(), config, dispositions.clone());
        ended.unwrap_or_else(|error| {
            complain(&error);
            code_of(&error)
        })
    };
    smoke::run(config, smoke, probe, &dispositions, &mut supervise)
}

/// What the command reads is not known yet, but without discovery the patterns say it all.
fn ensure_touching_restarts(config: &Config, smoke: &Smoke) -> Result<()> {
    if config.discover != Discover::Off {
        return Ok(());
    }
    let filter = Filter::new(config, own_files(config, config.lockfile.as_deref()));
    for path in &smoke.prove_reload {
        let shown = seen_from(&config.directory, path);
        let (counts, sentence) = explained(config, &filter, &identity(path, &config.directory), &shown);
        if !counts {
            return Err(Error::usage(format!("--prove-reload {}: {sentence}", shown.display())));
        }
    }
    Ok(())
}

/// Binds the sockets before anything is opened, because they need the first descriptors.
fn hold_sockets(args: Args, caller: Caller, mut config: Config, dispositions: Dispositions) -> Result<ExitCode> {
    let given = config.listen.clone();
    let held = listen::bind(&given, &report::say)?;
    for (listen, address) in config.listen.iter_mut().zip(&held.addresses) {
        listen.address.clone_from(address);
    }
    config.hints.extend(advice::pid_of_another(&config));
    if config.browser.is_some() && config.ready.is_none() {
        config.hints.push("--browser: without --ready, pages load again when the command has started, which may be before it answers; --ready http://HOST:PORT/ waits for that".to_owned());
    }
    if config.overlap && os::fd::may_have_input() {
        config.hints.push("--overlap: two generations run at a time, so the command gets no standard input and no keys from the terminal".to_owned());
    }
    let ended = reserve(&config)
        .map_err(Error::Usage)
        .and_then(|()| logging::begin(&config))
        .and_then(|()| bind_outlet(&config))
        .and_then(|outlet| supervise(args, caller, config, given, outlet, dispositions));
    held.remove_files();
    ended
}

/// The sockets at which reloadrun itself answers.
fn bind_outlet(config: &Config) -> Result<Vec<OutletSocket>> {
    let http = config.http.map(|address| (Purpose::Http, address));
    let wanted = http.into_iter().chain(config.browser.map(|address| (Purpose::Browser, address)));
    wanted.map(|(purpose, address)| bind_for_outlet(purpose, address, &report::say)).collect()
}

fn supervise(
    args: Args,
    mut caller: Caller,
    mut config: Config,
    listen_given: Vec<Listen>,
    outlet: Vec<OutletSocket>,
    dispositions: Dispositions,
) -> Result<ExitCode> {
    let heartbeat = Heartbeat::begin(config.lockfile.as_deref(), &config.environment)?;
    let parent = Parent::of(&caller.environment);
    caller.environment = Parent::hidden_from(&caller.environment);
    let control = listen_to_clients(&config);
    // For the command, also after the config was read anew; not that of an outer reloadrun.
    let socket = control.as_ref().ok().map(|listener| listener.path().as_os_str().to_owned());
    caller.environment = caller.environment.with(control::VARIABLE, socket.clone());
    config.environment = caller.environment.clone();
    let mut own = own_files(&config, heartbeat.path());
    socket.into_iter().for_each(|path| own.add_path(path.into()));
    let filter = Arc::new(Filter::new(&config, own.clone()));
    let looks = looks(&config);
    let mut invocation = Invocation { args, caller, config, listen_given, looks, own, filter, dispositions };
    supervisor::run(&mut invocation, heartbeat, control, outlet, parent)
}

/// # Errors
/// A sentence for the user: the run goes on without it.
fn listen_to_clients(config: &Config) -> std::result::Result<Listener, String> {
    let refused = |directory: &Path, error| {
        let (directory, reason) = (directory.display(), os::reason(error));
        format!(
            "this run cannot be asked (reloadrun status): no socket can be made in {directory} ({reason}); set XDG_RUNTIME_DIR or TMPDIR to a directory of this user"
        )
    };
    let mut last = String::new();
    // Another run may have removed the directory just now, because it was empty.
    for _ in 0..3 {
        let directory =
            control::directory_for_socket(&config.environment).map_err(|(path, error)| refused(&path, error))?;
        match directory.listen(&control::new_name()) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = refused(directory.path(), error),
        }
    }
    Err(last)
}

fn explain(config: &Config, path: &Path, shown: &Path) -> Result<ExitCode> {
    let filter = Filter::new(config, own_files(config, config.lockfile.as_deref()));
    let (counts, sentence) = explained(config, &filter, path, shown);
    let told = tell_explained(counts, &sentence)?;
    if config.discover != Discover::Off {
        report::complain(&["no run was asked: what a command reads counts as well, and what it writes does not; `reloadrun explain PATH` asks its run, and --print-watched tries it".to_owned()]);
    }
    Ok(told)
}

/// What a run has said.
fn explain_by_run(explained: &client::Explained) -> Result<ExitCode> {
    let client::Explained { pid, command, counts, message } = explained;
    let told = tell_explained(*counts, message)?;
    report::complain(&[format!("so says the run with pid {pid}: {command}")]);
    Ok(told)
}

fn tell_explained(counts: bool, sentence: &str) -> Result<ExitCode> {
    print(&format!("{}\n", escaped(sentence)))?;
    Ok(if counts { ExitCode::SUCCESS } else { ExitCode::NOT_WATCHED })
}

/// Whether a change would count, and what it leads to.
fn explained(config: &Config, filter: &Filter, path: &Path, shown: &Path) -> (bool, String) {
    let decision = watch::explain(filter, path);
    if decision.counts && decision.rule.is_for_browsers() {
        let told =
            if config.browser.is_some() { "is told to browsers" } else { "concerns browsers (--browser tells them)" };
        return (false, format!("a change of {} {told} and restarts nothing: {}", shown.display(), decision.rule));
    }
    let place = if path.is_dir() { "in " } else { "of " };
    let effect = match &config.on_change {
        _ if !decision.counts => "does nothing".to_owned(),
        OnChange::Signal(signal) if !decision.rule.is_config() => format!("leads to {signal} to the command"),
        OnChange::Queue if !decision.rule.is_config() => "leads to another start after the command's end".to_owned(),
        OnChange::Run(line) if !decision.rule.is_config() => format!("leads to a run of `{line}`"),
        _ => "leads to a restart".to_owned(),
    };
    let note = filter.live().and_then(|live| named_by(&decision, live.standing(path))).unwrap_or_default();
    let rule = decision.rule.seen_from(&config.directory);
    (decision.counts, format!("a change {place}{} {effect}: {rule}{note}", shown.display()))
}

/// Who has named a file, where another rule has decided.
fn named_by(decision: &Decision, standing: Standing) -> Option<String> {
    let Standing { depends: Some(role), by: by @ Some(_), .. } = standing else { return None };
    let is_said = matches!(decision.rule, Rule::Discovered(..) | Rule::Written(_));
    (!is_said && role != Role::Listed).then(|| format!("; {}", Rule::Discovered(role, by)))
}

fn looks(config: &Config) -> Vec<(PathBuf, Look)> {
    config.sources().map(|path| (path.clone(), look(path))).collect()
}

/// Keeps the descriptor free by which the command tells that it is ready.
fn reserve(config: &Config) -> std::result::Result<(), String> {
    let Some(Probe::Descriptor(number)) = config.ready else { return Ok(()) };
    os::handed_over::reserve(number).map_err(|errno| match errno {
        os::Errno::EBUSY => format!("--ready fd:{number}: this descriptor is in use already; choose another number"),
        errno => format!("--ready fd:{number}: {}", os::reason(errno)),
    })
}

/// What we write, and what the command writes through the descriptors that it has from us.
fn own_files(config: &Config, lockfile: Option<&Path>) -> OwnFiles {
    let mut own = OwnFiles::default();
    let mut descriptors = vec![1, 2];
    match &config.events {
        Some(EventsTarget::File(path)) => own.add_path(path.clone()),
        Some(EventsTarget::Descriptor(number)) => descriptors.push(*number),
        Some(EventsTarget::Stderr) | None => {}
    }
    lockfile.iter().for_each(|path| own.add_path(path.to_path_buf()));
    for report in config.smoke.iter().flat_map(|smoke| &smoke.reports) {
        own.add_path(report.path.clone());
    }
    if let Some(EventsTarget::File(path)) = config.smoke.as_ref().and_then(|smoke| smoke.events.as_ref()) {
        own.add_path(path.clone());
    }
    add_pid_files(config, &mut own);
    for listen in &config.listen {
        if let Address::Unix(path) = &listen.address {
            own.add_path(path.clone());
        }
    }
    descriptors.into_iter().filter_map(FileId::of_descriptor).for_each(|file| own.add_file(file));
    own
}

/// The pid file, and where gunicorn and nginx put it while they replace themselves.
fn add_pid_files(config: &Config, own: &mut OwnFiles) {
    if let Some(path) = &config.pidfile {
        for end in ["", ".2", ".oldbin"] {
            let mut name = path.clone().into_os_string();
            name.push(end);
            own.add_path(name.into());
        }
    }
}

/// One run: what was typed, and what it means now.
struct Invocation {
    args: Args,
    caller: Caller,
    config: Config,
    /// The sockets that were asked for; in the config they have the ports that the kernel chose.
    listen_given: Vec<Listen>,
    /// How the files of the config looked before they were last read.
    looks: Vec<(PathBuf, Look)>,
    /// The files that reloadrun writes itself.
    own: OwnFiles,
    filter: Arc<Filter>,
    dispositions: Dispositions,
}

impl Host for Invocation {
    fn config(&self) -> &Config {
        &self.config
    }

    fn reload(&mut self) -> std::result::Result<(), Vec<String>> {
        self.looks = looks(&self.config);
        let config = resolve(&self.args, &self.caller, true)?;
        if config.ready != self.config.ready {
            reserve(&config).map_err(|mistake| vec![mistake])?;
        }
        if config.overlap != self.config.overlap {
            return Err(vec![
                "overlap cannot be changed while reloadrun runs; start reloadrun anew for that".to_owned(),
            ]);
        }
        // Those are open; a new place for them counts from the next start of reloadrun.
        let (lockfile, events) = (self.config.lockfile.take(), self.config.events.take());
        let (keys, http, browser) = (self.config.keys, self.config.http, self.config.browser);
        let (listen, mut hints) = (std::mem::take(&mut self.config.listen), config.hints);
        if config.listen != self.listen_given {
            hints.push("listen was changed; the sockets stay as they are until reloadrun is started anew".to_owned());
        }
        for (key, is_new) in [("http", config.http != http), ("browser", config.browser != browser)] {
            if is_new {
                hints.push(format!("{key} was changed; reloadrun answers where it did until it is started anew"));
            }
        }
        self.config = Config { lockfile, events, listen, keys, http, browser, hints, ..config };
        add_pid_files(&self.config, &mut self.own);
        let before = |path: &PathBuf| self.looks.iter().find(|(known, _)| known == path).map(|(_, look)| *look);
        let looks = self.config.sources().map(|path| (path.clone(), before(path).unwrap_or_else(|| look(path))));
        self.looks = looks.collect();
        self.filter = Arc::new(Filter::new(&self.config, self.own.clone()));
        Ok(())
    }

    fn source_moved_on(&self) -> Option<PathBuf> {
        let moved = self.looks.iter().find(|(path, then)| look(path).stamp != then.stamp);
        moved.map(|(path, _)| path.clone())
    }

    fn counts(&self, path: &Path) -> bool {
        let decision = self.filter.decide(path);
        decision.counts && !decision.rule.is_for_browsers()
    }

    fn explain(&self, path: &Path, known: Kept) -> (bool, String) {
        // Of a command that is not traced nothing is known, and that says nothing.
        if let Some(live) = self.filter.live().filter(|_| known != Kept::default()) {
            live.resume(known);
        }
        let shown = seen_from(&self.config.directory, path);
        explained(&self.config, &self.filter, &identity(path, &self.config.directory), &shown)
    }

    fn caller_ignores(&self, signal: Signal) -> bool {
        self.dispositions.ignores(signal)
    }

    fn be_child(&self, ties: Ties) -> ChildEnd {
        child::run(&self.config, &self.filter, ties, &self.dispositions)
    }

    #[cfg(feature = "outlet")]
    fn be_outlet(&self, ties: OutletTies<'_>) -> ExitCode {
        outlet::run(ties.connection, ties.sockets)
    }

    #[cfg(not(feature = "outlet"))]
    fn be_outlet(&self, ties: OutletTies<'_>) -> ExitCode {
        // Nobody could ask for one.
        let OutletTies { connection, sockets } = ties;
        drop((connection, sockets));
        ExitCode::OWN_FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::end_on_panic;
    use crate::exit_code::ExitCode;
    use std::process::Command;
    use std::sync::Mutex;
    use std::time::Duration;

    /// Set in the process that is to panic.
    const PANICS: &str = "RELOADRUN_TEST_PANICS";

    #[test]
    fn a_thread_that_panics_ends_the_whole_process_with_a_line_and_125() {
        if std::env::var_os(PANICS).is_some() {
            end_on_panic();
            let shared = Mutex::new(());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let _locked = shared.lock();
                    panic!("on purpose");
                });
                // As the main thread of a child, which waits for something else.
                std::thread::sleep(Duration::from_secs(60));
            });
            return;
        }
        let name = "run::tests::a_thread_that_panics_ends_the_whole_process_with_a_line_and_125";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(PANICS, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(i32::from(ExitCode::OWN_FAILURE.number())), "{stderr}");
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("panicked")).collect();
        assert!(matches!(lines[..], [line] if line.starts_with("reloadrun: this is a bug in reloadrun: ")), "{stderr}");
        assert!(stderr.contains("on purpose"), "{stderr}");
    }
}
