//! Damage on disk: a flipped byte, a page of zeros, a file cut short, emptied or gone, in every kind of file.
//!
//! Whatever is damaged, the server starts and serves, and what it tells is the right value, no value or an
//! error, never a wrong or an old value. What is lost is in the log, and it is no more than must be: the keys of
//! the generation that a damaged file belongs to, and, where the filter of that is not there either, older ones.
//! What has no file of its own in a generation may be lost as a whole: the list of generations and `tier.meta`.

use std::process::Command;

use super::*;

const KEYS: usize = 3_000;
const PAGE: usize = 4_096;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    FlippedByte,
    ZeroedPage,
    CutInHalf,
    CutByOne,
    Emptied,
    Removed,
}

const ALL: [Damage; 6] = [
    Damage::FlippedByte,
    Damage::ZeroedPage,
    Damage::CutInHalf,
    Damage::CutByOne,
    Damage::Emptied,
    Damage::Removed,
];

impl Damage {
    /// False where the file stays as it was.
    fn apply(self, path: &Path, random: &mut Random) -> bool {
        let mut bytes = fs::read(path).expect("read a file of the tier");
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        if used == 0 && !matches!(self, Self::Removed) {
            return false;
        }
        let before = bytes.clone();
        match self {
            Self::FlippedByte => bytes[random.index(used)] ^= 1 << random.below(8),
            Self::ZeroedPage => {
                let start = random.index(used.div_ceil(PAGE)) * PAGE;
                let end = (start + PAGE).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Self::CutInHalf => bytes.truncate(used / 2),
            Self::CutByOne => bytes.truncate(used - 1),
            Self::Emptied => bytes.clear(),
            Self::Removed => {
                fs::remove_file(path).expect("remove a file of the tier");
                return true;
            }
        }
        fs::write(path, &bytes).expect("damage a file of the tier");
        bytes != before
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
    /// The first generation is the first keyspace.
    fn of(name: &Path, tier: &Path) -> Self {
        let parts: Vec<_> = name.iter().filter_map(|part| part.to_str()).collect();
        let keyspace = match parts.as_slice() {
            ["db", "keyspaces", id, ..] => id.parse::<u64>().ok(),
            _ => None,
        };
        let generation = keyspace.and_then(|id| id.checked_sub(1));
        let filter = |g: u64| tier.join("filters").join(format!("{g:016x}.filter"));
        Self {
            generation,
            has_filter: generation.is_some_and(|g| filter(g).exists()),
            is_vital: keyspace == Some(0) || parts == ["tier.meta"] || parts == ["db", "version"],
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
fn use_damaged(disk: &Disk, filled: &Filled, place: &Place, what: &str) -> Looked {
    let mut versions = filled.versions.clone();
    let server = disk.start(ARGS);
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
    let server = disk.start(ARGS);
    let mut client = server.connect();
    client.set_timeout(Duration::from_secs(20));
    let what = format!("{what}, second start; the log of the first:\n{log}");
    look(&mut client, &versions, &what);
    stop(server);
    looked
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    // The journal is 64 MiB, nearly all of it a hole.
    let copied = Command::new("cp")
        .args(["-r", "--sparse=always"])
        .arg(from)
        .arg(to)
        .status();
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

fn damage_is_survived(test: &str, clean: bool) {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new(test);
    let (disk, whole) = (Disk::new(), Disk::new());
    let filled = fill(&whole, clean);
    let mut files = Vec::new();
    files_below(&whole.tier(), &mut files);
    files.sort();
    let mut cases: Vec<_> = files
        .iter()
        .flat_map(|file| ALL.map(|damage| (file, damage)))
        .collect();
    for i in (1..cases.len()).rev() {
        cases.swap(i, random.index(i + 1));
    }
    let rounds = count(1);
    if rounds < 30 {
        // Some of each kind first.
        let mut seen: HashMap<String, usize> = HashMap::new();
        cases.sort_by_cached_key(|(file, _)| {
            let seen = seen.entry(kind(file)).or_default();
            *seen += 1;
            *seen
        });
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
        let used = std::panic::catch_unwind(|| use_damaged(&disk, &filled, &place, &what));
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
            let _ = fs::remove_dir_all(path);
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
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn damage_after_a_stop_is_survived() {
    damage_is_survived("damage_after_a_stop_is_survived", true);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn damage_after_a_kill_is_survived() {
    damage_is_survived("damage_after_a_kill_is_survived", false);
}
