//! A file that is touched to prove that a reload works, and gets back what it had.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::os::fs::{FileId, open_again_to_write, open_regular};

/// What a file had before it was touched.
#[derive(Debug)]
pub struct Touched {
    path: PathBuf,
    /// Where it was, behind symlinks.
    target: PathBuf,
    /// The file itself: its name may lead to another one later.
    file: File,
    bytes: Vec<u8>,
    permissions: Permissions,
    times: FileTimes,
}

/// What its name leads to after it has got back what it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To the file.
    There,
    /// To something else, which was left alone, or to nothing.
    Elsewhere,
}

impl Touched {
    /// Touches it.
    ///
    /// # Errors
    /// It is not a regular file, it cannot be read, or its times cannot be set.
    pub fn touch(path: &Path) -> io::Result<Touched> {
        let mut file = open_regular(path)?;
        let metadata = file.metadata()?;
        let times = FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        file.set_modified(SystemTime::now())?;
        let (path, target) = (path.to_owned(), path.canonicalize()?);
        Ok(Touched { path, target, file, bytes, permissions: metadata.permissions(), times })
    }

    /// Gives it back its bytes, mode and times; a file that was removed is made anew. What has got its name is left alone.
    ///
    /// # Errors
    /// The system's.
    pub fn restore(&mut self) -> io::Result<Leads> {
        if self.file.metadata()?.nlink() == 0 {
            match File::create_new(&self.target) {
                Ok(file) => self.file = file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Leads::Elsewhere),
                Err(error) => return Err(error),
            }
            self.file.write_all(&self.bytes)?;
        } else {
            let mut now = Vec::new();
            self.file.rewind()?;
            self.file.read_to_end(&mut now)?;
            // Writing to what is as it was would be a risk for nothing.
            if now != self.bytes {
                let mut writer = open_again_to_write(&self.file).or_else(|_| {
                    self.file.set_permissions(self.permissions.clone())?;
                    open_again_to_write(&self.file)
                })?;
                writer.set_len(0)?;
                writer.write_all(&self.bytes)?;
            }
        }
        self.file.set_permissions(self.permissions.clone())?;
        self.file.set_times(self.times)?;
        let is_there = FileId::of(&self.path) == Some(FileId::from(&self.file.metadata()?));
        Ok(if is_there { Leads::There } else { Leads::Elsewhere })
    }

    /// Which file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::{Leads, Touched};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

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
            let mut touched = Touched::touch(&path).unwrap();
            assert_ne!(of(&path).2, before.2, "it was touched");
            change();
            assert_eq!(touched.restore().unwrap(), Leads::There);
            let (mode, inode, times) = of(&path);
            assert_eq!((mode, times), (before.0, before.2), "{number}");
            assert!(inode == before.1 || number == 3, "{number}: it is the same file");
            assert_eq!(fs::read(&path).unwrap(), b"one\r\n\xff", "{number}");
        }
    }

    #[test]
    fn whatever_has_got_the_name_of_the_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let changes: [&dyn Fn(&Path); 5] = [
            &|path| {
                fs::remove_file(path).unwrap();
                symlink("precious", path).unwrap();
            },
            &|path| fs::rename(at("new"), path).unwrap(),
            &|path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            &|path| {
                fs::rename(path, at("moved")).unwrap();
                fifo(path);
            },
            &|path| fs::rename(path, at("moved again")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (path, real) = (at(&format!("{number}.conf")), at(&format!("{number}.real")));
            fs::write(at("precious"), b"of somebody else").unwrap();
            fs::write(at("new"), b"new").unwrap();
            fs::write(&real, b"old").unwrap();
            fs::set_permissions(at("precious"), fs::Permissions::from_mode(0o600)).unwrap();
            let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            let before = modified(&real);
            if number == 0 {
                symlink(&real, &path).unwrap()
            } else {
                fs::rename(&real, &path).unwrap()
            }
            let mut touched = Touched::touch(&path).unwrap();
            change(&path);
            assert_eq!(touched.restore().unwrap(), Leads::Elsewhere, "{number}");
            assert_eq!(fs::read(at("precious")).unwrap(), b"of somebody else", "{number}");
            assert_eq!(fs::metadata(at("precious")).unwrap().mode() & 0o777, 0o600, "{number}");
            match number {
                0 => assert_eq!(modified(&real), before, "the file that was touched"),
                1 => assert_eq!(fs::read(&path).unwrap(), b"new"),
                3 => assert_eq!(modified(&at("moved")), before),
                4 => assert!(!path.exists()),
                _ => assert!(path.is_dir()),
            }
        }
        fifo(&at("fifo"));
        assert!(Touched::touch(&at("fifo")).is_err(), "and nobody waited");
    }
}
