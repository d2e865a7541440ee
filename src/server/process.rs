//! What the operating system says of this process: memory, processor time, open files, versions.
//!
//! Read from /proc when somebody asks. A file that is missing, as outside Linux, gives zeros.

use std::fs;

/// The unit of the times in /proc/self/stat. Linux has fixed it at 100 a second for user space.
const TICKS_PER_SECOND: f64 = 100.0;
/// The size of a page where the kernel does not tell otherwise.
const PAGE_BYTES: u64 = 4096;

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTimes {
    /// In the kernel.
    pub system_s: f64,
    /// Outside of it.
    pub user_s: f64,
}

/// Processor time of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessTimes {
    /// All threads.
    pub own: CpuTimes,
    /// Children that have ended.
    pub children: CpuTimes,
    /// The thread that has run commands for the longest time.
    pub busiest_worker: CpuTimes,
}

/// Bytes of memory that are resident.
pub fn resident_bytes() -> u64 {
    resident_pages(&text("/proc/self/statm")) * page_bytes()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The second number of statm.
fn resident_pages(statm: &str) -> u64 {
    let pages = statm.split_ascii_whitespace().nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// The page size, from the auxiliary vector: pairs of native words, of which AT_PAGESZ is key 6.
fn page_bytes() -> u64 {
    const AT_PAGESZ: usize = 6;
    const WORD: usize = size_of::<usize>();
    let vector = fs::read("/proc/self/auxv").unwrap_or_default();
    let word = |bytes: &[u8]| <[u8; WORD]>::try_from(bytes).map_or(0, usize::from_ne_bytes);
    vector
        .chunks_exact(2 * WORD)
        .find(|pair| word(&pair[..WORD]) == AT_PAGESZ)
        .map_or(PAGE_BYTES, |pair| word(&pair[WORD..]) as u64)
}

/// What the names of the threads that run commands begin with.
const WORKER: &str = "worker-";

/// A thread: its name, and its time in nanoseconds.
struct Thread {
    id: String,
    name: String,
    nanos: u64,
}

/// The threads that there are.
fn threads() -> Vec<Thread> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .map(|task| {
            let id = task.file_name().to_string_lossy().into_owned();
            let of = |file: &str| text(&format!("/proc/self/task/{id}/{file}"));
            let nanos = of("schedstat");
            let nanos = nanos.split_ascii_whitespace().next();
            Thread {
                name: of("comm").trim_end().to_owned(),
                nanos: nanos.and_then(|nanos| nanos.parse().ok()).unwrap_or(0),
                id,
            }
        })
        .collect()
}

/// Processor time so far. The kernel tells times in the kernel and outside of it in steps of 10 ms, and their sum for each
/// thread exactly: the sum is shared out as those are.
pub fn cpu_times() -> ProcessTimes {
    let (own, children) = times_of(&text("/proc/self/stat"));
    let threads = threads();
    let nanos = threads.iter().map(|thread| thread.nanos).sum();
    let workers = threads
        .iter()
        .filter(|thread| thread.name.starts_with(WORKER));
    let busiest = workers.max_by_key(|thread| thread.nanos).map(|thread| {
        let (times, _) = times_of(&text(&format!("/proc/self/task/{}/stat", thread.id)));
        times.exact(thread.nanos)
    });
    ProcessTimes {
        own: own.exact(nanos),
        children,
        busiest_worker: busiest.unwrap_or_default(),
    }
}

/// Processor time of the threads that run commands, in microseconds.
pub fn worker_micros() -> i64 {
    let threads = threads();
    let workers = threads
        .iter()
        .filter(|thread| thread.name.starts_with(WORKER));
    let nanos: u64 = workers.map(|thread| thread.nanos).sum();
    i64::try_from(nanos / 1000).unwrap_or(i64::MAX)
}

impl CpuTimes {
    /// The same parts of a sum that is known exactly. Threads that have ended are not in that: then it is the smaller one.
    fn exact(self, nanos: u64) -> Self {
        let (coarse, exact) = (self.user_s + self.system_s, nanos as f64 / 1e9);
        if exact < coarse {
            return self;
        }
        let user_share = if coarse > 0.0 {
            self.user_s / coarse
        } else {
            1.0
        };
        Self {
            user_s: exact * user_share,
            system_s: exact * (1.0 - user_share),
        }
    }
}

/// 16 hexadecimal digits that tell builds apart: of the program's version, length and time.
pub fn build_id() -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    if let Ok(file) = std::env::current_exe().and_then(fs::metadata) {
        file.len().hash(&mut hasher);
        file.modified().ok().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Own times and those of children in a line of /proc/self/stat. The name in parentheses may hold
/// anything, so that the fields are counted from its end: utime is the 12th after it.
fn times_of(stat: &str) -> (CpuTimes, CpuTimes) {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields
        .split_ascii_whitespace()
        .skip(11)
        .map(|ticks| ticks.parse().unwrap_or(0.0) / TICKS_PER_SECOND);
    let mut next = || times.next().unwrap_or(0.0);
    let [user, system, child_user, child_system] = [next(), next(), next(), next()];
    let times = |user_s, system_s| CpuTimes { system_s, user_s };
    (times(user, system), times(child_user, child_system))
}

/// How many files the process may have open; `None` where there is no limit or none is told.
pub fn open_files_max() -> Option<u64> {
    soft_open_files(&text("/proc/self/limits"))
}

/// `Max open files            1024                 4096                 files`
fn soft_open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The memory of the machine in bytes, whatever limit a container sets.
pub fn system_memory_bytes() -> u64 {
    let meminfo = text("/proc/meminfo");
    let kilobytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// The system, its release and the machine, as `uname -srm` has them.
pub fn operating_system() -> String {
    let release = text("/proc/sys/kernel/osrelease");
    let system = text("/proc/sys/kernel/ostype");
    let or = |text: &str, other: &str| {
        if text.trim().is_empty() {
            other.to_owned()
        } else {
            text.trim().to_owned()
        }
    };
    format!(
        "{} {} {}",
        or(&system, std::env::consts::OS),
        or(&release, "unknown"),
        std::env::consts::ARCH
    )
}

/// Who has started the process and is told how it is: `systemd`, or `no` for nobody.
pub fn supervisor() -> &'static str {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(_) => "systemd",
        None => "no",
    }
}

/// The path of the program.
pub fn executable() -> String {
    std::env::current_exe().map_or_else(
        |_| String::new(),
        |path| path.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_from_the_end_of_the_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 150 250 10 20 20 0 1 0 5";
        let (own, children) = times_of(stat);
        assert_eq!((own.user_s, own.system_s), (1.5, 2.5));
        assert_eq!((children.user_s, children.system_s), (0.1, 0.2));
        assert_eq!(times_of(""), Default::default());
    }

    #[test]
    fn an_exact_sum_is_shared_out_as_the_coarse_parts_are() {
        let coarse = CpuTimes {
            system_s: 0.01,
            user_s: 0.03,
        };
        let exact = coarse.exact(48_000_000);
        assert!((exact.user_s - 0.036).abs() < 1e-9 && (exact.system_s - 0.012).abs() < 1e-9);
        assert_eq!(coarse.exact(5), coarse);
        assert_eq!(CpuTimes::default().exact(2_000_000).user_s, 0.002);
    }

    #[test]
    fn limits_and_pages_are_read() {
        let limits = "Limit  Soft Limit Hard Limit Units\nMax open files   1024  4096  files\n";
        assert_eq!(soft_open_files(limits), Some(1024));
        assert_eq!(
            soft_open_files("Max open files  unlimited unlimited files"),
            None
        );
        assert_eq!(resident_pages("900 17 3 1 0 5 0\n"), 17);
        assert_eq!(resident_pages(""), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_a_page_size() {
        assert!(resident_bytes() > 1 << 20);
        assert!(page_bytes().is_power_of_two() && page_bytes() >= 4096);
        assert!(system_memory_bytes() > resident_bytes());
        assert!(operating_system().starts_with("Linux "));
        assert!(executable().starts_with('/'));
    }
}
