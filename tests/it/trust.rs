//! Which config files are trusted: in directories where others can write, as root and as another user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::ends::{left_out, wrapped};
use crate::support::namespace::is_root;
use crate::support::{Sandbox, Session};

/// User IDs that do not exist on the machine.
const MALLORY: u32 = 54_321;
const ALICE: u32 = 54_322;

/// Whether the test can run as another user; prints a message if not.
fn can_be_others(what: &str) -> bool {
    if !is_root() {
        left_out(&format!("{what}: only root can give files to others"));
    }
    is_root()
}

/// A sandbox that other users can enter, with a directory `shared` of mode 1777 and `shared/work` of this owner.
fn shared(owner: u32) -> Sandbox {
    let sandbox = Sandbox::new();
    for path in [sandbox.beside(), sandbox.root()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test owns it");
    }
    fs::set_permissions(sandbox.runtime(), fs::Permissions::from_mode(0o1777)).expect("the test owns it");
    fs::create_dir_all(sandbox.path("shared/work")).expect("the test owns it");
    fs::set_permissions(sandbox.path("shared"), fs::Permissions::from_mode(0o1777)).expect("the test owns it");
    give(&sandbox.path("shared/work"), owner);
    sandbox
}

fn give(path: &Path, owner: u32) {
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).expect("root may");
}

fn config(sandbox: &Sandbox, name: &str, text: &str, owner: u32, mode: u32) {
    let path = sandbox.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the test owns it");
    chown(&path, Some(owner), Some(owner)).expect("root may");
}

/// As a user with this number, in this directory.
fn as_user(sandbox: &Sandbox, user: u32, below: &str, arguments: &[&str]) -> Command {
    let built = sandbox.command::<&str>([]);
    // A copy of the program, because other users may not be able to read the build directory.
    let program = sandbox.beside().join("reloadrun");
    if !program.exists() {
        let from = built.get_program();
        fs::hard_link(from, &program).or_else(|_| fs::copy(from, &program).map(drop)).expect("the test owns it");
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.arg(program).args(arguments);
    sandbox.furnish(&mut command);
    command.current_dir(sandbox.path(below));
    command
}

fn run(sandbox: &Sandbox, user: u32, below: &str, arguments: &[&str]) -> Output {
    as_user(sandbox, user, below, arguments).output().expect("it starts")
}

/// The message of a refused config file, with exit code 2 and nothing on standard output.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing ran");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const EVIL: &str = "command = ['echo', 'evil']\non-exit = 'exit'\n";

#[test]
fn a_config_file_of_another_user_is_refused_with_its_owner_and_the_remedy() {
    if !can_be_others("a stranger's config file") {
        return;
    }
    for user in [0, ALICE] {
        let sandbox = shared(user);
        config(&sandbox, "shared/reloadrun.toml", EVIL, MALLORY, 0o644);
        for below in ["shared/work", "shared"] {
            for arguments in [&[][..], &["--", "echo", "mine"], &["--explain", "x"]] {
                let said = refusal(&run(&sandbox, user, below, arguments));
                let owner = format!("belongs to uid {MALLORY}");
                assert!(said.contains(&owner) && said.contains("-c ") && said.lines().count() == 1, "{said}");
            }
        }
        // The remedy works.
        let output = run(&sandbox, user, "shared/work", &["-c", "../reloadrun.toml"]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"evil\n"[..]), "{output:?}");
    }
}

#[test]
fn a_config_file_of_the_user_of_root_or_of_the_owner_of_the_start_directory_is_used() {
    if !can_be_others("config files of several owners") {
        return;
    }
    // user, owner of the start directory, owner of the file, mode
    for (user, start, owner, mode) in [
        (ALICE, ALICE, ALICE, 0o644),
        (ALICE, ALICE, ALICE, 0o664),
        (ALICE, ALICE, 0, 0o644),
        (0, ALICE, ALICE, 0o644),
        (0, ALICE, ALICE, 0o664),
        (ALICE, MALLORY, MALLORY, 0o644),
        (0, 0, 0, 0o600),
    ] {
        let sandbox = shared(start);
        for place in ["shared", "shared/work"] {
            let name = format!("{place}/reloadrun.toml");
            config(&sandbox, &name, "command = ['echo', 'good']\non-exit = 'exit'\n", owner, mode);
            let output = run(&sandbox, user, "shared/work", &["-q"]);
            let what = format!("user {user}, start {start}, owner {owner}, mode {mode:o}: {output:?}");
            assert_eq!(
                (output.status.code(), &*output.stdout, &*output.stderr),
                (Some(0), &b"good\n"[..], &b""[..]),
                "{what}"
            );
            fs::remove_file(sandbox.path(name)).expect("the test owns it");
        }
    }
}

#[test]
fn umask_002_and_umask_000_are_the_usual_thing_in_the_start_directory() {
    let sandbox = Sandbox::new();
    let write = "command = ['echo', 'good']\non-exit = 'exit'\n";
    for (umask, below, mode, told) in
        [("002", "one/two", 0o664, false), ("000", "one", 0o666, true), ("000", "one/two", 0o666, true)]
    {
        let _ = fs::remove_dir_all(sandbox.path("one"));
        // No directory above may be writable by everyone, which would be the other case.
        fs::create_dir(sandbox.path("one")).expect("the test owns it");
        let script =
            format!("umask {umask} && printf %s \"$0\" > reloadrun.toml && mkdir two && cd ../{below} && exec \"$@\"");
        let inner = sandbox.command::<&str>([]);
        let mut command = wrapped(&["sh", "-c", &script, write], &inner, &sandbox);
        let output = command.current_dir(sandbox.path("one")).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"good\n"[..]), "{output:?}");
        assert_eq!(fs::metadata(sandbox.path("one/reloadrun.toml")).expect("it exists").mode() & 0o777, mode);
        let lines = said.lines().filter(|line| line.contains("everyone can write to this config file")).count();
        assert_eq!(lines, usize::from(told), "{said}");
    }
}

#[test]
fn a_writable_file_in_a_writable_directory_above_the_start_directory_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("open/work")).expect("the test owns it");
    for mode in [0o777, 0o1777] {
        fs::set_permissions(sandbox.path("open"), fs::Permissions::from_mode(mode)).expect("the test owns it");
        let path = sandbox.write("open/reloadrun.toml", EVIL);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the test owns it");
        let start =
            |below: &str| sandbox.command::<&str>([]).current_dir(sandbox.path(below)).output().expect("it starts");
        let said = refusal(&start("open/work"));
        assert!(said.contains("mode 666") && said.contains("chmod o-w") && said.contains("-c "), "{said}");
        let output = start("open");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("everyone can write to this config file"),
            "{output:?}"
        );
        // When only the user can write to it, it is used from below as well.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("the test owns it");
        assert_eq!(start("open/work").status.code(), Some(0));
    }
}

#[test]
fn the_owner_of_a_symlink_in_the_path_counts_too() {
    if !can_be_others("a stranger's symlink") {
        return;
    }
    let sandbox = shared(0);
    sandbox.write("mine/reloadrun.toml", EVIL);
    let (link, hop) = (sandbox.path("shared/reloadrun.toml"), sandbox.path("hop"));
    symlink("../mine/reloadrun.toml", &link).expect("a fresh name");
    let start = || run(&sandbox, 0, "shared/work", &[]);
    assert_eq!(start().status.code(), Some(0), "everything belongs to the user");
    give(&link, MALLORY);
    let said = refusal(&start());
    assert!(said.contains("a symlink in the path") && said.contains(&format!("uid {MALLORY}")), "{said}");
    // A symlink to a directory in the middle of the path.
    fs::remove_file(&link).expect("the test owns it");
    symlink("../hop/reloadrun.toml", &link).expect("a fresh name");
    symlink("mine", &hop).expect("a fresh name");
    assert_eq!(start().status.code(), Some(0), "everything belongs to the user");
    give(&hop, MALLORY);
    assert!(refusal(&start()).contains("a symlink in the path"));
    // And a foreign file behind the user's own symlink.
    give(&hop, 0);
    chown(sandbox.path("mine/reloadrun.toml"), Some(MALLORY), None).expect("root may");
    assert!(refusal(&start()).contains("this config file belongs to"));
}

#[test]
fn a_foreign_config_file_created_or_given_away_during_a_run_is_reported_and_not_used() {
    if !can_be_others("a stranger's config file while we run") {
        return;
    }
    let sandbox = shared(0);
    let arguments = ["--interval", "100ms", "-w", "a.txt", "--", "sleep", "600"];
    let mut command = as_user(&sandbox, 0, "shared", &[]);
    command.args(["--events", sandbox.events().to_str().expect("plain")]).args(arguments);
    let mut session = Session::start(command, &sandbox);
    session.wait_armed(1);
    // Renamed into place, so that it is complete at once.
    config(&sandbox, "evil", "stop-signal = 'KILL'\nevents = '/nonexistent'\n", MALLORY, 0o644);
    fs::rename(sandbox.path("evil"), sandbox.path("shared/reloadrun.toml")).expect("the test owns it");
    let rejected = session.wait("config_rejected");
    assert!(
        rejected["mistakes"][0].as_str().is_some_and(|text| text.contains(&format!("uid {MALLORY}"))),
        "{rejected}"
    );
    session.wait_armed(2);
    // It belongs to the user again and has changed, so it is used.
    config(&sandbox, "good", "stop-signal = 'INT'\n", 0, 0o644);
    fs::rename(sandbox.path("good"), sandbox.path("shared/reloadrun.toml")).expect("the test owns it");
    session.wait("config_loaded");
    session.wait_armed(3);
    config(&sandbox, "evil", "stop-signal = 'QUIT'\n", MALLORY, 0o644);
    fs::rename(sandbox.path("evil"), sandbox.path("shared/reloadrun.toml")).expect("the test owns it");
    session.wait("config_rejected");
    session.wait_armed(4);
    let ended = session.stop();
    ended.assert_code(143);
    let signals: Vec<_> =
        ended.events.iter().filter(|event| event["event"] == "stopping").map(|event| event["signal"].clone()).collect();
    assert_eq!(signals, ["SIGTERM", "SIGTERM", "SIGINT", "SIGINT"], "{ended:#?}");
    assert!(ended.stderr.contains("this config file belongs to uid"), "{}", ended.stderr);
}

#[test]
fn the_first_line_names_the_config_file_in_use() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = '*.txt'\ncommand = ['sleep', '600']\n");
    let mut session = sandbox.start::<&str>([]);
    session.wait_armed(1);
    session.wait_until("the first line", || session.stderr().ends_with('\n'));
    assert!(
        session.stderr().starts_with("reloadrun: using reloadrun.toml; watching '*.txt': "),
        "{}",
        session.stderr()
    );
    session.stop().assert_code(143);
    // Found in a parent directory, with a command that exits before the watches are set up.
    sandbox.write("reloadrun.toml", "on-exit = 'exit'\n");
    sandbox.write("below/a.txt", "");
    let output = sandbox.command(["--", "true"]).current_dir(sandbox.path("below")).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let file = sandbox.path("reloadrun.toml");
    let first = said.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("reloadrun: using ")
            && (first.contains("../reloadrun.toml; ") || first.contains(&format!("{}; ", file.display()))),
        "{said}"
    );
    // Whatever the first line is about.
    for (text, expected) in [
        ("on-change = 'run:true'\n", "watching "),
        ("command = ['no-such-program']\non-exit = 'exit'\n", "the command was not found"),
        ("command = 'true'\nprepare = 'true'\n", "preparing the first start"),
        ("command = 'true'\nprepare = 'false'\n", "preparing the first start"),
    ] {
        // Each has its own: one that was killed may still say something.
        let sandbox = Sandbox::new();
        sandbox.write("reloadrun.toml", text);
        let session = sandbox.start::<&str>([]);
        session.wait_until("the first line", || session.stderr().contains('\n'));
        let said = session.stderr();
        assert!(said.starts_with(&format!("reloadrun: using reloadrun.toml; {expected}")), "{text}: {said}");
        assert_eq!(said.matches("using").count(), 1, "{text}: {said}");
        drop(session);
    }
}
