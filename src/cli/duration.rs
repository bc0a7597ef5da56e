//! Durations as they are typed.

use std::time::Duration;

/// `500ms`, `2s`, `1m 30s`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text.trim()).ok(),
    }
}
