//! A cache of verdicts on directories: on the last one that was asked for, and on those above it. A walk asks for the entries
//! of one directory after the other, and those lie beside each other.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::decision::Rule;

/// Directories, each below the one before it, and the rule that takes each of them out.
#[derive(Debug, Default)]
pub struct Trail(Mutex<Vec<(PathBuf, Option<Rule>)>>);

impl Trail {
    /// The verdict on a directory below the base: that on the one above it, or `find_out` of this one alone.
    pub fn verdict(&self, base: &Path, directory: &Path, find_out: &dyn Fn(&Path) -> Option<Rule>) -> Option<Rule> {
        if directory == base || !directory.starts_with(base) {
            return None;
        }
        {
            let mut known = self.lock();
            while known.pop_if(|(last, _)| !is_at_or_below(directory, last)).is_some() {}
            if let Some((_, verdict)) = known.last().filter(|(last, _)| last == directory) {
                return verdict.clone();
            }
        }
        // Not under the lock: what is found out may ask again.
        let above = directory.parent().and_then(|parent| self.verdict(base, parent, find_out));
        let verdict = above.or_else(|| find_out(directory));
        let mut known = self.lock();
        // Another thread may have asked for something else meanwhile.
        if known.last().is_none_or(|(last, _)| last != directory && is_at_or_below(directory, last)) {
            known.push((directory.to_owned(), verdict.clone()));
        }
        verdict
    }

    /// Forgets all of them.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PathBuf, Option<Rule>)>> {
        self.0.lock().expect("a panic ends the process")
    }
}

/// The same as `Path::starts_with` for paths without `.` and doubled slashes, byte by byte.
fn is_at_or_below(path: &Path, above: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(above.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || above == Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Asks for these in a row. Returns the verdicts, and what had to be found out.
    fn ask(trail: &Trail, directories: &[&str]) -> (Vec<bool>, Vec<String>) {
        let found_out = RefCell::new(Vec::new());
        let find_out = |directory: &Path| {
            found_out.borrow_mut().push(directory.display().to_string());
            directory.ends_with("out").then_some(Rule::VirtualEnvironment)
        };
        let verdicts = directories
            .iter()
            .map(|directory| trail.verdict(Path::new("/base"), Path::new(directory), &find_out).is_some());
        (verdicts.collect(), found_out.into_inner())
    }

    #[test]
    fn directories_beside_each_other_are_found_out_once_each_and_what_is_above_them_once() {
        let trail = Trail::default();
        let (verdicts, found_out) =
            ask(&trail, &["/base/a/b", "/base/a/c", "/base/a/c/d", "/base/a/bc", "/base/a", "/base/e"]);
        assert_eq!(verdicts, [false; 6]);
        let expected = ["/base/a", "/base/a/b", "/base/a/c", "/base/a/c/d", "/base/a/bc", "/base/e"];
        assert_eq!(found_out, expected);
    }

    #[test]
    fn what_is_below_an_ignored_directory_is_ignored_and_not_looked_at() {
        let trail = Trail::default();
        let (verdicts, found_out) = ask(&trail, &["/base/out/a/b", "/base/out/c", "/base/outside", "/base/out"]);
        assert_eq!(verdicts, [true, true, false, true]);
        assert_eq!(found_out, ["/base/out", "/base/outside", "/base/out"]);
    }

    #[test]
    fn the_base_and_what_is_not_below_it_have_no_verdict() {
        let (verdicts, found_out) = ask(&Trail::default(), &["/base", "/", "/bases/out", "/other"]);
        assert_eq!((verdicts, found_out.len()), (vec![false; 4], 0));
        let trail = Trail::default();
        let find_out = |_: &Path| Some(Rule::VirtualEnvironment);
        assert!(trail.verdict(Path::new("/"), Path::new("/out"), &find_out).is_some());
    }

    #[test]
    fn what_was_forgotten_is_found_out_again() {
        let trail = Trail::default();
        ask(&trail, &["/base/a/b"]);
        trail.forget();
        assert_eq!(ask(&trail, &["/base/a/b"]).1, ["/base/a", "/base/a/b"]);
    }
}
