use super::{Glob, Globs, Kind, Pattern, Place, Shape, normalized, split};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

fn place<'a>(kind: Kind, name: &'a str, directory: &'a Path, exists: &'a dyn Fn(&Path) -> bool) -> Place<'a> {
    Place { name, kind, directory, home: Some(Path::new("/home/me")), exists, identity: &normalized }
}

/// The patterns of a text, read in a directory, where a name may exist.
pub fn patterns(kind: Kind, name: &str, text: &str, directory: &Path) -> Vec<Pattern> {
    let place = place(kind, name, directory, &|path| path.symlink_metadata().is_ok());
    let pieces = split(OsStr::new(text));
    pieces.iter().filter(|piece| !piece.is_empty()).flat_map(|piece| place.read(piece).unwrap()).collect()
}

/// The base, and the glob below it.
fn summary(pattern: &Pattern) -> (PathBuf, Option<String>) {
    let glob = match &pattern.shape {
        Shape::Literal => None,
        Shape::Glob(glob) => Some(glob.text().to_owned()),
    };
    (pattern.base.clone(), glob)
}

fn read(text: &str, existing: &[&str]) -> Vec<(PathBuf, Option<String>)> {
    let exists = |path: &Path| existing.iter().any(|known| path == Path::new("/home/me/app").join(known));
    let place = place(Kind::Watch, "-w", Path::new("/home/me/app"), &exists);
    place.read(OsStr::new(text)).unwrap().iter().map(summary).collect()
}

#[test]
fn a_pattern_is_a_base_and_what_matches_below_it() {
    for (text, base, glob) in [
        ("*.py", "/home/me/app", Some("**/*.py")),
        ("**", "/home/me/app", Some("**/**")),
        ("*", "/home/me/app", Some("**/*")),
        ("src/**/*.rs", "/home/me/app/src", Some("**/*.rs")),
        ("./src/*.rs", "/home/me/app/src", Some("*.rs")),
        ("*/x.py", "/home/me/app", Some("*/x.py")),
        ("conf/app.toml", "/home/me/app/conf/app.toml", None),
        (".env", "/home/me/app/.env", None),
        ("./.env", "/home/me/app/.env", None),
        ("./*.py", "/home/me/app", Some("*.py")),
        (".", "/home/me/app", None),
        ("./", "/home/me/app", None),
        ("..", "/home/me", None),
        ("/", "/", None),
        ("src/", "/home/me/app/src", None),
        ("/etc/app/*.toml", "/etc/app", Some("*.toml")),
        ("/etc/app/app.toml", "/etc/app/app.toml", None),
        ("/*.toml", "/", Some("*.toml")),
        ("../lib/**", "/home/me/lib", Some("**")),
        ("../../x/{a,b}/*.py", "/home/x", Some("{a,b}/*.py")),
        (r"odd\*name", "/home/me/app", Some(r"**/odd\*name")),
        ("~/x.toml", "/home/me/x.toml", None),
        ("~/x/*.toml", "/home/me/x", Some("*.toml")),
        ("~", "/home/me", None),
        ("~/", "/home/me", None),
        ("./~", "/home/me/app/~", None),
        ("~you/x", "/home/me/app/~you/x", None),
        ("x~", "/home/me/app/x~", None),
    ] {
        assert_eq!(read(text, &[]), [(PathBuf::from(base), glob.map(str::to_owned))], "{text}");
    }
}

#[test]
fn an_existing_name_is_meant_although_it_has_wildcards() {
    let app = |below: &str| PathBuf::from("/home/me/app").join(below);
    let glob = |base: &str, glob: &str| (app(base), Some(glob.to_owned()));
    for (text, existing, expected) in [
        ("pages/[id].tsx", "pages/[id].tsx", vec![(app("pages/[id].tsx"), None), glob("pages", "[id].tsx")]),
        ("pages/[id]/*.tsx", "pages/[id]", vec![glob("pages/[id]", "*.tsx"), glob("pages", "[id]/*.tsx")]),
        ("pages/[id]/*.tsx", "pages", vec![glob("pages", "[id]/*.tsx")]),
        ("a[b.txt", "a[b.txt", vec![(app("a[b.txt"), None)]),
        ("[...all].js", "[...all].js", vec![(app("[...all].js"), None), glob("", "**/[...all].js")]),
        ("{a}", "{a}", vec![(app("{a}"), None), glob("", "**/{a}")]),
        ("src/*.rs", "src", vec![glob("src", "*.rs")]),
    ] {
        assert_eq!(read(text, &[existing]), expected, "{text}");
    }
}

#[test]
fn only_what_the_user_wrote_of_a_base_is_named() {
    for (text, named) in [
        ("*.py", false),
        (".", false),
        ("./*.py", false),
        ("../*.py", false),
        ("/", false),
        ("src", true),
        ("src/**", true),
        ("../lib/**", true),
        ("/etc/*.toml", true),
    ] {
        let place = place(Kind::Watch, "-w", Path::new("/home/me/app"), &|_| false);
        assert_eq!(place.read(OsStr::new(text)).unwrap()[0].named, named, "{text}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_a_sentence() {
    for (text, part) in [
        ("", "empty"),
        ("  ", "empty"),
        ("[", "invalid pattern"),
        ("{a", "invalid pattern"),
        ("src/[z-a]", "invalid pattern"),
        ("!*.py", "--ignore '*.py'"),
    ] {
        let place = place(Kind::Watch, "-w", Path::new("/"), &|_| false);
        let sentence = place.read(OsStr::new(text)).unwrap_err();
        assert!(sentence.contains(part), "{text}: {sentence}");
    }
}

#[test]
fn semicolons_and_line_ends_separate_blanks_do_not_count_and_all_can_be_escaped() {
    for (text, pieces) in [
        ("*.py;*.toml", &["*.py", "*.toml"][..]),
        ("*.py ; *.toml", &["*.py", "*.toml"]),
        (" *.py;\t*.toml ", &["*.py", "*.toml"]),
        ("\n  *.py\n  *.toml\n", &["*.py", "*.toml"]),
        ("*.py;\r\n*.toml;\r\n", &["*.py", "*.toml"]),
        (r"a\;b;c", &["a;b", "c"]),
        (r"a\ ; b", &[r"a\ ", "b"]),
        (r"\[a\];b", &[r"\[a\]", "b"]),
        ("a b", &["a b"]),
        ("*.py;", &["*.py", ""]),
        (";", &["", ""]),
        ("", &[""]),
        ("\n", &[""]),
    ] {
        assert_eq!(split(OsStr::new(text)), pieces, "{text:?}");
    }
}

fn matches(glob: &str, path: &[u8]) -> bool {
    let glob = Glob::new(glob).unwrap();
    !Globs::new([&glob]).matches(Path::new(OsStr::from_bytes(path))).is_empty()
}

#[test]
fn a_wildcard_means_a_character_and_not_a_byte() {
    for (glob, path, expected) in [
        ("?.txt", "é.txt", true),
        ("?.txt", "e.txt", true),
        ("?.txt", "ee.txt", false),
        ("??.txt", "é.txt", false),
        ("?.txt", "\u{1F600}.txt", true),
        ("?.txt", "e\u{301}.txt", false),
        ("[é].txt", "é.txt", true),
        ("[é].txt", "e.txt", false),
        ("[!é].txt", "e.txt", true),
        ("[!é].txt", "è.txt", true),
        ("[!é].txt", "é.txt", false),
        ("[à-ü].txt", "é.txt", true),
        ("[a-z].txt", "é.txt", false),
        ("[!a]b", "/b", false),
        ("a[!b]c", "a/c", false),
        ("a[+-0]c", "a/c", false),
        ("a[]]c", "a]c", true),
        ("a[[]c", "a[c", true),
        ("a[^b]c", "a^c", true),
        ("a[\\]]c", "a\\]c", true),
        ("é*.txt", "été.txt", true),
        ("{é,à}?.txt", "éé.txt", true),
        ("*.ts{,x}", "a.ts", true),
        ("*.ts{,x}", "a.tsx", true),
        ("*.ts{,x}", "a.tsxx", false),
        ("{,a}b", "b", true),
        ("a{,/b}/c?", "a/cc", true),
        ("a{,/b}/c?", "a/b/cc", true),
        ("**/?", "a/b/é", true),
        ("x\\x41?", "xx41é", true),
    ] {
        assert_eq!(matches(glob, path.as_bytes()), expected, "{glob} on {path}");
    }
}

#[test]
fn in_a_name_that_is_not_utf8_a_wildcard_means_a_byte() {
    for (glob, path, expected) in [
        ("*.py", &b"\xff.py"[..], true),
        ("?.py", b"\xff.py", true),
        ("?.py", b"\xff\xff.py", false),
        ("[!a].py", b"\xff.py", true),
        ("*/?.py", b"\xff/a.py", true),
    ] {
        assert_eq!(matches(glob, path), expected, "{glob}");
    }
}

#[test]
fn a_pattern_that_is_not_utf8_means_just_its_bytes() {
    let directory = Path::new("/d");
    let place = place(Kind::Watch, "-w", directory, &|_| false);
    let read = |bytes: &[u8]| place.read(OsStr::from_bytes(bytes)).unwrap().remove(0);
    let name: OsString = OsStr::from_bytes(b"caf\xe9").to_owned();
    assert_eq!(read(b"caf\xe9/x.py").base, directory.join(&name).join("x.py"));
    assert_eq!(read(b"caf\xe9/*.py").base, directory.join(&name));
    assert_eq!(read(b"caf\xe9/*.py").rule, "-w 'caf\u{fffd}/*.py'");
    let Shape::Glob(glob) = read(b"*\xe9?.py").shape else { panic!("it has wildcards") };
    let globs = Globs::new([&glob]);
    for (path, expected) in [(&b"a\xe9b.py"[..], true), (b"a\xe8b.py", false), ("aéb.py".as_bytes(), false)] {
        assert_eq!(!globs.matches(Path::new(OsStr::from_bytes(path))).is_empty(), expected, "{path:?}");
    }
}

#[test]
fn several_globs_tell_which_of_them_match() {
    let globs: Vec<Glob> = ["*.py", "?.py", "a*", "b*"].iter().map(|text| Glob::new(text).unwrap()).collect();
    let mut found = Globs::new(&globs).matches(Path::new("a.py"));
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2]);
}
