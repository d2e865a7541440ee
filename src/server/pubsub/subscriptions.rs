//! What one client listens to, and what has come for it.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{KINDS, Kind, Name};
use crate::keyspace::ThreadSlot;
use crate::resp::{Push, Reply};
use crate::server::Server;
use crate::server::clients::Client;

/// About what a subscription takes, beside its name: places in the client's set, the thread's list and the registry.
const SUBSCRIPTION_BYTES: usize = 128;

/// A client as its thread's lists know it.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) client: Arc<Client>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    pushes: VecDeque<Arc<Push>>,
    bytes: usize,
}

impl Subscriber {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            inbox: Mutex::default(),
        }
    }

    /// Writes what has come in behind the replies. False where that is nothing.
    pub(super) fn read(&self, reply: &mut Reply) -> bool {
        let inbox = std::mem::take(&mut *self.inbox.lock());
        inbox.pushes.iter().for_each(|push| reply.pushed(push));
        !inbox.pushes.is_empty()
    }

    /// Takes a message in. False where too many are unread: then the client is closed.
    pub(super) fn receive(&self, push: &Arc<Push>, hard_bytes: u64) -> bool {
        if self.client.is_killed() {
            return true;
        }
        let mut inbox = self.inbox.lock();
        inbox.bytes += push.sent_len();
        let unread = inbox.bytes + self.client.output_bytes.load(Ordering::Relaxed);
        let is_slow = hard_bytes > 0 && unread as u64 > hard_bytes;
        match is_slow {
            true => *inbox = Inbox::default(),
            false => inbox.pushes.push_back(Arc::clone(push)),
        }
        let is_first = inbox.pushes.len() == 1;
        drop(inbox);
        if is_slow {
            tracing::warn!(
                "Closing client {} that reached client-output-buffer-limit",
                self.client.address
            );
            self.client.kill();
        } else if is_first {
            self.client.wake();
        }
        !is_slow
    }
}

/// What a client listens to. It does so no more when this is dropped.
#[derive(Debug)]
pub struct Subscriptions {
    server: Arc<Server>,
    thread: ThreadSlot,
    subscriber: Arc<Subscriber>,
    names: [HashSet<Name>; KINDS],
    bytes: usize,
}

impl Subscriptions {
    /// Of a client that listens to nothing yet.
    pub fn new(server: &Arc<Server>, client: &Arc<Client>, thread: ThreadSlot) -> Self {
        let subscriptions = Self {
            server: Arc::clone(server),
            thread,
            subscriber: Arc::new(Subscriber::new(Arc::clone(client))),
            names: Default::default(),
            bytes: 0,
        };
        // What was published before is not for it.
        subscriptions.hand_out();
        subscriptions
    }

    /// Listens to one more name, if it does not yet.
    pub fn add(&mut self, kind: Kind, name: &[u8]) {
        if self.names[kind as usize].contains(name) {
            return;
        }
        let name: Name = name.into();
        self.names[kind as usize].insert(Arc::clone(&name));
        let pubsub = &self.server.pubsub;
        pubsub.subscribe(kind, &name, self.thread, &self.subscriber);
        self.bytes += SUBSCRIPTION_BYTES + name.len();
        self.tell(kind);
    }

    /// Listens to a name no more, if it did.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) {
        let Some(name) = self.names[kind as usize].take(name) else {
            return;
        };
        let pubsub = &self.server.pubsub;
        pubsub.unsubscribe(kind, &name, self.thread, self.subscriber.client.id);
        self.bytes -= SUBSCRIPTION_BYTES + name.len();
        self.tell(kind);
    }

    /// The names of a kind.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.names[kind as usize].iter().cloned().collect()
    }

    /// How many names of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }

    /// What they take in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Has what was published up to now come in.
    pub fn hand_out(&self) {
        self.server.hand_out_messages(self.thread);
    }

    /// Writes what has come in behind the replies. False where that is nothing.
    pub fn read(&self, reply: &mut Reply) -> bool {
        self.subscriber.read(reply)
    }

    fn tell(&self, kind: Kind) {
        let client = &self.subscriber.client;
        client.subscriptions[kind as usize].store(self.count(kind), Ordering::Relaxed);
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        let client = &self.subscriber.client;
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in std::mem::take(&mut self.names[kind as usize]) {
                let pubsub = &self.server.pubsub;
                pubsub.unsubscribe(kind, &name, self.thread, client.id);
            }
            client.subscriptions[kind as usize].store(0, Ordering::Relaxed);
        }
    }
}
