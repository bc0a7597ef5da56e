//! Where a file must lie so that a command that reads it depends on it: not in what the system or a toolchain installed.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::environment::Environment;

/// What no command depends on: these are no files of a disk, or they live as long as the machine runs.
const NO_FILES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Where disks are mounted for a user.
const DISKS: &str = "/run/media";

/// What the system installed. It changes by an update, which restarts nothing.
const SYSTEM: [&str; 15] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/bin",
    "/sbin",
    "/etc",
    "/var/lib",
    "/nix/store",
    "/snap",
    "/home/linuxbrew",
    "/usr/local/cargo",
    "/usr/local/go",
    "/usr/local/rustup",
];

/// What people put there themselves, in spite of [`SYSTEM`].
const OWN: [&str; 2] = ["/usr/local", "/usr/src"];

/// Where packages of the command lie, which may be edited in place, in spite of all else.
const PACKAGES: [&str; 2] = ["site-packages", "node_modules"];

/// Below a home: what a toolchain installed or cached.
const TOOLCHAINS: [&str; 29] = [
    ".cargo",
    ".rustup",
    ".pyenv",
    ".rbenv",
    ".nvm",
    ".nodenv",
    ".volta",
    ".asdf",
    ".sdkman",
    ".gradle",
    ".m2",
    ".ivy2",
    ".cache",
    ".npm",
    ".yarn",
    ".pnpm-store",
    ".bun",
    ".deno",
    ".conda",
    ".nuget",
    "go/pkg",
    ".local/share/uv",
    ".local/share/mise",
    ".local/share/pnpm",
    "anaconda3",
    "mambaforge",
    "micromamba",
    "miniconda3",
    "miniforge3",
];

/// Variables that say where a toolchain lives or caches instead, and which directory there.
const TOOLCHAIN_VARIABLES: [(&str, &str); 19] = [
    ("ASDF_DATA_DIR", ""),
    ("BUN_INSTALL", ""),
    ("CARGO_HOME", ""),
    ("CONDA_PREFIX", ""),
    ("DENO_DIR", ""),
    ("GOMODCACHE", ""),
    ("GOPATH", "pkg"),
    ("GOROOT", ""),
    ("GRADLE_USER_HOME", ""),
    ("NVM_DIR", ""),
    ("PIP_CACHE_DIR", ""),
    ("PYENV_ROOT", ""),
    ("RBENV_ROOT", ""),
    ("RUSTUP_HOME", ""),
    ("SDKMAN_DIR", ""),
    ("UV_CACHE_DIR", ""),
    ("VOLTA_HOME", ""),
    ("XDG_CACHE_HOME", ""),
    ("npm_config_cache", ""),
];

/// In directories of these names a file that is absent is no news when it appears: an installation or a build makes it.
const NOT_MISSED: [&str; 9] =
    ["node_modules", "site-packages", "dist-packages", "__pycache__", "target", ".venv", "venv", ".git", ".tox"];

/// Directories that many share, and where files come and go.
const SHARED: [&str; 5] = ["/", "/tmp", "/var/tmp", "/home", "/mnt"];

/// Directories of programs.
const PROGRAMS: [&str; 2] = ["bin", "sbin"];

/// Which places count for a command.
#[derive(Debug, Clone)]
pub struct Places {
    directory: PathBuf,
    installed: Vec<PathBuf>,
    /// Those that the user names, in spite of [`SYSTEM`].
    roots: Vec<PathBuf>,
}

impl Places {
    /// For a command that runs in this directory, of a user with this home, who names these roots.
    pub fn new(directory: &Path, home: Option<&Path>, roots: &[PathBuf]) -> Places {
        let toolchains = home.into_iter().flat_map(|home| TOOLCHAINS.iter().map(|name| home.join(name)));
        let installed = SYSTEM.iter().map(PathBuf::from).chain(toolchains).collect();
        Places { directory: directory.to_owned(), installed, roots: roots.to_vec() }
    }

    /// The toolchains of this environment as well.
    pub fn of(mut self, environment: &Environment) -> Places {
        let named = TOOLCHAIN_VARIABLES.iter().filter_map(|(variable, below)| {
            let place = Path::new(environment.get(variable)?).join(below);
            // Of everything below the root, nothing could be told apart.
            (place.is_absolute() && place.parent().is_some()).then_some(place)
        });
        self.installed.extend(named);
        self
    }

    /// Whether there are files at all at this path. A project may lie in memory, or on a disk that is mounted below `/run`.
    pub fn has_files(&self, path: &Path) -> bool {
        let Some(place) = NO_FILES.iter().find(|place| path.starts_with(place)) else { return true };
        let mut own =
            [self.directory.as_path(), Path::new(DISKS)].into_iter().chain(self.roots.iter().map(PathBuf::as_path));
        own.any(|own| own.starts_with(place) && path.starts_with(own))
    }

    /// Whether a file at this path counts. Of the directory and the places of the system, the nearer to the file decides.
    pub fn counts(&self, path: &Path) -> bool {
        let within = |place: &Path| path.starts_with(place);
        let installed = self.installed.iter().filter(|place| within(place)).map(|place| depth(place)).max();
        let own =
            OWN.iter().map(Path::new).chain([self.directory.as_path()]).chain(self.roots.iter().map(PathBuf::as_path));
        let own = own.filter(|place| within(place)).map(depth).max();
        installed <= own && (installed.is_none() || own.is_some()) || Places::is_package(path)
    }

    /// Whether a path lies outside of the directory of the command.
    pub fn is_elsewhere(&self, path: &Path) -> bool {
        !path.starts_with(&self.directory)
    }

    /// Whether this is the directory of the command, or one above it.
    pub fn is_directory_or_above(&self, path: &Path) -> bool {
        self.directory.starts_with(path)
    }

    /// Whether a path lies in an installed package, which may be edited in place.
    pub fn is_package(path: &Path) -> bool {
        has_part(path.components(), &PACKAGES)
    }

    /// Whether many share this directory, so that files come and go in it that concern nobody here.
    pub fn is_shared(directory: &Path) -> bool {
        SHARED.iter().any(|shared| directory == Path::new(shared))
    }

    /// Whether it means something that a file at this path appears. Programs look for their configuration in each directory up
    /// to the root, and for other programs in each one of PATH.
    pub fn can_be_missed(&self, path: &Path) -> bool {
        let directory = path.parent().unwrap_or(path);
        let is_shared = Places::is_shared(directory)
            || directory.file_name().is_some_and(|name| PROGRAMS.iter().any(|programs| name == *programs));
        // The directory itself may lie in one of these.
        let common = path.components().zip(self.directory.components()).take_while(|(one, other)| one == other).count();
        !has_part(path.components().skip(common), &NOT_MISSED) && (!is_shared || path.starts_with(&self.directory))
    }
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

fn has_part<'a>(mut parts: impl Iterator<Item = Component<'a>>, names: &[&str]) -> bool {
    parts.any(|part| names.iter().any(|name| part.as_os_str() == OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_or_a_toolchain_installed_does_not_count() {
        let counted = |directory: &str, path: &str| {
            Places::new(Path::new(directory), Some(Path::new("/home/me")), &[PathBuf::from("/etc/mine")])
                .counts(Path::new(path))
        };
        for (directory, path, expected) in [
            ("/home/me/app", "/home/me/app/main.py", true),
            ("/home/me/app", "/home/me/lib/util.py", true),
            ("/home/me/app", "/srv/shared/templates/page.html", true),
            ("/home/me/app", "/tmp/state.json", true),
            ("/home/me/app", "/usr/lib/python3/os.py", false),
            ("/home/me/app", "/usr/lib/python3/dist-packages/flask/app.py", false),
            ("/home/me/app", "/usr/lib/python3/site-packages/flask/app.py", true),
            ("/home/me/app", "/usr/local/lib/python3.11/os.py", true),
            ("/home/me/app", "/usr/src/app/index.js", true),
            ("/home/me/app", "/usr/lib/node_modules/npm/index.js", true),
            ("/home/me/app", "/opt/app/app.toml", true),
            ("/home/me/app", "/lib64/ld-linux-x86-64.so.2", false),
            ("/home/me/app", "/library/book", true),
            ("/home/me/app", "/etc/app/app.toml", false),
            ("/home/me/app", "/etc/mine/app.toml", true),
            ("/home/me/app", "/var/lib/app/data", false),
            ("/home/me/app", "/var/www/page.html", true),
            ("/home/me/app", "/nix/store/x/lib/libc.so", false),
            ("/home/me/app", "/home/me/.cargo/registry/src/x/lib.rs", false),
            ("/home/me/app", "/home/me/.pyenv/versions/3.11/lib/python3.11/os.py", false),
            ("/home/me/app", "/home/me/.pyenv/versions/3.11/lib/python3.11/site-packages/x.py", true),
            ("/home/me/app", "/home/you/.cargo/x", true),
            ("/home/me/app", "/usr/local/go/src/fmt/print.go", false),
            ("/home/me/app", "/home/me/miniconda3/lib/python3.11/os.py", false),
            ("/home/me/app", "/home/me/.venvs/app/lib/python3.11/site-packages/x.py", true),
            ("/home/me/app", "/home/me/editable/src/x.py", true),
            // Everything below the directory, wherever that is; and in it, the system stays what it is.
            ("/etc/app", "/etc/app/app.toml", true),
            ("/etc/app", "/etc/passwd", false),
            ("/usr/lib/app", "/usr/lib/app/x", true),
            ("/home/me/.cache/work", "/home/me/.cache/work/x", true),
            ("/home/me", "/home/me/.cargo/registry/x", false),
            ("/home/me", "/home/me/main.py", true),
            ("/", "/usr/lib/x", false),
            ("/", "/app/main.py", true),
            ("/usr", "/usr/x", true),
        ] {
            assert_eq!(counted(directory, path), expected, "{path} from {directory}");
        }
    }

    #[test]
    fn memory_and_devices_have_files_only_where_the_directory_or_a_root_lies_there() {
        for (directory, path, expected) in [
            ("/home/me/app", "/proc/1/stat", false),
            ("/home/me/app", "/dev/null", false),
            ("/home/me/app", "/runner/x", true),
            ("/home/me/app", "/dev/shm/psm_1", false),
            ("/home/me/app", "/run/app.pid", false),
            ("/home/me/app", "/run/media/me/disk/lib.py", true),
            ("/home/me/app", "/run/mine/x", true),
            ("/home/me/app", "/home/me/x", true),
            ("/dev/shm/app", "/dev/shm/app/main.py", true),
            ("/dev/shm/app", "/dev/shm/psm_1", false),
            ("/run/user/1000/app", "/run/user/1000/app/main.py", true),
            ("/run/user/1000/app", "/run/user/1000/bus", false),
            ("/run/media/me/disk/app", "/run/media/me/disk/lib/x.py", true),
            ("/", "/proc/1/stat", false),
            ("/", "/dev/null", false),
        ] {
            let places = Places::new(Path::new(directory), None, &[PathBuf::from("/run/mine")]);
            assert_eq!(places.has_files(Path::new(path)), expected, "{path} from {directory}");
        }
    }

    #[test]
    fn the_names_above_the_directory_say_nothing_about_what_is_missed_in_it() {
        for name in NOT_MISSED {
            let places = Places::new(&Path::new("/data").join(name).join("app"), None, &[]);
            for (path, expected) in
                [("app/local.toml", true), ("x.toml", true), ("app/node_modules/x.js", false), ("app/target/x", false)]
            {
                let path = Path::new("/data").join(name).join(path);
                assert_eq!(places.can_be_missed(&path), expected, "{}", path.display());
            }
            let elsewhere = Path::new("/srv").join(name).join("x");
            assert!(!places.can_be_missed(&elsewhere), "{}", elsewhere.display());
        }
    }

    #[test]
    fn a_toolchain_may_live_where_a_variable_says() {
        let variables = [("CARGO_HOME", "/data/cargo"), ("GOPATH", "/go"), ("GOROOT", "relative"), ("NVM_DIR", "/")];
        let environment = variables
            .iter()
            .fold(Environment::default(), |environment, (name, value)| environment.with(name, Some(value.into())));
        let places = Places::new(Path::new("/go/src/app"), None, &[]).of(&environment);
        for (path, expected) in [
            ("/data/cargo/registry/x.rs", false),
            ("/data/other", true),
            ("/go/pkg/mod/x.go", false),
            ("/go/src/lib/x.go", true),
            ("/go/src/app/main.go", true),
        ] {
            assert_eq!(places.counts(Path::new(path)), expected, "{path}");
        }
    }
}
