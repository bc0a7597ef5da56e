//! Places where changes send no events or are never visible: file systems in user space, the layers below an overlay,
//! files that are mounts of their own. Every mount is private to the tested reloadrun and ends with it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::ends::left_out;
use crate::limits::{GO_ON, arguments, assert_one_complaint, assert_told, names};
use crate::support::namespace::{self, Namespace};
use crate::support::session::DEADLINE;
use crate::support::{Sandbox, Session};

/// Edits a directory in every way that polling could miss, and asserts that each edit is reported once and alone.
fn assert_every_edit_is_found(session: &mut Session, source: &Path) {
    let app = source.join("app.py");
    let mut told = |name: &str| {
        let changed = session.wait("changed");
        assert_eq!(names(&changed), [name], "{}", session.account());
        changed["changes"][0]["kind"].as_str().unwrap_or_default().to_owned()
    };
    for content in ["two", "six", "ten"] {
        // With the same size, and most likely in the same second.
        fs::write(&app, content).expect("it can be written");
        assert_eq!(told("app.py"), "modified");
    }
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    File::options().write(true).open(&app).and_then(|file| file.set_modified(yesterday)).expect("the test owns it");
    assert_eq!(told("app.py"), "modified");
    fs::write(source.join("app.tmp"), "renamed").expect("it can be written");
    fs::rename(source.join("app.tmp"), &app).expect("the test owns it");
    assert_eq!(told("app.py"), "modified");
    fs::write(source.join("new.py"), "new").expect("it can be written");
    assert_eq!(told("new.py"), "created");
    fs::create_dir_all(source.join("deep/deeper")).expect("it can be made");
    fs::write(source.join("deep/deeper/far.py"), "far").expect("it can be written");
    assert_eq!(told("far.py"), "created");
    fs::write(source.join("deep/deeper/far.py"), "farther").expect("it can be written");
    assert_eq!(told("far.py"), "modified");
    fs::remove_file(source.join("new.py")).expect("it exists");
    assert_eq!(told("new.py"), "deleted");
    fs::remove_dir_all(source.join("deep")).expect("it exists");
    assert_eq!(told("far.py"), "deleted");
}

/// A sandbox with a source directory beside its root, which reloadrun sees only through a mount.
fn sandbox_with_source() -> (Sandbox, std::path::PathBuf) {
    let sandbox = Sandbox::new();
    let source = sandbox.beside().join("source");
    fs::create_dir(&source).expect("a fresh name");
    fs::write(source.join("app.py"), "one").expect("it can be written");
    fs::create_dir(sandbox.path("shown")).expect("a fresh name");
    (sandbox, source)
}

/// Mounts `source` as `shown` in the root with a file system in user space.
fn fuse(sandbox: &Sandbox, source: &Path) -> Namespace {
    let user: &[&str] = if namespace::is_root() { &[] } else { &["unshare", "--user", "--map-root-user"] };
    // The server runs outside of the mount, and ends with it.
    let serve = format!(
        "exec 9<>/dev/fuse && ('{}' mirror '{}' <&9 9>&- >/dev/null 2>&1 &) && exec \"$@\"",
        env!("CARGO_BIN_EXE_probe"),
        source.display()
    );
    let served = ["sh", "-c", &serve, "sh", "unshare", "--mount", "--propagation", "private"];
    let mount = format!(
        "mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 mirror '{}' && exec 9>&-",
        sandbox.path("shown").display()
    );
    Namespace::new(&[user, &served[..]].concat(), &mount)
}

#[test]
fn edits_behind_a_fuse_mount_are_found_by_polling_and_that_is_reported_once() {
    for backend in ["auto", "notify"] {
        let (sandbox, source) = sandbox_with_source();
        let namespace = fuse(&sandbox, &source);
        let mut session = match namespace.start(&sandbox, &arguments(&[&GO_ON[..], &["--backend", backend]].concat())) {
            Ok(session) => session,
            Err(reason) => return left_out(&format!("a FUSE mount: {reason}")),
        };
        session.wait_armed(1);
        assert_every_edit_is_found(&mut session, &source);
        // Outside of the mount there are events.
        assert_told(&sandbox, &mut session, "beside.py", "new");
        let words = ["shown is on FUSE, which sends no file events", "polled every 100ms (--interval)"];
        assert_one_complaint(&session.stop(), &words);

        let mut session = namespace.start(&sandbox, &arguments(&["--backend", backend])).expect("as before");
        session.wait_armed(1);
        for generation in 2..4 {
            fs::write(source.join("app.py"), format!("generation {generation}")).expect("it can be written");
            assert_eq!(names(&session.wait_armed(generation)), ["app.py"]);
        }
        let ended = session.stop();
        assert_eq!(ended.count("started"), 3, "{ended:#?}");
        assert_one_complaint(&ended, &words);
    }
}

#[test]
fn polling_finds_every_edit_in_an_ordinary_directory_too() {
    let (sandbox, source) = sandbox_with_source();
    let root = source.to_str().expect("a plain path");
    let mut session = sandbox.start(arguments(&[&GO_ON[..], &["--backend", "poll", "-C", root]].concat()));
    session.wait_armed(1);
    assert_every_edit_is_found(&mut session, &source);
    assert_eq!(session.stop().count("degraded"), 0);
}

/// Mounts `source` as `shown` in the root, as the lower layer of an overlay.
fn overlay(sandbox: &Sandbox, source: &Path) -> Namespace {
    let upper = sandbox.beside().join("upper");
    fs::create_dir(&upper).expect("a fresh name");
    let (upper, source, shown) = (upper.display(), source.display(), sandbox.path("shown"));
    Namespace::of_mounts(&format!(
        "mount -t tmpfs none '{upper}' && mkdir '{upper}/data' '{upper}/work' && mount -t overlay -o 'lowerdir={source},upperdir={upper}/data,workdir={upper}/work' none '{}'",
        shown.display()
    ))
}

/// Runs a line for the shell in the namespaces of a reloadrun.
fn run_inside(session: &Session, line: &str) {
    let pid = session.pid().to_string();
    let user: &[&str] = if namespace::is_root() { &[] } else { &["--user", "--preserve-credentials"] };
    let deadline = Instant::now() + DEADLINE;
    loop {
        let output =
            Command::new("nsenter").args(["--target", &pid, "--mount"]).args(user).args(["sh", "-c", line]).output();
        let output = output.expect("nsenter comes with unshare");
        if output.status.success() {
            return;
        }
        // reloadrun looks at the files of a mount now and then, and it is busy for that moment.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("busy") && Instant::now() < deadline, "{line}: {said}");
    }
}

#[test]
fn mounts_and_unmounts_below_a_root_are_noticed() {
    for backend in ["auto", "inotify", "notify", "poll"] {
        for unmount in ["umount", "umount --lazy"] {
            let (sandbox, source) = sandbox_with_source();
            fs::write(source.join("other.py"), "in the mount alone").expect("it can be written");
            sandbox.write("tree/sub/app.py", "below the mount");
            let sub = sandbox.path("tree/sub");
            std::os::unix::fs::symlink("tree", sandbox.path("link")).expect("a fresh name");
            let arguments = arguments(&[&GO_ON[..], &["--backend", backend]].concat());
            let mut session = match Namespace::of_mounts("true").start(&sandbox, &arguments) {
                Ok(session) => session,
                Err(reason) => return left_out(&format!("a mount of its own: {reason}")),
            };
            session.wait_armed(1);
            let told = |session: &mut Session, expected: &[&str]| {
                assert_eq!(names(&session.wait("changed")), expected, "{backend}: {}", session.account());
            };
            run_inside(&session, &format!("mount --bind '{}' '{}'", source.display(), sub.display()));
            told(&mut session, &["app.py", "other.py"]);
            save_inside(&session, &sub.join("other.py"), "through the mount");
            told(&mut session, &["other.py"]);
            run_inside(&session, &format!("{unmount} '{}'", sub.display()));
            told(&mut session, &["app.py", "other.py"]);
            save_inside(&session, &sub.join("app.py"), "where the mount was");
            told(&mut session, &["app.py"]);
            // Mounts elsewhere have no effect.
            run_inside(&session, "mount -t tmpfs none /mnt && umount /mnt");
            save_inside(&session, &sandbox.path("tree/fence.py"), "fence");
            told(&mut session, &["fence.py"]);
            session.stop();
        }
    }
}

/// Saves a file inside the mount namespace of a reloadrun.
fn save_inside(session: &Session, path: &Path, content: &str) {
    let inside = format!("/proc/{}/root{}", session.pid(), path.display());
    fs::write(inside, content).expect("it can be written");
}

#[test]
fn an_edit_below_an_overlay_is_found_and_one_through_it_is_reported_once() {
    for backend in ["auto", "notify"] {
        let (sandbox, source) = sandbox_with_source();
        fs::write(source.join("other.py"), "one").expect("it can be written");
        let namespace = overlay(&sandbox, &source);
        let mut session = match namespace.start(&sandbox, &arguments(&["--backend", backend])) {
            Ok(session) => session,
            Err(reason) => return left_out(&format!("an overlay: {reason}")),
        };
        session.wait_started(1);
        assert_eq!(session.wait("watching")["polled"], 0, "polled for want of events: {}", session.account());
        for generation in 2..5 {
            fs::write(source.join("app.py"), format!("below, generation {generation}")).expect("it can be written");
            assert_eq!(names(&session.wait_armed(generation)), ["app.py"]);
        }
        for generation in 5..8 {
            save_inside(&session, &sandbox.path("shown/other.py"), &format!("through, generation {generation}"));
            assert_eq!(names(&session.wait_armed(generation)), ["other.py"]);
        }
        let ended = session.stop();
        assert_eq!(ended.count("started"), 7, "{ended:#?}");
        let words = ["shown is on overlay", "made through it are noticed at once", "polling every 100ms (--interval)"];
        assert_one_complaint(&ended, &words);
    }
}

#[test]
fn a_save_through_an_overlay_does_not_wait_for_the_poll() {
    let (sandbox, source) = sandbox_with_source();
    let arguments = ["-w", "*.py", "--interval", "1h", "--", "sleep", "600"];
    let mut session = match overlay(&sandbox, &source).start(&sandbox, &arguments) {
        Ok(session) => session,
        Err(reason) => return left_out(&format!("an overlay: {reason}")),
    };
    session.wait_armed(1);
    save_inside(&session, &sandbox.path("shown/app.py"), "through");
    assert_eq!(names(&session.wait_armed(2)), ["app.py"]);
    session.stop();
}

#[test]
fn an_overlay_like_that_of_a_container_is_watched_without_a_message() {
    let (sandbox, _) = sandbox_with_source();
    let (upper, shown) = (sandbox.beside().join("upper"), sandbox.path("shown"));
    fs::create_dir(&upper).expect("a fresh name");
    // A relative name of the lower layer cannot be resolved from elsewhere.
    let namespace = Namespace::of_mounts(&format!(
        "mount -t tmpfs none '{0}' && (cd '{0}' && mkdir lower data work && mount -t overlay -o lowerdir=lower,upperdir=data,workdir=work none '{1}')",
        upper.display(),
        shown.display()
    ));
    let mut session = match namespace.start(&sandbox, &arguments(&[])) {
        Ok(session) => session,
        Err(reason) => return left_out(&format!("an overlay: {reason}")),
    };
    session.wait_armed(1);
    save_inside(&session, &shown.join("app.py"), "through");
    assert_eq!(names(&session.wait_armed(2)), ["app.py"]);
    assert_eq!(session.stop().count("degraded"), 0);
}

#[test]
fn a_file_open_for_writing_on_an_overlay_is_waited_for_although_it_is_polled() {
    let (sandbox, source) = sandbox_with_source();
    let mut session = match overlay(&sandbox, &source).start(&sandbox, &arguments(&["--debounce", "500ms"])) {
        Ok(session) => session,
        Err(reason) => return left_out(&format!("an overlay: {reason}")),
    };
    session.wait_armed(1);
    let inside = format!("/proc/{}/root{}", session.pid(), sandbox.path("shown/app.py").display());
    let mut file = File::create(inside).expect("it can be written");
    file.write_all(b"the first half").expect("it can be written");
    // The pause of a slow writer, longer than many polls: nothing may happen in it.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(session.starts(), 1, "{}", session.account());
    file.write_all(b", and the second").expect("it can be written");
    drop(file);
    assert_eq!(names(&session.wait_armed(2)), ["app.py"]);
    save_inside(&session, &sandbox.path("shown/fence.py"), "fence");
    assert_eq!(names(&session.wait_armed(3)), ["fence.py"]);
    session.stop();
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_reported_once_and_edits_in_place_are_found() {
    for backend in ["auto", "notify", "inotify", "poll"] {
        let (sandbox, source) = sandbox_with_source();
        let from = source.join("app.py");
        sandbox.write("conf/the app.py", "what the mount hides");
        let target = sandbox.path("conf/the app.py");
        let namespace = Namespace::of_mounts(&format!("mount --bind '{}' '{}'", from.display(), target.display()));
        let mut session = match namespace.start(&sandbox, &arguments(&["--backend", backend])) {
            Ok(session) => session,
            Err(reason) => return left_out(&format!("a bind-mounted file: {reason}")),
        };
        session.wait_armed(1);
        let mut generation = 1;
        if backend != "inotify" {
            for content in ["one line", "two lines"] {
                fs::write(&from, content).expect("it can be written");
                generation += 1;
                assert_eq!(names(&session.wait_armed(generation)), ["the app.py"]);
            }
        }
        // A new file that replaces it at the source is never visible here.
        fs::write(source.join("new"), "renamed").expect("it can be written");
        fs::rename(source.join("new"), &from).expect("the test owns it");
        sandbox.write("conf/beside.py", "told");
        assert_eq!(names(&session.wait_armed(generation + 1)), ["beside.py"]);
        let ended = session.stop();
        assert_eq!(ended.count("started") as u64, generation + 1, "{ended:#?}");
        let words = ["conf/the app.py is a mount of its own", "bind-mounted file", "mount the directory instead"];
        assert_one_complaint(&ended, &words);
    }
}
