use super::super::file::File;
use super::{Init, found, text};
use crate::environment::tests::environment;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

fn command_in(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Vec<String>>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let command = found(directory.path()).map(|found| found.command);
    (directory, command)
}

#[test]
fn each_kind_of_project_gets_its_command() {
    for (files, command) in [
        (&[("manage.py", ""), ("app.py", "")][..], "python3 manage.py runserver --noreload"),
        (&[("app.py", "from flask import Flask\n")], "python3 -m flask --app app run"),
        (&[("main.py", "import os, sys\nfrom fastapi import FastAPI\n")], "python3 -m uvicorn main:app"),
        (&[("app.py", "# not flask\nflask = 1\n")], "python3 app.py"),
        (&[("app.py", ""), (".venv/bin/python", "")], ".venv/bin/python app.py"),
        (&[("app.py", ""), ("uv.lock", "")], "uv run python app.py"),
        (&[("pyproject.toml", "[project.scripts]\nserve = 'web.server:main'\n")], "python3 -m web.server"),
        (&[("package.json", "{\"scripts\": {\"dev\": \"x\", \"start\": \"y\"}}")], "npm run start"),
        (&[("package.json", "{\"scripts\": {\"dev\": \"x\"}}"), ("pnpm-lock.yaml", "")], "pnpm run dev"),
        (&[("package.json", "{\"main\": \"server.js\"}")], "node server.js"),
        (&[("package.json", "not json")], "node index.js"),
        (&[("Cargo.toml", ""), ("Makefile", "")], "cargo run"),
        (&[("go.mod", "")], "go run ."),
        (&[("Makefile", "")], "make"),
        (&[("Makefile", ""), ("pyproject.toml", "[project]\nname = 'x'\n")], "make"),
        (&[("GNUmakefile", ""), ("pyproject.toml", "not toml")], "make"),
    ] {
        let (_directory, found) = command_in(files);
        assert_eq!(found.map(|words| words.join(" ")).as_deref(), Some(command), "{files:?}");
    }
    for files in [&[][..], &[("pyproject.toml", "[project]\nname = 'x'\n")], &[("pyproject.toml", "not toml")]] {
        assert_eq!(command_in(files).1, None, "{files:?}");
    }
}

#[test]
fn what_is_written_is_valid_and_every_line_of_it_still_is_when_it_is_uncommented() {
    let hostile = "{\"main\": \"a\\\"\\u0007\\n']\\u007f.js\"}";
    for files in [&[][..], &[("app.py", ""), (".env", "")], &[("package.json", hostile)], &[("Makefile", "")]] {
        let (directory, command) = command_in(files);
        let text = text(found(directory.path()).as_ref(), directory.path().join(".env").is_file());
        let read = File::read(Path::new("a.toml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
        assert_eq!(read.mistakes, Vec::<String>::new(), "{text}");
        let written = read.lists.iter().find(|(key, _)| key == "command").map(|(_, entry)| entry.value.clone());
        assert_eq!(written, command, "{text}");
        assert_eq!(read.lists.iter().any(|(key, _)| key == "env-file"), files.len() == 2, "{text}");
        let is_key = |line: &str| line.split(" = ").next().is_some_and(|key| !key.contains(' '));
        let all: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("# ").filter(|line| is_key(line)).unwrap_or(line)).collect();
        let all = all.join("\n");
        assert!(all.contains("\non-exit = "), "{all}");
        let read = File::read(Path::new("a.toml"), &all);
        assert_eq!(read.map(|file| file.mistakes), Ok(Vec::new()), "{all}");
    }
}

#[test]
fn a_file_or_a_symlink_that_is_there_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reloadrun.toml");
    let init = Init { directory: Some(OsString::from(directory.path())) };
    let environment = environment(&[("HOME", directory.path().to_str().unwrap())]);
    fs::write(&path, "watch = 'x'\n").unwrap();
    assert!(init.write(&environment).unwrap_err().to_string().ends_with("exists already and stays as it is"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "watch = 'x'\n");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(init.write(&environment).is_err());
    assert!(!directory.path().join("elsewhere").exists());
    fs::remove_file(&path).unwrap();
    assert!(init.write(&environment).unwrap().contains("nothing known was found"));
    let gone = Init { directory: Some(directory.path().join("gone").into()) };
    assert!(gone.write(&environment).unwrap_err().to_string().contains("no such directory"));
    let empty = Init { directory: Some(OsString::new()) };
    assert_eq!(empty.write(&environment).unwrap_err().to_string(), "--directory '': expected a directory");
    fs::create_dir(directory.path().join("x")).unwrap();
    Init { directory: Some("~/x".into()) }.write(&environment).unwrap();
    assert!(directory.path().join("x/reloadrun.toml").is_file());
}
