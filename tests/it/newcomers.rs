//! Help for new users: options of other tools, commands that cannot be started, a second reloader in the command.

use std::fs;

use super::ends::left_out;
use crate::support::{Sandbox, Session, apps};

/// The error message, with exit code 2, before anything starts.
fn refused(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let ended = Session::start(sandbox.command(arguments), sandbox).wait_end();
    assert_eq!(ended.code(), Some(2), "{arguments:?}\n{ended:#?}");
    ended.stderr
}

#[test]
fn options_of_other_tools_get_a_tip_before_the_pointer_to_the_help() {
    let sandbox = Sandbox::new();
    for (arguments, expected) in [
        (&["-e", "py,toml"][..], "-w '*.py;*.toml'"),
        (&["--ext=py"], "-w '*.py'"),
        (&["--exec", "python3 app.py"], "-- python3 app.py"),
        (&["-x", "run"], "-- cargo run"),
        (&["--delay", "2s"], "--debounce"),
        (&["-r"], "not needed"),
        (&["--restart"], "not needed"),
        (&["-n"], "no shell"),
        (&["-s", "HUP"], "--on-change signal:HUP"),
        (&["--signal", "INT"], "--stop-signal INT"),
        (&["--env", "A=1"], "env A=1"),
        (&["-c"], "--clear"),
        (&["--wacth", "*.py"], "did you mean '--watch'?"),
        (&["python", "app.py"], "the command comes after --"),
    ] {
        let said = refused(&sandbox, &[arguments, &["--", "true"]].concat());
        let tip = said.find("\n  tip: ").unwrap_or_else(|| panic!("{arguments:?} have no tip:\n{said}"));
        let (line, _) = said[tip..].split_once("\n\n").expect("something follows");
        assert!(line.contains(expected), "{arguments:?}:\n{said}");
        assert!(tip < said.find("try '--help'").expect("it stands there"), "{said}");
        assert_eq!(said.matches("tip:").count(), 1, "{said}");
        assert!(!said.contains("\n\n\n"), "{said}");
    }
}

#[test]
fn without_a_good_guess_there_is_only_the_error() {
    let sandbox = Sandbox::new();
    // clap would suggest `--events`.
    assert!(!refused(&sandbox, &["--exts", "--", "true"]).contains("--events"));
    for option in ["--frobnicate", "--eventual", "-y"] {
        let said = refused(&sandbox, &[option, "--", "true"]);
        assert!(said.contains(option) && !said.contains("tip") && said.contains("try '--help'"), "{said}");
    }
}

#[test]
fn a_command_that_cannot_be_started_gets_a_guess_at_what_was_meant() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "");
    sandbox.script("tool", "true");
    for (command, code, expected) in [
        (&["sh -e app.sh"][..], 127, "the program and its arguments must be separate words; write: -- sh -e app.sh"),
        (&["./tool.sh"], 127, "there is no ./tool.sh\n"),
        (&["tool", "x"], 127, "did you mean ./tool x?"),
        (&["app.py"], 127, "app.py?"),
        (&["./app.py"], 126, "./app.py?"),
        (&["FOO=1", "sh", "app.sh"], 127, "write: -- env FOO=1 sh app.sh"),
        (&["cd src && make"], 127, "write: -- sh -c 'cd src && make'"),
        (&["no-such-program"], 127, "there is no program no-such-program in PATH\n"),
    ] {
        let arguments = [&["--on-exit", "exit", "--"], command].concat();
        let ended = sandbox.start(&arguments).wait_end();
        ended.assert_code(code);
        assert!(ended.stderr.contains(expected), "{expected:?} is not in {}", ended.stderr);
        assert_eq!(ended.stderr.matches("the command ").count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn a_command_in_a_config_file_with_crlf_line_endings_is_run() {
    let sandbox = Sandbox::new();
    let command = "command = \"\"\"\r\nprintf '%s' one\r\nprintf '%s' two\r\n\"\"\"\r\non-exit = 'exit'\r\n";
    sandbox.write("reloadrun.toml", command);
    let ended = sandbox.start::<&str>([]).wait_end();
    ended.assert_code(0);
    assert_eq!(ended.stdout, "onetwo");
}

/// The hints at the start of a command with these scripts in its PATH, collected until a fence.
fn hints(sandbox: &Sandbox, environment: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
    for name in ["flask", "vite", "nodemon"] {
        sandbox.script(format!("bin/{name}"), "exec sleep 600");
    }
    sandbox.write("index.html", "");
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").expect("there is one"));
    let words = ["-w", "fence.txt"].iter().chain(arguments);
    let mut session = sandbox.start_with(words, |command| {
        command.env("PATH", path).env_remove("FLASK_DEBUG").envs(environment.iter().copied());
    });
    session.wait_armed(1);
    // Later generations do not repeat the hint.
    for generation in [2, 3] {
        sandbox.write("fence.txt", generation.to_string());
        session.wait_armed(generation);
    }
    let ended = session.stop();
    let hints = ended.events.iter().filter(|event| event["event"] == "hint");
    let told: Vec<String> = hints.map(|hint| hint["message"].as_str().expect("a text").to_owned()).collect();
    for hint in &told {
        assert_eq!(ended.stderr.matches(hint.as_str()).count(), 1, "{hint} in {}", ended.stderr);
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(first.contains("running"), "the first line says what runs:\n{}", ended.stderr);
    }
    told.into_iter().filter(|hint| !hint.contains("fence.txt")).collect()
}

#[test]
fn a_second_reloader_gets_one_hint_with_what_turns_it_off() {
    let sandbox = Sandbox::new();
    let debug = [("FLASK_DEBUG", "1")];
    sandbox.write("fence.txt", "");
    for (environment, arguments, expected) in [
        (&debug[..], &["-w", "*.py", "--", "flask", "run"][..], Some("--no-reload")),
        (&[], &["-w", "*.py", "--", "sh", "-c", "exec flask run --debug"], Some("--no-reload")),
        (&[], &["-w", "*.py", "--", "flask", "run"], None),
        (&debug, &["-w", "*.py", "--", "flask", "run", "--no-reload"], None),
        // Both watch different files.
        (&debug, &["-w", "*.toml", "--", "flask", "run"], None),
        (&[], &["-w", "*.html", "--", "vite"], Some("-w 'package.json'")),
        (&[], &["-w", "package.json", "--", "vite"], None),
        (&[], &["-w", "*.html", "--", "nodemon", "server.js"], Some("directly")),
    ] {
        let told = hints(&sandbox, environment, arguments);
        let told: Vec<&String> =
            told.iter().filter(|hint| !hint.contains("matches no") && !hint.contains("exist")).collect();
        match expected {
            Some(expected) => assert!(told.len() == 1 && told[0].contains(expected), "{arguments:?}: {told:?}"),
            None => assert!(told.is_empty(), "{arguments:?}: {told:?}"),
        }
    }
}

#[test]
fn a_reloader_behind_npm_run_is_found() {
    let sandbox = Sandbox::new();
    sandbox.script("bin/npm", "exec sleep 600");
    sandbox.write("fence.txt", "");
    sandbox.write("package.json", r#"{"scripts": {"dev": "vite --port 3000", "start": "node server.js"}}"#);
    let told = hints(&sandbox, &[], &["-w", "*.html", "--", "npm", "run", "dev"]);
    assert!(told.len() == 1 && told[0].starts_with("vite updates the page"), "{told:?}");
    assert!(hints(&sandbox, &[], &["-w", "*.html", "--", "npm", "start"]).is_empty());
}

#[test]
fn paths_near_the_directory_are_shown_relative() {
    let sandbox = Sandbox::new();
    let shared = sandbox.beside().join("shared");
    fs::create_dir(&shared).expect("a fresh directory");
    fs::write(shared.join("lib.py"), "").expect("the test owns it");
    fs::write(shared.join(".ignore"), "*.log\n").expect("the test owns it");
    let mut session = sandbox.start(["-w", "../shared/**", "--", "sleep", "600"]);
    session.wait_armed(1);
    fs::write(shared.join("lib.py"), "x").expect("the test owns it");
    session.wait_started(2);
    let ended = session.stop();
    assert!(ended.stderr.contains("reloadrun: ../shared/lib.py changed"), "{}", ended.stderr);
    let output = sandbox.command(["-w", "../shared/**", "--explain", "../shared/a.log"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("a change of ../shared/a.log") && said.contains("in ../shared/.ignore"), "{said}");
}

#[test]
fn the_flask_recipe_of_the_guide_covers_the_templates_of_every_package() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md")).expect("it exists");
    let recipe = guide.lines().find(|line| line.starts_with("reloadrun") && line.contains("flask --app app run"));
    let recipe = recipe.expect("the guide has a recipe for Flask");
    let patterns = recipe.split('\'').nth(1).expect("it has patterns");
    let bin = match apps::python_env() {
        Ok(bin) => bin,
        Err(_) if apps::offline() => return left_out("the recipe for Flask, RELOADRUN_OFFLINE=1"),
        Err(reason) => panic!("{reason}"),
    };
    let sandbox = Sandbox::new();
    apps::copy_fixture("flask", sandbox.root());
    sandbox.write("shop/cart/__init__.py", "");
    sandbox.write("shop/cart/templates/cart/list.html", "one");
    let flask = bin.join("flask");
    let port = apps::free_port().to_string();
    let flask = flask.to_str().expect("a plain path");
    let mut session =
        sandbox.start(["-w", patterns, "--", flask, "--app", "app", "run", "--no-reload", "--port", &port]);
    session.wait_armed(1);
    for (generation, file) in (2..).zip(["shop/cart/templates/cart/list.html", "shop/cart/__init__.py", "app.toml"]) {
        let text = if file == "app.toml" { "message = 'two'\n" } else { "# two\n" };
        sandbox.write(file, text);
        let started = session.wait_armed(generation);
        let changed = started["changes"][0]["path"].as_str().expect("a text");
        assert_eq!(changed, sandbox.path(file).to_str().expect("a plain path"));
    }
    session.stop();
}
