//! Damage on disk: a flipped byte, a page of zeros, a file cut short, emptied or gone, something else in its place, or one that
//! the disk does not read, in every kind of file.
//!
//! Whatever is damaged, the server starts and serves, and what it tells is the right value, no value or an
//! error, never a wrong or an old value. What is lost is in the log, and it is no more than must be: the keys of
//! the generation that a damaged file belongs to, and, where the filter of that is not there either, older ones.
//! With `tier.meta` all may be lost.

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::failing::FailingDisk;
use super::*;

const KEYS: usize = 3_000;
const PAGE: usize = 4_096;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Damage {
    FlippedByte,
    ZeroedPage,
    Zeroed,
    CutInHalf,
    CutByOne,
    Emptied,
    Removed,
    Directory,
    FullDirectory,
    LinkLoop,
    DanglingLink,
    Fifo,
    Socket,
    /// The disk does not open it, or gives an error where it is read.
    NotOpened,
    NotRead,
}

const ALL: [Damage; 15] = [
    Damage::FlippedByte,
    Damage::ZeroedPage,
    Damage::Zeroed,
    Damage::CutInHalf,
    Damage::CutByOne,
    Damage::Emptied,
    Damage::Removed,
    Damage::Directory,
    Damage::FullDirectory,
    Damage::LinkLoop,
    Damage::DanglingLink,
    Damage::Fifo,
    Damage::Socket,
    Damage::NotOpened,
    Damage::NotRead,
];

impl Damage {
    /// Which calls fail, if it is that.
    fn rule(self) -> Option<&'static str> {
        match self {
            Self::NotOpened => Some("open EIO"),
            Self::NotRead => Some("read,pread EIO"),
            _ => None,
        }
    }

    /// False where the file stays as it was.
    fn apply(self, path: &Path, random: &mut Random) -> bool {
        if path.is_dir() || self.rule().is_some() {
            return self.replace(path);
        }
        let mut bytes = fs::read(path).expect("read a file of the tier");
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let before = bytes.clone();
        match self {
            Self::FlippedByte if used > 0 => bytes[random.index(used)] ^= 1 << random.below(8),
            Self::ZeroedPage if used > 0 => {
                let start = random.index(used.div_ceil(PAGE)) * PAGE;
                let end = (start + PAGE).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Self::Zeroed => bytes.fill(0),
            Self::CutInHalf => bytes.truncate(used / 2),
            Self::CutByOne => bytes.truncate(used.saturating_sub(1)),
            Self::Emptied => bytes.clear(),
            _ => return self.replace(path),
        }
        fs::write(path, &bytes).expect("damage a file of the tier");
        bytes != before
    }

    /// Puts something else in the place of a file or directory.
    fn replace(self, path: &Path) -> bool {
        if self.rule().is_some() {
            return true;
        }
        let is_dir = path.is_dir();
        let is_bytes = matches!(
            self,
            Self::FlippedByte | Self::ZeroedPage | Self::CutInHalf | Self::CutByOne
        );
        if is_bytes || (is_dir && matches!(self, Self::Directory | Self::FullDirectory)) {
            return false;
        }
        let removed = match is_dir {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        removed.expect("remove what is of the tier");
        let put = match self {
            // A file in the place of a directory.
            Self::Zeroed | Self::Emptied => fs::write(path, []),
            Self::Directory => fs::create_dir(path),
            Self::FullDirectory => {
                fs::create_dir(path).and_then(|()| fs::write(path.join("file"), "no file"))
            }
            Self::LinkLoop => symlink(path, path),
            Self::DanglingLink => symlink(path.with_extension("nowhere"), path),
            Self::Fifo => {
                let made = Command::new("mkfifo").arg(path).status();
                made.map(|status| assert!(status.success(), "mkfifo"))
            }
            Self::Socket => std::os::unix::net::UnixListener::bind(path).map(drop),
            _ => Ok(()),
        };
        match put {
            // A path that is too long for a socket.
            Err(error) if self == Self::Socket => {
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                true
            }
            put => {
                put.expect("put something else there");
                true
            }
        }
    }
}

fn key(i: usize) -> String {
    // Classes for dictionaries.
    format!("class{}:{i}", i % 3)
}

fn data(i: usize, version: u64) -> Vec<u8> {
    value(&key(i), version, [50, 300, 600, 1_500][i % 4])
}

/// The newest version of each key, none where it was deleted.
type Versions = Vec<Option<u64>>;

/// What was written, and where its newest version is.
struct Filled {
    versions: Versions,
    generations: Vec<Option<u64>>,
}

const ARGS: &[&str] = &["--tier-max-bytes", "4mb", "--maxmemory", "6mb"];

/// A tier with several generations, overwrites and deletions across them.
fn fill(disk: &Disk, clean: bool) -> Filled {
    let server = disk.start(ARGS);
    let mut client = server.connect();
    let mut versions = vec![None; KEYS];
    for version in 1..=5 {
        let touched =
            |i: &usize| version == 1 || (i / 7) % 5 == version as usize % 5 || i.is_multiple_of(11);
        let sets = (0..KEYS).filter(touched);
        set_all(
            &mut client,
            sets.clone().map(|i| (key(i), data(i, version))),
        );
        sets.for_each(|i| versions[i] = Some(version));
        for i in (0..KEYS).filter(|i| i % 13 == version as usize) {
            client.run(&["DEL", &key(i)]);
            versions[i] = None;
        }
        // A run of its own.
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let generations = (0..KEYS).map(|i| generation(&mut client, &key(i)));
    let generations = generations.collect();
    if clean {
        stop(server);
    } else {
        server.signal("KILL");
    }
    Filled {
        versions,
        generations,
    }
}

/// The generation that holds the newest version of a key on disk.
fn generation(client: &mut Client, key: &str) -> Option<u64> {
    let info = client.run(&["TIER.INFO", key]);
    let items = info.items().expect("a map");
    let mut pairs = items.chunks(2);
    let field = pairs.find(|pair| text(&pair[0]) == "generation");
    field.and_then(|pair| u64::try_from(pair[1].int()?).ok())
}

/// What is known of a damaged file.
#[derive(Debug)]
struct Place {
    /// The generation that it belongs to.
    generation: Option<u64>,
    /// Whether the file of that one's filter is whole.
    has_filter: bool,
    /// Whether the store as a whole cannot do without it.
    is_vital: bool,
}

impl Place {
    fn of(name: &Path, tier: &Path) -> Self {
        let parts: Vec<_> = name.iter().filter_map(|part| part.to_str()).collect();
        let generation = match parts.as_slice() {
            ["generations", number, ..] => u64::from_str_radix(number, 16).ok(),
            _ => None,
        };
        let filter = |g: u64| tier.join("filters").join(format!("{g:016x}.filter"));
        Self {
            generation,
            has_filter: generation.is_some_and(|g| filter(g).exists()),
            is_vital: matches!(parts.as_slice(), ["tier.meta" | "generations" | "dictionaries", ..]
                if generation.is_none() && parts.len() <= 2),
        }
    }
}

/// What was found of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Right,
    Missing,
    Error,
}

/// What was found of the keys, in their order.
struct Looked(Vec<Found>);

impl std::fmt::Debug for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |found| self.0.iter().filter(|other| **other == found).count();
        let [right, missing, errors] = [Found::Right, Found::Missing, Found::Error].map(count);
        write!(f, "{right} right, {missing} missing, {errors} errors")
    }
}

impl Looked {
    /// No more is lost than must be.
    fn check(&self, filled: &Filled, place: &Place, what: &str) {
        if place.is_vital {
            return;
        }
        let (mut lost, mut others) = (0, 0);
        for (i, found) in self
            .0
            .iter()
            .enumerate()
            .filter(|(i, _)| filled.versions[*i].is_some())
        {
            let at = filled.generations[i].expect("was written");
            let is_right = *found == Found::Right;
            match place.generation {
                Some(damaged) if at == damaged => {}
                Some(damaged) if at < damaged => {
                    others += 1;
                    lost += usize::from(!is_right);
                }
                _ => assert!(is_right, "{what}: {} of generation {at}: {found:?}", key(i)),
            }
        }
        // What the filter takes for stale by mistake.
        assert!(
            lost * 50 <= others || !place.has_filter,
            "{what}: {lost} of {others} keys in older generations are lost"
        );
    }
}

fn look(client: &mut Client, versions: &[Option<u64>], what: &str) -> Looked {
    let gets = (0..versions.len()).map(|i| vec!["GET".to_owned(), key(i)]);
    let replies = run_all(client, gets).into_iter().enumerate();
    let found = replies.map(|(i, reply)| match (&reply, versions[i]) {
        (Reply::Bulk(found), Some(version)) if *found == data(i, version) => Found::Right,
        (Reply::Nil, None) => Found::Right,
        (Reply::Nil, Some(_)) => Found::Missing,
        (Reply::Error(text), _) if text.starts_with(b"IOERR") => Found::Error,
        (_, version) => panic!("{what}: {} is {reply}, and should be {version:?}", key(i)),
    });
    Looked(found.collect())
}

/// Starts over a damaged tier and uses it; then once more.
fn use_damaged(failing: &FailingDisk, filled: &Filled, place: &Place, what: &str) -> Looked {
    let mut versions = filled.versions.clone();
    let server = failing.start(ARGS);
    let mut client = server.connect();
    client.set_timeout(Duration::from_secs(20));
    let looked = look(&mut client, &versions, what);
    looked.check(filled, place, what);
    let told = server.stdout() + &server.stderr();
    assert!(
        looked.0.iter().all(|found| *found == Found::Right) || told.contains("ERROR"),
        "{what}: {looked:?}, and nothing in the log: {told}"
    );
    // A walk fails or tells keys that are there.
    match client.run(&["SCAN", "0", "COUNT", "100000"]) {
        Reply::Error(text) => assert!(text.starts_with(b"IOERR"), "{what}: {}", Shown(&text)),
        reply => {
            let keys = reply
                .items()
                .and_then(|items| items[1].items())
                .expect("keys");
            for found in keys.iter().map(text) {
                let i: usize = found
                    .rsplit(':')
                    .next()
                    .and_then(|i| i.parse().ok())
                    .expect("a number");
                assert!(
                    versions[i].is_some(),
                    "{what}: SCAN tells the deleted {found}"
                );
            }
        }
    }
    // What it writes from here on is read by the next start.
    failing.heal();
    for i in (0..KEYS).step_by(3) {
        let reply = client.run(&[b"SET".to_vec(), key(i).into(), data(i, 9)]);
        let refused = matches!(&reply, Reply::Error(text) if text.starts_with(b"IOERR"));
        assert!(reply.is_simple("OK") || refused, "{what}: SET: {reply}");
        if !refused {
            versions[i] = Some(9);
        }
    }
    for i in (1..KEYS).step_by(30) {
        let reply = client.run(&["DEL", &key(i)]);
        let refused = matches!(&reply, Reply::Error(text) if text.starts_with(b"IOERR"));
        assert!(reply.int().is_some() || refused, "{what}: DEL: {reply}");
        if !refused {
            versions[i] = None;
        }
    }
    // What could not be read stays as it is.
    for some in (0..KEYS).map(key).collect::<Vec<_>>().chunks(PIPELINE) {
        let demote = std::iter::once("TIER.DEMOTE".to_owned());
        client.run(&demote.chain(some.iter().cloned()).collect::<Vec<_>>());
    }
    look(&mut client, &versions, what);
    let log = end(server);
    let server = failing.disk.start(ARGS);
    let mut client = server.connect();
    client.set_timeout(Duration::from_secs(20));
    let what = format!("{what}, second start; the log of the first:\n{log}");
    look(&mut client, &versions, &what);
    stop(server);
    looked
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cp {}",
        from.display()
    );
}

/// The kind of a file: its path without numbers.
fn kind(path: &Path) -> String {
    path.to_string_lossy()
        .replace(|c: char| c.is_ascii_hexdigit(), "")
}

fn dirs_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("list a directory of the tier") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(dirs_below(&path));
            found.push(path);
        }
    }
    found
}

/// `rounds` cases; all from 30 rounds on.
fn damage_is_survived(test: &str, clean: bool, rounds: u32) {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new(test);
    let (failing, whole) = (FailingDisk::new(), Disk::new());
    let disk = &failing.disk;
    let filled = fill(&whole, clean);
    let mut files = Vec::new();
    files_below(&whole.tier(), &mut files);
    files.extend(dirs_below(&whole.tier()));
    files.sort();
    let mut cases: Vec<_> = files
        .iter()
        .flat_map(|file| ALL.map(|damage| (file, damage)))
        .collect();
    for i in (1..cases.len()).rev() {
        cases.swap(i, random.index(i + 1));
    }
    // One of each kind of file and damage.
    let mut seen = HashSet::new();
    cases.retain(|(file, damage)| rounds >= 30 || seen.insert((kind(file), *damage)));
    // What is written anew has the name of the file and more, and could not be opened either.
    cases.retain(|(file, damage)| {
        let is_ours = file.is_dir() || !file.starts_with(whole.tier().join("generations"));
        *damage != Damage::NotOpened || !is_ours
    });
    if rounds < 20 {
        cases.truncate(rounds as usize * 6);
    }
    let only = env::var("STRATA_TIER_ONLY").unwrap_or_default();
    let mut failed = Vec::new();
    for (file, damage) in &cases {
        let name = file.strip_prefix(whole.tier()).expect("inside");
        if !format!("{damage:?} {}", name.display()).contains(&only) {
            continue;
        }
        copy(&whole.tier(), &disk.tier());
        if !damage.apply(&disk.tier().join(name), &mut random) {
            continue;
        }
        let what = format!("{damage:?} {}", name.display());
        let place = Place::of(name, &whole.tier());
        if let Some(rule) = damage.rule() {
            failing.fail(&format!("{rule} {}", name.display()));
        }
        let used = std::panic::catch_unwind(|| use_damaged(&failing, &filled, &place, &what));
        failing.heal();
        match used {
            Ok(looked) => eprintln!("{what}: {looked:?}"),
            Err(_) => {
                eprintln!("{what}: FAILED");
                failed.push(what);
            }
        }
        // What was put aside.
        for entry in fs::read_dir(&disk.0).expect("list the directory") {
            let path = entry.expect("an entry").path();
            let _ = fs::remove_dir_all(&path);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        cases.len()
    );
}

#[test]
fn whatever_is_damaged_the_server_starts() {
    damage_is_survived("whatever_is_damaged_the_server_starts", true, 2);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn damage_after_a_stop_is_survived() {
    damage_is_survived("damage_after_a_stop_is_survived", true, count(1));
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn damage_after_a_kill_is_survived() {
    damage_is_survived("damage_after_a_kill_is_survived", false, count(1));
}
