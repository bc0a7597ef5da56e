//! Generates the man page, the shell completions and the schema of the config file from the clap command in `args.rs`, so they always agree with
//! `--help`.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

use super::completion::completion;
use super::schema::schema;

/// The description on the man page; `--help` has only the first sentence of it.
const DESCRIPTION: &str = "\
reloadrun runs a command and starts it again when the files it depends on change. Before a new command starts, the \
whole tree of processes of the old one has ended. Without --watch, every file in the directory counts that is not \
ignored.";

/// The page of this kind, or `None` if it is not one of `PAGES`. `examples` and `more` are the last parts of `--help`.
pub fn page(kind: &str, command: Command, examples: &str, more: &str) -> Option<String> {
    match kind {
        "man" => Some(man(command, examples, more)),
        "complete-bash" => Some(completion(Shell::Bash, command)),
        "complete-zsh" => Some(completion(Shell::Zsh, command)),
        "schema" => Some(schema(&command)),
        "complete-fish" => Some(completion(Shell::Fish, command)),
        _ => None,
    }
}

fn man(command: Command, examples: &str, more: &str) -> String {
    const IN_MEMORY: &str = "writing to memory cannot fail";
    let page = Man::new(command);
    let mut text = Vec::new();
    page.render_title(&mut text).expect(IN_MEMORY);
    page.render_name_section(&mut text).expect(IN_MEMORY);
    page.render_synopsis_section(&mut text).expect(IN_MEMORY);
    Roff::new().control("SH", ["DESCRIPTION"]).text([roman(DESCRIPTION)]).to_writer(&mut text).expect(IN_MEMORY);
    page.render_options_section(&mut text).expect(IN_MEMORY);
    let mut rest = Roff::new();
    rest.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in examples.lines().skip(1) {
        rest.text([roman(line)]);
    }
    rest.control("fi", []);
    for paragraph in more.split("\n\n") {
        let (heading, words) = paragraph.split_once(": ").unwrap_or(("Config file", paragraph));
        rest.control("SH", [heading.to_uppercase().as_str()]).text([roman(words)]);
    }
    rest.to_writer(&mut text).expect(IN_MEMORY);
    String::from_utf8(text).expect("the generators write UTF-8")
}
