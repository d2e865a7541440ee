//! CLUSTER, as a server answers that is in no cluster.

use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::error::CommandError;
use crate::resp::Args;

/// The row of CLUSTER.
pub(super) const CLUSTER: Command = Command {
    name: "cluster",
    arity: AtLeast(2),
    group: Group::Cluster,
    since: "3.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the cluster, which are refused by a server that is in none.",
    subcommands: &[
        Command {
            name: "addslots",
            arity: AtLeast(3),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the total number of hash slot arguments",
            summary: "Gives hash slots to this node.",
            arguments: &[Argument {
                flags: &["multiple"],
                ..Argument::new("slot", "integer")
            }],
            ..Command::BLANK
        },
        Command {
            name: "addslotsrange",
            arity: AtLeast(4),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Gives ranges of hash slots to this node.",
            arguments: &[Argument {
                flags: &["multiple"],
                arguments: &[
                    Argument::new("start-slot", "integer"),
                    Argument::new("end-slot", "integer"),
                ],
                ..Argument::new("start-slot_end-slot", "block")
            }],
            ..Command::BLANK
        },
        Command {
            name: "bumpepoch",
            arity: Exactly(2),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Advances the cluster's epoch.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
        Command {
            name: "count-failure-reports",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the number of failure reports",
            summary: "Returns how many nodes report that a node failed.",
            tips: &["nondeterministic_output"],
            arguments: &[Argument::new("node-id", "string")],
            ..Command::BLANK
        },
        Command {
            name: "countkeysinslot",
            arity: Exactly(3),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Returns how many keys of a hash slot are here.",
            arguments: &[Argument::new("slot", "integer")],
            ..Command::BLANK
        },
        Command {
            name: "delslots",
            arity: AtLeast(3),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the total number of hash slot arguments",
            summary: "Takes hash slots from this node.",
            arguments: &[Argument {
                flags: &["multiple"],
                ..Argument::new("slot", "integer")
            }],
            ..Command::BLANK
        },
        Command {
            name: "delslotsrange",
            arity: AtLeast(4),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Takes ranges of hash slots from this node.",
            arguments: &[Argument {
                flags: &["multiple"],
                arguments: &[
                    Argument::new("start-slot", "integer"),
                    Argument::new("end-slot", "integer"),
                ],
                ..Argument::new("start-slot_end-slot", "block")
            }],
            ..Command::BLANK
        },
        Command {
            name: "failover",
            arity: AtLeast(2),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Makes a replica take over from its master.",
            arguments: &[Argument {
                flags: &["optional"],
                arguments: &[
                    Argument {
                        token: Some("FORCE"),
                        ..Argument::new("force", "pure-token")
                    },
                    Argument {
                        token: Some("TAKEOVER"),
                        ..Argument::new("takeover", "pure-token")
                    },
                ],
                ..Argument::new("options", "oneof")
            }],
            ..Command::BLANK
        },
        Command {
            name: "flushslots",
            arity: Exactly(2),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Takes all hash slots from this node.",
            ..Command::BLANK
        },
        Command {
            name: "forget",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Removes a node from the table of nodes.",
            arguments: &[Argument::new("node-id", "string")],
            ..Command::BLANK
        },
        Command {
            name: "getkeysinslot",
            arity: Exactly(4),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(log(N)) where N is the number of requested keys",
            summary: "Returns keys of a hash slot that are here.",
            tips: &["nondeterministic_output"],
            arguments: &[
                Argument::new("slot", "integer"),
                Argument::new("count", "integer"),
            ],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: disabled,
            group: Group::Cluster,
            since: "5.0.0",
            summary: "Lists the subcommands of CLUSTER.",
            ..Command::BLANK
        },
        Command {
            name: "info",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Returns the state of the cluster.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
        Command {
            name: "keyslot",
            arity: Exactly(3),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the number of bytes in the key",
            summary: "Returns the hash slot of a key.",
            arguments: &[Argument::new("key", "string")],
            ..Command::BLANK
        },
        Command {
            name: "links",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "7.0.0",
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Returns the connections between this node and others.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
        Command {
            name: "meet",
            arity: AtLeast(4),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Introduces another node.",
            arguments: &[
                Argument::new("ip", "string"),
                Argument::new("port", "integer"),
                Argument {
                    since: Some("4.0.0"),
                    flags: &["optional"],
                    ..Argument::new("cluster_bus_port", "integer")
                },
            ],
            ..Command::BLANK
        },
        Command {
            name: "myid",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Returns this node's name.",
            ..Command::BLANK
        },
        Command {
            name: "nodes",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Returns the nodes of the cluster as this one sees it.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
        Command {
            name: "replicas",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE),
            run: disabled,
            group: Group::Cluster,
            since: "5.0.0",
            summary: "Returns the replicas of a master.",
            tips: &["nondeterministic_output"],
            arguments: &[Argument::new("node-id", "string")],
            ..Command::BLANK
        },
        Command {
            name: "replicate",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Makes this node a replica of a master.",
            arguments: &[Argument::new("node-id", "string")],
            ..Command::BLANK
        },
        Command {
            name: "reset",
            arity: AtLeast(2),
            flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
            summary: "Makes this node forget its cluster.",
            arguments: &[Argument {
                flags: &["optional"],
                arguments: &[
                    Argument {
                        token: Some("HARD"),
                        ..Argument::new("hard", "pure-token")
                    },
                    Argument {
                        token: Some("SOFT"),
                        ..Argument::new("soft", "pure-token")
                    },
                ],
                ..Argument::new("hard_soft", "oneof")
            }],
            ..Command::BLANK
        },
        Command {
            name: "saveconfig",
            arity: Exactly(2),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Writes the state of the cluster to disk.",
            ..Command::BLANK
        },
        Command {
            name: "set-config-epoch",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Sets a new node's epoch.",
            arguments: &[Argument::new("config-epoch", "integer")],
            ..Command::BLANK
        },
        Command {
            name: "setslot",
            arity: AtLeast(4),
            flags: Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Binds a hash slot to a node.",
            arguments: &[
                Argument::new("slot", "integer"),
                Argument {
                    arguments: &[
                        Argument {
                            token: Some("IMPORTING"),
                            ..Argument::new("node-id", "string")
                        },
                        Argument {
                            token: Some("MIGRATING"),
                            ..Argument::new("node-id", "string")
                        },
                        Argument {
                            token: Some("NODE"),
                            ..Argument::new("node-id", "string")
                        },
                        Argument {
                            token: Some("STABLE"),
                            ..Argument::new("stable", "pure-token")
                        },
                    ],
                    ..Argument::new("subcommand", "oneof")
                },
            ],
            ..Command::BLANK
        },
        Command {
            name: "shards",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "7.0.0",
            complexity: "O(N) where N is the total number of cluster nodes",
            summary: "Returns which nodes serve which hash slots.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
        Command {
            name: "slaves",
            arity: Exactly(3),
            flags: Flags::ADMIN.and(Flags::STALE),
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            summary: "Returns the replicas of a master.",
            tips: &["nondeterministic_output"],
            arguments: &[Argument::new("node-id", "string")],
            ..Command::BLANK
        },
        Command {
            name: "slots",
            arity: Exactly(2),
            flags: Flags::STALE,
            run: disabled,
            group: Group::Cluster,
            since: "3.0.0",
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Returns which nodes serve which hash slots.",
            tips: &["nondeterministic_output"],
            ..Command::BLANK
        },
    ],
    ..Command::BLANK
};

/// What clients of a cluster say to a node.
const OF_CONNECTION: Command = Command {
    arity: Exactly(1),
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
    run: disabled,
    group: Group::Cluster,
    categories: &["@connection"],
    since: "3.0.0",
    ..Command::BLANK
};

/// The row of READONLY.
pub(super) const READONLY: Command = Command {
    name: "readonly",
    summary: "Lets the connection read from a replica in a cluster.",
    ..OF_CONNECTION
};

/// The row of READWRITE.
pub(super) const READWRITE: Command = Command {
    name: "readwrite",
    summary: "Ends what READONLY began.",
    ..OF_CONNECTION
};

/// The row of ASKING.
pub(super) const ASKING: Command = Command {
    name: "asking",
    flags: Flags::FAST,
    summary: "Says that the next command was sent here by another node of a cluster.",
    ..OF_CONNECTION
};

fn disabled(_: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::text(
        "ERR This instance has cluster support disabled",
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(a_server_in_no_cluster_says_so, |db| {
        for line in ["INFO", "NODES", "HELP", "KEYSLOT k", "SETSLOT 1 STABLE"] {
            db.run(&format!("CLUSTER {line}"))
                .error("ERR This instance has cluster support disabled");
        }
        db.run("CLUSTER KEYSLOT")
            .error("ERR wrong number of arguments for 'cluster|keyslot' command");
        db.run("CLUSTER foo")
            .error("ERR unknown subcommand 'foo'. Try CLUSTER HELP.");
    });
}
