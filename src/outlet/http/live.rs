//! `/live`: whether the supervisor is alive. It is, if it answers in time; what the command does is another question.

use hyper::StatusCode;

use super::reply::{Reply, text};
use crate::outlet::link::Link;

/// 200, or 503.
pub async fn live(link: &Link) -> Reply {
    match link.status().await {
        Some(_) => text(StatusCode::OK, "live"),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the supervisor does not answer"),
    }
}
