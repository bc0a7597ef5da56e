//! Names that nobody knew when the generation started.
//!
//! Where everything in a directory is swept in, a name that is new may be a temporary one: it is renamed over the file
//! that is meant, or goes, in a moment. So it waits like a save that looks incomplete. A name that was given, or that a
//! pattern like `*.py` matches, waits for nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Lock files that a tool makes when it runs the program (`cargo run`, `uv run`). That one comes into being tells
/// nothing that its manifest does not; a later change of it counts like any other.
const MADE_BY_RUNNING: [&str; 6] =
    ["Cargo.lock", "Package.resolved", "deno.lock", "flake.lock", "pubspec.lock", "uv.lock"];

/// Whether a new file has come into being merely because the command runs: a lock file, or a program that was just built.
pub fn is_made_by_running(path: &Path) -> bool {
    path.file_name().is_some_and(|name| MADE_BY_RUNNING.iter().any(|known| name == *known)) || is_program(path)
}

/// Whether a file is a program for this system. What a build links has a name of its own and no extension, so only its
/// content tells (elf(5)).
fn is_program(path: &Path) -> bool {
    let mut start = [0; 4];
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}
