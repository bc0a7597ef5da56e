//! The man page and the completions that `--generate` prints: nothing of `--help` is missing, what they offer is
//! accepted, and real shells complete with them.

use std::collections::BTreeSet;
use std::process::Command;

use super::ends::left_out;
use super::readme::flags;
use super::tmux::Window;
use crate::support::Sandbox;

fn generated(page: &str) -> String {
    let output = Sandbox::new().command(["--generate", page]).output().expect("reloadrun starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{page}: {output:?}");
    String::from_utf8(output.stdout).expect("pages are UTF-8")
}

/// The values that zsh is offered after `--option`.
fn offered(option: &str, zsh: &str) -> Vec<String> {
    let line = zsh.lines().find(|line| line.starts_with(&format!("'{option}=["))).expect("zsh knows the option");
    let values = line.rsplit_once(":(").and_then(|(_, rest)| rest.split_once(')')).map(|(values, _)| values);
    let values = values.unwrap_or_else(|| panic!("no values are offered: {line}"));
    values.split(' ').map(|value| value.replace("\\:", ":")).collect()
}

#[test]
fn every_option_of_the_help_is_on_the_man_page_and_in_every_completion() {
    let flags = flags();
    assert!(flags.len() >= 20, "{flags:?}");
    let man = generated("man").replace("\\-", "-");
    let (bash, zsh, fish) = (generated("complete-bash"), generated("complete-zsh"), generated("complete-fish"));
    let bash: BTreeSet<&str> = bash.split([' ', '"', '\n']).collect();
    for flag in &flags {
        let name = flag.trim_start_matches('-');
        assert!(man.contains(&format!("\\fB{flag}\\fR")), "{flag} is not on the man page");
        assert!(bash.contains(flag.as_str()), "bash does not know {flag}");
        assert!(
            zsh.contains(&format!("'{flag}=["))
                || zsh.contains(&format!("'{flag}["))
                || zsh.contains(&format!("'*{flag}=[")),
            "zsh does not know {flag}"
        );
        assert!(fish.contains(&format!(" -l {name} -d ")), "fish does not know {flag}");
    }
}

#[test]
fn the_man_page_is_without_warnings_and_has_what_the_help_ends_with() {
    let man = generated("man");
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SIGNALS", "EXIT CODES"] {
        let lines = [format!(".SH {heading}"), format!(".SH \"{heading}\"")];
        assert!(man.lines().any(|line| lines.iter().any(|heading| heading == line)), "no {heading}:\n{man}");
    }
    let sandbox = Sandbox::new();
    let file = sandbox.write("reloadrun.1", &man);
    match Command::new("man").args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&file).output() {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(_) => left_out("the man page in man: man is not installed"),
    }
}

#[test]
fn the_values_that_are_offered_are_those_that_are_accepted() {
    let (sandbox, zsh) = (Sandbox::new(), generated("complete-zsh"));
    let explained = |option: &str, value: &str| {
        let output = sandbox.command([option, value, "--explain", "x"]).output().expect("reloadrun starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for option in ["--backend", "--compare", "--on-exit", "--stop-group", "--color", "--generate"] {
        let (code, said) = explained(option, "nonsense");
        assert_eq!(code, Some(2), "{option}: {said}");
        let accepted = said.trim_end().rsplit_once("must be one of ").expect("the sentence names them").1;
        assert_eq!(offered(option, &zsh).join(", "), accepted, "{option}");
    }
    for option in ["--stop-signal", "--on-change"] {
        let values = offered(option, &zsh);
        assert!(values.iter().any(|value| value.ends_with("HUP")) && values.len() > 20, "{values:?}");
        for value in values {
            let (code, said) = explained(option, &value);
            assert!(matches!(code, Some(0 | 1)), "{option} {value}: {said}");
        }
    }
}

/// A shell in a terminal, with the completions loaded and `reloadrun` in its path.
fn shell(name: &str, start: &str, load: &str) -> Option<Window> {
    let window = Window::new(&[name])?;
    window.line(&format!("mkdir -p bin; ln -s {} bin/reloadrun; PATH=$PWD/bin:$PATH", env!("CARGO_BIN_EXE_reloadrun")));
    window.wait_prompt("ready");
    // Its name is completed. What happens to the window happens to it.
    window.line("reloadrun --name worker-7 -q -w x -- sleep 600 < /dev/null & until reloadrun list | grep 'worker-7  running'; do sleep 0.1; done");
    window.wait_screen("worker-7  running");
    window.line(start);
    window.wait_prompt("started");
    window.line(load);
    window.wait_prompt("loaded");
    window.press(&["C-l"]);
    window.wait_until("an empty screen", || !window.screen().contains("loaded"));
    Some(window)
}

/// Types the beginning of a line, asks for its completion, waits for what is expected, and drops the line.
fn completes(window: &Window, typed: &str, expected: &[&str]) {
    window.press(&["-l", typed]);
    window.wait_screen(typed);
    window.press(&["Tab"]);
    window.wait_until(&format!("{expected:?} after {typed:?}"), || {
        let screen = window.screen();
        expected.iter().all(|expected| screen.contains(expected))
    });
    // Not Ctrl-C: the terminal would throw away the keys that follow.
    window.press(&["C-u", "C-l"]);
    window.wait_until("an empty screen", || !window.screen().contains("reloadrun "));
}

/// What every shell completes.
fn completes_words(window: &Window) {
    completes(window, "reloadrun st", &["status", "stop"]);
    completes(window, "reloadrun wait --ti", &["--timeout"]);
    completes(window, "reloadrun explain app.t", &["app.txt"]);
    completes(window, "reloadrun status --name work", &["worker-7"]);
    completes(window, "reloadrun --on-", &["--on-change", "--on-exit"]);
    completes(window, "reloadrun --on-exit re", &["--on-exit restart"]);
    completes(window, "reloadrun --backend=po", &["--backend=poll"]);
    completes(window, "reloadrun --on-change signal:US", &["USR1", "USR2"]);
    completes(window, "reloadrun --config app.t", &["app.txt"]);
    completes(window, "reloadrun -w x -- mkfif", &["mkfifo"]);
    completes(window, "reloadrun -- mkfif", &["mkfifo"]);
    completes(window, "reloadrun -- cat app.t", &["app.txt"]);
    window.line("mkdir deep; touch 'odd name.txt'; clear");
    window.wait_until("an empty screen", || !window.screen().contains("odd"));
    for option in ["-w", "--ignore", "--browser-watch", "--explain", "--pidfile"] {
        completes(window, &format!("reloadrun {option} odd"), &["odd\\ name.txt"]);
        completes(window, &format!("reloadrun {option} dee"), &["deep/"]);
    }
    completes(window, "reloadrun --discover-root dee", &["deep/"]);
    window.line("reloadrun stop --name worker-7");
    window.wait_screen("stopping");
}

#[test]
fn bash_completes_options_values_files_and_the_command() {
    let load = "source <(reloadrun --generate complete-bash)";
    let Some(window) = shell("bash", "bind 'set show-all-if-ambiguous on'", load) else { return };
    completes_words(&window);
}

#[test]
fn zsh_completes_options_values_files_and_the_command() {
    let load =
        "unsetopt list_ambiguous; autoload -U compinit; compinit -D -u; source <(reloadrun --generate complete-zsh)";
    let Some(window) = shell("zsh", "exec zsh -f", load) else { return };
    completes_words(&window);
    // Without a run there is no name, and the shell's own `wait` takes none.
    window.press(&["C-l"]);
    window.press(&["-l", "reloadrun wait --name "]);
    window.press(&["Tab"]);
    window.press(&["-l", "x"]);
    window.wait_screen("reloadrun wait --name x");
}

#[test]
fn fish_completes_options_values_files_and_the_command() {
    let load = "reloadrun --generate complete-fish | source";
    let Some(window) = shell("fish", "exec fish --no-config", load) else { return };
    completes_words(&window);
}
