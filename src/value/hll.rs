//! HyperLogLogs, in the very bytes Redis stores in a string, since clients can GET, SET and DUMP them.
//!
//! A HyperLogLog counts distinct elements in 16384 registers. The hash of an element chooses a register, and the
//! register keeps the longest run of zero bits, plus one, seen in the rest of such hashes: 1 to 51, or 0 when nothing
//! was seen. Many long runs mean many elements (Flajolet et al. 2007); the estimate from the histogram of the registers
//! is Ertl's (arXiv:1702.01284), without tables or bias correction.
//!
//! # Bytes
//!
//! ```text
//! 0      4   5        8                16
//! | HYLL | E | unused | cached count   | registers ...
//! ```
//!
//! `E` is 0 for dense and 1 for sparse. The cached count is little endian; its highest bit says that it is stale.
//!
//! Dense: 16384 registers of 6 bits, each starting at the lowest free bit, 12288 bytes.
//!
//! Sparse: a list of runs that together cover the registers.
//!
//! | bytes | run |
//! |---|---|
//! | `00xxxxxx` | ZERO: x+1 registers are 0, up to 64 |
//! | `01xxxxxx yyyyyyyy` | XZERO: xy+1 registers are 0, up to 16384 |
//! | `1vvvvvxx` | VAL: x+1 registers, up to 4, are v+1, up to 32 |
//!
//! A sparse string becomes dense for good when a register passes 32 or the string would pass a size limit.
//!
//! Invariant: no bytes make a function here panic or write outside the registers; a list of runs that does not cover
//! exactly 16384 registers is reported as [`Corrupt`].

/// Registers of a HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;

/// Bytes of a dense HyperLogLog.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * REGISTER_BITS / 8;

/// One byte per register, as merging and counting several HyperLogLogs need it.
pub type Registers = [u8; REGISTERS];

const INDEX_BITS: usize = 14;
const HASH_BITS: usize = 64 - INDEX_BITS;
const REGISTER_BITS: usize = 6;
const REGISTER_MASK: u8 = (1 << REGISTER_BITS) - 1;
const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const CACHE_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// The runs of a sparse HyperLogLog do not fit together.
///
/// Its text is what Redis replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("INVALIDOBJ Corrupted HLL object detected")
    }
}

impl std::error::Error for Corrupt {}

/// How the registers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Six bits per register.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

impl Encoding {
    /// The name PFDEBUG ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// An empty HyperLogLog: a header with a cached count of 0 and one run of zeros, 18 bytes.
pub fn new_sparse() -> Vec<u8> {
    let mut hll = vec![0; HEADER_BYTES];
    hll[..MAGIC.len()].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = SPARSE;
    push_zeros(&mut hll, REGISTERS);
    hll
}

/// Tells whether the header of a string is that of a HyperLogLog. When it is not, commands reply
/// `WRONGTYPE Key is not a valid HyperLogLog string value.`
///
/// The runs of a sparse one are not looked at: the other functions report [`Corrupt`] when they meet a bad one.
pub fn validate(hll: &[u8]) -> bool {
    hll.len() >= HEADER_BYTES
        && match encoding(hll) {
            Some(Encoding::Dense) => hll.len() == DENSE_BYTES,
            Some(Encoding::Sparse) => true,
            None => false,
        }
}

/// The encoding in the header, or none when it is not a header.
pub fn encoding(hll: &[u8]) -> Option<Encoding> {
    match (hll.starts_with(MAGIC), hll.get(ENCODING_AT)?) {
        (true, &DENSE) => Some(Encoding::Dense),
        (true, &SPARSE) => Some(Encoding::Sparse),
        _ => None,
    }
}

/// Marks the cached count as stale, as PFADD does to a key it creates without elements.
pub fn invalidate_cache(hll: &mut [u8]) {
    if let Some(byte) = hll.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

/// Adds an element: whether a register changed, which also makes the cached count stale.
///
/// A sparse HyperLogLog that would grow past `sparse_max_bytes`, header included, becomes dense.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Corrupt> {
    let (index, rank) = place(element);
    let changed = raise(hll, index, rank, sparse_max_bytes)?;
    if changed {
        invalidate_cache(hll);
    }
    Ok(changed)
}

/// Whether [`add`] of an element would change a register. Changes nothing, so that it needs no copy.
pub fn would_change(hll: &[u8], element: &[u8]) -> Result<bool, Corrupt> {
    let (index, rank) = place(element);
    let old = match encoding(hll) {
        Some(Encoding::Sparse) => find_run(hll, index)?.run.value,
        _ => dense_get(hll.get(HEADER_BYTES..).ok_or(Corrupt)?, index),
    };
    Ok(old < rank)
}

/// Adds an element to a dense HyperLogLog in place, which [`add`] does to any.
pub fn add_dense(hll: &mut [u8], element: &[u8]) {
    let (index, rank) = place(element);
    if hll
        .get_mut(HEADER_BYTES..)
        .is_some_and(|body| raise_dense(body, index, rank))
    {
        invalidate_cache(hll);
    }
}

/// The estimated number of distinct elements, from the cache if it is fresh and into the cache if not.
///
/// The caller can see from [`cached_count`] beforehand whether the bytes will change.
pub fn count(hll: &mut [u8]) -> Result<u64, Corrupt> {
    if let Some(count) = cached_count(hll) {
        return Ok(count);
    }
    let count = estimate(&histogram(hll)?);
    if let Some(cache) = hll.get_mut(CACHE_AT..HEADER_BYTES) {
        cache.copy_from_slice(&count.to_le_bytes());
    }
    Ok(count)
}

/// The cached count, or none when it is stale.
pub fn cached_count(hll: &[u8]) -> Option<u64> {
    let cache = hll.get(CACHE_AT..HEADER_BYTES)?.first_chunk::<8>()?;
    (cache[STALE_AT - CACHE_AT] & STALE == 0).then(|| u64::from_le_bytes(*cache))
}

/// The estimated number of distinct elements of merged registers, as PFCOUNT of several keys replies it.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram = [0; 64];
    registers
        .iter()
        .for_each(|&register| histogram[usize::from(register & REGISTER_MASK)] += 1);
    estimate(&histogram)
}

/// Raises each of `registers` to the register of `hll` when that is larger.
pub fn merge_registers(registers: &mut Registers, hll: &[u8]) -> Result<(), Corrupt> {
    for_each_run(hll, |start, len, value| {
        // The runs are within the registers: for_each_run checks that.
        let run = registers.get_mut(start..start + len).unwrap_or_default();
        run.iter_mut()
            .for_each(|register| *register = (*register).max(value));
    })
}

/// Raises the registers of `hll` to `registers`, which PFMERGE has merged from it and the sources, and makes the cached
/// count stale.
///
/// The result is dense when `dense` is set, which PFMERGE does if any source or the destination is. Otherwise each
/// register is raised on its own, and the string may become dense as in [`add`].
pub fn store_registers(
    hll: &mut Vec<u8>,
    registers: &Registers,
    dense: bool,
    sparse_max_bytes: usize,
) -> Result<(), Corrupt> {
    if dense {
        to_dense(hll)?;
    }
    for (index, &register) in registers
        .iter()
        .enumerate()
        .filter(|(_, register)| **register != 0)
    {
        raise(hll, index, register, sparse_max_bytes)?;
    }
    invalidate_cache(hll);
    Ok(())
}

/// Makes a sparse HyperLogLog dense and keeps its header: whether it was sparse. On an error nothing changes.
pub fn to_dense(hll: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if !validate(hll) {
        return Err(Corrupt);
    }
    if encoding(hll) == Some(Encoding::Dense) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_BYTES];
    let (header, body) = dense.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(hll.get(..HEADER_BYTES).ok_or(Corrupt)?);
    header[ENCODING_AT] = DENSE;
    for_each_run(hll, |start, len, value| {
        if value != 0 {
            (start..start + len).for_each(|index| dense_set(body, index, value));
        }
    })?;
    *hll = dense;
    Ok(true)
}

/// Every register, as PFDEBUG GETREG replies them (it also makes the HyperLogLog dense: see [`to_dense`]).
pub fn registers(hll: &[u8]) -> Result<Box<Registers>, Corrupt> {
    let mut registers = Box::new([0; REGISTERS]);
    merge_registers(&mut registers, hll)?;
    Ok(registers)
}

/// The runs as PFDEBUG DECODE writes them, such as `z:1 v:3,2 Z:16381`; none when the HyperLogLog is dense.
pub fn decode(hll: &[u8]) -> Result<Option<String>, Corrupt> {
    if encoding(hll) != Some(Encoding::Sparse) {
        return Ok(None);
    }
    let mut words = Vec::new();
    let mut body = hll.get(HEADER_BYTES..).unwrap_or_default();
    while !body.is_empty() {
        let run = Run::read(body)?;
        words.push(match (run.value, run.bytes) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        });
        body = &body[run.bytes..];
    }
    Ok(Some(words.join(" ")))
}

/// The register of an element, and the value it raises the register to.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur_hash_64a(element, HASH_SEED);
    let index = hash as usize & (REGISTERS - 1);
    // The bit above the used ones ends the run of zeros.
    let rest = hash >> INDEX_BITS | 1 << HASH_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

const HASH_SEED: u64 = 0xadc8_3b19;

/// Austin Appleby's MurmurHash64A, reading little endian on every machine.
fn murmur_hash_64a(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word = (word ^ word >> SHIFT).wrapping_mul(FACTOR);
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, &byte| tail << 8 | u64::from(byte));
        hash = (hash ^ tail).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

/// One run of a sparse HyperLogLog.
#[derive(Clone, Copy)]
struct Run {
    /// Registers covered, at least one.
    len: usize,
    /// Their value.
    value: u8,
    /// Bytes of the run itself.
    bytes: usize,
}

impl Run {
    /// The longest run of one byte of zeros.
    const MAX_ZERO: usize = 64;
    /// The longest run of a value, and the largest value.
    const MAX_LEN: usize = 4;
    const MAX_VALUE: u8 = 32;

    fn read(body: &[u8]) -> Result<Self, Corrupt> {
        match *body {
            [first, ..] if first & 0x80 != 0 => Ok(Run {
                len: usize::from(first & 3) + 1,
                value: (first >> 2 & 0x1f) + 1,
                bytes: 1,
            }),
            [first, ..] if first & 0x40 == 0 => Ok(Run {
                len: usize::from(first) + 1,
                value: 0,
                bytes: 1,
            }),
            [first, second, ..] => Ok(Run {
                len: (usize::from(first & 0x3f) << 8 | usize::from(second)) + 1,
                value: 0,
                bytes: 2,
            }),
            _ => Err(Corrupt),
        }
    }
}

/// The byte of a run of `len` registers, 1 to 4, of `value`, 1 to 32.
fn value_run(value: u8, len: usize) -> u8 {
    0x80 | value.wrapping_sub(1) << 2 | (len as u8).wrapping_sub(1)
}

/// Appends a run of `len` zeros in the shorter form that holds it.
fn push_zeros(out: &mut Vec<u8>, len: usize) {
    match len {
        0 => {}
        1..=Run::MAX_ZERO => out.push((len - 1) as u8),
        _ => out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
    }
}

/// Calls `visit(start, len, value)` for the runs of equal registers, in order; single registers of a dense HyperLogLog.
fn for_each_run(hll: &[u8], mut visit: impl FnMut(usize, usize, u8)) -> Result<(), Corrupt> {
    if !validate(hll) {
        return Err(Corrupt);
    }
    let mut body = hll.get(HEADER_BYTES..).ok_or(Corrupt)?;
    if encoding(hll) == Some(Encoding::Dense) {
        (0..REGISTERS).for_each(|index| visit(index, 1, dense_get(body, index)));
        return Ok(());
    }
    let mut start = 0;
    while !body.is_empty() {
        let run = Run::read(body)?;
        if start + run.len > REGISTERS {
            return Err(Corrupt);
        }
        visit(start, run.len, run.value);
        start += run.len;
        body = &body[run.bytes..];
    }
    if start == REGISTERS {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

fn dense_get(body: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let byte = |at: usize| u16::from(body.get(at).copied().unwrap_or(0));
    ((byte(at) | byte(at + 1) << 8) >> shift) as u8 & REGISTER_MASK
}

fn dense_set(body: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let mask = u16::from(REGISTER_MASK) << shift;
    let bits = u16::from(value & REGISTER_MASK) << shift;
    for (offset, (mask, bits)) in mask
        .to_le_bytes()
        .into_iter()
        .zip(bits.to_le_bytes())
        .enumerate()
    {
        if let Some(byte) = body.get_mut(at + offset) {
            *byte = *byte & !mask | bits;
        }
    }
}

/// Raises one register to `value`: whether it was lower.
fn raise(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<bool, Corrupt> {
    if !validate(hll) {
        return Err(Corrupt);
    }
    if encoding(hll) == Some(Encoding::Sparse) {
        match raise_sparse(hll, index, value, sparse_max_bytes)? {
            Raised::Yes => return Ok(true),
            Raised::No => return Ok(false),
            Raised::TooLarge => to_dense(hll)?,
        };
    }
    let body = hll.get_mut(HEADER_BYTES..).ok_or(Corrupt)?;
    Ok(raise_dense(body, index, value))
}

fn raise_dense(body: &mut [u8], index: usize, value: u8) -> bool {
    let lower = dense_get(body, index) < value;
    if lower {
        dense_set(body, index, value);
    }
    lower
}

enum Raised {
    Yes,
    No,
    /// The sparse encoding cannot hold the value, or not within the size limit. Nothing was changed.
    TooLarge,
}

/// Raises a register of a sparse HyperLogLog. The run that covers it is split in up to three; then equal neighbours
/// are joined. Which ones, and in which order, decides the bytes, so it is done just as Redis does it.
fn raise_sparse(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<Raised, Corrupt> {
    if value > Run::MAX_VALUE {
        return Ok(Raised::TooLarge);
    }
    let Covering {
        previous,
        at,
        first,
        run,
    } = find_run(hll, index)?;
    if run.value >= value {
        return Ok(Raised::No);
    }
    let mut replacement = Vec::with_capacity(5);
    push_part(&mut replacement, run.value, index - first);
    replacement.push(value_run(value, 1));
    push_part(&mut replacement, run.value, first + run.len - 1 - index);
    let growth = replacement.len().saturating_sub(run.bytes);
    if growth > 0 && hll.len() + growth > sparse_max_bytes {
        return Ok(Raised::TooLarge);
    }
    hll.splice(at..at + run.bytes, replacement);
    join_neighbours(hll, previous.unwrap_or(HEADER_BYTES));
    Ok(Raised::Yes)
}

/// The run that covers a register, and where.
struct Covering {
    /// The byte offset of the run before it.
    previous: Option<usize>,
    /// Its byte offset.
    at: usize,
    /// Its first register.
    first: usize,
    run: Run,
}

fn find_run(hll: &[u8], index: usize) -> Result<Covering, Corrupt> {
    let (mut previous, mut at, mut first) = (None, HEADER_BYTES, 0);
    loop {
        let run = Run::read(hll.get(at..).unwrap_or_default())?;
        if index < first + run.len {
            return Ok(Covering {
                previous,
                at,
                first,
                run,
            });
        }
        previous = Some(at);
        at += run.bytes;
        first += run.len;
    }
}

/// Appends what is left of a split run on one side.
fn push_part(out: &mut Vec<u8>, value: u8, len: usize) {
    match value {
        0 => push_zeros(out, len),
        _ if len > 0 => out.push(value_run(value, len)),
        _ => {}
    }
}

/// Joins adjacent runs of one value, as far as four registers fit in one, within five steps from `at`.
fn join_neighbours(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_STEPS {
        let Some((run, next)) = hll.get(at..).and_then(|body| {
            let run = Run::read(body).ok()?;
            Some((run, body.get(run.bytes).copied()))
        }) else {
            return;
        };
        let joined = match next {
            Some(next) if run.value != 0 && next & 0x80 != 0 => Run::read(&[next])
                .ok()
                .filter(|next| next.value == run.value && next.len + run.len <= Run::MAX_LEN),
            _ => None,
        };
        match joined {
            // The joined run is looked at again: it may join the one behind it.
            Some(next) => {
                hll[at] = value_run(run.value, run.len + next.len);
                hll.remove(at + 1);
            }
            None => at += run.bytes,
        }
    }
}

/// A run before the change, up to three in its place, and one behind.
const JOIN_STEPS: usize = 5;

fn histogram(hll: &[u8]) -> Result<[u32; 64], Corrupt> {
    let mut histogram = [0; 64];
    for_each_run(hll, |_, len, value| {
        histogram[usize::from(value & REGISTER_MASK)] += len as u32
    })?;
    Ok(histogram)
}

/// Ertl's estimator, in the order of operations of Redis, so that the last bit of the sum is the same.
fn estimate(histogram: &[u32; 64]) -> u64 {
    let registers = REGISTERS as f64;
    let mut z = registers * tau((registers - f64::from(histogram[HASH_BITS + 1])) / registers);
    for &count in histogram[1..=HASH_BITS].iter().rev() {
        z = (z + f64::from(count)) * 0.5;
    }
    z += registers * sigma(f64::from(histogram[0]) / registers);
    let estimate = (ALPHA_INFINITY * registers * registers / z).round();
    // Only foreign bytes give infinity. Redis's conversion makes 2^63 of it.
    if estimate.is_finite() {
        estimate as u64
    } else {
        1 << 63
    }
}

/// 0.5 / ln 2.
const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rounds;

    const SPARSE_MAX_BYTES: usize = 3000;

    fn filled(elements: std::ops::Range<usize>, sparse_max_bytes: usize) -> Vec<u8> {
        let mut hll = new_sparse();
        invalidate_cache(&mut hll);
        for i in elements {
            add(
                &mut hll,
                format!("element:{i}").as_bytes(),
                sparse_max_bytes,
            )
            .unwrap();
        }
        hll
    }

    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn bytes_and_counts_are_those_of_redis() {
        // Elements, PFCOUNT, then length and FNV-1a hash of GET after it, from Redis 7.0.15.
        for (elements, counted, len, hash) in [
            (0, 0, 18, 0xfd8f_436a_8f6e_62f9),
            (1, 1, 21, 0xee0d_c2da_ee40_50ac),
            (10, 10, 48, 0x911d_3109_64eb_aba7),
            (100, 99, 285, 0x033e_4e4e_6be9_ec79),
            (1000, 997, 1897, 0xb2a2_cc50_8fc5_ee31),
            (3000, 3002, 12304, 0x8ea9_5bd8_92be_3fff),
            (100_000, 100_039, 12304, 0xf9c0_1647_cea5_9fdd),
        ] {
            if cfg!(miri) && elements > 100 {
                break;
            }
            let mut hll = filled(0..elements, SPARSE_MAX_BYTES);
            assert_eq!(count(&mut hll), Ok(counted));
            assert_eq!((hll.len(), fnv(&hll)), (len, hash), "{elements} elements");
            assert_eq!(cached_count(&hll), Some(counted));
            assert!(validate(&hll));
        }
    }

    #[test]
    fn the_cache_goes_stale_when_a_register_changes() {
        let mut hll = new_sparse();
        assert_eq!(cached_count(&hll), Some(0));
        assert_eq!(add(&mut hll, b"a", SPARSE_MAX_BYTES), Ok(true));
        assert_eq!(cached_count(&hll), None);
        assert_eq!(count(&mut hll), Ok(1));
        assert_eq!(add(&mut hll, b"a", SPARSE_MAX_BYTES), Ok(false));
        assert_eq!(cached_count(&hll), Some(1));
    }

    #[test]
    fn runs_are_decoded() {
        let mut hll = new_sparse();
        assert_eq!(decode(&hll).unwrap().as_deref(), Some("Z:16384"));
        raise(&mut hll, 1, 3, SPARSE_MAX_BYTES).unwrap();
        raise(&mut hll, 2, 3, SPARSE_MAX_BYTES).unwrap();
        assert_eq!(decode(&hll).unwrap().as_deref(), Some("z:1 v:3,2 Z:16381"));
        raise(&mut hll, REGISTERS - 1, 32, SPARSE_MAX_BYTES).unwrap();
        assert_eq!(
            decode(&hll).unwrap().as_deref(),
            Some("z:1 v:3,2 Z:16380 v:32,1")
        );
        raise(&mut hll, 0, 33, SPARSE_MAX_BYTES).unwrap();
        assert_eq!(
            encoding(&hll).map(Encoding::name),
            Some("dense"),
            "a sparse register holds up to 32"
        );
        assert_eq!(decode(&hll), Ok(None));
        let registers = registers(&hll).unwrap();
        assert_eq!(
            (registers[..4].to_vec(), registers[REGISTERS - 1]),
            (vec![33, 3, 3, 0], 32)
        );
    }

    #[test]
    fn a_sparse_one_becomes_dense_at_the_limit() {
        let mut hll = new_sparse();
        assert_eq!(add(&mut hll, b"a", 20), Ok(true));
        assert_eq!(hll.len(), DENSE_BYTES);
        let mut hll = new_sparse();
        assert_eq!(add(&mut hll, b"a", 21), Ok(true));
        assert_eq!(hll.len(), 21);
        let mut dense = hll.clone();
        assert_eq!(to_dense(&mut dense), Ok(true));
        assert_eq!(to_dense(&mut dense), Ok(false));
        assert_eq!(registers(&dense), registers(&hll));
    }

    #[test]
    fn merging_equals_adding_all() {
        for dense in [false, true] {
            let (a, b) = (
                filled(0..300, SPARSE_MAX_BYTES),
                filled(200..500, SPARSE_MAX_BYTES),
            );
            let mut merged = [0; REGISTERS];
            merge_registers(&mut merged, &a).unwrap();
            merge_registers(&mut merged, &b).unwrap();
            let mut all = filled(0..500, SPARSE_MAX_BYTES);
            assert_eq!(*registers(&all).unwrap(), merged);
            assert_eq!(count_registers(&merged), count(&mut all).unwrap());
            let mut stored = a.clone();
            store_registers(&mut stored, &merged, dense, SPARSE_MAX_BYTES).unwrap();
            assert_eq!(
                encoding(&stored),
                Some(if dense {
                    Encoding::Dense
                } else {
                    Encoding::Sparse
                })
            );
            assert_eq!(*registers(&stored).unwrap(), merged);
        }
    }

    #[test]
    fn foreign_headers_are_refused() {
        let hll = new_sparse();
        assert!(validate(&hll));
        assert!(!validate(b""));
        assert!(!validate(&hll[..HEADER_BYTES - 1]));
        let mut dense = hll.clone();
        to_dense(&mut dense).unwrap();
        assert!(validate(&dense));
        dense.push(0);
        assert!(!validate(&dense));
        let mut other = hll.clone();
        other[ENCODING_AT] = 2;
        assert!(!validate(&other));
    }

    #[test]
    fn a_cut_off_dense_one_is_corrupt_to_every_function() {
        let mut hll = b"HYLL\0\0\0\x80\xff\xff".to_vec();
        assert_eq!(registers(&hll), Err(Corrupt));
        assert_eq!(to_dense(&mut hll), Err(Corrupt));
        assert_eq!(add(&mut hll, b"a", SPARSE_MAX_BYTES), Err(Corrupt));
        assert_eq!(count(&mut hll), Err(Corrupt));
    }

    #[test]
    fn registers_past_the_usual_count_as_in_redis() {
        let mut hll = new_sparse();
        to_dense(&mut hll).unwrap();
        hll[HEADER_BYTES..].fill(0xff);
        invalidate_cache(&mut hll);
        assert_eq!(count(&mut hll), Ok(1 << 63));
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let mut seed = 7u64;
        let mut next = move |limit: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % limit
        };
        let sound = [
            new_sparse(),
            filled(0..40, SPARSE_MAX_BYTES),
            filled(0..900, 16),
        ];
        for round in 0..rounds(500) {
            let mut hll = sound[next(3)].clone();
            for _ in 0..next(6) {
                let at = next(hll.len());
                hll[at] = next(256) as u8;
            }
            if round % 3 == 0 {
                hll.truncate(HEADER_BYTES);
                hll.extend((0..next(60)).map(|_| next(256) as u8));
            }
            if round % 50 == 0 {
                hll = (0..next(40)).map(|_| next(256) as u8).collect();
            }
            exercise(&hll);
        }
    }

    fn exercise(hll: &[u8]) {
        let valid = validate(hll);
        let whole = registers(hll);
        for limit in [0, SPARSE_MAX_BYTES] {
            let mut copy = hll.to_vec();
            let _ = add(&mut copy, b"element", limit);
            assert_eq!(validate(&copy), valid);
            let _ = count(&mut copy);
        }
        let mut copy = hll.to_vec();
        let _ = store_registers(&mut copy, &[1; REGISTERS], false, hll.len() + 2);
        let mut copy = hll.to_vec();
        assert_eq!(to_dense(&mut copy).is_ok(), whole.is_ok());
        let _ = decode(hll);
    }
}
