//! One page: LiveReload's protocol 7 over a WebSocket.
//!
//! | the page                            | what happens                             |
//! |-------------------------------------|------------------------------------------|
//! | does not say hello within 5 s       | it is let go                             |
//! | knows no protocol 7                 | it is let go                             |
//! | sends anything else                 | that is read and left alone (info, url)  |
//! | sends more than 64 KiB at once      | it is let go                             |
//! | does not answer a ping              | it is let go                             |
//! | takes nothing for 10 s              | it is let go                             |

use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message as Frame};

use super::hub::Hub;
use super::machine::Message;

/// The only protocol that is spoken.
const PROTOCOL: &str = "http://livereload.com/protocols/official-7";

const TO_GREET: Duration = Duration::from_secs(5);
const TO_TAKE: Duration = Duration::from_secs(10);

/// Between two pings. A page that has not been heard of since the one before is gone.
const PING: Duration = Duration::from_secs(30);

const LARGEST_MESSAGE: usize = 64 * 1024;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Speaks with a page until it goes.
pub async fn converse(upgraded: Upgraded, hub: Rc<Hub>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE))
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * LARGEST_MESSAGE);
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    // That it is gone is all that an error tells.
    let _ = serve(&mut socket, hub).await;
    let _ = timeout(TO_TAKE, socket.close(None)).await;
}

async fn serve(socket: &mut Socket, hub: Rc<Hub>) -> Result<(), tungstenite::Error> {
    let Ok(Some(hello)) = timeout(TO_GREET, hello(socket)).await else { return Ok(()) };
    say(socket, &json!({ "command": "hello", "protocols": [PROTOCOL], "serverName": "reloadrun" })).await?;
    // Other clients end the connection at a command that they do not know.
    let is_ours = hello["reloadrun"].is_number();
    let age = hello["age"].as_f64().and_then(|age| Duration::try_from_secs_f64(age / 1e3).ok());
    let mut membership = hub.join(age.filter(|_| is_ours));
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut was_heard = true;
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Frame::Close(_))) | None => return Ok(()),
                Some(frame) => { frame?; was_heard = true; }
            },
            message = membership.messages.recv() => {
                let Some(message) = message else { return Ok(()) };
                if let Some(words) = words(&message, is_ours) {
                    say(socket, &words).await?;
                }
            }
            _ = pings.tick() => {
                if !std::mem::take(&mut was_heard) {
                    return Ok(());
                }
                send(socket, Frame::Ping(Default::default())).await?;
            }
        }
    }
}

/// What the page says first; `None` if that is no hello.
async fn hello(socket: &mut Socket) -> Option<Value> {
    loop {
        match socket.next().await?.ok()? {
            Frame::Text(text) => {
                let hello: Value = serde_json::from_str(&text).ok()?;
                let protocols = hello["protocols"].as_array()?;
                let knows = protocols.iter().any(|protocol| protocol == PROTOCOL);
                return (hello["command"] == "hello" && knows).then_some(hello);
            }
            Frame::Ping(_) | Frame::Pong(_) => {}
            _ => return None,
        }
    }
}

fn words(message: &Message, is_ours: bool) -> Option<Value> {
    let reload = |path: &str| json!({ "command": "reload", "path": path, "liveCSS": true, "liveImg": true });
    match message {
        Message::Reload => Some(reload("/")),
        Message::Exchange(path) => Some(reload(path)),
        Message::Overlay(text) => is_ours.then(|| json!({ "command": "overlay", "message": text })),
    }
}

async fn say(socket: &mut Socket, words: &Value) -> Result<(), tungstenite::Error> {
    send(socket, Frame::text(words.to_string())).await
}

async fn send(socket: &mut Socket, frame: Frame) -> Result<(), tungstenite::Error> {
    timeout(TO_TAKE, socket.send(frame)).await.unwrap_or(Err(tungstenite::Error::ConnectionClosed))
}
