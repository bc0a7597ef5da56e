use super::{Place, Reach, told};
use crate::damping::Series;
use crate::degraded::Degraded;
use std::path::{Path, PathBuf};

/// The message about these files below `/p`, where `others` exist too, and its remedy.
fn said(files: &[&str], others: &[&str], named: &[&str]) -> (String, String) {
    let absolute = |names: &[&str]| names.iter().map(|name| Path::new("/p").join(name)).collect::<Vec<PathBuf>>();
    let others = absolute(others);
    let look = |directory: &Path, reach: Reach| {
        let is_in = |file: &&PathBuf| match reach {
            Reach::Here => file.parent() == Some(directory),
            Reach::Below => file.starts_with(directory),
        };
        others.iter().filter(is_in).cloned().collect()
    };
    let place = Place { directory: Path::new("/p"), named: &absolute(named), others: &look };
    let told = told(&Series { files: absolute(files), restarts: 6, waits: true }, &place);
    let Degraded::RestartSeries { remedy, .. } = &told else { panic!("{told:?}") };
    (told.to_string(), remedy.clone())
}

fn remedy(files: &[&str], others: &[&str]) -> String {
    said(files, others, &[]).1
}

#[test]
fn the_remedy_is_the_common_directory_or_the_common_part_of_the_names() {
    let table: &[(&[&str], &[&str], &str)] = &[
        // A build directory with anything in it.
        (&["site/index.html", "site/assets/a.js"], &["mkdocs.yml", "docs/index.md"], "-i site"),
        (&["site/assets/a.js"], &["docs/index.md"], "-i site"),
        (&["site/index.html"], &[], "-i site"),
        (&["doc/_build/html/a", "doc/_build/doctrees/b"], &["doc/conf.py"], "-i doc/_build"),
        (&["a/out/1", "b/out/2"], &["a/x", "b/x"], "-i 'a/out;b/out'"),
        (&["a dir/x"], &[], "-i 'a dir'"),
        (&["it's/x"], &[], r"-i 'it'\''s'"),
        (&["{x}/a"], &[], r"-i '\{x\}'"),
        (&["-x/a"], &[], "-i ./-x"),
        (&["!x"], &[], "-i './!x'"),
        // A directory with sources too: the names, and the directory as an alternative that the user may choose.
        (&["src/gen.py"], &["src/app.py"], "-i src/gen.py (or the whole directory: -i src)"),
        (&["doc/a.aux", "doc/a.log"], &["doc/a.tex"], "-i 'doc/a.aux;doc/a.log' (or the whole directory: -i doc)"),
        // In the directory itself.
        (&["cache.json"], &["app.py"], "-i cache.json"),
        (&["a.aux", "a.log", "a.pdf"], &["a.tex"], "-i 'a.aux;a.log;a.pdf'"),
        (&["a.aux", "a.log", "a.out", "a.pdf"], &["a.tex"], "-i 'a.aux;a.log;a.out;a.pdf'"),
        (&[".coverage.h.1.xa", ".coverage.h.1.ya", ".coverage.h.2.xb", ".coverage.h.3.xc"], &[], "-i '.coverage.h.*'"),
        (&[".coverage", ".coverage.h.1.ya", ".coverage.h.2.xb", ".coverage.h.3.xc"], &[], "-i '.coverage*'"),
        (&[".a", ".b", ".c", ".d"], &[], "-i '.a;.b;.c;.d'"),
        (&["app-1a.js", "app-2a.js", "app-3b.js", "app-4.js"], &["app.js"], "-i 'app-*.js'"),
        (&["1.o", "2.o", "3.o", "4.o", "prog"], &["1.c"], "-i 'prog;*.o'"),
        (&["1.c", "2.c", "3.c", "4.c"], &["5.c"], "-i '1.c;2.c;3.c;4.c'"),
        (&["1", "2", "3", "4", "5", "6", "7"], &[], "-i '1;2;3;4;5' and 2 more"),
        // Outside of it.
        (&["/out/x/1", "/out/x/2"], &[], "-i /out/x"),
        (&["/out/x/1", "/out/y/2", "site/1"], &["app.py"], "-i '/out;site'"),
    ];
    for (files, others, expected) in table {
        assert_eq!(remedy(files, others), *expected, "{files:?} beside {others:?}");
    }
}

#[test]
fn a_file_that_w_names_literally_must_be_removed_from_w() {
    let (_, remedy) = said(&["cache.json"], &["app.py"], &["cache.json"]);
    assert_eq!(remedy, "remove cache.json from -w and add -i cache.json");
    let (_, remedy) = said(&["a.log", "site/x", "b.log"], &[], &["a.log", "b.log"]);
    assert_eq!(remedy, "remove a.log and b.log from -w and add -i 'a.log;b.log;site'");
    // -i applies to files in a directory that -w names literally.
    assert_eq!(said(&["site/x"], &[], &["site"]).1, "-i site");
}

#[test]
fn the_message_states_the_facts_and_does_not_claim_who_wrote_the_file() {
    let (told, _) = said(&["app.py"], &["b.py"], &[]);
    assert_eq!(
        told,
        "app.py changed within 2s of a start, 6 restarts in a row; further such restarts are delayed by up to 10s each. If the command itself writes it, ignore it: -i app.py"
    );
    let (told, _) = said(&["out/1", "out/2", "out/3"], &[], &[]);
    assert!(
        told.starts_with("out/1 and 2 more changed") && told.ends_with("writes them, ignore them: -i out"),
        "{told}"
    );
}
