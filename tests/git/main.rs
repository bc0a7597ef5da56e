//! Compares the ignore rules with git itself: random trees with nested repositories, submodules, linked worktrees,
//! excludes and unusual ignore files. For each path it compares the verdict of `git check-ignore` with ours, including
//! the deciding file and line. Then it edits ignore files and compares again. `cargo gitignores --seed 7 --verdicts
//! 100000` is a long run.

mod lines;
mod options;
mod world;

#[path = "../../src/ignore_files/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the rest of it is for the program")]
mod ignore_files;
#[path = "../torture/random.rs"]
mod random;

use std::process::{Command, ExitCode};

use options::{Options, Wanted};
use random::Random;
use world::World;

/// How many times the ignore files of one tree are edited.
const EDITS: usize = 3;

/// The most differences shown.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    match Options::of_process() {
        Ok(Wanted::Run(options)) => run(&options),
        Ok(Wanted::List) => {
            println!("git: test");
            ExitCode::SUCCESS
        }
        Ok(Wanted::Nothing) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("git: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    if Command::new("git").arg("--version").output().is_err() {
        println!("git: git is not installed; its test is left out");
        return ExitCode::SUCCESS;
    }
    println!("git: seed {}", options.seed);
    let (mut verdicts, mut matched, mut differences, mut seed) = (0, 0, 0, options.seed);
    while verdicts < options.verdicts && differences < SHOWN {
        let mut random = Random::new(seed);
        let mut world = World::new(&mut random);
        let files = world.ignore_files();
        for edit in 0..=EDITS {
            for answer in world.answers(&mut random) {
                verdicts += 1;
                matched += usize::from(answer.is_some());
                let ours = world.verdict(&files, &answer);
                if !answer.agrees(ours.as_ref()) {
                    differences += 1;
                    println!("git: --seed {seed}, after {edit} edits: {}", world.account(&answer, ours.as_ref()));
                }
            }
            world.edit(&mut random, &files);
        }
        seed = seed.wrapping_add(1);
    }
    println!("git: {verdicts} verdicts, {matched} of them by a rule, {differences} differ from git's");
    if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
