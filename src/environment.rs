//! The environment variables of reloadrun: read once, when it starts, and handed down from there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The environment. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Arc<Vec<(OsString, OsString)>>,
    home: Option<PathBuf>,
}

impl Environment {
    /// That of this process, with the home directory of its user.
    pub fn of_process(home: Option<PathBuf>) -> Environment {
        let home = home.filter(|home| home.is_absolute());
        Environment { variables: Arc::new(std::env::vars_os().collect()), home }
    }

    /// All variables.
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// The value of a variable that is set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// The same, where it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }

    /// The same with this variable set, or without it.
    pub fn with(&self, name: &str, value: Option<OsString>) -> Environment {
        let others = self.variables.iter().filter(|(known, _)| known != name).cloned();
        let own = value.map(|value| (OsString::from(name), value));
        Environment { variables: Arc::new(others.chain(own).collect()), home: self.home.clone() }
    }

    /// The user's home, which a leading `~` stands for.
    pub fn home(&self) -> Option<&PathBuf> {
        self.home.as_ref()
    }

    /// The path with a leading `~` replaced by that, as a shell does.
    pub fn expanded(&self, path: &OsStr) -> PathBuf {
        match (Path::new(path).strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }

    /// Where files go that belong to the user and last until logout.
    pub fn runtime_directory(&self) -> Option<PathBuf> {
        self.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Where temporary files go. An empty or relative `TMPDIR` would be a place in the directory that is watched.
    pub fn temporary_directory(&self) -> PathBuf {
        let named = self.get("TMPDIR").map(PathBuf::from);
        named.filter(|path| path.is_absolute()).unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    /// Whether it says that this is continuous integration.
    pub fn is_ci(&self) -> bool {
        !matches!(self.text("CI").unwrap_or_default(), "" | "0" | "false")
    }

    /// Whether the terminal understands no control sequences.
    pub fn has_dumb_terminal(&self) -> bool {
        self.get("TERM").is_some_and(|name| name == "dumb")
    }

    /// Whether the user wants no colour: see <https://no-color.org>.
    pub fn refuses_color(&self) -> bool {
        self.get("NO_COLOR").is_some_and(|value| !value.is_empty()) || self.has_dumb_terminal()
    }
}

#[cfg(test)]
pub mod tests {
    use super::Environment;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// An environment of these variables alone.
    pub fn environment(variables: &[(&str, &str)]) -> Environment {
        let home = variables.iter().find(|(name, _)| *name == "HOME").map(|(_, value)| PathBuf::from(value));
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment { variables: Arc::new(variables), home }
    }

    #[test]
    fn each_variable_means_what_its_convention_says() {
        for (variables, color, ci) in [
            (&[][..], true, false),
            (&[("NO_COLOR", "1"), ("CI", "true")], false, true),
            (&[("NO_COLOR", ""), ("CI", "")], true, false),
            (&[("TERM", "dumb"), ("CI", "0")], false, false),
            (&[("TERM", "xterm"), ("CI", "false")], true, false),
        ] {
            let environment = environment(variables);
            assert_eq!((!environment.refuses_color(), environment.is_ci()), (color, ci), "{variables:?}");
        }
        let places = |runtime, temporary| {
            let environment = environment(&[("XDG_RUNTIME_DIR", runtime), ("TMPDIR", temporary)]);
            (environment.runtime_directory(), environment.temporary_directory())
        };
        assert_eq!(places("/run/user/7", "/t"), (Some("/run/user/7".into()), "/t".into()));
        for none in ["", "t", "./t"] {
            assert_eq!(places(none, none), (None, "/tmp".into()), "{none:?} is no place for them");
        }
        assert_eq!(environment(&[]).temporary_directory(), PathBuf::from("/tmp"));
    }
}
