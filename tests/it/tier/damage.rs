//! Damage on disk: a flipped byte, a page of zeros, a file cut short, emptied or gone, in every kind of file.
//!
//! Whatever is damaged, the server starts and serves, and what it tells is the right value, no value or an
//! error, never a wrong or an old value. What is lost is in the log.

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

const ARGS: &[&str] = &["--tier-max-bytes", "16mb", "--maxmemory", "6mb"];

/// A tier with several generations, overwrites and deletions across them.
fn fill(disk: &Disk, clean: bool) -> Versions {
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
    if clean {
        stop(server);
    } else {
        server.signal("KILL");
    }
    versions
}

/// What was found of the keys.
#[derive(Debug, Default)]
struct Looked {
    right: usize,
    missing: usize,
    errors: usize,
}

fn look(client: &mut Client, versions: &[Option<u64>], what: &str) -> Looked {
    let mut looked = Looked::default();
    let gets = (0..versions.len()).map(|i| vec!["GET".to_owned(), key(i)]);
    for (i, reply) in run_all(client, gets).into_iter().enumerate() {
        match (&reply, versions[i]) {
            (Reply::Bulk(found), Some(version)) if *found == data(i, version) => looked.right += 1,
            (Reply::Nil, None) => looked.right += 1,
            (Reply::Nil, Some(_)) => looked.missing += 1,
            (Reply::Error(text), _) if text.starts_with(b"IOERR") => looked.errors += 1,
            (_, version) => panic!("{what}: {} is {reply}, and should be {version:?}", key(i)),
        }
    }
    looked
}

/// Starts over a damaged tier and uses it; then once more.
fn use_damaged(disk: &Disk, versions: &Versions, what: &str) -> Looked {
    let mut versions = versions.clone();
    let server = disk.start(ARGS);
    let mut client = server.connect();
    client.set_timeout(Duration::from_secs(20));
    let looked = look(&mut client, &versions, what);
    let told = server.stdout() + &server.stderr();
    assert!(
        looked.missing + looked.errors == 0 || told.contains("ERROR") || told.contains("WARN"),
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
    cool(&server);
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
    let versions = fill(&whole, clean);
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
        let used = std::panic::catch_unwind(|| use_damaged(&disk, &versions, &what));
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
