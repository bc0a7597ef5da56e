//! Real programs without any `-w`: what they read restarts them, what they write does not, and none of them loops.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::control::answer;
use crate::support::session::{DEADLINE, Session};
use crate::support::watched::{is_installed, names};
use crate::support::{Sandbox, apps};

/// The environment with Flask, Django and uWSGI.
fn python() -> Option<std::path::PathBuf> {
    match apps::python_env() {
        Ok(bin) => Some(bin),
        Err(_) if apps::offline() => {
            apps::left_out("discovery in Flask and uWSGI");
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

fn with_python(sandbox: &Sandbox, bin: &Path, port: u16, arguments: &[&str]) -> Session {
    sandbox.start_with(arguments, |command| {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin.display())).env("PORT", port.to_string());
        command.env(
            "PYTHONPATH",
            format!("{}:.venv/lib/python3/site-packages", sandbox.beside().join("shared").display()),
        );
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
    })
}

fn restarted(session: &mut Session, generation: u64, name: &str) {
    let started = session.wait_armed(generation);
    assert_eq!(names(&started), [name], "{}", session.account());
}

const FLASK: &str = r#"
import os, sqlite3, tomllib, flask
import helper, shared, dep
app = flask.Flask(__name__)
config = tomllib.load(open("app.toml", "rb"))
try:
    config |= tomllib.load(open("config.local.toml", "rb"))
except FileNotFoundError:
    pass
base = sqlite3.connect("app.data")
base.execute("create table if not exists t (x)")
base.commit()
open("journal.txt", "a").write("started\n")

@app.get("/")
def index():
    import lazy
    os.makedirs("uploads", exist_ok=True)
    open(f"uploads/{os.getpid()}.bin", "w").write("x")
    open("journal.txt", "a").write("asked\n")
    with open("state.new", "w") as new:
        new.write(str(os.getpid()))
    os.replace("state.new", "state.json")
    return {"pid": os.getpid(), "all": [helper.X, shared.X, dep.X, lazy.X, flask.render_template("page.html"), config]}

app.run(port=int(os.environ["PORT"]))
"#;

#[test]
fn a_flask_application_restarts_once_for_each_file_that_it_reads_and_never_for_what_it_writes() {
    let Some(bin) = python() else { return };
    for options in [&[][..], &["--discover", "only"]] {
        let sandbox = Sandbox::new();
        let shared = sandbox.beside().join("shared/shared.py");
        fs::create_dir_all(shared.parent().unwrap()).unwrap();
        fs::write(&shared, "X = 1\n").unwrap();
        sandbox.write("app.py", FLASK);
        sandbox.write(".venv/pyvenv.cfg", "");
        ["helper.py", "lazy.py", "never.py", ".venv/lib/python3/site-packages/dep.py"]
            .iter()
            .for_each(|name| drop(sandbox.write(name, "X = 1\n")));
        sandbox.write("templates/page.html", "one");
        sandbox.write("app.toml", "one = 1\n");
        let port = apps::free_port();
        let mut session = with_python(&sandbox, &bin, port, &[options, &["--", "python", "app.py"]].concat());
        session.wait_armed(1);
        let mut pid = Value::Null;
        let sources = [
            sandbox.path("app.py"),
            sandbox.path("helper.py"),
            sandbox.path("lazy.py"),
            sandbox.path("templates/page.html"),
            sandbox.path("app.toml"),
            sandbox.path(".venv/lib/python3/site-packages/dep.py"),
            shared,
            sandbox.path("config.local.toml"),
        ];
        for (generation, source) in (2..).zip(&sources) {
            // It writes with each answer, and imports at the first one.
            for _ in 0..3 {
                let answer = apps::wait_for_answer(port, "/", DEADLINE, |answer| answer["pid"] != pid);
                assert!(answer["all"].is_array());
            }
            pid = apps::wait_for_answer(port, "/", DEADLINE, |answer| answer["pid"] != pid)["pid"].clone();
            let text = fs::read_to_string(source).unwrap_or_default();
            let comment = if source.extension().is_some_and(|extension| extension == "html") { "x" } else { "\n# x\n" };
            fs::write(source, text + comment).unwrap();
            restarted(&mut session, generation, source.file_name().unwrap().to_str().unwrap());
        }
        apps::wait_for_answer(port, "/", DEADLINE, |answer| answer["pid"] != pid);
        let last = 2 + sources.len() as u64;
        if options.is_empty() {
            sandbox.write("fence.py", "");
            restarted(&mut session, last, "fence.py");
        } else {
            sandbox.write("never.py", "X = 2\n");
            sandbox.write("helper.py", "X = 2\n");
            restarted(&mut session, last, "helper.py");
        }
        let ended = session.stop();
        assert_eq!(ended.count("started") as u64, last, "{options:?}");
    }
}

#[test]
fn a_view_that_one_of_four_workers_of_uwsgi_loads_at_its_first_request_is_watched_and_all_four_are_new_after_an_edit() {
    let Some(bin) = python() else { return };
    let sandbox = Sandbox::new();
    apps::copy_fixture("django", sandbox.root());
    sandbox.write(
        "wsgi.py",
        "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nfrom django.core.wsgi import get_wsgi_application\n\
         application = get_wsgi_application()\n",
    );
    let port = apps::free_port();
    let address = format!("127.0.0.1:{port}");
    let mut session = with_python(
        &sandbox,
        &bin,
        port,
        &[
            "--discover",
            "only",
            "--",
            "uwsgi",
            "--http-socket",
            &address,
            "--master",
            "--workers",
            "4",
            "--module",
            "wsgi",
            "--die-on-term",
            "--max-fd",
            "1024",
            "--worker-reload-mercy",
            "1",
        ],
    );
    session.wait_armed(1);
    let workers = |code: &str| {
        let mut pids = BTreeSet::new();
        let until = std::time::Instant::now() + DEADLINE;
        while pids.len() < 4 && std::time::Instant::now() < until {
            // The worker that is busy does not get the next request.
            std::thread::scope(|scope| {
                let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| apps::get(port, "/lazy"))).collect();
                for answer in asked.into_iter().filter_map(|asked| asked.join().unwrap().ok()) {
                    if answer["code"] == code {
                        pids.insert(answer["pid"].as_u64().unwrap());
                    }
                }
            });
        }
        pids
    };
    // One worker, one request.
    apps::wait_for_answer(port, "/lazy", DEADLINE, |answer| answer["code"] == "one");
    let old = workers("one");
    apps::edit(&sandbox.path("lazyview.py"), "\"one\"", "\"three\"");
    restarted(&mut session, 2, "lazyview.py");
    let new = workers("three");
    assert_eq!((new.len(), new.intersection(&old).count()), (4, 0), "{}", session.account());
    let ended = session.stop();
    assert_eq!(ended.count("started"), 2);
}

/// A command that ends by itself, in a directory with these files: each save of a source starts it again, once, and nothing
/// that it makes does.
fn runs_to_its_end(command: &[&str], files: &[(&str, &str)], sources: &[&str], made: &[&str]) {
    runs_so(&[], command, files, sources, made);
}

/// The same with options.
fn runs_so(options: &[&str], command: &[&str], files: &[(&str, &str)], sources: &[&str], made: &[&str]) {
    let sandbox = Sandbox::new();
    files.iter().for_each(|(name, text)| drop(sandbox.write(name, text)));
    let mut session = sandbox.start_with([options, &["--"], command].concat(), |command| {
        command.env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
    });
    let ended = |session: &Session, generation: u64| {
        let has_come = |event: &Value, name: &str| event["event"] == name && event["generation"] == generation;
        session
            .wait_until("the end of the command", || session.events().iter().any(|event| has_come(event, "waiting")));
    };
    session.wait_armed(1);
    ended(&session, 1);
    for name in made {
        assert!(sandbox.path(name).exists(), "{command:?} makes no {name}: {}", session.account());
    }
    // Twice: what was written in one generation is only read in the next.
    let mut generation = 1;
    for round in 0..2 {
        for source in sources {
            generation += 1;
            let text = sandbox.read(source);
            sandbox.write(source, format!("{text}\n"));
            restarted(&mut session, generation, source.rsplit('/').next().unwrap_or(source));
            ended(&session, generation);
        }
        assert_eq!(session.starts() as u64, generation, "in round {round}: {}", session.account());
    }
    // What it has written at its end would have been noticed by now.
    std::thread::sleep(Duration::from_millis(300));
    let ended = session.stop();
    assert_eq!(ended.count("started") as u64, generation, "{:#?}", ended.events);
}

#[test]
fn make_restarts_on_its_sources_and_not_on_its_outputs() {
    if !is_installed("make", "discovery in make") || !is_installed("cc", "discovery in make") {
        return;
    }
    let makefile = "app.bin: main.x util.x\n\tcc -o app.bin main.x util.x\n\n%.x: %.c util.h\n\tcc -c -o $@ $<\n\nall: app.bin\n\t./app.bin > out.txt\n\tcat out.txt\n";
    runs_to_its_end(
        &["make", "all"],
        &[
            ("Makefile", makefile),
            ("main.c", "#include \"util.h\"\nint main(void) { return util(); }\n"),
            ("util.c", "#include \"util.h\"\nint util(void) { return 0; }\n"),
            ("util.h", "int util(void);\n"),
        ],
        &["main.c", "util.h", "Makefile"],
        &["app.bin", "out.txt", "main.x"],
    );
}

#[test]
fn cargo_restarts_on_its_sources_and_not_on_its_outputs() {
    runs_to_its_end(
        &["cargo", "run", "-q"],
        &[
            ("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
            ("src/main.rs", "mod lib2;\nfn main() { std::fs::write(\"out.txt\", lib2::text()).unwrap(); }\n"),
            ("src/lib2.rs", "pub fn text() -> String { \"x\".repeat(3) }\n"),
        ],
        &["src/lib2.rs"],
        &["target", "Cargo.lock", "out.txt"],
    );
}

#[test]
fn a_generator_and_its_server_in_one_shell_restart_on_the_input_alone() {
    runs_to_its_end(
        &[
            "sh",
            "-c",
            "sort words.txt > sorted.txt; mkdir -p made; cp sorted.txt made/a.txt; cat sorted.txt made/a.txt | tee copy.txt",
        ],
        &[("words.txt", "b\na\n")],
        &["words.txt"],
        &["sorted.txt", "copy.txt", "made/a.txt"],
    );
}

#[test]
fn latex_runs_once_for_each_edit_and_never_for_what_it_leaves() {
    if !is_installed("latexmk", "discovery in LaTeX") || !is_installed("pdflatex", "discovery in LaTeX") {
        return;
    }
    let document = "\\documentclass{article}\\usepackage{mine}\\begin{document}\\tableofcontents\\section{One}\\ref{two}\\input{part}\\end{document}\n";
    let files = [
        ("doc.tex", document),
        ("part.tex", "\\section{Two}\\label{two} text\n"),
        ("../sty/mine.sty", "\\ProvidesPackage{mine}\n"),
    ];
    let (sources, made) = (["part.tex", "doc.tex", "../sty/mine.sty"], ["doc.pdf", "doc.aux", "doc.log", "doc.fls"]);
    for command in ["latexmk -pdf", "pdflatex -recorder"] {
        let line = format!("TEXINPUTS=../sty: exec {command} -interaction=nonstopmode doc.tex");
        for options in [&[][..], &["--discover", "only"]] {
            runs_so(options, &["sh", "-c", &line], &files, &sources, &made);
        }
    }
}

#[test]
fn a_static_program_is_seen_like_any_other() {
    if !is_installed("cc", "discovery in a static program") {
        return;
    }
    let program = "#include <stdio.h>\nint main(void) { char b[9] = {0}; FILE *f = fopen(\"conf.txt\", \"r\"); fread(b, 1, 8, f); fclose(f);\n\
        f = fopen(\"state.txt\", \"a\"); fputs(b, f); fclose(f); return 0; }\n";
    runs_to_its_end(
        &["sh", "-c", "test -e app.bin || cc -static -o app.bin app.c; exec ./app.bin"],
        &[("app.c", program), ("conf.txt", "one")],
        &["conf.txt"],
        &["app.bin", "state.txt"],
    );
}

#[test]
fn node_restarts_on_what_it_requires_and_reads_and_not_on_what_it_writes() {
    if !is_installed("node", "discovery in node") {
        return;
    }
    let server = "const fs = require('fs');\nconst lib = require('./lib.js');\nconst dep = require('dep');\n\
        fs.writeFileSync('data.json', String(process.pid));\nfs.appendFileSync('trail.txt', fs.readFileSync('page.html', 'utf8') + lib + dep);\n\
        fs.writeFileSync('new.tmp', 'x');\nfs.renameSync('new.tmp', 'state.json');\n";
    runs_to_its_end(
        &["node", "server.js"],
        &[
            ("server.js", server),
            ("lib.js", "module.exports = 1;\n"),
            ("node_modules/dep/index.js", "module.exports = 2;\n"),
            ("page.html", "one"),
        ],
        &["server.js", "lib.js", "page.html"],
        &["data.json", "trail.txt", "state.json"],
    );
}

/// What programs keep for themselves: databases with and without a log beside them, what is written aside and renamed into
/// place, a schedule like celery beat's, log files that are rotated.
const KEEPER: &str = r#"
import dbm.dumb, json, logging.handlers, os, pathlib, shelve, sqlite3, sys, tempfile, time
generation = os.environ["RELOADRUN_GENERATION"]
log = logging.getLogger()
log.addHandler(logging.handlers.RotatingFileHandler("trail.txt", maxBytes=300, backupCount=3))
wal, plain = sqlite3.connect("wal.data"), sqlite3.connect("plain.data")
wal.execute("pragma journal_mode=wal")
for base in (wal, plain):
    base.execute("create table if not exists t (x)")
def work(number):
    for base in (wal, plain):
        base.execute("insert into t values (?)", (number,))
        base.commit()
    descriptor, name = tempfile.mkstemp(dir=".")
    state = json.loads(pathlib.Path("state.json").read_text() or "{}") if os.path.exists("state.json") else {}
    with os.fdopen(descriptor, "w") as new:
        json.dump(state | {"number": number}, new)
    os.replace(name, "state.json")
    with shelve.Shelf(dbm.dumb.open("beat-schedule")) as schedule:
        schedule[str(number)] = time.time()
    log.warning("a line of the log, %s", number)
for number in range(5):
    work(number)
pathlib.Path("../worked").open("a").write("x\n")
while True:
    if os.path.exists("../go"):
        for number in range(5):
            work(number)
        os.remove("../go")
    time.sleep(0.02)
"#;

#[test]
fn what_programs_keep_for_themselves_restarts_nothing_and_an_edit_by_hand_does() {
    for options in [&[][..], &["--discover", "only"], &["-w", "**", "--discover", "add"]] {
        let sandbox = Sandbox::new();
        sandbox.write("keeper.py", KEEPER);
        let mut session = sandbox.start([options, &["-i", "go", "--", "python3", "keeper.py"]].concat());
        let worked = |session: &Session, times: usize| {
            let said = || fs::read_to_string(sandbox.beside().join("worked")).unwrap_or_default();
            session.wait_until("its work", || said().lines().count() >= times);
            let go = sandbox.beside().join("go");
            fs::write(&go, "").unwrap();
            session.wait_until("more of it", || !go.exists());
        };
        session.wait_armed(1);
        worked(&session, 1);
        // Somebody repairs it by hand, in place and as an editor does.
        let state = sandbox.path("state.json");
        fs::write(&state, "{}").unwrap();
        restarted(&mut session, 2, "state.json");
        worked(&session, 2);
        sandbox.write("new.tmp~", "{\"by\": \"hand\"}");
        fs::rename(sandbox.path("new.tmp~"), &state).unwrap();
        restarted(&mut session, 3, "state.json");
        worked(&session, 3);
        let text = sandbox.read("keeper.py");
        sandbox.write("keeper.py", text + "\n");
        restarted(&mut session, 4, "keeper.py");
        worked(&session, 4);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(session.stop().count("started"), 4, "{options:?}");
    }
}

#[test]
fn pytest_with_coverage_runs_again_for_its_sources_and_not_for_what_it_leaves() {
    let Some(bin) = python() else { return };
    let python = bin.join("python").display().to_string();
    let command = [&python, "-m", "pytest", "-q", "--cov=app", "--cov-report=html", "--cov-report=xml:report.xml"];
    runs_to_its_end(
        &command,
        &[
            ("app.py", "def double(x):\n    return 2 * x\n"),
            ("test_app.py", "import app\n\ndef test_it():\n    assert app.double(2) == 4\n"),
        ],
        &["app.py", "test_app.py"],
        &[".coverage", "htmlcov", "report.xml", ".pytest_cache"],
    );
}

#[test]
fn an_edited_package_and_an_editable_install_count_and_the_library_of_python_does_not() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.beside().join("editable");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("tool.py"), "X = 1\n").unwrap();
    let packages = "venv/lib/python3/site-packages";
    sandbox.write("venv/pyvenv.cfg", "");
    sandbox.write(format!("{packages}/dep.py"), "X = 1\n");
    sandbox.write(format!("{packages}/tool.pth"), format!("{}\n", elsewhere.display()));
    let app = format!(
        "import site, time\nsite.addsitedir('{packages}')\nimport dep, tool, json\nopen('../ran', 'a').write('x\\n')\ntime.sleep(600)\n"
    );
    sandbox.write("app.py", app);
    for options in [&[][..], &["--discover", "only"]] {
        let _ = fs::remove_file(sandbox.beside().join("ran"));
        let mut session = sandbox.start([options, &["--", "python3", "-B", "app.py"]].concat());
        session.wait_armed(1);
        let dep = sandbox.path(format!("{packages}/dep.py"));
        for (generation, path) in (2..).zip([elsewhere.join("tool.py"), dep, elsewhere.join("tool.py")]) {
            let ran = || fs::read_to_string(sandbox.beside().join("ran")).unwrap_or_default().lines().count();
            session.wait_until("the imports", || ran() as u64 >= generation - 1);
            fs::write(&path, format!("X = {generation}  # saved\n")).unwrap();
            restarted(&mut session, generation, path.file_name().unwrap().to_str().unwrap());
        }
        let library = std::process::Command::new("python3").args(["-c", "import json; print(json.__file__)"]).output();
        let library = String::from_utf8(library.unwrap().stdout).unwrap().trim().to_owned();
        // In the images of Python it lies where people install things themselves.
        if library.starts_with("/usr/lib/") {
            assert!(answer(&sandbox, &["explain", &library], 1).contains("does nothing"));
        }
        session.stop();
    }
}
