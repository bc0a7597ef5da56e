use super::becoming_its_command;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_simple_command_replaces_the_shell() {
    for (line, expected) in [
        ("gunicorn app:app", "exec gunicorn app:app"),
        ("  gunicorn app:app\n", "  exec gunicorn app:app\n"),
        ("\ngunicorn app:app", "\ngunicorn app:app"),
        ("gunicorn \\\n  -w 4 \\\n  app:app\n", "exec gunicorn \\\n  -w 4 \\\n  app:app\n"),
        ("./run.sh 'a; b' \"c && $HOME\" d\\;e", "exec ./run.sh 'a; b' \"c && $HOME\" d\\;e"),
        ("gunicorn -b :${PORT:-8000} -w $(nproc) app:app", "exec gunicorn -b :${PORT:-8000} -w $(nproc) app:app"),
        ("PORT=1 A='x y' node server.js", "PORT=1 A='x y' exec node server.js"),
        ("node server.js >out.log 2>&1", "exec node server.js >out.log 2>&1"),
        ("node server.js < in 2>> err", "exec node server.js < in 2>> err"),
        ("python3 -c 'if True: print(1)'", "exec python3 -c 'if True: print(1)'"),
        ("python *.py [ab] ~ {} !", "exec python *.py [ab] ~ {} !"),
        ("a=b", "a=b"),
        ("", ""),
    ] {
        assert_eq!(becoming_its_command(line), expected);
    }
}

#[test]
fn any_other_line_stays_unchanged() {
    for line in [
        "a | b",
        "a && b",
        "a || b",
        "a; b",
        "a &",
        "a\nb",
        "(a)",
        "{ a; }",
        "! a",
        "if a; then b; fi",
        "cd src",
        "echo hi",
        "exec a",
        ". ./env",
        "source env",
        "time a",
        "$PROGRAM a",
        "\"a\" b",
        "~/bin/a",
        "a # comment",
        "a `b`",
        "a $(b | c)",
        "a $(b; c)",
        "a $((1 + 1))",
        "a ${b:-$(c)}",
        "a <<END\nEND",
        "a <(b)",
        "a >(b)",
        "a >|b",
        "a >&b",
        "a &>b",
        ">out a",
        "a 'b",
        "a \"b",
        "a \\",
        "a $'b'",
        "-a b",
        "f() { a; }",
        "a b;",
        "a 2>&1&",
        "a=(b) c",
    ] {
        assert_eq!(becoming_its_command(line), line);
    }
}

/// The result of running a line in a shell: the exit code, the output of the program (its arguments and environment),
/// and the files it wrote.
fn outcome(directory: &Path, line: &str) -> (Option<i32>, String, Vec<(String, String)>) {
    let _ = fs::remove_dir_all(directory.join("here"));
    fs::create_dir(directory.join("here")).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(directory.join("here"))
        .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
        .env("V", "v w")
        .env_remove("A")
        .output()
        .unwrap();
    let mut files: Vec<(String, String)> = fs::read_dir(directory.join("here"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let content = fs::read_to_string(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), content)
        })
        .collect();
    files.sort();
    // With `exec`, the shell's error messages start with `exec: `.
    let plain = |text: String| text.replace("exec: ", "");
    let files = files.into_iter().map(|(name, content)| (name, plain(content))).collect();
    (output.status.code(), plain(String::from_utf8_lossy(&output.stdout).into_owned()), files)
}

#[test]
fn a_line_with_exec_does_the_same_as_the_line_without() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path();
    let program = directory.join("say");
    fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$A\" \"$@\"\necho err >&2\nexit $#\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    const PIECES: &[&str] = &[
        "say",
        "say",
        "say",
        "nosuch",
        "A=1",
        "A='x y'",
        "a",
        "'b c'",
        "\"d $V\"",
        "$V",
        "${V:-e}",
        "${N:-e f}",
        "$(say g)",
        "\\;",
        "*",
        ">o",
        "> p",
        ">>o",
        "2>&1",
        "2>q",
        ";",
        "&&",
        "|",
        "#",
        "!",
        "{",
        "}",
        "(",
        ")",
        "`say`",
        "\n",
        "\\\n",
        "'",
        "\"",
        "cd",
        "echo",
        "if",
        "$",
        "=",
        "exec",
        "\u{e9}",
    ];
    let mut state = 1u64;
    let mut next = |limit: usize| {
        // A linear congruential generator (Knuth's MMIX): any lines will do, as long as each run has the same.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    let mut simple = 0;
    while simple < 150 {
        let count = 1 + next(6);
        let line: Vec<&str> = (0..count).map(|_| PIECES[next(PIECES.len())]).collect();
        let line = line.join(if next(8) == 0 { "" } else { " " });
        let becomes = becoming_its_command(&line);
        if becomes == line {
            continue;
        }
        simple += 1;
        assert_eq!(outcome(directory, &line), outcome(directory, &becomes), "{line:?} and {becomes:?}");
        // The shell is replaced: no later line of it runs.
        let (_, said, _) = outcome(directory, &format!("{becomes}\nprintf after"));
        assert!(!said.contains("after"), "{becomes:?} leaves the shell: {said}");
    }
}
