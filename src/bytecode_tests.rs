use super::Caches;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Config, tests::config};
use crate::environment::tests::environment;

fn caches(directory: &Path, prefixes: &[PathBuf]) -> Caches {
    Caches { directory: directory.to_owned(), named_directory: directory.to_owned(), prefixes: prefixes.to_vec() }
}

fn drop_one(caches: &Caches, source: &Path) {
    caches.drop_compiled(std::iter::once(source));
}

#[test]
fn only_the_compiled_files_of_the_changed_source_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("__pycache__");
    fs::create_dir(&cache).unwrap();
    let kept =
        ["xx.cpython-311.pyc", "x.y.cpython-311.pyc", "x.txt", "x.pyc.bak", "y.cpython-311.pyc", "x.pyc", "x..pyc"];
    let gone = ["x.cpython-311.pyc", "x.cpython-313.opt-1.pyc", "x.cpython-313.opt-2.pyc", "x.pypy39.pyc"];
    for name in kept.iter().chain(&gone) {
        fs::write(cache.join(name), "").unwrap();
    }
    fs::write(directory.path().join("precious"), "").unwrap();
    symlink("../precious", cache.join("x.cpython-312.pyc")).unwrap();
    fs::create_dir(cache.join("x.cpython-314.pyc")).unwrap();
    let sources = [directory.path().join("x.py"), directory.path().join("y.toml")];
    caches(directory.path(), &[]).drop_compiled(sources.iter().map(PathBuf::as_path));
    let left = |name: &&str| cache.join(name).exists();
    assert!(kept.iter().all(left));
    assert!(!gone.iter().any(left));
    assert!(cache.join("x.cpython-312.pyc").is_symlink() && directory.path().join("precious").exists());
    assert!(cache.join("x.cpython-314.pyc").is_dir());

    drop_one(&caches(directory.path(), &[]), &directory.path().join("x.y.py"));
    assert!(!cache.join("x.y.cpython-311.pyc").exists());
}

#[test]
fn a_cache_behind_a_symlink_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("x.cpython-311.pyc"), "").unwrap();
    symlink(&elsewhere, directory.path().join("__pycache__")).unwrap();
    drop_one(&caches(directory.path(), &[]), &directory.path().join("x.py"));
    assert!(elsewhere.join("x.cpython-311.pyc").exists());
}

/// Creates a compiled file of this source below a prefix.
fn mirrored(prefix: &Path, source: &Path) -> PathBuf {
    let below = source.parent().unwrap().strip_prefix("/").unwrap();
    let cache = prefix.join(below);
    fs::create_dir_all(&cache).unwrap();
    let compiled = cache.join("x.cpython-311.pyc");
    fs::write(&compiled, "").unwrap();
    compiled
}

#[test]
fn below_a_prefix_the_path_is_mirrored_by_every_name_of_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let real = scratch.path().canonicalize().unwrap().join("real");
    fs::create_dir_all(real.join("app")).unwrap();
    fs::create_dir_all(real.join("lib")).unwrap();
    symlink(&real, real.join("../named")).unwrap();
    symlink("../lib", real.join("app/linked")).unwrap();
    let named = real.parent().unwrap().join("named");
    // The prefix itself may be a symlink: the user chose it.
    let prefix = real.parent().unwrap().join("prefix");
    fs::create_dir(real.parent().unwrap().join("cache")).unwrap();
    symlink("cache", &prefix).unwrap();
    let mut caches = caches(&real.join("app"), std::slice::from_ref(&prefix));
    caches.named_directory = named.join("app");

    let of = |source: PathBuf| mirrored(&prefix, &source);
    let cases = [
        (real.join("app/x.py"), vec![of(real.join("app/x.py")), of(named.join("app/x.py"))]),
        (real.join("app/linked/x.py"), vec![of(real.join("app/linked/x.py")), of(real.join("lib/x.py"))]),
        (PathBuf::from("/x.py"), vec![of(PathBuf::from("/x.py")), of(real.join("app/x.py"))]),
    ];
    let other = of(real.join("other/x.py"));
    for (source, compiled) in cases {
        drop_one(&caches, &source);
        let left: Vec<_> = compiled.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{left:?} of {source:?} was not removed");
    }
    assert!(other.exists());
}

#[test]
fn below_a_prefix_no_symlink_is_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (prefix, source) = (root.join("prefix"), root.join("app/x.py"));
    fs::create_dir_all(root.join("app")).unwrap();
    let elsewhere = mirrored(&root.join("elsewhere"), &source);
    let first = root.components().nth(1).unwrap();
    fs::create_dir(&prefix).unwrap();
    symlink(root.join("elsewhere").join(first), prefix.join(first)).unwrap();
    assert!(mirrored(&prefix, &source).exists() && elsewhere.exists());
    drop_one(&caches(&root, std::slice::from_ref(&prefix)), &source);
    assert!(elsewhere.exists());
}

#[test]
fn a_prefix_is_taken_from_the_environment_and_from_the_words_of_the_command() {
    for (inherited, words, expected) in [
        ("", vec!["env", "PYTHONPYCACHEPREFIX=cache", "python", "app.py"], vec!["/app/cache"]),
        ("", vec!["python", "-X", "pycache_prefix=/var/cache", "app.py"], vec!["/var/cache"]),
        ("/x", vec!["python", "-Xpycache_prefix=/var/cache", "app.py"], vec!["/x", "/var/cache"]),
        ("y", vec!["env", "PYTHONPYCACHEPREFIX=", "python"], vec!["/app/y"]),
        ("", vec!["python", "app.py"], vec![]),
    ] {
        let command = Some(words.iter().map(OsString::from).collect());
        let environment = environment(&[(super::PREFIX, inherited)]);
        let config = Config { command, environment, ..config(Path::new("/app"), "*.py", "") };
        let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
        assert_eq!(Caches::of(&config).prefixes, expected, "{words:?}");
    }
}

#[test]
fn a_cache_is_read_once_for_all_its_sources() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("__pycache__");
    fs::create_dir(&cache).unwrap();
    let sources: Vec<PathBuf> = (0..4000).map(|number| directory.path().join(format!("m{number}.py"))).collect();
    for number in 0..4000 {
        fs::write(cache.join(format!("m{number}.cpython-311.pyc")), "").unwrap();
    }
    let began = Instant::now();
    caches(directory.path(), &[]).drop_compiled(sources.iter().map(PathBuf::as_path));
    let took = began.elapsed();
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    // Reading the cache once for each source takes about 8 million comparisons, more than 5 s.
    assert!(took < Duration::from_secs(2), "{took:?}");
}
