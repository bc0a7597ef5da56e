//! The real applications of `fixtures/` under reloadrun: one restart for each save, recovery from a syntax error, no
//! process left at the end; and servers with five workers that all load a new configuration, by a restart and by HUP.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::support::session::{DEADLINE, is_alive};
use crate::support::watched::set_time;
use crate::support::{Sandbox, Session, apps};

/// A file that no pattern here matches, and that is ignored by default.
const DOES_NOT_COUNT: &str = "server.log";

/// A server of `fixtures/` and its properties.
struct Server {
    fixture: &'static str,
    watch: &'static str,
    /// The file with its `CODE`.
    code_file: &'static str,
    /// The command line; `{port}` stands for the port.
    command: &'static [&'static str],
    /// How many processes answer.
    workers: usize,
    /// How many processes import the code. Each of them reports a syntax error.
    importers: usize,
    /// The exit code when its code is broken.
    failures: &'static [i32],
    /// Whether it leaves bytecode beside its code: Python writes bytecode for imported modules, not for the main
    /// script.
    bytecode: bool,
}

const BOTTLE: Server = Server {
    fixture: "bottle",
    watch: "*.py;*.toml",
    code_file: "app.py",
    command: &["python", "app.py"],
    workers: 1,
    importers: 1,
    failures: &[1],
    bytecode: false,
};

const FLASK: Server = Server { fixture: "flask", ..BOTTLE };

const DJANGO: Server = Server {
    fixture: "django",
    code_file: "views.py",
    command: &["python", "manage.py", "runserver", "--noreload"],
    bytecode: true,
    ..BOTTLE
};

const STARLETTE: Server =
    Server { fixture: "starlette", command: &["uvicorn", "app:app", "--port", "{port}"], bytecode: true, ..BOTTLE };

/// Normally it exits with 3, and with 1 if a second worker fails in the same moment.
const GUNICORN: Server = Server {
    fixture: "gunicorn",
    command: &["gunicorn"],
    workers: 5,
    importers: 5,
    failures: &[1, 3],
    bytecode: true,
    ..BOTTLE
};

const UWSGI_PREFORK: Server = Server {
    fixture: "uwsgi",
    watch: "*.py;*.toml;*.ini",
    command: &["uwsgi", "uwsgi.ini"],
    workers: 5,
    failures: &[22],
    bytecode: true,
    ..BOTTLE
};

const UWSGI_LAZY: Server = Server { command: &["uwsgi", "uwsgi-lazy.ini"], importers: 5, ..UWSGI_PREFORK };

const NODE: Server =
    Server { fixture: "node", watch: "*.js;*.toml", code_file: "server.js", command: &["node", "server.js"], ..BOTTLE };

#[test]
fn bottle_restarts_once_for_each_save_and_comes_back_after_a_syntax_error() {
    with_python_packages(&BOTTLE, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn flask_restarts_once_for_each_save_and_comes_back_after_a_syntax_error() {
    with_python_packages(&FLASK, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn django_restarts_once_for_each_save_and_comes_back_after_a_syntax_error() {
    with_python_packages(&DJANGO, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn starlette_restarts_once_for_each_save_and_comes_back_after_a_syntax_error() {
    with_python_packages(&STARLETTE, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn all_gunicorn_workers_restart_once_for_each_save_and_come_back_after_a_syntax_error() {
    with_python_packages(&GUNICORN, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn all_uwsgi_workers_restart_once_for_each_save_and_come_back_after_a_syntax_error() {
    with_python_packages(&UWSGI_PREFORK, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn all_lazy_uwsgi_workers_restart_once_for_each_save_and_come_back_after_a_syntax_error() {
    with_python_packages(&UWSGI_LAZY, restarts_once_for_each_save_and_comes_back_after_a_syntax_error);
}

#[test]
fn node_restarts_once_for_each_save_and_comes_back_after_a_syntax_error() {
    if Command::new("node").arg("--version").output().is_err() {
        return crate::ends::left_out("node under reloadrun: it is not installed");
    }
    // A name without a slash, found in PATH.
    restarts_once_for_each_save_and_comes_back_after_a_syntax_error(&NODE, Path::new(""));
}

#[test]
fn all_gunicorn_workers_take_a_new_configuration_on_hup() {
    with_python_packages(&GUNICORN, all_workers_take_each_save_on_hup);
}

#[test]
fn all_uwsgi_workers_take_a_new_configuration_on_hup() {
    with_python_packages(&UWSGI_PREFORK, all_workers_take_each_save_on_hup);
}

#[test]
fn all_lazy_uwsgi_workers_take_a_new_configuration_on_hup() {
    with_python_packages(&UWSGI_LAZY, all_workers_take_each_save_on_hup);
}

#[test]
fn gunicorn_imports_the_second_of_two_quick_saves_of_the_same_size_on_hup() {
    with_python_packages(&GUNICORN, |server, bin| {
        under_reloadrun(server, bin, &["-w", server.watch, "--on-change", "signal:HUP"], |running| {
            running.wait_for_workers("one", "hello");
            let source = running.sandbox.path(server.code_file);
            let text = fs::read_to_string(&source).unwrap();
            let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            for (number, word) in (1..).zip(["two", "six", "ten", "one", "two", "six"]) {
                // However long the workers take, all saves have the same time in seconds.
                let new = running.sandbox.beside().join("new");
                fs::write(&new, text.replace("\"one\"", &format!("\"{word}\""))).unwrap();
                set_time(&new, second + Duration::from_millis(number));
                fs::rename(&new, &source).unwrap();
                running.saves += 1;
                assert_eq!(running.session.wait("changed")["action"], "signal:SIGHUP");
                running.wait_for_new_workers(word, "hello");
            }
        });
    });
}

#[test]
fn a_save_while_gunicorn_boots_is_not_lost() {
    with_python_packages(&GUNICORN, |server, bin| {
        let mut running = Running::start(server, bin, &["-w", server.watch, "--on-change", "signal:HUP"]);
        // Some of these come before the master has set its handlers, some after.
        let words = ["one", "three", "fourteen", "two", "sixteen", "seven"];
        for pair in words.windows(2) {
            running.save(server.code_file, &format!("\"{}\"", pair[0]), &format!("\"{}\"", pair[1]));
            // The pauses are the test: the handlers are set after about the same time.
            std::thread::sleep(Duration::from_millis(60));
        }
        running.wait_for_workers("seven", "hello");
        running.session.wait_until("the end of the old workers", || {
            (0..10).all(|_| apps::get(running.port, "/").is_ok_and(|answer| says(&answer, "seven", "hello")))
        });
        let Running { session, sandbox, .. } = running;
        let ended = session.stop();
        assert_eq!((ended.count("waiting"), ended.count("exited")), (0, 0), "{ended:#?}");
        assert_eq!(command_tree(&sandbox), BTreeSet::new(), "{ended:#?}");
    });
}

#[test]
fn gunicorn_as_a_daemon_is_reported_and_restarted() {
    const DAEMON: Server = Server { command: &["gunicorn", "-D"], ..GUNICORN };
    with_python_packages(&DAEMON, |server, bin| {
        let mut running = Running::start(server, bin, &["-w", server.watch, "--on-change", "signal:HUP"]);
        running.wait_for_workers("one", "hello");
        let hint = running.session.wait("hint")["message"].to_string();
        assert!(hint.contains("processes (gunicorn") && hint.contains("gunicorn without -D"), "{hint}");
        running.save_restarts(server.code_file, "\"one\"", "\"three\"");
        running.wait_for_workers("three", "hello");
        let Running { session, sandbox, .. } = running;
        let ended = session.stop();
        assert_eq!((ended.count("hint"), ended.count("degraded")), (1, 0), "{ended:#?}");
        assert_eq!(command_tree(&sandbox), BTreeSet::new(), "{ended:#?}");
    });
}

#[test]
fn gunicorn_as_a_daemon_gets_hup_by_its_pid_file_and_ends_with_reloadrun() {
    const DAEMON: Server = Server { command: &["gunicorn", "-D", "-p", "app.pid"], ..GUNICORN };
    with_python_packages(&DAEMON, all_workers_of_a_daemon_take_each_save_on_hup);
}

#[test]
fn uwsgi_as_a_daemon_gets_hup_by_its_pid_file_and_ends_with_reloadrun() {
    const DAEMON: Server =
        Server { command: &["uwsgi", "uwsgi.ini", "--daemonize", "app.log", "--pidfile", "app.pid"], ..UWSGI_PREFORK };
    with_python_packages(&DAEMON, all_workers_of_a_daemon_take_each_save_on_hup);
}

#[test]
fn each_save_replaces_gunicorn_as_a_daemon() {
    const DAEMON: Server = Server { command: &["gunicorn", "-D", "-p", "app.pid"], ..GUNICORN };
    with_python_packages(&DAEMON, |server, bin| {
        under_reloadrun(server, bin, &["-w", server.watch, "--pidfile", "app.pid"], |running| {
            running.wait_for_workers("one", "hello");
            running.save_restarts(server.code_file, "\"one\"", "\"three\"");
            running.wait_for_workers("three", "hello");
            running.command = pid(&running.session.wait_where("main_process", |event| event["generation"] == 2));
        });
    });
}

#[test]
fn a_module_that_django_imports_late_restarts_it_before_its_first_import_and_after() {
    with_python_packages(&DJANGO, |server, bin| {
        under_reloadrun(server, bin, &["-w", server.watch], |running| {
            running.wait_for("/", "one", "hello");
            running.save_restarts("lazyview.py", "\"one\"", "\"three\"");
            running.wait_for("/lazy", "three", "hello");

            // A broken module affects only requests that import it; the server keeps running.
            running.save_restarts("lazyview.py", "CODE =", "CODE = =");
            running.wait_for("/", "one", "hello");
            let answer = apps::get(running.port, "/lazy");
            assert!(answer.as_ref().is_err_and(|error| error.contains(" 500 ")), "{answer:?}");
            running.save_restarts("lazyview.py", "= = \"three\"", "= \"fourteen\"");
            running.wait_for("/lazy", "fourteen", "hello");
        });
    });
}

#[test]
fn without_patterns_the_bytecode_of_a_server_does_not_restart_it() {
    with_python_packages(&STARLETTE, |server, bin| {
        under_reloadrun(server, bin, &[], |running| {
            running.wait_for("/", "one", "hello");
            running.assert_bytecode();
            running.save_restarts(server.code_file, "\"one\"", "\"three\"");
            running.wait_for("/", "three", "hello");
            running.save_restarts("app.toml", "hello", "welcome");
            running.wait_for("/", "three", "welcome");
        });
    });
}

#[test]
fn a_pipeline_restarts_once_for_each_save_and_no_stage_is_left() {
    let sandbox = Sandbox::new();
    apps::copy_fixture("pipeline", sandbox.root());
    // In the watched directory: the output of the pipeline must not restart it.
    let out = sandbox.path("result.out");
    let mut session = sandbox.start_with(["-w", "*.sh;*.txt", "--", "./pipeline.sh"], |command| {
        command.env("OUT", &out);
    });
    let steps = [
        (None, "one fig 3\none plum 2\none pear 1\n"),
        (Some(("pipeline.sh", "CODE=one", "CODE=three")), "three fig 3\nthree plum 2\nthree pear 1\n"),
        (Some(("words.txt", "pear", "apple")), "three fig 3\nthree plum 2\nthree apple 1\n"),
    ];
    let mut stages = BTreeSet::new();
    for (generation, (save, result)) in (1..).zip(steps) {
        if let Some((file, from, to)) = save {
            sandbox.write(DOES_NOT_COUNT, to);
            apps::edit(&sandbox.path(file), from, to);
        }
        let started = session.wait("started");
        let now = command_tree(&sandbox);
        let saved: Vec<PathBuf> = save.iter().map(|(file, ..)| sandbox.path(file)).collect();
        assert_eq!(started["generation"], generation, "{}", session.account());
        assert_eq!(changed_paths(&started), saved, "{}", session.account());
        assert!(stages.is_disjoint(&now), "{stages:?} before, {now:?} now\n{}", session.account());

        let whole = format!("{result}end {}\n", started["pid"]);
        session.wait_until("the result", || fs::read_to_string(&out).is_ok_and(|text| text == whole));
        stages = command_tree(&sandbox);
        assert_eq!(stages.len(), 3, "{}", session.account());
    }

    interrupt(session, &sandbox, 3, 2);
}

/// Runs the test with the directory of the Python programs, unless it must be left out.
fn with_python_packages(server: &Server, test: impl FnOnce(&Server, &Path)) {
    match apps::python_env() {
        Ok(bin) => test(server, &bin),
        Err(_) if apps::offline() => apps::left_out(&format!("{} under reloadrun", server.command.join(" "))),
        Err(reason) => panic!("{reason}"),
    }
}

/// Saves, breaks and repairs an application, as in development.
fn restarts_once_for_each_save_and_comes_back_after_a_syntax_error(server: &Server, bin: &Path) {
    under_reloadrun(server, bin, &["-w", server.watch], |running| {
        running.wait_for_workers("one", "hello");
        running.assert_bytecode();
        running.save_restarts(server.code_file, "\"one\"", "\"three\"");
        running.wait_for_workers("three", "hello");
        running.save_restarts("app.toml", "hello", "welcome");
        running.wait_for_workers("three", "welcome");
        running.assert_only_these_answer("three", "welcome");
        running.save_breaks(server.code_file, "CODE =", "CODE = =");
        // With another length than before, because of the bytecode: see `apps::edit`.
        running.save_restarts(server.code_file, "= = \"three\"", "= \"fourteen\"");
        running.wait_for_workers("fourteen", "welcome");
    });
}

/// The same master with new workers, for the configuration as for the code.
fn all_workers_take_each_save_on_hup(server: &Server, bin: &Path) {
    under_reloadrun(server, bin, &["-w", server.watch, "--on-change", "signal:HUP"], |running| {
        running.wait_for_workers("one", "hello");
        running.save_signals("app.toml", "hello", "welcome");
        running.wait_for_new_workers("one", "welcome");
        running.save_signals(server.code_file, "\"one\"", "\"three\"");
        running.wait_for_new_workers("three", "welcome");
    });
}

/// The same for a master that has moved to the background.
fn all_workers_of_a_daemon_take_each_save_on_hup(server: &Server, bin: &Path) {
    let options = ["-w", server.watch, "--on-change", "signal:HUP", "--pidfile", "app.pid"];
    under_reloadrun(server, bin, &options, |running| {
        running.command = pid(&running.session.wait("main_process"));
        running.wait_for_workers("one", "hello");
        let mut old = "hello".to_owned();
        for number in 1..20 {
            let new = format!("{old}{number}");
            running.save_signals("app.toml", &old, &new);
            running.wait_for_new_workers("one", &new);
            old = new;
        }
        running.save_signals(server.code_file, "\"one\"", "\"three\"");
        running.wait_for_new_workers("three", &old);
        assert_eq!(running.session.events().iter().filter(|event| event["event"] == "exited").count(), 0);
    });
}

/// A server under reloadrun.
struct Running<'a> {
    server: &'a Server,
    /// Before the sandbox, so that it ends first.
    session: Session,
    sandbox: Sandbox,
    port: u16,
    /// Pid of the command of this generation.
    command: i32,
    generation: u64,
    /// How many files that count have been saved.
    saves: usize,
    /// The pids that answered when all workers were last waited for.
    workers: BTreeSet<i32>,
}

/// Runs `reloadrun <arguments> -- <bin>/<command>` in a copy of the fixture, and interrupts it after the test. If the
/// test fails, all output is printed.
fn under_reloadrun(server: &Server, bin: &Path, arguments: &[&str], test: impl FnOnce(&mut Running)) {
    let mut running = Running::start(server, bin, arguments);
    if let Err(failure) = catch_unwind(AssertUnwindSafe(|| test(&mut running))) {
        eprintln!("{}", running.session.account());
        resume_unwind(failure);
    }
    running.interrupt();
}

impl<'a> Running<'a> {
    fn start(server: &'a Server, bin: &Path, arguments: &[&str]) -> Running<'a> {
        let sandbox = Sandbox::new();
        apps::copy_fixture(server.fixture, sandbox.root());
        let port = apps::free_port();
        let words = server.command.iter().map(|word| word.replace("{port}", &port.to_string()));
        let mut command: Vec<OsString> = words.map(OsString::from).collect();
        command[0] = bin.join(&command[0]).into_os_string();
        // A server on a busy machine takes longer than the default of 5 s to stop its workers.
        let patience = ["--stop-timeout", "60s", "--"].map(OsString::from);
        let all = arguments.iter().map(OsString::from).chain(patience).chain(command);
        let mut session = sandbox.start_with(all, |command| {
            command
                .env("PORT", port.to_string())
                .env_remove("PYTHONDONTWRITEBYTECODE")
                .env_remove("PYTHONPYCACHEPREFIX");
        });
        let command = pid(&session.wait_started(1));
        Running { server, session, sandbox, port, command, generation: 1, saves: 0, workers: BTreeSet::new() }
    }

    /// Waits until this is answered, and returns the pid in the answer.
    fn wait_for(&self, path: &str, code: &str, config: &str) -> i32 {
        pid(&apps::wait_for_answer(self.port, path, DEADLINE, |answer| says(answer, code, config)))
    }

    /// Waits until every worker has answered this.
    ///
    /// This is needed before a stop: a uWSGI worker that is still starting ignores TERM.
    fn wait_for_workers(&mut self, code: &str, config: &str) {
        let mut workers = BTreeSet::new();
        let deadline = Instant::now() + DEADLINE;
        while workers.len() < self.server.workers {
            assert!(Instant::now() < deadline, "only {workers:?} answer {code:?} and {config:?}");
            workers.insert(self.wait_for("/", code, config));
        }
        self.workers = workers;
    }

    /// Waits until the same command has only new workers, each of which has answered this.
    fn wait_for_new_workers(&mut self, code: &str, config: &str) {
        let old = std::mem::take(&mut self.workers);
        self.wait_for_workers(code, config);
        assert!(self.workers.is_disjoint(&old), "{old:?} before, {:?} now", self.workers);
        self.session.wait_until("the end of the old workers", || !old.iter().any(|&pid| is_alive(pid)));
        self.assert_only_these_answer(code, config);
        assert!(self.workers.iter().all(|&pid| parent(pid) == Some(self.command)), "{:?}", self.workers);
    }

    /// Asserts that only these workers answer, with only this answer.
    fn assert_only_these_answer(&self, code: &str, config: &str) {
        for _ in 0..10 * self.workers.len() {
            let answer = apps::get(self.port, "/").expect("the server answers");
            assert!(says(&answer, code, config), "{answer}");
            assert!(self.workers.contains(&pid(&answer)), "{answer} is none of {:?}", self.workers);
        }
    }

    /// Asserts that the server has written bytecode into the root, if it does so at all.
    fn assert_bytecode(&self) {
        let written = self.sandbox.path("__pycache__").is_dir();
        assert_eq!(written, self.server.bytecode, "{}", self.sandbox.listing());
    }

    /// Saves a file that counts, after one that does not.
    fn save(&mut self, file: &str, from: &str, to: &str) {
        self.sandbox.write(DOES_NOT_COUNT, to);
        apps::edit(&self.sandbox.path(file), from, to);
        self.saves += 1;
    }

    /// Saves, and asserts that the next generation starts, for this file alone, and that no process of the previous one
    /// is left.
    fn save_restarts(&mut self, file: &str, from: &str, to: &str) {
        let before = command_tree(&self.sandbox);
        self.save(file, from, to);
        let started = self.session.wait("started");
        let now = command_tree(&self.sandbox);
        self.generation += 1;
        assert_eq!(started["generation"], self.generation);
        assert_eq!(changed_paths(&started), [self.sandbox.path(file)]);
        assert!(before.is_disjoint(&now), "{before:?} before, {now:?} now");
        self.command = pid(&started);
    }

    /// Saves, and asserts that this file alone is reported as changed and that the command gets HUP.
    fn save_signals(&mut self, file: &str, from: &str, to: &str) {
        self.save(file, from, to);
        let changed = self.session.wait("changed");
        assert_eq!(changed["action"], "signal:SIGHUP");
        assert_eq!(changed["generation"], self.generation);
        assert_eq!(changed_paths(&changed), [self.sandbox.path(file)]);
    }

    /// Saves a syntax error, and asserts that one generation starts and fails, and that reloadrun then waits.
    fn save_breaks(&mut self, file: &str, from: &str, to: &str) {
        assert_eq!(self.complaints(), 0);
        self.save_restarts(file, from, to);
        let exited = self.session.wait("exited");
        assert_eq!(exited["generation"], self.generation);
        assert!(self.server.failures.iter().any(|&code| exited["code"] == code), "{exited}");
        assert_eq!(self.session.wait("waiting")["for"], "change");
        assert!(is_alive(self.session.pid()));
        // A failing master does not always wait for its last worker.
        self.session.wait_until("the end of the workers", || command_tree(&self.sandbox).is_empty());
        assert_port_is_free(self.port);
        let complaints = self.complaints();
        assert!((1..=self.server.importers).contains(&complaints), "{complaints} complaints");
    }

    /// The number of syntax error messages so far, Python's or Node's.
    fn complaints(&self) -> usize {
        (self.session.stdout() + &self.session.stderr()).matches("SyntaxError: ").count()
    }

    /// Interrupts reloadrun, and asserts that only the expected restarts happened and that no process is left.
    fn interrupt(self) {
        assert!(command_tree(&self.sandbox).contains(&self.command), "{}", self.session.account());
        let Running { session, sandbox, port, generation, saves, .. } = self;
        interrupt(session, &sandbox, generation, saves);
        assert_port_is_free(port);
    }
}

/// Interrupts reloadrun, and asserts the total number of starts and changes, that no stop needed KILL, and that no
/// process is left.
fn interrupt(session: Session, sandbox: &Sandbox, starts: u64, changes: usize) {
    session.signal("INT");
    let ended = session.wait_end();
    ended.assert_code(130);
    assert_eq!(ended.count("started") as u64, starts, "{ended:#?}");
    assert_eq!(ended.count("changed"), changes, "{ended:#?}");
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
    assert!(ended.events.iter().all(|event| event["killed"] != true), "{ended:#?}");
    assert_eq!(command_tree(sandbox), BTreeSet::new(), "{ended:#?}");
}

fn assert_port_is_free(port: u16) {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("no process listens any more");
}

/// Whether an answer of a fixture has these words.
fn says(answer: &Value, code: &str, config: &str) -> bool {
    answer["code"] == code && answer["config"] == config
}

/// The pid in an answer or an event.
fn pid(value: &Value) -> i32 {
    let pid = value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.unwrap_or_else(|| panic!("no pid in {value}"))
}

/// The paths in an event's change set.
fn changed_paths(event: &Value) -> Vec<PathBuf> {
    let changes = event["changes"].as_array().expect("such an event has changes");
    changes.iter().map(|change| PathBuf::from(change["path"].as_str().expect("a change has a path"))).collect()
}

/// The parent of an existing process.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Every running process whose working directory is the root, except reloadrun's own: the fixtures do not change their
/// directory. A zombie has no working directory.
fn command_tree(sandbox: &Sandbox) -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == sandbox.root()))
        .filter(|entry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| !name.starts_with("reload")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
