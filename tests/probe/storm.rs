//! Opens files and executes programs in several threads, without end, and writes down every call that fails. None may.

use std::env::ArgsOs;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Ended;

/// Each does so much of it that the machine is busy.
const THREADS: usize = 3;

/// In DIR: `pid` says that it has begun, `count` how many calls were made so far, `error` what failed.
pub fn run(mut words: ArgsOs) -> Ended {
    let directory = PathBuf::from(words.next().ok_or("a directory is expected")?);
    let file = directory.join("file");
    fs::write(&file, "x").map_err(|error| error.to_string())?;
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (directory, file, count) = (&directory, &file, &count);
            scope.spawn(move || {
                loop {
                    if let Err(error) = once(file, number == 0) {
                        let _ = fs::write(directory.join("error"), error);
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ = fs::write(directory.join("pid"), std::process::id().to_string());
        loop {
            thread::sleep(Duration::from_millis(5));
            let now = directory.join("count.new");
            let written = fs::write(&now, count.load(Ordering::Relaxed).to_string());
            if let Err(error) = written.and_then(|()| fs::rename(&now, directory.join("count"))) {
                let _ = fs::write(directory.join("error"), error.to_string());
            }
        }
    })
}

fn once(file: &Path, executes: bool) -> Result<(), String> {
    for _ in 0..20 {
        File::open(file).map_err(|error| format!("open: {error}"))?;
        fs::symlink_metadata(file).map_err(|error| format!("stat: {error}"))?;
    }
    if executes {
        let status = Command::new("/bin/true").status().map_err(|error| format!("exec: {error}"))?;
        // An error of the loader is an exit with 127.
        if status.code().is_some_and(|code| code != 0) {
            return Err(format!("true: {status}"));
        }
    }
    Ok(())
}

/// Opens a file so many times and prints the nanoseconds of one.
pub fn opens(mut words: ArgsOs) -> Ended {
    let file = PathBuf::from(words.next().ok_or("a file is expected")?);
    let count = words.next().and_then(|count| count.to_str()?.parse::<u32>().ok()).ok_or("a number is expected")?;
    let begin = Instant::now();
    for _ in 0..count {
        File::open(&file).map_err(|error| error.to_string())?;
    }
    println!("{}", (begin.elapsed() / count).as_nanos());
    Ok(())
}

/// Runs a command and prints its nanoseconds.
pub fn timed(mut words: ArgsOs) -> Ended {
    let program = words.next().ok_or("a command is expected")?;
    let begin = Instant::now();
    let status = Command::new(program).args(words).stdout(Stdio::null()).status();
    let elapsed = begin.elapsed();
    match status {
        Ok(status) if status.success() => println!("{}", elapsed.as_nanos()),
        other => return Err(format!("{other:?}")),
    }
    Ok(())
}
