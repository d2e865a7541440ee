//! The syntax of redis.conf: one directive a line, `#` comments, words quoted as on Redis's command line, `include`.
//!
//! Lines are bytes: a comment may be in any encoding, and a rewrite must keep it. Only words must be UTF-8.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Includes nest at most this deep, so that a file that includes itself is an error and not a hang.
const MAX_INCLUDE_DEPTH: usize = 16;

/// A directive and where it stands.
pub(super) struct Directive {
    /// In the case of the file.
    pub(super) name: String,
    pub(super) words: Vec<String>,
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: usize,
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum FileError {
    Unreadable {
        file: PathBuf,
        source: io::Error,
    },
    Syntax {
        file: PathBuf,
        line: usize,
        what: SplitError,
    },
    Include {
        file: PathBuf,
        line: usize,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => {
                write!(
                    f,
                    "{}: cannot be read ({source}): give the path of a configuration file",
                    file.display()
                )
            }
            Self::Syntax { file, line, what } => {
                write!(f, "{} line {line}: {what}", file.display())
            }
            Self::Include { file, line } => write!(
                f,
                "{} line {line}: include takes one path or more, and nests at most {MAX_INCLUDE_DEPTH} deep",
                file.display()
            ),
        }
    }
}

/// Reads a file and what it includes, in the order in which directives apply, and whatever is wrong with them.
pub(super) fn read(path: &Path) -> (Vec<Directive>, Vec<FileError>) {
    let mut reader = Reader::default();
    reader.read(path, 0);
    (reader.directives, reader.errors)
}

#[derive(Default)]
struct Reader {
    directives: Vec<Directive>,
    errors: Vec<FileError>,
}

impl Reader {
    fn read(&mut self, path: &Path, depth: usize) {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) => {
                let file = path.to_owned();
                self.errors.push(FileError::Unreadable { file, source });
                return;
            }
        };
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let (file, line_number) = (path.to_owned(), at + 1);
            match parse_line(line) {
                Ok(mut words) if !words.is_empty() => {
                    let name = words.remove(0);
                    self.take(
                        Directive {
                            name,
                            words,
                            file,
                            line: line_number,
                        },
                        depth,
                    );
                }
                Ok(_) => {}
                Err(what) => self.errors.push(FileError::Syntax {
                    file,
                    line: line_number,
                    what,
                }),
            }
        }
    }

    fn take(&mut self, directive: Directive, depth: usize) {
        if !directive.name.eq_ignore_ascii_case("include") {
            self.directives.push(directive);
            return;
        }
        let Directive {
            words, file, line, ..
        } = directive;
        if words.is_empty() || depth == MAX_INCLUDE_DEPTH {
            self.errors.push(FileError::Include { file, line });
            return;
        }
        for included in words {
            match matching_files(&from_file(&included, &file)) {
                Ok(found) => found.iter().for_each(|found| self.read(found, depth + 1)),
                Err(source) => self.errors.push(FileError::Unreadable {
                    file: included.into(),
                    source,
                }),
            }
        }
    }
}

/// Where an included file is: from the directory that the process was started in, as in Redis, or else beside the file
/// that includes it.
fn from_file(included: &str, file: &Path) -> PathBuf {
    let path = PathBuf::from(included);
    let directory = |path: &Path| {
        path.parent()
            .is_some_and(|parent| parent == Path::new("") || parent.exists())
    };
    let is_there = match has_wildcards(&path) {
        true => directory(&path),
        false => path.exists(),
    };
    match file.parent() {
        Some(beside) if !is_there && path.is_relative() => beside.join(path),
        _ => path,
    }
}

fn has_wildcards(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.contains(['*', '?']))
}

/// The files that an include names: itself, or with wildcards in the last part all that match, in order; then none is fine.
fn matching_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !has_wildcards(path) {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        // As in a shell, a wildcard does not find a hidden file.
        if !text.starts_with('.') && wildcard_matches(pattern.as_bytes(), text.as_bytes()) {
            found.push(directory.join(&name));
        }
    }
    found.sort();
    Ok(found)
}

/// `*` is any run of bytes, `?` any one. The usual greedy walk with one point to come back to.
fn wildcard_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// The words of a line; none for a comment or a blank line.
pub(super) fn parse_line(line: &[u8]) -> Result<Vec<String>, SplitError> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        Ok(Vec::new())
    } else {
        split_words(line)
    }
}

/// Why a line is not a list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitError {
    Quotes,
    Encoding,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quotes => "Unbalanced quotes in configuration line",
            Self::Encoding => "values must be UTF-8 text",
        })
    }
}

/// Splits as Redis's sdssplitargs: blanks separate; `"..."` knows `\n \r \t \b \a \xHH` and takes any other escaped byte
/// as it is; `'...'` knows `\'` alone; after a closing quote a blank or the end must follow.
pub(super) fn split_words(line: &[u8]) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = take_word(rest)?;
        words.push(String::from_utf8(word).map_err(|_| SplitError::Encoding)?);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

fn take_word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), SplitError> {
    let mut word = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            _ if byte.is_ascii_whitespace() || byte == 0 => return Ok((word, after)),
            b'"' => take_double_quoted(after, &mut word)?,
            b'\'' => take_single_quoted(after, &mut word)?,
            _ => {
                word.push(byte);
                after
            }
        };
        if matches!(byte, b'"' | b'\'')
            && rest.first().is_some_and(|next| !next.is_ascii_whitespace())
        {
            return Err(SplitError::Quotes);
        }
    }
    Ok((word, rest))
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], SplitError> {
    loop {
        rest = match rest {
            [] => return Err(SplitError::Quotes),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], SplitError> {
    loop {
        rest = match rest {
            [] => return Err(SplitError::Quotes),
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// A word as it must stand in a file to be read back: quoted only where needed.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#') || byte >= 0x80
    };
    if !word.is_empty() && word.bytes().all(plain) {
        return Cow::Borrowed(word);
    }
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_ascii_control() => {
                text.push_str(&format!("\\x{:02x}", u32::from(control)))
            }
            other => text.push(other),
        }
    }
    text.push('"');
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    fn split(line: &str) -> Result<Vec<String>, SplitError> {
        split_words(line.as_bytes())
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        assert_eq!(split("  a  b\tc ").unwrap(), ["a", "b", "c"]);
        assert_eq!(
            split(r#"a "b c" 'd e' """#).unwrap(),
            ["a", "b c", "d e", ""]
        );
        assert_eq!(split(r#""\x41\n\t\q\"""#).unwrap(), ["A\n\tq\""]);
        assert_eq!(split(r#"'\'\n'"#).unwrap(), [r"'\n"]);
        assert_eq!(split(r#"ab"c d""#).unwrap(), ["abc d"]);
        for line in [r#"a "b"#, r#""a"b"#, "'a", r#""a\"#, r#""a"'b'"#] {
            assert_eq!(split(line), Err(SplitError::Quotes), "{line}");
        }
        assert_eq!(split(r#""\xff""#), Err(SplitError::Encoding));
    }

    #[test]
    fn a_quoted_word_is_read_back() {
        for word in [
            "",
            "plain",
            "two words",
            "q\"'\\",
            "\u{1}\u{7}\n\r\t",
            "grün",
            "# no comment",
        ] {
            assert_eq!(split(&quoted(word)).unwrap(), [word]);
        }
        assert_eq!(quoted("plain"), "plain");
    }

    #[test]
    fn comments_may_hold_anything() {
        assert!(parse_line(b"  # \"\xff").unwrap().is_empty());
        assert!(parse_line(b"\r").unwrap().is_empty());
        assert_eq!(parse_line(b"port 1\r").unwrap(), ["port", "1"]);
    }

    #[test]
    fn includes_are_read_in_place_and_in_order() {
        let scratch = Scratch::new();
        scratch.write("d/b.conf", "port 3\n");
        scratch.write("d/a.conf", "port 2\n");
        scratch.write("d/.hidden.conf", "port 9\n");
        scratch.write("d/c.txt", "port 9\n");
        let directory = scratch.path().display();
        let text =
            format!("port 1\ninclude {directory}/d/*.conf {directory}/none/*.conf\n# x\nport 4\n");
        let main = scratch.write("main.conf", &text);
        let (directives, errors) = read(&main);
        assert!(errors.is_empty());
        let ports: Vec<_> = directives
            .iter()
            .map(|directive| directive.words[0].as_str())
            .collect();
        assert_eq!(ports, ["1", "2", "3", "4"]);
        assert_eq!(directives[3].line, 4);
    }

    #[test]
    fn a_file_that_includes_itself_is_an_error() {
        let scratch = Scratch::new();
        let path = scratch.path().join("loop.conf");
        scratch.write("loop.conf", &format!("include {}\n", path.display()));
        assert!(matches!(&read(&path).1[..], [FileError::Include { .. }]));
        let none = read(&scratch.path().join("none")).1;
        assert!(matches!(none[..], [FileError::Unreadable { .. }]));
    }

    #[test]
    fn an_include_is_also_found_beside_its_file() {
        let scratch = Scratch::new();
        scratch.write("base.conf", "port 7\n");
        let path = scratch.write("full.conf", "include base.conf\nport 8\n");
        let (directives, errors) = read(&path);
        assert!(errors.is_empty());
        let ports: Vec<_> = directives.iter().map(|d| d.words[0].as_str()).collect();
        assert_eq!(ports, ["7", "8"]);
    }

    #[test]
    fn every_line_that_is_wrong_is_told() {
        let scratch = Scratch::new();
        let path = scratch.write(
            "bad.conf",
            "port \"1\nport 2\ninclude\ninclude /none/x.conf\n",
        );
        let (directives, errors) = read(&path);
        assert_eq!((directives.len(), errors.len()), (1, 3));
    }

    #[test]
    fn wildcards_match_runs_and_single_bytes() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
        ] {
            assert_eq!(
                wildcard_matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
