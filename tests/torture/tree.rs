//! The edited tree, and a model of it in memory, so that the edits follow from the seed alone.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// 100 directories with 100 each.
const LARGE: usize = 100;

/// The number of directories of a large tree that are edited.
const HOT: usize = 12;

/// A tree on the disk.
#[derive(Debug)]
pub struct Tree {
    /// The directories that reloadrun watches.
    pub root: PathBuf,
    /// The directories in which edits happen; they are never removed.
    pub hot: Vec<PathBuf>,
    /// Directories below them, which may be renamed and removed.
    pub movable: Vec<PathBuf>,
    /// Regular files that count.
    pub files: Vec<PathBuf>,
    /// Symlinks that count, to files that do not by their own names.
    pub links: Vec<PathBuf>,
    /// The targets of symlinks.
    pub targets: Vec<PathBuf>,
    made: usize,
}

impl Tree {
    /// Creates a tree below an empty root.
    pub fn make(root: PathBuf, large: bool, random: &mut Random) -> io::Result<Tree> {
        let mut hot = vec![root.clone()];
        if large {
            for (one, two) in (0..LARGE).flat_map(|one| (0..LARGE).map(move |two| (one, two))) {
                let directory = root.join(format!("p{one:02}/q{two:02}"));
                fs::create_dir_all(&directory)?;
                for name in ["x.txt", "y.txt", "z.dat"] {
                    fs::write(directory.join(name), "unchanged")?;
                }
            }
            hot = (0..HOT)
                .map(|_| root.join(format!("p{:02}/q{:02}", random.below(LARGE), random.below(LARGE))))
                .collect();
            hot.sort();
            hot.dedup();
        }
        let mut tree =
            Tree { root, hot, movable: Vec::new(), files: Vec::new(), links: Vec::new(), targets: Vec::new(), made: 0 };
        tree.fill(if large { 1 } else { 5 })?;
        Ok(tree)
    }

    fn fill(&mut self, each: usize) -> io::Result<()> {
        for hot in self.hot.clone() {
            for _ in 0..each {
                let directory = self.fresh_in(&hot, "d");
                fs::create_dir(&directory)?;
                for _ in 0..3 {
                    let path = self.fresh_in(&directory, "f").with_extension("txt");
                    fs::write(&path, "begin\n")?;
                    self.files.push(path);
                }
                self.movable.push(directory);
            }
            let path = self.fresh_in(&hot, "f").with_extension("txt");
            fs::write(&path, "begin\n")?;
            self.files.push(path);
        }
        let home = self.hot[0].clone();
        for _ in 0..3 {
            let target = self.fresh_in(&home, "t").with_extension("dat");
            fs::write(&target, format!("target {}\n", target.display()))?;
            self.targets.push(target);
        }
        for _ in 0..2 {
            let link = self.fresh_in(&home, "l").with_extension("txt");
            symlink(self.targets[0].file_name().expect("it is a file"), &link)?;
            self.links.push(link);
        }
        Ok(())
    }

    /// A name that was not used before.
    pub fn fresh_in(&mut self, directory: &Path, stem: &str) -> PathBuf {
        self.made += 1;
        directory.join(format!("{stem}{}", self.made))
    }

    /// A random directory of both lists.
    pub fn any_directory(&self, random: &mut Random) -> PathBuf {
        let all = self.hot.len() + self.movable.len();
        let index = random.below(all);
        self.hot.get(index).unwrap_or_else(|| &self.movable[index - self.hot.len()]).clone()
    }

    /// Updates the model after the rename of a directory.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        for path in self.movable.iter_mut().chain(&mut self.files) {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
    }

    /// Updates the model after the removal of this path and everything below it.
    pub fn removed(&mut self, gone: &Path) {
        self.movable.retain(|path| !path.starts_with(gone));
        self.files.retain(|path| !path.starts_with(gone));
    }
}
