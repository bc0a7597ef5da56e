//! What became of a smoke run, for CI servers (JUnit) and programs (JSON).
//!
//! A report is written before the start, too: whatever happens to this process, no report of a former run is taken for this one.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::step::{Step, Verdict};
use crate::config::{Report, ReportFormat};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::os::fs::write_within;
use crate::verdict::Reason;

/// Whoever reads a report from a FIFO takes it within this time.
const TO_WRITE: Duration = Duration::from_secs(2);

/// What a report tells beside the verdict.
#[derive(Debug)]
pub struct About {
    /// The command as one line.
    pub command: String,
    /// The check's line.
    pub check: String,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The last lines of the command's output, where it went through us.
    pub output: Option<String>,
}

/// The verdict on a run that has not come to its end.
pub fn unfinished(steps: Vec<Step>) -> Verdict {
    let failure = (Reason::OwnFailure, "the run has not come to its end, or reloadrun was killed".to_owned());
    let steps = steps.into_iter().map(|step| Step { passed: None, ..step }).collect();
    Verdict {
        failure: Some(failure),
        code: ExitCode::OWN_FAILURE,
        check: None,
        generation: crate::generation::Generation::FIRST,
        steps,
    }
}

/// Writes a report, and the directory for it.
///
/// # Errors
/// The system's.
pub fn write(report: &Report, about: &About, verdict: &Verdict) -> io::Result<()> {
    let text = match report.format {
        ReportFormat::Json => as_json(about, verdict),
        ReportFormat::Junit => as_junit(about, verdict),
    };
    if let Some(directory) = report.path.parent().filter(|directory| *directory != Path::new("")) {
        fs::create_dir_all(directory)?;
    }
    write_within(&report.path, text.as_bytes(), TO_WRITE)
}

fn as_json(about: &About, verdict: &Verdict) -> String {
    let steps: Vec<_> = verdict
        .steps
        .iter()
        .map(|step| {
            let result = match step.passed {
                Some(true) => "passed",
                Some(false) => "failed",
                None => "skipped",
            };
            json!({ "name": step.name, "result": result, "took_ms": milliseconds(step.took) })
        })
        .collect();
    let (reason, message) = match &verdict.failure {
        Some((reason, message)) => (Some(reason), Some(message)),
        None => (None, None),
    };
    let report = json!({
        "passed": verdict.failure.is_none(),
        "reason": reason,
        "message": message,
        "code": verdict.code,
        "command": about.command,
        "check": about.check,
        "check_code": verdict.check.as_ref().map(CommandStatus::code),
        "check_status": verdict.check.as_ref().map(ToString::to_string),
        "generation": verdict.generation.number(),
        "time": humantime::format_rfc3339_micros(about.began).to_string(),
        "took_ms": milliseconds(about.took),
        "steps": steps,
        "output": about.output,
    });
    format!("{report:#}\n")
}

/// A suite with a case for each thing that was to be shown. Only what all readers of the format know.
fn as_junit(about: &About, verdict: &Verdict) -> String {
    let count = |wanted: Option<bool>| verdict.steps.iter().filter(|step| step.passed == wanted).count();
    let (tests, skipped) = (verdict.steps.len(), count(None));
    // A failure that belongs to none of them, as the end by a signal between two, is the suite's own.
    let open = verdict.failure.is_some() && count(Some(false)) == 0;
    let (tests, failures) = (tests + usize::from(open), count(Some(false)) + usize::from(open));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let totals =
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{:.3}\"", about.took.as_secs_f64());
    let time = humantime::format_rfc3339_seconds(about.began).to_string();
    let name = escaped(&format!("reloadrun: {}", about.command));
    let _ = writeln!(xml, "<testsuites name=\"reloadrun\" {totals}>");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" {totals} skipped=\"{skipped}\" timestamp=\"{}\">",
        time.trim_end_matches('Z')
    );
    let failure = |xml: &mut String| {
        if let Some((reason, message)) = &verdict.failure {
            let message = escaped(message);
            let _ =
                writeln!(xml, "      <failure type=\"{reason}\" message=\"{message}\">{reason}: {message}</failure>");
        }
    };
    for step in &verdict.steps {
        let (name, time) = (escaped(&step.name), step.took.as_secs_f64());
        let _ = write!(xml, "    <testcase classname=\"reloadrun.smoke\" name=\"{name}\" time=\"{time:.3}\"");
        match step.passed {
            Some(true) => xml.push_str("/>\n"),
            Some(false) => {
                xml.push_str(">\n");
                failure(&mut xml);
                xml.push_str("    </testcase>\n");
            }
            None => xml.push_str(">\n      <skipped/>\n    </testcase>\n"),
        }
    }
    if open {
        xml.push_str("    <testcase classname=\"reloadrun.smoke\" name=\"the run\" time=\"0.000\">\n");
        failure(&mut xml);
        xml.push_str("    </testcase>\n");
    }
    if let Some(output) = &about.output {
        let _ = writeln!(xml, "    <system-out>{}</system-out>", escaped(output));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// For text and for attributes. What XML 1.0 cannot hold (section 2.2) is replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::{About, Verdict, as_json, as_junit, escaped, unfinished};
    use crate::exit_code::{CommandStatus, ExitCode};
    use crate::generation::Generation;
    use crate::smoke::step::Step;
    use crate::verdict::Reason;
    use serde_json::{Value, json};
    use std::time::{Duration, SystemTime};

    fn about() -> About {
        About {
            command: "serve <x> & \"y\"".into(),
            check: "pytest".into(),
            began: SystemTime::UNIX_EPOCH,
            took: Duration::from_millis(1500),
            output: Some("a\u{1b}[31m\nb".into()),
        }
    }

    fn verdict(failure: Option<(Reason, String)>, passed: [Option<bool>; 3]) -> Verdict {
        let step = |(name, passed): (&str, Option<bool>)| Step { name: name.into(), took: Duration::ZERO, passed };
        let steps = ["one", "two", "three"].into_iter().zip(passed).map(step).collect();
        let code = if failure.is_some() { ExitCode::FAILED } else { ExitCode::SUCCESS };
        Verdict { failure, code, check: Some(CommandStatus::Exited(1)), generation: Generation::FIRST, steps }
    }

    #[test]
    fn a_failure_stands_at_the_step_that_failed_and_the_rest_was_skipped() {
        let verdict = verdict(Some((Reason::NotReady, "a < b".into())), [Some(true), Some(false), None]);
        let xml = as_junit(&about(), &verdict);
        assert!(xml.contains("tests=\"3\" failures=\"1\""), "{xml}");
        assert!(xml.contains("<failure type=\"not_ready\" message=\"a &lt; b\">"), "{xml}");
        assert!(xml.contains("name=\"three\" time=\"0.000\">\n      <skipped/>"), "{xml}");
        assert!(xml.contains("reloadrun: serve &lt;x&gt; &amp; &quot;y&quot;"), "{xml}");
        assert!(xml.contains("<system-out>a\u{fffd}[31m&#10;b</system-out>"), "{xml}");
        let read: Value = serde_json::from_str(&as_json(&about(), &verdict)).unwrap();
        assert_eq!(read["reason"], "not_ready");
        assert_eq!(read["steps"][1], json!({ "name": "two", "result": "failed", "took_ms": 0.0 }));
        assert_eq!((&read["passed"], &read["code"], &read["check_code"]), (&json!(false), &json!(1), &json!(1)));
    }

    #[test]
    fn a_failure_without_a_step_of_its_own_is_a_case_of_its_own_so_that_no_reader_counts_none() {
        let verdict = verdict(Some((Reason::Interrupted, "x".into())), [Some(true); 3]);
        let xml = as_junit(&about(), &verdict);
        assert!(xml.contains("tests=\"4\" failures=\"1\"") && xml.contains("name=\"the run\""), "{xml}");
        let early = unfinished(verdict.steps);
        let xml = as_junit(&about(), &early);
        assert!(xml.contains("failures=\"1\"") && xml.contains("skipped=\"3\""), "{xml}");
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(
            escaped("a\0\u{8}\u{b}\u{1f}\u{7f}\u{fffe}é😀\t\n\r"),
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}é😀\t&#10;\u{fffd}"
        );
    }
}
