//! The policies with Redis's names: the best of a few sampled keys goes.

use super::access::LRU_MASK;
use super::{Eviction, Hunt, Limits};
use crate::config::EvictionPolicy;
use crate::keyspace::entry::EntryRef;
use crate::keyspace::lfu;
use crate::keyspace::table::{Position, Tag};
use crate::keyspace::{Keyspace, SHARDS, ThreadSlot};
use crate::lz4;

/// How many candidates of the sampled policies are remembered.
const POOL: usize = 16;

/// What a thread keeps from one search for victims to the next.
#[derive(Debug, Default)]
pub struct EvictionPool {
    /// Candidates of a sampled policy, the best last.
    candidates: Vec<Candidate>,
    random: u64,
    /// Made when it is needed first.
    pub(in crate::keyspace) compressor: Option<Box<lz4::Compressor>>,
}

#[derive(Clone, Debug)]
struct Candidate {
    score: u64,
    shard: usize,
    tag: Tag,
    space: u8,
    key: Box<[u8]>,
}

impl EvictionPool {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(in crate::keyspace) fn compressor_bytes(&self) -> usize {
        let compressor = self.compressor.as_ref();
        compressor.map_or(0, |compressor| compressor.memory_bytes())
    }

    fn offer(&mut self, candidate: Candidate) {
        if self
            .candidates
            .iter()
            .any(|c| c.tag == candidate.tag && c.key == candidate.key)
        {
            return;
        }
        let at = self
            .candidates
            .partition_point(|c| c.score < candidate.score);
        self.candidates.insert(at, candidate);
        if self.candidates.len() > POOL {
            self.candidates.remove(0);
        }
    }
}

impl Keyspace {
    pub(super) fn evict_sampled(&self, hunt: &mut Hunt<'_>, pool: &mut EvictionPool) -> bool {
        let (limits, thread) = (hunt.limits, hunt.thread);
        let policy = limits.policy;
        if matches!(
            policy,
            EvictionPolicy::AllkeysRandom | EvictionPolicy::VolatileRandom
        ) {
            pool.candidates.clear();
        }
        if policy.is_volatile() && !self.may_have_volatile() {
            return false;
        }
        // Twice: what the pool holds may have gone meanwhile.
        for _ in 0..2 {
            self.sample(limits, thread, pool);
            if pool.candidates.is_empty() {
                break;
            }
            while let Some(candidate) = pool.candidates.pop() {
                let mut locked = self.lock_shard(candidate.shard, thread);
                let table = &mut locked.table;
                let found = table.find(candidate.tag, candidate.space, &candidate.key);
                let fits =
                    |at: &Position| !policy.is_volatile() || table.get(*at).expires_at().is_some();
                match found
                    .filter(fits)
                    .map(|at| self.evict_at(&mut locked, at, limits.unwritten))
                {
                    Some(Eviction::Gone) => return true,
                    Some(Eviction::Unwritten) => hunt.refused += 1,
                    Some(Eviction::Pinned) | None => {}
                }
            }
        }
        false
    }

    /// Looks at a few keys from a random place on, and keeps the best candidates. Shards without
    /// any that qualify are passed, once round at most.
    fn sample(&self, limits: &Limits, thread: ThreadSlot, pool: &mut EvictionPool) {
        let policy = limits.policy;
        let start = pool.random() as usize;
        let mut left = limits.samples.max(1);
        for i in 0..SHARDS {
            let shard = start.wrapping_add(i) % SHARDS;
            let locked = self.lock_shard(shard, thread);
            let table = &locked.table;
            let buckets = table.bucket_count();
            if buckets == 0 || policy.is_volatile() && table.expiry_floor().is_none() {
                continue;
            }
            let first = (pool.random() >> 32) as usize % buckets;
            for bucket in (0..buckets).map(|i| (first + i) % buckets) {
                if policy.is_volatile() && !table.may_expire(bucket) {
                    continue;
                }
                for at in table.positions(bucket) {
                    let entry = table.get(at);
                    let live = self.is_live(entry.space());
                    let stays = live && entry.is_pinned();
                    if stays || policy.is_volatile() && entry.expires_at().is_none() {
                        continue;
                    }
                    let score = if live {
                        score(limits, entry, pool)
                    } else {
                        u64::MAX
                    };
                    let key = entry.key().into();
                    pool.offer(Candidate {
                        score,
                        shard,
                        tag: table.tag(at),
                        space: entry.space(),
                        key,
                    });
                    left -= 1;
                    if left == 0 {
                        return;
                    }
                }
            }
        }
    }
}

/// How good a victim an entry is; the highest goes.
fn score(limits: &Limits, entry: EntryRef<'_>, pool: &mut EvictionPool) -> u64 {
    match limits.policy {
        EvictionPolicy::AllkeysLru
        | EvictionPolicy::VolatileLru
        | EvictionPolicy::AllkeysLrm
        | EvictionPolicy::VolatileLrm => {
            u64::from((limits.now.as_secs() as u32).wrapping_sub(entry.access()) & LRU_MASK)
        }
        EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu => {
            u64::from(u8::MAX - lfu::counter(entry.access(), limits.now.as_minutes(), limits.lfu))
        }
        EvictionPolicy::VolatileTtl => {
            u64::MAX
                - entry
                    .expires_at()
                    .map_or(u64::MAX - 1, |at| at.0.max(0).cast_unsigned())
        }
        _ => pool.random(),
    }
}
