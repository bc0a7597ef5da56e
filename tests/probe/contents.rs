//! The content of a tree: a hash for each `*.txt` file below some directories, as a command reads them at its start.
//! The torture harness reads the disk with the same code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// No test creates deeper trees.
const DEEPEST: usize = 16;

/// A hash of the content by path. Symlinks to files are followed, symlinks to directories are not.
pub fn contents(roots: &[PathBuf]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for root in roots {
        add(root, DEEPEST, &mut found);
    }
    found
}

fn add(directory: &Path, deeper: usize, found: &mut BTreeMap<String, String>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if deeper > 0 && entry.file_name() != "node_modules" {
                add(&path, deeper - 1, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "txt")
            && let Ok(content) = fs::read(&path)
        {
            found.insert(path.display().to_string(), format!("{:016x}", fnv(&content)));
        }
    }
}

/// FNV-1a: the same in every process, which std does not guarantee for its hasher.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
