//! What is at a path that the command named. It asks the file system, and so belongs to a thread that may be kept waiting.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::first::First;
use super::renames::fates;
use super::rules::{named_interpreter, source_of};
use super::sets::{Discovery, Looked, Node};
use crate::os::fs::{FileId, born_ns, identity};
use crate::os::seccomp::{Access, Sighting, gains_rights};

/// What a call comes to: paths, what is there, what is done with them.
#[derive(Debug, Default)]
pub struct Observed {
    /// The path of the call, and those that follow from it.
    pub looked: Vec<(Looked, Access, First)>,
    /// A program that gains rights when it is executed.
    pub privileged: Option<PathBuf>,
}

/// Takes in what was seen of a command that runs in this directory.
pub fn learn(discovery: &mut Discovery, sighting: &Sighting, directory: &Path) {
    if let Sighting::Gap { thread, gap } = sighting {
        discovery.add_gap(*gap, *thread);
    }
    if !discovery.concerns(sighting) {
        return;
    }
    let observed = observe(sighting, directory);
    observed.looked.iter().for_each(|(looked, access, first)| discovery.add(looked, *access, *first));
    observed.privileged.into_iter().for_each(|program| discovery.add_privileged(program));
}

/// Finds out what has become of the renames that were seen.
pub fn settle(discovery: &mut Discovery) {
    let fates = fates(discovery.open_renames().cloned());
    discovery.settle(&fates, Instant::now());
}

/// Looks at what a call names.
pub fn observe(sighting: &Sighting, directory: &Path) -> Observed {
    let Sighting::File { thread, access, path, call, when, seen_ns, .. } = sighting else { return Observed::default() };
    if is_removed(path) {
        return Observed::default();
    }
    let first = First { thread: *thread, call, when: *when };
    let looked = look(path, directory, *seen_ns);
    let mut observed = Observed::default();
    if let Some(source) = source_of(&looked.name) {
        observed.looked.push((look(&source, directory, *seen_ns), Access::Stat, first));
    }
    if *access == Access::Execute && looked.node == Node::File {
        if let Some(interpreter) = interpreter(&looked.name) {
            observed.looked.push((look(&interpreter, directory, *seen_ns), Access::Execute, first));
        }
        observed.privileged = gains_rights(&looked.name).then(|| looked.name.clone());
    }
    observed.looked.push((looked, *access, first));
    observed
}

/// Whether a program gains rights when it is executed, itself or as a script by its interpreter.
pub fn needs_rights(program: &Path) -> bool {
    gains_rights(program) || interpreter(program).is_some_and(|interpreter| gains_rights(&interpreter))
}

/// The clock of a call may be behind that of the files by so much: one step of a slow timer (100 Hz).
const GRAIN_NS: i64 = 10_000_000;

fn look(path: &Path, directory: &Path, seen_ns: i64) -> Looked {
    let name = identity(path, directory);
    let node = match std::fs::metadata(&name) {
        Ok(metadata) if metadata.is_file() => Node::File,
        Ok(metadata) if metadata.is_dir() => Node::Directory,
        Ok(_) => Node::Other,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Node::Hidden,
        Err(_) => Node::Absent,
    };
    let real = name
        .parent()
        .zip(name.file_name())
        .and_then(|(parent, own)| Some(std::fs::canonicalize(parent).ok()?.join(own)));
    let is_link = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let target = match &real {
        Some(real) if !is_link(real) && node != Node::Absent => Some(real.clone()),
        _ => std::fs::canonicalize(&name).ok(),
    };
    let other = |path: &PathBuf| *path != name;
    // What was made after the call is not what the call renames.
    let own = std::fs::symlink_metadata(&name).ok().filter(|own| born_ns(own) <= seen_ns + GRAIN_NS);
    let id = own.map(|own| FileId::from(&own));
    let device = real.as_ref().unwrap_or(&name).parent().and_then(FileId::of).map(|id| id.device);
    Looked { entry: real.filter(other), target: target.filter(other), name, node, id, device }
}

/// Whether a path begins in a directory that was removed while it was somebody's current one.
fn is_removed(path: &Path) -> bool {
    let removed = |part: &Path| part.as_os_str().as_bytes().ends_with(b" (deleted)");
    path.ancestors().any(|part| removed(part) && std::fs::symlink_metadata(part).is_err())
}

/// The kernel takes so much of the first line of a script (BINPRM_BUF_SIZE).
const FIRST_LINE: u64 = 256;

/// The program that the kernel opens to run a script. No system call names it.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(script).ok()?.take(FIRST_LINE).read_to_end(&mut start).ok()?;
    named_interpreter(&start)
}
