//! Publish/subscribe: who listens to which channel, and how a message comes to them.
//!
//! The registry knows how many subscribers each name has on each worker thread; who they are the thread's own lists know, which
//! nobody else touches. A publish puts one letter into the post of each thread that has subscribers, which the publisher wakes
//! once a batch; that thread hands the message out to the inboxes of its clients ([`subscriptions`]), and their connections send it. All
//! receivers share the bytes.
//!
//! ```text
//! PUBLISH --- registry: which threads? ---> post of a thread ---> inboxes of its clients ---> sockets
//! ```
//!
//! Invariant: all subscribers get all messages in one order, that of the registry's lock, under which letters are posted.
//! Invariant: a client gets what was published before its command only before the reply to it, and nothing of that after an
//! UNSUBSCRIBE: the thread's post is handed out before.

mod patterns;
pub mod subscriptions;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use self::patterns::Patterns;
use self::subscriptions::Subscriber;
use super::Server;
use crate::keyspace::ThreadSlot;
use crate::resp::{Payload, Push};
use crate::value::glob;

/// What a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel by its name.
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A shard channel, which is another one than the channel of its name.
    Shard,
}

/// How many kinds there are.
const KINDS: usize = 3;

/// The name of a channel, or a pattern.
pub type Name = Arc<[u8]>;

/// How many subscribers a name has on each thread.
#[derive(Clone, Debug, Default)]
struct Counts(SmallVec<[u32; 4]>);

impl Counts {
    fn add(&mut self, thread: ThreadSlot) {
        if self.0.len() <= thread.0 {
            self.0.resize(thread.0 + 1, 0);
        }
        self.0[thread.0] += 1;
    }

    fn remove(&mut self, thread: ThreadSlot) {
        if let Some(count) = self.0.get_mut(thread.0) {
            *count = count.saturating_sub(1);
        }
    }

    fn all(&self) -> usize {
        self.0.iter().map(|&count| count as usize).sum()
    }
}

/// The channels of a kind.
type Channels = HashMap<Name, Counts>;

#[derive(Debug, Default)]
struct Registry {
    channels: Channels,
    shards: Channels,
    patterns: Patterns,
}

impl Registry {
    /// The channels of a kind; patterns are no channels.
    fn channels(&mut self, kind: Kind) -> Option<&mut Channels> {
        match kind {
            Kind::Channel => Some(&mut self.channels),
            Kind::Shard => Some(&mut self.shards),
            Kind::Pattern => None,
        }
    }

    fn add(&mut self, kind: Kind, name: &Name, thread: ThreadSlot) {
        match self.channels(kind) {
            Some(channels) => channels.entry(Arc::clone(name)).or_default().add(thread),
            None => self.patterns.add(name, thread),
        }
    }

    fn remove(&mut self, kind: Kind, name: &[u8], thread: ThreadSlot) {
        let Some(channels) = self.channels(kind) else {
            return self.patterns.remove(name, thread);
        };
        if let Some(counts) = channels.get_mut(name) {
            counts.remove(thread);
            if counts.all() == 0 {
                channels.remove(name);
            }
        }
    }
}

/// A message on its way to the subscribers of a name.
#[derive(Debug)]
struct Letter {
    kind: Kind,
    name: Name,
    push: Arc<Push>,
}

/// The subscribers of a name on a thread, by their clients' numbers.
type Subscribers = HashMap<u64, Arc<Subscriber>>;

/// What is on its way to the clients of a thread.
#[derive(Debug, Default)]
struct Post {
    waiting: Mutex<Waiting>,
    /// The thread has published something, and has still to wake those that it is for.
    has_published: AtomicBool,
    /// The thread's subscribers, by kind, name and the client's number. Locked by the thread itself only.
    lists: Mutex<[HashMap<Name, Subscribers>; KINDS]>,
}

#[derive(Debug, Default)]
struct Waiting {
    letters: Vec<Letter>,
    waker: Option<Waker>,
}

/// All subscriptions.
#[derive(Debug)]
pub struct PubSub {
    registry: Mutex<Registry>,
    /// Names that have subscribers, of all kinds. 0: a publish need not look.
    names: AtomicUsize,
    posts: Box<[Post]>,
}

impl PubSub {
    /// Of so many worker threads.
    pub fn new(workers: usize) -> Self {
        Self {
            registry: Mutex::default(),
            names: AtomicUsize::new(0),
            posts: (0..workers).map(|_| Post::default()).collect(),
        }
    }

    /// Sends a message to all who listen to a channel, or a shard channel. Gives how many that are. Their threads hear of it when
    /// the caller's, which is `from`, wakes them: with several messages at once each is to be sent once.
    pub fn publish(
        &self,
        from: ThreadSlot,
        kind: Kind,
        channel: &[u8],
        message: &Payload<'_>,
    ) -> usize {
        if !self.has_names() {
            return 0;
        }
        let mut receivers = 0;
        let mut registry = self.registry.lock();
        let word: &[u8] = match kind {
            Kind::Shard => b"smessage",
            Kind::Channel | Kind::Pattern => b"message",
        };
        let found = registry
            .channels(kind)
            .and_then(|c| c.get_key_value(channel));
        if let Some((name, counts)) = found {
            receivers += counts.all();
            let push = Arc::new(Push::new(&[word, channel], message));
            self.post(kind, name, counts, &push);
        }
        if kind == Kind::Channel {
            registry.patterns.each_match(channel, |pattern, counts| {
                receivers += counts.all();
                let push = Arc::new(Push::new(&[b"pmessage", pattern, channel], message));
                self.post(Kind::Pattern, pattern, counts, &push);
            });
        }
        drop(registry);
        match self.posts.get(from.0) {
            Some(own) => own.has_published.store(true, Ordering::Relaxed),
            // It has no batch whose end could be waited for.
            None => self.wake_all(),
        }
        receivers
    }

    /// Whether anybody listens to anything.
    #[inline]
    pub fn has_names(&self) -> bool {
        self.names.load(Ordering::Acquire) > 0
    }

    /// Wakes the threads that this one has published for.
    pub fn wake_threads(&self, from: ThreadSlot) {
        let own = self.posts.get(from.0);
        if own.is_some_and(|own| own.has_published.swap(false, Ordering::Relaxed)) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for post in &self.posts {
            let mut waiting = post.waiting.lock();
            let Waiting { letters, waker } = &mut *waiting;
            let waker = waker.take_if(|_| !letters.is_empty());
            drop(waiting);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn post(&self, kind: Kind, name: &Name, counts: &Counts, push: &Arc<Push>) {
        let threads = self.posts.iter().zip(&counts.0);
        for (post, _) in threads.filter(|(_, count)| **count > 0) {
            let mut waiting = post.waiting.lock();
            waiting.letters.push(Letter {
                kind,
                name: Arc::clone(name),
                push: Arc::clone(push),
            });
        }
    }

    /// Hands out what is on its way to the clients of this thread. Who has more than `hard_bytes` unread is closed; 0 is no limit.
    /// Gives how many were.
    fn hand_out(&self, thread: ThreadSlot, hard_bytes: u64) -> u64 {
        let Some(post) = self.posts.get(thread.0) else {
            return 0;
        };
        let letters = std::mem::take(&mut post.waiting.lock().letters);
        if letters.is_empty() {
            return 0;
        }
        let mut closed = 0;
        let lists = post.lists.lock();
        for Letter { kind, name, push } in letters {
            for subscriber in lists[kind as usize]
                .get(&name)
                .into_iter()
                .flat_map(HashMap::values)
            {
                closed += u64::from(!subscriber.receive(&push, hard_bytes));
            }
        }
        closed
    }

    /// Whether something is to be handed out to clients of this thread; otherwise it is woken when there is.
    pub fn poll_post(&self, thread: ThreadSlot, cx: &Context<'_>) -> Poll<()> {
        let Some(post) = self.posts.get(thread.0) else {
            return Poll::Pending;
        };
        let mut waiting = post.waiting.lock();
        if !waiting.letters.is_empty() {
            return Poll::Ready(());
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn subscribe(&self, kind: Kind, name: &Name, thread: ThreadSlot, subscriber: &Arc<Subscriber>) {
        if let Some(post) = self.posts.get(thread.0) {
            let list = &mut post.lists.lock()[kind as usize];
            let of_name = list.entry(Arc::clone(name)).or_default();
            of_name.insert(subscriber.client.id, Arc::clone(subscriber));
        }
        let mut registry = self.registry.lock();
        registry.add(kind, name, thread);
        self.count_names(&registry);
    }

    fn unsubscribe(&self, kind: Kind, name: &Name, thread: ThreadSlot, client: u64) {
        let mut registry = self.registry.lock();
        registry.remove(kind, name, thread);
        self.count_names(&registry);
        drop(registry);
        let Some(post) = self.posts.get(thread.0) else {
            return;
        };
        let list = &mut post.lists.lock()[kind as usize];
        if let Some(of_name) = list.get_mut(name) {
            of_name.remove(&client);
            if of_name.is_empty() {
                list.remove(name);
            }
        }
    }

    fn count_names(&self, registry: &Registry) {
        let names = registry.channels.len() + registry.shards.len() + registry.patterns.len();
        self.names.store(names, Ordering::Release);
    }

    /// The channels of a kind that have subscribers, those that match a pattern if one is given.
    pub fn channels(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Name> {
        let mut registry = self.registry.lock();
        let names = registry.channels(kind).into_iter().flat_map(|c| c.keys());
        let wanted = names.filter(|name| pattern.is_none_or(|p| glob::matches(p, name, false)));
        wanted.cloned().collect()
    }

    /// How many subscribers channels of a kind have.
    pub fn subscribers<'n>(
        &self,
        kind: Kind,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Vec<(&'n [u8], usize)> {
        let mut registry = self.registry.lock();
        let channels = registry.channels(kind);
        names
            .map(|name| {
                let counts = channels.as_ref().and_then(|channels| channels.get(name));
                (name, counts.map_or(0, Counts::all))
            })
            .collect()
    }

    /// How many names of a kind have subscribers.
    pub fn count(&self, kind: Kind) -> usize {
        let mut registry = self.registry.lock();
        match registry.channels(kind) {
            Some(channels) => channels.len(),
            None => registry.patterns.len(),
        }
    }
}

impl Server {
    /// Hands out the messages on their way to the clients of this thread, which is the caller's.
    pub fn hand_out_messages(&self, thread: ThreadSlot) {
        let limits = self.engine.config.load().client_output_buffer_limit;
        let closed = self.pubsub.hand_out(thread, limits.pubsub.hard_bytes);
        let disconnections = &self.stats.output_limit_disconnections;
        disconnections.fetch_add(closed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
