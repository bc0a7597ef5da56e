//! Who gets what: the table of paths, and what is asked of every request before.

use std::net::SocketAddr;

use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use super::guard::admits_host;
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

/// The header `Host`: one, and from HTTP/1.1 on it must be there (RFC 9112, 3.2).
fn host_of(headers: &HeaderMap, version: Version) -> Result<Option<&str>, &'static str> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, _) if version >= Version::HTTP_11 => Err("the header Host is missing"),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err("there is more than one header Host"),
        (Some(host), None) => host.to_str().map(Some).map_err(|_| "the header Host is no text"),
    }
}
