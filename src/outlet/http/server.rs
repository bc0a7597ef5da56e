//! Connections: how many, how long, how large. Nobody who connects can keep others out for longer than that.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::reply::Reply;
use crate::listen::OutletSocket;

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

/// One of [`MOST_CONNECTIONS`], for whoever has it.
pub type Place = Arc<OwnedSemaphorePermit>;

/// A socket of the outlet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens at a socket of the supervisor's.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of(socket: &OutletSocket) -> io::Result<Listener> {
        let listener = std::net::TcpListener::from(socket.socket.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(Listener { listener: TcpListener::from_std(listener)? })
    }

    /// Takes connections, for ever, and has each request answered.
    pub async fn serve<A, F>(self, answer: A)
    where
        A: Fn(Request<Incoming>, Place) -> F + Clone + 'static,
        F: Future<Output = Reply> + 'static,
    {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => drop(spawn_local(converse(stream, Arc::new(place), answer.clone()))),
                // EMFILE, or a connection that was gone before it was taken.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn converse<A, F>(stream: TcpStream, place: Place, answer: A)
where
    A: Fn(Request<Incoming>, Place) -> F + 'static,
    F: Future<Output = Reply> + 'static,
{
    let service = service_fn(|request| {
        let reply = answer(request, Arc::clone(&place));
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TO_ASK)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // What went wrong is the client's business: it is gone, or what it sent is no request.
    if timeout(LONGEST, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(TO_TAKE, connection).await;
    }
}
