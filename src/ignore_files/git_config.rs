//! Reads the two settings of git that affect ignore rules: `core.excludesFile` and `core.ignoreCase` (git-config(1)).
//!
//! A small reader of git's configuration files, with `include.path` and `includeIf "gitdir:..."`. Not supported: the
//! conditions `onbranch:` and `hasconfig:`, and `~name/` for the home directory of another user.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::glob;

/// The depth of nested includes, the same as in git.
const MOST_INCLUDES: usize = 10;

/// The largest configuration file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// The environment variables that git uses for its configuration.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// The variables that concern git.
    #[allow(dead_code, reason = "tests/git, which compiles this room alone, names them all")]
    pub fn among(variables: &[(OsString, OsString)]) -> Environment {
        let concerns_git =
            |name: &OsStr| name == "HOME" || name == "XDG_CONFIG_HOME" || name.as_bytes().starts_with(b"GIT_");
        Environment(variables.iter().filter(|(name, _)| concerns_git(name)).cloned().collect())
    }

    /// Only these variables.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests, which cannot set variables of their own process"))]
    pub fn of(variables: &[(&str, &Path)]) -> Environment {
        Environment(variables.iter().map(|(name, value)| ((*name).into(), value.as_os_str().to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    /// `$XDG_CONFIG_HOME/git/<name>`.
    fn of_user(&self, name: &str) -> Option<PathBuf> {
        let given = self.get("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(given.or_else(|| Some(self.home()?.join(".config")))?.join("git").join(name))
    }

    /// The configuration files that apply to every repository, the weakest first.
    fn files(&self) -> Vec<PathBuf> {
        let off = self.get("GIT_CONFIG_NOSYSTEM").is_some_and(|value| truth(Some(value.as_bytes())));
        let system = self.get("GIT_CONFIG_SYSTEM").unwrap_or(OsStr::new("/etc/gitconfig"));
        let mut files: Vec<PathBuf> = if off { Vec::new() } else { vec![system.into()] };
        match self.get("GIT_CONFIG_GLOBAL") {
            Some(global) => files.push(global.into()),
            None => {
                files.extend(self.of_user("config").into_iter().chain(self.home().map(|home| home.join(".gitconfig"))))
            }
        }
        files
    }

    /// `GIT_CONFIG_KEY_0` and `GIT_CONFIG_VALUE_0`, and so on.
    fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let count = self.get("GIT_CONFIG_COUNT").and_then(|count| count.to_str()?.parse::<usize>().ok()).unwrap_or(0);
        let bytes =
            |name: &str, index: usize| Some(self.get(&format!("GIT_CONFIG_{name}_{index}"))?.as_bytes().to_vec());
        (0..count.min(self.0.len())).filter_map(|index| Some((bytes("KEY", index)?, bytes("VALUE", index)?))).collect()
    }
}

/// The settings of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The ignore file for all repositories.
    pub excludes: Option<PathBuf>,
    /// Whether case is ignored.
    pub ignore_case: bool,
    /// All configuration files that were looked for, also those that do not exist.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration of a repository.
pub fn settings(environment: &Environment, root: &Path, own: &Path, common: &Path) -> Settings {
    let git_directory = fs::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    let mut reader = Reader {
        environment,
        root,
        git_directory,
        excludes: None,
        ignore_case: false,
        worktrees: false,
        files: Vec::new(),
    };
    for file in environment.files() {
        reader.read(&file, 0);
    }
    reader.read(&common.join("config"), 0);
    if reader.worktrees {
        reader.read(&own.join("config.worktree"), 0);
    }
    for (key, value) in environment.pairs() {
        reader.take(&key.to_ascii_lowercase(), Some(&value), None);
    }
    let excludes = reader.excludes.unwrap_or_else(|| environment.of_user("ignore"));
    Settings { excludes, ignore_case: reader.ignore_case, files: reader.files }
}

struct Reader<'a> {
    environment: &'a Environment,
    root: &'a Path,
    git_directory: PathBuf,
    /// The last value of `core.excludesFile`, if it was set; an empty value is `Some(None)`.
    excludes: Option<Option<PathBuf>>,
    ignore_case: bool,
    worktrees: bool,
    files: Vec<PathBuf>,
}

impl Reader<'_> {
    fn read(&mut self, file: &Path, depth: usize) {
        self.files.push(file.to_owned());
        if depth > MOST_INCLUDES
            || !fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MOST_BYTES)
        {
            return;
        }
        for (key, value) in entries(&fs::read(file).unwrap_or_default()) {
            if let Some(included) = self.take(&key, value.as_deref(), Some(file)) {
                self.read(&included, depth + 1);
            }
        }
    }

    /// Takes in a setting. Returns the file to include here, if it is an include.
    fn take(&mut self, key: &[u8], value: Option<&[u8]>, from: Option<&Path>) -> Option<PathBuf> {
        match key {
            b"core.excludesfile" => {
                self.excludes = Some(
                    value
                        .filter(|value| !value.is_empty())
                        .and_then(|value| self.path(value))
                        .map(|path| self.root.join(path)),
                );
            }
            b"core.ignorecase" => self.ignore_case = truth(value),
            b"extensions.worktreeconfig" => self.worktrees = truth(value),
            b"include.path" => return Some(from?.parent()?.join(self.path(value?)?)),
            _ => {
                let condition = key.strip_prefix(b"includeif.")?.strip_suffix(b".path")?;
                if self.holds(condition, from?) {
                    return Some(from?.parent()?.join(self.path(value?)?));
                }
            }
        }
        None
    }

    /// Whether the condition `gitdir:<glob>` matches this repository.
    fn holds(&self, condition: &[u8], from: &Path) -> bool {
        let (text, fold) = match (condition.strip_prefix(b"gitdir:"), condition.strip_prefix(b"gitdir/i:")) {
            (Some(text), _) => (text, false),
            (_, Some(text)) => (text, true),
            _ => return false,
        };
        let Some(path) = self.path(text) else { return false };
        let mut glob = path.into_os_string().into_vec();
        if let Some(rest) = glob.strip_prefix(b"./") {
            let Some(directory) = from.parent() else { return false };
            glob = [directory.as_os_str().as_bytes(), b"/", rest].concat();
        } else if !glob.starts_with(b"/") {
            glob.splice(0..0, *b"**/");
        }
        if glob.ends_with(b"/") {
            glob.extend(b"**");
        }
        glob::matches(&glob, self.git_directory.as_os_str().as_bytes(), fold)
    }

    /// A path in which `~/` is replaced by the home directory.
    fn path(&self, value: &[u8]) -> Option<PathBuf> {
        let Some(rest) = value.strip_prefix(b"~") else { return Some(OsStr::from_bytes(value).into()) };
        let rest = rest.strip_prefix(b"/").or(rest.is_empty().then_some(rest))?;
        let mut home = self.environment.home()?.into_os_string();
        home.push("/");
        home.push(OsStr::from_bytes(rest));
        Some(home.into())
    }
}

/// The value of a boolean setting. A key without a value is true.
fn truth(value: Option<&[u8]>) -> bool {
    let Some(value) = value.map(<[u8]>::to_ascii_lowercase) else { return true };
    let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
    matches!(&*value, b"true" | b"yes" | b"on") || number.is_some_and(|number| number != 0)
}

/// Every `section.subsection.key` of a file with its value, in order, up to the first syntax error. Sections and keys
/// are lower-cased.
fn entries(text: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // Git reads CRLF as LF everywhere.
    let mut bytes = Vec::with_capacity(text.len());
    for (index, byte) in text.iter().enumerate() {
        if *byte != b'\r' || text.get(index + 1) != Some(&b'\n') {
            bytes.push(*byte);
        }
    }
    let mut scanner = Scanner { text: &bytes, at: 0 };
    let (mut found, mut section) = (Vec::new(), Vec::new());
    loop {
        match scanner.next() {
            None => return found,
            Some(byte) if byte.is_ascii_whitespace() => {}
            Some(b'#' | b';') => scanner.skip_line(),
            Some(b'[') => match scanner.section() {
                Some(name) => section = name,
                None => return found,
            },
            Some(byte) if byte.is_ascii_alphabetic() => {
                let mut key = section.clone();
                key.extend([b'.', byte.to_ascii_lowercase()]);
                while let Some(byte) = scanner.peek().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
                    key.push(byte.to_ascii_lowercase());
                    scanner.at += 1;
                }
                while scanner.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                    scanner.at += 1;
                }
                match scanner.next() {
                    None | Some(b'\n') => found.push((key, None)),
                    Some(b'=') => match scanner.value() {
                        Some(value) => found.push((key, Some(value))),
                        None => return found,
                    },
                    Some(_) => return found,
                }
            }
            Some(_) => return found,
        }
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// `core]`, `includeIf "gitdir:~/work/"]`.
    fn section(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.next()? {
                b']' => return Some(name),
                b' ' | b'\t' => {}
                b'"' => {
                    name.push(b'.');
                    loop {
                        match self.next()? {
                            b'"' => break,
                            b'\n' => return None,
                            b'\\' => name.push(self.next()?),
                            byte => name.push(byte),
                        }
                    }
                }
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') => {
                    name.push(byte.to_ascii_lowercase())
                }
                _ => return None,
            }
        }
    }

    /// Takes the value after `=`, without quotes, comments and the blanks around it.
    fn value(&mut self) -> Option<Vec<u8>> {
        let (mut value, mut quoted) = (Vec::new(), false);
        // The length without trailing blanks.
        let mut kept = 0;
        loop {
            match self.next() {
                None | Some(b'\n') if quoted => return None,
                None | Some(b'\n') => break,
                Some(b'#' | b';') if !quoted => {
                    self.skip_line();
                    break;
                }
                Some(byte) if byte.is_ascii_whitespace() && !quoted => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                Some(b'"') => {
                    quoted = !quoted;
                    continue;
                }
                Some(b'\\') => match self.next()? {
                    b'\n' => continue,
                    b'n' => value.push(b'\n'),
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    byte @ (b'"' | b'\\') => value.push(byte),
                    _ => return None,
                },
                Some(byte) => value.push(byte),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn a_configuration_is_read_as_git_reads_it() {
        let text = b"\xef\xbb\xbf# c\r\n[core]\r\n\texcludesFile = ~/a b  ; c\r\n[Core] bare\n Key-2=\"x # \\\"y\\\" \" z\\\n w \n[includeIf \"gitdir:~/A/\"]path=p\n[a.B]\nc = \\t\\\\\n[x\n";
        let found = entries(text);
        let shown: Vec<String> = found
            .iter()
            .map(|(key, value)| {
                let value = value.as_deref().map_or("-".into(), String::from_utf8_lossy);
                format!("{}={value}", String::from_utf8_lossy(key))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "core.excludesfile=~/a b",
                "core.bare=-",
                "core.key-2=x # \"y\"  z w",
                "includeif.gitdir:~/A/.path=p",
                "a.b.c=\t\\",
            ]
        );
    }
}
