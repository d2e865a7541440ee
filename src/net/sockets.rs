//! The sockets of TCP that clients come to, which CONFIG SET may change meanwhile.
//!
//! What is new is opened before anything is closed, so that a port in use changes nothing, and no client finds nobody there. Who
//! has connected by then is let in, also by a socket that is closed. Connections stay as they are, whatever they came by.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::listen::Accepted;
use super::worker::Workers;
use super::{StartError, accept_failed, admit, listen};
use crate::config::Config;
use crate::server::Server;
use crate::server::listening::Listens;

/// The sockets, and who accepts on them.
pub(super) struct Sockets {
    /// The accepting thread's.
    runtime: Handle,
    workers: Weak<Workers>,
    open: Mutex<Vec<Open>>,
}

struct Open {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
    /// Dropped when it is to be closed.
    _stays: oneshot::Sender<()>,
}

impl Sockets {
    /// Accepts on these from now on, on the runtime of the caller.
    pub(super) fn begin(
        server: &Arc<Server>,
        workers: &Arc<Workers>,
        listeners: Vec<TcpListener>,
    ) -> Arc<Self> {
        let sockets = Arc::new(Self {
            runtime: Handle::current(),
            workers: Arc::downgrade(workers),
            open: Mutex::default(),
        });
        let opened = listeners.into_iter();
        let opened = opened.filter_map(|listener| sockets.accept(server, listener));
        sockets.open.lock().extend(opened);
        sockets
    }

    /// Nobody comes in any more.
    pub(super) fn close(&self) {
        self.open
            .lock()
            .drain(..)
            .for_each(|open| open.accepting.abort());
    }

    fn accept(&self, server: &Arc<Server>, listener: TcpListener) -> Option<Open> {
        let address = listener.local_addr().ok()?;
        let workers = self.workers.upgrade()?;
        let listener = Arc::new(listener);
        let (stays, closed) = oneshot::channel();
        let accepting = accept(Arc::clone(server), Arc::clone(&listener), workers, closed);
        Some(Open {
            address,
            listener,
            accepting: self.runtime.spawn(accepting),
            _stays: stays,
        })
    }

    /// Opens what the options ask for and is not open; gives that, and what stays of what is.
    fn open_new(
        open: &[Open],
        config: &Config,
    ) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), StartError> {
        let (mut fresh, mut stays) = (Vec::new(), Vec::new());
        let own = open.iter().filter(|own| own.address.port() == config.port);
        let own: Vec<&TcpListener> = own.map(|own| &*own.listener).collect();
        for bind in listen::addresses(config) {
            let address = listen::address(bind, config)?;
            let is_open = open.iter().any(|open| open.address == address);
            if is_open && !stays.contains(&address) {
                stays.push(address);
            } else {
                // One that is named twice is in use, as at the start.
                let own = if is_open { &[][..] } else { &own };
                fresh.extend(listen::open_tcp(address, bind, config, own)?);
            }
        }
        Ok((fresh, stays))
    }
}

/// Lets clients in until the socket is to be closed.
async fn accept(
    server: Arc<Server>,
    listener: Arc<TcpListener>,
    workers: Arc<Workers>,
    mut closed: oneshot::Receiver<()>,
) {
    loop {
        let accepted = poll_fn(|cx| match pin!(&mut closed).poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(cx).map(Some),
        });
        let Some(accepted) = accepted.await else {
            break;
        };
        match accepted {
            Ok((stream, peer)) => admit(&server, &workers, Accepted::Tcp(stream, peer)),
            Err(error) => accept_failed(&error).await,
        }
    }
    // Those who wait already: the system would reset their connections.
    while let Ok((stream, peer)) = listen::accept_now(&listener) {
        admit(&server, &workers, Accepted::Tcp(stream, peer));
    }
}

impl Listens for Arc<Sockets> {
    fn follow(&self, server: &Arc<Server>, config: &Config) -> Result<(), String> {
        if server.shutdown.is_asked() {
            return Err("the server stops".into());
        }
        // Sockets belong to the runtime on which they are accepted from.
        let _inside = self.runtime.enter();
        let mut open = self.open.lock();
        let (fresh, stays) = Sockets::open_new(&open, config).map_err(|error| error.to_string())?;
        if fresh.is_empty() && stays.is_empty() && config.unixsocket.is_none() {
            return Err("none of the addresses exists here".into());
        }
        let fresh: Vec<Open> = fresh
            .into_iter()
            .filter_map(|listener| self.accept(server, listener))
            .collect();
        open.retain(|open| stays.contains(&open.address));
        open.extend(fresh);
        let addresses: Vec<_> = open.iter().map(|open| open.address.to_string()).collect();
        tracing::info!("Accepting connections on {}", addresses.join(", "));
        Ok(())
    }
}
