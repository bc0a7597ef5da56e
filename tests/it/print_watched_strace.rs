//! What `--print-watched` has seen, held against `strace` of the same run: strace runs inside of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;

use crate::support::Sandbox;
use crate::support::watched::is_installed;

/// Calls of `%file` that are left out on purpose: what they name is told by the call before or behind them, or nothing
/// depends on it.
const LEFT_OUT: [&str; 15] = [
    "readlink",
    "readlinkat",
    "chdir",
    "chmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchownat",
    "statfs",
    "getxattr",
    "lgetxattr",
    "getcwd",
    "quotactl",
    "inotify_add_watch",
    "umount2",
];

/// The paths that strace has seen, as far as a change of them could concern anybody, with the line of each. Those that
/// are relative to a current directory, which strace does not show, stay relative.
fn traced_by_strace(log: &str) -> Vec<(PathBuf, String)> {
    let call = Regex::new(r"^(?:\d+ +)?([a-z_0-9]+)\((.*)$").unwrap();
    let beside = Regex::new(r#"(?:AT_FDCWD|\d+)<([^>]*)>, "((?:[^"\\]|\\.)*)""#).unwrap();
    let plain = Regex::new(r#"^"((?:[^"\\]|\\.)*)""#).unwrap();
    let mut paths = Vec::new();
    for line in log.lines() {
        let Some(parts) = call.captures(line) else { continue };
        let (name, arguments) = (&parts[1], &parts[2]);
        if LEFT_OUT.contains(&name) {
            continue;
        }
        let mut given: Vec<(PathBuf, &str)> = Vec::new();
        for found in beside.captures_iter(arguments) {
            let text = found.get(2).unwrap().as_str();
            given.push((Path::new(&found[1]).join(text), text));
        }
        if let Some(found) = plain.captures(arguments).filter(|_| !name.starts_with("symlink")) {
            let text = found.get(1).unwrap().as_str();
            given.push((PathBuf::from(text), text));
        }
        for (path, text) in given {
            // A question about an open descriptor; and what strace has cut off.
            if !text.is_empty() && !text.ends_with("...") {
                paths.push((normal(&path), line.to_owned()));
            }
        }
    }
    paths
}

fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
        path
    })
}

/// Runs a command under strace under reloadrun; everything that strace has seen must have been seen by both.
fn compare(sandbox: &Sandbox, what: &str, command: &[&str], expected: &[&str]) {
    let log = sandbox.beside().join("strace.log");
    let output = sandbox
        .command(["--print-watched=json", "--", "strace", "-f", "-y", "-qq", "-s", "4096", "-e", "trace=%file", "-o"])
        .arg(&log)
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
    let mut lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let end = lines.pop().expect("it has printed");
    assert_eq!(end["complete"], true, "{what}: {end}");
    let seen: BTreeSet<PathBuf> =
        lines.iter().filter_map(|line| line["path"].as_str().or(line["target"].as_str())).map(PathBuf::from).collect();
    let traced = traced_by_strace(&fs::read_to_string(&log).expect("strace has written it"));
    assert!(traced.len() >= expected.len(), "{what}: strace has seen too little");
    for path in expected {
        assert!(seen.contains(&sandbox.path(path)), "{what}: {path} is not in {seen:#?}");
    }
    let missed: Vec<&String> = traced
        .iter()
        .filter(|(path, _)| match path.is_absolute() {
            true => !seen.contains(path) && concerns(path),
            false => !seen.iter().any(|seen| seen.ends_with(path)) && !sandbox.path(path).is_dir(),
        })
        .map(|(_, line)| line)
        .collect();
    assert!(missed.is_empty(), "{what}: of {} lines these were missed: {missed:#?}", traced.len());
}

/// What has no content is left out, and a directory that is only asked for.
fn concerns(path: &Path) -> bool {
    let no_files = ["/proc", "/sys", "/dev", "/run"].iter().any(|place| path.starts_with(place));
    // A directory that has gone with its current user (a build's temporary one) cannot be told from a file here.
    !no_files && fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

fn compile(sandbox: &Sandbox, name: &str, source: &str, options: &[&str]) {
    let path = sandbox.write(format!("{name}.c"), source);
    let status = Command::new("cc").args(options).arg(path).arg("-o").arg(sandbox.path(name)).status().unwrap();
    assert!(status.success(), "{name} can be compiled");
}

fn is_ready(program: &str) -> bool {
    is_installed("strace", "the comparison with strace") && is_installed(program, &format!("strace of {program}"))
}

#[test]
fn a_shell_and_what_it_starts() {
    if is_ready("sh") {
        let sandbox = Sandbox::new();
        sandbox.write("in.txt", "x");
        sandbox.script(
            "part.sh",
            "cat in.txt > out.txt; test -e absent.txt; mv out.txt moved.txt; (cd sub && cat deep.txt)",
        );
        sandbox.write("sub/deep.txt", "x");
        let expected = ["part.sh", "in.txt", "out.txt", "absent.txt", "moved.txt", "sub/deep.txt"];
        compare(&sandbox, "sh", &["sh", "-c", "./part.sh"], &expected);
    }
}

#[test]
fn python_with_imports_threads_and_children() {
    if is_ready("python3") {
        let sandbox = Sandbox::new();
        sandbox.write("pkg/__init__.py", "");
        sandbox.write("pkg/part.py", "import json, threading, subprocess");
        sandbox.write("data/a.txt", "");
        let body = "import os, pkg.part\nts=[pkg.part.threading.Thread(target=lambda i=i: os.path.exists(f'thread{i}')) for i in range(8)]\n\
            [t.start() for t in ts]; [t.join() for t in ts]\n\
            fd=os.open('data', os.O_RDONLY); os.stat('a.txt', dir_fd=fd)\n\
            pkg.part.subprocess.run(['cat', 'data/a.txt'], check=True)\n";
        sandbox.write("app.py", body);
        let expected = ["app.py", "pkg/__init__.py", "pkg/part.py", "data/a.txt", "thread0", "thread7"];
        compare(&sandbox, "python3", &["python3", "app.py"], &expected);
    }
}

#[test]
fn node_with_modules() {
    if is_ready("node") {
        let sandbox = Sandbox::new();
        sandbox.write("lib/part.js", "module.exports = require('./data.json').x");
        sandbox.write("lib/data.json", "{\"x\": 1}");
        sandbox.write("app.js", "require('./lib/part'); require('fs').readdirSync('lib'); require('child_process').execFileSync('cat', ['app.js'])");
        compare(&sandbox, "node", &["node", "app.js"], &["app.js", "lib/part.js", "lib/data.json"]);
    }
}

#[test]
fn make_with_a_compiler() {
    if is_ready("make") && is_ready("cc") {
        let sandbox = Sandbox::new();
        sandbox.write("a.h", "int a(void);\n");
        sandbox.write("a.c", "#include \"a.h\"\nint a(void) { return 1; }\n");
        sandbox.write("main.c", "#include \"a.h\"\nint main(void) { return a() - 1; }\n");
        sandbox.write("Makefile", "app: a.o main.o\n\tcc -o $@ $^\n%.o: %.c a.h\n\tcc -c -o $@ $<\n");
        compare(&sandbox, "make", &["make", "-j2"], &["Makefile", "a.h", "a.c", "main.c", "a.o", "app"]);
        // Up to date, it asks and reads nothing.
        compare(&sandbox, "make again", &["make"], &["Makefile", "a.h", "a.c", "main.c", "app"]);
    }
}

#[test]
fn git() {
    if is_ready("git") {
        let sandbox = Sandbox::new();
        sandbox.write("src/a.rs", "fn main() {}");
        let script = "git init -q . && git add . && git status --short >/dev/null";
        compare(&sandbox, "git", &["sh", "-c", script], &["src/a.rs", ".git/index", ".git/HEAD", ".gitignore"]);
    }
}

#[test]
fn a_program_that_vforks() {
    if is_ready("cc") {
        let sandbox = Sandbox::new();
        sandbox.write("vforked.txt", "x");
        let source = "#define _GNU_SOURCE\n#include <unistd.h>\n#include <sys/wait.h>\nint main(void) { for (int i = 0; i < 3; i++) {\n\
            pid_t p = vfork(); if (!p) { execl(\"/bin/cat\", \"cat\", \"vforked.txt\", (char *)0); _exit(127); }\n\
            int s; waitpid(p, &s, 0); if (s) return 1; } return 0; }\n";
        compile(&sandbox, "vforks", source, &[]);
        compare(&sandbox, "vfork", &["./vforks"], &["vforks", "vforked.txt"]);
    }
}

/// Static, without a C library: system calls by its own hand, as Go makes them.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_static_program_that_makes_its_system_calls_itself() {
    if is_ready("cc") {
        let sandbox = Sandbox::new();
        sandbox.write("raw.txt", "x");
        let call = "static long call(long n, long a, long b, long c, long d) { long r; register long r10 __asm__(\"r10\") = d;\n\
            __asm__ volatile(\"syscall\" : \"=a\"(r) : \"a\"(n), \"D\"(a), \"S\"(b), \"d\"(c), \"r\"(r10) : \"rcx\", \"r11\", \"memory\"); return r; }\n";
        let how = "struct { unsigned long flags, mode, resolve; } how = {0, 0, 0};\n";
        let main = "void _start(void) { call(257, -100, (long)\"raw.txt\", 0, 0); call(2, (long)\"plain.txt\", 0, 0, 0);\n\
            call(437, -100, (long)\"how.txt\", (long)&how, 24); call(21, (long)\"asked.txt\", 0, 0, 0);\n\
            call(332, -100, (long)\"statx.txt\", 0, 0); call(60, 0, 0, 0, 0); }\n";
        compile(
            &sandbox,
            "raw",
            &format!("{call}{how}{main}"),
            &["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"],
        );
        let expected = ["raw", "raw.txt", "plain.txt", "how.txt", "asked.txt", "statx.txt"];
        compare(&sandbox, "raw calls", &["./raw"], &expected);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_of_32_bits() {
    if is_ready("cc") {
        let sandbox = Sandbox::new();
        let source = "static long call(long n, long a, long b, long c) { long r;\n\
            __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(n), \"b\"(a), \"c\"(b), \"d\"(c) : \"memory\"); return r; }\n\
            void _start(void) { call(5, (long)\"open32.txt\", 0, 0); call(295, -100, (long)\"openat32.txt\", 0);\n\
            call(195, (long)\"stat32.txt\", 0, 0); call(33, (long)\"access32.txt\", 0, 0); call(1, 0, 0, 0); }\n";
        let options = ["-m32", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"];
        compile(&sandbox, "narrow", source, &options);
        let expected = ["narrow", "open32.txt", "openat32.txt", "stat32.txt", "access32.txt"];
        compare(&sandbox, "32 bits", &["./narrow"], &expected);
    }
}
