//! Patterns: one that matches is enough, one that matches nothing causes a hint, and a file with several names is one
//! file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::random::Random;
use crate::support::watched::{assert_fence, assert_restart, names, watch};
use crate::support::{Sandbox, Session};

/// Whether a change to the path would count, and the line of `--explain`.
fn explained(sandbox: &Sandbox, arguments: &[&str], path: &str) -> (bool, String) {
    let output = sandbox.command(arguments.iter().chain(&["--explain", path])).output().expect("it runs");
    let line = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => (true, line),
        Some(1) => (false, line),
        _ => panic!("{arguments:?}: {output:?}"),
    }
}

/// The hints, collected after all watches were set up and a fence was seen.
fn hints(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let mut session = sandbox.start(arguments.iter().chain(&["-w", "fence.py", "--", "sleep", "600"]));
    session.wait_armed(1);
    assert_fence(sandbox, &mut session, 2);
    let ended = session.stop();
    let hints = ended.events.iter().filter(|event| event["event"] == "hint");
    let hints: Vec<String> = hints.map(|hint| hint["message"].as_str().expect("a text").to_owned()).collect();
    for hint in &hints {
        assert_eq!(ended.stderr.matches(hint.as_str()).count(), 1, "{hint} in {}", ended.stderr);
    }
    hints
}

#[test]
fn a_pattern_that_matches_nothing_causes_one_hint_with_a_guess() {
    let sandbox = Sandbox::new();
    sandbox.write("fence.py", "");
    sandbox.write(".gitignore", ".env\n");
    sandbox.write(".env", "");
    sandbox.write("src/main.rs", "");
    fs::create_dir(sandbox.path(".git")).unwrap();
    for (patterns, expected) in [
        (
            &["-w", "*.py,*.toml"][..],
            &["-w '*.py,*.toml' matches no file yet; patterns are separated by ';': '*.py;*.toml'"][..],
        ),
        (&["-w", "rs"], &["-w 'rs' does not exist yet; did you mean '*.rs'?"]),
        (&["-w", "*.rb", "-w", "*.rs"], &["-w '*.rb' matches no file yet"]),
        (&["-w", "scr/**"], &["-w 'scr/**' matches no file yet; did you mean 'src/**'?"]),
        (&["-i", "/src"], &["-i '/src' matches nothing; did you mean 'src'?"]),
        (&["-w", "*.py", "-i", "*.log"], &[]),
        (&["-w", "src"], &[]),
        (&["-w", ".env"], &[]),
    ] {
        assert_eq!(hints(&sandbox, patterns), expected, "{patterns:?}");
    }
    let told = hints(&sandbox, &["-w", ".env*"]);
    assert!(told[0].starts_with("-w '.env*' matches only what is ignored, like .env ('.env' in "), "{told:?}");
    assert!(told[0].ends_with("name it, or use --no-ignore"), "{told:?}");
}

#[test]
fn rules_of_a_home_directory_under_git_do_not_apply_in_a_repository_below_it() {
    let sandbox = Sandbox::new();
    sandbox.write(".gitignore", "*\n");
    for git in [".git", "p/.git"] {
        fs::create_dir_all(sandbox.path(git)).unwrap();
    }
    sandbox.write("p/a.py", "");
    assert!(explained(&sandbox, &["-C", "p", "-w", "*.py"], "a.py").0);
    fs::remove_dir(sandbox.path("p/.git")).unwrap();
    sandbox.write("p/.git", "gitdir: ../elsewhere\n");
    assert!(explained(&sandbox, &["-C", "p", "-w", "*.py"], "a.py").0);
}

#[test]
fn a_directory_with_two_names_is_watched_once() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("real/gen")).unwrap();
    symlink("real", sandbox.path("link")).unwrap();
    let link = sandbox.path("link");
    let link = link.to_str().expect("plain");
    let below = |name: &str| format!("{link}/{name}");
    for (arguments, path, counts) in [
        (vec!["-i", &*below("gen")], "gen/x.py", false),
        (vec!["-w", &*below("*.py")], "a.py", true),
        (vec!["-w", &*below("gen/../*.py")], "a.py", true),
        (vec!["-w", &*below("../link/*.py")], "a.py", true),
        (vec!["-w", link, "--lockfile", "run.lock"], "run.lock", false),
        (vec!["--events", &*below("ev.txt")], "ev.txt", false),
    ] {
        let arguments: Vec<&str> = ["-C", link].into_iter().chain(arguments).collect();
        assert_eq!(explained(&sandbox, &arguments, path).0, counts, "{arguments:?} {path}");
    }
}

#[test]
fn files_of_reloadrun_do_not_restart_under_another_name() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("real")).unwrap();
    symlink("real", sandbox.path("link")).unwrap();
    let link = sandbox.path("link");
    let lock = "run.lock".to_owned();
    let words = ["-C", link.to_str().unwrap(), "--interval", "50ms", "--lockfile", &lock, "-w", link.to_str().unwrap()];
    let mut session = sandbox.start(words.iter().chain(&["--", "sleep", "600"]));
    session.wait_armed(1);
    let beats = || fs::metadata(sandbox.path("real/run.lock")).and_then(|file| file.modified()).ok();
    let first = beats();
    session.wait_until("two heartbeats", || beats() != first);
    sandbox.write("real/fence.py", "");
    assert_restart(&mut session, 2, &["fence.py"]);
    session.stop();
}

/// Starts a failing application whose output the caller redirected into files of the directory.
fn start_redirected(sandbox: &Sandbox) -> Session {
    sandbox.write("app.sh", "echo out; echo err >&2; exit 1");
    let events = sandbox.events();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >app.out", "sh", env!("CARGO_BIN_EXE_reloadrun"), "--events"]);
    shell.arg(events).args(["-w", "**;*.out", "--", "sh", "app.sh"]);
    sandbox.furnish(&mut shell);
    Session::start(shell, sandbox)
}

#[test]
fn output_redirected_into_a_watched_file_does_not_restart() {
    let sandbox = Sandbox::new();
    let mut session = start_redirected(&sandbox);
    session.wait("waiting");
    session.wait_until("the output", || sandbox.read("app.out").contains("out"));
    sandbox.write("app.sh", "echo again; exit 1");
    assert_eq!(names(&session.wait_started(2)), ["app.sh"], "{}", session.account());
    session.wait("waiting");
    sandbox.write("fence.py", "");
    assert_eq!(names(&session.wait_started(3)), ["fence.py"], "{}", session.account());
    session.stop();
}

#[test]
fn a_name_that_is_not_utf8_is_watched_and_handed_on_unharmed() {
    let sandbox = Sandbox::new();
    let name = OsStr::from_bytes(b"caf\xe9.txt");
    sandbox.write(name, "one");
    sandbox.write("show.py", "import json, os\nprint([os.fsencode(path) for path in json.loads(os.environ['RELOADRUN_CHANGED'])], flush=True)\nimport time; time.sleep(600)\n");
    let words: Vec<OsString> = [OsStr::new("-w"), name]
        .into_iter()
        .chain(["--", "python3", "show.py"].map(OsStr::new))
        .map(OsStr::to_owned)
        .collect();
    let mut session = sandbox.start(words);
    session.wait_armed(1);
    sandbox.write(name, "two, longer");
    let started = session.wait_started(2);
    let bytes: Vec<u64> =
        started["changes"][0]["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap()).collect();
    assert!(bytes.ends_with(&[0xe9, b'.'.into(), b't'.into(), b'x'.into(), b't'.into()]), "{started}");
    session.wait_until("the path, byte by byte", || session.stdout().contains(r"/caf\xe9.txt'"));
    session.stop();
}

#[test]
fn patterns_may_stand_on_lines_of_their_own_in_the_config_file() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = \"\"\"\n  *.py\n  src/*.rs ; *.toml\n\"\"\"\ncommand = 'sleep 600'\n");
    for (path, counts) in [("a.py", true), ("src/a.rs", true), ("x.toml", true), ("a.rs", false)] {
        assert_eq!(explained(&sandbox, &[], path).0, counts, "{path}");
    }
}

#[test]
fn a_leading_tilde_is_the_home_directory() {
    let sandbox = Sandbox::new();
    let home = sandbox.beside().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("x.toml"), "one").unwrap();
    let mut session = sandbox.start_with(["-w", "~/x.toml", "--", "sleep", "600"], |command| {
        command.env("HOME", &home);
    });
    session.wait_armed(1);
    fs::write(home.join("x.toml"), "two, longer").unwrap();
    assert_restart(&mut session, 2, &["x.toml"]);
    session.stop();
}

#[test]
fn dash_c_works_like_cd() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = 'conf/*.toml'\ncommand = ['pwd']\n");
    fs::create_dir(sandbox.path("sub")).unwrap();
    for path in ["../conf/a.toml", "conf/a.toml"] {
        let after_cd = sandbox.command(["--explain", path]).current_dir(sandbox.path("sub")).output().unwrap();
        let output = sandbox.command(["-C", "sub", "--explain", path]).output().unwrap();
        assert_eq!((output.status, output.stdout), (after_cd.status, after_cd.stdout), "{path}");
    }
    let run = |arguments: &[&str], directory: PathBuf| {
        let mut command = sandbox.command(arguments.iter().chain(&["--on-exit", "exit", "-q"]));
        let output = command.current_dir(directory).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run(&["-C", "sub"], sandbox.root().to_owned()), run(&[], sandbox.path("sub")));
}

/// A tree with symlinks of all kinds: within it, out of it, upwards, to ignored files, to files, to each other.
fn plant(sandbox: &Sandbox, random: &mut Random) -> Vec<String> {
    let outside = sandbox.beside().join("outside");
    fs::create_dir_all(outside.join("pkg")).unwrap();
    fs::write(outside.join("pkg/o.py"), "").unwrap();
    let mut directories = vec![String::new()];
    for name in ["a", "b", "node_modules", "gen"] {
        let parent = random.pick(&directories).clone();
        let path = format!("{parent}{name}/");
        fs::create_dir_all(sandbox.path(&path)).unwrap();
        directories.push(path);
    }
    for number in 0..5 {
        let place = random.pick(&directories).clone();
        let target = match random.below(5) {
            0 => outside.join("pkg"),
            1 => sandbox.root().to_owned(),
            2 => outside.clone(),
            _ => sandbox.path(random.pick(&directories)),
        };
        if symlink(target, sandbox.path(format!("{place}l{number}"))).is_ok() && random.chance(30) {
            directories.push(format!("{place}l{number}/"));
        }
    }
    let mut files = vec!["../outside/pkg/o.py".to_owned()];
    for number in 0..6 {
        let directory = random.pick(&directories).clone();
        let name = format!("{directory}f{number}.{}", random.pick(&["py", "txt"]));
        if sandbox.path(&name).parent().is_some_and(std::path::Path::is_dir) {
            sandbox.write(&name, "");
            files.push(name);
        }
    }
    let number = random.below(files.len());
    if symlink(sandbox.path(&files[number]), sandbox.path("link.py")).is_ok() {
        files.push("link.py".to_owned());
    }
    files
}

#[test]
fn explain_agrees_with_what_happens_for_symlinks() {
    let rounds = std::env::var("RELOADRUN_EXPLAIN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let first: u64 = std::env::var("RELOADRUN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + rounds {
        let mut random = Random::new(seed);
        let sandbox = Sandbox::new();
        let files = plant(&sandbox, &mut random);
        let watch_patterns =
            ["*.py", "**", ".", "a", "a/**/*.py", "l0", "l1/**", "../outside/**", "gen;*.txt", "node_modules/**"];
        let mut arguments = vec!["-w", *random.pick(&watch_patterns)];
        if random.chance(50) {
            arguments.extend(["-i", *random.pick(&["gen", "./gen", "a", "l2", "l1/gen", "f1.*", "../outside/pkg"])]);
        }
        arguments.extend(["-w", "fence.py"]);
        let mut session = watch(&sandbox, "inotify", &arguments);
        let mut generation = 1;
        for file in &files {
            let (counts, line) = explained(&sandbox, &arguments, file);
            fs::write(sandbox.path(file), format!("changed in {generation}, a little longer each time {file}"))
                .unwrap();
            if !counts {
                // Nothing may happen, so only the fence causes a restart.
                sandbox.write("fence.py", format!("fence {generation}"));
            }
            generation += 1;
            let seen = names(&session.wait_armed(generation));
            let restarted = seen.iter().any(|name| name != "fence.py");
            assert_eq!(restarted, counts, "seed {seed}: {arguments:?} {file}: {line}{seen:?}\n{}", session.account());
        }
        session.stop();
    }
}
