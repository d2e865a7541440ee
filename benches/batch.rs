//! CPU time per request of everything between the two system calls of a connection: parse, plan, fetch, lock, run, reply.
//!
//! `cargo bench --bench batch` fills a keyspace with a million keys and runs batches of random GETs and SETs from memory,
//! in process; a number as argument is another number of keys. Not measured: the network, and other threads. With `--test` it runs a tiny version, so that it cannot rot.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use strata::clock::Clock;
use strata::command::table::table;
use strata::config::Config;
use strata::dispatch::{Executor, Next};
use strata::keyspace::ThreadSlot;
use strata::resp::request::Unfinished;
use strata::resp::{Protocol, Reply};
use strata::server::Server;
use strata::server::clients::Origin;
use strata::server::session::Session;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const VALUE_BYTES: usize = 64;

struct Bench {
    executor: Executor,
    session: Session,
    reply: Reply,
    random: u64,
    keys: u64,
}

impl Bench {
    fn new(keys: u64) -> Self {
        let config = Config {
            worker_threads: 1,
            tier_max_bytes: 0,
            ..Config::default()
        };
        let server =
            Arc::new(Server::open(config, None, table().ids()).expect("there is no tier to open"));
        let origin = Origin {
            address: "bench".into(),
            local_address: "bench".into(),
            fd: 0,
            unix: false,
        };
        let session = Session::new(server.clients.add(origin, strata::clock::now()), true);
        let executor = Executor::new(server, ThreadSlot(0), Clock::System);
        Self {
            executor,
            session,
            reply: Reply::new(Protocol::Resp2),
            random: 1,
            keys,
        }
    }

    fn random_key(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) % self.keys
    }

    fn request(&mut self, command: &str, key: u64, out: &mut Vec<u8>) {
        let value = "x".repeat(VALUE_BYTES);
        out.extend_from_slice(
            match command {
                "get" => format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n"),
                _ => format!(
                    "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${VALUE_BYTES}\r\n{value}\r\n"
                ),
            }
            .as_bytes(),
        );
    }

    fn run(&mut self, buffer: &[u8]) {
        let mut from = 0;
        while from < buffer.len() {
            let ran = self.executor.run(
                &mut self.session,
                buffer,
                from,
                &mut Unfinished::default(),
                &mut self.reply,
            );
            assert_eq!(ran.next, Next::More, "the buffer holds whole requests");
            from = ran.consumed;
        }
        black_box(self.reply.bytes());
        self.reply.truncate(0);
    }

    fn measure(&mut self, command: &str, pipeline: usize, batches: usize) {
        let buffers: Vec<Vec<u8>> = (0..batches)
            .map(|_| {
                let mut out = Vec::new();
                for _ in 0..pipeline {
                    let key = self.random_key();
                    self.request(command, key, &mut out);
                }
                out
            })
            .collect();
        let start = Instant::now();
        buffers.iter().for_each(|buffer| self.run(buffer));
        let nanos = start.elapsed().as_nanos() as f64 / (batches * pipeline) as f64;
        println!("{command} pipeline {pipeline}: {nanos:.0} ns per request");
    }
}

fn main() {
    let tiny = std::env::args().any(|arg| arg == "--test");
    let keys = std::env::args()
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(1_000_000);
    let (keys, requests) = if tiny {
        (1000, 1024)
    } else {
        (keys, 2_000_000)
    };
    let mut bench = Bench::new(keys);
    let mut fill = Vec::new();
    for key in 0..keys {
        bench.request("set", key, &mut fill);
        if fill.len() > 1 << 20 || key + 1 == keys {
            bench.run(&fill);
            fill.clear();
        }
    }
    for command in ["get", "set"] {
        for pipeline in [64, 16, 1] {
            bench.measure(
                command,
                pipeline,
                requests / pipeline / if pipeline == 1 { 4 } else { 1 },
            );
        }
    }
}
