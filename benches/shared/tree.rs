//! What is watched, and saving to it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Result, tell, temporary};

/// A directory to watch. What was made for it goes with it.
pub struct Tree {
    pub root: PathBuf,
    /// On the same file system and not watched: here a file is written that is renamed into the tree.
    aside: PathBuf,
    /// The file that is saved.
    pub file: PathBuf,
    /// `26 files in 5 directories`.
    pub size: String,
    _directory: TempDir,
}

/// The number of files in a burst.
pub const BURST: usize = 500;
/// How long writing them takes.
pub const BURST_TAKES: Duration = Duration::from_millis(200);

impl Tree {
    fn empty(size: String) -> Result<Tree> {
        let directory = temporary()?;
        let (root, aside) = (directory.path().join("root"), directory.path().join("aside"));
        tell("create", &root, fs::create_dir(&root))?;
        Ok(Tree { file: root.join("watched.txt"), root, aside, size, _directory: directory })
    }

    /// Five directories.
    pub fn small() -> Result<Tree> {
        let tree = Tree::empty("26 files in 5 directories".into())?;
        fill(&tree.root, 4, 5)?;
        tree.write(1)?;
        Ok(tree)
    }

    /// The small one, and a directory with the files of a burst.
    pub fn for_bursts() -> Result<Tree> {
        let tree = Tree::small()?;
        fill(&tree.root.join("burst"), 0, BURST)?;
        Ok(Tree { file: tree.of_burst(BURST - 1), ..tree })
    }

    /// 100,000 files in 10,000 directories, or a tenth of it; one that was kept is used again. The file that is saved lies
    /// deep in it.
    pub fn large(keep: bool, tenth: bool) -> Result<Tree> {
        let (outer, size) = if tenth { (10, "10,000 files in 1,000") } else { (100, "100,000 files in 10,000") };
        let mut tree = Tree::empty(format!("{size} directories"))?;
        let kept = std::env::temp_dir().join(format!("reloadrun-bench-kept-tree-{outer}"));
        if !(keep && kept.is_dir()) {
            eprintln!("latency: making {} ...", tree.size);
            // Each holds 99 more, and is the hundredth itself.
            for number in 0..outer {
                fill(&tree.root.join(format!("d{number}")), 99, 10)?;
            }
            if keep {
                tell("keep", &kept, fs::rename(&tree.root, &kept))?;
            }
        }
        if keep {
            tree.root = kept;
        }
        tree.file = tree.root.join("d7/s42/f3.txt");
        tree.write(1)?;
        Ok(tree)
    }

    /// The file number so and so of a burst.
    pub fn of_burst(&self, number: usize) -> PathBuf {
        self.root.join("burst").join(format!("f{number}.txt"))
    }

    fn write(&self, length: usize) -> Result<()> {
        tell("write", &self.file, fs::write(&self.file, vec![b'x'; length]))
    }

    /// Saves the file with this length; gives the moment just before.
    pub fn save(&self, how: Save, length: i64) -> Result<i64> {
        let content = vec![b'x'; usize::try_from(length).unwrap_or(0)];
        if let Save::Rename = how {
            tell("write", &self.aside, fs::write(&self.aside, &content))?;
        }
        let before = super::stamps::monotonic_ns();
        match how {
            Save::InPlace => tell("write", &self.file, fs::write(&self.file, &content))?,
            Save::Rename => tell("rename", &self.aside, fs::rename(&self.aside, &self.file))?,
        }
        Ok(before)
    }

    /// Writes each file of the burst once, to this length; gives the moment just after.
    pub fn burst(&self, length: i64) -> Result<i64> {
        let content = vec![b'x'; usize::try_from(length).unwrap_or(0)];
        let began = Instant::now();
        for number in 0..BURST {
            let due = BURST_TAKES.mul_f64(number as f64 / BURST as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let file = self.of_burst(number);
            tell("write", &file, fs::write(&file, &content))?;
        }
        Ok(super::stamps::monotonic_ns())
    }

    /// Saves the file in two halves with a pause between them.
    pub fn save_slowly(&self, length: i64, pause: Duration) -> Result<()> {
        let content = vec![b'x'; usize::try_from(length).unwrap_or(0)];
        let (first, second) = content.split_at(content.len() / 2);
        let mut file = tell("create", &self.file, fs::File::create(&self.file))?;
        tell("write", &self.file, file.write_all(first))?;
        std::thread::sleep(pause);
        tell("write", &self.file, file.write_all(second))
    }

    /// All files in it.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let (mut files, mut directories) = (Vec::new(), vec![self.root.clone()]);
        while let Some(directory) = directories.pop() {
            for entry in tell("list", &directory, fs::read_dir(&directory))?.flatten() {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_directory { directories.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        Ok(files)
    }
}

/// So many files in a directory, and in each of so many directories in it.
fn fill(directory: &Path, directories: usize, files: usize) -> Result<()> {
    let below = (0..directories).map(|number| directory.join(format!("s{number}")));
    for directory in std::iter::once(directory.to_owned()).chain(below) {
        tell("create", &directory, fs::create_dir_all(&directory))?;
        for number in 0..files {
            let file = directory.join(format!("f{number}.txt"));
            tell("write", &file, fs::write(&file, "x"))?;
        }
    }
    Ok(())
}

/// The two ways to save a file.
#[derive(Clone, Copy)]
pub enum Save {
    InPlace,
    Rename,
}
