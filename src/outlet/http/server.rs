//! Connections: how many, how long, how large. Nobody who connects can keep others out for longer than that.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::route;
use crate::listen::OutletSocket;
use crate::outlet::link::Link;

/// So many connections are served at a time; others wait until one of these ends.
const MOST_CONNECTIONS: usize = 256;

/// A request must have arrived within this time, also the first byte of the next one on a connection that is kept.
const TO_ASK: Duration = Duration::from_secs(10);

/// After this time a connection is ended between two requests.
const LONGEST: Duration = Duration::from_secs(600);

/// A client must have taken its last answer within this time.
const TO_TAKE: Duration = Duration::from_secs(10);

/// The bytes of a request's head, and the number of its headers.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// Where no descriptor is left, so long until the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket of the outlet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at a socket of the supervisor's.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of(socket: &OutletSocket) -> io::Result<Listener> {
        let listener = std::net::TcpListener::from(socket.socket.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(Listener { listener: TcpListener::from_std(listener)?, address: socket.address })
    }

    /// Takes connections, for ever.
    pub async fn serve(self, link: Rc<Link>) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (link, address) = (Rc::clone(&link), self.address);
                    spawn_local(async move {
                        converse(stream, address, &link).await;
                        drop(place);
                    });
                }
                // EMFILE, or a connection that was gone before it was taken.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn converse(stream: TcpStream, address: SocketAddr, link: &Link) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(route::answer(&request, address, link).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TO_ASK)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // What went wrong is the client's business: it is gone, or what it sent is no request.
    if timeout(LONGEST, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(TO_TAKE, connection).await;
    }
}
