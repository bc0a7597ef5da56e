//! Guesses what was meant by a command that cannot be started: several words quoted as one, a shell line, a file that
//! is not executable.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::line::{assignment, split};
use crate::config::Config;
use crate::escape::quoted;
use crate::program::{find, is_runnable};

/// Builtins and keywords of a shell, which are not programs.
const OF_THE_SHELL: [&str; 16] = [
    "cd", "source", ".", "export", "alias", "unset", "set", "eval", "exec", "ulimit", "umask", "trap", "if", "for",
    "while", "function",
];

/// Interpreters by file extension, the best one first.
const INTERPRETERS: [(&str, &[&str]); 12] = [
    ("py", &["python3", "python"]),
    ("js", &["node"]),
    ("mjs", &["node"]),
    ("cjs", &["node"]),
    ("ts", &["tsx", "bun", "npx tsx"]),
    ("sh", &["sh"]),
    ("bash", &["bash"]),
    ("rb", &["ruby"]),
    ("pl", &["perl"]),
    ("php", &["php"]),
    ("lua", &["lua"]),
    ("jar", &["java -jar"]),
];

/// Programs and the other name that they have on many systems.
const TWINS: [(&str, &str); 8] = [
    ("python", "python3"),
    ("python3", "python"),
    ("pip", "pip3"),
    ("node", "nodejs"),
    ("nodejs", "node"),
    ("docker-compose", "docker compose"),
    ("gmake", "make"),
    ("py", "python3"),
];

/// Looks up files and programs; a trait so that tests need no real ones.
pub trait Place {
    /// The file of this name in the command's directory, if it exists.
    fn file(&self, name: &str) -> Option<FileThere>;
    /// Whether there is a program of this name in PATH.
    fn program(&self, name: &str) -> bool;
}

/// The facts about an existing file.
#[derive(Debug, Clone, Default)]
pub struct FileThere {
    /// Whether it may be executed.
    pub executable: bool,
    /// Its first line, if that begins with `#!`.
    pub interpreter: Option<String>,
}

impl Place for Config {
    fn file(&self, name: &str) -> Option<FileThere> {
        look(&self.directory.join(name))
    }

    fn program(&self, name: &str) -> bool {
        find(OsStr::new(name), &self.directory, self.environment.get("PATH")).is_ok()
    }
}

fn look(path: &Path) -> Option<FileThere> {
    use std::io::Read;
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut start = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(256).read_to_end(&mut start);
    }
    let first = start.split(|byte| *byte == b'\n').next().filter(|line| line.starts_with(b"#!"));
    let interpreter = first.map(|line| String::from_utf8_lossy(line).into_owned());
    Some(FileThere { executable: is_runnable(path), interpreter })
}

/// A guess at what was meant, to be appended to the reason.
pub fn meant(command: &[String], place: &(impl Place + ?Sized)) -> Option<String> {
    let (first, rest) = command.split_first()?;
    if let Some(file) = place.file(first) {
        return of_file(first, &file, rest, place);
    }
    let write = |what: String| format!("write: -- {what}");
    if first == "--" {
        return Some(format!("-- is given twice; {}", write(line_of(rest))));
    }
    if OF_THE_SHELL.contains(&first.as_str()) {
        return Some(match (first.as_str(), rest) {
            ("cd", [directory]) => format!(
                "cd is a shell command, not a program; write -C {} before the --",
                line_of(std::slice::from_ref(directory))
            ),
            _ => format!("{first} is a shell command, not a program; {}", write(shell(&shell_line(command)))),
        });
    }
    let has_blanks = first.trim().contains(char::is_whitespace);
    // A separate word `&&` was quoted by the user, or comes from a list in the config file.
    let has_operator = rest.iter().any(|word| matches!(word.as_str(), "&&" | "||" | "|" | ";"));
    if is_for_the_shell(first, has_blanks) || has_operator && assignment(first).is_some() {
        let line = if rest.is_empty() { first.trim().to_owned() } else { shell_line(command) };
        return Some(format!("this needs a shell; {}", write(shell(&line))));
    }
    if assignment(first).is_some() {
        let words = if has_blanks { split(first).into_iter().flatten().collect() } else { vec![first.clone()] };
        let words = [vec!["env".to_owned()], words, rest.to_vec()].concat();
        return Some(format!("set variables with env; {}", write(line_of(&words))));
    }
    if has_blanks {
        let words: Vec<String> = split(first).into_iter().flatten().chain(rest.iter().cloned()).collect();
        return Some(format!("the program and its arguments must be separate words; {}", write(line_of(&words))));
    }
    if first.trim() != first && !first.trim().is_empty() {
        let words = replaced(first.trim(), rest);
        return Some(format!("the name has blanks or line ends around it; {}", write(line_of(&words))));
    }
    if first.starts_with("~/") {
        return Some("only a shell expands ~; write the full path".to_owned());
    }
    let instead = |program: &str| Some(format!("did you mean {}?", line_of(&replaced(program, rest))));
    if first.contains('/') {
        return None;
    }
    for environment in [".venv/bin", "venv/bin", "env/bin"] {
        let inside = format!("{environment}/{first}");
        if place.file(&inside).is_some_and(|file| file.executable) {
            return instead(&inside);
        }
    }
    if place.file(&format!("node_modules/.bin/{first}")).is_some() {
        return instead(&format!("npx {first}"));
    }
    let twin = TWINS.iter().find(|(name, _)| name == first).map(|(_, twin)| *twin);
    let twin = twin.filter(|twin| place.program(twin.split(' ').next().unwrap_or(twin)));
    twin.and_then(instead)
}

/// The guess for `app.py` or `./app.py`: the file exists, but is not in PATH or not executable.
fn of_file(name: &str, file: &FileThere, rest: &[String], place: &(impl Place + ?Sized)) -> Option<String> {
    if file.interpreter.as_ref().is_some_and(|line| line.ends_with('\r')) {
        return Some("its first line ends with a carriage return; save it with LF line endings".to_owned());
    }
    let here = if name.contains('/') { name.to_owned() } else { format!("./{name}") };
    let runs = file.executable && (file.interpreter.is_some() || interpreters(name).is_none());
    if runs {
        // A name with a slash was tried as it is, and failed for another reason.
        return (!name.contains('/'))
            .then(|| format!("it is in this directory: did you mean {}?", line_of(&[&[here], rest].concat())));
    }
    let known = interpreters(name)?;
    let program = known.iter().find(|program| place.program(program.split(' ').next().unwrap_or(program)));
    let program = program.or(known.first())?;
    let words = replaced(program, &[&[name.to_owned()], rest].concat());
    Some(format!("did you mean {}?", line_of(&words)))
}

fn interpreters(name: &str) -> Option<&'static [&'static str]> {
    let (_, extension) = name.rsplit_once('.')?;
    INTERPRETERS.iter().find(|(known, _)| *known == extension).map(|(_, programs)| *programs)
}

/// Whether this word can only be meant for a shell.
fn is_for_the_shell(word: &str, has_blanks: bool) -> bool {
    let operators = word.contains(['|', ';', '<', '>', '$', '`', '\n']) || word.contains("&&") || word.ends_with(" &");
    let first = word.split_whitespace().next().unwrap_or_default();
    let begins = OF_THE_SHELL.contains(&first) || first.starts_with("~/") || first.starts_with('(');
    let pattern = word.split_whitespace().skip(1).any(|piece| piece.contains('*') && !piece.contains(['\'', '"']));
    operators || has_blanks && (begins || pattern)
}

/// The words as a shell line; operators among them stay unquoted.
fn shell_line(words: &[String]) -> String {
    let plain = |word: &String| match word.as_str() {
        "&&" | "||" | "|" | ";" | ">" | "<" | ">>" | "&" => word.clone(),
        _ => line_of(std::slice::from_ref(word)),
    };
    words.iter().map(plain).collect::<Vec<_>>().join(" ")
}

fn shell(line: &str) -> String {
    line_of(&["sh".to_owned(), "-c".to_owned(), line.to_owned()])
}

fn replaced(program: &str, rest: &[String]) -> Vec<String> {
    program.split(' ').map(str::to_owned).chain(rest.iter().cloned()).collect()
}

fn line_of(words: &[String]) -> String {
    quoted(&words.iter().map(OsString::from).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{FileThere, Place, meant};

    struct Imagined;

    impl Place for Imagined {
        fn file(&self, name: &str) -> Option<FileThere> {
            let script = Some("#!/usr/bin/env python3".to_owned());
            let (executable, interpreter) = match name {
                "app.py" | "./app.py" | "src/app.py" | "app.js" | "notes.txt" | "my app.py" => (false, None),
                "tool" | "my tool" | "marked.py" => (true, None),
                "run.py" => (true, script),
                "./dos" => (true, Some("#!/bin/sh\r".to_owned())),
                ".venv/bin/flask" | "node_modules/.bin/vite" => (true, script),
                _ => return None,
            };
            Some(FileThere { executable, interpreter })
        }

        fn program(&self, name: &str) -> bool {
            matches!(name, "python3" | "node" | "sh")
        }
    }

    fn said(words: &[&str]) -> Option<String> {
        meant(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &Imagined)
    }

    #[test]
    fn a_command_that_cannot_be_started_gets_a_guess_at_what_was_meant() {
        for (words, expected) in [
            (&["python3 app.py"][..], "the program and its arguments must be separate words; write: -- python3 app.py"),
            (
                &["python3 'my app.py' -v", "x y"],
                "the program and its arguments must be separate words; write: -- python3 'my app.py' -v 'x y'",
            ),
            (
                &["python3 src/app.py --port 80"],
                "the program and its arguments must be separate words; write: -- python3 src/app.py --port 80",
            ),
            (&["  make "], "the name has blanks or line ends around it; write: -- make"),
            (&["cd src && make"], "this needs a shell; write: -- sh -c 'cd src && make'"),
            (&["cd src"], "this needs a shell; write: -- sh -c 'cd src'"),
            (&["make|tee"], "this needs a shell; write: -- sh -c 'make|tee'"),
            (&["$HOME/app"], "this needs a shell; write: -- sh -c '$HOME/app'"),
            (&["cat *.txt"], "this needs a shell; write: -- sh -c 'cat *.txt'"),
            (&["FOO=1 python3 app.py && x"], "this needs a shell; write: -- sh -c 'FOO=1 python3 app.py && x'"),
            (&["echo it's; x"], r"this needs a shell; write: -- sh -c 'echo it'\''s; x'"),
            (&["FOO=1", "python3", "app.py"], "set variables with env; write: -- env FOO=1 python3 app.py"),
            (&["A=1", "B=x y", "cmd"], "set variables with env; write: -- env A=1 'B=x y' cmd"),
            (&["FOO=1 python3 app.py"], "set variables with env; write: -- env FOO=1 python3 app.py"),
            (&["cd", "src"], "cd is a shell command, not a program; write -C src before the --"),
            (&["cd", "src", "&&", "make"], "cd is a shell command, not a program; write: -- sh -c 'cd src && make'"),
            (
                &["source", "venv/bin/activate"],
                "source is a shell command, not a program; write: -- sh -c 'source venv/bin/activate'",
            ),
            (&["app.py"], "did you mean python3 app.py?"),
            (&["app.py", "--port", "80"], "did you mean python3 app.py --port 80?"),
            (&["./app.py"], "did you mean python3 ./app.py?"),
            (&["src/app.py"], "did you mean python3 src/app.py?"),
            (&["my app.py"], "did you mean python3 'my app.py'?"),
            (&["app.js"], "did you mean node app.js?"),
            (&["run.py"], "it is in this directory: did you mean ./run.py?"),
            (&["marked.py"], "did you mean python3 marked.py?"),
            (&["my tool"], "it is in this directory: did you mean './my tool'?"),
            (&["tool", "x"], "it is in this directory: did you mean ./tool x?"),
            (&["./dos"], "its first line ends with a carriage return; save it with LF line endings"),
            (&["python", "app.py"], "did you mean python3 app.py?"),
            (&["flask", "run"], "did you mean .venv/bin/flask run?"),
            (&["vite", "--host"], "did you mean npx vite --host?"),
            (&["--", "make"], "-- is given twice; write: -- make"),
            (&["~/bin/app"], "only a shell expands ~; write the full path"),
            (&["app\r"], "the name has blanks or line ends around it; write: -- app"),
        ] {
            assert_eq!(said(words).as_deref(), Some(expected), "{words:?}");
        }
    }

    #[test]
    fn without_a_good_guess_there_is_no_hint() {
        for words in [&["nosuch"][..], &["nosuch", "app.py"], &["./nosuch"], &["notes.txt"], &["php"], &[""], &[]] {
            assert_eq!(said(words), None, "{words:?}");
        }
    }
}
