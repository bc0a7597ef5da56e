use super::file::MOST_BYTES;
use super::rules::{MOST_GLOBS, MOST_RULES};
use super::{Environment, Flaw, IgnoreFiles, RulesChanged};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory tree with a home directory beside it.
struct Tree {
    _directory: TempDir,
    root: PathBuf,
}

impl Tree {
    fn new() -> Tree {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Tree { _directory: directory, root }
    }

    fn with(files: &[(&str, &str)]) -> Tree {
        let tree = Tree::new();
        for (name, content) in files {
            tree.write(name, content);
        }
        tree
    }

    /// Writes a file; a name that ends with a slash is a directory.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        path
    }

    fn home(&self) -> PathBuf {
        self.root.with_file_name("home")
    }

    /// The ignore files with watching from `base`.
    fn files(&self, base: &str) -> IgnoreFiles {
        let environment = Environment::of(&[("HOME", &self.home()), ("GIT_CONFIG_NOSYSTEM", Path::new("1"))]);
        IgnoreFiles::with_environment(vec![self.root.join(base)], environment)
    }

    /// The deciding rule for a path as `FILE:LINE: RULE`; the `!` of a negative rule is kept.
    fn says(&self, base: &str, path: impl AsRef<OsStr>) -> Option<String> {
        self.of(&self.files(base), path)
    }

    fn of(&self, files: &IgnoreFiles, path: impl AsRef<OsStr>) -> Option<String> {
        let is_directory = path.as_ref().as_bytes().ends_with(b"/");
        let path: PathBuf = self.root.join(path.as_ref()).components().collect();
        let verdict = files.verdict(&path, is_directory)?;
        let file = verdict.file.strip_prefix(self.root.parent().unwrap()).unwrap();
        assert_eq!(verdict.ignored, !verdict.text.starts_with('!'));
        Some(format!("{}:{}: {}", file.strip_prefix("root").unwrap_or(file).display(), verdict.line, verdict.text))
    }
}

fn text(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[test]
fn every_line_has_the_same_meaning_as_in_git() {
    for (content, path, expected) in [
        (&b"*.py{}"[..], &b"a.py"[..], None),
        (b"*.py{}", b"a.py{}", Some(1)),
        (b"{a,b}.py", b"a.py", None),
        (b"caf\xe9/\nout.py\n", b"out.py", Some(2)),
        (b"caf\xe9/\nout.py\n", b"caf\xe9/", Some(1)),
        (b"caf\xe9\nout.py\n", b"caf\xc3\xa9", None),
        (b"?.txt", b"\xc3\xa9.txt", None),
        (b"??.txt", b"\xc3\xa9.txt", Some(1)),
        (b"[\xe0-\xef]", b"\xe9", Some(1)),
        (b"\xef\xbb\xbfa", b"a", Some(1)),
        (b"a\n\xef\xbb\xbfb", b"b", None),
        (b"a\r\nb\r\n", b"a", Some(1)),
        (b"a\r\nb\r", b"b", Some(2)),
        (b"a\r\r\n", b"a\r", Some(1)),
        (b"a  \n", b"a", Some(1)),
        (b"a\\ \n", b"a ", Some(1)),
        (b"a\\ \n", b"a", None),
        (b"a \\  \n", b"a  ", Some(1)),
        (b"a\t\n", b"a", None),
        (b"a\t\n", b"a\t", Some(1)),
        (b"a \t\n", b"a \t", Some(1)),
        (b" a\n", b" a", Some(1)),
        (b" a\n", b"a", None),
        (b"\t\n", b"\t", Some(1)),
        (b"   \n", b"   ", None),
        (b"a\0b\nc\n", b"a", Some(1)),
        (b"\n\n# c\na", b"a", Some(4)),
        (b"#a", b"#a", None),
        (b"\\#a", b"#a", Some(1)),
        (b"\\!a", b"!a", Some(1)),
        (b" #a", b" #a", Some(1)),
        (b"a\n!a", b"a", Some(2)),
        (b"!a\na", b"a", Some(2)),
        (b"!!a", b"!a", Some(1)),
        (b"a/", b"a", None),
        (b"a/", b"a/", Some(1)),
        (b"a/", b"x/a/", Some(1)),
        (b"/a", b"x/a", None),
        (b"/a", b"a", Some(1)),
        (b"x/a", b"y/x/a", None),
        (b"x/a", b"x/a", Some(1)),
        (b"**/x/a", b"y/x/a", Some(1)),
        (b"x/**", b"x/y/a", Some(1)),
        (b"x/**", b"x/", None),
        (b"x/**/a", b"x/a", Some(1)),
        (b"x*/a", b"x/y/a", None),
        (b"x**/a", b"x1/y/a", Some(1)),
        (b"x**/a", b"xa", Some(1)),
        (b"/*.py", b"x/a.py", None),
        (b"*.py", b"x/a.py", Some(1)),
        (b"a*.py", b"x/ab.py", Some(1)),
        (b"a\\", b"a\\", None),
        (b"a\\\\", b"a\\", Some(1)),
        (b"a\\*b", b"a*b", Some(1)),
        (b"[id].tsx", b"[id].tsx", None),
        (b"[id].tsx", b"i.tsx", Some(1)),
        (b"\\[id].tsx", b"[id].tsx", Some(1)),
        (b"/", b"a", None),
        (b"//a", b"a", None),
        (b"!", b"a", None),
        (b"A.py", b"a.py", None),
    ] {
        let tree = Tree::new();
        tree.write(".git/", "");
        tree.write(".gitignore", content);
        let line =
            tree.files("").verdict(&tree.root.join(text(path)).components().collect::<PathBuf>(), path.ends_with(b"/"));
        let shown = (String::from_utf8_lossy(content).into_owned(), String::from_utf8_lossy(path).into_owned());
        assert_eq!(line.map(|verdict| verdict.line), expected, "{shown:?}");
    }
}

#[test]
fn the_nearest_file_decides() {
    let tree = Tree::with(&[
        (".git/info/exclude", "a\nb\nc\nd\ne\n"),
        ("../home/.config/git/ignore", "a\nf\n"),
        (".gitignore", "b\nc\nd\n"),
        (".ignore", "!c\n"),
        ("x/.gitignore", "!d\n/g\n"),
        ("x/.ignore", "\n\n"),
    ]);
    for (path, expected) in [
        ("a", Some("/.git/info/exclude:1: a")),
        ("b", Some(".gitignore:1: b")),
        ("c", Some(".ignore:1: !c")),
        ("x/c", Some(".ignore:1: !c")),
        ("d", Some(".gitignore:3: d")),
        ("x/d", Some("x/.gitignore:1: !d")),
        ("x/y/d", Some("x/.gitignore:1: !d")),
        ("x/e", Some("/.git/info/exclude:5: e")),
        ("f", Some("home/.config/git/ignore:2: f")),
        ("x/g", Some("x/.gitignore:2: /g")),
        ("g", None),
    ] {
        let says = tree.says("", path);
        assert_eq!(says.as_deref(), expected.map(|expected| expected.trim_start_matches('/')), "{path}");
    }
    assert_eq!(tree.says("x/y", "x/y/b").as_deref(), Some(".gitignore:1: b"), "up to the root of the repository");
}

#[test]
fn rules_above_a_repository_do_not_apply_in_it() {
    let tree = Tree::with(&[
        (".git/info/exclude", "e\n"),
        (".gitignore", "*\n"),
        (".ignore", "*\n"),
        ("p/.git/HEAD", ""),
        ("m/.git", "gitdir: ../.git/modules/m\n"),
        (".git/modules/m/info/exclude", "of_module\n"),
        ("w/.git", "gitdir: ../.git/worktrees/w\n"),
        (".git/worktrees/w/commondir", "../..\n"),
        (".git/worktrees/w/info/exclude", "e2\n"),
        ("gone/.git", "gitdir: /nowhere\n"),
    ]);
    for (path, expected) in [
        ("a.py", Some(".ignore:1: *")),
        ("p/", Some(".ignore:1: *")),
        ("p/a.py", None),
        ("p/deep/a.py", None),
        ("m/a.py", None),
        ("m/of_module", Some("m/../.git/modules/m/info/exclude:1: of_module")),
        ("w/a.py", None),
        ("w/e", Some("w/../.git/worktrees/w/../../info/exclude:1: e")),
        ("w/e2", None),
        ("gone/a.py", None),
    ] {
        for base in ["", "p", "m", "w"] {
            assert_eq!(tree.says(base, path).as_deref(), expected, "{path} from {base:?}");
        }
    }
}

#[test]
fn git_is_at_work_in_the_repository_whose_index_is_locked_also_in_a_submodule_and_a_worktree() {
    let tree = Tree::with(&[
        (".git/HEAD", ""),
        ("x/a", ""),
        ("m/.git", "gitdir: ../.git/modules/m\n"),
        (".git/modules/m/HEAD", ""),
        ("w/.git", "gitdir: ../.git/worktrees/w\n"),
        (".git/worktrees/w/commondir", "../..\n"),
    ]);
    let first = tree.files("");
    ["x/a", "m/a", "w/a"].iter().for_each(|path| drop(tree.of(&first, path)));
    let next = tree.files("");
    next.resume(first.keep());
    for files in [&first, &next] {
        for (root, lock) in
            [("", ".git/index.lock"), ("m", ".git/modules/m/index.lock"), ("w", ".git/worktrees/w/index.lock")]
        {
            assert!(!files.git_is_writing(|_| true), "{root}");
            let lock = tree.write(lock, "");
            assert!(
                files.git_is_writing(|concerned| concerned == tree.root.join(root).components().as_path()),
                "{root}"
            );
            assert!(
                !files.git_is_writing(|concerned| concerned != tree.root.join(root).components().as_path()),
                "{root}"
            );
            fs::remove_file(lock).unwrap();
        }
    }
}

#[test]
fn outside_of_a_repository_ignore_files_apply_from_the_base_down() {
    let tree = Tree::with(&[
        (".gitignore", "above\n"),
        ("b/.gitignore", "a\n"),
        ("b/c/.ignore", "!a\n"),
        ("../home/.config/git/ignore", "e\n"),
    ]);
    for (path, expected) in
        [("b/a", Some("b/.gitignore:1: a")), ("b/c/a", Some("b/c/.ignore:1: !a")), ("b/above", None), ("b/e", None)]
    {
        assert_eq!(tree.says("b", path).as_deref(), expected, "{path}");
    }
    let files = tree.files("b");
    files.enter(&tree.root.join("b/c/d"), false);
    assert_eq!(tree.of(&files, "b/c/d/a").as_deref(), Some("b/c/.ignore:1: !a"), "as after a walk");
}

#[test]
fn the_git_configuration_sets_the_excludes_file_and_whether_case_is_ignored() {
    for (name, config, path, expected) in [
        ("../home/.gitconfig", "[core]\n\texcludesFile = ~/mine", "a", Some("home/mine:1: a")),
        ("../home/.config/git/config", "[core] excludesfile = \"~/mine\"", "a", Some("home/mine:1: a")),
        (".git/config", "[core]\nexcludesFile = ~/mine", "a", Some("home/mine:1: a")),
        (".git/config", "[core]\nexcludesFile = ../home/mine", "a", Some("../home/mine:1: a")),
        ("../home/.gitconfig", "[includeIf \"gitdir:root/\"]\npath = more", "a", Some("home/mine:1: a")),
        ("../home/.gitconfig", "[includeIf \"gitdir:~/\"]\npath = more", "a", None),
        ("../home/.gitconfig", "[include]\npath = ~/more", "a", Some("home/mine:1: a")),
        ("../home/.gitconfig", "[core]\n\texcludesFile =", "d", None),
        ("../home/.gitconfig", "", "d", Some("home/.config/git/ignore:1: d")),
        ("../home/.gitconfig", "[core]\n\texcludesFile = ~/mine", "d", None),
        (".git/config", "[core]\nignoreCase = true", "D", Some("home/.config/git/ignore:1: d")),
        (".git/config", "[core]\nignoreCase = false", "D", None),
    ] {
        let tree = Tree::with(&[
            (".git/HEAD", ""),
            ("../home/mine", "a\n"),
            ("../home/.config/git/ignore", "d\n"),
            ("../home/more", "[core]\nexcludesFile = ~/mine\n"),
            (name, config),
        ]);
        assert_eq!(tree.says("", path).as_deref(), expected, "{path} with {config:?} in {name}");
    }
}

#[test]
fn an_ignore_file_that_cannot_be_used_is_reported_once_and_the_others_apply() {
    let tree = Tree::new();
    tree.write(".git/", "");
    let rules = |count: usize| (0..count).map(|number| format!("f{number}\n")).collect::<String>();
    tree.write("many/.gitignore", rules(MOST_RULES + 5));
    tree.write("just/.gitignore", rules(MOST_RULES));
    let globs = (0..=MOST_GLOBS).map(|number| format!("*.f{number}\n")).collect::<String>();
    tree.write("globs/.gitignore", globs);
    let line = tree.write("line/.gitignore", "a\n");
    fs::File::options().append(true).open(&line).unwrap().set_len(100 << 20).unwrap();
    tree.write("large/.gitignore", "a\n".repeat(MOST_BYTES));
    tree.write("link/rules", "a\n");
    std::os::unix::fs::symlink("rules", tree.root.join("link/.gitignore")).unwrap();
    std::os::unix::fs::symlink("rules", tree.root.join("link/.ignore")).unwrap();
    tree.write("directory/.gitignore/", "");
    let files = tree.files("");
    let last = MOST_RULES - 1;
    for (path, expected) in [
        (format!("many/f{last}"), Some(format!("many/.gitignore:{MOST_RULES}: f{last}"))),
        (format!("many/f{MOST_RULES}"), None),
        (format!("just/f{last}"), Some(format!("just/.gitignore:{MOST_RULES}: f{last}"))),
        (format!("globs/x.f{MOST_GLOBS}"), None),
        (format!("globs/x.f{}", MOST_GLOBS - 1), Some(format!("globs/.gitignore:{MOST_GLOBS}: *.f{}", MOST_GLOBS - 1))),
        ("line/a".into(), Some("line/.gitignore:1: a".into())),
        ("large/a".into(), Some(format!("large/.gitignore:{MOST_RULES}: a"))),
        ("link/a".into(), Some("link/.ignore:1: a".into())),
        ("directory/a".into(), None),
    ] {
        assert_eq!(tree.of(&files, &path), expected, "{path}");
    }
    let mut flaws = files.flaws();
    flaws.sort_by_key(|flaw| format!("{flaw:?}"));
    let ignore_file = |directory: &str| tree.root.join(directory).join(".gitignore");
    let large = ["globs", "large", "line", "many"].map(|directory| Flaw::TooLarge(ignore_file(directory)));
    assert_eq!(flaws, [[Flaw::IsLink(ignore_file("link"))].as_slice(), &large].concat());
    tree.write("many/.gitignore", rules(MOST_RULES + 6));
    files.refresh(&tree.root.join("many/.gitignore"));
    assert!(files.flaws().is_empty(), "each is reported once");
}

/// The directories below which rules have changed.
fn changed(files: &IgnoreFiles) -> Vec<PathBuf> {
    files.changes().into_iter().map(|RulesChanged { below, .. }| below).collect()
}

#[test]
fn a_changed_ignore_file_applies_after_refresh() {
    let tree = Tree::with(&[(".git/info/exclude", ""), ("x/y/", ""), ("z/", ""), ("../home/.gitconfig", "")]);
    let files = tree.files("");
    let says = |path: &str| tree.of(&files, path);
    for directory in ["", "x", "x/y", "z"] {
        files.enter(&tree.root.join(directory), directory.is_empty());
    }
    assert_eq!(says("x/y/a"), None);
    let path = tree.write("x/.gitignore", "a\n");
    assert_eq!(says("x/y/a"), None, "before the refresh");
    files.refresh(&path);
    assert_eq!(changed(&files), [tree.root.join("x")]);
    assert_eq!(says("x/y/a").as_deref(), Some("x/.gitignore:1: a"));
    assert_eq!(says("z/a"), None);
    files.refresh(&path);
    assert!(changed(&files).is_empty(), "unchanged");
    tree.write("x/.gitignore", "\na\n");
    files.refresh(&path);
    assert_eq!(says("x/y/a").as_deref(), Some("x/.gitignore:2: a"));
    fs::remove_file(&path).unwrap();
    files.enter(&tree.root.join("x"), false);
    assert_eq!(changed(&files), [tree.root.join("x"), tree.root.join("x")]);
    assert_eq!(says("x/y/a"), None);
    files.look_around();
    assert!(changed(&files).is_empty());
    tree.write(".git/info/exclude", "a\n");
    files.look_around();
    assert_eq!(changed(&files), [Path::new("/")]);
    assert_eq!(says("x/y/a").as_deref(), Some(".git/info/exclude:1: a"));
    tree.write("../home/mine", "b\n");
    tree.write("../home/.gitconfig", "[core]\nexcludesFile = ~/mine\n");
    files.look_around();
    assert_eq!(says("x/b").as_deref(), Some("home/mine:1: b"));
    changed(&files);
    tree.write("../home/.gitconfig", "[core]\nexcludesFile = ~/mine\n[user]\nname = x\n");
    files.look_around();
    assert!(changed(&files).is_empty(), "another setting does not change a rule");
    tree.write("x/.git/", "");
    files.refresh(&tree.root.join("x/.git"));
    assert_eq!(changed(&files), [tree.root.join("x")]);
    assert_eq!(says("x/y/a"), None, "x is a repository of its own now");
    assert_eq!(says("z/a").as_deref(), Some(".git/info/exclude:1: a"));
}

#[test]
fn look_around_finds_changes_above_the_base() {
    let tree = Tree::with(&[(".git/", ""), ("x/base/", "")]);
    let files = tree.files("x/base");
    assert_eq!(tree.of(&files, "x/base/a"), None);
    tree.write("x/.gitignore", "a\n");
    files.look_around();
    assert_eq!(changed(&files), [tree.root.join("x")]);
    assert_eq!(tree.of(&files, "x/base/a").as_deref(), Some("x/.gitignore:1: a"));
    tree.write("x/.git/", "");
    tree.write(".gitignore", "b\n");
    files.look_around();
    assert_eq!(tree.of(&files, "x/base/b"), None);
    fs::remove_dir(tree.root.join("x/.git")).unwrap();
    files.look_around();
    assert_eq!(tree.of(&files, "x/base/b").as_deref(), Some(".gitignore:1: b"));
}

#[test]
fn a_process_that_goes_on_or_let_go_finds_what_changed_in_between_whatever_it_is_asked_first() {
    let start = [
        (".git/info/exclude", "e\n"),
        ("x/.gitignore", "a\n"),
        ("x/y/", ""),
        ("z/", ""),
        ("../home/.gitconfig", "[core]\nexcludesFile = ~/mine\n"),
        ("../home/mine", "m\n"),
    ];
    let remove = |tree: &Tree, name: &str| fs::remove_file(tree.root.join(name)).unwrap();
    type Step<'a> = &'a dyn Fn(&Tree);
    let cases: [(&str, Step<'_>, Option<&str>, Option<&str>); 8] = [
        ("nothing", &|_| {}, None, Some("x/.gitignore:1: a")),
        ("x/.gitignore", &|tree| drop(tree.write("x/.gitignore", "\na\n")), Some("x"), Some("x/.gitignore:2: a")),
        ("x/.gitignore", &|tree| remove(tree, "x/.gitignore"), Some("x"), None),
        ("x/y/.ignore", &|tree| drop(tree.write("x/y/.ignore", "!a\n")), Some("x/y"), Some("x/y/.ignore:1: !a")),
        ("x/y/.git", &|tree| drop(tree.write("x/y/.git/", "")), Some("x/y"), None),
        (".git/info/exclude", &|tree| drop(tree.write(".git/info/exclude", "\n")), Some(""), Some("x/.gitignore:1: a")),
        ("../home/mine", &|tree| drop(tree.write("../home/mine", "\n")), Some(""), Some("x/.gitignore:1: a")),
        (
            "../home/.gitconfig",
            &|tree| drop(tree.write("../home/.gitconfig", "\n")),
            Some(""),
            Some("x/.gitignore:1: a"),
        ),
    ];
    for generations in [0, 1, 2] {
        for asks_first in [true, false] {
            for (name, change, below, rule) in &cases {
                let tree = Tree::with(&start);
                let mut files = tree.files("");
                for path in ["x/y/a", "z/a"] {
                    tree.of(&files, path);
                }
                files.let_go();
                // A generation in which nobody asks hands on what it was handed.
                for _ in 0..generations {
                    let next = tree.files("");
                    next.resume(files.keep());
                    files = next;
                }
                assert_eq!(changed(&files), [] as [&Path; 0]);
                change(&tree);
                if asks_first {
                    tree.of(&files, "x/y/a");
                }
                let path = tree.root.join(name);
                if IgnoreFiles::is_concerned_by(path.file_name().unwrap()) {
                    files.refresh(&path);
                }
                files.look_around();
                assert_eq!(tree.of(&files, "x/y/a").as_deref(), *rule, "{name}, asked first: {asks_first}");
                let mut found = changed(&files);
                found.dedup();
                let expected: Vec<PathBuf> =
                    below.iter().map(|below| tree.root.join(below).components().collect()).collect();
                // Whoever asks first finds the repository; otherwise all that any repository goes by is one.
                let everything = below == &Some("") && found == [Path::new("/")];
                assert!(found == expected || everything, "{name}, asked first: {asks_first}: {found:?}");
                files.look_around();
                assert!(changed(&files).is_empty(), "{name} is told once");
            }
        }
    }
}
