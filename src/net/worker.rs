//! Worker threads: each one a runtime, an executor and the buffers that its connections share.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Connection;
use super::listen::{Prepared, PreparedStream};
use crate::clock::Clock;
use crate::dispatch::Executor;
use crate::keyspace::ThreadSlot;
use crate::resp::{Protocol, Reply};
use crate::server::Server;
use crate::threads::{self, Part};

/// Bytes that one read takes at most, while little of an unfinished request is kept.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// The same while long requests come.
pub(super) const READ_BYTES_LONG: usize = 512 * 1024;

/// What the connections of a thread use in turn. A connection that waits owns no buffer.
pub(super) struct Local {
    pub(super) executor: Executor,
    pub(super) input: Box<[u8]>,
    pub(super) reply: Reply,
    /// The runtime that has timers.
    pub(super) timers: Handle,
    /// Empty buffers for replies.
    pub(super) spare: Vec<Vec<u8>>,
}

impl Local {
    /// The buffer to read into. It is to be put back; where a command panicked it was not, and there is a
    /// new one.
    pub(super) fn take_input(&mut self) -> Box<[u8]> {
        match std::mem::take(&mut self.input) {
            lost if lost.is_empty() => vec![0; READ_BYTES_LONG].into_boxed_slice(),
            input => input,
        }
    }
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// Lends the thread's executor and buffers.
///
/// # Panics
/// On a thread that is no worker, and if called inside itself.
pub(super) fn with_local<T>(work: impl FnOnce(&mut Local) -> T) -> T {
    LOCAL.with_borrow_mut(|local| work(local.as_mut().expect("only workers serve connections")))
}

/// The worker threads, to which connections are given in turn.
pub(super) struct Workers {
    queues: Vec<UnboundedSender<Prepared>>,
    next: AtomicUsize,
    /// Connections given and not yet taken.
    waiting: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts the threads.
    pub(super) fn start(server: &Arc<Server>, timers: &Handle) -> io::Result<Self> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let queues = (0..server.engine.workers)
            .map(|index| {
                let (sender, receiver) = unbounded_channel();
                // Its timers are the accepting thread's: a runtime that has none of its own reads the
                // clock less often.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()?;
                let (server, waiting) = (Arc::clone(server), Arc::clone(&waiting));
                let timers = timers.clone();
                let work = move || {
                    runtime.block_on(work(server, ThreadSlot(index), timers, receiver, waiting))
                };
                threads::spawn(format!("worker-{index}"), Part::Workers, work)?;
                Ok(sender)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            queues,
            next: AtomicUsize::new(0),
            waiting,
        })
    }

    /// Gives a connection to the worker whose turn it is.
    pub(super) fn give(&self, prepared: Prepared) {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut prepared = prepared;
        for index in first..first + self.queues.len() {
            // Only a worker that has ended refuses.
            match self.queues[index % self.queues.len()].send(prepared) {
                Ok(()) => return,
                Err(refused) => prepared = refused.0,
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections given and not yet taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A worker's life: takes connections and serves each as a task of its runtime.
async fn work(
    server: Arc<Server>,
    thread: ThreadSlot,
    timers: Handle,
    mut queue: UnboundedReceiver<Prepared>,
    waiting: Arc<AtomicUsize>,
) {
    LOCAL.set(Some(Local {
        executor: Executor::new(Arc::clone(&server), thread, Clock::System),
        input: Box::default(),
        reply: Reply::new(Protocol::Resp2),
        spare: Vec::new(),
        timers,
    }));
    tokio::spawn(hand_out(Arc::clone(&server), thread));
    while let Some(prepared) = queue.recv().await {
        let started = start(&server, prepared);
        waiting.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = started {
            tracing::debug!("A connection was lost before it was served: {error}");
        }
    }
}

/// Hands out what is published for the thread's clients.
async fn hand_out(server: Arc<Server>, thread: ThreadSlot) {
    loop {
        poll_fn(|cx| server.pubsub.poll_post(thread, cx)).await;
        server.hand_out_messages(thread);
        // What else is ready has its turn.
        tokio::task::yield_now().await;
    }
}

fn start(server: &Arc<Server>, prepared: Prepared) -> io::Result<()> {
    match prepared.stream {
        PreparedStream::Tcp(stream) => {
            let stream = TcpStream::from_std(stream)?;
            tokio::spawn(Connection::new(Arc::clone(server), stream, prepared.origin).serve());
        }
        PreparedStream::Unix(stream) => {
            let stream = UnixStream::from_std(stream)?;
            tokio::spawn(Connection::new(Arc::clone(server), stream, prepared.origin).serve());
        }
    }
    Ok(())
}
