//! The longest common subsequence of two strings, for LCS.
//!
//! The usual table: cell `(i, j)` holds the length for the first `i` bytes of `a` and the first `j` of `b`. One
//! subsequence is then read back from the far corner. Where two are equally long the way back decides which one, and
//! clients see it, so it goes as in Redis: on a tie a byte of `b` is given up.
//!
//! The table takes `4 * (a.len() + 1) * (b.len() + 1)` bytes. Redis refuses what needs more than proto-max-bulk-len, also
//! for the length alone, for which two rows are enough here.

use std::fmt;

/// Why there is no answer. The texts are those of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LcsError {
    /// A string has nearly 2^32 bytes or more, so a cell could not hold the length.
    TooLong,
    /// The table would be larger than the limit.
    OverLimit,
    /// There is no memory for the table.
    OutOfMemory,
}

impl fmt::Display for LcsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LcsError::TooLong => "ERR String too long for LCS",
            LcsError::OverLimit => {
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
            }
            LcsError::OutOfMemory => {
                "ERR Insufficient memory, failed allocating transient memory for LCS"
            }
        })
    }
}

impl std::error::Error for LcsError {}

/// A stretch of bytes that is in both strings and in the subsequence. Ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The first and last index in the first string.
    pub a: (usize, usize),
    /// The first and last index in the second string.
    pub b: (usize, usize),
}

impl Match {
    /// The bytes of the stretch, at least one: what WITHMATCHLEN replies and MINMATCHLEN compares with.
    #[expect(clippy::len_without_is_empty, reason = "a match is never empty")]
    pub fn len(&self) -> usize {
        self.a.1 - self.a.0 + 1
    }
}

/// A longest common subsequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcs {
    /// Its bytes. Their number is the length.
    pub text: Vec<u8>,
    /// Its stretches, from the last to the first, as `LCS ... IDX` replies them.
    pub matches: Vec<Match>,
}

/// The length of the longest common subsequence, as `LCS ... LEN` replies it.
pub fn length(a: &[u8], b: &[u8], max_table_bytes: u64) -> Result<usize, LcsError> {
    table_cells(a, b, max_table_bytes)?;
    // Rows run along the shorter string.
    let (rows, columns) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let mut above = vec![0u32; columns.len() + 1];
    let mut row = above.clone();
    for &byte in rows {
        fill_row(&mut row, &above, byte, columns);
        std::mem::swap(&mut row, &mut above);
    }
    Ok(above.last().map_or(0, |&length| length as usize))
}

/// The longest common subsequence and the stretches of at least `min_match_len` bytes; 0 keeps all of them.
pub fn find(
    a: &[u8],
    b: &[u8],
    min_match_len: usize,
    max_table_bytes: u64,
) -> Result<Lcs, LcsError> {
    let cells = table_cells(a, b, max_table_bytes)?;
    let mut table = Vec::new();
    table
        .try_reserve_exact(cells)
        .map_err(|_| LcsError::OutOfMemory)?;
    table.resize(cells, 0u32);
    let width = b.len() + 1;
    let mut rows = table.chunks_exact_mut(width);
    if let Some(mut above) = rows.next() {
        for (row, &byte) in rows.zip(a) {
            fill_row(row, above, byte, b);
            above = row;
        }
    }
    Ok(read_back(a, b, &table, min_match_len))
}

/// The cells of the table, when they are within the limits.
fn table_cells(a: &[u8], b: &[u8], max_table_bytes: u64) -> Result<usize, LcsError> {
    let longest = u32::MAX as usize - 1;
    if a.len() >= longest || b.len() >= longest {
        return Err(LcsError::TooLong);
    }
    let cells = (a.len() as u128 + 1) * (b.len() as u128 + 1);
    let bytes = cells * size_of::<u32>() as u128;
    // Redis reports a size past its address space as a failed allocation.
    if bytes >= u128::from(u64::MAX) {
        return Err(LcsError::OutOfMemory);
    }
    if bytes > u128::from(max_table_bytes) {
        return Err(LcsError::OverLimit);
    }
    usize::try_from(cells).map_err(|_| LcsError::OutOfMemory)
}

/// Fills the row of `byte` from the one above it; its first cell stays 0.
fn fill_row(row: &mut [u32], above: &[u32], byte: u8, columns: &[u8]) {
    let mut left = 0;
    for ((cell, &column), diagonal) in row[1..].iter_mut().zip(columns).zip(above.windows(2)) {
        left = if column == byte {
            diagonal[0] + 1
        } else {
            left.max(diagonal[1])
        };
        *cell = left;
    }
}

/// Walks from the far corner of the table to an edge, gathering the equal bytes on the way.
fn read_back(a: &[u8], b: &[u8], table: &[u32], min_match_len: usize) -> Lcs {
    let width = b.len() + 1;
    let mut text = Vec::new();
    let mut matches = Vec::new();
    let mut open: Option<Match> = None;
    let mut close = |open: &mut Option<Match>| {
        matches.extend(open.take().filter(|found| found.len() >= min_match_len))
    };

    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            text.push(a[i]);
            let found = open.get_or_insert(Match {
                a: (i, i),
                b: (j, j),
            });
            (found.a.0, found.b.0) = (i, j);
            continue;
        }
        close(&mut open);
        if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    close(&mut open);
    text.reverse();
    Lcs { text, matches }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 512 << 20;

    #[test]
    fn the_example_of_the_documentation() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        assert_eq!(length(a, b, LIMIT), Ok(6));
        let found = find(a, b, 0, LIMIT).unwrap();
        assert_eq!(found.text, b"mytext");
        assert_eq!(
            found.matches,
            [
                Match {
                    a: (4, 7),
                    b: (5, 8)
                },
                Match {
                    a: (2, 3),
                    b: (0, 1)
                }
            ]
        );
        assert_eq!(
            find(a, b, 4, LIMIT).unwrap().matches,
            [Match {
                a: (4, 7),
                b: (5, 8)
            }]
        );
        assert_eq!(find(a, b, 5, LIMIT).unwrap().matches, []);
    }

    #[test]
    fn strings_without_anything_in_common() {
        for (a, b) in [("", ""), ("a", ""), ("", "a"), ("abc", "xyz")] {
            assert_eq!(length(a.as_bytes(), b.as_bytes(), LIMIT), Ok(0));
            let nothing = Lcs {
                text: Vec::new(),
                matches: Vec::new(),
            };
            assert_eq!(find(a.as_bytes(), b.as_bytes(), 0, LIMIT), Ok(nothing));
        }
    }

    #[test]
    fn equal_strings_are_one_stretch() {
        let found = find(b"same", b"same", 0, LIMIT).unwrap();
        assert_eq!(found.text, b"same");
        assert_eq!(
            found.matches,
            [Match {
                a: (0, 3),
                b: (0, 3)
            }]
        );
    }

    #[test]
    fn tables_past_the_limit_are_refused() {
        // Ten by ten cells of four bytes.
        let text = [b'x'; 9];
        assert_eq!(length(&text, &text, 400), Ok(9));
        assert_eq!(length(&text, &text, 399), Err(LcsError::OverLimit));
        assert_eq!(find(&text, &text, 0, 399), Err(LcsError::OverLimit));
    }
}
