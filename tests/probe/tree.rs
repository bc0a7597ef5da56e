//! `probe tree DIR PORT SLOW_STOP_MS MEMBER...`: a command with a process tree of all kinds of members.
//!
//! All members hold the lock of DIR/members by an inherited descriptor, independent of their parents, their session and
//! their environment. A process that gets that lock knows that no member is left. The command tries the lock first, so
//! it knows whether it started before the old tree was gone. It appends records to DIR/records, one line of JSON in one
//! write(2): `began` at its start, `up` when all members are ready, `busy` if the port was in use.
//!
//! | member      | what it is                                                             |
//! |-------------|------------------------------------------------------------------------|
//! | `child`     | a child                                                                |
//! | `shell`     | a shell with two jobs in the background                                |
//! | `group`     | one in a process group of its own                                      |
//! | `session`   | one in a session of its own                                            |
//! | `daemon`    | double fork, in a session of its own, without environment and output   |
//! | `many:N`    | a tree of N, every eighth with a session of its own                    |
//! | `deaf`      | ignores every stop signal                                              |
//! | `forker`    | forks 120 more on the stop signal, one by one                          |
//! | `stopped`   | stopped by SIGSTOP                                                     |
//! | `namespace` | in a pid namespace of its own, where that is allowed                   |
//! | `port`      | a grandchild (double fork) that answers at PORT with the generation    |
//! | `far-port`  | the same in a session of its own                                       |
//!
//! TERM ends the command after SLOW_STOP_MS; `-1` means never.
//!
//! With LISTEN_FDS, `port` answers at descriptor 3. With READY_FD, a newline there tells that all are ready. With BESIDE, an old
//! tree may live when this one starts, and they share the lock.

use std::env::ArgsOs;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, execve, fork, pause, pipe, setpgid, setsid};

use super::Ended;

/// The deadline for members, and for another tree to be gone.
const DEADLINE: Duration = Duration::from_secs(20);

/// The processes end after this time at the latest.
const LONGEST: u32 = 900;

/// How many times `forker` forks two processes.
const FORKS: usize = 60;

struct Tree {
    directory: PathBuf,
    port: u16,
    generation: String,
    ready: Option<OwnedFd>,
}

/// Starts the members, then waits until a signal ends it.
pub fn run(mut words: ArgsOs) -> Ended {
    let now = monotonic_ns()?;
    let directory = PathBuf::from(words.next().ok_or("tree needs a DIR")?);
    let port = words.next().and_then(|word| word.to_str()?.parse().ok()).ok_or("tree needs a PORT")?;
    let slow: i64 = words.next().and_then(|word| word.to_str()?.parse().ok()).ok_or("tree needs SLOW_STOP_MS")?;
    let members: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let generation = std::env::var("RELOADRUN_GENERATION").unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).open(directory.join("members")).map_err(text)?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| errno.to_string())?;
    let overlap = file.try_lock().is_err();
    let (reader, writer) = pipe().map_err(|errno| errno.to_string())?;
    let mut tree = Tree { directory, port, generation, ready: Some(writer) };
    tree.record("began", now, serde_json::json!({ "overlap": overlap }))?;
    if std::env::var_os("BESIDE").is_some() {
        file.lock_shared().map_err(text)?;
    }
    let until = Instant::now() + DEADLINE;
    while std::env::var_os("BESIDE").is_none() && overlap && file.try_lock().is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut expected = 0;
    for member in &members {
        expected += tree.start(member)?;
    }
    drop(tree.ready.take());
    let mut count = 0;
    let mut bytes = [0; 256];
    let mut reader = File::from(reader);
    while count < expected {
        match reader.read(&mut bytes).map_err(text)? {
            0 => break,
            more => count += more,
        }
    }
    tree.record("up", now, serde_json::json!({ "members": count, "expected": expected }))?;
    if let Some(number) = std::env::var("READY_FD").ok().and_then(|number| number.parse().ok()) {
        // SAFETY: reloadrun has opened this descriptor for us, and nothing else here uses it.
        let ready = unsafe { BorrowedFd::borrow_raw(number) };
        nix::unistd::write(ready, b"\n").map_err(|errno| errno.to_string())?;
    }
    let mut terms = SigSet::empty();
    terms.add(Signal::SIGTERM);
    terms.thread_block().map_err(|errno| errno.to_string())?;
    terms.wait().map_err(|errno| errno.to_string())?;
    match u64::try_from(slow) {
        Ok(slow) => std::thread::sleep(Duration::from_millis(slow)),
        Err(_) => wait(),
    }
    Ok(())
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn monotonic_ns() -> Result<i64, String> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|errno| errno.to_string())?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

impl Tree {
    fn record(&self, what: &str, t: i64, more: serde_json::Value) -> Ended {
        let line = serde_json::json!({
            "what": what, "pid": std::process::id(), "generation": self.generation, "t": t, "more": more,
        });
        let opened = OpenOptions::new().append(true).create(true).open(self.directory.join("records"));
        opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).map_err(text)
    }

    /// Starts one member, and returns how many processes it will have.
    fn start(&mut self, member: &str) -> Result<usize, String> {
        let (kind, number) = member.split_once(':').unwrap_or((member, "1"));
        let number: usize = number.parse().map_err(|_| format!("{member}: no number"))?;
        match kind {
            "child" => self.fork(|tree| tree.rest()),
            "shell" => self.fork(|tree| {
                tree.tell();
                exec("/bin/sh", &["sh", "-c", &format!("sleep {LONGEST} & sleep {LONGEST} & wait")], true)
            }),
            "group" => self.fork(|tree| {
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                tree.rest()
            }),
            "session" => self.fork(|tree| {
                let _ = setsid();
                tree.rest()
            }),
            "daemon" => self.fork(|tree| {
                let _ = setsid();
                // The parent has exited before the grandchild is used.
                let _ = tree.fork(|tree| {
                    let _ = std::env::set_current_dir("/");
                    tree.tell();
                    let quiet = format!("exec sleep {LONGEST} </dev/null >/dev/null 2>&1");
                    exec("/bin/sh", &["sh", "-c", &quiet], false)
                });
                std::process::exit(0)
            }),
            "many" => self.fork(move |tree| tree.grow(number)),
            "deaf" => self.fork(|tree| {
                deafen();
                tree.rest()
            }),
            "forker" => self.fork(|tree| {
                let mut terms = SigSet::empty();
                terms.add(Signal::SIGTERM);
                let _ = terms.thread_block();
                tree.tell();
                let _ = terms.wait();
                deafen();
                for _ in 0..FORKS {
                    let _ = tree.fork(|tree| {
                        let _ = tree.fork(|_| wait());
                        wait()
                    });
                    std::thread::sleep(Duration::from_millis(1));
                }
                wait()
            }),
            "stopped" => self.fork(|tree| {
                tree.tell();
                let _ = raise(Signal::SIGSTOP);
                wait()
            }),
            "namespace" => self.fork(|tree| {
                tree.tell();
                let script = format!(
                    "unshare --pid --fork true 2>/dev/null && exec unshare --pid --fork sh -c 'sleep {LONGEST} & sleep {LONGEST} & wait'
                    exec unshare --map-root-user --pid --fork sh -c 'sleep {LONGEST} & sleep {LONGEST} & wait'"
                );
                exec("/bin/sh", &["sh", "-c", &script], true)
            }),
            "port" | "far-port" => self.fork(|tree| {
                if kind == "far-port" {
                    let _ = setsid();
                }
                let _ = tree.fork(|tree| tree.serve());
                std::process::exit(0)
            }),
            _ => return Err(format!("there is no member {member}")),
        }?;
        Ok(number)
    }

    fn fork(&mut self, body: impl FnOnce(&mut Tree)) -> Ended {
        // SAFETY: this program has a single thread, so the new process may go on as an ordinary one.
        match unsafe { fork() }.map_err(|errno| errno.to_string())? {
            ForkResult::Parent { .. } => Ok(()),
            ForkResult::Child => {
                body(self);
                std::process::exit(0)
            }
        }
    }

    /// A tree of `count` processes, this one included.
    fn grow(&mut self, number: usize) -> ! {
        if number.is_multiple_of(8) {
            let _ = setsid();
        }
        let rest = number - 1;
        for part in [rest / 2, rest - rest / 2] {
            if part > 0 {
                let _ = self.fork(|tree| tree.grow(part));
            }
        }
        self.rest()
    }

    fn serve(&mut self) -> ! {
        let listener = if std::env::var_os("LISTEN_FDS").is_some() {
            // SAFETY: reloadrun has opened this descriptor for us, and nothing else here uses it.
            Ok(unsafe { TcpListener::from_raw_fd(3) })
        } else {
            TcpListener::bind(("127.0.0.1", self.port))
        };
        match listener {
            Ok(listener) => {
                self.tell();
                for mut stream in listener.incoming().flatten() {
                    // A client that has closed the connection needs no answer.
                    let _ = writeln!(stream, "{}", self.generation);
                }
            }
            Err(error) => {
                let _ = self.record("busy", 0, serde_json::json!({ "error": error.to_string() }));
                self.tell();
            }
        }
        wait()
    }

    fn tell(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = nix::unistd::write(ready.as_fd(), b".");
        }
    }

    fn rest(&mut self) -> ! {
        self.tell();
        wait()
    }
}

fn deafen() {
    for deaf in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
        // SAFETY: SIG_IGN runs no handler of this program.
        let _ = unsafe { signal(deaf, SigHandler::SigIgn) };
    }
}

/// Waits for a signal that ends it.
fn wait() -> ! {
    nix::unistd::alarm::set(LONGEST);
    loop {
        pause();
    }
}

fn exec(program: &str, words: &[&str], environment: bool) -> ! {
    let c_string = |text: &str| CString::new(text).unwrap_or_default();
    let words: Vec<CString> = words.iter().map(|word| c_string(word)).collect();
    let path = std::env::var("PATH").unwrap_or_default();
    let variables: Vec<CString> = std::env::vars()
        .filter(|_| environment)
        .chain([("PATH".to_owned(), path)])
        .map(|(key, value)| c_string(&format!("{key}={value}")))
        .collect();
    let _ = execve(&c_string(&Path::new(program).display().to_string()), &words, &variables);
    std::process::exit(127)
}
