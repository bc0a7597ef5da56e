//! What a command tells by sd_notify(3). Pure.
//!
//! READY and STATUS are taken. MAINPID is not: the command's first process is the one that reloadrun started. BARRIER needs
//! nothing but that its descriptor is closed, which happens where it is received.

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The command is ready.
    pub ready: bool,
    /// What it is doing, for people.
    pub status: Option<String>,
}

/// Reads a message: `NAME=VALUE`, one a line. Of several lines with one name the last counts.
pub fn read(message: &str) -> Said {
    let mut said = Said::default();
    for line in message.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => said.ready = true,
            Some(("STATUS", status)) => said.status = Some(status.to_owned()),
            _ => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::{Said, read};

    #[test]
    fn ready_and_status_are_taken_and_nothing_else() {
        let said = |ready, status: Option<&str>| Said { ready, status: status.map(str::to_owned) };
        for (message, expected) in [
            ("READY=1", said(true, None)),
            ("READY=1\n", said(true, None)),
            ("READY=0", said(false, None)),
            ("READY=1\nSTATUS=serving a=b\nMAINPID=1", said(true, Some("serving a=b"))),
            ("STATUS=one\nSTATUS=two", said(false, Some("two"))),
            ("STATUS=", said(false, Some(""))),
            ("MAINPID=4711\nRELOADING=1\nSTOPPING=1\nWATCHDOG=1\nBARRIER=1", said(false, None)),
            ("", said(false, None)),
            ("ready=1\nXREADY=1\n=1\nREADY", said(false, None)),
        ] {
            assert_eq!(read(message), expected, "{message:?}");
        }
    }
}
