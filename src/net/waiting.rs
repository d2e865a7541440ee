//! What a connection waits for: one thing at a time, as a future that gives what came.

use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::clock::UnixMs;
use crate::engine::Engine;
use crate::server::Server;
use crate::server::suspended::{Came, Suspend};
use crate::server::waiters::{End, Waiter};
use crate::tier::{Met, Need};

/// `None`: nothing will ever come, which only a panic does that is logged.
type Coming = Pin<Box<dyn Future<Output = Option<Came>> + Send>>;

/// What a connection waits for.
pub(super) struct Waiting {
    coming: Coming,
    /// The request whose command waits. `None`: replies wait until what they tell of is durable.
    pub(super) request: Option<u64>,
    /// Whether the client is told to be blocked, and may have to wait for ever: it waits for others or for a time.
    pub(super) is_blocked: bool,
    /// What comes behind it.
    pub(super) then: Option<Box<Waiting>>,
}

impl Waiting {
    /// Begins to wait for what a command needs.
    pub(super) fn begin(
        server: &Arc<Server>,
        (request, needed): (u64, Suspend),
        now: UnixMs,
        timers: &Handle,
    ) -> Self {
        let is_blocked = matches!(
            needed,
            Suspend::Woken(_) | Suspend::Time(_) | Suspend::Pause(_) | Suspend::Delivery(_)
        );
        Self {
            coming: come(server, needed, now, timers),
            request: Some(request),
            is_blocked,
            then: None,
        }
    }

    /// Has replies wait until what they tell of is durable, or has not become so for too long.
    pub(super) fn durable(server: &Arc<Server>, then: Option<Box<Self>>) -> Option<Self> {
        let tier = server.engine.tier.as_ref()?;
        let (first, server) = (tier.meet(Need::Durable), Arc::clone(server));
        Some(Self {
            coming: Box::pin(async move {
                let mut met = first.await;
                // Nothing is told before it is true: the writer tries again.
                while let Met::Written(false) = met
                    && let Some(tier) = &server.engine.tier
                {
                    let too_long = tier.is_failing_too_long(&server.engine.config.load());
                    if too_long || server.shutdown.is_asked() {
                        return Some(Came::Lost);
                    }
                    met = tier.meet(Need::Durable).await;
                }
                Some(Came::Nothing)
            }),
            request: None,
            is_blocked: false,
            then,
        })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Came>> {
        self.coming.as_mut().poll(cx)
    }
}

fn come(server: &Arc<Server>, needed: Suspend, now: UnixMs, timers: &Handle) -> Coming {
    let wait =
        |until: UnixMs| Duration::from_millis(until.0.saturating_sub(now.0).max(0).cast_unsigned());
    match needed {
        Suspend::Loads(wanted, now) => meet(&server.engine, Need::Keys(wanted, now)),
        Suspend::Answer(ask) => meet(&server.engine, Need::Answer(ask)),
        Suspend::Room(None) => meet(&server.engine, Need::Room),
        Suspend::Room(Some(patience)) => {
            let met = meet(&server.engine, Need::Room);
            let _timers = timers.enter();
            let met = tokio::time::timeout(patience, met);
            Box::pin(async move { met.await.unwrap_or(Some(Came::Nothing)) })
        }
        Suspend::Delivery(delivery) => {
            let mut sending = JoinSet::new();
            sending.spawn_on(delivery.deliver(), timers);
            Box::pin(async move {
                let sent = sending.join_next().await?;
                sent.ok().map(Came::Delivered)
            })
        }
        Suspend::Woken(waiter) => {
            let _timers = timers.enter();
            woken(waiter, wait)
        }
        Suspend::Time(until) => passed(wait(until), timers),
        Suspend::Turn(wait) => passed(wait, timers),
        Suspend::Script(job) => {
            let done = server.scripts.submit(job);
            Box::pin(async move { done.await.ok().map(Came::Done) })
        }
        Suspend::Pause(until) => {
            let ended = server.pause.ended();
            let _timers = timers.enter();
            let ended = tokio::time::timeout(wait(until), ended);
            Box::pin(async move {
                // Either way the command is looked at again.
                let _ = ended.await;
                Some(Came::Nothing)
            })
        }
        // The command has its place in the queues, and the dispatcher the keys.
        Suspend::Queued(_) | Suspend::Keys(_) => Box::pin(ready(Some(Came::Nothing))),
    }
}

/// A time has passed.
fn passed(time: Duration, timers: &Handle) -> Coming {
    let _timers = timers.enter();
    let passed = tokio::time::sleep(time);
    Box::pin(async move {
        passed.await;
        Some(Came::Nothing)
    })
}

fn woken(waiter: Arc<Waiter>, wait: impl FnOnce(UnixMs) -> Duration) -> Coming {
    let until = waiter.wanted.until;
    let waits = Arc::clone(&waiter);
    let over = poll_fn(move |cx| waits.poll_over(cx));
    let Some(until) = until else {
        return Box::pin(async move {
            over.await;
            Some(Came::Nothing)
        });
    };
    let over = tokio::time::timeout(wait(until), over);
    Box::pin(async move {
        if over.await.is_err() {
            waiter.end(End::TimedOut);
        }
        Some(Came::Nothing)
    })
}

fn meet(engine: &Engine, need: Need) -> Coming {
    let Some(tier) = &engine.tier else {
        return Box::pin(ready(Some(Came::Nothing)));
    };
    let met = tier.meet(need);
    Box::pin(async move { Some(came(met.await)) })
}

/// What a command is told of what the tier gave.
pub(crate) fn came(met: Met) -> Came {
    match met {
        Met::Keys(unreadable) => Came::Unreadable(unreadable),
        Met::Answer(page) => Came::Page(page),
        // The command looks for itself.
        Met::Written(_) => Came::Nothing,
    }
}
