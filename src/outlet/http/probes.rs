//! `/ready`: whether a command serves. `/status`: what `reloadrun status --json` prints. `/metrics`: the same for Prometheus.

use hyper::StatusCode;

use super::reply::{Reply, reply, text};
use crate::control::{Answer, METRICS_TYPE, line, metrics, state_in_words};
use crate::outlet::link::Link;

/// 200 while a command serves, else 503; both say why.
pub async fn ready(link: &Link) -> Reply {
    match link.status().await {
        Some(status) => {
            let code = if status.serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(code, &state_in_words(&status))
        }
        None => silent(),
    }
}

/// The status as JSON.
pub async fn status(link: &Link) -> Reply {
    match link.status().await {
        Some(status) => reply(StatusCode::OK, "application/json", line(&Answer::Status(status))),
        None => silent(),
    }
}

/// The status as metrics.
pub async fn measured(link: &Link) -> Reply {
    match link.status().await {
        Some(status) => reply(StatusCode::OK, METRICS_TYPE, metrics(&status)),
        None => silent(),
    }
}

fn silent() -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, "the supervisor does not answer")
}
