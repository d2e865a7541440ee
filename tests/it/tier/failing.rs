//! A disk that fails when a test says so: a preloaded library, `failing_io.c`, in the place of calls of the C library.

use std::process::Command;
use std::sync::OnceLock;

use super::*;
use crate::server::Env;

/// What fails of one tier's disk, for the servers that are started with it.
pub(super) struct FailingDisk {
    pub(super) disk: Disk,
    switch: PathBuf,
}

impl FailingDisk {
    /// Nothing fails yet.
    pub(super) fn new() -> Self {
        let disk = Disk::new();
        let switch = disk.0.join("failing");
        Self { disk, switch }
    }

    /// A server over this tier. Later arguments win.
    pub(super) fn start(&self, args: &[&str]) -> Server {
        self.disk.with_args(args, |args| {
            self.with_env(|env| Strata::start_in(env, args))
        })
    }

    /// One that need not answer yet, since its disk may fail from the first call on.
    pub(super) fn spawn(&self, args: &[&str]) -> Server {
        self.disk
            .with_args(args, |args| self.with_env(|env| Strata::spawn(env, args)))
    }

    /// From now on these calls fail: `full ENOSPC`, `fsync,fdatasync EIO`, or with the part of a path that they must
    /// hold, `open,pread EIO keyspaces/2`. Without one, all below the tier's directory.
    pub(super) fn fail(&self, rule: &str) {
        // In one step: the server looks at it at any time.
        let whole = self.switch.with_extension("new");
        fs::write(&whole, rule).expect("write the rule");
        fs::rename(&whole, &self.switch).expect("put the rule into place");
    }

    /// The disk is well again, if it was not.
    pub(super) fn heal(&self) {
        match fs::remove_file(&self.switch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    fn with_env<T>(&self, start: impl FnOnce(Env<'_>) -> T) -> T {
        let tier = self.disk.tier();
        start(&[
            ("LD_PRELOAD", library().as_os_str()),
            ("STRATA_FAIL_PATH", tier.as_os_str()),
            ("STRATA_FAIL_SWITCH", self.switch.as_os_str()),
        ])
    }
}

/// Compiles the library once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tier/failing_io.c");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Test processes run side by side.
        let own = dir.join(format!("failing_io-{}.so", std::process::id()));
        let library = dir.join("failing_io.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&own, &source])
            .arg("-ldl")
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cc cannot compile {}",
            source.display()
        );
        fs::rename(&own, &library).expect("put the library into place");
        library
    })
}

/// The tool itself: writes fail while the switch is there, and only then.
#[test]
fn a_failing_disk_fails_and_heals() {
    if Strata::is_oracle() {
        return;
    }
    let failing = FailingDisk::new();
    let server = failing.start(&[]);
    let mut client = server.connect();
    let mut becomes = |status: &str| {
        let field = format!("tier_status:{status}\r");
        let reached = poll(Duration::from_secs(30), || {
            assert!(client.run(&["INCR", "key"]).int().is_some());
            text(&client.run(&["INFO", "tier"]))
                .contains(&field)
                .then_some(())
        });
        assert!(reached.is_some(), "no {field}: {}", server.stdout());
    };
    becomes("ok");
    failing.fail("full ENOSPC");
    becomes("err");
    failing.heal();
    becomes("ok");
    assert!(server.stdout().contains("No space left on device"));
    stop(server);
    let mut server = failing.spawn(&[]);
    assert!(server.answers_ping(), "{}", server.stdout());
    stop(server);
}
