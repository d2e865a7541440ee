//! What the log begins with: what runs here, and within which limits.

use super::{REDIS_VERSION, Server};
use crate::config::Config;

/// The lines before that which tells where the server listens.
pub fn lines(server: &Server) -> [String; 4] {
    let config = server.engine.config.load();
    let file = server.config_file.as_ref();
    let file = file.map_or_else(
        || "no configuration file".to_owned(),
        |file| format!("options from {}", file.display()),
    );
    [
        format!(
            "Strata {}, speaks as Redis {REDIS_VERSION}, pid {}, {file}",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        ),
        format!(
            "Memory: {}, {}",
            limit(config.maxmemory),
            config.maxmemory_policy
        ),
        tier(&config),
        format!(
            "Threads: {} that serve up to {} clients",
            server.engine.workers, config.maxclients
        ),
    ]
}

fn tier(config: &Config) -> String {
    if config.tier_max_bytes == 0 {
        return "Disk tier: none, keys go with the process".to_owned();
    }
    let dir = config.tier_dir();
    format!(
        "Disk tier: {}, {}, durability {}",
        std::path::absolute(&dir).unwrap_or(dir).display(),
        limit(config.tier_max_bytes),
        config.tier_durability
    )
}

fn limit(bytes: u64) -> String {
    match bytes {
        0 => "no limit".to_owned(),
        bytes if bytes >= 10 << 30 => format!("at most {} GB", bytes >> 30),
        bytes if bytes >= 10 << 20 => format!("at most {} MB", bytes >> 20),
        bytes => format!("at most {} KB", bytes >> 10),
    }
}
