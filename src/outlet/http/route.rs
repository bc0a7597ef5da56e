//! Who gets what: the table of paths, and what is asked of every request before.

use std::net::SocketAddr;

use hyper::{Method, Request, StatusCode};

use super::guard::{admits_host, host_of};
use super::live::live;
use super::probes;
use super::reply::{Reply, method_not_allowed, text};
use crate::outlet::link::Link;

/// Answers a request that came to a socket with this address.
pub async fn answer<B>(request: &Request<B>, socket: SocketAddr, link: &Link) -> Reply {
    match host_of(request.headers(), request.version()) {
        Err(sentence) => return text(StatusCode::BAD_REQUEST, sentence),
        Ok(host) if !admits_host(host, socket) => {
            return text(StatusCode::FORBIDDEN, "this socket answers to localhost and to IP addresses only");
        }
        Ok(_) => {}
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return method_not_allowed();
    }
    match request.uri().path() {
        "/live" => live(link).await,
        "/ready" => probes::ready(link).await,
        "/status" => probes::status(link).await,
        "/metrics" => probes::measured(link).await,
        _ => text(StatusCode::NOT_FOUND, "there is only /live, /ready, /status and /metrics here"),
    }
}
