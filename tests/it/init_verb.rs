//! `reloadrun init`: what it writes can be used at once, and it never writes over a file.

use std::fs;

use crate::ends::{left_out, wrapped};
use crate::support::Sandbox;

#[test]
fn what_it_writes_runs_and_is_not_written_again() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "print('made')\n");
    let init = || sandbox.command(["init"]).output().expect("reloadrun starts");
    let output = init();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(said, "wrote reloadrun.toml for a Python program; read it, then run: reloadrun\n");
    let ended = sandbox.start(["--on-exit", "exit"]).wait_end();
    assert_eq!(ended.assert_code(0).stdout, "made\n");
    let written = sandbox.read("reloadrun.toml");
    let again = init();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert_eq!(stderr, "reloadrun: reloadrun.toml exists already and stays as it is\n");
    assert_eq!(sandbox.read("reloadrun.toml"), written);
}

#[test]
fn it_has_a_help_takes_a_directory_and_refuses_other_words() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("sub")).expect("a fresh name");
    let run = |words: &[&str]| {
        let output = sandbox.command([&["init"], words].concat()).output().expect("reloadrun starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), out.into_owned(), err.into_owned())
    };
    let (code, help, _) = run(&["--help"]);
    assert!(code == Some(0) && help.contains("reloadrun init") && help.contains("--directory"), "{help}");
    let (code, out, err) = run(&["-C", "sub"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("wrote sub/reloadrun.toml; "), "{out}");
    assert!(sandbox.path("sub/reloadrun.toml").is_file() && !sandbox.path("reloadrun.toml").exists());
    for words in [&["x"][..], &["--forse"], &["-C", "none"]] {
        let (code, out, err) = run(words);
        assert!(code == Some(2) && out.is_empty() && err.starts_with("reloadrun: "), "{words:?}: {err}");
    }
}

#[test]
fn on_a_full_disk_it_leaves_no_file() {
    let sandbox = Sandbox::new();
    let disk = sandbox.beside().join("disk");
    fs::create_dir(&disk).expect("a fresh name");
    let disk = disk.to_str().expect("a plain path");
    let run = |then: &str, words: &[&str]| {
        let shell = format!(
            "mount -t tmpfs -o size=4k none '{disk}' && head -c 65536 /dev/zero > '{disk}/filler' 2>/dev/null; [ -s '{disk}/filler' ] && \"$@\"; code=$?; {then}; exit $code"
        );
        let namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &shell, "sh"];
        wrapped(&namespace, &sandbox.command(words), &sandbox).output()
    };
    if !run(":", &["--version"]).is_ok_and(|output| output.status.success()) {
        return left_out("init on a full disk: nothing can be mounted here");
    }
    let output = run(&format!("ls '{disk}'"), &["init", "-C", disk]).expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(err.contains("no space left on device"), "{err}");
    assert_eq!((output.status.code(), out.as_ref()), (Some(125), "filler\n"), "{err}");
}
