use super::{missing_value, tip};

const OURS: [&str; 10] = [
    "watch",
    "ignore",
    "no-ignore",
    "events",
    "stop-signal",
    "stop-timeout",
    "on-exit",
    "on-change",
    "color",
    "config",
];

fn said(line: &str) -> Option<String> {
    let words: Vec<String> = line.split('~').map(str::to_owned).collect();
    let option = words[1].split('=').next().unwrap();
    let option = if option.starts_with("--") { option } else { &option[..2] };
    tip(option, &words, OURS.into_iter())
}

#[test]
fn words_of_other_tools_lead_to_ours() {
    for (line, expected) in [
        ("-e~py", "files are chosen by pattern: -w '*.py'"),
        ("-epy", "files are chosen by pattern: -w '*.py'"),
        ("--ext=py,toml", "files are chosen by pattern: -w '*.py;*.toml'"),
        ("--exts~.js .ts", "files are chosen by pattern: -w '*.js;*.ts'"),
        ("-e~--~true", "files are chosen by pattern: -w '*.py'"),
        ("--exec~node server.js", "the command comes last, after --: -- node server.js"),
        ("-x~test --lib", "the command comes last, after --: -- cargo test --lib"),
        ("-x~--~true", "the command comes last, after --: -- COMMAND"),
        ("--delay~2s", "it is called --debounce here: 2s"),
        ("--delay~2", "it is called --debounce here"),
        ("-d~500ms", "it is called --debounce here: 500ms"),
        ("-r~--~true", "a change restarts the command anyway; leave it out"),
        ("--restart", "a change restarts the command anyway; leave it out"),
        ("--reload", "a change restarts the command anyway; leave it out"),
        ("-n", "no shell is involved here unless you name one; leave it out"),
        (
            "-s~SIGINT",
            "--stop-signal SIGINT ends the command with it; --on-change signal:SIGINT sends it and lets the command run",
        ),
        (
            "--signal=HUP",
            "--stop-signal HUP ends the command with it; --on-change signal:HUP sends it and lets the command run",
        ),
        (
            "--kill-signal",
            "--stop-signal HUP ends the command with it; --on-change signal:HUP sends it and lets the command run",
        ),
        ("-s~make && ./app", "for the shell write: -- sh -c 'make && ./app'"),
        ("--env~DEBUG=1", "variables are set by env: -- env DEBUG=1 COMMAND"),
        ("-E~A=b c", "variables are set by env: -- env 'A=b c' COMMAND"),
        ("--shell=none", "no shell is involved here unless you name one; leave it out"),
        ("--shell~bash", "for a shell write: -- bash -c 'COMMAND'"),
        ("--reload-dir~src", "it is called --watch here: -w 'src'"),
        ("--reload-include=*.html", "it is called --watch here: -w '*.html'"),
        ("--reload-exclude~tests", "it is called --ignore here: -i 'tests'"),
        ("-p~*.py;*.toml", "it is called --watch here: -w '*.py;*.toml'"),
        ("-p~--~true", "the command always runs once at the start; that cannot be put off"),
        ("--poll", "polling is --backend poll, and how often is --interval"),
        ("--poll=500", "polling is --backend poll --interval 500ms"),
        ("--legacy-watch", "polling is --backend poll, and how often is --interval"),
        ("-L", "polling is --backend poll, and how often is --interval"),
        ("--no-vcs-ignore", "it is called --no-ignore here"),
        ("--kill-after~5s", "it is called --stop-timeout here: 5s"),
        ("-R~\\.go$", "patterns are globs as in a .gitignore, and no regular expressions: -w '*.py', -i tests"),
        ("-R", "a pattern applies at any depth: '*.py', 'src/**'; leave it out"),
        ("--cwd~src", "it is called --directory here: -C src"),
        ("-z", "--on-exit exit ends with the command, with its exit code"),
        // Our own, mistyped.
        ("--wacth~*.py", "did you mean '--watch'?"),
        ("--ignroe", "did you mean '--ignore'?"),
        ("--event", "did you mean '--events'?"),
        ("--stop_signal", "did you mean '--stop-signal'?"),
        ("--stop-time", "did you mean '--stop-timeout'?"),
        ("--colour", "did you mean '--color'?"),
        ("--conf", "did you mean '--config'?"),
    ] {
        assert_eq!(said(&format!("reloadrun~{line}")).as_deref(), Some(expected), "{line}");
    }
}

#[test]
fn without_a_good_guess_nothing_is_said() {
    for line in ["--frobnicate", "--on", "--stop", "--zz", "-y", "-0", "--fetch", "--exits", "--evening"] {
        assert_eq!(said(&format!("reloadrun~{line}")), None, "{line}");
    }
}

#[test]
fn the_value_is_looked_for_before_the_command_only() {
    let words = ["reloadrun", "-e", "--", "grep", "-e", "py"].map(str::to_owned);
    assert_eq!(tip("-e", &words, OURS.into_iter()).unwrap(), "files are chosen by pattern: -w '*.py'");
    let words = ["reloadrun", "--extra-files", "a.py", "--ext", "js"].map(str::to_owned);
    assert_eq!(tip("--ext", &words, OURS.into_iter()).unwrap(), "files are chosen by pattern: -w '*.js'");
}

#[test]
fn c_without_a_file_is_the_clear_of_others() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    assert!(missing_value("--config <FILE>", &words("reloadrun -c -- true")).unwrap().contains("--clear"));
    assert_eq!(missing_value("--config <FILE>", &words("reloadrun --config -- true")), None);
    assert_eq!(missing_value("--watch <PATTERNS>", &words("reloadrun -w -- sh -c true")), None);
}
