//! The seam below the keyspace. A command runs only when all that its row declares is in memory or known to be absent;
//! what that takes is asked here, once for a batch, and this is the only step of a request that may wait.

pub mod residency;
pub mod store;
