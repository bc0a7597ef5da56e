//! `reloadrun init`: writes a `reloadrun.toml` to start from, for what the directory holds, and never over a file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use toml::Value;

use super::trust::CONFIG_FILE;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::os::reason;

/// Write a reloadrun.toml to start from, for what is found in the directory
///
/// It looks for manage.py, app.py, main.py, pyproject.toml, package.json, Cargo.toml, go.mod and Makefile. A reloadrun.toml
/// that is there stays as it is.
#[derive(Debug, Parser)]
#[command(name = "reloadrun init", bin_name = "reloadrun init", version)]
pub struct Init {
    /// The directory to write it in [default: .]
    #[arg(short = 'C', long, value_name = "DIR")]
    directory: Option<OsString>,
}

/// The word that asks for it.
pub const VERB: &str = "init";

/// Whether these words, the program's name first, ask for it.
pub fn is_asked(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == VERB)
}

/// What clap knows of it.
pub fn command() -> clap::Command {
    Init::command().name("init")
}

/// Reads them.
///
/// # Errors
/// clap's, as for other words; also where help was asked for.
pub fn parse(words: &[OsString]) -> std::result::Result<Init, clap::Error> {
    Init::try_parse_from(&words[1..])
}

/// What was found, and how it is run.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// What it is, and the file that says so.
    what: &'static str,
    command: Vec<String>,
    /// Nothing means everything that is not ignored.
    watch: Vec<&'static str>,
    /// A sentence about the choice.
    note: &'static str,
}

impl Init {
    /// Writes the file, and says what it did.
    ///
    /// # Errors
    /// The file exists, or it cannot be written.
    pub fn write(&self, environment: &Environment) -> Result<String> {
        if self.directory.as_ref().is_some_and(|given| given.is_empty()) {
            return Err(Error::usage("--directory '': expected a directory"));
        }
        let directory = self.directory.as_ref().map_or_else(|| PathBuf::from("."), |given| environment.expanded(given));
        let shown = match &self.directory {
            Some(_) => directory.join(CONFIG_FILE),
            None => PathBuf::from(CONFIG_FILE),
        };
        let found = found(&directory);
        let text = text(found.as_ref(), directory.join(".env").is_file());
        // Exclusive creation never follows a symlink, and a file that another process makes meanwhile stays.
        let new = OpenOptions::new().write(true).create_new(true).open(directory.join(CONFIG_FILE));
        let mut file = new.map_err(|error| {
            let shown = shown.display();
            Error::Usage(match error.kind() {
                ErrorKind::AlreadyExists => format!("{shown} exists already and stays as it is"),
                ErrorKind::NotFound => format!("--directory {}: no such directory", directory.display()),
                _ => format!("cannot write {shown}: {}", reason(error)),
            })
        })?;
        file.write_all(text.as_bytes()).map_err(|error| {
            // Otherwise a file without a command would be in the way of the next attempt.
            let _ = fs::remove_file(directory.join(CONFIG_FILE));
            Error::own(format!("cannot write {}: {}", shown.display(), reason(error)))
        })?;
        let shown = shown.display();
        Ok(match found {
            Some(found) => format!("wrote {shown} for {}; read it, then run: reloadrun", found.what),
            None => format!("wrote {shown}; nothing known was found here, so set its command, then run: reloadrun"),
        })
    }
}

/// What the directory holds. The first that fits counts.
fn found(directory: &Path) -> Option<Found> {
    let has = |name: &str| directory.join(name).is_file();
    if has("manage.py") {
        return Some(Found {
            what: "Django (manage.py)",
            command: python(directory, &["manage.py", "runserver", "--noreload"]),
            watch: vec!["*.py"],
            note: "--noreload turns Django's own reloader off. Django reads templates anew by itself.",
        });
    }
    if let Some(name) = ["app.py", "main.py", "wsgi.py", "asgi.py"].into_iter().find(|name| has(name)) {
        return Some(python_file(directory, name));
    }
    if has("package.json") {
        return Some(node(directory));
    }
    if has("Cargo.toml") {
        return Some(Found {
            what: "Rust (Cargo.toml)",
            command: owned(&["cargo", "run"]),
            watch: vec!["*.rs", "Cargo.toml"],
            note: "While the code does not compile, reloadrun waits for the next save.",
        });
    }
    if has("go.mod") {
        return Some(Found {
            what: "Go (go.mod)",
            command: owned(&["go", "run", "."]),
            watch: vec!["*.go", "go.mod"],
            note: "While the code does not compile, reloadrun waits for the next save.",
        });
    }
    let made = || Found {
        what: "make (Makefile)",
        command: owned(&["make"]),
        watch: Vec::new(),
        note: "Name the sources in watch if make writes files that git does not ignore.",
    };
    python_project(directory).or_else(|| ["Makefile", "makefile", "GNUmakefile"].into_iter().any(has).then(made))
}

fn python_file(directory: &Path, name: &str) -> Found {
    let text = fs::read_to_string(directory.join(name)).unwrap_or_default().to_lowercase();
    let module = name.trim_end_matches(".py");
    let imports = |package: &str| {
        let words = |line: &str| {
            let mut words = line.split([' ', '\t', '.', ',']);
            matches!(words.next(), Some("import" | "from")) && words.any(|word| word == package)
        };
        text.lines().map(str::trim_start).any(words)
    };
    let watch = vec!["*.py"];
    if imports("fastapi") || imports("starlette") {
        let application = format!("{module}:app");
        return Found {
            what: "an ASGI application",
            command: python(directory, &["-m", "uvicorn", &application]),
            watch,
            note: "Without uvicorn's own --reload.",
        };
    }
    if imports("flask") {
        return Found {
            what: "Flask",
            command: python(directory, &["-m", "flask", "--app", module, "run"]),
            watch,
            note: "Without --debug, whose reloader would be a second one; add \"--debug\", \"--no-reload\" for the debugger.",
        };
    }
    Found { what: "a Python program", command: python(directory, &[name]), watch, note: "Only Python files count." }
}

fn python_project(directory: &Path) -> Option<Found> {
    let text = fs::read_to_string(directory.join("pyproject.toml")).ok()?;
    let project = text.parse::<toml::Table>().ok()?;
    let scripts = project.get("project")?.get("scripts")?.as_table()?;
    let module = scripts.values().next()?.as_str()?.split(':').next()?.trim().to_owned();
    Some(Found {
        what: "a Python project (pyproject.toml)",
        command: python(directory, &["-m", &module]),
        watch: vec!["*.py", "pyproject.toml"],
        note: "The module of the first of [project.scripts].",
    })
}

fn node(directory: &Path) -> Found {
    let text = fs::read_to_string(directory.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let script = ["start", "dev"].into_iter().find(|name| package["scripts"][name].is_string());
    let manager = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun")];
    let manager = manager.into_iter().find(|(lock, _)| directory.join(lock).is_file()).map_or("npm", |(_, name)| name);
    let command = match script {
        Some(script) => owned(&[manager, "run", script]),
        None => owned(&["node", package["main"].as_str().unwrap_or("index.js")]),
    };
    Found {
        what: "Node.js (package.json)",
        command,
        watch: vec!["*.js", "*.mjs", "*.cjs", "*.ts", "*.json"],
        note: "Use a script without a watcher of its own (nodemon, vite, --watch).",
    }
}

/// Python as the project runs it.
fn python(directory: &Path, words: &[&str]) -> Vec<String> {
    let program: &[&str] = if directory.join("uv.lock").is_file() {
        &["uv", "run", "python"]
    } else if directory.join(".venv/bin/python").exists() {
        &[".venv/bin/python"]
    } else {
        &["python3"]
    };
    owned(&[program, words].concat())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| OsStr::new(word).to_string_lossy().into_owned()).collect()
}

fn text(found: Option<&Found>, has_variables: bool) -> String {
    let list = |words: &[String]| Value::Array(words.iter().cloned().map(Value::String).collect()).to_string();
    let command = match found {
        Some(found) => format!("# {}: {}\ncommand = {}\n", found.what, found.note, list(&found.command)),
        None => "# A list of words, or a line for the shell.\n# command = [\"python\", \"app.py\"]\n".to_owned(),
    };
    let watch = match found.map(|found| &found.watch[..]).unwrap_or_default() {
        [] => "# watch = [\"*.py\", \"conf/app.toml\"]".to_owned(),
        patterns => format!("watch = {}", list(&owned(patterns))),
    };
    let variables = if has_variables { "env-file = \".env\"" } else { "# env-file = \".env\"" };
    format!(
        "\
# The config file of reloadrun: `reloadrun` in this directory runs the command and restarts it on changes.
# Each option of `reloadrun --help` is a key. For an editor that checks TOML by a schema, run
# `reloadrun --generate schema > .reloadrun.schema.json` and uncomment the next line.
# #:schema ./.reloadrun.schema.json

{command}
# What counts; without it, everything that git does not ignore. `reloadrun --explain PATH` tells of one path.
{watch}
# ignore = [\"tests\"]

# Variables for the command.
{variables}

# What a change does: \"restart\", or a signal to the command.
# on-change = \"signal:HUP\"

# When the command exits: \"wait\" for a change, \"exit\" with its code, or \"restart\" it.
# on-exit = \"wait\"

# The stop: this signal, and so long until KILL.
# stop-signal = \"TERM\"
# stop-timeout = \"5s\"
"
    )
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
