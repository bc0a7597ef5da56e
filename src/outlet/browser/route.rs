//! What a browser gets: the script, and the WebSocket.

use std::rc::Rc;

use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::task::spawn_local;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::hub::Hub;
use super::origin::{admits, is_ours};
use super::page;
use crate::outlet::http::{Place, Reply, host_name, host_of, method_not_allowed, reply, text};

const SCRIPT: &str = include_str!("livereload.js");

/// Answers a request. A page that may listen does so until it goes, and keeps its place for so long.
pub async fn answer<B>(mut request: Request<B>, place: Place, hub: Rc<Hub>, own_name: Rc<str>) -> Reply {
    let host = match host_of(request.headers(), request.version()) {
        Ok(host) => host.map(str::to_owned),
        Err(sentence) => return text(StatusCode::BAD_REQUEST, sentence),
    };
    if host.as_ref().is_some_and(|host| !is_ours(host_name(host), &own_name)) {
        return text(StatusCode::FORBIDDEN, "pages of this host are not told anything: use localhost or an IP address");
    }
    match request.uri().path() {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => method_not_allowed(),
        "/livereload.js" => script(),
        "/livereload" => {
            let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
            if !admits(origin, host.as_deref(), &own_name) {
                return text(StatusCode::FORBIDDEN, "this page may not listen: it is of another host");
            }
            let Some(key) = key(&request) else {
                let mut reply = text(StatusCode::UPGRADE_REQUIRED, "there is only a WebSocket here");
                reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
                return reply;
            };
            let upgrade = hyper::upgrade::on(&mut request);
            spawn_local(async move {
                if let Ok(upgraded) = upgrade.await {
                    page::converse(upgraded, hub).await;
                }
                drop(place);
            });
            switching(&key)
        }
        _ => text(StatusCode::NOT_FOUND, "there is only /livereload.js here"),
    }
}

fn script() -> Reply {
    let mut reply = reply(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT);
    // Pages that load nothing from other origins without consent (COEP) may load this.
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    reply.headers_mut().insert(policy, HeaderValue::from_static("cross-origin"));
    reply
}

/// The key of a handshake (RFC 6455, 4.2.1); `None` if it is none.
fn key<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    let is_version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let asks = has_word(headers, &UPGRADE, "websocket") && has_word(headers, &CONNECTION, "upgrade");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    (request.method() == Method::GET && is_version && asks).then(|| key.to_owned())
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

fn switching(key: &str) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    reply
}
