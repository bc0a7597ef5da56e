//! The README and the documents are correct: the README's session runs as printed, every command line is valid, every
//! flag and every event is documented, and every link has a target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Sandbox, Session, apps};

/// How the README starts the program from a fresh clone.
const FROM_CLONE: &str = "cargo run --release -- ";

/// The default port of the README's server.
const README_PORT: &str = "8008";

/// The documents that are written for users, with command lines to copy.
const FOR_USERS: [&str; 7] = [
    "README.md",
    "docs/tutorial.md",
    "docs/guide.md",
    "docs/ci.md",
    "docs/faq.md",
    "docs/events.md",
    "docs/control.md",
];

/// The verbs that ask a run.
const VERBS: [&str; 9] = ["list", "status", "restart", "stop", "pause", "resume", "events", "wait", "explain"];

/// A fenced block: its language, and its lines; lines that end in a backslash are joined.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: impl AsRef<Path>) -> String {
    let path = repository().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// What lies at the root, and everything in docs/.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| repository().join(name)).into();
    let mut ahead = vec![repository().join("docs")];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).expect("docs can be listed") {
            let path = entry.expect("docs can be listed").path();
            if path.is_dir() {
                ahead.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language: language.trim().to_owned(), lines: Vec::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                match block.lines.last_mut().filter(|last| last.ends_with('\\')) {
                    Some(last) => *last = last.trim_end_matches('\\').to_owned() + line.trim_start(),
                    None => block.lines.push(line.to_owned()),
                }
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block is not closed");
    blocks
}

/// The text outside of fenced blocks and of code in backticks.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    outside.split('`').step_by(2).collect()
}

/// A line of output with pids and durations masked, and the `server_port` replaced by the README's.
fn masked(line: &str, server_port: &str) -> String {
    let line = line.replace(server_port, README_PORT);
    let words: Vec<&str> = line.split(' ').collect();
    let mut kept = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_number = word.parse::<f64>().is_ok();
        let unit = words.get(index + 1).map(|next| next.trim_end_matches(','));
        if is_number && matches!(unit, Some("ms" | "s")) {
            kept.push("N".to_owned());
        } else if *word == "s" || *word == "ms" {
            kept.push("ms".to_owned());
        } else if *word == "s," || *word == "ms," {
            kept.push("ms,".to_owned());
        } else if index > 0 && words[index - 1] == "(pid" {
            kept.push("N)".to_owned());
        } else {
            kept.push((*word).to_owned());
        }
    }
    kept.join(" ")
}

/// The lines of both streams so far: those of reloadrun in their order, and those of the command sorted, because they
/// come over two streams.
fn said(session: &Session, port: &str) -> (Vec<String>, Vec<String>) {
    let text = session.stderr() + &session.stdout();
    let (ours, mut of_command): (Vec<String>, Vec<String>) =
        text.lines().map(|line| masked(line, port)).partition(|line| line.starts_with("reloadrun: "));
    of_command.sort();
    (ours, of_command)
}

/// Splits a command line with a shell, as for the reader.
fn words(line: &str) -> Vec<String> {
    let sandbox = Sandbox::new();
    let script = format!("set -f\nreloadrun() {{ printf '%s\\0' \"$@\"; }}\n{line}\n");
    let output =
        Command::new("sh").args(["-c", &script]).current_dir(sandbox.root()).output().expect("there is a shell");
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("the documents are UTF-8");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// The invocation of reloadrun in a shell line, if there is one, without comments and the prompt.
fn invocation(line: &str) -> Option<String> {
    let line = line.trim().trim_start_matches("$ ").replace(FROM_CLONE, "reloadrun ");
    let line = line.split(" # ").next().unwrap_or_default().trim().to_owned();
    let mut program =
        line.split_whitespace().skip_while(|word| word.split_once('=').is_some_and(|(name, _)| is_variable(name)));
    (program.next() == Some("reloadrun")).then_some(line)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[test]
fn the_session_in_the_readme_runs_as_printed() {
    let sandbox = Sandbox::new();
    apps::copy_fixture("hello", &sandbox.path("fixtures/hello"));
    run_session("README.md", &sandbox);
}

#[test]
fn the_tutorial_runs_as_printed() {
    run_session("docs/tutorial.md", &Sandbox::new());
}

/// A shell that finds reloadrun in its path.
fn shell(sandbox: &Sandbox, line: &str) -> Command {
    let bin = sandbox.beside().join("bin");
    if !bin.is_dir() {
        fs::create_dir(&bin).expect("a fresh directory");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_reloadrun"), bin.join("reloadrun")).expect("it can be made");
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    sandbox.furnish(&mut shell);
    shell.args(["-c", &format!("exec 2>&1; {line}")]).env("PATH", path);
    shell
}

/// Types the blocks of a document in their order. Those of `console` are one session with one running reloadrun; each command
/// of `console,once` ends, and prints exactly what stands below it.
fn run_session(document: &str, sandbox: &Sandbox) {
    let port = apps::free_port().to_string();
    let (once, lines): (Vec<bool>, Vec<String>) = blocks(&read(document))
        .into_iter()
        .filter(|block| block.language.starts_with("console"))
        .flat_map(|block| block.lines.into_iter().map(move |line| (block.language == "console,once", line)))
        .unzip();
    let mut session: Option<Session> = None;
    let (mut of_ours, mut of_command, mut edits) = (Vec::new(), Vec::new(), 0);
    for (index, line) in lines.iter().enumerate() {
        if once[index] {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            let below = lines.iter().zip(&once).skip(index + 1);
            let below = below.take_while(|(line, once)| **once && !line.starts_with("$ "));
            let expected: String = below.map(|(line, _)| line.to_owned() + "\n").collect();
            let output = shell(sandbox, command).output().expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{command}");
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            match (invocation(line), &session) {
                (Some(invocation), None) => {
                    let touch = |command: &mut Command| {
                        command.env("PORT", &port);
                    };
                    let mut running = sandbox.start_with(words(&invocation), touch);
                    running.wait_armed(1);
                    session = Some(running);
                }
                (Some(_), Some(_)) => panic!("{document} starts a second reloadrun while the first one runs"),
                (None, _) => {
                    let status = Command::new("sh").args(["-c", command]).current_dir(sandbox.root()).status();
                    assert!(status.is_ok_and(|status| status.success()), "{command}");
                    edits += 1;
                }
            }
        } else {
            let line = masked(line, README_PORT);
            if line.starts_with("reloadrun: ") { of_ours.push(line) } else { of_command.push(line) }
        }
        let next = lines.get(index + 1).zip(once.get(index + 1));
        let next_is_command = next.is_none_or(|(next, once)| *once || next.starts_with("$ "));
        if let Some(session) = session.as_ref().filter(|_| next_is_command) {
            of_command.sort();
            let what = format!(
                "the lines of {document}, before its line {:?}:\n{of_ours:#?}\n{of_command:#?}\n",
                lines.get(index + 1)
            );
            session.wait_until(&what, || {
                let (ours, command) = said(session, &port);
                ours.len() >= of_ours.len() && command.len() >= of_command.len()
            });
            assert_eq!(said(session, &port), (of_ours.clone(), of_command.clone()), "{what}");
        }
    }
    assert!(edits >= 3, "the session in {document} has become thin: {edits} edits");
    session.expect("it starts reloadrun").stop().assert_code(143);
}

#[test]
fn every_command_line_in_the_documents_is_valid() {
    let sandbox = Sandbox::new();
    let mut count = 0;
    for document in FOR_USERS {
        let shell = |block: &Block| ["sh", "console"].contains(&block.language.as_str());
        for line in blocks(&read(document)).into_iter().filter(shell).flat_map(|block| block.lines) {
            let Some(invocation) = invocation(&line) else { continue };
            let mut words = words(&invocation);
            if words.first().is_some_and(|first| VERBS.contains(&first.as_str())) {
                // Nothing runs that could be asked; a wrong line would be 2.
                let output = sandbox.command(&words).output().expect("reloadrun starts");
                assert!(matches!(output.status.code(), Some(0 | 3)), "{document}: {line}\n{words:?}\n{output:#?}");
                count += 1;
                continue;
            }
            if words.first().is_some_and(|first| first == "ci") {
                // What the reader has in the config file.
                words.splice(1..1, ["--smoke", "true", "--ready", "notify"].map(str::to_owned));
            }
            // Directories and files that exist only for the reader.
            for (index, option) in words.clone().iter().enumerate().take_while(|(_, word)| *word != "--") {
                match option.as_str() {
                    "-C" | "--directory" => {
                        fs::create_dir_all(sandbox.path(&words[index + 1])).expect("it can be made")
                    }
                    "-c" | "--config" | "--env-file" | "--prove-reload" => drop(sandbox.write(&words[index + 1], "")),
                    _ => {}
                }
            }
            if !words.iter().take_while(|word| *word != "--").any(|word| word == "--explain") {
                let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
                words.splice(end..end, ["--explain".to_owned(), "x".to_owned()]);
            }
            let output = sandbox.command(&words).output().expect("reloadrun starts");
            assert!(matches!(output.status.code(), Some(0 | 1)), "{document}: {line}\n{words:?}\n{output:#?}");
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} command lines were found: are they still found at all?");
}

#[test]
fn the_exit_codes_are_those_on_the_page() {
    let sandbox = Sandbox::new();
    let page = blocks(&read("docs/exit-codes.md"));
    let block = page.iter().find(|block| block.language == "console").expect("the page has a session");
    let mut count = 0;
    for (command, expected) in block.lines.iter().enumerate().filter_map(|(index, line)| {
        let expected = block.lines[index + 1..].iter().take_while(|line| !line.starts_with("$ "));
        Some((line.strip_prefix("$ ")?, expected.map(|line| line.to_owned() + "\n").collect::<String>()))
    }) {
        let output = shell(&sandbox, command).output().expect("there is a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{command}");
        count += 1;
    }
    assert!(count >= 3, "only {count} commands were found");
}

#[test]
fn every_config_file_in_the_documents_is_valid() {
    let sandbox = Sandbox::new();
    for name in ["other", "conf"] {
        fs::create_dir(sandbox.path(name)).expect("a fresh directory");
    }
    let mut count = 0;
    for document in documents() {
        for block in blocks(&fs::read_to_string(&document).expect("it was listed")) {
            if block.language == "toml" {
                sandbox.write("reloadrun.toml", block.lines.join("\n"));
                let output = sandbox.command(["--explain", "x"]).output().expect("reloadrun starts");
                let shown = document.display();
                assert!(
                    matches!(output.status.code(), Some(0 | 1)),
                    "{shown}:\n{}\n{output:#?}",
                    block.lines.join("\n")
                );
                count += 1;
            }
        }
    }
    assert!(count >= 3, "only {count} config files were found");
}

/// The long names of all options, from `--help`.
pub fn flags() -> BTreeSet<String> {
    let output = Sandbox::new().command(["--help"]).output().expect("reloadrun starts");
    let help = String::from_utf8(output.stdout).expect("the help is UTF-8");
    let options = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let flags = options.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    // `--name[=VALUE]` is an option whose value may be left out.
    flags.map(|flag| flag.split([',', '[']).next().unwrap_or(flag).to_owned()).collect()
}

#[test]
fn every_flag_is_in_the_guide() {
    let (flags, guide) = (flags(), read("docs/guide.md"));
    assert!(flags.len() >= 20 && flags.contains("--watch") && flags.contains("--events"), "{flags:?}");
    let words: BTreeSet<&str> = guide.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let missing: Vec<&String> = flags.iter().filter(|flag| !words.contains(flag.as_str())).collect();
    assert!(missing.is_empty(), "docs/guide.md does not mention {missing:?}");
    // The other way round: every option in the guide exists.
    let unknown: Vec<&&str> = words.iter().filter(|word| is_own_option(word) && !flags.contains(**word)).collect();
    assert!(unknown.is_empty(), "docs/guide.md mentions {unknown:?}, which --help does not know");
}

/// Whether this is an option of reloadrun and not of a program in the guide.
fn is_own_option(word: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "--app",
        "--debug",
        "--fd",
        "--from",
        "--ini",
        "--init",
        "--no-reload",
        "--noreload",
        "--port",
        "--preload",
        "--reload",
        "--timeout-graceful-shutdown",
    ];
    word.len() > 3 && word.starts_with("--") && !word.starts_with("---") && !OTHERS.contains(&word)
}

/// The names of events, from src/event.rs.
fn events() -> BTreeSet<String> {
    let source = read("src/event.rs");
    let names = source.split("fn name(").nth(1).expect("src/event.rs names its events in a function");
    names
        .lines()
        .filter(|line| line.contains("=> \""))
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_event_is_documented_with_an_example_that_has_the_documented_keys() {
    let (events, page) = (events(), read("docs/events.md"));
    assert!(events.len() >= 11 && events.contains("started"), "{events:?}");
    let mut seen = BTreeSet::new();
    for section in page.split("\n## `").skip(1) {
        let name = section.split('`').next().expect("split gives one at least");
        let common = "event generation monotonic_ns time";
        let example = blocks(section).into_iter().find(|block| block.language == "json");
        let example = example.unwrap_or_else(|| panic!("'{name}' has no example")).lines.join("\n");
        let example: serde_json::Value =
            serde_json::from_str(&example).unwrap_or_else(|error| panic!("'{name}': {error}"));
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        documented.extend(common.split(' '));
        let keys: BTreeSet<&str> =
            example.as_object().expect("an event is an object").keys().map(String::as_str).collect();
        assert_eq!(keys, documented, "'{name}': the example's keys, and those in the table");
        assert_eq!(example["event"], name);
        seen.insert(name.to_owned());
    }
    assert_eq!(seen, events, "the sections of docs/events.md, and the events there are");
}

/// Those of a preparation that fails and one that succeeds, and of a run.
fn events_of_jobs() -> Vec<serde_json::Value> {
    let sandbox = Sandbox::new();
    let options = ["-w", "*.txt", "--prepare", "test -e fine.txt || kill -KILL $$", "--on-change", "run:kill -KILL $$"];
    let mut session = sandbox.start(options.iter().chain(&["--", "sleep", "600"]));
    session.wait("prepare_failed");
    sandbox.write("fine.txt", "");
    session.wait("started");
    sandbox.write("more.txt", "");
    session.wait("ran");
    let mut events = session.stop().events;
    let options = ["-w", "app.txt", "--pidfile", "app.pid"];
    let daemon = "setsid sh -c 'echo $$ > new.pid; mv new.pid app.pid; exec sleep 600' & exit 0";
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", daemon]));
    session.wait("main_process");
    events.extend(session.stop().events);
    sandbox.write("app.txt", "");
    let mut session = sandbox.start(["-w", "app.txt", "--jitter", "24h", "--", "sleep", "600"]);
    session.wait("digest");
    sandbox.write("app.txt", "two");
    session.wait("postponed");
    events.extend(session.stop().events);
    let options = ["-w", "app.txt", "--ready", "exec:true", "--smoke", "true", "--prove-reload", "app.txt"];
    sandbox.write("app.txt", "");
    events.extend(sandbox.start(options.iter().chain(&["--", "sleep", "600"])).wait_end().events);
    events
}

/// Of a command that tells what it does.
fn events_of_reloads() -> Vec<serde_json::Value> {
    let script = "
import os, socket, time
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
for text in ['STATUS=loading', 'READY=1', 'RELOADING=1', 'READY=1']:
    sender.send(text.encode())
time.sleep(600)
";
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--ready", "notify", "--", "python3", "-c", script]);
    session.wait_where("ready", |event| event["reload"] == true);
    // It is told a moment later.
    session.wait_until("its state", || session.events().iter().any(|event| event["event"] == "status"));
    session.stop().events
}

#[test]
fn the_keys_of_real_events_are_the_documented_ones() {
    let page = read("docs/events.md");
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = \"app.txt;*.none\"\n");
    sandbox.write("app.txt", "one");
    // It ignores TERM, so that its stop takes long.
    let command = "trap '' TERM; test -e run && exec sleep 600";
    let options = [
        "--on-exit",
        "wait",
        "--stop-timeout",
        "800ms",
        "--listen",
        "tcp:127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--ready",
        "exec:true",
        "--discover",
        "add",
    ];
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", command]));
    session.wait("waiting");
    sandbox.write("run", "");
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    sandbox.write("reloadrun.toml", "wach = 1\n");
    session.wait_armed(3);
    for verb in ["pause", "resume"] {
        assert!(sandbox.command([verb]).output().expect("reloadrun starts").status.success());
    }
    let mut all = session.stop().events;
    all.extend(events_of_jobs());
    all.extend(events_of_reloads());
    let kinds: BTreeSet<&str> = all.iter().filter_map(|event| event["event"].as_str()).collect();
    // `degraded` needs a fault; all other events have come.
    assert_eq!(kinds.len(), events().len() - 1, "{kinds:?}");
    for event in &all {
        let name = event["event"].as_str().expect("every event has a name");
        let section =
            page.split("\n## `").find(|section| section.starts_with(&format!("{name}`"))).expect("it is documented");
        for key in event.as_object().expect("an event is an object").keys() {
            let common = ["event", "generation", "monotonic_ns", "time"].contains(&key.as_str());
            assert!(
                common || section.contains(&format!("\n| `{key}")),
                "'{name}' has a key '{key}' that is not documented"
            );
        }
    }
}

#[test]
fn every_relative_link_has_a_target() {
    let mut count = 0;
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).expect("it was listed"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let there = path.exists() && (anchor.is_empty() || anchors(&path).contains(anchor));
            if !there {
                broken.push(format!("{}: {target}", document.display()));
            }
            count += 1;
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count >= 20, "only {count} links were found");
}

/// The anchors of the headings of a document.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("it exists");
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn only_varying_parts_of_a_line_are_masked() {
    for (line, expected) in [
        (
            "reloadrun: a changed (-w '*'); stopped in 2.6 ms, generation 2 runs after 6.5 ms (pid 14)",
            "reloadrun: a changed (-w '*'); stopped in N ms, generation 2 runs after N ms (pid N)",
        ),
        ("reloadrun: the command exited with 1 after 1.5 s", "reloadrun: the command exited with 1 after N ms"),
        ("x on http://127.0.0.1:4711/", "x on http://127.0.0.1:8008/"),
        ("2 files in 1 directory", "2 files in 1 directory"),
    ] {
        assert_eq!(masked(line, "4711"), expected);
    }
}
