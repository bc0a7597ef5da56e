//! What the command reads and writes has a say in whether a path counts.

use std::path::Path;

use super::decision::{Decision, Rule};
use super::lists::is_output;
use crate::config::Discover;
use crate::discover::{Live, Places, Role, Standing};

/// Decides by what the patterns say of a path, and by what it is to the command. `is_asked_for` says that patterns narrow what
/// is found.
pub fn decide(
    discover: Discover,
    is_asked_for: bool,
    standing: Standing,
    path: &Path,
    by_patterns: Decision,
    live: &Live,
) -> Decision {
    let Standing { own, depends, by } = standing;
    if own {
        return Decision::no(Rule::Written(by));
    }
    let role = depends.filter(|role| takes_precedence(*role, path, &by_patterns.rule));
    let yes = |role| Decision::yes(Rule::Discovered(role, by.clone()));
    match (discover, role) {
        (Discover::Only, Some(role)) if by_patterns.counts || !is_asked_for => yes(role),
        // A trace with a gap says nothing about what it has not seen.
        (Discover::Only, None) if by_patterns.counts && live.is_complete() => Decision::no(Rule::NotRead),
        (Discover::Add, Some(role)) if !by_patterns.counts => yes(role),
        _ => by_patterns,
    }
}

/// Whether a file that the command depends on counts in spite of this rule. What nobody edits (the built-in list) does not,
/// except in packages: people do edit those that they use.
fn takes_precedence(role: Role, path: &Path, rule: &Rule) -> bool {
    match rule {
        Rule::Own | Rule::Ignored(_) | Rule::Written(_) => false,
        // A server that was built into `dist` and is run from there.
        Rule::BuiltIn(entry) if is_output(entry) && matches!(role, Role::Read | Role::Executed) => true,
        Rule::BuiltIn(_) | Rule::VirtualEnvironment => role != Role::Missed && Places::is_package(path),
        // What a tool only asks about may be an output of another tool.
        Rule::IgnoreFile(..) => role != Role::Asked && role != Role::Listed || Places::is_package(path),
        _ => true,
    }
}
