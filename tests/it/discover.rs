//! `--discover`: what the command reads counts, what it writes does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::control::{answer, ask};
use super::ends::{left_out, wrapped};
use super::out_of_reach::{as_user, with_root_inside};
use crate::support::Sandbox;
use crate::support::session::{DEADLINE, Session};
use crate::support::terminal::Terminal;
use crate::support::watched::{assert_restart, is_installed, names};

/// A shell that does this at its start, says so, and waits; and then does more each time that a file `go` appears beside.
fn shell(sandbox: &Sandbox, options: &[&str], at_start: &str, on_go: &str) -> Session {
    let beside = sandbox.beside().display().to_string();
    let script = format!(
        "{at_start}\necho begun >> {beside}/begun\nwhile :; do if [ -e {beside}/go ]; then {on_go}\nrm {beside}/go; fi; sleep 0.02; done"
    );
    let mut session =
        sandbox.start(["-i", "go"].into_iter().chain(options.iter().copied()).chain(["--", "sh", "-c", &script]));
    session.wait_armed(1);
    wait_begun(sandbox, &session, 1);
    session
}

fn wait_begun(sandbox: &Sandbox, session: &Session, times: usize) {
    let begun = sandbox.beside().join("begun");
    session.wait_until("the command to have begun", || {
        fs::read_to_string(&begun).is_ok_and(|text| text.lines().count() >= times)
    });
}

/// Has the command do what it does on `go`.
fn go(sandbox: &Sandbox, session: &Session) {
    let go = sandbox.beside().join("go");
    fs::write(&go, "").unwrap();
    session.wait_until("the command to have done it", || !go.exists());
}

/// The next start, and that these files and no others have led to it.
fn restarted(sandbox: &Sandbox, session: &mut Session, generation: u64, expected: &[&str]) -> Value {
    let started = session.wait_armed(generation);
    assert_eq!(names(&started), expected, "{}", session.account());
    wait_begun(sandbox, session, usize::try_from(generation).unwrap());
    started
}

/// Has somebody save a file until the command is restarted for it: what was read a moment ago may not be known yet.
fn save(sandbox: &Sandbox, session: &mut Session, path: &Path, generation: u64) -> Value {
    fs::write(path, format!("saved before generation {generation}")).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    restarted(sandbox, session, generation, &[name])
}

#[test]
fn a_file_elsewhere_that_the_command_reads_restarts_it_whenever_it_is_read() {
    let sandbox = Sandbox::new();
    let [early, late, never] =
        ["early.txt", "late.txt", "never.txt"].map(|name| sandbox.beside().join("lib").join(name));
    fs::create_dir(sandbox.beside().join("lib")).unwrap();
    [&early, &late, &never].iter().for_each(|path| fs::write(path, "x").unwrap());
    let mut session = shell(&sandbox, &[], "cat ../lib/early.txt", "cat ../lib/late.txt");
    let started = save(&sandbox, &mut session, &early, 2);
    let rule = started["changes"][0]["rule"].as_str().unwrap().to_owned();
    assert!(rule.starts_with("read by cat (pid ") && rule.ends_with(" s after the start"), "{rule}");
    go(&sandbox, &session);
    save(&sandbox, &mut session, &late, 3);
    // It has not been read since then, and what was found is handed on.
    save(&sandbox, &mut session, &late, 4);
    fs::write(&never, "y").unwrap();
    save(&sandbox, &mut session, &early, 5);
    session.stop();
}

#[test]
fn a_file_that_changed_between_its_reading_and_its_watching_restarts_the_command() {
    let sandbox = Sandbox::new();
    let read = sandbox.beside().join("read.txt");
    fs::write(&read, "x").unwrap();
    // The one who saves is not of the command's tree, and faster than any watch.
    let saver = sandbox.beside().join("saver");
    let mut session = shell(&sandbox, &[], &format!("cat ../read.txt; echo > {}", saver.display()), "");
    session.wait_until("the reading", || saver.exists());
    save(&sandbox, &mut session, &read, 2);
    session.stop();
}

#[test]
fn a_link_and_its_target_count_and_so_does_what_was_looked_for_in_vain() {
    let sandbox = Sandbox::new();
    let lib = sandbox.beside().join("lib");
    fs::create_dir_all(lib.join("real")).unwrap();
    fs::write(lib.join("real/one.txt"), "x").unwrap();
    symlink("real/one.txt", lib.join("link.txt")).unwrap();
    let mut session =
        shell(&sandbox, &[], "cat ../lib/link.txt; cat ../lib/config.local.toml ../lib/sub/deep.toml", "");
    fs::write(lib.join("real/one.txt"), "y").unwrap();
    let started = session.wait_armed(2);
    assert!(names(&started).contains(&"one.txt".to_owned()), "{}", session.account());
    wait_begun(&sandbox, &session, 2);
    save(&sandbox, &mut session, &lib.join("config.local.toml"), 3);
    fs::create_dir(lib.join("sub")).unwrap();
    save(&sandbox, &mut session, &lib.join("sub/deep.toml"), 4);
    session.stop();
}

#[test]
fn what_is_read_elsewhere_is_followed_when_directories_on_the_way_to_it_move() {
    for mode in ["add", "only"] {
        let sandbox = Sandbox::new();
        let beside = sandbox.beside().to_owned();
        for directory in ["o/p/q", "other/q", "deploy/q"] {
            fs::create_dir_all(beside.join(directory)).unwrap();
            fs::write(beside.join(directory).join("read.txt"), directory).unwrap();
        }
        let read = beside.join("o/p/q/read.txt");
        let mut session = shell(&sandbox, &["--discover", mode, "--interval", "100ms"], "cat ../o/p/q/read.txt", "");
        let mut generation = 1;
        let mut restarts = |change: &dyn Fn()| {
            change();
            generation += 1;
            restarted(&sandbox, &mut session, generation, &["read.txt"]);
        };
        let moved = |from: &str, to: &str| fs::rename(beside.join(from), beside.join(to)).unwrap();
        let made = |directory: &str| {
            fs::create_dir_all(beside.join(directory)).unwrap();
            fs::write(beside.join(directory).join("read.txt"), "again").unwrap();
        };
        // From here on it is known.
        restarts(&|| fs::write(&read, "saved").unwrap());
        restarts(&|| {
            // Far above: nobody is told of that.
            moved("o", "before");
            moved("deploy", "before/r");
            moved("before/p", "before/s");
            moved("before/r", "before/p");
            moved("before", "o");
        });
        // Where it was before.
        fs::write(beside.join("o/s/q/read.txt"), "not this one").unwrap();
        restarts(&|| fs::write(&read, "edited").unwrap());
        restarts(&|| moved("o/p/q", "o/p/away"));
        restarts(&|| moved("o/p/away", "o/p/q"));
        restarts(&|| fs::write(&read, "edited again").unwrap());
        restarts(&|| fs::remove_dir_all(beside.join("o")).unwrap());
        restarts(&|| made("o/p/q"));
        restarts(&|| fs::write(&read, "edited once more").unwrap());
        restarts(&|| {
            moved("o", "old");
            made("new/p/q");
            moved("new", "o");
        });
        restarts(&|| fs::write(&read, "the last time").unwrap());
        session.stop();
    }
}

#[test]
fn a_name_that_was_looked_for_counts_when_it_comes_with_all_its_directories() {
    for mode in ["add", "only"] {
        let sandbox = Sandbox::new();
        let beside = sandbox.beside().to_owned();
        let looks = "cat ../no/such/dir/conf.toml ../whole/x.toml near/by/z.toml /proc/self/cwd/../linked/y.toml";
        let mut session = shell(&sandbox, &["--discover", mode], looks, "");
        fs::create_dir_all(beside.join("no/such")).unwrap();
        fs::write(beside.join("no/such/other.toml"), "nobody looks for this").unwrap();
        fs::create_dir_all(beside.join("no/such/dir")).unwrap();
        let conf = beside.join("no/such/dir/conf.toml");
        save(&sandbox, &mut session, &conf, 2);
        save(&sandbox, &mut session, &conf, 3);
        fs::create_dir(beside.join("made")).unwrap();
        fs::write(beside.join("made/x.toml"), "").unwrap();
        fs::rename(beside.join("made"), beside.join("whole")).unwrap();
        restarted(&sandbox, &mut session, 4, &["x.toml"]);
        fs::create_dir_all(sandbox.path("near/by")).unwrap();
        save(&sandbox, &mut session, &sandbox.path("near/by/z.toml"), 5);
        fs::create_dir(beside.join("made")).unwrap();
        symlink("made", beside.join("linked")).unwrap();
        fs::write(beside.join("linked/y.toml"), "").unwrap();
        let started = session.wait_armed(6);
        assert!(names(&started).contains(&"y.toml".to_owned()), "{}", session.account());
        session.stop();
    }
}

#[test]
fn what_the_command_writes_does_not_restart_it_and_what_somebody_else_writes_there_does() {
    let writes = "echo $$ >> notes.txt; echo $$ > state.new; mv state.new state.json; : > empty.txt; mkdir -p made; echo > made/x.txt; \
        mkdir tmp.d; echo > tmp.d/in.txt; rm -rf done.d; mv tmp.d done.d; ln -sf state.json current; rm -f notes.old; cp notes.txt notes.old; \
        exec 3> log.$$; echo >&3; mv log.$$ log.txt; echo >&3; exec 3>&-; mkdir new.d; exec 3> new.d/in.txt; rm -rf old.d; mv new.d old.d; exec 3>&-";
    let sandbox = Sandbox::new();
    let mut session = shell(&sandbox, &[], writes, writes);
    for generation in 2..=4 {
        for _ in 0..3 {
            go(&sandbox, &session);
        }
        sandbox.write("fence.py", format!("fence before generation {generation}"));
        restarted(&sandbox, &mut session, generation, &["fence.py"]);
    }
    save(&sandbox, &mut session, &sandbox.path("notes.txt"), 5);
    // As an editor does it.
    sandbox.write("x.tmp", "by hand");
    fs::rename(sandbox.path("x.tmp"), sandbox.path("state.json")).unwrap();
    restarted(&sandbox, &mut session, 6, &["state.json"]);
    go(&sandbox, &session);
    sandbox.write("fence.py", "last fence");
    restarted(&sandbox, &mut session, 7, &["fence.py"]);
    session.stop();
}

#[test]
fn what_the_command_writes_through_a_link_to_a_directory_is_its_own_where_it_really_lies() {
    for mode in ["add", "only"] {
        let sandbox = Sandbox::new();
        let beside = sandbox.beside().to_owned();
        for (real, link) in
            [(sandbox.path("rel/1"), sandbox.path("current")), (beside.join("out/1"), beside.join("out/now"))]
        {
            fs::create_dir_all(&real).unwrap();
            symlink(&real, link).unwrap();
        }
        let at = |place: &str| {
            format!(
                "echo $$ > {place}/x.tmp; mv {place}/x.tmp {place}/x.txt; cat {place}/x.txt; echo $$ >> {place}/notes.txt; \
                 cat {place}/notes.txt; rm -f {place}/new.txt; cat {place}/new.txt; echo > {place}/new.txt; ln -sf x.txt {place}/link.txt; \
                 exec 3> {place}/log.$$; mv {place}/log.$$ {place}/log.txt; exec 3>&-; cat {place}/log.txt {place}/link.txt;"
            )
        };
        let writes = at("current") + &at("../out/now");
        sandbox.write("fence.py", "x");
        let mut session = shell(&sandbox, &["--discover", mode], &format!("cat fence.py; {writes}"), &writes);
        for generation in 2..=3 {
            for _ in 0..3 {
                go(&sandbox, &session);
            }
            save(&sandbox, &mut session, &sandbox.path("fence.py"), generation);
        }
        // By hand: told by both of its names.
        sandbox.write("rel/1/x.txt", "by hand");
        let started = session.wait_armed(4);
        assert!(names(&started).iter().all(|name| name == "x.txt"), "{}", session.account());
        session.stop();
    }
}

#[test]
fn what_a_literal_name_asks_for_counts_although_the_command_writes_it() {
    let sandbox = Sandbox::new();
    let mut session =
        shell(&sandbox, &["--discover", "add", "-w", "client.py"], "echo x > other.txt", "echo $$ > client.py");
    let beside = sandbox.beside().join("go");
    fs::write(&beside, "").unwrap();
    let started = session.wait_armed(2);
    assert_eq!(names(&started), ["client.py"], "{}", session.account());
    session.stop();
}

#[test]
fn with_patterns_it_is_off_unless_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("page.html", "x");
    let mut session = shell(&sandbox, &["-w", "*.py"], "cat page.html; echo $$ > out.py", "");
    sandbox.write("page.html", "y");
    // It is not traced, so its own output is a change.
    let started = session.wait_armed(2);
    assert_eq!(names(&started), ["out.py"], "{}", session.account());
    session.stop();
    let sandbox = Sandbox::new();
    sandbox.write("page.html", "x");
    let mut session = shell(&sandbox, &["-w", "*.py", "--discover", "add"], "cat page.html; echo $$ > out.py", "");
    save(&sandbox, &mut session, &sandbox.path("page.html"), 2);
    session.stop();
}

#[test]
fn with_only_a_file_that_was_never_read_does_nothing() {
    let sandbox = Sandbox::new();
    ["read.py", "unread.py", "late.py"].iter().for_each(|name| drop(sandbox.write(name, "x")));
    let mut session = shell(&sandbox, &["--discover", "only"], "cat read.py", "cat late.py");
    for name in ["unread.py", "late.py", "new.py"] {
        sandbox.write(name, "y");
    }
    save(&sandbox, &mut session, &sandbox.path("read.py"), 2);
    go(&sandbox, &session);
    save(&sandbox, &mut session, &sandbox.path("late.py"), 3);
    session.stop();
}

#[test]
fn a_gap_in_the_trace_narrows_nothing_and_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("unread.txt", "x");
    let uses_io_uring = "python3 -c 'import ctypes; ctypes.CDLL(None).syscall(425, 0, 0)'";
    let mut session = shell(&sandbox, &["--discover", "only"], uses_io_uring, "");
    session.wait_where("degraded", |event| event["kind"] == "trace_gap");
    save(&sandbox, &mut session, &sandbox.path("unread.txt"), 2);
    assert_eq!(session.stop().count("degraded"), 1, "it is told once");
}

#[test]
fn more_files_than_are_kept_narrow_nothing_and_are_told_where_they_would_be_missed() {
    for (options, place, told) in [
        (&["--discover", "only"][..], "many", 1),
        (&["--discover", "only"], "../many", 1),
        (&[], "../many", 1),
        (&[], "many", 0),
    ] {
        let sandbox = Sandbox::new();
        let many = sandbox.path(place);
        fs::create_dir(&many).unwrap();
        (0..4200).for_each(|number| fs::write(many.join(number.to_string()), "").unwrap());
        sandbox.write("unread.txt", "x");
        let asks = format!("python3 -c 'import os; [os.stat(\"{place}/%d\" % n) for n in range(4200)]'");
        let mut session = shell(&sandbox, options, &asks, "");
        // On a busy machine the trace may have been quiet, and that told, before python asked for anything.
        let has = |key: &str, value: &str| session.events().iter().any(|event| event[key] == value);
        session.wait_until("the trace", || has("event", "discovered") && (told == 0 || has("kind", "trace_gap")));
        save(&sandbox, &mut session, &sandbox.path("unread.txt"), 2);
        let ended = session.stop();
        let gaps = ended.events.iter().filter(|event| event["kind"] == "trace_gap");
        assert_eq!(gaps.count(), told, "{options:?} {place}: {:#?}", ended.events);
    }
}

#[test]
fn inside_of_another_trace_one_line_says_why_it_does_not_work_and_the_command_runs() {
    let sandbox = Sandbox::new();
    let inner = sandbox.beside().join("inner");
    fs::create_dir(&inner).unwrap();
    let events = sandbox.beside().join("inner.jsonl");
    let script = format!(
        "exec {} -C {} --events {} -- sh -c 'echo $RELOADRUN_GENERATION >> ../ran; exec sleep 600'",
        env!("CARGO_BIN_EXE_reloadrun"),
        inner.display(),
        events.display()
    );
    let session = sandbox.start(["-i", "inner", "--", "sh", "-c", &script]);
    let ran = || fs::read_to_string(sandbox.beside().join("ran")).unwrap_or_default();
    session.wait_until("the inner command", || ran() == "1\n");
    let told = || fs::read_to_string(&events).unwrap_or_default();
    session.wait_until("the inner watcher", || told().contains("\"watching\""));
    fs::write(inner.join("x.py"), "").unwrap();
    session.wait_until("its restart", || ran() == "1\n2\n");
    session.wait_until("its second watcher", || told().matches("\"watching\"").count() == 2);
    assert_eq!(told().matches("\"untraced\"").count(), 1, "{}", told());
    session.stop();
}

#[test]
fn a_set_uid_program_keeps_its_rights_and_the_command_is_started_again_for_it() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("a set-uid program in a traced command: none can be had here");
    };
    let events = sandbox.events().display().to_string();
    let script = format!("{program} rooted /nowhere/at/all 2>> ../said; exec sleep 600");
    let inner = sandbox.command(["--events", &events, "--", "sh", "-c", &script]);
    let [user, groups] = as_user();
    let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
    let told = session.wait_where("degraded", |event| event["kind"] == "needs_rights");
    assert!(told["message"].as_str().unwrap().starts_with("probe needs its rights: discovery is off for this command"));
    session.wait_started(2);
    let said = || fs::read_to_string(sandbox.beside().join("said")).unwrap_or_default();
    // It comes so far only as root.
    session.wait_until("its word", || said().contains("cannot write"));
    sandbox.write("fence.py", "");
    session.wait_started(3);
    let ended = session.stop();
    assert_eq!(ended.count("degraded"), 1, "it is told once");
    assert_eq!(ended.count("started"), 3);
}

#[test]
fn what_nobody_edits_does_not_count_elsewhere_either_and_what_was_built_counts_where_it_is_read() {
    let sandbox = Sandbox::new();
    for name in [".git/HEAD", "left/out.txt", "lib/read.txt"] {
        let path = sandbox.beside().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    ["dist/server.js", "dist/other.js", "private.toml", "__pycache__/m.pyc"]
        .iter()
        .for_each(|name| drop(sandbox.write(name, "x")));
    sandbox.write(".gitignore", "private.toml\n");
    let reads = "cat ../.git/HEAD ../left/out.txt ../lib/read.txt dist/server.js private.toml __pycache__/m.pyc";
    let mut session = shell(&sandbox, &["-i", "left"], reads, "");
    for name in [".git/HEAD", "left/out.txt"] {
        fs::write(sandbox.beside().join(name), "y").unwrap();
    }
    ["dist/other.js", "__pycache__/m.pyc"].iter().for_each(|name| drop(sandbox.write(name, "y")));
    save(&sandbox, &mut session, &sandbox.path("dist/server.js"), 2);
    save(&sandbox, &mut session, &sandbox.path("private.toml"), 3);
    save(&sandbox, &mut session, &sandbox.beside().join("lib/read.txt"), 4);
    session.stop();
}

#[test]
fn a_process_that_cannot_be_read_narrows_nothing_and_runs_unharmed() {
    let Some((sandbox, _)) = with_root_inside() else {
        return left_out("discovery with a process of another user: there is none");
    };
    let events = sandbox.events().display().to_string();
    let [user, groups] = as_user();
    // As in a container, where root may not look into the processes of others.
    let script = format!("cat app.txt > /dev/null; exec setpriv {user} {groups} sh -c 'cat app.txt; exec sleep 600'");
    let inner = sandbox.command(["--discover", "only", "--events", &events, "--", "sh", "-c", &script]);
    let without = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let mut session = Session::start(wrapped(&without, &inner, &sandbox), &sandbox);
    session.wait_where("degraded", |event| event["kind"] == "trace_gap");
    session.wait_until("what it reads", || session.stdout() == "one");
    sandbox.write("unread.txt", "x");
    let started = session.wait_started(2);
    assert_eq!(names(&started), ["unread.txt"], "{}", session.account());
    session.stop();
}

/// What `reloadrun explain PATH` says, as soon as it says so: what was named a moment ago may not be known yet.
fn explained(sandbox: &Sandbox, session: &Session, path: &str, parts: &[&str]) {
    let mut said = String::new();
    let until = std::time::Instant::now() + DEADLINE;
    while !parts.iter().all(|part| said.contains(part)) {
        assert!(std::time::Instant::now() < until, "{parts:?} are not in {said:?}: {}", session.account());
        let output = ask(sandbox, &["explain", path]);
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        let counts = output.status.code() == Some(0);
        assert_eq!(counts, said.contains("leads to a restart"), "{output:?}");
    }
}

#[test]
fn a_run_that_is_asked_knows_what_its_command_has_read_and_written() {
    for mode in ["add", "only"] {
        let sandbox = Sandbox::new();
        ["read.txt", "unread.txt"].iter().for_each(|name| drop(sandbox.write(name, "x")));
        fs::write(sandbox.beside().join("lib.txt"), "x").unwrap();
        let reads = "cat read.txt ../lib.txt; test -e absent.txt; echo > out.txt";
        let mut session = shell(&sandbox, &["--discover", mode], reads, "cat unread.txt");
        explained(&sandbox, &session, "read.txt", &["leads to a restart", "read by cat (pid ", " s after the start"]);
        explained(&sandbox, &session, "../lib.txt", &["leads to a restart", "read by cat (pid "]);
        explained(&sandbox, &session, "out.txt", &["does nothing", "the command writes it: sh (pid "]);
        explained(&sandbox, &session, "absent.txt", &["leads to a restart", "looked for by sh (pid "]);
        let unread = if mode == "only" { "has not read it" } else { "everything that is not ignored\n" };
        explained(&sandbox, &session, "unread.txt", &[unread]);
        go(&sandbox, &session);
        explained(&sandbox, &session, "unread.txt", &["leads to a restart", "read by cat (pid "]);
        // What the generation before knew is known to this one.
        save(&sandbox, &mut session, &sandbox.path("read.txt"), 2);
        explained(&sandbox, &session, "unread.txt", &["leads to a restart", "read by cat (pid "]);
        session.stop();
    }
}

#[test]
fn without_another_option_the_run_of_the_directory_is_asked_and_else_only_the_options_are() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.beside().join("lib.txt"), "x").unwrap();
    let asked = |options: &[&str], code: i32, parts: &[&str]| {
        let output = ask(&sandbox, &[options, &["--explain", "../lib.txt"]].concat());
        let [said, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{said}{beside}");
        assert_eq!(said.lines().count(), 1, "{said}");
        parts.iter().for_each(|part| assert!((said.clone() + &beside).contains(part), "{part}: {said}{beside}"));
        beside
    };
    asked(&[], 1, &["does nothing", "no run was asked", "--print-watched"]);
    let mut session = shell(&sandbox, &[], "cat ../lib.txt > out.txt", "");
    explained(&sandbox, &session, "../lib.txt", &["read by cat (pid "]);
    let pid = session.pid().to_string();
    asked(&[], 0, &["leads to a restart: read by cat (pid ", " s after the start", "the run with pid", &pid]);
    // These would be other runs.
    asked(&["--no-ignore"], 1, &["does nothing", "no run was asked"]);
    assert_eq!(asked(&["-w", "*.py"], 1, &["does nothing"]), "", "nothing would be traced");
    save(&sandbox, &mut session, &sandbox.beside().join("lib.txt"), 2);
    asked(&[], 0, &["leads to a restart: read by cat (pid "]);
    session.stop();
    asked(&[], 1, &["no run was asked"]);
}

#[test]
fn what_a_preparation_reads_counts_and_what_it_writes_leads_to_nothing() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.beside().join("lib.in");
    fs::write(&elsewhere, "x").unwrap();
    ["here.in", "unread.in"].iter().for_each(|name| drop(sandbox.write(name, "x")));
    let prepare =
        "cat here.in ../lib.in > built.txt; date +%N > stamp.txt; cp built.txt copy.txt; mv copy.txt done.txt";
    let options = ["--discover", "only", "--prepare", prepare];
    let script = "cat built.txt; echo begun >> ../begun; exec sleep 600";
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", script]));
    session.wait_started(1);
    wait_begun(&sandbox, &session, 1);
    sandbox.write("unread.in", "y");
    // An output that somebody edits is a source.
    let sources =
        [&elsewhere, &sandbox.path("here.in"), &elsewhere, &sandbox.path("here.in"), &sandbox.path("built.txt")];
    for (generation, source) in (2..).zip(sources) {
        fs::write(source, format!("saved before generation {generation}")).unwrap();
        let started = session.wait_started(generation);
        assert_eq!(names(&started), [source.file_name().unwrap().to_str().unwrap()], "{}", session.account());
        wait_begun(&sandbox, &session, usize::try_from(generation).unwrap());
    }
    let preparations = session.events().iter().filter(|event| event["event"] == "preparing").count();
    assert_eq!(preparations, 1 + sources.len(), "one for each start: {}", session.account());
    session.stop().assert_code(143);
}

#[test]
fn a_preparation_that_needs_rights_gets_them() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("a set-uid program in a traced preparation: none can be had here");
    };
    let events = sandbox.events().display().to_string();
    let prepare = format!("echo begun >> ../prepared; {program} rooted /nowhere/at/all 2>> ../said; cat app.txt");
    let inner = sandbox.command(["--events", &events, "--prepare", &prepare, "--", "sleep", "600"]);
    let [user, groups] = as_user();
    let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
    session.wait_where("degraded", |event| event["kind"] == "needs_rights");
    session.wait_started(1);
    let said = fs::read_to_string(sandbox.beside().join("said")).unwrap_or_default();
    assert!(said.contains("cannot write"), "it comes so far only as root: {said}");
    assert_eq!(fs::read_to_string(sandbox.beside().join("prepared")).unwrap(), "begun\nbegun\n");
    sandbox.write("fence.py", "");
    session.wait_started(2);
    let ended = session.stop();
    assert_eq!((ended.count("degraded"), ended.count("started")), (1, 2), "{ended:#?}");
    let prepared = fs::read_to_string(sandbox.beside().join("prepared")).unwrap();
    assert_eq!(prepared, "begun\nbegun\nbegun\n", "the next one is not traced from the start");
}

#[test]
fn the_first_line_says_what_counts_and_nothing_more_is_said_to_one_who_types() {
    let at = |options: &[&str]| {
        let (terminal, sandbox) = (Terminal::new(), Sandbox::new());
        let mut inner = sandbox.command(["--events".as_ref(), sandbox.events().as_os_str()]);
        inner.args(["--color", "never"]).args(options);
        inner.args(["--", "sh", "-c", "cat ../../../etc/hostname ../lib.txt 2>/dev/null; exec cat"]);
        fs::write(sandbox.beside().join("lib.txt"), "x").unwrap();
        let outer = wrapped(&["env", "--default-signal", "setsid", "--ctty"], &inner, &sandbox);
        let mut session = Session::start_at(&terminal, outer, &sandbox);
        session.wait_armed(1);
        // On a busy machine it may have come before.
        session.wait_until("the trace", || session.events().iter().any(|event| event["event"] == "discovered"));
        let status = answer(&sandbox, &["status"], 0);
        if options == ["-v"] {
            terminal.wait_shown(" of them elsewhere", 1);
        }
        let shown = terminal.shown();
        session.stop();
        (shown, status)
    };
    let (shown, status) = at(&["--discover", "only"]);
    assert!(shown.contains("watching only what the command reads (inotify); running sh -c"), "{shown}");
    assert!(!shown.contains(" that sh "), "{shown}");
    assert!(
        status.contains("the command reads 1 file that count (1 of them elsewhere) and writes 0 files"),
        "{status}"
    );
    let (shown, status) = at(&["-v"]);
    assert!(shown.contains(", 1 of them elsewhere"), "{shown}");
    assert!(!status.contains("nothing else counts"), "{status}");
    // Nobody types.
    let sandbox = Sandbox::new();
    sandbox.write("read.txt", "x");
    let session = sandbox.start(["--discover", "only", "--", "sh", "-c", "cat read.txt; exec sleep 600"]);
    session.wait_until("the second line", || session.stderr().contains("watching 1 file that sh -c "));
    session.stop();
}

#[test]
fn sudo_works_and_the_preparation_with_sudo_too() {
    let Some((sandbox, _)) = with_root_inside() else {
        return left_out("sudo in a traced command: only root can try it as another user");
    };
    if !is_installed("sudo", "sudo in a traced command") {
        return;
    }
    let events = sandbox.events().display().to_string();
    let [user, groups] = as_user();
    // That user has no password, and so sudo says that it needs one. Without its rights it would say that.
    let asks = "sudo -n true 2>> ../said";
    let cases = [
        vec!["--".to_owned(), "sh".to_owned(), "-c".to_owned(), format!("{asks}; exec sleep 600")],
        ["--prepare", &format!("{asks}; true"), "--", "sleep", "600"].map(str::to_owned).to_vec(),
    ];
    for (number, words) in cases.iter().enumerate() {
        let inner = sandbox.command([&["--events".to_owned(), events.clone()], &words[..]].concat());
        let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
        let told = session.wait_where("degraded", |event| event["kind"] == "needs_rights");
        assert!(told["message"].as_str().unwrap().starts_with("sudo needs its rights: discovery is off"), "{told}");
        session.wait_started(2 - number as u64);
        let said = || fs::read_to_string(sandbox.beside().join("said")).unwrap_or_default();
        session.wait_until("its word", || said().lines().count() > number);
        assert!(!said().contains("no new privileges"), "{}", said());
        assert_eq!(session.stop().count("degraded"), 1);
    }
}

#[test]
fn su_is_seen_before_it_would_fail_for_want_of_rights() {
    let Some((sandbox, _)) = with_root_inside() else {
        return left_out("su in a traced command: only root can try it as another user");
    };
    if !is_installed("su", "su in a traced command") {
        return;
    }
    let events = sandbox.events().display().to_string();
    let [user, groups] = as_user();
    let inner =
        sandbox.command(["--events", &events, "--", "sh", "-c", "su -c true < /dev/null 2>> ../said; exec sleep 600"]);
    let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
    let told = session.wait_where("degraded", |event| event["kind"] == "needs_rights");
    assert!(told["message"].as_str().unwrap().starts_with("su needs its rights: discovery is off"), "{told}");
    session.wait_started(2);
    assert_eq!(session.stop().count("degraded"), 1);
}

#[test]
fn what_an_ordinary_user_may_not_look_at_is_not_told_to_be_unwatched() {
    let Some((sandbox, _)) = with_root_inside() else {
        return left_out("a hidden directory in a traced command: only root can make one");
    };
    let (events, hidden) = (sandbox.events().display().to_string(), sandbox.beside().join("hidden"));
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    // As a shell does with each directory of PATH.
    let script = "cat ../hidden/x ../lib.txt 2> ../said; echo begun >> ../begun; exec sleep 600";
    fs::write(sandbox.beside().join("lib.txt"), "x").unwrap();
    let [user, groups] = as_user();
    let inner = sandbox.command(["--events", &events, "--", "sh", "-c", script]);
    let mut session = Session::start(wrapped(&["setpriv", &user, &groups], &inner, &sandbox), &sandbox);
    session.wait_armed(1);
    wait_begun(&sandbox, &session, 1);
    save(&sandbox, &mut session, &sandbox.beside().join("lib.txt"), 2);
    assert_eq!(session.stop().count("degraded"), 0);
}

#[test]
fn a_project_in_memory_and_one_below_a_directory_of_an_environment_are_traced_like_any_other() {
    for place in ["/dev/shm", "venv"] {
        let sandbox = Sandbox::new();
        let parent = if place == "venv" { sandbox.beside().join("venv") } else { PathBuf::from(place) };
        fs::create_dir_all(&parent).unwrap();
        let created = tempfile::Builder::new().prefix("reloadrun-test-").tempdir_in(&parent).unwrap();
        let project = created.path();
        fs::write(project.join("read.txt"), "one").unwrap();
        let script = "cat read.txt; cat local.toml 2>/dev/null; echo x > state.json; exec sleep 600";
        let directory = project.to_str().unwrap();
        let mut session = sandbox.start(["-C", directory, "--discover", "only", "--", "sh", "-c", script]);
        session.wait_armed(1);
        session.wait_until("the trace", || session.events().iter().any(|event| event["event"] == "discovered"));
        fs::write(project.join("read.txt"), "two").unwrap();
        assert_restart(&mut session, 2, &["read.txt"]);
        session.wait_until("the trace", || {
            session.events().iter().filter(|event| event["event"] == "discovered").count() == 2
        });
        fs::write(project.join("local.toml"), "x = 1").unwrap();
        assert_restart(&mut session, 3, &["local.toml"]);
        let ended = session.stop();
        assert_eq!(ended.count("started"), 3, "{ended:#?}");
    }
}

/// Saves by hand what the command reads, after the command has done this to it at its start: the save counts.
fn counts_after(file: &str, at_start: &str, save: impl FnOnce(&Sandbox)) {
    let sandbox = Sandbox::new();
    for name in [file, "last.txt"] {
        let path = sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let mut session = shell(&sandbox, &[], at_start, "");
    save(&sandbox);
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    restarted(&sandbox, &mut session, 2, &[name]);
    session.stop();
}

#[test]
fn a_file_that_is_moved_into_a_directory_leaves_the_rest_of_it_to_those_who_write_it() {
    for at_start in [
        "echo g > ../g; mv ../g src; cat src/a.py",
        "mkdir ../d; mv ../d src; cat src/a.py",
        "echo g > src/g; mv src/g .; cat src/a.py",
        "mkdir src.new; echo > src.new/b; python3 -c 'import os; os.rename(\"src.new\", \"src\")'; cat src/a.py",
    ] {
        counts_after("src/a.py", at_start, |sandbox| fs::write(sandbox.path("src/a.py"), "you").unwrap());
    }
}

#[test]
fn a_save_in_a_directory_that_the_command_renamed_into_place_counts() {
    let at_start =
        "rm -rf pages; mkdir pages.new; echo me > pages.new/index.html; mv pages.new pages; cat pages/index.html";
    counts_after("pages/index.html", at_start, |sandbox| {
        // Its events may have been missed, and it takes a moment until it is clear that none will come.
        std::thread::sleep(std::time::Duration::from_secs(4));
        fs::write(sandbox.path("pages/index.html"), "you").unwrap();
    });
}

#[test]
fn a_rename_that_failed_explains_no_save() {
    let at_start = "echo default > default.conf; mv -n default.conf app.conf; cat app.conf";
    counts_after("app.conf", at_start, |sandbox| {
        fs::write(sandbox.path("sedA"), "you").unwrap();
        fs::rename(sandbox.path("sedA"), sandbox.path("app.conf")).unwrap();
    });
}

#[test]
fn many_opens_for_writing_swallow_no_later_save() {
    let python = "python3 -c 'for i in range(200): open(\"c.json\", \"r+\").close()'; cat c.json";
    counts_after("c.json", python, |sandbox| {
        // The kernel has made few events of many, and it takes a moment until it is clear that no more will come.
        std::thread::sleep(std::time::Duration::from_secs(4));
        fs::write(sandbox.path("c.json"), "you").unwrap();
    });
}

#[test]
fn a_file_that_was_absent_and_is_read_later_counts_where_a_new_one_does_not() {
    let sandbox = Sandbox::new();
    let late = sandbox.beside().join("node_modules/late.conf");
    fs::create_dir(late.parent().unwrap()).unwrap();
    let wait = "until cat ../node_modules/late.conf 2> ../no; do sleep 0.02; done; echo > ../read";
    let beside = sandbox.beside().to_owned();
    let written = late.clone();
    let somebody = std::thread::spawn(move || {
        while !beside.join("no").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        fs::write(&written, "one").unwrap();
    });
    let mut session = shell(&sandbox, &[], wait, "");
    somebody.join().unwrap();
    save(&sandbox, &mut session, &late, 2);
    session.stop();
}

#[test]
fn a_link_to_a_file_elsewhere_or_a_mode_of_it_is_no_change_of_it() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.beside().join("else");
    fs::create_dir(&elsewhere).unwrap();
    ["f.py", "g.py", "fence.txt"].iter().for_each(|name| fs::write(elsewhere.join(name), "x").unwrap());
    std::thread::sleep(std::time::Duration::from_millis(20));
    let at_start = "ln -f ../else/f.py f.py; chmod 600 ../else/g.py; cat ../else/f.py ../else/g.py ../else/fence.txt";
    let mut session = shell(&sandbox, &[], at_start, "");
    save(&sandbox, &mut session, &elsewhere.join("fence.txt"), 2);
    session.stop();
}
