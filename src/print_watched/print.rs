//! What is printed, on standard error: standard output is the command's.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::change::json_string;
use crate::config::Config;
use crate::discover::{self, Discovery, Entry, Gap, NewNames, Role, Verdict, missed, most};
use crate::escape::escaped_json;
use crate::exit_code::CommandStatus;
use crate::filter::{Decision, Filter, Rule};
use crate::os::seccomp::Untraceable;
use crate::report::{Tone, line, shown};
use crate::watch;

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line for each path, for people.
    Text,
    /// A JSON object for each path.
    Json,
}

/// All that there is to print.
pub struct Trace<'a> {
    /// What was found out.
    pub discovery: &'a Discovery,
    /// Of the run.
    pub config: &'a Config,
    /// Decides what a change does.
    pub filter: &'a Filter,
    /// When the command was started.
    pub began: Instant,
    /// Whether set-uid programs had no effect.
    pub no_new_privileges: bool,
}

/// Prints it. A reader that does not read delays the end, as with any program that prints.
pub fn print(trace: &Trace<'_>, format: Format) {
    let text = match format {
        Format::Text => text(trace),
        Format::Json => json(trace),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn text(trace: &Trace<'_>) -> String {
    let directory = &trace.config.directory;
    let mut lines = String::new();
    let mut say = |sentence: &str| lines.push_str(&line(Tone::Plain, false, sentence));
    let mut left_out = 0;
    for (path, entry, verdict) in trace.discovery.entries() {
        if !matches!(verdict, Verdict::Counts | Verdict::Own) {
            left_out += 1;
            continue;
        }
        let decision = decided(trace, path, entry);
        let rule = decision.rule.clone().seen_from(directory);
        let effect = match (decision.counts, entry.role) {
            (true, Role::Missed) => "its creation restarts",
            (true, Role::Listed) => "a new file in it restarts",
            (true, _) => "a change restarts",
            (false, _) => "a change does nothing",
        };
        let note =
            if matches!(decision.rule, Rule::Written(_)) { String::new() } else { note(trace, path, entry, verdict) };
        say(&format!("{:<8} {}: {effect}: {rule}{note}", name(entry.role), shown(path, directory)));
    }
    if left_out > 0 {
        say(&format!("{left_out} more paths belong to the system or to a toolchain, or are compiled from others"));
    }
    for sentence in warnings(trace) {
        lines.push_str(&line(Tone::Bad, false, &sentence));
    }
    lines
}

/// What a change does in a run, which knows by then what is known here. Of a directory that is listed, a new file in it.
fn decided(trace: &Trace<'_>, path: &Path, entry: &Entry) -> Decision {
    let Role::Listed = entry.role else { return watch::explain(trace.filter, path) };
    let mut new = OsString::from("reloadrun-new");
    if let NewNames::With(extensions) = trace.discovery.new_names(path)
        && let Some(extension) = extensions.first().filter(|extension| !extension.is_empty())
    {
        new.push(".");
        new.push(extension);
    }
    watch::explain(trace.filter, &path.join(new))
}

/// What the discovery has to say beyond the rule.
fn note(trace: &Trace<'_>, path: &Path, entry: &Entry, verdict: Verdict) -> String {
    match (verdict, entry.role) {
        (Verdict::Own, _) => "; the command makes it itself".to_owned(),
        (_, Role::Listed) => match trace.discovery.new_names(path) {
            NewNames::All => String::new(),
            NewNames::With(extensions) => {
                let names = extensions.iter().map(|extension| match extension.to_string_lossy() {
                    extension if extension.is_empty() => "names without extension".to_owned(),
                    extension => format!("*.{extension}"),
                });
                format!("; it reads {} there", names.collect::<Vec<_>>().join(", "))
            }
        },
        _ => String::new(),
    }
}

fn json(trace: &Trace<'_>) -> String {
    let directory = &trace.config.directory;
    let mut lines = String::new();
    for (path, entry, verdict) in trace.discovery.entries() {
        let decision = decided(trace, path, entry);
        let new_names = match (entry.role, trace.discovery.new_names(path)) {
            (Role::Listed, NewNames::With(extensions)) => {
                Some(extensions.iter().map(|extension| extension.to_string_lossy().into_owned()).collect::<Vec<_>>())
            }
            _ => None,
        };
        let rest = json!({
            "role": name(entry.role),
            "verdict": match verdict {
                Verdict::Counts => "counts",
                Verdict::Own => "own",
                Verdict::Compiled => "compiled",
                Verdict::Installed => "installed",
                Verdict::NotMissed => "not_missed",
            },
            "restarts": decision.counts,
            "rule": decision.rule.seen_from(directory).to_string(),
            "thread": entry.first.thread,
            "call": entry.first.call,
            "after_ms": entry.first.when.saturating_duration_since(trace.began).as_millis(),
            "writes": entry.writes.opened,
            "new_extensions": new_names,
        })
        .to_string();
        let target = entry.target.as_deref().map_or_else(|| "null".to_owned(), json_string);
        push(&mut lines, format!("{{\"path\":{},\"target\":{target},{}", json_string(path), &rest[1..]));
    }
    let gaps: Vec<&str> = trace.discovery.gaps().map(|(gap, _)| gap_name(gap)).collect();
    let too_many: Vec<&str> = trace.discovery.too_many().map(|(role, _)| name(role)).collect();
    let without_rights: Vec<String> = without_rights(trace).map(|path| path.display().to_string()).collect();
    let end = json!({
        "complete": gaps.is_empty() && too_many.is_empty(), "gaps": gaps, "too_many": too_many,
        "without_rights": without_rights,
    });
    push(&mut lines, end.to_string());
    lines
}

fn push(lines: &mut String, object: String) {
    lines.push_str(&escaped_json(object));
    lines.push('\n');
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Written => "written",
        Role::Executed => "executed",
        Role::Read => "read",
        Role::Asked => "asked",
        Role::Listed => "listed",
        Role::Missed => "missed",
    }
}

fn gap_name(gap: Gap) -> &'static str {
    match gap {
        Gap::IoUring => "io_uring",
        Gap::OtherRoot => "other_root",
        Gap::Handle => "handle",
        Gap::Unreadable => "unreadable",
        Gap::Unread => "unread",
        Gap::Overflow => "overflow",
    }
}

fn warnings(trace: &Trace<'_>) -> Vec<String> {
    let gaps = trace.discovery.gaps();
    let gaps = gaps.map(|(gap, thread)| format!("this list is incomplete: {}", missed(gap, thread)));
    let too_many = trace.discovery.too_many().map(|(role, _)| {
        format!("this list is incomplete: there are more than {} paths of the kind {:?}", most(role), name(role))
    });
    let rights = without_rights(trace).map(|path| {
        format!(
            "{} ran without the rights of its owner, because reloadrun traces it as an ordinary user",
            path.display()
        )
    });
    gaps.chain(too_many).chain(rights).collect()
}

/// Set-uid programs and the like that had no effect.
fn without_rights<'a>(trace: &'a Trace<'_>) -> impl Iterator<Item = &'a Path> {
    trace.discovery.privileged().filter(|_| trace.no_new_privileges)
}

/// Why a command cannot be traced, as a sentence.
pub fn untraceable(why: Untraceable) -> String {
    format!("the command cannot be traced: {}", discover::untraceable(why))
}

/// Why a command did not begin, as a sentence.
pub fn cannot_start(status: &CommandStatus) -> String {
    match status {
        CommandStatus::CannotRun(why) | CommandStatus::NotFound(why) => format!("cannot start the command: {why}"),
        CommandStatus::Exited(_) | CommandStatus::Signaled { .. } => "the command has ended".to_owned(),
    }
}
