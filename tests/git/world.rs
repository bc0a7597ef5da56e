//! A tree of repositories, and git's verdicts about the paths in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::ignore_files::{Environment, IgnoreFiles, Verdict};
use crate::lines;
use crate::random::Random;

/// A tree in a temporary directory, with its own home directory and system configuration.
pub struct World {
    /// Removes everything at the end.
    _directory: TempDir,
    top: PathBuf,
    variables: BTreeMap<&'static str, PathBuf>,
    roots: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    paths: BTreeSet<PathBuf>,
    /// Ignore files that are not in a directory of the tree.
    common: BTreeSet<PathBuf>,
}

/// Git's verdict about one path.
pub struct Answer {
    root: PathBuf,
    path: PathBuf,
    rule: Option<Ruled>,
}

struct Ruled {
    ignored: bool,
    file: PathBuf,
    line: usize,
    text: Vec<u8>,
}

impl Answer {
    /// Whether a rule matches.
    pub fn is_some(&self) -> bool {
        self.rule.is_some()
    }

    /// Whether our verdict is the same, from the same line of the same file.
    pub fn agrees(&self, ours: Option<&Verdict>) -> bool {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match (&self.rule, ours) {
            (None, None) => true,
            (Some(git), Some(ours)) => {
                git.ignored == ours.ignored && git.line == ours.line && real(&git.file) == real(&ours.file)
            }
            _ => false,
        }
    }
}

impl World {
    /// Creates a random world.
    pub fn new(random: &mut Random) -> World {
        let directory = tempfile::Builder::new().prefix("reloadrun-git-").tempdir().expect("a temporary directory");
        let base = fs::canonicalize(directory.path()).expect("it was just made");
        let top = base.join("home/top");
        fs::create_dir_all(&top).expect("a fresh directory takes another");
        let mut variables = BTreeMap::from([("HOME", base.join("home")), ("GIT_CONFIG_SYSTEM", base.join("system"))]);
        if random.chance(50) {
            variables.insert("XDG_CONFIG_HOME", base.join("xdg"));
        }
        if random.chance(20) {
            variables.insert("GIT_CONFIG_GLOBAL", base.join("global"));
        }
        if random.chance(20) {
            variables.insert("GIT_CONFIG_NOSYSTEM", random.pick(&["1", "0", "true"]).into());
        }
        let mut world = World {
            _directory: directory,
            top: top.clone(),
            variables,
            roots: BTreeSet::new(),
            directories: BTreeSet::from([top.clone()]),
            paths: BTreeSet::new(),
            common: BTreeSet::new(),
        };
        world.git(&top, &["init", "-q"]);
        world.begin(&top);
        world.grow(random, 0, &top);
        for _ in 0..random.below(4) {
            world.nest(random);
        }
        world.write_ignore_files(random);
        world.write_configuration(random);
        world
    }

    /// Our ignore files for this world.
    pub fn ignore_files(&self) -> IgnoreFiles {
        let variables: Vec<(&str, &Path)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_path())).collect();
        IgnoreFiles::with_environment(vec![self.top.clone()], Environment::of(&variables))
    }

    fn git(&self, place: &Path, arguments: &[&str]) {
        let output = self.command(place).args(arguments).output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, place: &Path) -> Command {
        let mut command = Command::new("git");
        let names = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LC_ALL", "C").envs(names.map(|name| (name, "nobody")));
        command.current_dir(place).envs(&self.variables).stdin(Stdio::null());
        command
    }

    /// Creates a repository here.
    fn begin(&mut self, root: &Path) {
        self.roots.insert(root.to_owned());
        let output = self.command(root).args(["rev-parse", "--git-path", "info/exclude"]).output();
        let mut text = output.expect("git is installed").stdout;
        text.pop();
        self.common.insert(root.join(OsString::from_vec(text)));
    }

    /// Fills a directory.
    fn grow(&mut self, random: &mut Random, depth: usize, directory: &Path) {
        for _ in 0..3 + random.below(6) {
            let path = directory.join(OsStr::from_bytes(&lines::name(random)));
            if path.symlink_metadata().is_ok() {
                continue;
            }
            self.paths.insert(path.clone());
            match random.below(10) {
                0..4 if depth < 4 => {
                    fs::create_dir(&path).expect("it is not there");
                    self.directories.insert(path.clone());
                    self.grow(random, depth + 1, &path);
                }
                4 => std::os::unix::fs::symlink(random.pick(&["a", "..", "nothing"]), &path).expect("it is not there"),
                // This path is compared but does not exist.
                5 => {}
                _ => drop(fs::File::create(&path).expect("it is not there")),
            }
        }
    }

    /// Creates another repository in the tree: an independent one, a submodule, or a linked worktree.
    fn nest(&mut self, random: &mut Random) {
        let directories: Vec<PathBuf> = self.directories.iter().cloned().collect();
        let within = random.pick(&directories).clone();
        let name = *random.pick(&["sub", "nested", "vendor"]);
        let root = within.join(name);
        if self.paths.contains(&root) {
            return;
        }
        let shown = root.to_str().map(str::to_owned);
        match (random.below(3), shown) {
            (0, Some(shown)) => {
                let repository = self.root_of(&within);
                self.git(&repository, &["commit", "-q", "--allow-empty", "-m", "first"]);
                self.git(&repository, &["worktree", "add", "-q", "--detach", &shown]);
            }
            (1, _) => {
                fs::create_dir(&root).expect("it is not there");
                let modules = self.top.join(".git/modules").join(self.roots.len().to_string());
                fs::create_dir_all(&modules).expect("the test owns it");
                let modules = modules.to_str().expect("its name is plain");
                self.git(&root, &["init", "-q", "--separate-git-dir", modules]);
                if random.chance(70) {
                    // Like `git submodule add`.
                    let up = "../".repeat(root.strip_prefix(&self.top).expect("it is below").components().count());
                    let relative = modules.replace(self.top.to_str().expect("its name is plain"), "");
                    fs::write(root.join(".git"), format!("gitdir: {up}{}\n", &relative[1..]))
                        .expect("the test owns it");
                }
            }
            _ => {
                fs::create_dir(&root).expect("it is not there");
                self.git(&root, &["init", "-q"]);
            }
        }
        self.paths.insert(root.clone());
        self.directories.insert(root.clone());
        self.begin(&root);
        self.grow(random, 2, &root);
    }

    /// The nearest repository that contains a directory.
    fn root_of(&self, directory: &Path) -> PathBuf {
        let found = directory.ancestors().find(|ancestor| self.roots.contains(*ancestor));
        found.expect("the top is a repository").to_owned()
    }

    /// The paths in a directory, relative to it.
    fn below(&self, directory: &Path) -> Vec<Vec<u8>> {
        let relative = self.paths.iter().filter_map(|path| path.strip_prefix(directory).ok());
        relative.map(|path| path.as_os_str().as_bytes().to_vec()).collect()
    }

    /// An ignore file for whole repositories.
    fn common_file(&self, random: &mut Random) -> Vec<u8> {
        let roots: Vec<&PathBuf> = self.roots.iter().collect();
        let paths = self.below(random.pick::<&PathBuf>(&roots));
        lines::ignore_file(random, &paths)
    }

    fn write_ignore_files(&mut self, random: &mut Random) {
        for directory in &self.directories {
            if random.chance(40) {
                write(&directory.join(".gitignore"), lines::ignore_file(random, &self.below(directory)));
            }
        }
        for path in &self.common {
            if random.chance(60) {
                write(path, self.common_file(random));
            }
        }
        let home = &self.variables["HOME"];
        let user = self.variables.get("XDG_CONFIG_HOME").cloned().unwrap_or_else(|| home.join(".config"));
        let others = [user.join("git/ignore"), home.join("my excludes"), home.join(".gitignore_global")];
        for path in others {
            if random.chance(70) {
                write(&path, self.common_file(random));
            }
            self.common.insert(path);
        }
    }

    /// Sets `core.excludesFile` in a random place.
    fn write_configuration(&mut self, random: &mut Random) {
        let (home, base) = (self.variables["HOME"].clone(), self.top.parent().and_then(Path::parent).expect("above"));
        let user = self.variables.get("XDG_CONFIG_HOME").cloned().unwrap_or_else(|| home.join(".config"));
        let mut places =
            vec![base.join("system"), base.join("global"), user.join("git/config"), home.join(".gitconfig")];
        places.extend(self.roots.iter().filter(|root| root.join(".git").is_dir()).map(|root| root.join(".git/config")));
        for place in places {
            if random.chance(35) {
                let mut text = fs::read(&place).unwrap_or_default();
                if random.chance(40) {
                    text.extend(b"[core]\nignoreCase = true\n");
                }
                text.extend(self.setting(random, place.parent().expect("it has one"), true).bytes());
                write(&place, text);
            }
        }
    }

    fn setting(&self, random: &mut Random, beside: &Path, may_include: bool) -> String {
        let home = self.variables["HOME"].to_str().expect("its name is plain");
        match random.below(if may_include { 10 } else { 7 }) {
            0 => "[core]\n\texcludesFile = ~/.gitignore_global\n".into(),
            1 => "[CORE] EXCLUDESfile=\"~/my excludes\" ; a comment\n".into(),
            2 => format!("[core]\r\n\texcludesfile = {home}/my \\\nexcludes   # one\r\n"),
            3 => "[core]\n\texcludesFile = ~/nothing\n[user]\n\tname = \"a [core] \\\" b\"\n".into(),
            4 => "[core \"x\"]\n\texcludesFile = ~/.gitignore_global\n[core]\n\tignoreCase\n".into(),
            5 => format!("[core]\n\tignorecase = {}\n", random.pick(&["true", "false", "yes", "0", "1", "on"])),
            6 => "[core]\n\texcludesFile = a/.gitignore\n".into(),
            number => {
                let included = beside.join("included");
                fs::create_dir_all(beside).expect("the test owns it");
                fs::write(&included, self.setting(random, beside, false)).expect("the test owns it");
                let conditions =
                    ["~/", "top/", "~/top/.git", "**/sub/.git", "/nowhere/", "**/modules/**", "worktrees/"];
                match number {
                    7 => "[include]\n\tpath = included\n".into(),
                    8 => format!("[includeIf \"gitdir:{}\"]\n\tpath = included\n", random.pick(&conditions)),
                    _ => {
                        // A path is quoted like any other value: `#` and `;` need quotes, and quoted text needs
                        // backslashes.
                        let path = included.to_str().unwrap_or("included").replace('\\', "\\\\").replace('"', "\\\"");
                        let meant = random.pick(&["TOP/", "~/"]);
                        format!("[includeIf \"gitdir/i:{meant}\"]\n\tpath = \"{path}\"\n")
                    }
                }
            }
        }
    }

    /// Changes some ignore files and refreshes ours.
    pub fn edit(&mut self, random: &mut Random, files: &IgnoreFiles) {
        for directory in &self.directories {
            if random.chance(15) {
                let path = directory.join(".gitignore");
                if random.chance(25) {
                    let _ = fs::remove_file(&path);
                } else {
                    write(&path, lines::ignore_file(random, &self.below(directory)));
                }
                files.refresh(&path);
            }
        }
        for path in &self.common {
            if random.chance(15) {
                // With another length than before, so that the stamp shows the change.
                let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
                let mut text = self.common_file(random);
                while text.len() as u64 == length {
                    text.push(b'\n');
                }
                write(path, text);
            }
        }
        files.look_around();
    }

    /// Git's verdicts about all paths.
    pub fn answers(&self, random: &mut Random) -> Vec<Answer> {
        let mut paths = self.paths.clone();
        let directories: Vec<&PathBuf> = self.directories.iter().collect();
        for _ in 0..20 {
            let mut path = random.pick(&directories).join(OsStr::from_bytes(&lines::name(random)));
            if random.chance(30) {
                path.push(OsStr::from_bytes(&lines::name(random)));
            }
            // Git refuses paths beyond a symlink.
            if !path.parent().is_some_and(Path::is_symlink) {
                paths.insert(path);
            }
        }
        self.roots.iter().flat_map(|root| self.of_root(root, &paths)).collect()
    }

    fn of_root(&self, root: &Path, paths: &BTreeSet<PathBuf>) -> Vec<Answer> {
        let own: Vec<&PathBuf> =
            paths.iter().filter(|path| path.parent().is_some_and(|parent| self.root_of(parent) == root)).collect();
        let relative = |path: &PathBuf| path.strip_prefix(root).expect("it is below").as_os_str().as_bytes().to_vec();
        let mut input = Vec::new();
        for path in &own {
            input.extend(relative(path));
            input.push(0);
        }
        let output = self.ask(root, input);
        let fields: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        let configuration = || fs::read_to_string(root.join(".git/config")).unwrap_or_default();
        let complete = fields.len() == own.len() * 4 + 1;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(complete, "git in {}: {said}\n{}", root.display(), configuration());
        let answer = |(path, fields): (&&PathBuf, &[&[u8]])| {
            assert_eq!(fields[3], relative(path));
            let line = std::str::from_utf8(fields[1]).ok().and_then(|line| line.parse().ok());
            let rule = line.map(|line| Ruled {
                ignored: !fields[2].starts_with(b"!"),
                file: root.join(OsStr::from_bytes(fields[0])),
                line,
                text: fields[2].to_vec(),
            });
            Answer { root: root.to_owned(), path: (*path).clone(), rule }
        };
        own.iter().zip(fields.chunks(4)).map(answer).collect()
    }

    fn ask(&self, root: &Path, input: Vec<u8>) -> Output {
        let arguments = ["check-ignore", "--no-index", "--verbose", "--non-matching", "-z", "--stdin"];
        let mut command = self.command(root);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("git is installed");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::thread::scope(|scope| {
            // Git writes answers while it reads, so the input needs its own thread.
            scope.spawn(move || stdin.write_all(&input));
            child.wait_with_output().expect("it ends when it has read everything")
        })
    }

    /// Our verdict: everything in an ignored directory is ignored.
    pub fn verdict(&self, files: &IgnoreFiles, about: &Answer) -> Option<Verdict> {
        let below = about.path.strip_prefix(&about.root).expect("it is below");
        let mut path = about.root.clone();
        let mut last = None;
        for part in below {
            path.push(part);
            let is_last = path == about.path;
            last = files.verdict(&path, !is_last || path.is_dir() && !path.is_symlink());
            if last.as_ref().is_some_and(|verdict| verdict.ignored) {
                break;
            }
        }
        last
    }

    /// A description of a difference.
    pub fn account(&self, git: &Answer, ours: Option<&Verdict>) -> String {
        let rule = |rule: &Ruled| {
            format!("{}:{}: {}", rule.file.display(), rule.line, String::from_utf8_lossy(&rule.text).escape_debug())
        };
        let ours = ours.map(|ours| format!("{}:{}: {}", ours.file.display(), ours.line, ours.text.escape_debug()));
        let kind = if git.path.is_dir() { "directory" } else { "file" };
        format!(
            "the {kind} {:?}\n  in the repository {:?} {:?}\n  git:  {}\n  ours: {}",
            git.path.strip_prefix(&git.root).unwrap_or(&git.path),
            git.root,
            self.variables.keys().collect::<Vec<_>>(),
            git.rule.as_ref().map_or("no rule".into(), rule),
            ours.unwrap_or_else(|| "no rule".into())
        )
    }
}

fn write(path: &Path, content: Vec<u8>) {
    fs::create_dir_all(path.parent().expect("it has one")).expect("its directory can be made");
    fs::write(path, content).expect("the test owns it");
}
