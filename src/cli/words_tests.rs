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
fn options_of_other_tools_lead_to_ours() {
    for (line, expected) in [
        ("-e~py", "choose files by pattern: -w '*.py'"),
        ("-epy", "choose files by pattern: -w '*.py'"),
        ("--ext=py,toml", "choose files by pattern: -w '*.py;*.toml'"),
        ("--exts~.js .ts", "choose files by pattern: -w '*.js;*.ts'"),
        ("-e~--~true", "choose files by pattern: -w '*.py'"),
        ("--exec~node server.js", "the command comes last, after --: -- node server.js"),
        ("-x~test --lib", "the command comes last, after --: -- cargo test --lib"),
        ("-x~--~true", "the command comes last, after --: -- COMMAND"),
        ("--delay~2s", "the option is --debounce here: 2s"),
        ("--delay~2", "the option is --debounce here"),
        ("-d~500ms", "the option is --debounce here: 500ms"),
        ("-r~--~true", "not needed: a change restarts the command anyway"),
        ("--restart", "not needed: a change restarts the command anyway"),
        ("--reload", "not needed: a change restarts the command anyway"),
        ("-n", "not needed: no shell is used unless you name one"),
        (
            "-s~SIGINT",
            "--stop-signal SIGINT stops the command with it; --on-change signal:SIGINT sends it and keeps the command running",
        ),
        (
            "--signal=HUP",
            "--stop-signal HUP stops the command with it; --on-change signal:HUP sends it and keeps the command running",
        ),
        (
            "--kill-signal",
            "--stop-signal HUP stops the command with it; --on-change signal:HUP sends it and keeps the command running",
        ),
        ("-s~make && ./app", "for a shell line, write: -- sh -c 'make && ./app'"),
        ("--env~DEBUG=1", "set variables with env: -- env DEBUG=1 COMMAND"),
        ("-E~A=b c", "set variables with env: -- env 'A=b c' COMMAND"),
        ("--shell=none", "not needed: no shell is used unless you name one"),
        ("--shell~bash", "for a shell, write: -- bash -c 'COMMAND'"),
        ("--reload-dir~src", "the option is --watch here: -w 'src'"),
        ("--reload-include=*.html", "the option is --watch here: -w '*.html'"),
        ("--reload-exclude~tests", "the option is --ignore here: -i 'tests'"),
        ("-p~*.py;*.toml", "the option is --watch here: -w '*.py;*.toml'"),
        ("-p~--~true", "the command always runs once at the start; this cannot be postponed"),
        ("--poll", "polling is --backend poll; --interval sets how often"),
        ("--poll=500", "polling is --backend poll --interval 500ms"),
        ("--legacy-watch", "polling is --backend poll; --interval sets how often"),
        ("-L", "polling is --backend poll; --interval sets how often"),
        ("--no-vcs-ignore", "the option is --no-ignore here"),
        ("--kill-after~5s", "the option is --stop-timeout here: 5s"),
        ("-R~\\.go$", "patterns are globs as in a .gitignore, not regular expressions: -w '*.py', -i tests"),
        ("-R", "not needed: a pattern matches at any depth: '*.py', 'src/**'"),
        ("--cwd~src", "the option is --directory here: -C src"),
        ("-z", "--on-exit exit exits when the command does, with its exit code"),
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
fn without_a_good_guess_there_is_no_tip() {
    for line in ["--frobnicate", "--on", "--stop", "--zz", "-y", "-0", "--fetch", "--exits", "--evening"] {
        assert_eq!(said(&format!("reloadrun~{line}")), None, "{line}");
    }
}

#[test]
fn the_value_is_searched_for_only_before_the_command() {
    let words = ["reloadrun", "-e", "--", "grep", "-e", "py"].map(str::to_owned);
    assert_eq!(tip("-e", &words, OURS.into_iter()).unwrap(), "choose files by pattern: -w '*.py'");
    let words = ["reloadrun", "--extra-files", "a.py", "--ext", "js"].map(str::to_owned);
    assert_eq!(tip("--ext", &words, OURS.into_iter()).unwrap(), "choose files by pattern: -w '*.js'");
}

#[test]
fn c_without_a_file_gets_a_tip_about_clear() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    assert!(missing_value("--config <FILE>", &words("reloadrun -c -- true")).unwrap().contains("--clear"));
    assert_eq!(missing_value("--config <FILE>", &words("reloadrun --config -- true")), None);
    assert_eq!(missing_value("--watch <PATTERNS>", &words("reloadrun -w -- sh -c true")), None);
}
