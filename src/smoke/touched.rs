//! A file that is touched to prove that a reload works, and gets back what it had.

use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a file had before it was touched.
#[derive(Debug)]
pub struct Touched {
    path: PathBuf,
    bytes: Vec<u8>,
    permissions: Permissions,
    times: FileTimes,
}

impl Touched {
    /// Touches it.
    ///
    /// # Errors
    /// It cannot be read, or its times cannot be set.
    pub fn touch(path: &Path) -> io::Result<Touched> {
        let metadata = fs::metadata(path)?;
        let times = FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
        let kept =
            Touched { path: path.to_owned(), bytes: fs::read(path)?, permissions: metadata.permissions(), times };
        File::open(path)?.set_modified(SystemTime::now())?;
        Ok(kept)
    }

    /// Gives it back its bytes, mode and times.
    ///
    /// # Errors
    /// The system's.
    pub fn restore(&self) -> io::Result<()> {
        // Writing to what is as it was would be a risk for nothing.
        if fs::read(&self.path).ok().as_ref() != Some(&self.bytes) {
            fs::write(&self.path, &self.bytes)?;
        }
        fs::set_permissions(&self.path, self.permissions.clone())?;
        File::open(&self.path)?.set_times(self.times)
    }

    /// Which file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::Touched;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_file_gets_its_bytes_mode_and_times_back_whatever_was_done_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.py");
        fs::write(&path, b"one\r\n\xff").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let of = |path| {
            let metadata = fs::metadata(path).unwrap();
            let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.atime(), metadata.atime_nsec());
            (metadata.mode(), metadata.ino(), times)
        };
        let changes: [&dyn Fn(); 4] = [
            &|| {},
            &|| fs::write(&path, b"two").unwrap(),
            &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let before = of(&path);
            let touched = Touched::touch(&path).unwrap();
            assert_ne!(of(&path).2, before.2, "it was touched");
            change();
            touched.restore().unwrap();
            let (mode, inode, times) = of(&path);
            assert_eq!((mode, times), (before.0, before.2), "{number}");
            assert!(inode == before.1 || number == 3, "{number}: it is the same file");
            assert_eq!(fs::read(&path).unwrap(), b"one\r\n\xff", "{number}");
        }
    }
}
