//! What runs of a tool and of its command, and ending what is left of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::shared::contender::{Contender, DEADLINE, How, Running};
use crate::shared::stamps::{StampProgram, Stamps};
use crate::shared::tree::{Save, Tree};
use crate::shared::{Result, tell, temporary};

/// A tree, and a directory aside where `probe tree` records its starts. What still runs of them is killed when dropped.
pub struct Place {
    pub tree: Tree,
    aside: TempDir,
    length: i64,
}

impl Place {
    pub fn new() -> Result<Place> {
        Ok(Place { tree: Tree::small()?, aside: temporary()?, length: 1000 })
    }

    /// Starts a command that has a child and a daemon (`setsid` and a double fork): three processes.
    pub fn start_family(&self, contender: &Contender) -> Result<Running> {
        let probe = OsStr::new(env!("CARGO_BIN_EXE_probe"));
        let words = ["tree".as_ref(), self.aside.path().as_os_str(), "0".as_ref(), "0".as_ref()];
        let words = [&[probe], &words[..], &["child".as_ref(), "daemon".as_ref()]].concat();
        contender.start_command(&self.tree, &words, How::Plain)
    }

    /// Starts a command that ignores all signals that can ask it to end, and stamps.
    pub fn start_deaf(&self, contender: &Contender, stamp: &StampProgram, stamps: &Stamps) -> Result<Running> {
        let script = self.aside.path().join("deaf");
        let words = [&stamp.path, &stamps.path, &self.tree.file].map(|path| path.display().to_string()).join(" ");
        // What is ignored stays ignored over exec.
        let text = format!("#!/bin/sh\ntrap '' TERM INT HUP QUIT USR1 USR2\nexec {words} stays\n");
        tell("write", &script, fs::write(&script, text))?;
        tell("write", &script, fs::set_permissions(&script, fs::Permissions::from_mode(0o700)))?;
        contender.start_command(&self.tree, &[script.as_os_str()], How::Plain)
    }

    /// Saves once more; gives the length of the file.
    pub fn save(&mut self) -> Result<i64> {
        self.length += 1;
        self.tree.save(Save::InPlace, self.length)?;
        Ok(self.length)
    }

    /// How many families have come up.
    pub fn families(&self) -> usize {
        let records = fs::read_to_string(self.aside.path().join("records")).unwrap_or_default();
        records.lines().filter(|line| line.contains(r#""what":"up""#)).count()
    }

    /// Waits until so many have.
    pub fn wait_families(&self, count: usize, patience: Duration) -> bool {
        let late = Instant::now() + patience;
        while self.families() < count {
            if Instant::now() > late {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The members of families that run. All of them hold a file open, whatever else they have left.
    pub fn members(&self) -> Vec<i32> {
        let file = self.aside.path().join("members");
        let holds = |process: &Path| {
            let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            descriptors.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file))
        };
        processes(holds)
    }

    /// Those, and all that run in the tree: the tool has begun there.
    pub fn all(&self) -> Vec<i32> {
        let mut all = processes(|process| {
            fs::read_link(process.join("cwd")).is_ok_and(|directory| directory.starts_with(&self.tree.root))
        });
        all.extend(self.members());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// How many commands of `start_deaf` run.
    pub fn commands(&self, stamp: &StampProgram) -> usize {
        let runs = |pid: &&i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == stamp.path);
        self.all().iter().filter(runs).count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            let left = self.all();
            if left.is_empty() {
                return;
            }
            for pid in left {
                // An error means that it has ended in between.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("comparison: could not end all that runs in {}", self.tree.root.display());
    }
}

fn processes(wanted: impl Fn(&Path) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.into_iter().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| wanted(&PathBuf::from(format!("/proc/{pid}")))).collect()
}
