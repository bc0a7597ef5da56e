//! Random saves: edits in random styles at random moments, and after every few of them a quiet point, at
//! which the running command must have started after the last save and must have read the present content, with no
//! more restarts than saves. `docs/torture.md` describes its use.

mod edits;
mod options;
mod pause;
mod random;
mod round;
mod run;
mod tree;

#[path = "../probe/contents.rs"]
mod contents;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use options::{Options, Wanted};

/// The load ends after this time in any case.
const LONGEST_LOAD: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    match Options::of_process() {
        Ok(Wanted::Run(options)) => run_all(&options),
        Ok(Wanted::List) => {
            println!("torture: test");
            ExitCode::SUCCESS
        }
        Ok(Wanted::Nothing) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("torture: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run_all(options: &Options) -> ExitCode {
    println!("torture: seed {}", options.seed);
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..if options.load { 2 } else { 0 }).map(|_| busy(Arc::clone(&over))).collect();
    let mut total = round::Tally::default();
    for &backend in &options.backends {
        let tally = run::run(options, backend);
        println!("torture: {backend}, {}: {tally}", options.tree);
        total.add(&tally);
    }
    over.store(true, Ordering::Relaxed);
    for thread in busy {
        // The thread cannot panic.
        let _ = thread.join();
    }
    println!("torture: {} passed, {} failed", total.passed, total.failed());
    if total.failed() == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn busy(over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let end = Instant::now() + LONGEST_LOAD;
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) && Instant::now() < end {
            for number in 0..100_000_u32 {
                std::hint::black_box(number);
            }
        }
    })
}
