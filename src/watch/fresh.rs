//! Names that nobody knew when the generation started.
//!
//! Where everything in a directory is swept in, a name that is new may be a temporary one: it is renamed over the file
//! that is meant, or goes, in a moment. So it waits like a save that looks incomplete. A name that was given, or that a
//! pattern like `*.py` matches, waits for nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Watcher;

/// Lock files that a tool makes when it runs the program (`cargo run`, `uv run`). That one comes into being tells
/// nothing that its manifest does not; a later change of it counts like any other.
const MADE_BY_RUNNING: [&str; 6] =
    ["Cargo.lock", "Package.resolved", "deno.lock", "flake.lock", "pubspec.lock", "uv.lock"];

impl Watcher {
    /// Whether a path that counts was not there at the start and nobody has asked for it.
    pub(super) fn is_fresh(&self, path: &Path) -> bool {
        self.snapshot.get(path).is_none() && self.filter.is_swept(path)
    }

    /// Whether a file has come into being merely because the command runs: a lock file, or a program that was just built.
    pub(super) fn is_by_product(&self, path: &Path) -> bool {
        let listed = || path.file_name().is_some_and(|name| MADE_BY_RUNNING.iter().any(|known| name == *known));
        self.is_fresh(path) && (listed() || is_program(path))
    }
}

/// Whether a file is a program for this system. What a build links has a name of its own and no extension, so only its
/// content tells (elf(5)).
fn is_program(path: &Path) -> bool {
    let mut start = [0; 4];
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use crate::change::ChangeSet;
    use crate::filter::{Filter, OwnFiles};
    use crate::settle::Settler;
    use crate::watch::Watcher;
    use crate::watch::backend::Entry;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn only_a_new_name_that_is_swept_in_waits() {
        for (watch, at_once) in [
            ("*.py", true),
            ("new.py", true),
            ("**;*.py", true),
            ("", false),
            (".", false),
            ("**", false),
            ("n*", true),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let root = std::fs::canonicalize(directory.path()).unwrap();
            std::fs::write(root.join("old.py"), "one").unwrap();
            let config = crate::config::tests::config(&root, watch, "");
            let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
            let mut watcher = Watcher::new(&config, filter, &ChangeSet::default());
            let mut settler = Settler::new(Duration::ZERO);
            assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX, &mut settler));
            for (name, certain) in [("new.py", at_once), ("old.py", true)] {
                std::fs::write(root.join(name), "two").unwrap();
                watcher.take_in_entry(&root.join(name), Entry::Closed, &mut settler);
                if settler.holds(&root.join(name)) {
                    assert_eq!(settler.is_certain(), certain, "-w '{watch}': {name}");
                }
                settler.drain();
            }
        }
    }
}
