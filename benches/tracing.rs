//! What tracing costs a command: its own time under `--on-exit exit` and under `--print-watched`, in turns in one run.
//! `cargo bench --bench tracing [ROUNDS]`; what is not installed is left out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RELOADRUN: &str = env!("CARGO_BIN_EXE_reloadrun");
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// Untraced, and with as good as nothing to watch; traced.
const OPTIONS: [&[&str]; 2] = [&["--on-exit=exit", "-w", "nothing.toml"], &["--print-watched"]];

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20);
    let directory = tempfile::tempdir().expect("a temporary directory");
    furnish(directory.path());
    println!("{rounds} rounds; the median time of the command");
    println!("| command | untraced | traced | ratio |\n|---|---|---|---|");
    for (what, command) in [
        ("true", "true"),
        ("python3, imports", "python3 app.py"),
        ("node, 60 modules", "node app.js"),
        ("make -j2, 20 C files", "make -s -B -j2"),
    ] {
        if !is_installed(command) {
            continue;
        }
        let (mut untraced, mut traced) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let times = OPTIONS.map(|options| run(directory.path(), options, command));
            // The first round fills caches.
            if round > 0 {
                untraced.push(times[0]);
                traced.push(times[1]);
            }
        }
        let (untraced, traced) = (median(untraced), median(traced));
        let ratio = traced.as_secs_f64() / untraced.as_secs_f64();
        println!("| {what} | {:.1} ms | {:.1} ms | {ratio:.2} |", milliseconds(untraced), milliseconds(traced));
    }
    let opens = OPTIONS.map(|options| {
        let words = ["opens", "app.py", "20000"];
        nanoseconds(directory.path(), options, &words) as f64 / 1000.0
    });
    println!("one open: {:.2} us untraced, {:.2} us traced", opens[0], opens[1]);
}

fn furnish(directory: &Path) {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).expect("it can be written");
    write(
        "app.py",
        "import json, asyncio, argparse, logging, unittest, http.server, xml.dom.minidom, sqlite3, decimal\n".into(),
    );
    let modules: String = (0..60).map(|number| format!("require('./m{number}');\n")).collect();
    write("app.js", modules + "require('http'); require('zlib'); require('crypto');\n");
    (0..60).for_each(|number| write(&format!("m{number}.js"), format!("module.exports = {number};\n")));
    (0..20).for_each(|number| write(&format!("f{number}.c"), format!("int f{number}(void) {{ return {number}; }}\n")));
    let objects: String = (0..20).map(|number| format!(" f{number}.o")).collect();
    write("Makefile", format!("all:{objects}\n%.o: %.c\n\tcc -c -o $@ $<\n"));
}

fn is_installed(command: &str) -> bool {
    let program = command.split(' ').next().expect("it has a word");
    Command::new(program).arg("--version").output().is_ok()
}

fn run(directory: &Path, options: &[&str], command: &str) -> Duration {
    let words: Vec<&str> = ["timed"].into_iter().chain(command.split(' ')).collect();
    Duration::from_nanos(nanoseconds(directory, options, &words))
}

/// What a probe has measured.
fn nanoseconds(directory: &Path, options: &[&str], words: &[&str]) -> u64 {
    let output = Command::new(RELOADRUN)
        .args(options)
        .args(["--", PROBE])
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("it can be started");
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{words:?} with {options:?}: {output:?}"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
