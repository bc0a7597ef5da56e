use super::{Decision, Filter, OwnFiles, Rule};
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
    Filter::new(&config(&root, watch, ignore), OwnFiles::default())
        .decide(&crate::pattern::normalized(&root.join(path)))
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
            Rule::BuiltIn(entry) => entry.to_owned(),
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
    let filter = Filter::new(&config, OwnFiles::default());
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
        let filter = Filter::new(&config(root, watch, ""), OwnFiles::default());
        assert_eq!(filter.descend(&root.join(directory)), walked, "-w {watch} in {directory:?}");
    }
}

/// Which rule decides on a path, in a tree with these files: the rule, or "counts".
fn told(files: &[(&str, &str)], watch: &str, ignore: &str, path: &str) -> String {
    let decision = verdict(files, watch, ignore, path);
    if decision.counts { "counts".to_owned() } else { decision.rule.to_string() }
}

#[test]
fn one_pattern_by_which_a_path_counts_is_enough_in_any_order() {
    for (patterns, path) in [
        (&["*.js", "node_modules/mine/**"][..], "node_modules/mine/a.js"),
        (&["**", "*.log"], "x.log"),
        (&["*", "sub/*.log"], "sub/x.log"),
        (&[".", "*.log"], "sub/x.log"),
        (&["*.py", ".venv/lib/**"], ".venv/lib/x.py"),
        (&["node_modules/mine", "*.js"], "node_modules/mine/a.js"),
        (&["**/*.js", "dist/*.js"], "dist/a.js"),
        (&["*.js", "node_modules/**/a.js", "node_modules/mine"], "node_modules/mine/deep/b.js"),
    ] {
        let reversed: Vec<&str> = patterns.iter().rev().copied().collect();
        for order in [patterns, &reversed] {
            let watch = order.join(";");
            assert_eq!(told(&[], &watch, "", path), "counts", "-w '{watch}' on {path}");
        }
    }
}

#[test]
fn ignore_rules_do_not_apply_to_what_was_named_and_apply_below_it() {
    let git = (".git/HEAD", "");
    for (files, watch, path, expected) in [
        (&[("out/.gitignore", "*")][..], "out", "out/a.js", "counts"),
        (&[("out/.gitignore", "*\n!.gitignore\n")], "out/**", "out/a/b.js", "counts"),
        (&[("out/.gitignore", "/*")], "out/*.js", "out/a.js", "counts"),
        (&[git, (".gitignore", "out/")], "out", "out/a.js", "counts"),
        (&[git, (".gitignore", "out/*")], "out", "out/a.js", "counts"),
        (&[git, (".gitignore", "/out/**")], "out/*.js", "out/a.js", "counts"),
        (&[git, (".gitignore", "out")], "out/deep", "out/deep/a.js", "counts"),
        (&[git, (".gitignore", "out\n*.map\n")], "out", "out/a.map", "'*.map' in {root}/.gitignore"),
        (&[git, (".gitignore", "*\n!*/\n!*.py\n")], "src", "src/a.txt", "'*' in {root}/.gitignore"),
        (&[git, (".gitignore", "*\n!*/\n!*.py\n")], "src", "src/a.py", "counts"),
        (&[("src/.gitignore", "gen/")], "src", "src/gen/a.py", "'gen/' in {root}/src/.gitignore"),
        (&[], "src", "src/node_modules/a.js", "'node_modules/' in the built-in ignore list"),
        (&[(".gitignore", "*")], "*.py", "a.py", "'*' in {root}/.gitignore"),
        (&[("../.git/HEAD", ""), ("../.gitignore", "*")], "*.py", "a.py", "'*' in {root}"),
        (&[("../.git/HEAD", ""), ("../.gitignore", "*"), (".git", "gitdir: x")], "*.py", "a.py", "counts"),
    ] {
        let shown = told(files, watch, "", path);
        let shown = shown.rsplit_once(" in /").map_or(shown.clone(), |(rule, file)| {
            format!("{rule} in {{root}}{}", file.split_once("/root").map_or("", |(_, rest)| rest))
        });
        assert_eq!(shown, expected, "{files:?} -w '{watch}' on {path}");
    }
}

#[test]
fn an_ignored_name_at_any_depth_is_ignored_everywhere() {
    for (watch, ignore, path, counts) in [
        ("../lib/**", "tests", "../lib/a/tests/x.py", false),
        ("../lib/**", "*.log", "../lib/a/x.log", false),
        ("../lib/*.py", "x.py", "../lib/x.py", false),
        ("../lib/**", "tests", "../lib/a/x.py", true),
        ("src/**", "src", "src/x.py", false),
        // What is above the directory says nothing about what is in it.
        ("*.py", "a", "x.py", true),
        ("../lib/**", "a", "../lib/x.py", true),
        ("*.py", "./tests", "a/tests/x.py", true),
        ("*.py", "./tests", "tests/x.py", false),
    ] {
        assert_eq!(verdict(&[], watch, ignore, path).counts, counts, "-w '{watch}' -i '{ignore}' on {path}");
    }
}

#[test]
fn what_is_swept_in_holds_configuration_and_no_outputs() {
    let files: &[(&str, &str)] = &[(".git/HEAD", ""), (".gitignore", ".env*\n.flaskenv\n")];
    for watch in ["", ".", "*", "**", "./"] {
        for (path, counts) in [
            (".env", true),
            (".env.local", true),
            (".flaskenv", true),
            ("sub/.env", true),
            (".envrc", false),
            (".env.swp", false),
            ("node_modules/x/.env", false),
            ("site/index.html", false),
            ("docs/_build/html/index.html", false),
            ("dist/a.js", false),
            ("build/x", false),
            ("out/x", false),
            ("staticfiles/x.css", false),
            ("main.o", false),
            ("lib.a", false),
            ("lib.so", false),
            ("dump.rdb", false),
            ("app.py", true),
        ] {
            assert_eq!(verdict(files, watch, "", path).counts, counts, "-w '{watch}' on {path}");
        }
    }
    for (watch, path) in [
        ("*.html", "site/index.html"),
        ("site", "site/index.html"),
        ("build/*.js", "build/a.js"),
        ("*.so", "lib.so"),
        ("*.rdb", "dump.rdb"),
    ] {
        assert!(verdict(files, watch, "", path).counts, "-w '{watch}' on {path}");
    }
    assert!(!verdict(files, ".env*", "", ".env").counts, "a pattern is no sweep, and git ignores it");
    assert!(!verdict(files, "", ".env", ".env").counts, "-i wins");
}

#[test]
fn what_editors_and_tools_leave_behind_is_ignored() {
    for name in [
        ".x.swp",
        ".x.swn",
        ".x.swa",
        ".swp",
        ".swo",
        "x~",
        "#x#",
        ".#x",
        "x_flymake.py",
        "flycheck_x.py",
        "a.pyAbCdEf.bck",
        ".a.py.kak.aBcD12",
        ".a.py.kate-swp",
        "~$letter.docx",
        "~WRL0001.tmp",
        ".~lock.a.odt#",
        ".syncthing.a.py.tmp",
        "~syncthing~a.py.tmp",
        ".fuse_hidden0000123400000001",
        ".nfs0000000001",
        "4913",
        ".coverage",
        ".coverage.host.123.XAbC",
        "htmlcov/x",
        "coverage/x",
        ".nyc_output/x",
        ".sass-cache/x",
        "x.prof",
        "celerybeat-schedule",
        "celerybeat-schedule.dat",
        "vite.config.ts.timestamp-1700000000-abc.mjs",
    ] {
        assert!(!verdict(&[], "", "", name).counts, "{name}");
    }
    for name in [".coveragerc", ".x.svg", "a.swift", "x.py", ".swcrc", "kak.py", "letter~.txt", "4914"] {
        assert!(verdict(&[], "", "", name).counts, "{name}");
    }
}

#[test]
fn a_directory_with_a_pyvenv_cfg_is_a_virtual_environment_whatever_its_name() {
    let files: &[(&str, &str)] = &[("env/pyvenv.cfg", ""), ("deep/my/pyvenv.cfg", ""), ("plain/x.py", "")];
    for (watch, path, counts) in [
        ("*.py", "env/lib/x.py", false),
        ("*.py", "deep/my/lib/site/x.py", false),
        ("*.py", "plain/x.py", true),
        ("env/lib/**", "env/lib/x.py", true),
        ("env", "env/lib/x.py", true),
    ] {
        assert_eq!(verdict(files, watch, "", path).counts, counts, "-w '{watch}' on {path}");
    }
}

#[test]
fn what_only_sweeps_does_not_walk_outputs_and_what_asks_for_a_name_does() {
    let root = Path::new("/nowhere/root");
    for (watch, directory, walked) in [
        ("", "dist", false),
        ("**", "dist/a", false),
        ("*.js", "dist", true),
        ("**;*.js", "dist", true),
        ("dist", "dist", true),
        ("dist/**", "dist/a", true),
        ("", "src", true),
    ] {
        let filter = Filter::new(&config(root, watch, ""), OwnFiles::default());
        assert_eq!(filter.descend(&root.join(directory)), walked, "-w {watch} in {directory:?}");
    }
}

#[test]
fn one_file_has_one_identity_whatever_symlinks_lead_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    for name in ["real/gen", "lib"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    for (watch, ignore, path, counts) in [
        ("*.py", "link/gen", "real/gen/x.py", false),
        ("link/**/*.py", "real/gen", "link/gen/x.py", false),
        ("link/**/*.py", "real/gen/x.py", "link/gen/x.py", false),
        ("link/**/*.py", "lib", "link/gen/x.py", true),
    ] {
        let filter = Filter::new(&config(&root, watch, ignore), OwnFiles::default());
        assert_eq!(filter.decide(&root.join(path)).counts, counts, "-w '{watch}' -i '{ignore}' on {path}");
    }
}

#[test]
fn a_file_of_our_own_does_not_count_under_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    fs::write(root.join("run.log"), "").unwrap();
    fs::hard_link(root.join("run.log"), root.join("other.txt")).unwrap();
    fs::write(root.join("else.txt"), "").unwrap();
    let mut own = OwnFiles::default();
    own.add_path(root.join("run.log"));
    let filter = Filter::new(&config(&root, "run.log;*.txt", ""), own);
    for (name, counts) in [("run.log", false), ("other.txt", false), ("else.txt", true)] {
        let path = root.join(name);
        assert_eq!(filter.decide_seen(&path, crate::os::fs::look(&path)).counts, counts, "{name}");
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
        let filter = Filter::new(&config(root, watch, ""), OwnFiles::default());
        assert!(filter.decide(&root.join(path)).counts, "-w {watch}: {path}");
        assert_eq!(filter.is_swept(&root.join(path)), swept, "-w {watch}: {path}");
    }
}

#[test]
fn a_pattern_that_matches_only_what_is_read_as_configuration_matches_something() {
    let directory = tempfile::tempdir().unwrap();
    for (watch, ignore, hints) in [("*.toml;*.env;*.py", "", 1), ("*.py", "*.toml", 1), ("*.toml", "", 0)] {
        let mut config = config(directory.path(), watch, ignore);
        config.env_files = vec![directory.path().join("app.env")];
        for file in config.sources() {
            fs::write(file, "").unwrap();
        }
        fs::create_dir_all(directory.path().join(".git")).unwrap();
        fs::write(directory.path().join(".gitignore"), "*.toml\n").unwrap();
        let filter = Filter::new(&config, OwnFiles::default());
        assert!(config.sources().all(|file| filter.decide(file).counts));
        assert_eq!(filter.hints(true).len(), hints, "{watch}: {:?}", filter.hints(true));
    }
}
