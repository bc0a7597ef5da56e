use super::{Decision, Filter, Rule};
use crate::config::tests::config;
use std::fs;
use std::path::Path;

/// The verdict on `path` below a root that holds the given ignore files.
fn verdict(files: &[(&str, &str)], watch: &str, ignore: &str, path: &str) -> Decision {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/root");
    fs::create_dir_all(&root).unwrap();
    for (name, content) in files {
        let file = root.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    Filter::new(&config(&root, watch, ignore), Vec::new()).decide(&crate::config::normalized(&root.join(path)))
}

#[test]
fn every_watch_pattern_matches_what_it_should_and_nothing_else() {
    for (pattern, path, counts) in [
        ("*.py", "app.py", true),
        ("*.py", "deep/er/app.py", true),
        ("*.py", "app.pyx", false),
        ("*.py", "../app.py", false),
        ("*.py;*.toml", "conf/app.toml", true),
        ("src/**/*.rs", "src/main.rs", true),
        ("src/**/*.rs", "src/a/b/main.rs", true),
        ("src/**/*.rs", "main.rs", false),
        ("src/**/*.rs", "other/src/main.rs", false),
        ("src/*.rs", "src/main.rs", true),
        ("src/*.rs", "src/a/main.rs", false),
        ("*/x.py", "a/x.py", true),
        ("*/x.py", "a/b/x.py", false),
        ("conf/app.toml", "conf/app.toml", true),
        ("conf/app.toml", "app.toml", false),
        ("app.py", "sub/app.py", false),
        ("**/app.py", "sub/app.py", true),
        ("src", "src/a/b.txt", true),
        ("src/", "src/b.txt", true),
        ("src", "srcs/b.txt", false),
        ("templates*", "templates2/a.html", true),
        (".", "anything.txt", true),
        ("**", "a/b/c", true),
        ("*", "a/b/c", true),
        ("../lib/**", "../lib/x.py", true),
        ("../lib/*.py", "../lib/x.py", true),
        ("../lib/*.py", "../lib/sub/x.py", false),
        ("[ab].py", "a.py", true),
        ("[ab].py", "c.py", false),
        ("{a,b}.py", "b.py", true),
        ("?.py", "a.py", true),
        ("?.py", "ab.py", false),
        ("", "any.thing", true),
        ("", "../outside", false),
        (".env", ".env", true),
        ("*.py", ".hidden.py", true),
        ("*.log", "x.log", true),
        ("*.db", "x.db", true),
        ("", "x.log", false),
        ("**", "x.log", false),
        ("*.py", "reloadrun.toml", true),
    ] {
        assert_eq!(verdict(&[], pattern, "", path).counts, counts, "{pattern} on {path}");
    }
}

#[test]
fn what_is_ignored_is_ignored_by_the_rule_that_is_told() {
    let files: &[(&str, &str)] = &[
        (".git/HEAD", ""),
        (".gitignore", "build/\n*.gen.py\n/only_here.py\nkept/*\n!kept/this.py\n"),
        ("sub/.gitignore", "*.txt\n!important.gen.py\n"),
        (".ignore", "!forced.gen.py\nquiet/\n"),
    ];
    let ignored_by = |watch: &str, ignore: &str, path: &str| {
        let decision = verdict(files, watch, ignore, path);
        (!decision.counts).then(|| match decision.rule {
            Rule::IgnoreFile(_, line) => line,
            Rule::Ignored(rule) => rule.to_string(),
            Rule::BuiltIn(entry) => entry,
            other => other.to_string(),
        })
    };
    for (watch, ignore, path, expected) in [
        ("*.py", "", "build/x.py", Some("build/")),
        ("*.py", "", "deep/build/x.py", Some("build/")),
        ("*.py", "", "x.gen.py", Some("*.gen.py")),
        ("*.py", "", "forced.gen.py", None),
        ("*.py", "", "sub/important.gen.py", None),
        ("*.py", "", "sub/other.gen.py", Some("*.gen.py")),
        ("*.py", "", "only_here.py", Some("/only_here.py")),
        ("*.py", "", "sub/only_here.py", None),
        ("*.py", "", "kept/that.py", Some("kept/*")),
        ("*.py", "", "kept/this.py", None),
        ("*", "", "sub/x.txt", Some("*.txt")),
        ("*", "", "x.txt", None),
        ("*", "", "quiet/x.txt", Some("quiet/")),
        ("*.js", "", "node_modules/a/b.js", Some("node_modules/")),
        ("*.py", "", "a/__pycache__/x.py", Some("__pycache__/")),
        ("*", "", "a/.x.py.swp", Some("*.swp")),
        ("*", "", "a/x.py~", Some("*~")),
        ("*", "", "4913", Some("4913")),
        ("*", "", ".#lock.py", Some(".#*")),
        ("*", "", "#auto.py#", Some("#*#")),
        ("*.py", "tests", "tests/x.py", Some("-i 'tests'")),
        ("*.py", "tests", "a/tests/x.py", Some("-i 'tests'")),
        ("*.py", "a/tests", "a/tests/x.py", Some("-i 'a/tests'")),
        ("*.py", "a/tests", "b/a/tests/x.py", None),
        ("*.py", "*_test.py", "a/x_test.py", Some("-i '*_test.py'")),
        ("x.gen.py", "*.gen.py", "x.gen.py", None),
        ("build/x.py", "", "build/x.py", None),
        ("build/**/*.py", "", "build/x.py", None),
        ("node_modules/mine", "", "node_modules/mine/a.js", None),
        ("node_modules/mine", "", "node_modules/mine/node_modules/a.js", Some("node_modules/")),
        ("*.md", "", "x.py", Some("no watch pattern matches")),
    ] {
        assert_eq!(ignored_by(watch, ignore, path).as_deref(), expected, "-w {watch} -i '{ignore}' on {path}");
    }
}

#[test]
fn no_ignore_leaves_only_the_flags() {
    let root = Path::new("/nowhere/root");
    let mut config = config(root, "*.py", "mine");
    config.no_ignore = true;
    let filter = Filter::new(&config, Vec::new());
    assert!(filter.decide(&root.join("node_modules/x.py")).counts);
    assert!(!filter.decide(&root.join("mine/x.py")).counts);
}

#[test]
fn only_directories_that_can_hold_a_match_are_walked() {
    let root = Path::new("/nowhere/root");
    for (watch, directory, walked) in [
        ("*.py", "", true),
        ("*.py", "a/b", true),
        ("*.py", "node_modules", false),
        ("*.py", "a/node_modules/b", false),
        ("src/**/*.rs", "src/a", true),
        ("src/**/*.rs", "", false),
        ("src/**/*.rs", "other", false),
        ("src/*.rs", "src", true),
        ("src/*.rs", "src/a", false),
        ("a*/x.py", "", true),
        ("a*/x.py", "abc", true),
        ("a*/x.py", "abc/d", false),
        ("conf/app.toml", "conf", false),
        ("conf", "conf", true),
        ("conf", "conf/deep", true),
        ("node_modules/mine", "node_modules", false),
        ("node_modules/mine", "node_modules/mine", true),
        ("/etc/app/*.toml", "/etc/app", true),
        ("/etc/app/*.toml", "/etc/app/sub", false),
    ] {
        let filter = Filter::new(&config(root, watch, ""), Vec::new());
        assert_eq!(filter.descend(&root.join(directory)), walked, "-w {watch} in {directory:?}");
    }
}

#[test]
fn what_is_named_or_of_a_named_kind_is_not_swept_in() {
    let root = Path::new("/nowhere/root");
    for (watch, path, swept) in [
        ("", "a.py", true),
        (".", "a.py", true),
        ("*", "a.py", true),
        ("**", "d/a.py", true),
        ("src", "src/a.py", true),
        ("src/**", "src/a.py", true),
        ("src*", "src/a.py", true),
        ("*.py", "d/a.py", false),
        ("src/**/*.py", "src/d/a.py", false),
        ("a.py", "a.py", false),
        ("**;a.py", "a.py", false),
        ("**;*.py", "d/a.py", false),
        ("*.py;**", "d/a.py", false),
        ("*.py;**", "d/a.txt", true),
        ("", "reloadrun.toml", false),
    ] {
        let filter = Filter::new(&config(root, watch, ""), Vec::new());
        assert!(filter.decide(&root.join(path)).counts, "-w {watch}: {path}");
        assert_eq!(filter.is_swept(&root.join(path)), swept, "-w {watch}: {path}");
    }
}
