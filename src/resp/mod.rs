//! The Redis protocol: bytes to requests, replies to bytes. It knows no command.

pub mod count;
mod push;
mod queue;
pub mod reply;
pub mod request;

pub use self::push::{Payload, Push};
pub use self::queue::Queue;
pub use self::reply::{Protocol, Reply};
pub use self::request::{Args, Batch, OwnedArgs, ProtocolError, RequestLimits};
