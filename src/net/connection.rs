//! One connection: reads what has arrived, has it run, sends what was answered.
//!
//! While it waits a connection owns no buffer, unless a request arrived in part or the client is
//! slow to read: input goes through the thread's buffer, and replies go out from it in one write.
//!
//! A client that does not read its replies does not stop its requests from being run, since many
//! clients send a whole pipeline before they read; what is kept for it is bounded by
//! `client-output-buffer-limit`, and what it sends without a complete request by
//! `client-query-buffer-limit`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::arriving::Arriving;
use super::outbox::Outbox;
use super::waiting::Waiting;
use super::wire::Wire;
use super::worker::{Local, READ_BYTES, READ_BYTES_LONG, with_local};
use crate::clock::{self, UnixMs};
use crate::config::OutputLimit;
use crate::dispatch::{Next, REPLY_BYTES_MAX};
use crate::error::CommandError;
use crate::keyspace::ThreadSlot;
use crate::resp::count::replace_replies;
use crate::resp::request::Unfinished;
use crate::resp::{Protocol, Reply};
use crate::server::Server;
use crate::server::clients::Origin;
use crate::server::session::{Session, Then};
use crate::server::suspended::Came;

/// So much of what is queued for a client does not count against its limit: the buffer that Redis has for each client.
const REPLY_BYTES_FREE: usize = 16 * 1024;
/// The thread's reply buffer is given back when one reply made it larger than this.
const REPLY_BUFFER_MAX: usize = 1024 * 1024;
/// What a client sends while its command waits for the disk is taken in up to so many bytes: more would fill memory just when
/// there is none.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Replies of up to so many bytes wait for those of the thread's other ready connections.
const DEFERRED_BYTES_MAX: usize = 16 * 1024;
/// Buffers for them that a thread keeps.
const SPARE_BUFFERS_MAX: usize = 128;
/// The buffer of an unfinished request grows by this, or doubles, but never ahead of the data by
/// more than the second.
const INPUT_GROW_MIN: usize = 16 * 1024;
const INPUT_GROW_MAX: usize = 64 * 1024 * 1024;
/// One read takes so many bytes from a client that sends long arguments, which are received apart: hardly more than their heads.
const READ_BYTES_OF_HEADS: usize = 4 * 1024;
/// Where clients hold so much of `maxmemory` so much is read at once.
const HELD_PART: u64 = 16;
const READ_BYTES_SHORT: usize = 4 * 1024;
/// The connection wakes when so many more bytes of a long argument have arrived, but at once when all of it is there, and, for a
/// client that has sent none as long, when as much has come as there was before. To wake costs as much as to receive some tens
/// of kilobytes.
const AWAITED_BYTES_MAX: usize = 256 * 1024;
/// A request of so many bytes is a long one.
const LONG_REQUEST_BYTES: usize = 4 * 1024;

/// A connection and all that it owns.
pub(super) struct Connection<S> {
    server: Arc<Server>,
    stream: S,
    session: Session,
    protocol: Protocol,
    /// Requests that have arrived in part, or wait for the end of a pause.
    input: BytesMut,
    /// Bytes that `input` must hold before a request in it can be complete.
    needed: usize,
    partial: Unfinished,
    /// A long argument of that request on its way, which is not in `input`.
    arriving: Option<Arriving>,
    /// The longest that the client has sent.
    longest_argument: usize,
    /// Bytes that the next read takes at most.
    read_bytes: usize,
    /// Bytes that must arrive before the stream is ready to be read.
    awaited_bytes: usize,
    /// Replies that are sent when the thread's other ready connections have run too.
    deferred: Vec<u8>,
    /// Replies that the client was too slow to take.
    output: Outbox,
    over_soft_limit_since: Option<Instant>,
    /// The one thing that it waits for besides the socket.
    waiting: Option<Waiting>,
    /// The client is gone, and not only at the end of what it sends.
    is_reset: bool,
    closing: bool,
    /// What is counted for this connection's buffers.
    counted_bytes: usize,
    /// What is counted of their contents.
    held_bytes: usize,
    thread: Option<ThreadSlot>,
}

/// The connection is to be closed, for a reason that needs no word.
struct Closed;

/// How much is read at once: little, where what clients have sent and wait with takes much of the memory that there is for keys.
fn read_bytes(server: &Server) -> usize {
    let memory = server.engine.config.load().maxmemory;
    let held = server.stats.sum(|stripe| &stripe.held_bytes);
    match memory > 0 && held.max(0).cast_unsigned() > memory / HELD_PART {
        true => READ_BYTES_SHORT,
        false => READ_BYTES,
    }
}

impl<S: Wire> Connection<S> {
    pub(super) fn new(server: Arc<Server>, stream: S, origin: Origin) -> Self {
        let client = server.clients.add(origin, clock::now());
        let authenticated = server.engine.config.load().requirepass.is_empty();
        let read_bytes = read_bytes(&server);
        Self {
            session: Session::new(client, authenticated),
            server,
            stream,
            protocol: Protocol::default(),
            input: BytesMut::new(),
            needed: 0,
            partial: Unfinished::default(),
            arriving: None,
            longest_argument: 0,
            read_bytes,
            awaited_bytes: 1,
            deferred: Vec::new(),
            output: Outbox::default(),
            over_soft_limit_since: None,
            waiting: None,
            is_reset: false,
            closing: false,
            counted_bytes: 0,
            held_bytes: 0,
            thread: None,
        }
    }

    /// Serves the connection until it closes.
    pub(super) async fn serve(mut self) {
        poll_fn(|cx| self.poll_serve(cx)).await;
        if self.session.then == Then::End {
            self.stream.outlive_connection();
        }
    }

    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_steps(cx) {
            Err(Closed) => Poll::Ready(()),
            Ok(()) => {
                self.session.client.set_waker(cx.waker());
                // A kill between the last look and the waker would wake nobody.
                if self.session.client.is_killed() {
                    return Poll::Ready(());
                }
                Poll::Pending
            }
        }
    }

    /// Does all that can be done without waiting.
    fn poll_steps(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        loop {
            if self.session.client.is_killed() && !self.closing {
                return Err(Closed);
            }
            if self.has_held_replies() {
                // What is older than those.
                self.poll_send(cx)?;
                if self.is_waiting(cx)? {
                    return Ok(());
                }
            }
            if !self.deferred.is_empty() {
                self.send_deferred(cx)?;
            }
            if !self.output.is_empty() {
                self.poll_send(cx)?;
                self.check_output_limit()?;
            }
            if self.closing {
                return if self.output.is_empty() {
                    Err(Closed)
                } else {
                    Ok(())
                };
            }
            if self.session.subscriptions.is_some() {
                self.send_messages(cx)?;
            }
            if self.waiting.is_some() && self.is_waiting(cx)? {
                return Ok(());
            }
            let progressed = with_local(|local| self.poll_receive(cx, local))?;
            if self.owns_buffers() || self.has_told_of_buffers() {
                self.account();
            }
            if self.has_held_replies() {
                continue;
            }
            if !self.deferred.is_empty() {
                // To the end of the thread's queue.
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if !progressed {
                if self.server.shutdown.is_asked() {
                    self.closing = true;
                    continue;
                }
                return Ok(());
            }
        }
    }

    /// Whether replies wait until what they tell of is durable.
    fn has_held_replies(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.request.is_none())
    }

    /// Whether what it waits for is still to come. Meanwhile what the client sends is taken in, as far as its limits go, so
    /// that a closed connection is noticed: all that it waits for is dropped then.
    fn is_waiting(&mut self, cx: &mut Context<'_>) -> Result<bool, Closed> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(false);
        };
        if waiting.is_blocked && self.server.shutdown.is_asked() {
            return Err(Closed);
        }
        let Poll::Ready(came) = waiting.poll(cx) else {
            if waiting.is_blocked {
                // Its limit closes it.
                self.read_ahead(cx, usize::MAX)?;
            } else if self.read_ahead(cx, READ_AHEAD_MAX).is_err() && self.is_reset {
                return Err(Closed);
            }
            // Who has sent all that it wants to send still gets its replies, and the disk takes not for ever.
            return Ok(true);
        };
        let (request, came) = (waiting.request, came.ok_or(Closed)?);
        self.waiting = waiting.then.take().map(|then| *then);
        if let Some(request) = request {
            self.session.resume(request, came);
            self.session.client.blocked.store(false, Ordering::Relaxed);
        } else if matches!(came, Came::Lost) {
            self.take_back_replies();
        }
        Ok(false)
    }

    /// Nobody knows whether what the replies tell of is going to be durable: each of them becomes an error.
    fn take_back_replies(&mut self) {
        let error = format!("-{}\r\n", CommandError::Unwritable);
        self.deferred = replace_replies(&self.deferred, error.as_bytes());
    }

    /// Takes in what has arrived, up to so many bytes in all.
    fn read_ahead(&mut self, cx: &mut Context<'_>, most: usize) -> Result<(), Closed> {
        if self.arriving.is_some() {
            // What comes belongs there: it waits for replies that are held.
            return Ok(());
        }
        with_local(|local| {
            let mut input = local.take_input();
            let mut result = Ok(());
            while self.input.len() < most && result.is_ok() {
                match self.poll_read_shared(cx, &mut input[..READ_BYTES]) {
                    Poll::Pending => break,
                    Poll::Ready(Err(closed)) => result = Err(closed),
                    Poll::Ready(Ok(n)) => {
                        self.input.extend_from_slice(&input[..n]);
                        result = self.check_input_limit(local);
                    }
                }
            }
            local.input = input;
            if self.input.len() >= self.needed {
                self.needed = 0;
            }
            result
        })
    }

    /// Reads once and runs what is complete. False where there was nothing to read.
    fn poll_receive(&mut self, cx: &mut Context<'_>, local: &mut Local) -> Result<bool, Closed> {
        self.thread = Some(local.executor.thread());
        if self.arriving.is_some() {
            return self.poll_arriving(cx, local);
        }
        if !self.input.is_empty() && self.needed == 0 {
            return self.run_input(cx, local).map(|()| true);
        }
        if self.input.len() < READ_BYTES {
            return self.poll_receive_shared(cx, local);
        }
        self.reserve_input();
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => {
                self.await_bytes(1);
                Ok(false)
            }
            Poll::Ready(Ok(0) | Err(_)) => Err(Closed),
            Poll::Ready(Ok(n)) => {
                self.count_input(n);
                if self.input.len() >= self.needed {
                    self.run_input(cx, local)?;
                }
                self.check_input_limit(local)?;
                Ok(true)
            }
        }
    }

    /// Reads into the thread's buffer, behind the little that is kept of an unfinished request.
    fn poll_receive_shared(
        &mut self,
        cx: &mut Context<'_>,
        local: &mut Local,
    ) -> Result<bool, Closed> {
        let mut input = local.take_input();
        let kept = self.input.len();
        if kept > 0 {
            input[..kept].copy_from_slice(&self.input);
        }
        let end = (kept + self.read_bytes).min(input.len());
        let result = match self.poll_read_shared(cx, &mut input[kept..end]) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(closed)) => Err(closed),
            Poll::Ready(Ok(n)) if kept + n < self.needed && kept > 0 => {
                self.input.extend_from_slice(&input[kept..kept + n]);
                self.check_input_limit(local).map(|()| true)
            }
            Poll::Ready(Ok(n)) => {
                if self.input.capacity() > 0 {
                    self.input = BytesMut::new();
                }
                let ran = self.run_shared(cx, local, &input[..kept + n]);
                ran.and_then(|()| self.check_input_limit(local))
                    .map(|()| true)
            }
        };
        local.input = input;
        result
    }

    /// Receives more of a long argument. When it is there the rest of its request is read.
    fn poll_arriving(&mut self, cx: &mut Context<'_>, local: &mut Local) -> Result<bool, Closed> {
        let Some(arriving) = &mut self.arriving else {
            return Ok(false);
        };
        let n = match arriving.poll_receive(cx, &mut self.stream, self.longest_argument) {
            Poll::Pending => {
                let missing = arriving.whole_len() - arriving.len();
                let known = arriving.len().max(self.longest_argument).max(1);
                self.await_bytes(missing.min(known).min(AWAITED_BYTES_MAX));
                return Ok(false);
            }
            Poll::Ready(Ok(0) | Err(_)) => return Err(Closed),
            Poll::Ready(Ok(n)) => n,
        };
        self.count_input(n);
        self.check_input_limit(local)?;
        if let Some(arrived) = self.arriving.take_if(|arriving| arriving.is_whole()) {
            self.longest_argument = self.longest_argument.max(arrived.whole_len());
            self.partial.received.push(arrived.received());
            self.needed = self.input.len() + 1;
        }
        Ok(true)
    }

    #[inline]
    fn poll_read_shared(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
    ) -> Poll<Result<usize, Closed>> {
        let mut read = ReadBuf::new(input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => {
                self.await_bytes(1);
                Poll::Pending
            }
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                let n = read.filled().len();
                self.count_input(n);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(ended) => {
                self.is_reset = ended.is_err();
                Poll::Ready(Err(Closed))
            }
        }
    }

    /// Nothing is there to be read: wakes when so many bytes are.
    #[inline]
    fn await_bytes(&mut self, bytes: usize) {
        if self.awaited_bytes != bytes {
            self.awaited_bytes = bytes;
            self.stream.await_bytes(bytes);
        }
    }

    fn count_input(&self, bytes: usize) {
        let Some(thread) = self.thread else { return };
        let stripe = self.server.stats.stripe(thread);
        stripe.input_bytes.add(bytes as i64);
        stripe.reads.add(1);
        let client = &self.session.client;
        // Only this task writes it, so that no atomic addition is needed.
        client.total_input.store(
            client.total_input.load(Ordering::Relaxed) + bytes as u64,
            Ordering::Relaxed,
        );
    }

    /// Makes room for the rest of a request, not much ahead of what has arrived.
    fn reserve_input(&mut self) {
        let missing = self.needed.saturating_sub(self.input.len());
        let ahead = self.input.len().clamp(INPUT_GROW_MIN, INPUT_GROW_MAX);
        if self.input.capacity() == self.input.len() {
            self.input.reserve(missing.clamp(INPUT_GROW_MIN, ahead));
        }
    }

    #[inline]
    fn check_input_limit(&self, local: &mut Local) -> Result<(), Closed> {
        match self.owns_buffers() {
            true => self.check_unfinished(local),
            false => Ok(()),
        }
    }

    fn check_unfinished(&self, local: &mut Local) -> Result<(), Closed> {
        let limit = local.executor.config().client_query_buffer_limit;
        let input_bytes = self.input_bytes(BytesMut::len, Arriving::len);
        if (input_bytes + self.session.queued_bytes()) as u64 <= limit {
            return Ok(());
        }
        let stats = &self.server.stats;
        stats
            .input_limit_disconnections
            .fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            "Closing client {} that reached client-query-buffer-limit",
            self.session.client.address
        );
        Err(Closed)
    }

    /// Runs what stands in the thread's buffer; what is left of it is kept.
    fn run_shared(
        &mut self,
        cx: &mut Context<'_>,
        local: &mut Local,
        input: &[u8],
    ) -> Result<(), Closed> {
        let consumed = self.run(cx, local, input)?;
        if consumed < input.len() && !self.closing {
            let rest = &input[consumed..];
            let own = self.begin_unfinished(consumed, rest);
            self.input.extend_from_slice(&rest[..own]);
        } else if self.read_bytes != READ_BYTES || !self.partial.received.is_empty() {
            self.begin_unfinished(consumed, &[]);
        }
        Ok(())
    }

    /// Runs what stands in the connection's own buffer.
    fn run_input(&mut self, cx: &mut Context<'_>, local: &mut Local) -> Result<(), Closed> {
        let mut input = std::mem::take(&mut self.input);
        let consumed = self.run(cx, local, &input)?;
        if consumed < input.len() {
            input.advance(consumed);
            let own = self.begin_unfinished(consumed, &input);
            input.truncate(own);
            self.input = input;
        } else {
            self.begin_unfinished(consumed, &[]);
        }
        Ok(())
    }

    /// Something was run, and this is left: the beginning of a request. From where a long argument begins on it is received
    /// apart; gives the bytes before that. Tells how much to read next.
    fn begin_unfinished(&mut self, consumed: usize, rest: &[u8]) -> usize {
        let had_long = !self.partial.received.is_empty();
        if consumed > 0 {
            self.partial.received.clear();
        }
        let coming = self.partial.coming.take();
        // One that lacks nothing but the end of its line stays where it is.
        let coming = coming.filter(|coming| {
            let arrived = rest.len().checked_sub(coming.at);
            arrived.is_some_and(|arrived| arrived < coming.len)
        });
        let is_long = match rest.is_empty() {
            true => self.read_bytes == READ_BYTES_LONG && consumed >= READ_BYTES,
            false => self.needed >= LONG_REQUEST_BYTES,
        };
        self.read_bytes = match () {
            () if had_long || coming.is_some() => READ_BYTES_OF_HEADS,
            () if is_long => READ_BYTES_LONG,
            () => read_bytes(&self.server),
        };
        let Some(coming) = coming else {
            return rest.len();
        };
        let arrived = &rest[coming.at..];
        self.arriving = Some(Arriving::new(coming, arrived, self.longest_argument));
        coming.at
    }

    /// Runs the complete requests of a buffer and sends the replies. Gives the bytes done with.
    fn run(
        &mut self,
        cx: &mut Context<'_>,
        local: &mut Local,
        input: &[u8],
    ) -> Result<usize, Closed> {
        let Local {
            executor,
            reply,
            spare,
            timers,
            ..
        } = local;
        // Where sending failed, or a command panicked, the buffer still has what was for another client.
        reply.begin(self.protocol);
        let mut consumed = 0;
        loop {
            let ran = executor.run(&mut self.session, input, consumed, &mut self.partial, reply);
            consumed = ran.consumed;
            let must_sync = ran.changed && self.server.engine.is_durable_always();
            let more = match ran.next {
                Next::More if must_sync => {
                    // What is left runs when the replies are out.
                    self.needed = 0;
                    false
                }
                Next::More => consumed < input.len(),
                Next::Read(needed) => {
                    self.needed = needed;
                    false
                }
                Next::Wait => {
                    self.needed = 0;
                    self.begin_to_wait(executor.now(), timers);
                    false
                }
                Next::Close => {
                    self.closing = true;
                    false
                }
            };
            if must_sync {
                let then = self.waiting.take().map(Box::new);
                self.waiting = Waiting::durable(&self.server, then);
                self.deferred = reply.take_joined();
                *reply.buffer_mut() = spare.pop().unwrap_or_default();
                break;
            }
            let may_wait = !more && !self.closing && self.output.is_empty();
            if reply.has_shared() {
                self.send_shared(cx, reply)?;
            } else if may_wait && reply.len() <= DEFERRED_BYTES_MAX {
                let empty = spare.pop().unwrap_or_default();
                self.deferred = std::mem::replace(reply.buffer_mut(), empty);
            } else if !more || reply.len() >= REPLY_BYTES_MAX {
                self.send_reply(cx, reply.buffer_mut())?;
            }
            if !more {
                break;
            }
        }
        self.protocol = reply.protocol();
        if reply.buffer_mut().capacity() > REPLY_BUFFER_MAX {
            *reply.buffer_mut() = Vec::new();
        }
        Ok(consumed)
    }

    /// Its command waits from now on.
    fn begin_to_wait(&mut self, now: UnixMs, timers: &Handle) {
        let Some(needed) = self.session.take_needed() else {
            return;
        };
        let waiting = Waiting::begin(&self.server, needed, now, timers);
        let client = &self.session.client;
        client.blocked.store(waiting.is_blocked, Ordering::Relaxed);
        self.waiting = Some(waiting);
    }

    /// Sends the replies of the last batch.
    fn send_deferred(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        let mut reply = std::mem::take(&mut self.deferred);
        let sent = self.send_reply(cx, &mut reply);
        // Where it was not sent it is for nobody else.
        reply.clear();
        with_local(|local| {
            if local.spare.len() < SPARE_BUFFERS_MAX {
                local.spare.push(reply);
            }
        });
        sent
    }

    /// Sends replies; what the socket does not take is kept.
    fn send_reply(&mut self, cx: &mut Context<'_>, reply: &mut Vec<u8>) -> Result<(), Closed> {
        let queued = self.output.len() + reply.len();
        if queued > REPLY_BYTES_FREE {
            self.check_queued(queued - REPLY_BYTES_FREE)?;
        }
        let mut sent = 0;
        if self.output.is_empty() {
            while sent < reply.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &reply[sent..]) {
                    Poll::Ready(Ok(n)) if n > 0 => sent += n,
                    Poll::Ready(_) => return Err(Closed),
                    Poll::Pending => break,
                }
            }
            self.count_output(sent);
        }
        if sent < reply.len() {
            self.output.push(&reply[sent..]);
        }
        reply.clear();
        if self.output.is_empty() && self.over_soft_limit_since.is_none() {
            return Ok(());
        }
        self.check_output_limit()
    }

    /// Sends what has been published for the client.
    fn send_messages(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        with_local(|local| {
            self.thread = Some(local.executor.thread());
            let reply = &mut local.reply;
            reply.begin(self.protocol);
            if !self.session.read_messages(reply) {
                return Ok(());
            }
            match reply.has_shared() {
                true => self.send_shared(cx, reply),
                false => self.send_reply(cx, reply.buffer_mut()),
            }
        })
    }

    /// Sends replies with long strings, which are not copied.
    fn send_shared(&mut self, cx: &mut Context<'_>, reply: &mut Reply) -> Result<(), Closed> {
        let mut from = 0;
        for (at, bytes) in reply.take_shared() {
            self.output.push(&reply.bytes()[from..at]);
            self.output.push_shared(bytes);
            from = at;
        }
        self.output.push(&reply.bytes()[from..]);
        reply.truncate(0);
        // What is queued counts, whatever the socket takes of it.
        self.check_output_limit()?;
        self.poll_send(cx)?;
        self.check_output_limit()
    }

    /// Sends what was kept.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        if self.output.is_empty() {
            return Ok(());
        }
        // Once it has the last byte the client may go on over another connection, before the call has returned: what is
        // being sent must not be taken for memory in use then, for which keys would be evicted or writes refused.
        let input_capacity = self.input_bytes(BytesMut::capacity, Arriving::capacity);
        self.count_buffers(input_capacity + self.session.queued_bytes());
        let sent = self
            .output
            .poll_send(cx, &mut self.stream)
            .map_err(|()| Closed)?;
        self.count_output(sent);
        self.account();
        Ok(())
    }

    fn count_output(&self, bytes: usize) {
        let Some(thread) = self.thread.filter(|_| bytes > 0) else {
            return;
        };
        let stripe = self.server.stats.stripe(thread);
        stripe.output_bytes.add(bytes as i64);
        stripe.writes.add(1);
        let client = &self.session.client;
        client.total_output.store(
            client.total_output.load(Ordering::Relaxed) + bytes as u64,
            Ordering::Relaxed,
        );
    }

    fn check_output_limit(&mut self) -> Result<(), Closed> {
        if self.output.is_empty() {
            self.over_soft_limit_since = None;
            return Ok(());
        }
        let limit = self.output_limit();
        match self.passes(limit) {
            true => Err(self.close_for_output()),
            false => Ok(()),
        }
    }

    /// What is queued for a client counts before it is sent, whatever the socket takes.
    fn check_queued(&self, bytes: usize) -> Result<(), Closed> {
        let hard_bytes = self.output_limit().hard_bytes;
        match hard_bytes > 0 && bytes as u64 > hard_bytes {
            true => Err(self.close_for_output()),
            false => Ok(()),
        }
    }

    /// The limit of the client's class.
    fn output_limit(&self) -> OutputLimit {
        let limits = self.server.engine.config.load().client_output_buffer_limit;
        match self.session.subscriptions {
            Some(_) => limits.pubsub,
            None => limits.normal,
        }
    }

    fn close_for_output(&self) -> Closed {
        self.server
            .stats
            .output_limit_disconnections
            .fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            "Closing client {} that reached client-output-buffer-limit",
            self.session.client.address
        );
        Closed
    }

    fn passes(&mut self, limit: OutputLimit) -> bool {
        let kept = self.output.len() as u64;
        if limit.hard_bytes > 0 && kept > limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || kept <= limit.soft_bytes {
            self.over_soft_limit_since = None;
            return false;
        }
        let since = *self.over_soft_limit_since.get_or_insert_with(Instant::now);
        since.elapsed() >= Duration::from_secs(limit.soft_s)
    }

    /// Counts the buffers that this connection owns.
    fn account(&mut self) {
        let input_capacity = self.input_bytes(BytesMut::capacity, Arriving::capacity);
        let queued_bytes = self.session.queued_bytes();
        let bytes = input_capacity + queued_bytes + self.output.capacity();
        if bytes | self.output.len() == 0 && !self.has_told_of_buffers() {
            return;
        }
        self.count_held();
        self.count_buffers(bytes);
        let client = &self.session.client;
        client
            .query_capacity
            .store(input_capacity, Ordering::Relaxed);
        client
            .output_capacity
            .store(self.output.capacity(), Ordering::Relaxed);
        client
            .output_pieces
            .store(self.output.pieces(), Ordering::Relaxed);
        client
            .output_peak
            .fetch_max(self.output.len(), Ordering::Relaxed);
    }
}

impl<S> Connection<S> {
    /// Whether it owns a buffer: mostly it has none.
    #[inline]
    fn owns_buffers(&self) -> bool {
        let of_input = self.input.capacity() | self.partial.received.len();
        let of_output = self.output.capacity() | self.output.len();
        (of_input | of_output) != 0 || self.arriving.is_some() || self.session.has_queued()
    }

    /// Whether the account has buffers of it, which may be gone.
    #[inline]
    fn has_told_of_buffers(&self) -> bool {
        self.counted_bytes | self.held_bytes != 0
    }

    /// The bytes of requests that have not run: of `input`, of an argument on its way, and of those that are there.
    fn input_bytes(
        &self,
        of_input: impl Fn(&BytesMut) -> usize,
        of_arriving: impl Fn(&Arriving) -> usize,
    ) -> usize {
        let arriving = self.arriving.as_ref().map_or(0, of_arriving);
        let received = self.partial.received.iter();
        let received: usize = received.map(|received| received.bytes.len()).sum();
        of_input(&self.input) + arriving + received
    }

    /// Counts what is kept for the client, without the spare room of the buffers, and keeps `maxmemory-clients` at once.
    fn count_held(&mut self) {
        let input_bytes = self.input_bytes(BytesMut::len, Arriving::len);
        let bytes = input_bytes + self.session.queued_bytes() + self.output.len();
        let client = &self.session.client;
        client.query_bytes.store(input_bytes, Ordering::Relaxed);
        client
            .output_bytes
            .store(self.output.len(), Ordering::Relaxed);
        let change = bytes as i64 - self.held_bytes as i64;
        if change == 0 {
            return;
        }
        self.held_bytes = bytes;
        if let Some(thread) = self.thread {
            let stripe = self.server.stats.stripe(thread);
            stripe.held_bytes.add(change);
        }
        if change > 0 {
            self.server.keep_client_memory();
        }
    }

    /// Counts so many bytes of buffers from now on.
    fn count_buffers(&mut self, bytes: usize) {
        let Some(thread) = self.thread else { return };
        let change = bytes as i64 - self.counted_bytes as i64;
        self.server.stats.stripe(thread).buffer_bytes.add(change);
        self.counted_bytes = bytes;
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.clients.remove(self.session.client.id);
        self.count_buffers(0);
        if let Some(thread) = self.thread {
            let stripe = self.server.stats.stripe(thread);
            stripe.held_bytes.add(-(self.held_bytes as i64));
        }
    }
}
