//! The new code really runs: CPython trusts a `.pyc` by the whole second and the size of its source, so that a fast
//! restart after a small edit would run the old code. Before a start, the compiled files of what has just changed go.
//!
//! Never anything but `__pycache__/<stem>.*.pyc` beside a watched source, and never through a symlink.

use std::fs;
use std::path::Path;

use tracing::debug;

/// Removes the compiled files of these sources; paths that are no Python sources are nothing to it.
pub fn drop_compiled<'a>(sources: impl Iterator<Item = &'a Path>) {
    for source in sources.filter(|path| path.extension().is_some_and(|extension| extension == "py")) {
        let (Some(directory), Some(stem)) = (source.parent(), source.file_stem()) else { continue };
        let cache = directory.join("__pycache__");
        if !fs::symlink_metadata(&cache).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        let start = [stem.as_encoded_bytes(), b"."].concat();
        for entry in fs::read_dir(&cache).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let compiled = name.as_encoded_bytes().strip_prefix(start.as_slice());
            // `x.cpython-311.pyc` is of x.py; `x.y.cpython-311.pyc` is of x.y.py.
            let own = compiled.is_some_and(|rest| {
                let tag = rest.strip_suffix(b".pyc").unwrap_or(b".");
                !tag.is_empty()
                    && !tag.strip_suffix(b".opt-1").or(tag.strip_suffix(b".opt-2")).unwrap_or(tag).contains(&b'.')
            });
            if own && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                debug!(path = %entry.path().display(), "dropped, its source has just changed");
                // Not ours to remove, or gone already: then it stays.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::drop_compiled;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_compiled_files_of_the_changed_source_go() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("__pycache__");
        fs::create_dir(&cache).unwrap();
        let kept = ["xx.cpython-311.pyc", "x.y.cpython-311.pyc", "x.txt", "x.pyc.bak", "y.cpython-311.pyc"];
        let gone = ["x.cpython-311.pyc", "x.cpython-313.opt-1.pyc", "x.pypy39.pyc"];
        for name in kept.iter().chain(&gone) {
            fs::write(cache.join(name), "").unwrap();
        }
        fs::write(directory.path().join("precious"), "").unwrap();
        symlink("../precious", cache.join("x.cpython-312.pyc")).unwrap();
        drop_compiled([directory.path().join("x.py").as_path(), directory.path().join("y.toml").as_path()].into_iter());
        let left = |name: &&str| cache.join(name).exists();
        assert!(kept.iter().all(left));
        assert!(!gone.iter().any(left));
        assert!(cache.join("x.cpython-312.pyc").is_symlink() && directory.path().join("precious").exists());
    }

    #[test]
    fn a_cache_behind_a_symlink_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("x.cpython-311.pyc"), "").unwrap();
        symlink(&elsewhere, directory.path().join("__pycache__")).unwrap();
        drop_compiled(std::iter::once(directory.path().join("x.py").as_path()));
        assert!(elsewhere.join("x.cpython-311.pyc").exists());
    }
}
