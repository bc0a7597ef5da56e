//! What is read and checked for a smoke run: `--smoke`, `--prove-reload`, `--report`.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::args::Args;
use super::file::{Entry, nearest};
use super::paths::canonical_name;
use super::settings::Settings;
use super::trust::CONFIG_FILE;
use crate::config::{Config, OnExit, Report, ReportFormat, Smoke};
use crate::os::reason;

/// A job of GitHub Actions that is cancelled gets TERM 7.5 s after INT, so a stop may not take longer there.
const STOP_ON_GITHUB: Duration = Duration::from_secs(5);

/// The smoke run. Its keys count under `reloadrun ci` alone.
pub fn read(settings: &mut Settings<'_>, args: &Args) -> Option<Smoke> {
    let ci = args.ci;
    let flag = |value: &String| Entry { value: value.clone(), place: "--smoke".to_owned() };
    // Outside of `reloadrun ci` the key does not count, but a mistake in it is one.
    let default = Duration::from_secs(10 * 60);
    let deadline = settings.duration("deadline", args.deadline.as_ref(), default);
    let check = args.smoke.as_ref().map(flag).or_else(|| settings.text("smoke").filter(|_| ci));
    let Some(check) = check else {
        if settings.file.mistakes.is_empty() {
            settings.mistakes.extend(without_a_check(args));
        }
        return None;
    };
    if check.value.trim().is_empty() {
        settings.wrong(&check, "expected a command, as in 'pytest tests/smoke'");
    }
    let counting = |own: Option<&Vec<OsString>>| ci || own.is_some_and(|given| !given.is_empty());
    let given = |own| if counting(Some(own)) { Some(own.clone()) } else { None };
    let mut prove_reload = Vec::new();
    if let Some(own) = given(&args.prove_reload) {
        let (texts, place, base) = settings.flag_or_paths("prove-reload", &own);
        for text in &texts {
            let path = canonical_name(&base.join(settings.caller.expanded(text)));
            match can_be_touched(&path) {
                Ok(()) => prove_reload.push(path),
                Err(sentence) => settings.mistakes.push(format!("{place} {}: {sentence}", text.display())),
            }
        }
    }
    let mut reports = Vec::new();
    if let Some(own) = given(&args.report) {
        let (texts, place, base) = settings.flag_or_paths("report", &own);
        for text in &texts {
            match report(text) {
                Ok((format, path)) => {
                    let path = canonical_name(&base.join(settings.caller.expanded(&path)));
                    reports.push(Report { format, path });
                }
                Err(sentence) => settings.mistakes.push(format!("{place} '{}': {sentence}", text.display())),
            }
        }
    }
    let deadline = if ci || args.deadline.is_some() { deadline } else { default };
    let github = settings.caller.environment.text("GITHUB_ACTIONS") == Some("true");
    Some(Smoke { check: check.value, prove_reload, deadline, reports, github, events: None })
}

/// The mistakes of a command line that has no check.
fn without_a_check(args: &Args) -> Vec<String> {
    if args.ci {
        return vec![format!(
            "reloadrun ci needs the command that checks the server; set smoke = \"pytest tests/smoke\" in {CONFIG_FILE}, or give --smoke"
        )];
    }
    let given = [
        ("--prove-reload", !args.prove_reload.is_empty()),
        ("--deadline", args.deadline.is_some()),
        ("--report", !args.report.is_empty()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    given.map(|(flag, _)| format!("{flag} is for a smoke run; give --smoke COMMAND too")).collect()
}

/// What a smoke run means for the rest: the end of the server is the end of the run, nobody sits at a terminal, and it is no fleet.
pub fn adapt(config: &mut Config, smoke: &Smoke) {
    config.on_exit = OnExit::Exit;
    config.keys = false;
    config.clear = false;
    config.jitter = Duration::ZERO;
    if smoke.github {
        config.stop_timeout = config.stop_timeout.min(STOP_ON_GITHUB);
    }
}

/// Whether this file can be touched.
///
/// # Errors
/// Why not, to follow its name.
fn can_be_touched(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err("not a file; name a file that the command depends on".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err("no such file".to_owned()),
        Err(error) => Err(reason(error)),
    }
}

/// The form and the path of a report.
///
/// # Errors
/// What was expected.
fn report(text: &OsStr) -> Result<(ReportFormat, OsString), String> {
    let bytes = text.as_bytes();
    let expected = "must be junit:PATH or json:PATH";
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        let meant = match Path::new(text).extension().and_then(OsStr::to_str) {
            Some("xml") => format!("; did you mean junit:{}?", text.display()),
            Some("json") => format!("; did you mean json:{}?", text.display()),
            _ => String::new(),
        };
        return Err(format!("{expected}{meant}"));
    };
    let (name, path) = (String::from_utf8_lossy(&bytes[..colon]), OsStr::from_bytes(&bytes[colon + 1..]));
    let format = match name.as_ref() {
        "junit" => ReportFormat::Junit,
        "json" => ReportFormat::Json,
        _ => {
            let meant = nearest(&name, ["junit", "json"].into_iter());
            let meant = meant.map(|known| format!("; did you mean {known}:{}?", path.display()));
            return Err(format!("{expected}{}", meant.unwrap_or_default()));
        }
    };
    if path.is_empty() || path == "-" {
        return Err(format!("expected a file after {name}:"));
    }
    Ok((format, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::config::ReportFormat::{Json, Junit};
    use std::ffi::OsStr;

    #[test]
    fn a_report_is_a_form_and_a_file_and_everything_else_is_told_with_what_was_meant() {
        for (text, expected) in [
            ("junit:out/a.xml", Ok((Junit, "out/a.xml".into()))),
            ("json:a:b.json", Ok((Json, "a:b.json".into()))),
            ("a.xml", Err("must be junit:PATH or json:PATH; did you mean junit:a.xml?")),
            ("a.json", Err("must be junit:PATH or json:PATH; did you mean json:a.json?")),
            ("x", Err("must be junit:PATH or json:PATH")),
            ("junti:a.xml", Err("must be junit:PATH or json:PATH; did you mean junit:a.xml?")),
            ("html:a", Err("must be junit:PATH or json:PATH")),
            ("json:", Err("expected a file after json:")),
            ("json:-", Err("expected a file after json:")),
        ] {
            assert_eq!(report(OsStr::new(text)), expected.map_err(str::to_owned), "{text}");
        }
    }
}
