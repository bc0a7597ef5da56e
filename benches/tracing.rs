//! What tracing costs a command: the same commands with `--on-exit exit` and with `--print-watched`, in turns in one run.
//! `cargo bench --bench tracing [ROUNDS]`; what is not installed is left out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RELOADRUN: &str = env!("CARGO_BIN_EXE_reloadrun");
const PROBE: &str = env!("CARGO_BIN_EXE_probe");

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20);
    let directory = tempfile::tempdir().expect("a temporary directory");
    furnish(directory.path());
    println!("{rounds} rounds; the median of the whole run, start and end of reloadrun included");
    println!("| command | untraced | traced | ratio |\n|---|---|---|---|");
    for (what, command) in [
        ("true", "true"),
        ("python3, imports", "python3 app.py"),
        ("node, 60 modules", "node app.js"),
        ("make -j2, 20 C files", "make -s clean all"),
    ] {
        if !is_installed(command) {
            continue;
        }
        let (mut untraced, mut traced) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let times = ["--on-exit=exit", "--print-watched"].map(|option| run(directory.path(), option, command));
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
    let opens = |options: &[&str]| {
        let output = Command::new(RELOADRUN)
            .args(options)
            .args(["--", PROBE, "opens", "app.py", "20000"])
            .current_dir(directory.path())
            .stderr(Stdio::null())
            .output()
            .expect("it can be started");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("a number") / 1000.0
    };
    println!("one open: {:.2} us untraced, {:.2} us traced", opens(&["--on-exit=exit"]), opens(&["--print-watched"]));
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
    write("Makefile", format!("all:{objects}\n%.o: %.c\n\tcc -c -o $@ $<\nclean:\n\trm -f *.o\nMAKEFLAGS += -j2\n"));
}

fn is_installed(command: &str) -> bool {
    let program = command.split(' ').next().expect("it has a word");
    Command::new(program).arg("--version").output().is_ok()
}

fn run(directory: &Path, option: &str, command: &str) -> Duration {
    let begin = Instant::now();
    let status = Command::new(RELOADRUN)
        .arg(option)
        .arg("--")
        .args(command.split(' '))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it can be started");
    assert!(status.success(), "{command} with {option}: {status}");
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
