//! The real applications of `fixtures/`: copying one, installing its packages, sending requests.
//!
//! This file handles Python packages and HTTP, but not reloadrun: the tests start the applications.
//! `fixtures/README.md` describes how to start them, and their answers.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long one request may hang before it counts as unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two requests of [`wait_for_answer`].
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The end of every error of [`python_env`] that the network may have caused.
const REMEDY: &str = "set RELOADRUN_OFFLINE=1 to leave out the tests that need these packages";

/// Whether the tests that need packages from the network are to be left out: `RELOADRUN_OFFLINE=1`.
pub fn offline() -> bool {
    env::var_os("RELOADRUN_OFFLINE").is_some_and(|value| value == "1")
}

/// Prints on stderr that `what` was not tested because of [`offline`].
///
/// It writes to the descriptor itself: what goes through `eprintln!` is hidden when a test passes,
/// and a test that has left something out always passes.
pub fn left_out(what: &str) {
    // A closed stderr must not fail the test.
    let _ = writeln!(io::stderr(), "left out, RELOADRUN_OFFLINE=1: {what}");
}

/// The `bin` directory of a Python environment that holds the packages of all fixtures.
///
/// It is created once, under `fixture-envs` in the target directory, and kept for later runs until a
/// `requirements.txt` or the machine's `python3` changes. Any number of threads and processes may
/// call it at once: one of them installs, the others wait.
///
/// # Errors
/// A message, when there is no `python3` of at least 3.11, or when pip cannot install.
pub fn python_env() -> Result<PathBuf, String> {
    static BIN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BIN.get_or_init(|| install_python_env(&requirements()?)).clone()
}

/// The same with what `fixtures/<name>/tools/requirements.txt` lists: programs that tests use, and no application needs.
///
/// # Errors
/// As for [`python_env`].
pub fn tools(name: &str) -> Result<PathBuf, String> {
    install_python_env(&[fixtures_dir().join(name).join("tools/requirements.txt")])
}

fn install_python_env(requirements: &[PathBuf]) -> Result<PathBuf, String> {
    let parent = target_dir().join("fixture-envs");
    let env = parent.join(python_env_name(requirements, &parent)?);
    let complete = env.join("complete");

    // An environment cannot be renamed into place, because its scripts contain the full path of the
    // interpreter. So it is built in place, under a lock, and a file written last marks it as complete.
    tell("create", &parent, fs::create_dir_all(&parent))?;
    let lock_path = env.with_extension("lock");
    let lock = tell("create", &lock_path, File::create(&lock_path))?;
    tell("lock", &lock_path, lock.lock())?;

    if !complete.exists() {
        if env.exists() {
            tell("remove", &env, fs::remove_dir_all(&env))?;
        }
        create_venv(&env)?;
        pip_install(&env, requirements)?;
        tell("create", &complete, fs::write(&complete, ""))?;
    }
    Ok(env.join("bin"))
}

/// A directory with the driver of the browser and its packages (`fixtures/browser/package-lock.json`). It is made once, like [`python_env`].
///
/// # Errors
/// A message, when npm cannot install.
pub fn node_env() -> Result<PathBuf, String> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DIRECTORY.get_or_init(install_node_env).clone()
}

fn install_node_env() -> Result<PathBuf, String> {
    const FILES: [&str; 3] = ["package.json", "package-lock.json", "drive.mjs"];
    let (from, parent) = (fixtures_dir().join("browser"), target_dir().join("fixture-envs"));
    let mut hasher = DefaultHasher::new();
    for file in FILES {
        tell("read", &from, fs::read(from.join(file)))?.hash(&mut hasher);
    }
    let env = parent.join(format!("node-{:016x}", hasher.finish()));
    let complete = env.join("complete");
    tell("create", &parent, fs::create_dir_all(&parent))?;
    let lock_path = env.with_extension("lock");
    let lock = tell("create", &lock_path, File::create(&lock_path))?;
    tell("lock", &lock_path, lock.lock())?;
    if complete.exists() {
        return Ok(env);
    }
    tell("create", &env, fs::create_dir_all(&env))?;
    for file in FILES {
        tell("copy", &env, fs::copy(from.join(file), env.join(file)))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(&env);
    let installed = output(&mut npm)?;
    if !installed.status.success() {
        let stderr = String::from_utf8_lossy(&installed.stderr).trim().to_owned();
        return Err(format!("npm could not install the driver of the browser ({stderr}); {REMEDY}"));
    }
    tell("create", &complete, fs::write(&complete, ""))?;
    Ok(env)
}

/// Every `fixtures/*/requirements.txt`, in a stable order. All of them are installed into one environment, so
/// they must pin the same version of a package.
fn requirements() -> Result<Vec<PathBuf>, String> {
    let fixtures = fixtures_dir();
    let mut found = Vec::new();
    for entry in tell("list", &fixtures, fs::read_dir(&fixtures))? {
        let file = tell("list", &fixtures, entry)?.path().join("requirements.txt");
        if file.exists() {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// A name that changes with everything on which an environment depends: the requirements, the interpreter, and the
/// path, which the environment's scripts contain.
fn python_env_name(requirements: &[PathBuf], parent: &Path) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    parent.hash(&mut hasher);
    python_version()?.hash(&mut hasher);
    for file in requirements {
        tell("read", file, fs::read(file))?.hash(&mut hasher);
    }
    Ok(format!("python-{:016x}", hasher.finish()))
}

/// The interpreter's version and home; an error if it is too old for the fixtures.
fn python_version() -> Result<String, String> {
    let script = "import sys; print(sys.version_info >= (3, 11), sys.version, sys.base_prefix)";
    let output = output(Command::new("python3").args(["-c", script]))?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    if version.starts_with("True") {
        Ok(version)
    } else {
        Err("the fixtures need a python3 of at least 3.11, for tomllib".to_owned())
    }
}

/// With `--copies`, because a uWSGI from a wheel executes itself again on HUP by the path of its
/// executable. With a symlink, that would be the machine's interpreter, which lacks the packages.
fn create_venv(env: &Path) -> Result<(), String> {
    let output = output(Command::new("python3").args(["-m", "venv", "--copies"]).arg(env))?;
    if output.status.success() {
        return Ok(());
    }
    // The stream of venv's error messages depends on its version.
    Err(format!(
        "python3 -m venv failed: {}{}",
        String::from_utf8_lossy(&output.stdout).trim(),
        String::from_utf8_lossy(&output.stderr).trim(),
    ))
}

fn pip_install(env: &Path, requirements: &[PathBuf]) -> Result<(), String> {
    let mut pip = Command::new(env.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    for file in requirements {
        pip.arg("-r").arg(file);
    }
    let output = output(&mut pip)?;
    if output.status.success() {
        return Ok(());
    }
    // Without a network, pip first warns about each attempt, and then reports an error about the requirement.
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("connection broken by") || stderr.contains("Could not fetch URL") {
        return Err(format!("pip cannot reach the package index to install the fixtures' packages; {REMEDY}"));
    }
    let reason = stderr.lines().find(|line| line.starts_with("ERROR:"));
    Err(format!("pip could not install the fixtures' packages ({}); {REMEDY}", reason.unwrap_or(stderr.trim())))
}

/// Runs a command to its end, with no input.
fn output(command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|error| {
        let program = command.get_program().display();
        format!("cannot run {program}: {error}; {REMEDY}")
    })
}

/// Turns an I/O error into a message: "cannot `verb` `path`: ...".
fn tell<T>(verb: &str, path: &Path, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("cannot {verb} {}: {error}", path.display()))
}

fn fixtures_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn target_dir() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // `join` leaves an absolute path as it is.
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target)
}

/// Copies the files of `fixtures/<name>`, with their permissions, into the directory `to`, which
/// is created when absent.
///
/// # Panics
/// When there is no such fixture, or when a file cannot be copied.
pub fn copy_fixture(name: &str, to: &Path) {
    let from = fixtures_dir().join(name);
    if let Err(error) = copy_dir(&from, to) {
        panic!("cannot copy {} to {}: {error}", from.display(), to.display());
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            fs::copy(entry.path(), target)?;
        } else if entry.file_name() != "__pycache__" {
            // Bytecode of a run by hand would be older than the copied source.
            copy_dir(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A port of 127.0.0.1 on which no process listens, and which no other caller in this process gets.
///
/// It is below the range that the kernel uses for outgoing connections. In that range, a client
/// that polls a server which is not up yet could get the server's port, or even connect to itself.
///
/// # Panics
/// When a thousand ports in a row are taken.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);

    // Processes that run at the same time start with different numbers.
    let start = std::process::id().wrapping_mul(61) % COUNT;
    for _ in 0..1000 {
        let offset = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + offset % COUNT).expect("30 000 is less than 65 536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 among the thousand tried");
}

/// The answer of the application on `port` to `GET path`.
///
/// # Errors
/// A message, when no process listens, when the answer does not come within seconds, or when it is
/// not a 200 with JSON.
pub fn get(port: u16, path: &str) -> Result<Value, String> {
    let reply = request(port, path).map_err(|error| format!("no answer: {error}"))?;
    let status = reply.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("the answer is {status:?}"));
    }
    let (_head, body) =
        reply.split_once("\r\n\r\n").ok_or_else(|| format!("the answer ends within its head: {reply:?}"))?;
    serde_json::from_str(body).map_err(|error| format!("the answer is {body:?}: {error}"))
}

/// HTTP/1.0, so that the end of the answer is the end of the connection.
fn request(port: u16, path: &str) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

/// Sends requests until an answer is accepted, and returns that answer. Between a stop and a start there is no
/// answer; this is not a failure before the `deadline`.
///
/// # Panics
/// At the deadline, with the last answer.
pub fn wait_for_answer(port: u16, path: &str, deadline: Duration, accept: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let answer = get(port, path);
        match answer {
            Ok(value) if accept(&value) => return value,
            last if start.elapsed() >= deadline => {
                panic!("GET {path} on port {port}: no accepted answer within {deadline:?}; the last: {last:?}")
            }
            _ => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Replaces `from` by `to` throughout a file, in place, like a simple editor: truncate, write, close.
///
/// In Python sources, `to` must have another length than `from`. Python uses existing bytecode when
/// size and mtime, in whole seconds, are the same: a quick edit of equal length may run the old code.
///
/// # Panics
/// When the file does not contain `from`, or cannot be read or written.
pub fn edit(path: &Path, from: &str, to: &str) {
    let shown = path.display();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {shown}: {error}"));
    assert!(text.contains(from), "{shown} does not contain {from:?}");
    fs::write(path, text.replace(from, to)).unwrap_or_else(|error| panic!("cannot write {shown}: {error}"));
}
