//! What is read and checked for a smoke run: `--smoke`, `--prove-reload`, `--report`.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::args::Args;
use super::file::nearest;
use super::trust::CONFIG_FILE;
use crate::config::{Config, OnExit, ReportFormat, Smoke};
use crate::os::reason;

/// A job of GitHub Actions that is cancelled gets TERM 7.5 s after INT, so a stop may not take longer there.
const STOP_ON_GITHUB: Duration = Duration::from_secs(5);

/// The mistakes of a command line that has no check.
pub fn without_a_check(args: &Args) -> Vec<String> {
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

/// What a smoke run means for the rest: the end of the server is the end of the run, and nobody sits at a terminal.
pub fn adapt(config: &mut Config, smoke: &Smoke) {
    config.on_exit = OnExit::Exit;
    config.keys = false;
    config.clear = false;
    if smoke.github {
        config.stop_timeout = config.stop_timeout.min(STOP_ON_GITHUB);
    }
}

/// Whether this file can be touched.
///
/// # Errors
/// Why not, to follow its name.
pub fn can_be_touched(path: &Path) -> Result<(), String> {
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
pub fn report(text: &OsStr) -> Result<(ReportFormat, OsString), String> {
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
