//! Who asks: the directory, the environment and the standing of the process that reads its words.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::paths::{canonical, existing_directory};
use crate::environment::Environment;
use crate::os::process::{is_init, own_pid};
use crate::os::user::home;
use crate::pattern::normalized;

/// What is known of the process that started reloadrun, besides the arguments.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The directory reloadrun was started in.
    pub current: PathBuf,
    /// The environment variables.
    pub environment: Environment,
    /// Whether reloadrun is the init process of a container (PID 1), or the process that a systemd unit consists of: then its
    /// end is the command's, and whoever started it decides what follows.
    pub is_init: bool,
}

impl Caller {
    /// Reads the working directory and the environment of this process.
    ///
    /// # Errors
    /// The current directory no longer exists.
    pub fn of_process() -> Result<Caller, Vec<String>> {
        let current = std::env::current_dir()
            .map_err(|_| vec!["the current directory no longer exists; change to another one".to_owned()])?;
        let environment = Environment::of_process(home());
        // systemd tells the process of ExecStart= its own pid; those below it inherit the variable.
        let is_unit = environment.text("SYSTEMD_EXEC_PID") == Some(own_pid().to_string().as_str());
        Ok(Caller { current, environment, is_init: is_init() || is_unit })
    }

    /// The shell's name for that directory (`PWD`, if it is absolute and normal): it keeps the symlinks in the path.
    pub fn named(&self) -> Option<&Path> {
        let named = self.environment.get("PWD").map(Path::new);
        named.filter(|named| named.is_absolute() && normalized(named) == *named)
    }

    /// The start directory: the current one, or the one that `-C` names, as after `cd`. Relative paths begin there.
    ///
    /// # Errors
    /// The directory does not exist or cannot be read.
    pub fn directory(&self, args: &Args) -> Result<PathBuf, Vec<String>> {
        let Some(given) = &args.directory else { return Ok(canonical(&self.current)) };
        let path = self.current.join(self.expanded(given));
        existing_directory(&path, given, "--directory").map_err(|mistake| vec![mistake])
    }

    /// The path with a leading `~` replaced by the home directory, as a shell does.
    pub fn expanded(&self, path: &OsStr) -> PathBuf {
        self.environment.expanded(path)
    }
}
